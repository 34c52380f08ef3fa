"""Why a difference is there: the open discrepancies that account for it, and the split of its residual into parts.

A *cause* is an open discrepancy of a fill or ledger entry, with what each side counts for it; where only one side sends
fills, also an order of which more or less is reported filled than its fills come to. What it changes in a position, a
balance or an order is what one side counts and the other does not; the residual of an effect is split by one waterfall:
known causes, fees (where both count the fill but not the same fee), pending (not due yet), rounding (within tolerance),
and what is left unexplained. The parts add up to the residual to the last digit.
"""

from __future__ import annotations

from itertools import combinations, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core.movements import ZERO, Key, Move, balance_deltas, position_delta, position_key
from stream_recon.core.nets import Net, add, minus, net_of, subtract, tolerated
from stream_recon.core.window_books import unit_of
from stream_recon.domain.amounts import plain, to_decimal
from stream_recon.domain.discrepancies import SplitPart
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from stream_recon.core.cases import Tolerance
    from stream_recon.core.findings import Finding
    from stream_recon.core.ledger import Entry
    from stream_recon.core.tell_drift import Span
    from stream_recon.domain.discrepancies import Discrepancy
    from stream_recon.domain.instruments import Instrument

    InstrumentOf = Callable[[str], Instrument | None]

    EntriesOf = tuple[Entry | None, Entry | None]
    """What each side has as a ledger entry."""

MovesByKey = tuple[dict[str, list[Move]], dict[str, list[Move]]]
"""Of internal and exchange, by what twins share."""


TRIED = 8
"""So many causes are tried in every combination."""


class Cause(NamedTuple):
    """An open discrepancy that others may follow from."""

    alert_id: str
    ts_us: int
    fills: tuple[Move | None, Move | None] = (None, None)
    """What counts on each side."""
    entries: EntriesOf = (None, None)
    """The same, of a ledger entry."""
    since_us: int | None = None
    """Of an order, since when its fills may have been; their fees and profits are not known."""

    @property
    def began_us(self) -> int:
        """The earliest that it may have been."""
        return self.ts_us if self.since_us is None else self.since_us


def cause_of_order(alerts: Iterable[Discrepancy], source: int, since_us: int) -> Cause | None:
    """What is said of one order, as fills that are lacking or too many where side `source` alone sends fills.

    As the other side reports the order, or its own where the other does not; less what is accounted for by others.
    """
    said = {alert.compared: alert for alert in alerts}
    own, other = (said.get(f"{ORIGINS[o]}:fills") for o in (source, 1 - source))
    told = other or own
    if told is None or (other is None and any(each.origin != ORIGINS[source] for each in told.evidence)):
        return None  # what the other side reports, its fills come to
    if own is not None and told.explained_by == [own.alert_id]:
        told = own  # both report the same
    left = sum((to_decimal(part.amount) for part in told.split if part.name == "unexplained"), start=ZERO)
    if not left:
        return None
    record = next(each.record for each in told.evidence if told.compared == f"{each.origin}:fills")
    lacks_all = any(field.field == "cum_qty" and field.internal == "0" for field in told.fields)
    move = Move(
        told.event_us, 0, 1 if left > 0 else -1, str(told.instrument), "", "buy" if record["side"] == "buy" else "sell",
        plain(abs(left)), str(record.get("avg_price") or "0") if lacks_all else "0",
    )  # fmt: skip
    return Cause(told.alert_id, told.event_us, (None, move) if source == 0 else (move, None), since_us=since_us)


def subjects_of(cause: Cause, instrument_of: InstrumentOf) -> set[tuple[str, ...]]:
    """What a cause may have effects on: positions, balances and orders."""
    found: set[tuple[str, ...]] = {("balance", entry.asset) for entry in cause.entries if entry}
    for move in cause.fills:
        if move is not None:
            found.add(("position", *position_key(move.instrument, move.position_side)))
            found |= {("order", move.instrument, name) for name in (move.order_id, move.client_order_id) if name}
            what = instrument_of(move.instrument)
            if what is not None:
                found |= {("balance", asset) for asset in balance_deltas(move, what)}
    return found


def _effect(cause: Cause, o: int, finding: Finding, instrument_of: InstrumentOf) -> tuple[Decimal, Decimal]:
    """What one side counts for a cause, as far as a finding is about it: (without fees, fees)."""
    moved, fees = ZERO, ZERO
    entry = cause.entries[o]
    if finding.identity == "balance" and entry is not None and entry.asset == finding.names.get("asset"):
        moved += to_decimal(entry.delta)
    move = cause.fills[o]
    if move is not None:
        what = instrument_of(move.instrument)
        if finding.identity == "order":
            if move.instrument == finding.names.get("instrument") and finding.names.get("order_id") in {
                move.order_id,
                move.client_order_id,
            }:
                qty = to_decimal(move.qty)
                moved += qty if move.side == finding.names["side"] else -qty
        elif finding.identity == "position":
            if position_key(move.instrument, move.position_side) == _position(finding):
                moved += move.signed_qty()
                fees += position_delta(move, what) - move.signed_qty()
        elif what is not None:
            asset = finding.names.get("asset", "")
            pays = move.fee_asset or what.settle or what.quote
            fee = -move.signed_fee() if pays == asset else ZERO
            fees += fee
            moved += balance_deltas(move, what).get(asset, ZERO) - fee
    return moved, fees


def _position(finding: Finding) -> Key:
    return finding.names["instrument"], finding.names["position_side"]


_ROOTS = ("internal:own", "internal:fills", "exchange:own", "exchange:fills", "exchange:cross", "internal:exchange")
"""Comparisons of one subject, what others follow from first."""


