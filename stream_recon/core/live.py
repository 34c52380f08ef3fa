"""What stands now: the answer of a partition's owner to a question about its live state, without any replay.

A question names the ends of the logs as they were when it was asked. It is answered once all records before them are
applied; or at its deadline, with what has not been reached: that is not known, and never clean. Nothing is settled or
resolved for it: what is inside grace is pending.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from stream_recon.core.runs import digest, open_orders, reported, undecided, watermarks, within
from stream_recon.core.scope import standing
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.events import Origin, Stream
from stream_recon.domain.lifecycle import STANDING
from stream_recon.domain.results import TopicCut, Unsettled
from stream_recon.domain.work import Partial, in_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.core.lane import Lane
    from stream_recon.domain.results import Scope
    from stream_recon.domain.work import LiveItem

Topics = Mapping[str, tuple[Origin, Stream]]
"""By name, what each source topic carries."""


def not_reached(item: LiveItem, reached: Mapping[str, int]) -> dict[str, int]:
    """By topic, how many records before the captured ends are not applied yet."""
    behind = {topic: end - reached.get(topic, 0) for topic, end in item.ends.items()}
    return {topic: records for topic, records in behind.items() if records > 0}


def answer(lane: Lane, item: LiveItem, topics: Topics, reached: Mapping[str, int]) -> list[Partial]:
    """What stands inside the scope now, in parts; `reached` is the first offset of each topic that is not applied."""
    scope, partition = item.scope, lane.partition or 0
    behind = not_reached(item, reached)
    waiting, unheard = undecided(lane, scope)
    first = Partial(
        run_id=item.run_id,
        partition=partition,
        unsettled=[_unsettled(lane, *topics[topic], behind[topic]) for topic in behind if topic in topics],
        topics=_cuts(lane, topics, reached),
        counts=dict(sorted((lane.counts | {"waiting": waiting, "unheard": unheard}).items())),
        pending=waiting + open_orders(lane, scope),
        notes=[
            f"{topic} partition {partition}: {records} records before the cut were not applied by the deadline"
            for topic, records in behind.items()
        ],
        accounts=[name for name in scope.accounts or () if name in lane.directory.by_name],
        reported=list(reported(lane, scope)),
    )
    parts = list(in_parts([*_conditions(lane, scope), *standing(lane.register.newest, scope)]))
    answers = [first, *(Partial(run_id=item.run_id, partition=partition) for _ in parts[1:])]
    attempt = digest(sorted(reached.items()))[:8]  # asked and answered again, it is another
    for number, (each, part) in enumerate(zip(answers, parts, strict=True), 1):
        each.attempt, each.part, each.parts = attempt, number, len(answers)
        each.conditions = [alert for alert in part if isinstance(alert, FeedCondition)]
        each.discrepancies = [alert for alert in part if isinstance(alert, Discrepancy)]
    return answers


def _conditions(lane: Lane, scope: Scope) -> Iterator[FeedCondition]:
    for condition in sorted(lane.register.newest.feed_conditions(), key=lambda each: each.alert_id):
        ours = condition.account is None or within(scope, condition.account)
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


def _cuts(lane: Lane, topics: Topics, reached: Mapping[str, int]) -> list[TopicCut]:
    """Nothing was read for it: the live state is what was looked at."""
    known = watermarks(lane)
    return [
        TopicCut(
            topic=topic, partition=lane.partition or 0, first_offset=reached[topic], end_offset=reached[topic],
            records=0, digest="", watermarks=known[carried],
        )
        for topic, carried in topics.items()
    ]  # fmt: skip
