"""A run over records: the lane of the stream, told of nothing but what is in scope, and what stands there at a cut.

A run differs from the stream in two things only, and both are here. What it is told: records of other streams than its
identities need are left out, and those of other accounts count as heartbeats, since they still say how far their source
is. And what it says: the discrepancies that stand at the end, of its identities, accounts and time, as if they had been
found for the first time; with what has not settled, which is never taken for agreement.

Nothing here depends on the order in which topics were read, nor on where batches ended.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import structs

from stream_recon.core.cases import judge
from stream_recon.core.orders import ENDED
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.decode import Rejected
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.events import Heartbeat, Origin, Stream, account_of, default_source
from stream_recon.domain.lifecycle import STANDING
from stream_recon.domain.results import TopicCut, Unsettled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from stream_recon.core.accounts import Account
    from stream_recon.core.lane import Batch, Lane
    from stream_recon.core.promises import Class
    from stream_recon.core.watermarks import Clock
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Identity
    from stream_recon.domain.events import Event
    from stream_recon.domain.results import Scope

CLASSES_OF: dict[Identity, tuple[Class, ...]] = {
    "trade": ("fill",),
    "order": ("fill", "order"),
    "position": ("fill", "position"),
    "balance": ("fill", "balance", "ledger"),
    "net_change": ("fill", "ledger"),
}
"""The records that each identity is concluded from, and so waits for."""
_ENCODE = msgspec.json.Encoder(order="sorted").encode


class Restriction:
    """Lets a lane hear of some accounts only; of the others, how far their sources are."""

    def __init__(self, accounts: Collection[str] | None, contracts: Contracts) -> None:
        self._accounts = frozenset(accounts) if accounts is not None else None
        self._contracts = contracts
        self._within_us: dict[tuple[Origin, str, str], int] = {}
        self._scope: dict[tuple[str, str], bool] = {}

    def apply(self, batch: Batch) -> Batch:
        """The batch as the lane is to hear it; records in scope keep their places."""
        if self._accounts is None:
            return batch
        events = [self._heard(batch.origin, event) for event in batch.events]
        return structs.replace(batch, events=events)

    def _heard(self, origin: Origin, event: Event | Rejected) -> Event | Rejected:
        if isinstance(event, Heartbeat | Rejected) or self._wanted(event.venue, event.account_id):
            return event
        source = event.source or default_source(origin, event.venue)
        through_us = event.ts_us - self._within(origin, event.venue, event.account_id)
        return Heartbeat(origin=origin, source=source, venue=event.venue, through_us=through_us)

    def _wanted(self, venue: str, account_id: str) -> bool:
        wanted = self._scope.get((venue, account_id))
        if wanted is None:
            assert self._accounts is not None
            wanted = self._scope[venue, account_id] = account_of(venue, account_id) in self._accounts
        return wanted

    def _within(self, origin: Origin, venue: str, account_id: str) -> int:
        within_us = self._within_us.get((origin, venue, account_id))
        if within_us is None:
            within_us = self._contracts.of(origin, venue, account_id).order_within_us
            self._within_us[origin, venue, account_id] = within_us
        return within_us


class Tape:
    """What was read of one partition of a topic: how much, and a hash of all of it."""

    def __init__(self, topic: str, partition: int, first_offset: int) -> None:
        self.topic, self.partition, self.first_offset = topic, partition, first_offset
        self.end_offset = first_offset
        self.records = 0
        self._hash = blake2b(digest_size=16)

    def add(self, offset: int, time_us: int, key: bytes | None, value: bytes | None) -> None:
        """Note one record. Lengths come first, so that no two sequences of records read alike."""
        self._hash.update(b"%d %d %d %d:" % (offset, time_us, _length(key), _length(value)))
        self._hash.update(key or b"")
        self._hash.update(value or b"")
        self.records += 1
        self.end_offset = offset + 1

    def cut(self, watermarks: dict[str, int]) -> TopicCut:
        """What a certificate says of it."""
        return TopicCut(
            topic=self.topic, partition=self.partition, first_offset=self.first_offset, end_offset=self.end_offset,
            records=self.records, digest=self._hash.hexdigest(), watermarks=watermarks,
        )  # fmt: skip


def _length(data: bytes | None) -> int:
    return -1 if data is None else len(data)


class Found(NamedTuple):
    """What stands at the cut."""

    discrepancies: list[Discrepancy]
    """By id."""
    conditions: list[FeedCondition]
    unsettled: list[Unsettled]
    pending: int
    """Records inside grace at the cut, and orders that are still open."""
    verdicts: dict[str, int]
    """`unheard`: fills that nobody promises a counterpart of."""
    reported: list[Class]


def find(  # noqa: PLR0913 - of what, and how
    lane: Lane, scope: Scope, streams: Collection[Stream], strategy: str, *, pending: bool = True, kept_us: int = 0
) -> Found:
    """What stands in a lane, of a scope. Nothing may be left undrained.

    `kept_us`: from when on (event time) all logs hold what was told; of what is older nothing is said.
    """
    discrepancies: list[Discrepancy] = []
    conditions: list[FeedCondition] = []
    for alert in lane.register.newest.values():
        if alert.status not in STANDING:
            continue
        if isinstance(alert, FeedCondition):
            if alert.stream in streams and (alert.account is None or within(scope, alert.account)):
                conditions.append(structs.replace(alert, version=1, transition="OPENED", status="OPEN", reopened=0))
        elif covers(scope, alert) and _began_us(alert) >= kept_us:
            discrepancies.append(as_found(alert, strategy))
    discrepancies.sort(key=lambda each: each.alert_id)
    conditions.sort(key=lambda each: each.alert_id)
    waiting, unheard = undecided(lane, scope)
    still_open = open_orders(lane, scope)
    return Found(
        discrepancies,
        conditions,
        unsettled(lane, scope, streams),
        waiting + still_open if pending else 0,
        {"unheard": unheard, "waiting": waiting if pending else 0},
        reported(lane, scope),
    )


def within(scope: Scope, account: str) -> bool:
    """Whether an account is looked at."""
    return scope.accounts is None or account in scope.accounts


def covers(scope: Scope, alert: Discrepancy) -> bool:
    """Whether a discrepancy is one that the run may speak of."""
    return (
        alert.identity in scope.identities
        and within(scope, alert.account)
        and scope.from_us <= _time_us(alert) <= scope.to_us
    )


def _began_us(alert: Discrepancy) -> int:
    """Since when records matter to it."""
    return alert.event_us if alert.interval is None else min(alert.interval.from_us, alert.event_us)


def _time_us(alert: Discrepancy) -> int:
    """The time by which a discrepancy belongs to a scope; a window belongs where it begins."""
    is_window = alert.identity == "net_change" and alert.interval is not None
    return alert.interval.from_us if is_window and alert.interval is not None else alert.event_us


def as_found(alert: Discrepancy, strategy: str) -> Discrepancy:
    """A discrepancy as if it were found for the first time: what it is, without what has become of it."""
    return structs.replace(
        alert, version=1, transition="OPENED", status="OPEN", reopened=0, opened_us=alert.due_us, strategy=strategy
    )


def unsettled(lane: Lane, scope: Scope, streams: Collection[Stream]) -> list[Unsettled]:
    """The feeds that have not passed the cut, by how long conclusions about that time would have to wait for them."""
    held: dict[tuple[Origin, Stream, str], Unsettled] = {}
    for account in lane.directory.accounts.values():
        if not within(scope, account.name):
            continue
        wait_us = max(account.grace_us) + max(account.within_us)
        for clock in _clocks(account, scope):
            if clock.stream not in streams or clock.watermark_us >= scope.to_us + wait_us:
                continue
            slowest = clock.slowest()
            name = slowest.name if slowest is not None else default_source(clock.origin, clock.venue)
            place = clock.origin, clock.stream, name
            held[place] = Unsettled(
                origin=clock.origin, stream=clock.stream, partition=lane.partition or 0, source=name,
                watermark_us=slowest.watermark_us if slowest is not None else UNKNOWN_US,
                waiting=max(clock.owed, held[place].waiting if place in held else 0),
            )  # fmt: skip
    return [held[place] for place in sorted(held)]


def _clocks(account: Account, scope: Scope) -> Iterable[Clock]:
    """The clocks that conclusions about an account wait for.

    Of fills that one side sends also the other side's, heard or not, unless it sends none by contract: that it has not
    spoken yet proves nothing.
    """
    promised = [account.clocks[o] for o in (0, 1) if account.feeds.promises[o] != "absent"]
    if account.book is None:
        return promised
    classes = tuple(dict.fromkeys(kind for identity in scope.identities for kind in CLASSES_OF[identity]))
    waited_for = account.book.promises.waited_for(classes)
    if "trade" in scope.identities and any("fill" in heard for heard in account.heard):
        return list(dict.fromkeys([*waited_for, *promised]))
    return waited_for


def undecided(lane: Lane, scope: Scope) -> tuple[int, int]:
    """Fills that wait for their counterpart or differ inside grace, and those of which nobody promises one."""
    if "trade" not in scope.identities:
        return 0, 0
    waiting = unheard = 0
    for o in (0, 1):
        for key, seen in lane.book.waiting[o].items():
            account = lane.directory.of_key(key)
            if _looked_at(scope, account.name, seen.ts_us):
                promised = account.promised[1 - o]
                waiting, unheard = waiting + promised, unheard + (not promised)
    for key in lane.book.cases.undecided():
        case, account = lane.book.cases[key], lane.directory.of_key(key)
        clocks = account.clocks
        judgement = judge(case, (clocks[0].watermark_us, clocks[1].watermark_us), account.terms)
        waiting += bool(judgement.pending) and _looked_at(scope, account.name, case.newest_us)
    return waiting, unheard


def _looked_at(scope: Scope, account: str, ts_us: int) -> bool:
    return scope.from_us <= ts_us <= scope.to_us and within(scope, account)


def reported(lane: Lane, scope: Scope) -> list[Class]:
    """The classes of records that either side has sent of the venues of these accounts."""
    accounts = [account for account in lane.directory.accounts.values() if within(scope, account.name)]
    return sorted({kind for account in accounts for heard in account.heard for kind in heard})


def open_orders(lane: Lane, scope: Scope) -> int:
    """Orders that have not ended, where orders are looked at."""
    if "order" not in scope.identities:
        return 0
    books = [a.book for a in lane.directory.accounts.values() if a.book is not None and within(scope, a.name)]
    for book in books:
        book.fold()  # a fill may tell that what has two names is one order
    return sum(
        1
        for book in books
        for known in book.orders.known.values()
        if known.first_us <= scope.to_us
        and any(update is not None for update in known.newest)
        and not any(update is not None and update.status in ENDED for update in known.newest)
    )


def watermarks(lane: Lane) -> dict[tuple[Origin, Stream], dict[str, int]]:
    """How far each source is, by topic."""
    return {
        place: {name: source.watermark_us for name, source in sorted(sources.items())}
        for place, sources in lane.directory.sources.items()
    }


def digest(*parts: object) -> str:
    """32 hex digits over anything that can be written as JSON, keys in order."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        hashed.update(_ENCODE(part))
        hashed.update(b"\n")
    return hashed.hexdigest()