def roots_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings of one subject, what others follow from first."""
    return sorted(findings, key=lambda each: _ROOTS.index(each.compared) if each.compared in _ROOTS else -1)


def same_difference(finding: Finding, others: Iterable[tuple[str, Finding]]) -> str | None:
    """The id of another finding of the same subject that is the same difference, seen by another comparison."""
    for name, other in others:
        if finding.residual is None or other.residual is None or other.compared == finding.compared:
            continue
        turned = finding.compared == "internal:exchange" and other.compared.startswith("internal:")
        overlap = other.span_us[0] <= finding.span_us[1] and finding.span_us[0] <= other.span_us[1]
        if overlap and other.residual == (-finding.residual if turned else finding.residual):
            return name
    return None


class Share(NamedTuple):
    """What one cause would account for."""

    since_us: int | None
    ts_us: int
    alert_id: str
    moved: Decimal
    fee: Decimal

    def lies_in(self, finding: Finding) -> bool:
        """Whether it was in the finding's interval for certain: of an order all of its fills that were lacking."""
        if self.since_us is None or finding.interval is None:
            return True
        return finding.interval.from_us < self.since_us and self.ts_us <= finding.interval.to_us


def split(finding: Finding, causes: Iterable[Cause], instrument_of: InstrumentOf) -> tuple[list[SplitPart], list[str]]:
    """The parts of a finding's residual, none of them zero, and the ids of all that it follows from.

    Not every cause in the finding's span shows in it: of a fill that our books lack the exchange's own fills and state
    know alike. So those count that account for the residual together, the fewest that do; where single snapshots may
    have seen several states, earlier ones too, and orders that lasted longer than the span. Where none do, all that lie
    in the span count, also those of which it is not known by how much, and the rest is unexplained.
    """
    if finding.residual is None:
        return [], []
    shares = [share for share in (_share(cause, finding, instrument_of) for cause in causes) if share is not None]
    near = [each for each in shares if finding.span_us[0] <= each.ts_us and each.lies_in(finding)]
    chosen = _accounting(near, finding) or _accounting(shares, finding) or near
    known = sum((share.moved for share in chosen), start=ZERO)
    fees = sum((share.fee for share in chosen), start=ZERO)
    rest = finding.residual - known - fees
    small = abs(rest) <= finding.tolerance
    parts = [
        SplitPart("known_causes", plain(known), sorted(share.alert_id for share in chosen if share.moved)),
        SplitPart("fees", plain(fees), sorted(share.alert_id for share in chosen if share.fee)),
        SplitPart("rounding", plain(rest if small else ZERO)),
        SplitPart("unexplained", plain(ZERO if small else rest)),
    ]
    return [part for part in parts if part.amount != "0"], sorted(share.alert_id for share in chosen)


def _share(cause: Cause, finding: Finding, instrument_of: InstrumentOf) -> Share | None:
    """What a cause would account for; None: nothing, or it came after, or is an order that was over before."""
    if cause.began_us > finding.span_us[1] or (cause.since_us is not None and cause.ts_us < finding.span_us[0]):
        return None
    ours, theirs = (_effect(cause, o, finding, instrument_of) for o in (0, 1))
    moved = finding.signs[0] * ours[0] + finding.signs[1] * theirs[0]
    fee = finding.signs[0] * ours[1] + finding.signs[1] * theirs[1]
    if moved or fee or _moves_untold(cause, finding, instrument_of):
        return Share(cause.since_us, cause.ts_us, cause.alert_id, moved, fee)
    return None


def _moves_untold(cause: Cause, finding: Finding, instrument_of: InstrumentOf) -> bool:
    """Whether the fills of an order move a balance by fees, profit or a price that nobody tells."""
    balance = ("balance", finding.names.get("asset", ""))
    return cause.since_us is not None and balance in subjects_of(cause, instrument_of)


def _accounting(shares: list[Share], finding: Finding) -> list[Share]:
    """Those that account for the residual together: all, or the fewest and newest of the last few; or none."""
    assert finding.residual is not None
    shares = [share for share in shares if share.moved or share.fee]
    if shares and abs(finding.residual - sum((s.moved + s.fee for s in shares), start=ZERO)) <= finding.tolerance:
        return shares
    newest = sorted(shares, key=lambda share: (-share.ts_us, share.alert_id))[:TRIED]
    for size in range(1, len(newest)):
        for some in combinations(newest, size):
            if abs(finding.residual - sum((s.moved + s.fee for s in some), start=ZERO)) <= finding.tolerance:
                return list(some)
    return []


# -- net changes ------------------------------------------------------------------------------------------------------


def residual_in(span: Span, moves: MovesByKey, tolerance: Tolerance) -> Net:
    """What moves of both sides, by key, that are all there is of a cause leave residual in a window.

    As the windows see them: twins in the window of the earlier one, what has no twin in its own.
    """
    found: Net = {}
    for ts_us, subject, gap in _gaps(moves, tolerance):
        if subject == span.subject and span.from_us <= ts_us < span.to_us:
            add(found, gap)
    return found


def _gaps(moves: MovesByKey, tolerance: Tolerance) -> Iterator[tuple[int, str, Net]]:
    units: dict[str, tuple[list[Move], list[Move]]] = {}
    for o in (0, 1):
        for key, of_key in moves[o].items():
            for move in of_key:
                units.setdefault(unit_of(key, move), ([], []))[o].append(move)
    for sides in units.values():
        for ours, theirs in zip_longest(*sides):
            if ours is None or theirs is None:
                one = ours or theirs
                yield one.ts_us, one.instrument, net_of(one) if ours is None else minus({}, net_of(one))
            else:
                gap = minus(net_of(theirs), net_of(ours))
                subtract(gap, tolerated(ours, theirs, tolerance))
                yield min(ours.ts_us, theirs.ts_us), ours.instrument, gap
