"""Runs one server and ends it when the process that asked for it is gone, however that one ended.

Started as a script by `embedded.py`, in a session of its own, so that Ctrl-C in a terminal reaches only the parent. Its
standard input is a pipe whose other end the parent holds and never writes to: when the parent closes it, or is killed,
the pipe ends. Arguments: the server's folder, to remove then; a file for the server's output; the server's command
line. First it prints the server's process id. It ends when the server does, with its exit code.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def _die_with_guard() -> None:
    """Let Linux kill the server should even the guard be killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(folder: Path, output: Path, command: list[str]) -> int:
    """Run `command` until it ends or standard input does."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with output.open("ab") as log:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            preexec_fn=_die_with_guard,  # noqa: PLW1509 - there is one thread as yet
        )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()

    parent_gone = threading.Event()

    def watch() -> None:
        while os.read(0, 64):
            pass
        parent_gone.set()
        server.kill()  # what it wrote is thrown away: there is nothing to finish
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # of several nodes the last one finds the run's folder empty
            folder.parent.rmdir()
            folder.parent.with_suffix(".lock").unlink(missing_ok=True)

    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = server.wait()
    if parent_gone.is_set():
        watcher.join()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
