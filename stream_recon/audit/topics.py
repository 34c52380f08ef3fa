"""The audited topics, read as entries of chains: from wherever one stands, or as a whole up to their present ends."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupIdNotFound, UnknownTopicOrPartitionError

from stream_recon.audit.chain import Place, continued, record
from stream_recon.shell.clients import new_admin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka.structs import TopicPartition

    from stream_recon.audit.chain import Entry
    from stream_recon.domain.topics import Role, TopicPlan
    from stream_recon.shell.settings import WorkerSettings

AUDITED: tuple[Role, ...] = ("results", "alerts", "corrections", "control")
"""What is kept."""
READ: dict[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "isolation_level": "read_committed",  # what its producer has taken back never happened
    "max_partition_fetch_bytes": 1_048_576,
}
_AT_ONCE = 1000


def audit_group(settings: WorkerSettings) -> str:
    """The group that audit writers share."""
    return f"{settings.group_id}-audit"


def audited(plan: TopicPlan) -> dict[str, bool]:
    """The topics that are kept, and whether Kafka compacts them."""
    return {plan.name(role): plan.topic(role).shape.cleanup == "compact" for role in AUDITED}


async def entries_of(
    consumer: AIOKafkaConsumer, tp: TopicPartition, next_offset: int, records: Sequence[Any], *, compacted: bool
) -> list[Entry]:
    """The entries of records that were read from `next_offset` on; with what is missing among them."""
    entries = [record(each.offset, each.timestamp * 1000, each.key, each.value) for each in records]
    expected = [next_offset, *(each.offset + 1 for each in records[:-1])]
    whole = all(each.offset <= at for each, at in zip(records, expected, strict=True))
    log_start = 0 if whole else (await consumer.beginning_offsets([tp]))[tp]
    return continued(next_offset, entries, log_start, compacted=compacted)


class Span(NamedTuple):
    """What a partition holds."""

    start: int
    end: int


class Topics:
    """All audited topics, as they were when they were opened."""

    def __init__(self, consumer: AIOKafkaConsumer, spans: dict[TopicPartition, Span], plan: TopicPlan) -> None:
        self.spans = {Place(tp.topic, tp.partition): span for tp, span in spans.items()}
        self._tps = spans
        self._consumer = consumer
        self._compacted = audited(plan)

    async def batches(self) -> AsyncIterator[tuple[Place, list[Entry]]]:
        """Everything from the start of the chains to those ends, some entries of one chain at a time, in its order."""
        following = dict.fromkeys(self._tps, 0)
        for tp, span in self._tps.items():
            if gone := continued(0, [], span.start, compacted=False):
                yield Place(tp.topic, tp.partition), gone
                following[tp] = span.start
        reading = {tp for tp, span in self._tps.items() if span.start < span.end}
        for tp in reading:
            self._consumer.seek(tp, self._tps[tp].start)
        while reading:
            for tp, found in (await self._consumer.getmany(*reading, timeout_ms=500, max_records=_AT_ONCE)).items():
                records = [each for each in found if following[tp] <= each.offset < self._tps[tp].end]
                if records:
                    compacted = self._compacted[tp.topic]
                    entries = await entries_of(self._consumer, tp, following[tp], records, compacted=compacted)
                    following[tp] = entries[-1].last_offset + 1
                    yield Place(tp.topic, tp.partition), entries
            for tp in list(reading):
                if await self._consumer.position(tp) >= self._tps[tp].end:
                    reading.discard(tp)


@asynccontextmanager
async def opened(settings: WorkerSettings) -> AsyncIterator[Topics]:
    """The audited topics, to be read without a group.

    Raises:
        UnknownTopicOrPartitionError: one is not there.
        KafkaError: no broker answers.
    """
    consumer = AIOKafkaConsumer(*audited(settings.plan), bootstrap_servers=settings.bootstrap, **READ)
    try:
        await consumer.start()
        await require(consumer, settings.plan)
        tps = sorted(consumer.assignment())
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        yield Topics(consumer, {tp: Span(starts[tp], ends[tp]) for tp in tps}, settings.plan)
    finally:
        await consumer.stop()


async def require(consumer: AIOKafkaConsumer, plan: TopicPlan) -> None:
    """See that all audited topics are there: to read one that is not only waits.

    Raises:
        UnknownTopicOrPartitionError: one is not.
    """
    there = await consumer.topics()
    if missing := [name for name in audited(plan) if name not in there]:
        raise UnknownTopicOrPartitionError(
            f"there is no topic {', '.join(missing)}; `stream-recon topics create` makes it"
        )


async def committed(settings: WorkerSettings) -> dict[Place, int]:
    """Up to where the audit's group says that all is kept; empty where it does not (any more) exist."""
    admin = new_admin(settings)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(audit_group(settings))
    except (GroupIdNotFound, GroupCoordinatorNotAvailableError):
        return {}
    finally:
        await admin.close()
    return {Place(tp.topic, tp.partition): told.offset for tp, told in offsets.items()}
