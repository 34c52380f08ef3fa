"""The run lane: takes the replays that recon.work.v1 asks of the partitions it owns, one at a time.

It is a consumer group of its own, in a process of its own, so that the stream lane is never slowed. What is taken up is
acknowledged only once its answer is safe on recon.partials.v1: if this process dies, whoever owns the partition next
does it again, and the coordinator takes the first complete answer. While an emergency is waiting for its answer, every
replay pauses.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.results import CheckpointAt
from stream_recon.domain.work import (
    Answer,
    CancelItem,
    CheckpointPart,
    LiveItem,
    Partial,
    Progress,
    ReplayItem,
    WorkItem,
)
from stream_recon.shell import metrics
from stream_recon.shell.clients import new_reader
from stream_recon.shell.replaying import Cancelled, Replay, parts_of, read_checkpoint
from stream_recon.strategies.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaProducer

    from stream_recon.shell.replaying import Replayed
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_ITEM: msgspec.json.Decoder[WorkItem] = msgspec.json.Decoder(WorkItem)
_JSON = msgspec.json.Encoder()
_PROGRESS_S = 0.5
_PAUSE_S = 0.05
_BACKOFF_S = 0.5
_LONGEST_WAIT_S = 10.0
OVERTIME_US = 30_000_000
"""After its deadline an item is nobody's matter any more."""


class _Taken(NamedTuple):
    partition: int
    offset: int
    item: ReplayItem


class _Emergencies:
    """Emergency runs that have not been answered yet: while there are any, replays wait."""

    def __init__(self) -> None:
        self._until_us: dict[str, int] = {}

    def add(self, run_id: str, deadline_us: int) -> None:
        """One has begun."""
        self._until_us[run_id] = deadline_us

    def over(self, run_id: str) -> None:
        """One has been answered."""
        self._until_us.pop(run_id, None)

    def any(self) -> bool:
        """Whether one is waited for still."""
        now_us = _now_us()
        self._until_us = {run_id: until for run_id, until in self._until_us.items() if until > now_us}
        return bool(self._until_us)


