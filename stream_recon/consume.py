"""Read what stream-recon publishes: for `tail`, `breaks`, `break` and `explain`, and for consumers written in Python.

Delivery is at least once; a consumer keeps the highest version of each alert id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.shell.clients import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream_recon.domain.discrepancies import Alert

_decode = msgspec.json.Decoder(Discrepancy | FeedCondition).decode


class Received(NamedTuple):
    """One transition, and when the broker got it."""

    alert: Alert
    time_us: int
    trigger_us: int | None
    """Kafka's time of the record that made it due."""


async def read(bootstrap_servers: str, topic: str, *, follow: bool, from_start: bool = True) -> AsyncIterator[Received]:
    """The transitions in `topic` (tombstones left out), up to its present end, or for ever.

    Raises:
        UnknownTopicOrPartitionError: there is no such topic.
        KafkaConnectionError: no broker answers.
    """
    await require(bootstrap_servers, topic)
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest" if from_start else "latest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        places = sorted(consumer.assignment())
        for place in places:
            await consumer.position(place)  # settles where to begin, before anything is fetched
        ends = await consumer.end_offsets(places)
        while True:
            if not follow and not [p for p in places if await consumer.position(p) < ends[p]]:
                return
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
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


async def newest(bootstrap_servers: str, topic: str) -> dict[str, Received]:
    """The newest state of everything in `topic`, by alert id."""
    states: dict[str, Received] = {}
    async for received in read(bootstrap_servers, topic, follow=False):
        known = states.get(received.alert.alert_id)
        if known is None or known.alert.version < received.alert.version:
            states[received.alert.alert_id] = received
    return states
