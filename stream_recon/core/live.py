"""What stands now: the answer of a partition's owner to a question about its live state, without any replay.

A question names the ends of the logs as they were when it was asked. It is answered once all records before them are
applied; or at its deadline, with what has not been reached: that is not known, and never clean. Nothing is settled or
resolved for it: what is inside grace is pending.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from stream_recon.core.account_book import FOLD, agenda_of
from stream_recon.core.scope import standing, within
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.events import Origin, Stream
from stream_recon.domain.lifecycle import STANDING
from stream_recon.domain.results import TopicCut, Unsettled
from stream_recon.domain.work import Partial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_recon.core.lane import Lane
    from stream_recon.domain.discrepancies import Alert, Identity
    from stream_recon.domain.results import Scope
    from stream_recon.domain.work import LiveItem

PART_BYTES = 800_000
"""What is larger is answered in parts."""
Topics = Mapping[str, tuple[Origin, Stream]]
"""By name, what each source topic carries."""
_SUBJECTS: Mapping[Identity, tuple[str, ...]] = {
    "order": ("order",),
    "position": ("position",),
    "balance": ("balance", "ledger", "parts"),
}
"""What is judged of each identity in the books of accounts."""
_ENCODE = msgspec.json.Encoder().encode


def not_reached(item: LiveItem, reached: Mapping[str, int]) -> dict[str, int]:
    """By topic, how many records before the captured ends are not applied yet."""
    behind = {topic: end - reached.get(topic, 0) for topic, end in item.ends.items()}
    return {topic: records for topic, records in behind.items() if records > 0}


def answer(lane: Lane, item: LiveItem, topics: Topics, reached: Mapping[str, int]) -> list[Partial]:
    """What stands inside the scope now, in parts; `reached` is the first offset of each topic that is not applied."""
    scope, partition = item.scope, lane.partition or 0
    behind = not_reached(item, reached)
    parts = list(_parts([*_conditions(lane, scope), *standing(lane.register.newest, scope)]))
    first = Partial(
        run_id=item.run_id,
        partition=partition,
        unsettled=[_unsettled(lane, *topics[topic], behind[topic]) for topic in behind if topic in topics],
        topics=[_cut(lane, topic, carried, reached[topic]) for topic, carried in topics.items()],
        counts=lane.counts,
        pending=_pending(lane, scope),
        notes=[
            f"{topic} partition {partition}: {records} records before the cut were not applied by the deadline"
            for topic, records in behind.items()
        ],
    )
    rest = [Partial(run_id=item.run_id, partition=partition) for _ in parts[1:]]
    answers = [first, *rest]
    for number, (each, part) in enumerate(zip(answers, parts, strict=True), 1):
        each.part, each.parts = number, len(answers)
        each.conditions = [alert for alert in part if isinstance(alert, FeedCondition)]
        each.discrepancies = [alert for alert in part if isinstance(alert, Discrepancy)]
    return answers


def _parts(alerts: Iterable[Alert]) -> Iterator[list[Alert]]:
    """In their order, none larger than a record may be; at least one."""
    part: list[Alert] = []
    size = PART_BYTES // 4  # for the facts
    for alert in alerts:
        encoded = len(_ENCODE(alert)) + 1
        if part and size + encoded > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(alert)
        size += encoded
    yield part


def _conditions(lane: Lane, scope: Scope) -> Iterator[FeedCondition]:
    for condition in lane.register.newest.feed_conditions():
        ours = scope.accounts is None or condition.account is None or condition.account in scope.accounts
        if ours and condition.status in STANDING:
            yield msgspec.structs.replace(condition)


def _unsettled(lane: Lane, origin: Origin, stream: Stream, records: int) -> Unsettled:
    """A topic that was not read to the cut, by the source that is furthest behind on it."""
    sources = lane.directory.sources[origin, stream].values()
    slowest = min(sources, key=lambda source: source.watermark_us, default=None)
    name, watermark_us = (slowest.name, slowest.watermark_us) if slowest is not None else (origin, UNKNOWN_US)
    return Unsettled(
        origin=origin, stream=stream, partition=lane.partition or 0, source=name, watermark_us=watermark_us,
        waiting=records,
    )  # fmt: skip


def _cut(lane: Lane, topic: str, carried: tuple[Origin, Stream], reached: int) -> TopicCut:
    """Nothing was read for it: the live state is what was looked at."""
    watermarks = {source.name: source.watermark_us for source in lane.directory.sources[carried].values()}
    return TopicCut(
        topic=topic, partition=lane.partition or 0, first_offset=reached, end_offset=reached, records=0, digest="",
        watermarks=watermarks,
    )  # fmt: skip


# -- what is pending --------------------------------------------------------------------------------------------------


def _pending(lane: Lane, scope: Scope) -> int:
    """How much of the scope is not due yet: fills, and conclusions about orders, positions, balances and ledgers."""
    count = sum(1 for _ in _pending_fills(lane, scope)) if "trade" in scope.identities else 0
    wanted = {name for identity in scope.identities for name in _SUBJECTS.get(identity, ())}
    return count + sum(_pending_subjects(lane, scope, wanted) if wanted else ())


def _pending_fills(lane: Lane, scope: Scope) -> Iterator[str]:
    """Those that wait for their counterpart, which somebody has promised, and those that may still be amended."""
    for o in (0, 1):
        for key, seen in lane.book.waiting[o].items():
            account = lane.directory.of_key(key)
            if account.promised[1 - o] and within(scope, account.name, seen.ts_us):
                yield key
    for key in lane.book.cases.undecided():
        if within(scope, lane.directory.of_key(key).name, lane.book.cases[key].newest_us):
            yield key


def _pending_subjects(lane: Lane, scope: Scope, wanted: set[str]) -> Iterator[int]:
    for account in lane.directory.accounts.values():
        book = account.book
        if book is None:
            continue
        waiting = {
            (agenda, subject)
            for agenda, heap in book.agendas.items()
            for due_us, subject in heap
            if subject != FOLD and subject[0] in wanted and agenda_of(subject) == agenda
            and within(scope, account.name, due_us - book.promises.wait_us)
        }  # fmt: skip
        yield len(waiting)
