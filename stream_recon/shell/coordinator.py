"""The coordinator: whoever owns the one partition of recon.control.v1 takes commands, starts runs, and ends them.

What it decides is in `strategies.coordination`; here it is read, written and awaited, one thing after the other, so
that nothing is acknowledged before what follows from it is safe. Its state is recon.results.v1: a new owner reads it
back, and hands out again the work of every run that has not ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from stream_recon import __version__
from stream_recon.core.runs import digest
from stream_recon.domain.control import (
    Cancel,
    Reconcile,
    RefusedCommand,
    SetConfig,
    Undo,
    alert_command,
    name_of,
    read_command,
    screen,
)
from stream_recon.domain.corrections import Correction
from stream_recon.domain.layers import ConfigurationError
from stream_recon.domain.results import FINAL, ReconciliationResult
from stream_recon.domain.work import Answer, Progress
from stream_recon.produce import partition_of
from stream_recon.shell import metrics
from stream_recon.shell.clients import new_reader, offset_in, read_spans
from stream_recon.shell.governing import Governing
from stream_recon.shell.watching import FileWatch
from stream_recon.strategies.coordination import Board, Correct, Hand, Static
from stream_recon.strategies.registry import registry
from stream_recon.strategies.schedules import due

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaProducer

    from stream_recon.domain.control import Command
    from stream_recon.domain.topics import Role
    from stream_recon.shell.settings import WorkerSettings
    from stream_recon.strategies.coordination import Configured, Effect

_log = structlog.get_logger()
_RESULT = msgspec.json.Decoder(ReconciliationResult)
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_CORRECTION = msgspec.json.Decoder(Correction)
_JSON = msgspec.json.Encoder()
_POLL_MS = 50
_TICK_S = 0.5
_BEFORE_US = 60_000_000
"""Answers are looked for from so long before the run that waits for them."""


class Coordinator(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped
    """Takes commands while it owns the control topic, and is idle else."""

    def __init__(self, settings: WorkerSettings, producer: AIOKafkaProducer) -> None:
        self._settings, self._producer, self._plan = settings, producer, settings.plan
        self._board: Board | None = None
        self._configuration: Configured = Governing(settings.configuration)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap, group_id=f"{settings.group_id}-control", enable_auto_commit=False,
            auto_offset_reset="earliest", session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_s * 1000), max_poll_interval_ms=3_600_000,
            max_partition_fetch_bytes=4_194_304,
        )  # fmt: skip
        self._reader = new_reader(settings)
        self._answers = [TopicPartition(self._plan.name("partials"), p) for p in range(self._plan.partitions)]
        self._sources = [
            TopicPartition(topic, p) for topic in self._plan.sources() for p in range(self._plan.partitions)
        ]
        self._file = FileWatch()
        self._owner = False
        self._looked_us = 0

    async def run(self) -> None:
        """Coordinate for ever.

        Raises:
            KafkaError: the broker is lost.
        """
        await asyncio.gather(self._consumer.start(), self._reader.start())
        try:
            self._consumer.subscribe([self._plan.name("control")], listener=self)
            ticked = 0.0
            while True:
                took = await self._consumer.getmany(timeout_ms=_POLL_MS if self._owner else 500, max_records=10)
                if not self._owner:
                    continue
                if self._board is None:
                    await self._restore()
                for tp, records in took.items():
                    for record in records:
                        await self._take(record)
                        await self._commit(tp, record.offset + 1)
                await self._listen()
                if time.monotonic() > ticked + _TICK_S:
                    ticked = time.monotonic()
                    await self._tick()
        finally:
            await asyncio.gather(self._consumer.stop(), self._reader.stop())

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's
        """Somebody else may be the coordinator now."""
        self._owner, self._board = False, None

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Be the coordinator, if the control topic is ours."""
        self._owner = bool(list(assigned))

    async def _commit(self, tp: TopicPartition, offset: int) -> None:
        try:
            await self._consumer.commit({tp: offset})
        except KafkaError as error:  # it is read again, and found to be done
            _log.warning("a command could not be acknowledged", error=repr(error))

    # -- state --------------------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Know what is known."""
        tp = TopicPartition(self._plan.name("results"), 0)
        begins, ends = await self._reader.beginning_offsets([tp]), await self._reader.end_offsets([tp])
        results: list[ReconciliationResult] = []

        def note(_: TopicPartition, record: Any) -> None:  # noqa: ANN401 - untyped
            if record.value is not None:
                results.append(_RESULT.decode(record.value))

        await read_spans(self._settings, {tp: (begins[tp], ends[tp])}, note)
        static = Static(
            partitions=self._plan.partitions,
            contracts_digest=digest(self._settings.contracts.model_dump(mode="json")),
            instruments_digest=digest(self._settings.instruments.model_dump(mode="json")),
            code_version=__version__,
            partition_of=lambda account: partition_of(account, self._plan.partitions),
        )
        known = registry()
        for name, reason in known.failed.items():
            _log.error("a strategy failed to load", type=name, reason=reason)
        board = Board(static, self._configuration, known)
        await self._read_corrections(board)
        effects = board.restore(results)
        await self._listen_from(min((each.result.start_time_us for each in board.active.values()), default=None))
        await self._do(effects)
        await self._ends()  # a client learns topics one by one, in seconds that a first emergency does not have
        self._board = board
        self._looked_us = max(
            (each.start_time_us for each in board.final.values() if each.type == "scheduled"), default=_now_us()
        )
        _log.info(
            "coordinates", runs=len(board.final), active=sorted(board.active), configuration=board.configuration.version
        )

    async def _read_corrections(self, board: Board) -> None:
        """Know what was corrected, and so what is left of the budget."""
        tps = [TopicPartition(self._plan.name("corrections"), p) for p in range(self._plan.partitions)]
        begins, ends = await self._reader.beginning_offsets(tps), await self._reader.end_offsets(tps)

        def note(_: TopicPartition, record: Any) -> None:  # noqa: ANN401 - untyped
            board.history.add(_CORRECTION.decode(record.value))

        await read_spans(self._settings, {tp: (begins[tp], ends[tp]) for tp in tps}, note)

    async def _listen_from(self, since_us: int | None) -> None:
        """Read answers from that time on; None: from now on."""
        self._reader.assign(self._answers)
        ends = await self._reader.end_offsets(self._answers)
        if since_us is None:
            found = {}
        else:
            asked = dict.fromkeys(self._answers, max(0, (since_us - _BEFORE_US) // 1000))
            found = await self._reader.offsets_for_times(asked)
        for tp in self._answers:
            self._reader.seek(tp, offset_in(found, tp, ends))

    # -- commands -----------------------------------------------------------------------------------------------------

    async def _take(self, record: Any) -> None:  # noqa: ANN401 - untyped
        """Take up one record of the control topic, however it looks."""
        assert self._board is not None
        board, offset, time_us = self._board, record.offset, record.timestamp * 1000
        command = read_command(record.value, record.key)
        if not isinstance(command, RefusedCommand):
            if board.is_done(command.command_id, offset):
                return  # its answer is written; only the acknowledgement was not
            seen = {command.command_id} if board.is_repeated(command.command_id, offset) else set()
            command = screen(command, time_us, seen, board.configuration.policy, board.configuration.verify)
        if isinstance(command, RefusedCommand):
            _log.warning("command refused", command_id=command.command_id, reason=command.reason, detail=command.detail)
            metrics.COMMANDS.labels(command.command or "unknown", "refused").inc()
            await self._do(
                board.refuse(
                    command_id=command.command_id, kind=command.command or "unknown",
                    reason=f"{command.reason}: {command.detail}", issued_by=command.issued_by, offset=offset,
                    time_us=time_us,
                )
            )  # fmt: skip
            return
        metrics.COMMANDS.labels(name_of(command), "accepted").inc()
        await self._do(await self._effects(command, offset, time_us))

    async def _effects(self, command: Command, offset: int, time_us: int) -> list[Effect]:
        assert self._board is not None
        board, now_us = self._board, _now_us()
        who: dict[str, Any] = {"command_id": command.command_id, "issued_by": command.issued_by, "offset": offset}
        try:
            if isinstance(command, Reconcile):
                return board.begin(
                    requested=command.type, accounts=command.accounts, params=command.params, cut_us=command.cut_us,
                    time_us=time_us, ends=await self._ends(), now_us=now_us, **who,
                )  # fmt: skip
            if isinstance(command, Cancel):
                return board.cancel(command.run_id, now_us=now_us, **who)
            if isinstance(command, SetConfig):
                effects = board.set_config(command.values, now_us=now_us, **who)
                self._configuration = board.configuration
                return effects
            if isinstance(command, Undo):
                return board.undo(command.correction_id, now_us=now_us, **who)
            asked = alert_command(command)
            if asked is not None:
                return board.ask(asked, kind=name_of(command), offset=offset, now_us=now_us)
        except ValueError as error:
            reason = f"bad_value: {error}"
        else:
            reason = "not_supported: this command is understood, and nothing can be done about it yet"
        return board.refuse(kind=name_of(command), reason=reason, time_us=time_us, **who)

    async def _ends(self) -> dict[str, dict[str, int]]:
        """Where the source logs end now, by partition and topic."""
        ends: dict[str, dict[str, int]] = {}
        for tp, offset in (await self._reader.end_offsets(self._sources)).items():
            ends.setdefault(str(tp.partition), {})[tp.topic] = offset
        return ends

    # -- answers, schedules -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        assert self._board is not None
        for records in (await self._reader.getmany(*self._answers, timeout_ms=_POLL_MS, max_records=200)).values():
            for record in records:
                try:
                    answer = _ANSWER.decode(record.value or b"")
                except msgspec.MsgspecError as error:
                    _log.warning("not an answer", partition=record.partition, offset=record.offset, error=str(error))
                    continue
                if not isinstance(answer, Progress):
                    await self._do(self._board.hear(answer, _now_us()))

    async def _tick(self) -> None:
        assert self._board is not None
        now_us = _now_us()
        await self._do(self._board.tick(now_us))
        await self._look_at_file(now_us)
        for one in due(self._board.configuration.schedules, self._looked_us, now_us):
            if one.command_id not in self._board.commands:
                _log.info("schedule fires", command_id=one.command_id, missed=one.missed)
                await self._do(
                    self._board.begin(
                        command_id=one.command_id, requested="scheduled", inner=one.type, accounts=one.accounts,
                        params=one.params, cut_us=None, issued_by="schedule", offset=None, time_us=one.at_us,
                        ends=await self._ends(), notes=one.notes, now_us=now_us,
                    )
                )  # fmt: skip
        self._looked_us = now_us

    async def _look_at_file(self, now_us: int) -> None:
        """Let a changed configuration file hold; one that is broken changes nothing."""
        assert self._board is not None
        governing = self._board.configuration
        assert isinstance(governing, Governing)
        found = self._file.look(governing.configuration)
        if isinstance(found, ConfigurationError):
            _log.error("the configuration file is not valid; what held before goes on to hold", problems=found.problems)
            metrics.COMMANDS.labels("config_file", "refused").inc()
        elif found is not None:
            for shadow in found.shadowed(governing.configuration):
                _log.warning("a changed value does not hold", why=shadow)
            _log.info("the configuration file was changed", version=found.version)
            metrics.COMMANDS.labels("config_file", "accepted").inc()
            await self._do(self._board.adopt(Governing(found), now_us))
            self._configuration = self._board.configuration

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _do(self, effects: Iterable[Effect]) -> None:
        """Write what follows, in order; work items go out together, results only once all before them is safe."""
        sent: list[Any] = []
        for effect in effects:
            if isinstance(effect, Hand):
                sent.append(await self._send("work", str(effect.partition), effect.item, effect.partition))
                continue
            if isinstance(effect, Correct):
                account = effect.correction.account
                number = partition_of(account, self._plan.partitions)
                sent.append(await self._send("corrections", account, effect.correction, number))
                continue
            await asyncio.gather(*sent)
            sent = []
            await (await self._send("results", effect.result.reconciliation_id, effect.result, 0))
            _tell(effect.result)
        await asyncio.gather(*sent)

    async def _send(self, role: Role, key: str, value: object, partition: int) -> Any:  # noqa: ANN401 - untyped
        return await self._producer.send(self._plan.name(role), _JSON.encode(value), key.encode(), partition)


def _tell(result: ReconciliationResult) -> None:
    """Count and log what was published of a run."""
    if result.status in FINAL:
        took_s = ((result.end_time_us or 0) - result.start_time_us) / 1e6
        metrics.count_run(result.type, result.status, took_s, result.total_records_processed, result.end_time_us)
        _log.info(
            "run", run_id=result.reconciliation_id, type=result.type, status=result.status, seconds=round(took_s, 3),
            records=result.total_records_processed, discrepancies=result.discrepancies_found, errors=result.errors,
        )  # fmt: skip
    elif result.fallback_reason is not None:
        metrics.FALLBACKS.labels(result.type).inc()
        _log.warning(
            "another type is run than was asked for", run_id=result.reconciliation_id, type=result.type,
            asked=result.requested_type, reason=result.fallback_reason,
        )  # fmt: skip


def _now_us() -> int:
    return time.time_ns() // 1000
