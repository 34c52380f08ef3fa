"""Replaying the log of one partition number for a run: from where its time begins to where the feeds have settled.

What is read goes through a lane of its own, always from the topic that is furthest behind in event time, so that little
waits. Where many fills are read from the beginning, they are laid down on disk first, and those that agree beyond doubt
are taken out in columns (`columnar.spooled`): the lane judges the rest, and comes to the same.

Once the ends of the logs are reached and some feed has not passed the cut, more is waited for, until the run's
deadline; then what has not settled is told as such. The state of the stream is neither used nor touched.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from aiokafka.structs import TopicPartition

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.core.runs import Restriction, Tape, find, unsettled, watermarks
from stream_recon.core.trades import Rules
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.decode import Rejected, decode_pack
from stream_recon.domain.discrepancies import AbsoluteLimits, Discrepancy, FeedCondition, Thresholds, alert_id
from stream_recon.domain.events import ORIGINS, Heartbeat, default_source
from stream_recon.domain.work import Answer, CheckpointPart, Partial, in_parts
from stream_recon.shell.clients import offset_in, read_spans_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaConsumer

    from stream_recon.columnar.spooled import Pass
    from stream_recon.core.lane import Lane as AnyLane
    from stream_recon.domain.events import Event, Origin, Stream
    from stream_recon.domain.results import CheckpointAt, TopicCut
    from stream_recon.domain.work import ReplayItem
    from stream_recon.shell.settings import WorkerSettings
    from stream_recon.strategies.registry import Strategy

HOUR_US = 3_600_000_000
ANY_HORIZON_US = 1 << 62
CARRIED_US = HOUR_US
"""How far back a checkpoint remembers what agreed."""
_MARGIN_US = HOUR_US
"""What is told of a time may have reached Kafka that much earlier, by clocks that are wrong."""
_SETTLE_S = 0.2
COLUMNS_FROM = 20_000
"""Records of fills from which on it is worth while to take out in columns what agrees."""
_FEW = 1_000
"""Records of other topics, all of them heartbeats, that may be read beside."""
_SAMPLED = 200
_TURN_S = 0.1
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_LATE = "LATE_BEYOND_HORIZON"


class _Again(Exception):  # noqa: N818 - it ends an attempt, and is no error
    """What was taken out in columns may matter after all: the core has to see everything."""


class Cancelled(Exception):  # noqa: N818 - it ends a replay, and is no error
    """Nobody wants the run any more."""


class Oversight(Protocol):
    """Who may hold up a replay, and hears how far it is."""

    async def step(self, stage: str, records: int, of: int) -> None:
        """Called after each batch; returns when it may go on.

        Raises:
            Cancelled: it is to end.
        """

    async def aside(self, seconds: float) -> None:
        """Called where all has been read and more is waited for: others may go on for so long.

        Raises:
            Cancelled: it is to end.
        """


class Replayed(NamedTuple):
    """What a replay came to."""

    partial: Partial
    checkpoint: list[CheckpointPart]
    """Its closing state, if that was asked for."""
    beyond: bool
    """Something lay further back than the checkpoint that it began from remembers."""


class _Log:
    """One source topic's partition as it is being read."""

    def __init__(self, tp: TopicPartition, carried: tuple[Origin, Stream], start: int, end: int) -> None:
        self.tp, self.carried = tp, carried
        self.start, self._end = start, end
        self.is_truncated = False
        """Records that the run asked for have expired."""
        self.rewind()

    def rewind(self) -> None:
        """Nothing of it has been read."""
        self.position, self.end = self.start, self._end
        self.newest_us = -1
        self.firsts_us: dict[str, int] = {}
        """By source, the time of the first event that is left, where some have expired."""
        self.tape = Tape(self.tp.topic, self.tp.partition, self.start)


