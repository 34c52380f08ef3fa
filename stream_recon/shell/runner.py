"""The child process of a worker: the run lane, and the coordinator where the control topic is its own.

It has an interpreter of its own, so what it does never slows the stream lane. It ends with its parent, however that
ends; an error in it ends it, and its parent starts another.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import structlog
from aiokafka import AIOKafkaProducer

from stream_recon.shell.clients import PRODUCER
from stream_recon.shell.coordinator import Coordinator
from stream_recon.shell.run_lane import RunLane

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_AGAIN_S = 1.0
_AUDIT_AGAIN_S = 30.0


def start(settings: WorkerSettings) -> SpawnProcess:
    """Start one."""
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(settings,), name="runner", daemon=True)
    process.start()
    return process


async def keep(settings: WorkerSettings) -> None:
    """Have one running for as long as this is awaited."""
    process = start(settings)
    try:
        while True:
            await asyncio.sleep(_AGAIN_S)
            if not process.is_alive():
                _log.error("the run lane ended and is started again", exit_code=process.exitcode)
                process = start(settings)
    finally:
        process.kill()


def _main(settings: WorkerSettings) -> None:
    from stream_recon.shell.worker import configure_logging  # noqa: PLC0415 - it imports us

    configure_logging(settings)
    _end_with_parent()
    asyncio.run(_run(settings))


async def _run(settings: WorkerSettings) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, **PRODUCER) as producer:
        works = [Coordinator(settings, producer).run(), RunLane(settings, producer).run()]
        url = settings.configuration.sections.audit.url
        if url is not None:
            works.append(_audit(settings, url))
        await asyncio.gather(*works)


async def _audit(settings: WorkerSettings, url: str) -> None:
    """Write the audit store; whatever becomes of that, runs and alerts go on."""
    from stream_recon.audit.writer import run  # noqa: PLC0415 - only where there is a store

    while True:
        try:
            await run(settings, url, asyncio.Event())
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("the audit writer ended and is started again", error=repr(error))
            await asyncio.sleep(_AUDIT_AGAIN_S)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(0)

    threading.Thread(target=watch, name="with-parent", daemon=True).start()
