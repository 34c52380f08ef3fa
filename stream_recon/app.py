"""Where everything is put together: a broker, its topics and a worker in one process tree."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from stream_recon.domain.instruments import Instruments
from stream_recon.shell.topics import create

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.topics import TopicPlan

INSTRUMENTS = "STREAM_RECON_INSTRUMENTS"
"""What names the file that says what instruments are, to a worker that derives balances from fills."""
_OURS_TO_SAY = {"STREAM_RECON_CONFIG", "STREAM_RECON_ENVIRONMENT"}
START_S = 30
STOP_S = 10
_LOG_SHOWN_BYTES = 4_000


class WorkerError(Exception):
    """The worker did not start, or ended by itself; the text holds the end of its log."""


class Deployment(NamedTuple):
    """What a worker works on."""

    bootstrap_servers: str
    plan: TopicPlan
    contracts: Contracts
    group: str
    instruments: Instruments = Instruments()
    delta_window_s: int | None = None
    config: Path | None = None
    environment: str | None = None


class WorkerProcess:
    """One worker as a child process. Its log goes to a file."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.http_port = _free_port()
        self.log = folder / "worker.log"
        contracts = folder / "contracts.json"
        contracts.write_text(deployment.contracts.model_dump_json(), "utf-8")
        instruments = folder / "instruments.json"
        instruments.write_text(deployment.instruments.model_dump_json(exclude_none=True), "utf-8")
        command = [
            sys.executable, "-m", "stream_recon.cli.main", "worker", "--bootstrap", deployment.bootstrap_servers,
            "--prefix", deployment.plan.prefix, "--partitions", str(deployment.plan.partitions),
            "--contracts", str(contracts), "--group", deployment.group, "--http-port", str(self.http_port),
            "--with-parent",
        ]  # fmt: skip
        if deployment.delta_window_s is not None:
            command += ["--delta-window", str(deployment.delta_window_s)]
        command += ["--config", str(deployment.config)] if deployment.config is not None else []
        command += ["--environment", deployment.environment] if deployment.environment is not None else []
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS_TO_SAY}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**inherited, "TMPDIR": str(folder), INSTRUMENTS: str(instruments)},
            )

    def check(self) -> None:
        """Say so if it has ended.

        Raises:
            WorkerError: it has.
        """
        code = self.process.poll()
        if code is not None:
            end = self.log.read_bytes()[-_LOG_SHOWN_BYTES:].decode(errors="replace")
            raise WorkerError(f"the worker ended with exit code {code}; the end of its log:\n{end}")

    def wait_until_ready(self) -> None:
        """Return once it has restored its state and reads.

        Raises:
            WorkerError: it ended, or is not ready after `START_S`.
        """
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check()
            try:
                with urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1) as answer:
                    if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
                        return
            except (URLError, OSError):
                time.sleep(0.05)
        raise WorkerError(f"the worker is not ready after {START_S} s; its log: {self.log}")

    def stop(self) -> None:
        """Let it leave in good order, within `STOP_S`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def make_topics(deployment: Deployment) -> None:
    """Make those of its topics that are not there.

    Raises:
        TopicsError: the broker refuses one.
    """
    asyncio.run(create(deployment.bootstrap_servers, deployment.plan))


@contextmanager
def running_worker(deployment: Deployment) -> Iterator[WorkerProcess]:
    """A worker, ready, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="stream-recon-") as folder:
        worker = WorkerProcess(deployment, Path(folder))
        try:
            worker.wait_until_ready()
            yield worker
        finally:
            worker.stop()


def end_with_parent() -> None:
    """Leave when the parent that holds the other end of our standard input ends, however that happens."""

    def wait() -> None:
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="with-parent", daemon=True).start()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
