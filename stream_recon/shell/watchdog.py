"""The end of the process: at any error, and when it hangs or was put to sleep. Recovery is a restart."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import structlog
from aiokafka.errors import KafkaConnectionError

from stream_recon.shell.settings import FencedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()
INFRASTRUCTURE = 3
_STEP_S = 0.5


def end_process(what: str, error: BaseException | None = None, code: int = INFRASTRUCTURE) -> NoReturn:
    """Say why, in one line, and end at once: nothing is flushed, nothing that is half done goes on."""
    expected = isinstance(error, RefusedError | FencedError | KafkaConnectionError)
    told = {} if error is None else {"reason": str(error) if expected else repr(error)}
    _log.critical(what, exc_info=None if expected else error, **told)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def watch(progress_at: Callable[[], float], *, stall_s: float, sleep_s: float) -> None:
    """From a thread of its own, end the process when it does nothing for `stall_s`, or has slept for `sleep_s`.

    Sleeping is not to run at all: stopped by a signal, swapped out, or suspended with its machine. The group has by
    then given its partitions to others.
    """

    def look() -> None:
        before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        while True:
            time.sleep(_STEP_S)
            now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            if now_s - before_s > sleep_s:
                end_process(f"the process has slept for {now_s - before_s:.1f} s, and may have been replaced")
            if time.monotonic() - progress_at() > stall_s:
                end_process(f"nothing has been done for {stall_s:.0f} s")
            before_s = now_s

    threading.Thread(target=look, name="watchdog", daemon=True).start()
