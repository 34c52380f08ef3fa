"""The faults: what each makes of one origin's report of one fill, and what must be said of it.

`CHANGES` holds those that befall a fill; what befalls orders, positions, balances and ledgers, and who falls silent, is
the plan's matter.

What an origin tells is one thing, what its own orders, positions and balances follow from is another. Ours follow from
what we told: a fill that was lost is lost in them too. The exchange counts what happened, whatever it told. Where a
fault departs from that, `Change.books` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS, Origin

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

Fault = Literal[
    "drop_internal", "drop_exchange", "duplicate", "conflicting_duplicate", "delay_inside_grace", "delay_beyond_grace",
    "price", "fee", "quantity", "wrong_side", "correction_one_side", "bust_one_side", "silent_feed",
    "order_update_lost", "position_gap", "unseen_deposit", "balance_off", "ledger_amount",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = get_args(Fault)

Event = dict[str, Any]
"""A canonical event as decoded JSON: amounts are decimal text."""
Final = Literal["OPEN", "CLEARED"]

OTHER: dict[Origin, Origin] = {"internal": "exchange", "exchange": "internal"}
SIDES = {"buy": "sell", "sell": "buy"}
SIZES = ("1.0004", "1.004", "1.04")
"""By how much an amount is off: one of each severity."""


@dataclass(frozen=True)
class Timing:
    """How fast the fills come, and what both origins promise about time."""

    speed_per_s: float = 200.0
    grace_us: int = 3_000_000
    order_within_us: int = 100_000
    """Short: a snapshot among so many fills then stands for few states only."""
    heartbeat_us: int = 500_000
    snapshot_us: int = 1_000_000
    """From one snapshot of positions and balances to the next."""
    stale_after_us: int = 4_000_000
    silence_us: int = 7_000_000
    """How long a silent feed says nothing."""

    def contracts(self) -> Contracts:
        """The feed contracts under which the faults have the consequences that are named here."""
        return Contracts(
            contracts=tuple(
                FeedContract(
                    origin=origin,
                    fills="complete",
                    orders="complete",
                    positions="complete",
                    balances="complete",
                    ledger="complete",
                    ledger_covers="non_trade",
                    order_within_us=self.order_within_us,
                    grace_us=self.grace_us,
                    stale_after_us=self.stale_after_us,
                )
                for origin in ORIGINS
            )
        )

    @property
    def missed_us(self) -> int:
        """How long after a fill its absence has certainly been noticed."""
        return self.grace_us + self.order_within_us + 3 * self.heartbeat_us

    @property
    def late_us(self) -> int:
        """How long after a fill it has certainly been told, however late."""
        return self.missed_us + self.grace_us + self.order_within_us


class Change(NamedTuple):
    """What an origin reports instead, and what must be said of that."""

    reports: list[tuple[int, Event]]
    """What goes out, each with the delay (us) by which it comes later than usual."""
    done: str
    """What was done to the data."""
    missing_from: tuple[Origin, ...] = ()
    """Whose record of the fill must be found missing."""
    kinds: tuple[str, ...] = ()
    """What else must be found."""
    final: Final | None = "OPEN"
    """The status it must end in; None where nothing may be said."""
    books: list[Event] | None = None
    """What the origin's own states follow from; None: ours from what we told, the exchange's from what happened."""


def _drop(_: random.Random, report: Event, __: Timing) -> Change:
    done = "internal never had it" if report["origin"] == "internal" else "exchange never reported it, but counts it"
    return Change([], done, missing_from=(report["origin"],))


def _duplicate(rng: random.Random, report: Event, timing: Timing) -> Change:
    again = {**report, "event_id": f"{report['event_id']}:again"}
    delay_us = rng.randint(1, timing.grace_us)
    return Change([(0, report), (delay_us, again)], f"{report['origin']} reported it twice", final=None)


def _conflicting_duplicate(rng: random.Random, report: Event, timing: Timing) -> Change:
    price = off(rng, report["price"])
    copy = {**report, "event_id": f"{report['event_id']}:copy", "price": price}
    done = f"{report['origin']} reported it twice, at {report['price']} and at {price}"
    return Change([(0, report), (rng.randint(1, timing.grace_us // 2), copy)], done, kinds=("duplicate_conflict",))


def _delay_inside_grace(rng: random.Random, report: Event, timing: Timing) -> Change:
    delay_us = rng.randint(timing.grace_us // 4, timing.grace_us * 3 // 4)
    done = f"{report['origin']} reported it {delay_us / 1e6:.1f} s late"
    return Change([(delay_us, report)], done, final=None, books=[report])


def _delay_beyond_grace(rng: random.Random, report: Event, timing: Timing) -> Change:
    delay_us = timing.missed_us + rng.randint(0, timing.grace_us)
    done = f"{report['origin']} reported it {delay_us / 1e6:.1f} s late, though it counted it in time"
    return Change([(delay_us, report)], done, missing_from=(report["origin"],), final="CLEARED", books=[report])


def _amount_off(field: str) -> Callable[[random.Random, Event, Timing], Change]:
    def change(rng: random.Random, report: Event, _: Timing) -> Change:
        told = off(rng, report[field])
        done = told_wrong(report["origin"], f"{field} {told} instead of {report[field]}")
        return Change([(0, {**report, field: told})], done, kinds=("fill_mismatch",))

    return change


def _wrong_side(_: random.Random, report: Event, __: Timing) -> Change:
    side = SIDES[report["side"]]
    done = told_wrong(report["origin"], f"a {side} where it was a {report['side']}")
    return Change([(0, {**report, "side": side})], done, missing_from=(report["origin"],))


def _correction_one_side(rng: random.Random, report: Event, timing: Timing) -> Change:
    price = off(rng, report["price"])
    correction = _amendment(report, "correction", timing) | {"price": price}
    done = f"only {report['origin']} learnt that its price was corrected from {report['price']} to {price}"
    reports = [(0, report), (timing.order_within_us, correction)]
    return Change(reports, done, kinds=("fill_mismatch",), books=[report, correction])


def _bust_one_side(_: random.Random, report: Event, timing: Timing) -> Change:
    bust = _amendment(report, "bust", timing)
    done = f"only {report['origin']} learnt that it was busted"
    reports = [(0, report), (timing.order_within_us, bust)]
    return Change(reports, done, missing_from=(report["origin"],), books=[report, bust])


def _amendment(report: Event, kind: str, timing: Timing) -> Event:
    """What refers to a fill, half of order_within_us after it."""
    return report | {
        "exec": kind,
        "event_id": f"{report['event_id']}:{kind}",
        "trade_id": f"{report['trade_id']}-{kind}",
        "ref_trade_id": report["trade_id"],
        "ts_us": report["ts_us"] + timing.order_within_us // 2,
    }


def told_wrong(origin: Origin, what: str) -> str:
    """Who told something else than what happened, and whether its own states follow that."""
    return f"internal booked {what}" if origin == "internal" else f"exchange reported {what}, but counts right"


def off(rng: random.Random, text: str) -> str:
    """Another amount of the same sign, near by; of nothing, a cent."""
    true = Decimal(text)
    return format(true * Decimal(rng.choice(SIZES)) if true else Decimal("0.01"), "f")


CHANGES: dict[Fault, Callable[[random.Random, Event, Timing], Change]] = {
    "drop_internal": _drop,
    "drop_exchange": _drop,
    "duplicate": _duplicate,
    "conflicting_duplicate": _conflicting_duplicate,
    "delay_inside_grace": _delay_inside_grace,
    "delay_beyond_grace": _delay_beyond_grace,
    "price": _amount_off("price"),
    "fee": _amount_off("fee"),
    "quantity": _amount_off("qty"),
    "wrong_side": _wrong_side,
    "correction_one_side": _correction_one_side,
    "bust_one_side": _bust_one_side,
}
