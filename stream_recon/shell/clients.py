"""The Kafka clients of a worker, as both hosts need them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from aiokafka.structs import TopicPartition

    from stream_recon.shell.settings import WorkerSettings

COMMIT_INTERVAL_S = 1.0
PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable_idempotence": True,  # a retry neither doubles nor reorders
    "linger_ms": 0,
    "max_batch_size": 1_000_000,
    "max_request_size": 1_048_576,
}


def new_producer(settings: WorkerSettings) -> AIOKafkaProducer:
    """For everything a worker writes."""
    return AIOKafkaProducer(bootstrap_servers=settings.bootstrap, **PRODUCER)


def new_consumer(
    settings: WorkerSettings, assignor: Any, loop: asyncio.AbstractEventLoop | None = None  # noqa: ANN401 - untyped
) -> AIOKafkaConsumer:  # fmt: skip
    """A member of the group.

    A position that is not there is reset to the earliest, which the keeper takes for the hole that it is.
    """
    return AIOKafkaConsumer(
        loop=loop,
        bootstrap_servers=settings.bootstrap,
        group_id=settings.group_id,
        client_id="stream-recon",
        partition_assignment_strategy=[assignor],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",  # what its producer has taken back never happened
        session_timeout_ms=int(settings.session_timeout_s * 1000),
        heartbeat_interval_ms=int(settings.heartbeat_s * 1000),
        max_poll_interval_ms=3_600_000,  # restoring may take long; the watchdog sees a stall sooner
        rebalance_timeout_ms=60_000,
        fetch_max_wait_ms=500,
        max_partition_fetch_bytes=1_048_576,
    )


def new_reader(settings: WorkerSettings, *, fetch_max_wait_ms: int = 500) -> AIOKafkaConsumer:
    """Reads without a group, from where it is told; asks for the ends of logs.

    A fetch that is under way is waited for before another assignment is fetched: who changes it often waits less long.
    """
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap, enable_auto_commit=False, auto_offset_reset="none",
        max_partition_fetch_bytes=4_194_304, retry_backoff_ms=20,  # it first hears of a topic by being refused
        fetch_max_wait_ms=fetch_max_wait_ms,
    )  # fmt: skip


@asynccontextmanager
async def opened(client: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - untyped
    """A client for as long as the block lasts; one that cannot be started is let go of, too."""
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


async def require(bootstrap_servers: str, *topics: str) -> None:
    """See at once that topics are there: to ask for one that is not only waits.

    Raises:
        UnknownTopicOrPartitionError: one is not.
        KafkaConnectionError: no broker answers.
    """
    async with opened(AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)) as consumer:
        there = await consumer.topics()
    for topic in topics:
        if topic not in there:
            raise UnknownTopicOrPartitionError(f"there is no topic {topic}; `stream-recon topics create` makes it")


async def read_spans(
    settings: WorkerSettings,
    spans: dict[TopicPartition, tuple[int, int]],
    handle: Callable[[TopicPartition, Any], None],
    progress: Any = None,  # noqa: ANN401 - a metric
) -> None:
    """Give each record of each span (first offset, end) to `handle`, in order."""
    if any(start < end for start, end in spans.values()):
        async with opened(new_reader(settings)) as reader:
            await read_spans_by(reader, spans, handle, progress)


async def read_spans_by(
    reader: AIOKafkaConsumer,
    spans: dict[TopicPartition, tuple[int, int]],
    handle: Callable[[TopicPartition, Any], None],
    progress: Any = None,  # noqa: ANN401 - a metric
) -> None:
    """The same with a reader that is there already."""
    spans = {tp: (start, end) for tp, (start, end) in spans.items() if start < end}
    reader.assign(list(spans))
    for tp, (start, _) in spans.items():
        reader.seek(tp, start)
    while spans:
        for tp, records in (await reader.getmany(*spans, timeout_ms=500, max_records=1000)).items():
            end = spans[tp][1]
            for record in records:
                if record.offset < end:
                    handle(tp, record)
            if progress is not None:
                progress.inc(len(records))
        for tp in list(spans):
            if await reader.position(tp) >= spans[tp][1]:
                del spans[tp]


def offset_in(
    found: dict[TopicPartition, Any], tp: TopicPartition, ends: dict[TopicPartition, int]
) -> int:  # fmt: skip
    """What `offsets_for_times` found; where nothing is that new, the end."""
    first = found.get(tp)
    return int(first.offset) if first is not None and first.offset is not None else ends[tp]


def new_admin(settings: WorkerSettings) -> AIOKafkaAdminClient:
    """Asks for committed offsets, and deletes old state."""
    return AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
