"""The audit writer as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import structlog

from stream_recon.audit.writer import Writer
from stream_recon.shell import metrics
from stream_recon.shell.settings import RefusedError
from stream_recon.shell.worker import configure_logging

if TYPE_CHECKING:
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()


def serve(settings: WorkerSettings, url: str) -> None:
    """Write into the store at `url` until SIGTERM or SIGINT.

    Raises:
        StoreRefusedError: `url` is of no use.
        RefusedError: the port for metrics is taken.
    """
    configure_logging(settings)
    asyncio.run(_serve(settings, Writer(settings, url)))


async def _serve(settings: WorkerSettings, writer: Writer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.http_port is not None:
        try:
            port = metrics.serve(
                settings.http_port,
                lambda: time.monotonic() - writer.progress_at < settings.stall_timeout_s,
                lambda: writer.ready,
            )
        except OSError as error:
            raise RefusedError(
                f"port {settings.http_port} cannot be listened on ({error}); choose another one for /metrics, or 0"
            ) from error
        _log.info("serving", url=f"http://127.0.0.1:{port}/metrics")
    await writer.run(stop)
