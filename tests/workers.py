"""Short words for tests of a worker: a process of its own on a real broker, and what it wrote there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from stream_recon.domain.contracts import Contracts
from stream_recon.domain.topics import TopicPlan
from stream_recon.produce import partition_of
from stream_recon.shell.settings import WorkerSettings
from stream_recon.shell.worker import run
from tests.lanes import fill, heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PATIENCE_S = 90
ACCOUNT = "venue|alice"


class Worker:
    """A worker in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it logged under that name so far."""
        found = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in found if line["event"] == event]

    def kill(self) -> None:
        """At once, without a word."""
        self.process.kill()
        self.process.wait()

    def leave(self) -> int:
        """As told by SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def worker(bootstrap: str, plan: TopicPlan, folder: Path, **settings: Any) -> Iterator[Worker]:
    """Start a worker; it is killed at the end, if it still runs."""
    log = folder / f"worker-{len(list(folder.iterdir()))}.log"
    told = {"bootstrap": bootstrap, "prefix": plan.prefix, "partitions": plan.partitions, **settings}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers", json.dumps(told)], stdout=out, stderr=out, env=environment
        )
    try:
        yield Worker(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(found: Callable[[], bool], *workers: Worker) -> None:
    """Wait until it is found; the logs of the workers say why it is not."""
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        logs = "\n".join(each.log.read_text()[-3000:] for each in workers)
        assert time.monotonic() < deadline, f"not found in {PATIENCE_S} s:\n{logs}"
        assert all(each.process.poll() is None for each in workers), f"a worker has ended:\n{logs}"
        time.sleep(0.1)


def send(bootstrap: str, plan: TopicPlan, events: Iterable[dict[str, Any] | tuple[str, bytes | None]]) -> None:
    """Send events to the fills topics in order, heartbeats to all partitions; (origin, bytes) goes as it is."""

    async def _send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=2) as producer:
            for event in events:
                origin, value = event if isinstance(event, tuple) else (event["origin"], msgspec.json.encode(event))
                topic = plan.source(origin, "fills")  # type: ignore[arg-type]
                if isinstance(event, dict) and event["type"] == "heartbeat":
                    for partition in range(plan.partitions):
                        await producer.send(topic, value, key=b"", partition=partition)
                    continue
                account = f"{event['venue']}|{event['account_id']}" if isinstance(event, dict) else ACCOUNT
                partition = partition_of(account, plan.partitions)
                await producer.send(topic, value, key=account.encode(), partition=partition)
            await producer.flush()

    asyncio.run(_send())


def read(bootstrap: str, topic: str, partitions: int) -> list[Any]:
    """All records of a topic, in order by partition."""

    async def _read() -> list[Any]:
        async with AIOKafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        ) as consumer:
            tps = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            found: list[Any] = []
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return sorted(found, key=lambda record: (record.partition, record.offset))

    return asyncio.run(_read())


def alerts(bootstrap: str, plan: TopicPlan) -> list[tuple[str, str, int]]:
    """(trade or reason, transition, version) of every published transition, sorted."""
    found = (msgspec.json.decode(record.value) for record in read(bootstrap, plan.name("alerts"), plan.partitions))
    return sorted((alert.get("trade_id") or alert["reason"], alert["transition"], alert["version"]) for alert in found)


def disagreements(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Fills of four accounts on both sides; those divisible by ten differ in their price."""
    events = []
    for number in range(first, first + count):
        account = f"account-{number % 4}"
        for origin, price in (("internal", "1.5"), ("exchange", "1.6" if number % 10 == 0 else "1.5")):
            events.append(fill(origin, str(number), number / 100, account_id=account, price=price))  # type: ignore[arg-type]
    return events


def closing(through_s: float) -> list[dict[str, Any]]:
    """Both sides have said all up to then."""
    return [heartbeat("internal", through_s), heartbeat("exchange", through_s)]


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    plan = TopicPlan(prefix=told.pop("prefix"), partitions=told.pop("partitions"))
    contracts = Contracts.model_validate({"contracts": told.pop("contracts", [])})
    for name in told.pop("note", []):
        # Say when Faust calls a hook of ours.
        from stream_recon.shell import faust_host

        owner, method = name.split(".")
        original = getattr(getattr(faust_host, owner), method)

        def noted(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            sys.stderr.write(json.dumps({"event": "called", "name": _name}) + "\n")
            return _original(*args, **kwargs)

        setattr(getattr(faust_host, owner), method, noted)
    run(WorkerSettings(plan=plan, contracts=contracts, **told))
