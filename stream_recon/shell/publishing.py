"""Publishing in order: nothing that follows from a pack before its state is safe, nothing acknowledged before both.

The records of state are sent as soon as they are known; here their deliveries are awaited, of each partition number one
pack after the other, while the next packs are stepped through. An error ends the process (`host`), so a pack is never
half published for longer than a restart takes: whoever restores the state finds inside it what was to be published.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from stream_recon.shell import metrics
from stream_recon.shell.clients import read_spans
from stream_recon.shell.settings import FencedError
from stream_recon.shell.state_log import is_claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaProducer

    from stream_recon.core.lane import Lane
    from stream_recon.shell.settings import WorkerSettings
    from stream_recon.shell.state_log import Output, Position

IN_FLIGHT = 16
"""So many packs may wait for their deliveries: with many partitions each of them is small."""
ID_HEADER = "recon.id"
TRIGGER_HEADER = "recon.trigger_us"


@dataclass(slots=True, eq=False)
class Held:
    """A partition number as its owner keeps it."""

    partition: int
    lane: Lane
    position: Position
    epoch: int
    tail: int
    """Offset of the newest record of its state."""
    written_bytes: int = 0
    """Since the newest snapshot."""
    snapshot_bytes: int = 0
    pointer: int | None = None
    """Where the newest complete snapshot starts."""
    last_tick: bytes = b""
    idle_since: dict[str, float] = field(default_factory=dict)
    """By topic, since when (monotonic, s) it has had nothing that is not applied."""


@dataclass(slots=True, eq=False)
class Unfinished:
    """What is still to happen for one pack."""

    held: Held
    sent: list[asyncio.Future[Any]]
    """The deliveries of its state."""
    outputs: list[Output]
    acknowledge: Callable[[], None]


class Publisher:
    """Sends what follows from each pack and acknowledges it, in order."""

    def __init__(self, settings: WorkerSettings, producer: AIOKafkaProducer) -> None:
        plan = settings.plan
        self.producer = producer
        self._settings = settings
        self._alerts, self._breaks, self._dlq = plan.name("alerts"), plan.name("breaks"), plan.name("dlq")
        self._state, self._partials = plan.name("state"), plan.name("partials")
        self._queue: asyncio.Queue[Unfinished] = asyncio.Queue(IN_FLIGHT)

    async def write(self, held: Held, messages: Iterable[tuple[bytes, list[tuple[str, bytes]]]]) -> list[Any]:
        """Send records of state; gives their deliveries to await."""
        key = b"%d" % held.partition
        sent = []
        for value, headers in messages:
            sent.append(await self.producer.send(self._state, value, key, held.partition, headers=headers))
            held.written_bytes += len(value)
        return sent

    async def put(self, unfinished: Unfinished) -> None:
        """Let a pack be finished in its turn; waits while too many are."""
        await self._queue.put(unfinished)

    async def finished(self) -> None:
        """Wait until nothing is left to do."""
        await self._queue.join()

    async def run(self) -> None:
        """Finish packs for ever.

        Raises:
            FencedError: another owner has written to the state in between.
            KafkaError: a delivery failed.
        """
        while True:
            turn: dict[int, list[Unfinished]] = {}
            unfinished = await self._queue.get()
            turn[unfinished.held.partition] = [unfinished]
            while not self._queue.empty():
                unfinished = self._queue.get_nowait()
                turn.setdefault(unfinished.held.partition, []).append(unfinished)
            await asyncio.gather(*map(self._finish, turn.values()))

    async def _finish(self, packs: Iterable[Unfinished]) -> None:
        """Finish packs of one partition number in order."""
        for unfinished in packs:
            held = unfinished.held
            await self.follow(held, unfinished.sent)
            if unfinished.outputs:
                await self.publish(held, held.tail, enumerate(unfinished.outputs))
                self._measure(unfinished.outputs)
            held.position.delivered = held.tail
            unfinished.acknowledge()
            self._queue.task_done()

    async def publish(self, held: Held, offset: int, outputs: Iterable[tuple[int, Output]]) -> None:
        """Publish outputs of the entry at `offset`, each with its number in it, and wait for their deliveries."""
        alerts, breaks, dead, answers = [], [], [], []
        for number, output in outputs:
            named = [*output.headers, (ID_HEADER, output_id(held.partition, offset, number))]
            if output.role == "dlq":
                dead.append((output.key, output.value, named))
            elif output.role == "partials":
                answers.append((output.key, output.value, named))
            else:
                breaks.append((output.key, output.value, named))
                if output.role == "alerts":
                    alerts.append((output.key, output.value, named))
        sent_alerts = await self._send(self._alerts, held.partition, alerts)
        sent_breaks = await self._send(self._breaks, held.partition, breaks)
        sent_dead = await self._send(self._dlq, 0, dead)
        sent_answers = await self._send(self._partials, held.partition, answers)
        # From where these and the next ones can be found, until all are known to be there: so it is the first one's.
        position = held.position
        position.alerts_next = await _first_offset(sent_alerts, position.alerts_next)
        position.dlq_next = await _first_offset(sent_dead, position.dlq_next)
        position.partials_next = await _first_offset(sent_answers, position.partials_next)
        for delivery in sent_breaks:
            await delivery

    def _measure(self, outputs: Iterable[Output]) -> None:
        now_us = time.time_ns() // 1000
        for output in outputs:
            for name, value in output.headers:
                if name == TRIGGER_HEADER:
                    metrics.LATENCY.observe(max(0, now_us - int(value)) / 1e6)

    async def follow(self, held: Held, sent: Iterable[asyncio.Future[Any]]) -> None:
        """Wait for deliveries of state, and see that nobody has claimed the partition since.

        Raises:
            FencedError: somebody has.
        """
        for delivery in sent:
            offset = (await delivery).offset
            if offset != held.tail + 1:
                await self._look_between(held, offset)
            held.tail = offset

    async def _look_between(self, held: Held, offset: int) -> None:
        """Somebody else has written: a new owner, or an earlier one that does not know yet that it is none."""
        claimed: list[int] = []

        def note(_: TopicPartition, record: Any) -> None:  # noqa: ANN401 - untyped
            if is_claim(record.headers):
                claimed.append(record.offset)

        log = TopicPartition(self._state, held.partition)
        await read_spans(self._settings, {log: (held.tail + 1, offset)}, note)
        if claimed:
            raise FencedError(
                f"partition {held.partition}: another worker took it over at offset {claimed[0]} of {self._state}"
            )

    async def _send(self, topic: str, partition: int, records: list[Any]) -> list[asyncio.Future[Any]]:
        sent = []
        at = 0
        while at < len(records):
            batch = self.producer.create_batch()
            while at < len(records):
                key, value, headers = records[at]
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    break
                at += 1
            sent.append(await self.producer.send_batch(batch, topic, partition=partition))
        return sent


async def _first_offset(sent: list[asyncio.Future[Any]], otherwise: int) -> int:
    """Wait for deliveries; gives the offset of the first record, or `otherwise` where there is none."""
    offsets = [(await delivery).offset for delivery in sent]
    return offsets[0] if offsets else otherwise


def output_id(partition: int, offset: int, number: int) -> bytes:
    """What tells an output from all others: where the state holds it."""
    return b"%d-%d-%d" % (partition, offset, number)
