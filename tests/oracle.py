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
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.domain.contracts import Contracts, FeedContract
    from stream_recon.domain.events import Origin

HORIZON_US = 60 * 60 * 1_000_000
OTHER: dict[Origin, Origin] = {"internal": "exchange", "exchange": "internal"}

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
    """Keys that disagree, of which nothing may be said yet."""


def truth(logs: dict[Origin, Sequence[LogEntry]], contracts: Contracts) -> Truth:
    """Judge one partition's fills topics, each in log order, heartbeats included."""
    found = Truth()
    feeds = {origin: read_feed(origin, log, contracts, found) for origin, log in logs.items()}
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
        )
        case.judge(records, found)
    return found


@dataclass
class Feed:
    """One origin's log, read."""

    accepted: list[Record]
    watermark: dict[str, int]
    """The last watermark, by venue."""


def read_feed(origin: Origin, log: Iterable[LogEntry], contracts: Contracts, found: Truth) -> Feed:
    """Drop exact duplicates and give every other fill its watermark."""
    feed = Feed([], {})
    lifted: dict[str, int] = {}
    heard: dict[str, set[str]] = defaultdict(set)
    seen: set[tuple[Any, ...]] = set()
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
            if fingerprint(event) in seen:
                found.duplicates += 1
            else:
                seen.add(fingerprint(event))
                feed.accepted.append(Record(origin, w, event))
                found.late += w is not None and w >= event["ts_us"] + contract.grace_us
            source, through_us = event.get("source") or f"{origin}|{venue}", event["ts_us"] - contract.order_within_us
            heard[venue].add(source)
        lifted[source] = max(lifted.get(source, 0), min(through_us, kafka_us))
        for venue, sources in heard.items():
            vouch = contracts.of(origin, venue, "").sources or sources
            if all(each in lifted for each in vouch):
                lowest = min(lifted[each] for each in vouch)
                feed.watermark[venue] = max(feed.watermark.get(venue, 0), lowest)
    return feed


def amount(text: str | None) -> Decimal | None:
    """The number, if there is one."""
    return None if text is None else Decimal(text)


def content(event: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two records of one key the same or not."""
    return (
        amount(event["qty"]),
        amount(event["price"]),
        amount(event.get("fee")),
        event.get("fee_asset"),
        event.get("position_side") or "net",
    )


def fingerprint(event: dict[str, Any]) -> tuple[Any, ...]:
    """Equal for exact duplicates, whatever their event_id and time."""
    names = ("venue", "account_id", "instrument", "side", "trade_id", "ref_trade_id")
    return (*(event.get(name) for name in names), event.get("exec", "trade"), *content(event))


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


def agree(one: dict[str, Any], two: dict[str, Any], contracts: dict[Origin, FeedContract]) -> bool:
    """Whether two fills say the same, within the wider tolerance of both contracts."""
    for name in ("qty", "price", "fee"):
        a, b = amount(one.get(name)), amount(two.get(name))
        if a is None or b is None:
            continue
        tolerance = max(Decimal(contract.tolerance.get(name, "0")) for contract in contracts.values())
        if abs(a - b) > tolerance:
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
    """What holds of linked records: nothing, one fill, or the copies that contradict each other."""
    copies = [each.event for each in records if each.is_root]
    amendments = [each.event for each in records if not each.is_root]
    if not copies or not amendments:
        return copies
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
        found.matched += one.matched
        found.unverified += one.unverified
        found.pending |= one.pending

    def judge_conflict(self, records: Sequence[Record], found: Truth) -> None:
        """Two copies that differ contradict each other until something refers to them."""
        finding, opened, standing = self.finding("duplicate_conflict"), False, False
        for count in range(1, len(records) + 1):
            known = linked(records[:count], self.key[2])
            standing = len({content(each.event) for each in known if each.is_root}) > 1 and all(
                each.is_root for each in known
            )
            opened |= standing
        if opened:
            (found.open if standing else found.cleared).add(finding)

    def judge_history(self, merged: Sequence[Record], found: Truth) -> None:
        """Walk through the history of the key; what is due before the next record is open by then."""
        past: list[Record] = []
        standing: str | None = None
        for place, record in enumerate(merged):
            before = self.condition(past)
            if before is None and record.w is not None and record.event["ts_us"] < record.w - HORIZON_US:
                found.unverified += 1  # of a key that nobody waits for: it may have been matched and forgotten
                continue
            if before:
                due = record.w is not None and before.due_us <= record.w
                standing = before.kind if due else standing
                if (due and not self.passed(before)) or self.may_be_read_first(before, merged[place:]):
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
        elif last:
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
            if any(agree(one, two, self.contracts) for one, two in pairs):
                return None
            return Condition("fill_mismatch", both_due_us, ("internal", "exchange"))
        for lacking, other in OTHER.items():
            if holds[other] and self.contracts[lacking].fills in {None, "complete"} and lacking in self.watermark:
                alone = not known[lacking]
                due_us = newest_us + self.contracts[lacking].grace_us if alone else both_due_us
                return Condition(f"missing_{lacking}", due_us, (lacking,) if alone else ("internal", "exchange"))
        return None

    def may_be_read_first(self, condition: Condition, rest: Sequence[Record]) -> bool:
        """Whether one feed may have been read to beyond the due time before the other goes on with its own fill."""
        silent = condition.waits_for[0]
        if len(condition.waits_for) > 1 or rest[0].origin == silent:
            return False
        twin = next((each for each in rest if each.origin == silent), None)
        return twin is None or (twin.w is not None and condition.due_us <= twin.w)

    def passed(self, condition: Condition) -> bool:
        """Whether the last watermarks allow it to be said."""
        return all(condition.due_us <= self.watermark.get(origin, -1) for origin in condition.waits_for)
