"""The keeper of the partition numbers that this worker owns: what a host gives its packs to.

    pack -> decode -> lane.step -> lane.drain -> one record of state -> (publisher) alerts, DLQ -> acknowledged

Work items come as packs too; they are taken (`core.taking`), and answered in the same record of state.

It knows nothing of how packs are read or ownership is agreed on; both hosts drive it by `assigned`, `revoked`, `apply`
and `tick`, and ask it where to read on (`position`) and what to commit.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from stream_recon.core.lane import Batch
from stream_recon.core.taking import answers
from stream_recon.domain.decode import Rejected, decode_pack
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.shell import metrics
from stream_recon.shell.intake import apply_items, outputs_of
from stream_recon.shell.publishing import TRIGGER_HEADER, Held, Unfinished
from stream_recon.shell.restoring import pointer_metadata
from stream_recon.shell.settings import RefusedError
from stream_recon.shell.state_log import SNAPSHOT_ENTRIES, Entry, Output, SnapshotPart, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import AIOKafkaAdminClient

    from stream_recon.core.register import Published
    from stream_recon.domain.events import Event, Heartbeat, Origin, Stream
    from stream_recon.shell.fetching import Chunk, Pack
    from stream_recon.shell.publishing import Publisher
    from stream_recon.shell.restoring import Restorer
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_JSON = msgspec.json.Encoder()
_DEAD_BYTES = 1_000_000
"""A record so large that with its headers it would not fit into the DLQ is cut off there, and says so."""


class Keeper:
    """Applies packs to the lanes of the partition numbers held, durably."""

    def __init__(
        self, settings: WorkerSettings, publisher: Publisher, restorer: Restorer, reader: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
    ) -> None:  # fmt: skip
        self._settings, self._publisher, self._restorer = settings, publisher, restorer
        self._reader, self._admin = reader, admin
        self._sources = settings.plan.sources()
        self._topics, self._partials = settings.plan.consumed(), settings.plan.name("partials")
        self._held: dict[int, Held] = {}
        self._lock = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self.ready = False
        """What is assigned is restored."""
        self.generation = 0
        """How often something was assigned: a pack is good only in the generation that it was fetched in."""
        self.progress_at = time.monotonic()
        """When there was last nothing to do, or something done (monotonic, s)."""

    async def assigned(self, tps: Collection[Any]) -> None:
        """Own exactly these topic-partitions from now on; returns when they can be read on from `position`.

        Raises:
            RefusedError: what is needed to go on is no longer there, or the topics are not assigned alike.
        """
        partitions = {tp.partition for tp in tps}
        if len(tps) != len(partitions) * len(self._topics):
            raise RefusedError(f"some topics are assigned in part: {sorted((t.topic, t.partition) for t in tps)}")
        async with self._lock:
            await self._publisher.finished()
            self._held = await self._restorer.acquire(sorted(partitions), self._held)
            self.generation += 1
            self.ready = True
            metrics.PARTITIONS.set(len(self._held))
            _log.info("owns", partitions=sorted(self._held))

    def revoked(self) -> None:
        """Own nothing until `assigned` again; what is held is remembered, and may turn out to be still right."""
        self.ready = False

    async def finished(self) -> None:
        """Wait until all that was applied is acknowledged."""
        async with self._lock:
            await self._publisher.finished()

    def position(self, topic: str, partition: int) -> int:
        """Where to read on: the first offset that has not been applied."""
        return self._held[partition].position.next[topic]

    def metadata(self, partition: int) -> str:
        """What to commit along with offsets of this partition number."""
        held = self._held.get(partition)
        return pointer_metadata(held.pointer) if held is not None else ""

    async def apply(
        self, pack: Pack, generation: int, acknowledge: Callable[[dict[str, int]], None]
    ) -> None:  # fmt: skip
        """Apply a pack; `acknowledge` is called, with the offsets that may be committed, when all is durable.

        Raises:
            RefusedError: records are missing between what was applied and this pack.
        """
        async with self._lock:
            held = self._held.get(pack.partition) if self.ready and generation == self.generation else None
            if held is None:
                acknowledge({})  # read before it was taken away; its owner reads it again
                return
            outputs: list[Output] = []
            reached: dict[str, int] = {}
            for chunk in pack.chunks:
                fresh = self._fresh(held, chunk)
                if fresh is not None:
                    is_source = chunk.topic in self._sources
                    outputs += self._step(held, fresh) if is_source else self._take(held, fresh)
                    reached[chunk.topic] = held.position.next[chunk.topic] = fresh.next
                    held.idle_since.pop(chunk.topic, None)
            metrics.PACK.observe(len(pack))
            if not reached:
                acknowledge({})
                return
            outputs += self._answers(held)
            await self._settle(held, outputs, lambda: acknowledge(reached))
            if held.written_bytes > max(self._settings.snapshot_bytes, 3 * held.snapshot_bytes):
                await self._snapshot(held)

    def _fresh(self, held: Held, chunk: Chunk) -> Chunk | None:
        done = held.position.next[chunk.topic]
        if chunk.start > done:
            raise RefusedError(
                f"{chunk.topic} partition {chunk.partition}: records {done} to {chunk.start - 1} are missing: "
                "they were deleted unread, or the topic was made anew"
            )
        if chunk.next <= done:
            return None
        return chunk if chunk.start == done else chunk.beyond(done)

    def _step(self, held: Held, chunk: Chunk) -> list[Output]:
        origin, stream = self._sources[chunk.topic]
        started = time.perf_counter()
        events = decode_pack(chunk.values, chunk.keys, chunk.times_us, origin, stream, chunk.header_counts)
        decoded = time.perf_counter()
        values = chunk.values if None not in chunk.values else [value or b"" for value in chunk.values]
        batch = Batch(origin, stream, chunk.topic, chunk.offsets, chunk.times_us, cast("list[bytes]", values), events)
        held.lane.step(batch)
        metrics.STAGE.labels("decode").inc(decoded - started)
        metrics.STAGE.labels("step").inc(time.perf_counter() - decoded)
        kinds = Counter(map(type, events))
        for kind, count in kinds.items():
            metrics.EVENTS.labels(origin, kind.__name__.lower()).inc(count)
        if Rejected not in kinds:
            return []
        return [_dead(chunk, i, event) for i, event in enumerate(events) if isinstance(event, Rejected)]

    def _take(self, held: Held, chunk: Chunk) -> list[Output]:
        return apply_items(held.lane, chunk, self._sources, held.position.next)

    def _answers(self, held: Held, now_us: int | None = None) -> list[Output]:
        """Answer what has reached what it waits for; and what waits no longer, where the time is told."""
        return outputs_of(answers(held.lane, self._sources, held.position.next, now_us))

    async def _settle(self, held: Held, outputs: list[Output], acknowledge: Callable[[], None]) -> None:
        """Write down what the lane concluded and what changed, and let the publisher do the rest."""
        drained = held.lane.drain()
        outputs = [*map(_alert, drained.published), *map(_tombstone, drained.retired), *outputs]
        messages = encode(Entry(held.position, drained.changes, outputs), held.epoch)
        await self._write(held, messages, outputs, acknowledge)

    async def _write(
        self, held: Held, messages: list[tuple[bytes, list[tuple[str, bytes]]]], outputs: list[Output],
        acknowledge: Callable[[], None],
    ) -> None:  # fmt: skip
        def done() -> None:
            self.progress_at = time.monotonic()
            acknowledge()

        metrics.STATE_BYTES.inc(sum(len(value) for value, _ in messages))
        sent = await self._publisher.write(held, messages)
        await self._publisher.put(Unfinished(held, sent, outputs, done))

    async def _snapshot(self, held: Held) -> None:
        """Write down all that is known, so that what was written before is no longer needed."""
        await self._publisher.finished()
        position, epoch, before = held.position, held.epoch, held.written_bytes
        position.delivered = held.tail
        sent = []
        number = 1
        parts = held.lane.snapshot(SNAPSHOT_ENTRIES)
        part = next(parts)
        while True:
            following = next(parts, None)
            record = SnapshotPart(number, following is None, position, part)
            sent += await self._publisher.write(held, encode(record, epoch))
            if following is None:
                break
            part, number = following, number + 1
            await asyncio.sleep(0)
        await self._publisher.follow(held, sent)
        previous, start = held.pointer, sent[0].result().offset
        held.pointer, held.snapshot_bytes, held.written_bytes = start, held.written_bytes - before, 0
        metrics.SNAPSHOTS.inc()
        _log.info("snapshot", partition=held.partition, offset=start, parts=number, bytes=held.snapshot_bytes)
        if previous is not None:
            task = asyncio.create_task(self._trim(held.partition, previous))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _trim(self, partition: int, before: int) -> None:
        tp = TopicPartition(self._settings.plan.name("state"), partition)
        try:
            await self._admin.delete_records({tp: RecordsToDelete(before_offset=before)})
        except KafkaError as error:
            _log.warning("old state could not be deleted", topic=tp.topic, partition=partition, error=repr(error))

    async def tick(self) -> None:
        """Look at what has been silent, and at how far behind we are; about once a second."""
        tps = [TopicPartition(topic, p) for p in self._held for topic in (*self._topics, self._partials)]
        if not self.ready or not tps:
            self.progress_at = time.monotonic()
            return
        asked_at = time.monotonic()
        published = [held for held in self._held.values() if held.position.delivered == held.tail]
        try:
            ends = await self._reader.end_offsets(tps)
        except KafkaError as error:
            _log.warning("the ends of the topics are not known", error=repr(error))
            for held in self._held.values():
                held.idle_since.clear()
            return
        async with self._lock:
            if not self.ready:
                return
            for held in published:  # what is answered from then on can only lie behind what was there
                end = ends.get(TopicPartition(self._partials, held.partition), 0)
                held.position.partials_next = max(held.position.partials_next, end)
            lag: Counter[str] = Counter(dict.fromkeys(self._topics, 0))
            for held in self._held.values():
                lag.update(self._behind(held, ends, asked_at))
                await self._tick(held, asked_at)
            if not any(lag.values()):
                self.progress_at = time.monotonic()
            for topic, records in lag.items():
                metrics.LAG.labels(topic).set(records)
            self._measure()

    def _behind(self, held: Held, ends: dict[TopicPartition, int], asked_at: float) -> dict[str, int]:
        """By topic, how many records are not applied; notes since when there are none."""
        behind = {}
        for topic in self._topics:
            records = ends.get(TopicPartition(topic, held.partition), 0) - held.position.next[topic]
            behind[topic] = max(0, records)
            if records > 0:
                held.idle_since.pop(topic, None)
            else:
                held.idle_since.setdefault(topic, asked_at)
        return behind

    async def _tick(self, held: Held, now: float) -> None:
        idle_us = {
            self._sources[topic]: int((now - since) * 1e6)
            for topic, since in held.idle_since.items()
            if topic in self._sources
        }
        held.lane.tick(idle_us)
        for origin, stream, heartbeat in held.lane.trusted_heartbeats(idle_us):
            await self._beat(held.partition, origin, stream, heartbeat)
        answered = self._answers(held, time.time_ns() // 1000)
        drained = held.lane.drain()
        outputs = [*map(_alert, drained.published), *map(_tombstone, drained.retired), *answered]
        said = msgspec.msgpack.encode(drained.changes)
        if not outputs and said == held.last_tick:
            return
        held.last_tick = said
        messages = encode(Entry(held.position, drained.changes, outputs), held.epoch)
        await self._write(held, messages, outputs, lambda: None)

    async def _beat(self, partition: int, origin: Origin, stream: Stream, heartbeat: Heartbeat) -> None:
        """Write what `silence: trust` lets us conclude into the log, so that whoever reads it later sees it too."""
        topic = self._settings.plan.source(origin, stream)
        await self._publisher.producer.send_and_wait(topic, _JSON.encode(heartbeat), None, partition)

    def _measure(self) -> None:
        verdicts: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for held in self._held.values():
            verdicts.update(held.lane.counts)
            kinds.update(held.lane.register.newest.standing)
        metrics.OPEN.clear()
        for verdict, count in verdicts.items():
            metrics.VERDICTS.labels(verdict).set(count)
        for kind, count in kinds.items():
            metrics.OPEN.labels(kind).set(count)
        now_us = time.time_ns() // 1000
        for topic, carried in self._sources.items():
            lowest_us = min(
                (
                    source.watermark_us
                    for held in self._held.values()
                    for source in held.lane.directory.sources[carried].values()
                    if source.watermark_us >= 0
                ),
                default=None,
            )
            if lowest_us is not None:
                metrics.WATERMARK_LAG.labels(topic).set((now_us - lowest_us) / 1e6)


def _alert(published: Published) -> Output:
    alert = published.alert
    kind = alert.kind if isinstance(alert, Discrepancy) else alert.reason
    metrics.TRANSITIONS.labels(kind, alert.transition).inc()
    return Output(
        "alerts", alert.alert_id.encode(), _JSON.encode(alert), [(TRIGGER_HEADER, b"%d" % published.trigger_us)]
    )


def _tombstone(alert_id: str) -> Output:
    return Output("breaks", alert_id.encode(), None, [])


def _dead(chunk: Chunk, i: int, rejected: Event | Rejected) -> Output:
    assert isinstance(rejected, Rejected)
    metrics.DLQ.labels(rejected.reason).inc()
    key, value = chunk.keys[i], chunk.values[i]
    headers = [
        ("recon.error.reason", rejected.reason.encode()),
        ("recon.error.stage", rejected.stage.encode()),
        ("recon.error.topic", chunk.topic.encode()),
        ("recon.error.partition", b"%d" % chunk.partition),
        ("recon.error.offset", b"%d" % chunk.offsets[i]),
        ("recon.error.timestamp", b"%d" % chunk.times_us[i]),
        ("recon.error.exception", rejected.detail.encode(errors="backslashreplace")),
    ]
    size = len(key or b"") + len(value or b"")
    if size > _DEAD_BYTES:
        key = key[:1024] if key is not None else None
        value = value[: _DEAD_BYTES - 1024] if value is not None else None
        headers.append(("recon.error.cut_off_from_bytes", b"%d" % size))
    return Output("dlq", key, value, headers)
