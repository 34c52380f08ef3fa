"""The oracle of identity 1 (trade): the shortest obviously right program, plain loops over a whole partition.

It shares no code with the core. It reads both logs of one partition to their ends, and then says what must be known:
which discrepancies stand open, which were open once and cleared. It has no idea of batches, restarts or interleaving.

Theory. Every record carries `w`, its own feed's watermark just before it. For one key, the records of both origins
merged by `w` are its history; whatever fell due at or before the next record's `w` was open in between. Where the
actual interleaving may show more or less than that history, the discrepancy is in `maybe`, and judged by nobody.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stream_recon.domain.contracts import Contracts, FeedContract
    from stream_recon.domain.events import Origin

HORIZON_US = 60 * 60 * 1_000_000
OTHER: dict[Origin, Origin] = {"internal": "exchange", "exchange": "internal"}

SAME = ("venue", "account_id", "instrument", "side", "trade_id", "ref_trade_id")
"""Two records that agree in these and in exec, and do not contradict each other, are one, told twice."""

LogEntry = tuple[int, dict[str, Any]]
"""Kafka's time (us) and the event."""
Finding = tuple[str, str, str, str, str]
"""Kind, account, instrument, root trade id, side."""
Key = tuple[str, str, str, str]
"""Account, instrument, root trade id, side."""


class Record(NamedTuple):
    """One accepted fill and its own feed's watermark before it (None: none yet)."""

    origin: Origin
    w: int | None
    event: dict[str, Any]

    @property
    def is_root(self) -> bool:
        """Whether it stands for itself, not for another fill."""
        return bool(self.event.get("exec", "trade") == "trade")

    @property
    def points_at(self) -> str:
        """The trade it is about."""
        return str(self.event["trade_id"] if self.is_root else self.event["ref_trade_id"])


@dataclass
class Truth:
    """What the logs say."""

    open: set[Finding] = field(default_factory=set)
    cleared: set[Finding] = field(default_factory=set)
    maybe: set[Finding] = field(default_factory=set)
    """Findings whose status depends on what was read first; see the module."""
    matched: int = 0
    """Keys whose effective fills agree."""
    duplicates: int = 0
    unverified: int = 0
    late: int = 0
    """Records that came when their own feed's watermark had passed their time and grace."""
    pending: set[Key] = field(default_factory=set)
    """Keys that disagree, of which nothing may be said yet, or that both origins told beyond the horizon."""


def truth(logs: Mapping[Origin, Sequence[LogEntry]], contracts: Contracts, horizon_us: int = HORIZON_US) -> Truth:
    """Judge one partition's fills topics, each in log order, heartbeats included."""
    found = Truth()
    venues = {event["venue"] for log in logs.values() for _, event in log if event.get("venue")}
    feeds = {origin: read_feed(origin, log, contracts, venues, found) for origin, log in logs.items()}
    keys: dict[Key, list[Record]] = defaultdict(list)
    for feed in feeds.values():
        for record, key in zip(feed.accepted, keys_of(feed.accepted), strict=True):
            keys[key].append(record)
    for key, records in keys.items():
        venue, account_id = key[0].split("|", 1)
        case = Case(
            key,
            {origin: contracts.of(origin, venue, account_id) for origin in OTHER},
            {origin: feed.watermark[venue] for origin, feed in feeds.items() if venue in feed.watermark},
            horizon_us,
        )
        case.judge(records, found)
    return found


@dataclass
class Feed:
    """One origin's log, read."""

    accepted: list[Record]
    watermark: dict[str, int]
    """The last watermark, by venue."""


def read_feed(
    origin: Origin, log: Iterable[LogEntry], contracts: Contracts, venues: Iterable[str], found: Truth
) -> Feed:
    """Drop exact duplicates and give every other fill its watermark."""
    feed = Feed([], {})
    lifted: dict[str, int] = {}
    heard: dict[str, set[str]] = defaultdict(set)
    seen: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for kafka_us, event in log:
        if event["type"] == "heartbeat":
            source, through_us = event["source"], event["through_us"]
            if event.get("venue"):
                heard[event["venue"]].add(source)
            elif source.startswith(f"{origin}|"):
                heard[source.split("|", 1)[1]].add(source)
        else:
            venue = event["venue"]
            contract = contracts.of(origin, venue, event["account_id"])
            w = feed.watermark.get(venue)
            copies = seen[(*(event.get(name) for name in SAME), event.get("exec", "trade"))]
            if any(agree(event, copy) for copy in copies):
                found.duplicates += 1
            else:
                copies.append(event)
                feed.accepted.append(Record(origin, w, event))
                found.late += w is not None and w >= event["ts_us"] + contract.grace_us
            source, through_us = event.get("source") or f"{origin}|{venue}", event["ts_us"] - contract.order_within_us
            heard[venue].add(source)
        lifted[source] = max(lifted.get(source, 0), min(through_us, kafka_us))
        for venue in venues:
            vouch = contracts.of(origin, venue, "").sources or heard[venue]
            if vouch and all(each in lifted for each in vouch):
                lowest = min(lifted[each] for each in vouch)
                feed.watermark[venue] = max(feed.watermark.get(venue, 0), lowest)
    return feed