class RunLane(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped
    """Replays, one after the other."""

    def __init__(self, settings: WorkerSettings, producer: AIOKafkaProducer) -> None:
        self._settings, self._producer = settings, producer
        self._work = settings.plan.name("work")
        self._partials = settings.plan.name("partials")
        self._waiting: deque[_Taken] = deque()
        self._current: _Taken | None = None
        self._seen: dict[int, int] = {}
        """By partition, the next offset to read."""
        self._over: set[str] = set()
        self._emergencies = _Emergencies()
        self._registry = registry()
        self._arrived = asyncio.Event()
        self._reported_at = 0.0
        self._reader = new_reader(settings, fetch_max_wait_ms=10)
        self._checkpoints = new_reader(settings, fetch_max_wait_ms=10)
        """One for each kind of topic: a client that is given other topics asks the cluster for them first."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, group_id=f"{settings.group_id}-runs", enable_auto_commit=False,
            auto_offset_reset="earliest", session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_s * 1000), max_poll_interval_ms=3_600_000,
        )  # fmt: skip

    async def run(self) -> None:
        """Take work for ever.

        Raises:
            KafkaError: the broker is lost.
        """
        clients = self._consumer, self._reader, self._checkpoints
        try:
            await asyncio.gather(*(client.start() for client in clients))
            self._consumer.subscribe([self._work], listener=self)
            working = [asyncio.create_task(work) for work in (self._take(), self._replay())]
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await asyncio.gather(*(client.stop() for client in clients))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What is queued of these is somebody else's now."""
        lost = {tp.partition for tp in revoked}
        self._waiting = deque(taken for taken in self._waiting if taken.partition not in lost)
        if self._current is not None and self._current.partition in lost:
            self._over.add(self._current.item.run_id)
        for partition in lost:
            self._seen.pop(partition, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing is kept here that would have to be restored."""
        _log.info("run lane owns", partitions=sorted(tp.partition for tp in assigned))

    # -- taking ----------------------------------------------------------------------------------------------------

    async def _take(self) -> None:
        while True:
            for tp, records in (await self._consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    self._seen[tp.partition] = record.offset + 1
                    self._note(tp.partition, record)
            await self._commit()

    def _note(self, partition: int, record: Any) -> None:  # noqa: ANN401 - untyped
        try:
            item = _ITEM.decode(record.value or b"")
        except msgspec.MsgspecError as error:
            _log.warning("not a work item", partition=partition, offset=record.offset, error=str(error))
            return
        if isinstance(item, ReplayItem):
            if item.deadline_us + OVERTIME_US > _now_us():
                self._over.discard(item.run_id)
                self._waiting.append(_Taken(partition, record.offset, item))
                self._arrived.set()
        elif isinstance(item, CancelItem):
            self._over.add(item.run_id)
            self._emergencies.over(item.run_id)
        elif isinstance(item, LiveItem) and item.type == "emergency":
            self._emergencies.add(item.run_id, item.deadline_us)

    async def _commit(self) -> None:
        """Commit up to the oldest item that is not answered."""
        upto = dict(self._seen)
        for taken in (*self._waiting, *([self._current] if self._current is not None else [])):
            if taken.partition in upto:
                upto[taken.partition] = min(upto[taken.partition], taken.offset)
        owned = {tp.partition for tp in self._consumer.assignment()}
        offsets = {TopicPartition(self._work, p): offset for p, offset in upto.items() if p in owned}
        if offsets:
            try:
                await self._consumer.commit(offsets)
            except Exception as error:  # noqa: BLE001 - the next one will do; nothing is lost by committing late
                _log.warning("offsets could not be committed", error=repr(error))

    # -- doing -----------------------------------------------------------------------------------------------------

    async def _replay(self) -> None:
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            self._current = taken = self._waiting.popleft()
            if taken.item.run_id not in self._over:
                await self._do(taken)
            for client in (self._reader, self._checkpoints):
                client.pause(*client.assignment())  # else it goes on asking for more
            self._current = None

    async def _do(self, taken: _Taken) -> None:
        item, wait_s = taken.item, _BACKOFF_S
        retries = ReconciliationConfig(**item.config).retry_attempts
        errors: list[str] = []
        for attempt in range(retries + 1):
            try:
                if attempt:
                    metrics.RETRIES.labels(item.type).inc()
                    await self._nap(wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                await self._answer(taken, await self._replayed(taken))
            except Cancelled:
                _log.info("run is over", run_id=item.run_id, type=item.type, partition=taken.partition)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed here
                errors = [f"{type(error).__name__}: {error}"]
                _log.warning(
                    "an attempt failed", run_id=item.run_id, type=item.type, partition=taken.partition,
                    attempt=attempt + 1, error=errors[0], exc_info=not isinstance(error, KafkaError | LookupError),
                )  # fmt: skip
                if _now_us() > item.deadline_us:
                    break
                continue
            return
        errors.append(f"given up after {attempt + 1} attempts")
        await self._write([Partial(run_id=item.run_id, partition=taken.partition, errors=errors)], taken.partition)

    async def _nap(self, wait_s: float) -> None:
        assert self._current is not None
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            if self._current.item.run_id in self._over:
                raise Cancelled
            await asyncio.sleep(_PAUSE_S)

    async def _replayed(self, taken: _Taken) -> Replayed:
        item = taken.item
        strategy = self._registry.of(item.strategy)
        carried: list[CheckpointPart] = []
        notes: list[str] = []
        started = time.perf_counter()
        if item.checkpoint is not None:
            kept = TopicPartition(self._partials, taken.partition)
            carried = await read_checkpoint(self._checkpoints, kept, item.checkpoint)
            if not carried:
                notes.append(f"the closing state of run {item.checkpoint.run_id} is no longer there: it ran as full")
        replay = Replay(self._settings, strategy, taken.partition, item, self, carried)
        restored_s = time.perf_counter() - started
        again = ""
        try:
            done = await replay.run(self._reader)
        except LookupError as error:
            if not carried:
                raise
            again = f"since the checkpoint {error}"
        else:
            again = "a record was older than the checkpoint remembers" if done.beyond else ""
        if again:
            notes.append(f"partition {taken.partition}: {again}: it ran as full")
            done = await Replay(self._settings, strategy, taken.partition, item, self).run(self._reader)
        elif carried:
            done.partial.seconds["restore"] = restored_s
        done.partial.notes += notes
        return done

    async def step(self, stage: str, records: int, of: int) -> None:
        """Tell how far the replay is, and let emergencies pass (`replaying.Oversight`)."""
        assert self._current is not None
        run_id = self._current.item.run_id
        await asyncio.sleep(0)
        while run_id not in self._over and self._emergencies.any():  # noqa: ASYNC110 - they end by the clock too
            await asyncio.sleep(_PAUSE_S)
        if run_id in self._over:
            raise Cancelled
        if time.monotonic() > self._reported_at + _PROGRESS_S:
            self._reported_at = time.monotonic()
            partition = self._current.partition
            progress = Progress(run_id=run_id, partition=partition, stage=stage, records=records, of=of)
            await self._producer.send(self._partials, _JSON.encode(progress), run_id.encode(), partition)

    async def _answer(self, taken: _Taken, done: Replayed) -> None:
        partial, partition = done.partial, taken.partition
        partial.attempt = uuid4().hex[:8]
        if done.checkpoint:
            offsets = await self._write(done.checkpoint, partition)
            partial.checkpoint = CheckpointAt(partial.run_id, offsets[0], offsets[-1] + 1)
        await self._write(parts_of(partial), partition)
        _log.info(
            "partition replayed", run_id=partial.run_id, type=taken.item.type, partition=partition,
            records=partial.counts.get("consumed", 0), discrepancies=len(partial.discrepancies),
        )  # fmt: skip

    async def _write(self, answers: Iterable[Answer], partition: int) -> list[int]:
        """Write answers in order; gives their offsets."""
        sent = [
            await self._producer.send(self._partials, _JSON.encode(answer), answer.run_id.encode(), partition)
            for answer in answers
        ]
        return [(await delivery).offset for delivery in sent]


def _now_us() -> int:
    return time.time_ns() // 1000
