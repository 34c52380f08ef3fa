"""Read what stream-recon publishes: for `tail`, `breaks`, `break` and `explain`, and for consumers written in Python.

Delivery is at least once; a consumer keeps the highest version of each alert id.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.shell.clients import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from stream_recon.domain.discrepancies import Alert

IDLE_S = 1.0
"""After so long without a record the log is looked at."""
PATIENCE_S = 4.0
_PAUSE_S = 0.2
_decode = msgspec.json.Decoder(Discrepancy | FeedCondition).decode


class Received(NamedTuple):
    """One transition, and when the broker got it."""

    alert: Alert
    time_us: int
    trigger_us: int | None
    """Kafka's time of the record that made it due."""


async def read(
    bootstrap_servers: str, topic: str, *, follow: bool, from_start: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Received]:  # fmt: skip
    """The transitions in `topic` (tombstones left out), up to its present end, or for ever.

    Who follows it for ever waits for a broker that is away, and begins anew where the log did; `tell` hears of both.

    Raises:
        UnknownTopicOrPartitionError: there is no such topic.
        KafkaConnectionError: no broker answers.
    """
    await require(bootstrap_servers, topic)
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",  # also where the log ends before what was read: then it was made anew
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        places = sorted(consumer.assignment())
        if not from_start:
            await consumer.seek_to_end(*places)
        for place in places:
            await consumer.position(place)  # settles where to begin, before anything is fetched
        ends = await consumer.end_offsets(places)
        watch = _Watch(consumer, bootstrap_servers, places, tell)
        if follow:
            await watch.begin()
        while True:
            if follow:
                await watch.look()
            if not follow and not [p for p in places if await consumer.position(p) < ends[p]]:
                return
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    watch.note(TopicPartition(topic, record.partition), record.offset)
                    if record.value is None or (
                        not follow and record.offset >= ends[TopicPartition(topic, record.partition)]
                    ):
                        continue
                    trigger = dict(record.headers).get("recon.trigger_us")
                    yield Received(
                        _decode(record.value), record.timestamp * 1000, int(trigger) if trigger is not None else None
                    )
    finally:
        await consumer.stop()


class _Watch:
    """Sees, where nothing comes, whether the broker is away, and whether the log is still the one that was read."""

    def __init__(
        self, consumer: AIOKafkaConsumer, servers: str, places: list[TopicPartition], tell: Callable[[str], None]
    ) -> None:
        self._consumer, self._servers, self._places, self._tell = consumer, servers, places, tell
        self._reached: dict[TopicPartition, int] = {}
        """The offset after the last that was read."""
        self._cluster: str | None = None
        self._away = False
        self._looked_s = time.monotonic()

    async def begin(self) -> None:
        """Note where it begins."""
        self._reached = {place: await self._consumer.position(place) for place in self._places}
        self._cluster = await _cluster_id(self._servers)

    def note(self, place: TopicPartition, offset: int) -> None:
        """A record was read."""
        if offset < self._reached.get(place, 0):
            self._made_anew(place)
        self._reached[place] = offset + 1
        self._looked_s = time.monotonic()

    async def look(self) -> None:
        """Ask for the ends of the log, if nothing has come for a while; wait for a broker that does not answer."""
        if time.monotonic() - self._looked_s < IDLE_S:
            return
        away = False
        while (found := await self._ask(cluster=away)) is None:
            if not away:
                self._tell(f"{self._servers} no longer answers for {self._places[0].topic}; waiting for it.")
            away = True
            await asyncio.sleep(_PAUSE_S)
        if away:
            self._tell(f"{self._servers} answers again.")
        ends, cluster = found
        for place in self._places:
            if cluster != self._cluster or ends[place] < self._reached[place]:
                self._made_anew(place)
                self._consumer.seek(place, 0)
        self._cluster = cluster
        self._looked_s = time.monotonic()

    async def _ask(self, *, cluster: bool) -> tuple[dict[TopicPartition, int], str | None] | None:
        """Where the log ends, and (if it may be another one) which cluster it is of; None: nobody answers."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                ends = dict(await self._consumer.end_offsets(self._places))
                return ends, await _cluster_id(self._servers) if cluster else self._cluster
        except (KafkaError, OSError, TimeoutError):
            return None

    def _made_anew(self, place: TopicPartition) -> None:
        if self._reached[place]:
            self._tell(f"{place.topic}-{place.partition} was made anew: it is read from its beginning.")
        self._reached[place] = 0


async def _cluster_id(servers: str) -> str | None:
    """Which cluster it is."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        found = (await admin.describe_cluster()).get("cluster_id")
    finally:
        await admin.close()
    return str(found) if found is not None else None


async def newest(bootstrap_servers: str, topic: str) -> dict[str, Received]:
    """The newest state of everything in `topic`, by alert id."""
    states: dict[str, Received] = {}
    async for received in read(bootstrap_servers, topic, follow=False):
        known = states.get(received.alert.alert_id)
        if known is None or known.alert.version < received.alert.version:
            states[received.alert.alert_id] = received
    return states