class Replay:
    """One partition number of one run."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a replay is of
        self, settings: WorkerSettings, strategy: Strategy, partition: int, item: ReplayItem, oversight: Oversight,
        carried: Iterable[CheckpointPart] = (),
    ) -> None:  # fmt: skip
        self._settings, self._strategy, self._item, self._oversight = settings, strategy, item, oversight
        self._partition = partition
        self._config = ReconciliationConfig(**item.config)
        self._restriction = Restriction(item.scope.accounts, settings.contracts)
        self._sources = {
            topic: carried for topic, carried in settings.plan.sources().items() if carried[1] in strategy.streams
        }
        self._next: dict[str, int] = {}
        parts = list(carried)
        self._contracts = settings.contracts.read_of(strategy.streams)
        self._lane: AnyLane = Lane(partition, self._contracts, self._rules(CARRIED_US if parts else ANY_HORIZON_US))
        for part in parts:
            self._lane.restore(msgspec.msgpack.decode(part.changes, type=Changes))
            self._next = part.next
        self._began_from = parts[0].run_id if parts else None
        self._records = 0
        self._known_ends: deque[dict[TopicPartition, int]] = deque()
        """Where logs ended while an attempt settled that is made once more: it stops there too."""
        self._ends_read: list[dict[TopicPartition, int]] = []
        self._pass: Pass | None = None
        """What has been taken out."""

    def _rules(self, horizon_us: int) -> Rules:
        absolute = {
            name: AbsoluteLimits(*(None if said is None else to_decimal(said) for said in limits))
            for name, limits in self._item.absolute.items()
        }
        thresholds = Thresholds(self._config.max_discrepancy_threshold, self._config.auto_resolve_threshold, absolute)
        return Rules(
            horizon_us=horizon_us, thresholds=thresholds, instruments=self._settings.instruments, idle_fills_kept=None,
            window_us=0,
        )  # fmt: skip

    async def run(self, reader: AIOKafkaConsumer) -> Replayed:
        """Read, compare, and say what stands at the cut.

        `reader` is started, and nobody else's meanwhile.

        Raises:
            Cancelled: the run is over.
            KafkaError: the log cannot be read.
        """
        logs, truncated = await self._open(reader)
        if self._may_use_columns(logs):
            with self._new_pass(logs) as columns:
                try:
                    return await self._replay(reader, logs, truncated, columns)
                except _Again:
                    self._rewind(reader, logs)
        return await self._replay(reader, logs, truncated, None)

    async def _replay(
        self, reader: AIOKafkaConsumer, logs: list[_Log], truncated: list[FeedCondition], columns: Pass | None
    ) -> Replayed:
        """Do it, the fills in columns or all of them in the core.

        Raises:
            _Again: it has to be done without columns.
        """
        started = time.perf_counter()
        if columns is None:
            await self._read(reader, logs)
        else:
            await self._read_in_columns(reader, logs, columns)
        read_s = time.perf_counter() - started
        if self._item.ends is None:
            await self._settle(reader, logs)
        settled_s = time.perf_counter() - started - read_s
        self._lane.tick({})
        self._lane.drain()
        partial = self._partial(logs, truncated)
        partial.seconds = {
            "read and compare": read_s, "settle": settled_s,
            "conclude": time.perf_counter() - started - read_s - settled_s,
        }  # fmt: skip
        beyond = self._began_from is not None and any(each.reason == _LATE for each in partial.conditions)
        keeps = self._item.keep_checkpoint and not beyond
        if keeps and self._pass is not None and not self._pass.is_forgotten(self._lane):
            raise _Again
        return Replayed(partial, self._checkpoint(logs) if keeps else [], beyond)

    async def _open(self, reader: AIOKafkaConsumer) -> tuple[list[_Log], list[FeedCondition]]:
        tps = {TopicPartition(topic, self._partition): carried for topic, carried in self._sources.items()}
        reader.assign(list(tps))
        begins, ends = await asyncio.gather(reader.beginning_offsets(list(tps)), reader.end_offsets(list(tps)))
        from_ms = max(0, (self._item.scope.from_us - _MARGIN_US) // 1000)
        found = await reader.offsets_for_times(dict.fromkeys(tps, from_ms))
        logs, truncated = [], []
        for tp, carried in tps.items():
            first = found.get(tp)
            at = offset_in(found, tp, ends)
            start = (self._item.starts or self._next).get(tp.topic, at)
            if start < begins[tp]:
                raise LookupError(
                    f"{tp.topic} partition {tp.partition}: records {start} to {begins[tp] - 1} are no longer there"
                )
            asked = self._item.ends
            end = min(asked.get(tp.topic, ends[tp]), ends[tp]) if asked is not None else ends[tp]
            log = _Log(tp, carried, start, end)
            logs.append(log)
            reader.seek(tp, start)
            if 0 < begins[tp] == at == start and first is not None:
                first_us = first.timestamp * 1000
                if first_us > self._item.scope.from_us:
                    log.is_truncated = True
                    truncated.append(self._truncated(tp, carried, first_us))
        return logs, truncated

    def _truncated(self, tp: TopicPartition, carried: tuple[Origin, Stream], first_us: int) -> FeedCondition:
        origin, stream = carried
        return FeedCondition(
            alert_id=alert_id("LOOKBACK_TRUNCATED", tp.topic, str(tp.partition)), version=1, transition="OPENED",
            status="OPEN", reason="LOOKBACK_TRUNCATED", severity="warning", origin=origin,
            source=default_source(origin, "*"), stream=stream, partition=tp.partition, account=None, since_us=first_us,
            waiting=0,
            cause=f"{tp.topic} partition {tp.partition} keeps nothing from before this time, and what was asked for "
            "begins earlier, of which nothing is said: lengthen its retention, or ask for a shorter lookback",
        )  # fmt: skip

    # -- in columns -------------------------------------------------------------------------------------------------

    def _may_use_columns(self, logs: list[_Log]) -> bool:
        """Whether it may be worth while; who verifies a run lets the core see everything."""
        fills = [log for log in logs if log.carried[1] == "fills"]
        return (
            self._began_from is None
            and self._item.ends is None
            and self._item.scope.accounts is None
            and len(fills) == len(ORIGINS)
            and not any(log.is_truncated for log in logs)
            and all(log.end > log.start for log in fills)
            and sum(log.end - log.start for log in fills) >= COLUMNS_FROM
            and sum(log.end - log.start for log in logs if log not in fills) <= _FEW
        )

    def _new_pass(self, logs: list[_Log]) -> Pass:
        from stream_recon.columnar.spooled import Pass  # noqa: PLC0415 - DuckDB takes long to load

        topics = {log.carried[0]: log.tp.topic for log in logs if log.carried[1] == "fills"}
        carried_us = CARRIED_US if self._item.keep_checkpoint else None
        beside = any(log.end > log.start for log in logs if log.carried[1] != "fills")
        return Pass(topics, self._settings.contracts, carried_us, beside=beside)

    def _rewind(self, reader: AIOKafkaConsumer, logs: list[_Log]) -> None:
        """Begin once more."""
        self._lane = Lane(self._partition, self._contracts, self._rules(ANY_HORIZON_US))
        self._pass, self._records = None, 0
        self._known_ends, self._ends_read = deque(self._ends_read), []
        for log in logs:
            log.rewind()
            reader.seek(log.tp, log.start)

    async def _read_in_columns(self, reader: AIOKafkaConsumer, logs: list[_Log], columns: Pass) -> None:
        """Lay down all logs to their ends, take out what agrees, and let the core judge the rest.

        Raises:
            _Again: there is nothing to gain.
        """
        beside: dict[str, list[Any]] = {log.tp.topic: [] for log in logs if log.carried[1] != "fills"}
        for log in sorted(logs, key=lambda each: each.tp.topic not in beside):
            is_first = True
            while log.position < log.end:
                records = await self._fetch(reader, log)
                if log.tp.topic in beside:
                    beside[log.tp.topic] += records
                    if not all(isinstance(event, Heartbeat) for event in self._decode(log, records)):
                        raise _Again
                elif records:
                    if is_first and not columns.is_promising(self._decode(log, records[:_SAMPLED])):
                        raise _Again
                    is_first = False
                    self._lay_down(log, records, columns)
                left = sum(each.end - each.position for each in logs)
                await self._oversight.step("read", self._records, self._records + left)
        if not await self._sift(columns):
            raise _Again
        await self._judge(logs, beside, columns)
        self._pass = columns

    def _lay_down(self, log: _Log, records: list[Any], columns: Pass) -> None:
        origin, _ = log.carried
        if not columns.add(
            origin, [record.offset for record in records], [record.timestamp * 1000 for record in records],
            [record.key for record in records], [record.value for record in records],
            [len(record.headers) for record in records],
        ):  # fmt: skip
            raise _Again
        for record in records:
            log.tape.add(record.offset, record.timestamp * 1000, record.key, record.value)
        self._records += len(records)

    async def _sift(self, columns: Pass) -> bool:
        """Take out what agrees, beside the loop, which has other things to do meanwhile."""
        work = asyncio.create_task(asyncio.to_thread(columns.sift))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_TURN_S)
                await self._oversight.step("read", self._records, self._records)
        finally:
            while not work.done():  # a cancelled run ends once its thread has
                columns.interrupt()
                await asyncio.wait([work], timeout=_TURN_S)
        return work.result()

    async def _judge(self, logs: list[_Log], beside: dict[str, list[Any]], columns: Pass) -> None:
        """Let the core judge what is left, in the order of `_read`."""
        remainders = columns.remainders(self._lane)
        places = dict.fromkeys(beside, 0)
        while True:
            behind = [
                log
                for log in logs
                if (
                    places[log.tp.topic] < len(beside[log.tp.topic])
                    if log.tp.topic in beside
                    else remainders[log.tp.topic].position < remainders[log.tp.topic].lines
                )
            ]
            if not behind:
                break
            log = min(behind, key=lambda each: (each.newest_us, each.tp.topic))
            if log.tp.topic in beside:
                first = places[log.tp.topic]
                places[log.tp.topic] = first + self._config.batch_size
                self._step(log, beside[log.tp.topic][first : first + self._config.batch_size])
            else:
                remainders[log.tp.topic].step()
                log.newest_us = remainders[log.tp.topic].newest_us
            await self._oversight.step("read", self._records, self._records)
        self._lane.tallies["consumed"] += columns.taken_out
        self._lane.tallies["matched"] += columns.taken_out

    # -- in the core ------------------------------------------------------------------------------------------------

    async def _read(self, reader: AIOKafkaConsumer, logs: list[_Log]) -> None:
        """Read all logs to their ends."""
        while behind := [log for log in logs if log.position < log.end]:
            log = min(behind, key=lambda each: (each.newest_us, each.tp.topic))
            records = await self._fetch(reader, log)
            if records:
                self._step(log, records)
            left = sum(each.end - each.position for each in logs)
            await self._oversight.step("read", self._records, self._records + left)

    async def _fetch(self, reader: AIOKafkaConsumer, log: _Log) -> list[Any]:
        """Further records of a log, up to its end."""
        took = await reader.getmany(log.tp, timeout_ms=500, max_records=self._config.batch_size)
        position = await reader.position(log.tp)
        if position > log.end:  # it grew meanwhile: what came since is read later, if the end is moved
            reader.seek(log.tp, log.end)
        log.position = max(log.position, min(position, log.end))
        return [record for record in took.get(log.tp, []) if record.offset < log.end]

    @staticmethod
    def _decode(log: _Log, records: list[Any]) -> list[Event | Rejected]:
        origin, stream = log.carried
        return decode_pack(
            [record.value for record in records], [record.key for record in records],
            [record.timestamp * 1000 for record in records], origin, stream,
            [len(record.headers) for record in records],
        )  # fmt: skip

    def _step(self, log: _Log, records: list[Any]) -> None:
        origin, stream = log.carried
        times_us = [record.timestamp * 1000 for record in records]
        events = self._decode(log, records)
        for record, time_us in zip(records, times_us, strict=True):
            log.tape.add(record.offset, time_us, record.key, record.value)
        if log.is_truncated:
            for event in events:
                if not isinstance(event, Rejected | Heartbeat):
                    source = event.source or default_source(origin, event.venue)
                    log.firsts_us.setdefault(source, event.ts_us)
        if self._pass is not None and self._pass.concerns(stream, events):
            raise _Again
        newest_us = max(map(_time_us, events), default=-1)
        log.newest_us = max(log.newest_us, newest_us)
        batch = Batch(
            origin, stream, log.tp.topic, [record.offset for record in records], times_us,
            [record.value or b"" for record in records], events,
        )  # fmt: skip
        self._lane.step(self._restriction.apply(batch))
        self._lane.drain()
        self._records += len(records)

    async def _settle(self, reader: AIOKafkaConsumer, logs: list[_Log]) -> None:
        """Wait until all feeds have passed the cut, at most until the deadline."""
        while unsettled(self._lane, self._item.scope, self._strategy.streams):
            if not self._known_ends:
                if time.time_ns() // 1000 >= self._item.deadline_us:
                    return
                await self._oversight.aside(_SETTLE_S)
                self._known_ends.append(await reader.end_offsets([log.tp for log in logs]))
            ends = self._known_ends.popleft()
            self._ends_read.append(ends)
            for log in logs:
                log.end = ends[log.tp]
            await self._read(reader, logs)
            await self._oversight.step("settle", self._records, self._records)

    def _partial(self, logs: list[_Log], truncated: list[FeedCondition]) -> Partial:
        scope = self._item.scope
        found = find(
            self._lane, scope, self._strategy.streams, self._item.type, pending=self._config.include_pending_trades,
            kept_us=self._kept_us(logs),
        )  # fmt: skip
        counts = self._lane.counts | found.verdicts
        counts["consumed"] = self._records  # of a lane that goes on, what is new
        known = self._lane.directory.by_name
        return Partial(
            run_id=self._item.run_id, partition=self._partition, discrepancies=found.discrepancies,
            conditions=[*found.conditions, *truncated], unsettled=found.unsettled, topics=self._cuts(logs),
            counts=counts, pending=found.pending, accounts=[name for name in scope.accounts or () if name in known],
            checkpoint_of=self._began_from, reported=list(found.reported),
        )  # fmt: skip

    def _kept_us(self, logs: list[_Log]) -> int:
        """From when on all logs hold what was told: what is kept of a source is in order by its contract."""
        firsts_us = [us for log in logs for us in log.firsts_us.values()]
        accounts = self._lane.directory.accounts.values()
        wait_us = max((max(account.grace_us) + max(account.within_us) for account in accounts), default=0)
        return max(firsts_us) + wait_us if firsts_us else 0

    def _cuts(self, logs: list[_Log]) -> list[TopicCut]:
        far = watermarks(self._lane)
        cuts = []
        for log in logs:
            log.tape.end_offset = log.position
            cuts.append(log.tape.cut(far.get(log.carried, {})))
        return cuts

    def _checkpoint(self, logs: list[_Log]) -> list[CheckpointPart]:
        for clock in self._lane.directory.clocks.values():
            clock.owed_since_us = UNKNOWN_US  # it depends on where batches ended, and no run asks for it
        self._lane.shorten(CARRIED_US)
        self._lane.drain()
        positions = {log.tp.topic: log.position for log in logs}
        pieces = [msgspec.msgpack.encode(changes) for changes in self._lane.snapshot(2_000)]
        return [
            CheckpointPart(
                run_id=self._item.run_id, partition=self._partition, number=number, last=number == len(pieces),
                next=positions, changes=piece,
            )
            for number, piece in enumerate(pieces, 1)
        ]  # fmt: skip


def _time_us(event: Event | Rejected) -> int:
    """How far a record brings its topic."""
    if isinstance(event, Heartbeat):
        return event.through_us
    return -1 if isinstance(event, Rejected) else event.ts_us


def parts_of(partial: Partial) -> list[Partial]:
    """A partial in parts small enough to be one record each."""
    pages = list(in_parts([*partial.discrepancies, *partial.conditions]))
    more = Partial(run_id=partial.run_id, partition=partial.partition, attempt=partial.attempt)
    return [
        msgspec.structs.replace(
            more if number > 1 else partial, part=number, parts=len(pages),
            discrepancies=[each for each in page if isinstance(each, Discrepancy)],
            conditions=[each for each in page if isinstance(each, FeedCondition)],
        )
        for number, page in enumerate(pages, 1)
    ]  # fmt: skip


async def read_checkpoint(reader: AIOKafkaConsumer, tp: TopicPartition, at: CheckpointAt) -> list[CheckpointPart]:
    """The closing state of an earlier run, from recon.partials.v1; nothing, where it is not all there."""
    found: list[CheckpointPart] = []

    def note(_: TopicPartition, record: Any) -> None:  # noqa: ANN401 - untyped
        answer = _ANSWER.decode(record.value)
        if isinstance(answer, CheckpointPart) and answer.run_id == at.run_id:
            found.append(answer)

    begins = await reader.beginning_offsets([tp])
    if begins[tp] > at.first_offset:
        return []
    await read_spans_by(reader, {tp: (at.first_offset, at.end_offset)}, note)
    whole = [part.number for part in found] == list(range(1, len(found) + 1)) and found and found[-1].last
    return found if whole else []
