"""Write canonical events and commands to their topics: for `publish`, and for gateways and trading systems in Python.

    async with Producer("localhost:9092") as producer:
        await producer.send(Fill(origin="exchange", venue="binance", ...))
        await producer.heartbeat("exchange", "gateway-1", "fills", through_us=now_us, venue="binance")

The key of an event is its account and the partitioner is the Java client's, so all topics agree on where an account is.
What was sent is known to be delivered only after `flush`, or at the end of the block.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2

from stream_recon.domain.control import canonical_json
from stream_recon.domain.events import STREAM_OF, Heartbeat, account_of, default_source
from stream_recon.domain.topics import TopicPlan, agreed

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from stream_recon.domain.control import Command
    from stream_recon.domain.events import Event, Origin, Stream

Headers = list[tuple[str, bytes]]
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=65_536)
def partition_of(account: str, partitions: int) -> int:
    """The partition of a key by the Java client's default partitioner."""
    return int((murmur2(account.encode()) & 0x7FFFFFFF) % partitions)


def headers_of(event: Event, value: bytes) -> Headers:
    """CloudEvents 1.0 in binary mode."""
    if isinstance(event, Heartbeat):
        source, ts_us = event.source, event.through_us
    else:
        source, ts_us = event.source or default_source(event.origin, event.venue), event.ts_us
    event_id = event.event_id or f"{zlib.crc32(value):08x}-{ts_us}"
    time = datetime.fromtimestamp(ts_us // 1_000_000, UTC).replace(microsecond=ts_us % 1_000_000)
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", f"stream_recon.{event.__struct_config__.tag}.v1".encode()),
        ("ce_source", source.encode()),
        ("ce_time", time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()),
        ("content-type", b"application/json"),
    ]


class Producer:
    """Sends events to the topics of `plan`; idempotent, acknowledged by all replicas."""

    def __init__(self, bootstrap_servers: str, plan: TopicPlan | None = None) -> None:
        self.plan = plan or TopicPlan()
        self.delivered = 0
        self._failure: BaseException | None = None
        self._there: set[str] = set()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            linger_ms=2,
            max_batch_size=262_144,
            max_request_size=1_048_576,
        )

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            aiokafka.errors.KafkaConnectionError: no broker answers.
        """
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Deliver what is on its way and let go."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._producer.stop()

    async def send(self, event: Event, value: bytes | None = None, stream: Stream | None = None) -> None:
        """Send one event (`value`: as it was written) to its topic, under its account.

        Raises:
            ValueError: a heartbeat, which goes to every partition of a stream: see `heartbeat`; or the topics have not
                as many partitions as `plan` says (`PartitionsError`).
            KafkaError: an earlier record could not be delivered.
        """
        stream = stream or STREAM_OF[type(event)]
        if stream is None or isinstance(event, Heartbeat):
            raise ValueError("a heartbeat goes to every partition of a stream: use heartbeat()")
        value = value if value is not None else _encode(event)
        account = account_of(event.venue, event.account_id)
        await self.send_raw(event.origin, stream, account, value, headers_of(event, value))

    async def send_raw(
        self, origin: Origin, stream: Stream, account: str, value: bytes, headers: Headers | None = None
    ) -> None:
        """Send bytes as they are, under an account's key."""
        await self._put(
            self.plan.source(origin, stream),
            partition_of(account, self.plan.partitions),
            account.encode(),
            value,
            headers or [],
        )

    async def heartbeat(
        self, origin: Origin, source: str, stream: Stream, through_us: int, venue: str | None = None
    ) -> None:
        """Say on every partition that `source` has delivered everything of `stream` up to `through_us`.

        `venue`: for which it speaks; needed unless its name is the default one, `origin|venue`.
        """
        event = Heartbeat(origin=origin, source=source, venue=venue, through_us=through_us)
        value = _encode(event)
        for partition in range(self.plan.partitions):
            await self._put(
                self.plan.source(origin, stream), partition, source.encode(), value, headers_of(event, value)
            )

    async def command(self, command: Command) -> None:
        """Send one command to whoever coordinates; what becomes of it is on recon.results.v1.

        Raises:
            KafkaError: an earlier record could not be delivered.
        """
        headers = [("content-type", b"application/json")]
        await self._put(self.plan.name("control"), 0, command.command_id.encode(), canonical_json(command), headers)

    async def flush(self) -> None:
        """Wait until everything sent so far is delivered.

        Raises:
            KafkaError: something could not be.
        """
        await self._producer.flush()
        self._raise_failure()

    async def _put(self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        self._raise_failure()
        if topic not in self._there:
            known = await self._producer.client.fetch_all_metadata()
            self._there = known.topics()
            if topic not in self._there:
                raise UnknownTopicOrPartitionError(f"there is no topic {topic}; `stream-recon topics create` makes it")
            there = [name for name in self.plan.sources() if name in self._there]
            if topic in there:
                agreed({name: len(known.partitions_for_topic(name)) for name in there}, self.plan.partitions)
        delivery = await self._producer.send(topic, value=value, key=key, partition=partition, headers=headers)
        delivery.add_done_callback(self._delivered)

    def _delivered(self, delivery: asyncio.Future[object]) -> None:
        if delivery.cancelled():
            return
        failure = delivery.exception()
        if failure is None:
            self.delivered += 1
        else:
            self._failure = self._failure or failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
