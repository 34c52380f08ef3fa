"""Short words for tests of the audit writer: a process of its own on a real broker, and what it is to keep."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from stream_recon.audit.errors import StoreError
from stream_recon.audit.rebuild import read_topics
from stream_recon.audit.store import AuditStore
from stream_recon.audit.topics import audited
from stream_recon.shell.settings import WorkerSettings
from tests.commands import environment
from tests.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_recon.audit.chain import Head, Place
    from stream_recon.domain.topics import Role, TopicPlan

Said = tuple["Role", int, bytes | None, bytes | None]
"""Role of the topic, partition, key, value."""


def words(bootstrap: str, plan: TopicPlan, url: str) -> list[str]:
    """What all commands of the audit are told."""
    return ["--bootstrap", bootstrap, "--prefix", plan.prefix, "--group", plan.prefix, "--store", url]


@contextmanager
def auditor(bootstrap: str, plan: TopicPlan, url: str, folder: Path, *, dies: bool = False) -> Iterator[Worker]:
    """An audit writer; with `dies` it is killed when it has written a batch, before it can commit the offsets."""
    folder.mkdir(exist_ok=True)
    log = folder / f"audit-{len(list(folder.iterdir()))}.log"
    module = "tests.audits" if dies else "stream_recon.cli.main"
    asked = [sys.executable, "-m", module, "audit", "run", *words(bootstrap, plan, url), "--http-port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            asked, stdout=out, stderr=out, env=environment({"PYTHONPATH": str(Path(__file__).parents[1])})
        )
    try:
        yield Worker(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def publish(bootstrap: str, plan: TopicPlan, said: Iterable[Said]) -> None:
    """Send records as they are, in order."""

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=2, max_request_size=1_048_576
        ) as producer:
            for role, partition, key, value in said:
                await producer.send(plan.name(role), value, key, partition)
            await producer.flush()

    asyncio.run(send())


def cut_off(bootstrap: str, plan: TopicPlan, role: Role, before: int) -> None:
    """Delete the records of a topic below an offset, in all partitions that go so far, as retention does."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            tps = [TopicPartition(plan.name(role), number) for number in range(plan.topic(role).partitions)]
            await admin.delete_records({tp: RecordsToDelete(before_offset=before) for tp in tps})
        finally:
            await admin.close()

    asyncio.run(delete())


def heads(url: str) -> dict[Place, Head]:
    """Where the chains of a store end; none where there is no store, or it does not answer."""
    store = AuditStore(url)
    try:
        return store.heads()
    except StoreError:
        return {}
    finally:
        store.close()


def kept(url: str) -> int:
    """How many entries a store has."""
    return sum(head.entries for head in heads(url).values())


def rebuilt(bootstrap: str, plan: TopicPlan, folder: Path) -> dict[Place, Head]:
    """Where the chains end that are made of the topics alone."""
    folder.mkdir(exist_ok=True)
    store = AuditStore(f"sqlite:///{folder / f'rebuilt-{len(list(folder.iterdir()))}.db'}")
    settings = WorkerSettings(bootstrap=bootstrap, plan=plan)
    asyncio.run(read_topics(settings, into=store, against=None))
    assert {place.topic for place in store.heads()} <= audited(plan).keys()
    return store.heads()


if __name__ == "__main__":
    from stream_recon.audit.writer import Writer
    from stream_recon.cli.main import run

    async def die(*_: object) -> None:
        """What is written is committed in the store, and not yet in Kafka."""
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Writer, "_commit", die)  # noqa: B010 - mypy minds the plain way
    run()
