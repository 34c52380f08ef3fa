"""What must be found of a fault, and what follows from it elsewhere: its known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.domain.amounts import EXACT
from stream_recon.domain.events import ORIGINS, Origin
from stream_recon.faults.books import ZERO, account, apart, executed, live
from stream_recon.faults.changes import OTHER, Change, Event, Fault, Final, Timing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from stream_recon.faults.books import Amounts
    from stream_recon.faults.states import OrderKey

Finding = tuple[str, ...]
"""What an alert is about. Of a fill: kind, account, instrument, root trade id, side. Of anything else: kind, account,
what is compared, and what of (instrument and order id; instrument; asset; ledger id). Of a feed: reason, who, source.
"""


class Effect(NamedTuple):
    """A discrepancy that follows from a fault, and by how much the fault adds to its residual."""

    finding: Finding
    residual: Decimal


@dataclass(frozen=True)
class Injected:
    """One fault and what must be said of it."""

    fault: Fault
    origin: Origin
    """Whose report was changed."""
    done: str
    """What was done to the data."""
    key: tuple[str, ...]
    """(account, instrument, trade id, side) of a fill, (account, ...) of anything else, (source,) of a silent feed."""
    expects: tuple[Finding, ...]
    """What must be opened; empty where nothing may be."""
    final: Final | None
    """The status in which all of it must end."""
    effects: tuple[Effect, ...] = ()
    """What may be said because of it."""
    span_us: tuple[int, int] = (0, 0)
    """The time in which it befell, as wide as what is told of that time may be out of order."""


def of_fill(fault: Fault, report: Event, change: Change) -> Injected:
    """What must be said of a changed report."""
    key = (account(report), report["instrument"], report["trade_id"], report["side"])
    expects = [(kind, *key) for kind in (*change.kinds, *(f"missing_{origin}" for origin in change.missing_from))]
    if fault == "wrong_side":  # as it was told, it has no counterpart either
        expects.append((f"missing_{OTHER[report['origin']]}", *key[:3], change.reports[0][1]["side"]))
    return Injected(fault, report["origin"], change.done, key, tuple(expects), change.final)


def of_silence(origin: Origin, since_us: int, sources: Sequence[str], timing: Timing) -> Injected:
    """What must be said of a feed that pauses."""
    done = f"{origin} said nothing for {timing.silence_us / 1e6:g} s from second {since_us / 1e6:.1f} on"
    expects = tuple(("STALE", origin, source) for source in sources)
    return Injected("silent_feed", origin, done, tuple(sources), expects, "CLEARED")


def counted(report: Event, change: Change) -> list[Event]:
    """What an origin's own states count of a fill that it reported wrong."""
    if change.books is not None:
        return change.books
    return [event for _, event in change.reports] if report["origin"] == "internal" else [report]


def order_finding(key: OrderKey, compared: str) -> Finding:
    """An order that disagrees."""
    return ("order_mismatch", key[0], compared, *key[1:])


def order_effects(
    fill: Event, told: Mapping[Origin, Sequence[Event]], counted: Mapping[Origin, Sequence[Event]]
) -> list[Effect]:
    """Where the order of a fill disagrees, given what each origin told and counted of it."""
    key = (account(fill), fill["instrument"], fill["order_id"])
    found = {
        "internal:exchange": EXACT.subtract(executed(counted["exchange"]), executed(counted["internal"])),
        **{
            f"{origin}:fills": EXACT.subtract(executed(counted[origin]), live(told[origin], fill["side"]))
            for origin in ORIGINS
        },
    }
    return [Effect(order_finding(key, compared), residual) for compared, residual in found.items() if residual]


def state_effects(told: Mapping[Origin, Amounts], counted: Mapping[Origin, Amounts]) -> list[Effect]:
    """Where positions and balances disagree, and net changes."""
    found = [
        Effect((f"{kind}_mismatch", whose, compared, name), residual)
        for (compared, (whose, kind, name)), residual in apart(told, counted).items()
    ]
    for key in sorted({*told["internal"], *told["exchange"]}):
        residual = EXACT.subtract(told["exchange"].get(key, ZERO), told["internal"].get(key, ZERO))
        if residual:
            found.append(Effect(("net_change_mismatch", key[0], "internal:exchange", key[2]), residual))
    return found
