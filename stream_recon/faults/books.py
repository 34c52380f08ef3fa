"""What fills and ledger entries come to: the positions and balances of each origin, and what sets two of them apart.

This is the known truth of the plan, so it has its own small arithmetic and takes none from what is judged by it.

Theory. A comparison holds states against movements, or states against states. What a fault adds to it is what the
states count of the record minus what the movements tell of it. So what follows from any fault can be computed alike:
from what each origin told of the record, and what each counted.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.events import account_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stream_recon.domain.events import Origin
    from stream_recon.domain.instruments import Instrument, Instruments
    from stream_recon.faults.changes import Event

Key = tuple[str, str, str]
"""(account, "position", instrument) or (account, "balance", asset)."""
Amounts = dict[Key, Decimal]
ZERO = Decimal(0)
_CENT = Decimal("0.000001")
"""What a venue rounds profits to."""
_ROUGH = Context(prec=60, rounding=ROUND_HALF_EVEN)


class Movement(NamedTuple):
    """What changed a position or a balance, and when."""

    ts_us: int
    key: Key
    delta: Decimal


def account(event: Event) -> str:
    """Whose record it is."""
    return account_of(event["venue"], event["account_id"])


def signed_qty(fill: Event) -> Decimal:
    """What was bought, or minus what was sold."""
    qty = to_decimal(fill["qty"])
    return qty if fill["side"] == "buy" else -qty


def moved(fill: Event, instrument: Instrument | None) -> Amounts:
    """What a fill moves: its position, and the balances that its instrument's kind says."""
    whose, qty = account(fill), signed_qty(fill)
    fee, pays = to_decimal(fill.get("fee") or "0"), fill.get("fee_asset")
    found: Amounts = defaultdict(Decimal)
    position = (whose, "position", fill["instrument"])
    found[position] = qty
    if instrument is None:
        return found
    if instrument.kind == "spot":
        if pays == instrument.base:
            found[position] = EXACT.subtract(qty, fee)
        found[whose, "balance", str(instrument.base)] = qty
        found[whose, "balance", str(instrument.quote)] = -EXACT.multiply(qty, to_decimal(fill["price"]))
    else:
        found[whose, "balance", str(instrument.settle)] = to_decimal(fill.get("realized_pnl") or "0")
    charged = (whose, "balance", str(pays or instrument.settle or instrument.quote))
    found[charged] = EXACT.subtract(found[charged], fee)
    return found


def movements_of(events: Iterable[Event], instruments: Instruments) -> list[Movement]:
    """What a trade and its amendments move, each at its time; a copy moves nothing."""
    found, holds = [], None
    for event in events:
        if holds is not None and "ref_trade_id" not in event:
            continue
        after = None if event.get("exec") == "bust" else event
        change: Amounts = defaultdict(Decimal)
        for each, sign in ((holds, -1), (after, 1)):
            if each is not None:
                for key, delta in moved(each, instruments.of(each["venue"], each["instrument"])).items():
                    change[key] = EXACT.add(change[key], sign * delta)
        found += [Movement(event["ts_us"], key, delta) for key, delta in change.items() if delta]
        holds = after
    return found


def entry_movement(entry: Event) -> Movement:
    """What a ledger entry moves."""
    return Movement(entry["ts_us"], (account(entry), "balance", entry["asset"]), to_decimal(entry["delta"]))


def total(movements: Iterable[Movement]) -> Amounts:
    """What movements come to."""
    found: Amounts = defaultdict(Decimal)
    for _, key, delta in movements:
        found[key] = EXACT.add(found[key], delta)
    return found


def apart(told: Mapping[Origin, Amounts], counted: Mapping[Origin, Amounts]) -> dict[tuple[str, Key], Decimal]:
    """By how much each comparison of each key is off, given what each origin told and what its own states count."""
    comparisons = {
        "internal:own": (counted["internal"], told["internal"]),
        "exchange:own": (counted["exchange"], told["exchange"]),
        "exchange:cross": (counted["exchange"], told["internal"]),
        "internal:exchange": (counted["exchange"], counted["internal"]),
    }
    found = {}
    for compared, (states, moves) in comparisons.items():
        for key in sorted({*states, *moves}):
            residual = EXACT.subtract(states.get(key, ZERO), moves.get(key, ZERO))
            if residual:
                found[compared, key] = residual
    return found


def executed(events: Sequence[Event]) -> Decimal:
    """What an order counts of a trade: a bust does not take it back."""
    return to_decimal(events[0]["qty"]) if events else ZERO


def live(events: Sequence[Event], side: str) -> Decimal:
    """What of a trade still holds, for an order of that side of the market."""
    if not events or events[-1].get("exec") == "bust":
        return ZERO
    amended = [event for event in events if "ref_trade_id" in event]
    holds = (amended or events[:1])[-1]
    qty = to_decimal(holds["qty"])
    return qty if holds["side"] == side else qty.copy_negate()


def with_profits(fills: Iterable[Event], instruments: Instruments) -> list[Event]:
    """The fills (oldest first), those of derivatives with the profit they realised by average cost."""
    held: dict[tuple[str, str], tuple[Decimal, Decimal]] = defaultdict(lambda: (ZERO, ZERO))
    found = []
    for fill in fills:
        instrument = instruments.of(fill["venue"], fill["instrument"])
        if instrument is None or instrument.kind == "spot" or "realized_pnl" in fill:
            found.append(fill)
            continue
        key = account(fill), fill["instrument"]
        profit, held[key] = _realise(*held[key], signed_qty(fill), to_decimal(fill["price"]))
        found.append({**fill, "realized_pnl": plain(profit)})
    return found


def _realise(qty: Decimal, cost: Decimal, traded: Decimal, price: Decimal) -> tuple[Decimal, tuple[Decimal, Decimal]]:
    """The profit of a trade against what is held at some cost, and what is held, at what cost, after it."""
    closes = min(abs(qty), abs(traded)).copy_sign(qty) if qty and (qty > 0) != (traded > 0) else ZERO
    worth = EXACT.multiply(closes, price)
    spent = _ROUGH.divide(_ROUGH.multiply(cost, closes), qty) if closes else ZERO
    profit = _ROUGH.quantize(_ROUGH.subtract(worth, spent), _CENT)
    # What rounding leaves over stays in the cost of the rest, so that nothing is lost on the way.
    cost = EXACT.subtract(cost, EXACT.subtract(worth, profit))
    opens = EXACT.add(traded, closes)
    return profit, (EXACT.add(qty, traded), EXACT.add(cost, EXACT.multiply(opens, price)))