def amount(text: str | None) -> Decimal | None:
    """The number, if there is one."""
    return None if text is None else Decimal(text)


def keys_of(records: Sequence[Record]) -> list[Key]:
    """The key of each record of one origin: that of the root in which its chain of references ends."""

    def key(record: Record, trade_id: str) -> Key:
        event = record.event
        return (f"{event['venue']}|{event['account_id']}", event["instrument"], trade_id, event["side"])

    chain = {key(each, each.event["trade_id"]): key(each, each.points_at) for each in records if not each.is_root}
    found = []
    for record in records:
        root, passed = key(record, record.points_at), set()
        while not record.is_root and root in chain and root not in passed:
            passed.add(root)
            root = chain[root]
        found.append(root)
    return found


def agree(one: dict[str, Any], two: dict[str, Any], contracts: Iterable[FeedContract] = ()) -> bool:
    """Whether two fills say the same, within the wider tolerance; a fee that one does not tell contradicts nothing."""
    for name in ("qty", "price", "fee"):
        a, b = amount(one.get(name)), amount(two.get(name))
        if a is None or b is None:
            continue
        if abs(a - b) > max((Decimal(contract.tolerance.get(name, "0")) for contract in contracts), default=0):
            return False
    assets = {one.get("fee_asset"), two.get("fee_asset")} - {None}
    return len(assets) < 2 and (one.get("position_side") or "net") == (two.get("position_side") or "net")


def linked(records: Iterable[Record], root: str) -> list[Record]:
    """The records of one origin that are known to be about `root`: its copies, and what refers to it or to such."""
    records, about = list(records), {root}
    for _ in records:
        about |= {str(each.event["trade_id"]) for each in records if not each.is_root and each.points_at in about}
    return [each for each in records if each.points_at in about]


