"""How a real broker is found on any machine: the one that is named, else Docker's, else Kafka itself.

What was chosen, and why the others were not, is part of the answer, and to be shown.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stream_recon.broker import embedded
from stream_recon.broker.errors import BrokerError
from stream_recon.broker.jars import KAFKA_VERSION
from stream_recon.broker.reach import first_listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testcontainers.community.kafka import KafkaContainer

    from stream_recon.broker.jars import Progress

Kind = Literal["external", "docker", "embedded"]
Choice = Literal["auto", "external", "docker", "embedded"]

SERVERS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
IMAGE = "confluentinc/cp-kafka:7.9.1"
DOCKER_PATIENCE_S = 3
DOCKER_START_S = 120


@dataclass(frozen=True)
class Broker:
    """A broker that answers."""

    bootstrap_servers: str
    kind: Kind
    why: str
    """A sentence: what it is, and why the others were not chosen."""
    nodes: tuple[embedded.Node, ...] = ()
    """The embedded one's processes, for fault tests."""


@contextmanager
def open_broker(
    choice: Choice = "auto", *, nodes: int = 1, port: int | None = None, progress: Progress = lambda *_: None
) -> Iterator[Broker]:
    """Have a broker for as long as the context lasts; not to be called from within an event loop.

    `nodes` (1 or 3) and `port` (of the first node) are only for a broker that is started here.

    Raises:
        BrokerError: none can be had, or not the one that was asked for.
    """
    assert nodes in {1, 3}
    external = os.environ.get(SERVERS_VARIABLE, "").strip()
    if choice == "external" or (choice == "auto" and external):
        yield _external(external)
        return
    because = f"{SERVERS_VARIABLE} is not set" if not external else "it was asked for"
    if choice == "docker" or (choice == "auto" and nodes == 1):
        try:
            container = _start_docker(progress)
        except BrokerError as error:
            if choice == "docker":
                raise
            because += f", {error}"
        else:
            try:
                yield Broker(container.get_bootstrap_server(), "docker", f"Kafka in Docker ({IMAGE}): {because}")
            finally:
                container.stop()
            return
    if choice == "embedded":
        because = "it was asked for"
    with embedded.run(nodes, progress, port) as cluster:
        servers = ",".join(f"{embedded.HOST}:{node.port}" for node in cluster)
        yield Broker(servers, "embedded", f"Apache Kafka {KAFKA_VERSION}, started here: {because}", cluster)


def _external(servers: str) -> Broker:
    if not servers:
        raise BrokerError(f"an external broker was asked for, but {SERVERS_VARIABLE} is not set (host:port,...)")
    if first_listening(servers) is None:
        raise BrokerError(
            f"nothing listens on {servers} ({SERVERS_VARIABLE}); start that broker, correct the variable, or unset it "
            "to have a broker started here"
        )
    return Broker(servers, "external", f"the Kafka at {servers}: {SERVERS_VARIABLE} names it")


def _start_docker(progress: Progress) -> KafkaContainer:
    try:
        import docker  # noqa: PLC0415 - an extra
        from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BrokerError("testcontainers is not installed (pip install 'stream-recon[embedded]')") from error
    try:
        docker.from_env(timeout=DOCKER_PATIENCE_S).ping()
    except docker.errors.DockerException as error:
        raise BrokerError("no Docker engine answers") from error
    progress(f"starting {IMAGE}", 0, 0)
    container = KafkaContainer(IMAGE).with_kraft().with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
    try:
        return container.start(timeout=DOCKER_START_S)
    except (docker.errors.DockerException, OSError, RuntimeError) as error:
        container.stop()
        raise BrokerError(f"Docker could not start {IMAGE}: {error}") from error
