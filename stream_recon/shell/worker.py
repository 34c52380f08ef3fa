"""One worker: it owns some partition numbers, and says of every record there whether both sides agree."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn, Protocol

import structlog

from stream_recon.shell import metrics, runner
from stream_recon.shell.clients import new_admin, new_reader
from stream_recon.shell.keeper import Keeper
from stream_recon.shell.publishing import Publisher
from stream_recon.shell.restoring import Restorer
from stream_recon.shell.settings import RefusedError
from stream_recon.shell.topics import verify
from stream_recon.shell.watchdog import end_process, watch
from stream_recon.strategies.registry import NINE

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_LEAVE_S = 1.8
"""Leaving takes at most so long; what is then not committed is known from the state."""
_TICK_S = 1.0


class Host(Protocol):
    """What reads from Kafka and belongs to a group."""

    async def start_producer(self) -> AIOKafkaProducer:
        """The producer for everything that is written."""

    async def run(self, keeper: Keeper) -> None:
        """Drive the keeper until `leave`."""

    async def leave(self) -> None:
        """Finish what is begun, commit, and tell the group."""


def run(settings: WorkerSettings) -> NoReturn:
    """Work until SIGTERM or SIGINT, and end the process: give it one of its own.

    Its exit code is 0 where it left as told, 3 where something is not as it must be or failed (the last line of the log
    says what).
    """
    configure_logging(settings)
    _log.info("runs", strategies=[strategy.type for strategy in NINE if strategy.continuous])
    asyncio.run(_run(settings))
    raise AssertionError("the process has ended")  # mypy knows less of asyncio.run


async def _run(settings: WorkerSettings) -> NoReturn:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    try:
        reader, admin = new_reader(settings), new_admin(settings)
        await asyncio.gather(reader.start(), admin.start(), _verify(settings))
        host = _host(settings)
        publisher = Publisher(settings, await host.start_producer())
        owner = f"{socket.gethostname()}-{os.getpid()}"
        keeper = Keeper(settings, publisher, Restorer(settings, publisher, reader, admin, owner), reader, admin)
        _serve(settings, keeper)
        # Packs make many objects and no cycles: to look for those as often as Python does costs a tenth of all time.
        gc.freeze()
        gc.set_threshold(100_000, 20, 100)
        works = [publisher.run(), _tick(keeper), host.run(keeper)]
        if settings.runs:
            works.append(runner.keep(settings))
        working = [asyncio.create_task(work) for work in works]
        leaving = asyncio.create_task(leave.wait())
        done, _ = await asyncio.wait([*working, leaving], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {leaving}:
            task.result()
        await _leave(host)
    except Exception as error:  # noqa: BLE001 - any error ends the process
        end_process("the worker failed", error)
    os._exit(0)  # Faust's threads would keep it alive


async def _verify(settings: WorkerSettings) -> None:
    wrong = [str(finding) for finding in await verify(settings.bootstrap, settings.plan) if finding.fatal]
    if wrong:
        raise RefusedError("; ".join(wrong))


async def _leave(host: Host) -> None:
    started = time.monotonic()
    try:
        await asyncio.wait_for(host.leave(), _LEAVE_S)
    except TimeoutError:
        _log.warning("left without a word to the group", after_s=_LEAVE_S)
    else:
        _log.info("left", after_s=round(time.monotonic() - started, 3))


def _host(settings: WorkerSettings) -> Host:
    if settings.host == "plain":
        from stream_recon.shell.plain_host import PlainHost  # noqa: PLC0415 - only one of them is loaded

        return PlainHost(settings)
    from stream_recon.shell.faust_host import FaustHost  # noqa: PLC0415 - as above

    return FaustHost(settings)


def _serve(settings: WorkerSettings, keeper: Keeper) -> None:
    stall_s = settings.stall_timeout_s
    watch(lambda: keeper.progress_at, stall_s=stall_s, sleep_s=settings.session_timeout_s)
    if settings.http_port is not None:
        try:
            port = metrics.serve(
                settings.http_port, lambda: time.monotonic() - keeper.progress_at < stall_s, lambda: keeper.ready
            )
        except OSError as error:
            raise RefusedError(
                f"port {settings.http_port} cannot be listened on ({error}); choose another one for /metrics, or 0"
            ) from error
        _log.info("serving", url=f"http://127.0.0.1:{port}/metrics")


async def _tick(keeper: Keeper) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        await keeper.tick()


def configure_logging(settings: WorkerSettings) -> None:
    """Log to standard error, the libraries from warnings on too."""
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_json:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if settings.log_quiet else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
