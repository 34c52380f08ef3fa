"""The oracle of identities 2 to 4: one account's records, the promises about them, and how verdicts are written."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tests.oracles.movements import Event, Key, changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.events import Origin, Stream

OTHER: dict[Origin, Origin] = {"internal": "exchange", "exchange": "internal"}


class Break(NamedTuple):
    """Something that does not hold."""

    kind: str
    account: str
    compared: str
    subject: Key
    """(instrument, position side), (asset,), (instrument, order) or (ledger_id,)."""
    interval: tuple[str, str] | None = None
    """The labels of two snapshots: the trade of the anchor, or the time."""
    residual: Decimal | None = None
    """What the later snapshot holds more than movements explain; internal snapshots are held against the exchange's."""
    fields: tuple[tuple[str, str | None, str | None], ...] = ()
    """Name, internal or movements, exchange or reported."""


class Unknown(NamedTuple):
    """Something of which nothing can be said, and why."""

    reason: str
    account: str
    compared: str
    subject: Key
    label: str | None = None


@dataclass
class Truth:
    """What the logs say."""

    breaks: list[Break] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    matched: Counter[str] = field(default_factory=Counter)
    """By identity: snapshots after the first, orders, ledger pairs (as `ledger`)."""
    unverified: set[tuple[str, str, str]] = field(default_factory=set)
    """(account, class, the origin it is taken from)."""


def watermarks_of(
    origin: Origin, log: Iterable[tuple[int, Event]], contracts: Contracts, venues: Iterable[str]
) -> dict[str, int]:
    """By venue, the time up to which all its sources have delivered on this topic."""
    lifted: dict[str, int] = {}
    heard: dict[str, set[str]] = defaultdict(set)
    reached: dict[str, int] = {}
    for kafka_us, event in log:
        if event["type"] == "heartbeat":
            source, through_us = event["source"], event["through_us"]
            venue = event.get("venue") or source.removeprefix(f"{origin}|")
        else:
            venue = event["venue"]
            source = event.get("source") or f"{origin}|{venue}"
            through_us = event["ts_us"] - contracts.of(origin, venue, event["account_id"]).order_within_us
        heard[venue].add(source)
        lifted[source] = max(lifted.get(source, 0), min(through_us, kafka_us))
        for each in venues:
            vouch = contracts.of(origin, each, "").sources or heard[each]
            if vouch and all(source in lifted for source in vouch):
                reached[each] = max(reached.get(each, 0), min(lifted[source] for source in vouch))
    return reached


class Book:
    """One account: its records by origin and type, in log order."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that is known of an account, once
        self,
        name: str,
        contracts: Contracts,
        events: Mapping[tuple[Origin, str], list[Event]],
        watermark: Mapping[tuple[Origin, Stream], int],
        sent: set[tuple[Origin, str]],
        instruments: Mapping[str, Mapping[str, str]],
        found: Truth,
    ) -> None:
        self.name, self.events, self.watermark, self.sent, self.found = name, events, watermark, sent, found
        self.instruments = instruments
        self.contract = {origin: contracts.of(origin, *name.split("|", 1)) for origin in OTHER}
        self.changes = {origin: changes(events.get((origin, "fill"), [])) for origin in OTHER}
        self.holes = {origin: self.holes_of(origin) for origin in OTHER}

    def of(self, origin: Origin, kind: str) -> list[Event]:
        """The records of one type."""
        return self.events.get((origin, kind), [])

    def promise(self, origin: Origin, kind: str) -> str:
        """What an origin promises of a type of event; a class never promised and never sent is absent."""
        said = getattr(self.contract[origin], kind if kind == "ledger" else kind + "s")
        heard = (origin, kind) in self.sent or (kind in {"fill", "order"} and (origin, kind + "s") in self.watermark)
        return str(said or ("absent" if not heard else "complete" if kind in {"fill", "order"} else "partial"))

    def sends(self, origin: Origin, kind: str) -> bool:
        """Whether it sends this class at all."""
        return self.promise(origin, kind) != "absent"

    def first_that_sends(self, kind: str, origins: Sequence[Origin]) -> Origin | None:
        """Whose records of a class count; noted where they are not those asked for."""
        who = next((origin for origin in origins if self.sends(origin, kind)), None)
        if who not in {None, origins[0]}:
            self.found.unverified.add((self.name, kind, str(who)))
        return who

    def passed(self, ts_us: int, *topics: tuple[Origin | None, Stream]) -> bool:
        """Whether all these topics have been delivered long enough past that time."""
        contracts = self.contract.values()
        wait_us = max(each.order_within_us for each in contracts) + max(each.grace_us for each in contracts)
        return all(
            self.watermark.get((origin, stream), -1) >= ts_us + wait_us
            for origin, stream in topics
            if origin is not None
        )

    def tolerance(self, name: str, asset: str) -> Decimal:
        """The wider of what both contracts allow for a field."""
        said = (each.tolerance for each in self.contract.values())
        return max(Decimal(one.get(f"{name}:{asset}", one.get(name, "0"))) for one in said)

    def holes_of(self, origin: Origin) -> list[tuple[int, int]]:
        """Times at which records of a source's own numbering are missing."""
        numbers: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        for (speaker, _), events in self.events.items():
            for event in events:
                if speaker == origin and event.get("feed_seq") is not None:
                    epoch = (event.get("source") or origin, event.get("feed_epoch") or "")
                    numbers[epoch].setdefault(event["feed_seq"], event["ts_us"])
        skew_us = self.contract[origin].order_within_us
        return [
            (min(one_us, two_us) - skew_us, max(one_us, two_us) + skew_us)
            for seen in numbers.values()
            for (one, one_us), (two, two_us) in pairwise(sorted(seen.items()))
            if two > one + 1
        ]

    def gap(self, origins: Iterable[Origin | None], from_us: int, to_us: int) -> bool:
        """Whether records of that time may have been lost."""
        return any(a <= to_us and b >= from_us for origin in origins if origin for a, b in self.holes[origin])

    def live_fills(self, origin: Origin) -> list[Event]:
        """The effective fills: trades with what amends them folded in, busted ones left out."""
        holds: dict[int, Event] = {}
        for change in self.changes[origin]:
            if change.before is not None:
                holds.pop(id(change.before), None)
            if change.after is not None:
                holds[id(change.after)] = change.after
        return list(holds.values())