def effective(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What holds of linked records: nothing, one fill, or the copies that contradict each other.

    A correction tells the whole fill, so it holds even if what it corrects has not been seen.
    """
    amendments = [each.event for each in records if not each.is_root]
    if not amendments:
        return [each.event for each in records]
    newest = max(enumerate(amendments), key=lambda each: (each[1]["ts_us"], each[0]))[1]
    return [] if newest["exec"] == "bust" else [newest]


class Condition(NamedTuple):
    """What is wrong with a key after some of its records, and when that may be said."""

    kind: str
    due_us: int
    waits_for: tuple[Origin, ...]
    """Whose watermarks have to pass `due_us`."""


@dataclass
class Case:
    """One key under its contracts, with the last watermark of each origin."""

    key: Key
    contracts: dict[Origin, FeedContract]
    watermark: dict[Origin, int]
    """Of the feeds that have been heard."""
    horizon_us: int

    def finding(self, kind: str) -> Finding:
        """How the outside calls it."""
        return (kind, *self.key)

    def judge(self, records: Sequence[Record], found: Truth) -> None:
        """Add what is true of this key."""
        for origin in OTHER:
            self.judge_conflict([each for each in records if each.origin == origin], found)
        # Records of both origins at one watermark have no order between them: what depends on it is open to either.
        histories = []
        for first in OTHER:
            merged = sorted(records, key=lambda each: (-1 if each.w is None else each.w, each.origin != first))
            one = Truth()
            self.judge_history(merged, one)
            histories.append(one)
        one, two = histories
        found.open |= one.open
        found.cleared |= one.cleared
        found.maybe |= one.maybe | two.maybe | (one.open ^ two.open) | (one.cleared ^ two.cleared)
        found.maybe |= self.possible(records) - one.open - one.cleared
        found.matched += one.matched
        found.unverified += one.unverified
        found.pending |= one.pending

    def judge_conflict(self, records: Sequence[Record], found: Truth) -> None:
        """Two copies that differ contradict each other until something refers to them."""
        finding, opened, standing = self.finding("duplicate_conflict"), False, False
        for count in range(1, len(records) + 1):
            known = linked(records[:count], self.key[2])
            standing = len(known) > 1 and all(each.is_root for each in known)
            opened |= standing
        if opened:
            (found.open if standing else found.cleared).add(finding)

    def judge_history(self, merged: Sequence[Record], found: Truth) -> None:
        """Walk through the history of the key; what is due before the next record is open by then."""
        past: list[Record] = []
        standing: str | None = None
        forgotten: set[Origin] = set()
        for record in merged:
            before = self.condition(past)
            awaited = before or (self.of(past, OTHER[record.origin]) and not self.of(past, record.origin))
            if not awaited and record.w is not None and record.event["ts_us"] < record.w - self.horizon_us:
                found.unverified += 1  # it may have been matched and forgotten
                forgotten.add(record.origin)
                continue
            if before:
                due = record.w is not None and before.due_us <= record.w
                standing = before.kind if due else standing
                if due and not self.passed(before):
                    found.maybe.add(self.finding(before.kind))
            past.append(record)
            now = self.condition(past)
            if standing and (now is None or now.kind != standing):
                found.cleared.add(self.finding(standing))
                standing = None
        last = self.condition(past)
        if last and self.passed(last):
            standing = last.kind
            found.maybe.discard(self.finding(standing))
        if standing:
            found.open.add(self.finding(standing))
            found.cleared.discard(self.finding(standing))
        elif last or len(forgotten) > 1:
            found.pending.add(self.key)
        elif all(effective(self.of(past, origin)) for origin in OTHER):
            found.matched += 1

    def of(self, past: Iterable[Record], origin: Origin) -> list[Record]:
        """The records of one origin that are known to be about this key's root."""
        return linked((each for each in past if each.origin == origin), self.key[2])

    def condition(self, past: Sequence[Record]) -> Condition | None:
        """What is wrong after these records."""
        known = {origin: self.of(past, origin) for origin in OTHER}
        holds = {origin: effective(known[origin]) for origin in OTHER}
        newest_us = max((each.event["ts_us"] for records in known.values() for each in records), default=0)
        both_due_us = newest_us + max(contract.grace_us for contract in self.contracts.values())
        if all(holds.values()):
            pairs = ((one, two) for one in holds["internal"] for two in holds["exchange"])
            if any(agree(one, two, self.contracts.values()) for one, two in pairs):
                return None
            return Condition("fill_mismatch", both_due_us, ("internal", "exchange"))
        for lacking, other in OTHER.items():
            if holds[other] and known[lacking]:
                return Condition(f"missing_{lacking}", both_due_us, ("internal", "exchange"))
            # What an amendment without its root is about may be older than all that can be known here.
            if holds[other] and self.is_owed_by(lacking) and any(each.is_root for each in known[other]):
                return Condition(f"missing_{lacking}", newest_us + self.contracts[lacking].grace_us, (lacking,))
        return None

    def possible(self, records: Sequence[Record]) -> set[Finding]:
        """What some interleaving of the two logs opens: due while both were read so far, and not yet further."""
        sides = {origin: [each for each in records if each.origin == origin] for origin in OTHER}
        found = set()
        for counts in product(*(range(len(side) + 1) for side in sides.values())):
            read = dict(zip(sides, counts, strict=True))
            seen = self.condition([each for origin in OTHER for each in sides[origin][: read[origin]]])
            if seen:
                ends = {
                    origin: sides[origin][read[origin]].w
                    if read[origin] < len(sides[origin])
                    else self.watermark.get(origin)
                    for origin in seen.waits_for
                }
                if all(end is not None and seen.due_us <= end for end in ends.values()):
                    found.add(self.finding(seen.kind))
        return found

    def is_owed_by(self, origin: Origin) -> bool:
        """Whether its silence means anything: it has been heard, and promised to tell everything."""
        return self.contracts[origin].fills in {None, "complete"} and origin in self.watermark

    def passed(self, condition: Condition) -> bool:
        """Whether the last watermarks allow it to be said."""
        return all(condition.due_us <= self.watermark.get(origin, -1) for origin in condition.waits_for)
