"""The run lane: takes the replays that recon.work.v1 asks of the partitions it owns, of which one reads at a time.

It is a consumer group of its own, in a process of its own, so that the stream lane is never slowed. What is taken up is
acknowledged only once its answer is safe on recon.partials.v1: if this process dies, whoever owns the partition next
does it again, and the coordinator takes the first complete answer. While an emergency is waiting for its answer, every
replay pauses.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any
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
from stream_recon.shell.turns import Doing, Emergencies, Readers, Taken, Turns
from stream_recon.strategies.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaProducer

    from stream_recon.shell.replaying import Replayed
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_ITEM: msgspec.json.Decoder[WorkItem] = msgspec.json.Decoder(WorkItem)
_JSON = msgspec.json.Encoder()
_BACKOFF_S = 0.5
_LONGEST_WAIT_S = 10.0
_LOOK_S = 1.0
_NAMED = 3
_TOLD = 64
"""So many of those that wait are told how it goes."""
QUEUED_US = 5_000_000
"""So long after its deadline what has not begun is answered; what begins before then only reads, and waits no more."""
OVERTIME_US = 30_000_000
"""After its deadline an item is nobody's matter any more."""


class RunLane(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped
    """Replays: one reads, others wait for their feeds to settle (`shell.turns`)."""

    def __init__(self, settings: WorkerSettings, producer: AIOKafkaProducer) -> None:
        self._settings, self._producer = settings, producer
        self._work = settings.plan.name("work")
        self._partials = settings.plan.name("partials")
        self._waiting: deque[Taken] = deque()
        """What has not begun, in order."""
        self._open: dict[tuple[int, int], Taken] = {}
        """By partition and offset, what has not been answered."""
        self._seen: dict[int, int] = {}
        """By partition, the next offset to read."""
        self._emergencies = Emergencies()
        self._turns = Turns(self._emergencies)
        self._registry = registry()
        self._readers = Readers(settings)
        self._checkpoints = new_reader(settings, fetch_max_wait_ms=10)
        """Of whoever sits at the desk. A client that is given other topics asks the cluster for them first, so that
        replays have others."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, group_id=f"{settings.group_id}-runs", enable_auto_commit=False,
            auto_offset_reset="earliest", session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_s * 1000), max_poll_interval_ms=3_600_000,
        )  # fmt: skip

    async def run(self) -> None:
        """Take work for ever.

        Raises:
            ExceptionGroup: of what ended it, such as a KafkaError where the broker is lost.
        """
        clients = self._consumer, self._checkpoints
        try:
            await asyncio.gather(*(client.start() for client in clients), self._warm())
            self._consumer.subscribe([self._work], listener=self)
            async with asyncio.TaskGroup() as group:
                for work in (self._take(), self._begin(group), self._look_after_waiting()):
                    group.create_task(work)
        finally:
            await asyncio.gather(*(client.stop() for client in clients), self._readers.stop())

    async def _warm(self) -> None:
        """Have a reader ready for the first."""
        await self._readers.give_back(await self._readers.take())

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What is open of these is somebody else's now."""
        lost = {tp.partition for tp in revoked}
        self._drop(lambda taken: taken.partition in lost)
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
                taken = self._open[partition, record.offset] = Taken(partition, record.offset, item)
                self._waiting.append(taken)
                self._turns.changed.set()
        elif isinstance(item, CancelItem):
            self._drop(lambda taken: taken.item.run_id == item.run_id)
            self._emergencies.over(item.run_id)
        elif isinstance(item, LiveItem) and item.type == "emergency":
            self._emergencies.add(item.run_id, item.deadline_us)

    def _drop(self, unwanted: Callable[[Taken], bool]) -> None:
        """Nobody waits for an answer of us to these any more."""
        self._waiting = deque(taken for taken in self._waiting if not unwanted(taken))
        self._open = {at: taken for at, taken in self._open.items() if not unwanted(taken)}
        for doing in self._turns.under_way:
            doing.over = doing.over or unwanted(doing.taken)

    async def _commit(self) -> None:
        """Commit up to the oldest item that is not answered."""
        upto = dict(self._seen)
        for partition, offset in self._open:
            if partition in upto:
                upto[partition] = min(upto[partition], offset)
        owned = {tp.partition for tp in self._consumer.assignment()}
        offsets = {TopicPartition(self._work, p): offset for p, offset in upto.items() if p in owned}
        if offsets:
            try:
                await self._consumer.commit(offsets)
            except Exception as error:  # noqa: BLE001 - the next one will do; nothing is lost by committing late
                _log.warning("offsets could not be committed", error=repr(error))

    def _answered(self, taken: Taken) -> None:
        """It need not be done again, unless it has come again meanwhile."""
        if self._open.get((taken.partition, taken.offset)) is taken:
            del self._open[taken.partition, taken.offset]

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        """Let what waits begin, in order, as the desk and the room allow."""

        def may() -> bool:
            return bool(self._waiting) and self._turns.has_room

        while True:
            await self._turns.until(may)
            await self._turns.desk.acquire()
            if not may():
                self._turns.desk.release()
                continue
            doing = Doing(self._waiting.popleft(), self._turns, self._progress)
            self._turns.under_way.append(doing)
            group.create_task(self._work_on(doing))

    async def _work_on(self, doing: Doing) -> None:
        try:
            await self._do(doing)
            self._answered(doing.taken)
        finally:
            doing.leave()
            self._turns.under_way.remove(doing)
            self._turns.changed.set()
            if doing.reader is not None:
                await self._readers.give_back(doing.reader)

    async def _look_after_waiting(self) -> None:
        """Tell what waits why it does; what has waited for longer than its run lasts is answered with that."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for place, taken in enumerate(list(self._waiting)):
                if taken not in self._waiting:
                    continue
                is_late = _now_us() > taken.item.deadline_us + QUEUED_US
                if place >= _TOLD and not is_late:
                    continue
                behind = self._behind(taken)
                if is_late:
                    self._waiting.remove(taken)
                    why = f"it was queued {behind} until its time was over: nothing was compared"
                    _log.warning("not begun in time", run_id=taken.item.run_id, partition=taken.partition, why=why)
                    answer = Partial(run_id=taken.item.run_id, partition=taken.partition, errors=[why])
                    await self._write([answer], taken.partition)
                    self._answered(taken)
                    continue
                try:
                    await self._progress(taken, f"queued {behind}", 0, 1)
                except KafkaError as error:
                    _log.warning("progress could not be told", error=repr(error))

    def _behind(self, taken: Taken) -> str:
        """What goes before it."""
        ahead = [doing.taken for doing in self._turns.under_way]
        ahead += takewhile(lambda each: each is not taken, self._waiting)
        own = taken.item.run_id
        runs = {each.item.run_id: each.item.type for each in ahead if each.item.run_id != own}
        if not runs:
            return "behind other partitions of its run"
        named = [f"run {run_id} ({kind})" for run_id, kind in list(runs.items())[:_NAMED]]
        more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
        return f"behind {', '.join(named)}{more}"

    # -- doing -----------------------------------------------------------------------------------------------------

    async def _do(self, doing: Doing) -> None:
        taken, wait_s = doing.taken, _BACKOFF_S
        item = taken.item
        retries = ReconciliationConfig(**item.config).retry_attempts
        errors: list[str] = []
        for attempt in range(retries + 1):
            try:
                if attempt:
                    metrics.RETRIES.labels(item.type).inc()
                    await doing.nap(wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                async with doing.at_desk():
                    done = await self._replayed(doing)
                await self._answer(taken, done)
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

    async def _replayed(self, doing: Doing) -> Replayed:
        taken, item = doing.taken, doing.taken.item
        strategy = self._registry.of(item.strategy)
        if doing.reader is None:
            doing.reader = await self._readers.take()
        carried: list[CheckpointPart] = []
        notes: list[str] = []
        started = time.perf_counter()
        if item.checkpoint is not None:
            kept = TopicPartition(self._partials, taken.partition)
            carried = await read_checkpoint(self._checkpoints, kept, item.checkpoint)
            self._checkpoints.pause(*self._checkpoints.assignment())  # else it goes on asking for more
            if not carried:
                notes.append(f"the closing state of run {item.checkpoint.run_id} is no longer there: it ran as full")
        replay = Replay(self._settings, strategy, taken.partition, item, doing, carried)
        restored_s = time.perf_counter() - started
        again = ""
        try:
            done = await replay.run(doing.reader)
        except LookupError as error:
            if not carried:
                raise
            again = f"since the checkpoint {error}"
        else:
            again = "a record was older than the checkpoint remembers" if done.beyond else ""
        if again:
            notes.append(f"partition {taken.partition}: {again}: it ran as full")
            del replay
            async with doing.at_desk():
                done = await Replay(self._settings, strategy, taken.partition, item, doing).run(doing.reader)
        elif carried:
            done.partial.seconds["restore"] = restored_s
        done.partial.notes += notes
        return done

    async def _progress(self, taken: Taken, stage: str, records: int, of: int) -> None:
        """Tell how far a replay is."""
        run_id = taken.item.run_id
        progress = Progress(run_id=run_id, partition=taken.partition, stage=stage, records=records, of=of)
        await self._producer.send(self._partials, _JSON.encode(progress), run_id.encode(), taken.partition)

    async def _answer(self, taken: Taken, done: Replayed) -> None:
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
