"""A whole deployment for a test: the public commands as processes of their own, and what they leave on Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.topics import TopicPlan
from stream_recon.faults.score import finding_of, score
from tests.commands import command, environment, run
from tests.oracles.argument import STATED, in_the_oracles_words, plainly
from tests.workers import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Alert
    from stream_recon.domain.instruments import Instruments
    from stream_recon.faults.injected import Injected
    from tests.oracles.book import Break

PATIENCE_S = 60
Condition = tuple[str, str, str | None]
"""(reason, origin, account) of a feed condition."""


class Truth(NamedTuple):
    """What must have been said when all has been read."""

    injected: Sequence[Injected] = ()
    """What must be found, what may follow from it, and how often."""
    standing: Sequence[Break] = ()
    """What must stand at the end of orders, positions, balances and ledgers, as the oracle says it."""
    conditions: frozenset[Condition] = frozenset()
    """The feed conditions that must stand at the end, each opened once; there may be no others."""
    doubted: frozenset[str] = frozenset()
    """The accounts of which `standing` may be held back."""


def decoded(value: bytes) -> Alert:
    """An alert as it was published."""
    return msgspec.json.decode(value, type=Discrepancy | FeedCondition)


class Worker:
    """A worker, and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it logged under that name so far."""
        found = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in found if line["event"] == event]

    @property
    def owns(self) -> int:
        """How many partition numbers it held when it last said so."""
        said = self.lines("owns")
        return len(said[-1]["partitions"]) if said else 0

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with those labels."""
        page = urllib.request.urlopen(self.lines("serving")[0]["url"]).read().decode()  # noqa: S310 - our own
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def kill(self) -> None:
        """At once, without a word."""
        self.process.kill()
        self.process.wait()


class Deployment:
    """Topics and a group of our own on the shared broker; every process started here is ended with it."""

    def __init__(
        self, servers: str, folder: Path, contracts: Contracts | Path, instruments: Instruments | Path
    ) -> None:
        self.servers = servers
        self.plan = TopicPlan(prefix=f"e2e-{uuid4().hex[:10]}.")
        self.folder = folder
        self.env = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "STREAM_RECON_TOPIC_PREFIX": self.plan.prefix,
            "STREAM_RECON_GROUP": self.plan.prefix,
            "STREAM_RECON_CONTRACTS": str(self._file("contracts", contracts)),
            "STREAM_RECON_INSTRUMENTS": str(self._file("instruments", instruments)),
            "STREAM_RECON_HTTP_PORT": "0",
            "STREAM_RECON_SESSION_TIMEOUT_S": "6",
        }
        self.workers: list[Worker] = []
        self.publishing: list[subprocess.Popen[bytes]] = []
        done = run("topics", "create", env=self.env)
        assert done.code == 0, done.err

    def _file(self, name: str, content: Contracts | Instruments | Path) -> Path:
        """A file that holds it."""
        if not hasattr(content, "model_dump_json"):
            return content
        path = self.folder / f"{self.plan.prefix}{name}.json"
        path.write_text(content.model_dump_json(exclude_none=True), "utf-8")
        return path

    def close(self) -> None:
        """End what still runs."""
        for process in [*(worker.process for worker in self.workers), *self.publishing]:
            if process.poll() is None:
                process.kill()
            process.wait()

    def worker(self, host: str = "faust", words: Iterable[object] | None = None) -> Worker:
        """Start a worker; `words`: another command line than the public one."""
        log = self.folder / f"{self.plan.prefix}{len(self.workers)}.log"
        line = command("worker", "--host", host) if words is None else [str(word) for word in words]
        with log.open("wb") as out:
            process = subprocess.Popen(line, stdout=out, stderr=out, env=environment(self.env))
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    def start_publishing(self, path: Path, *words: object) -> subprocess.Popen[bytes]:
        """Start `publish`."""
        line = command("publish", path, "--quiet", *words)
        process = subprocess.Popen(line, env=environment(self.env), stderr=subprocess.PIPE)
        self.publishing.append(process)
        return process

    def publish(self, *paths: Path) -> None:
        """Publish files, one after the other."""
        for path in paths:
            self.finish(self.start_publishing(path))

    def finish(self, publishing: subprocess.Popen[bytes]) -> None:
        """Wait until all has been published."""
        _, said = publishing.communicate(timeout=PATIENCE_S)
        assert publishing.returncode == 0, said.decode()

    def until(self, found: Callable[[], bool]) -> None:
        """Wait until it is found, as long as a worker lives; their logs say why it is not."""
        deadline = time.monotonic() + PATIENCE_S
        while not found():
            lives = any(worker.process.poll() is None for worker in self.workers)
            assert lives, f"no worker lives:\n{self.logs()}"
            assert time.monotonic() < deadline, f"not found in {PATIENCE_S} s:\n{self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        """The end of what each worker logged."""
        return "\n\n".join(worker.log.read_text()[-2000:] for worker in self.workers)

    def published_alerts(self) -> int:
        """How many transitions there are."""
        return len(self.records("alerts"))

    def settle(self) -> None:
        """Wait until the group has acknowledged all there is, which it does when all that follows is published."""
        self.until(lambda: asyncio.run(self._acknowledged()))

    async def _acknowledged(self) -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            async with AIOKafkaConsumer(bootstrap_servers=self.servers) as consumer:
                places = [TopicPartition(name, p) for name in self.plan.sources() for p in range(self.plan.partitions)]
                ends = await consumer.end_offsets(places)
            try:
                done = await admin.list_consumer_group_offsets(self.plan.prefix)
            except GroupCoordinatorNotAvailableError:  # of a broker that has just started
                return False
            return all(place in done and done[place].offset == end for place, end in ends.items() if end)
        finally:
            await admin.close()

    def records(self, role: Any) -> list[Any]:
        """All records of a topic, in order by partition."""
        topic = self.plan.topic(role)
        return read(self.servers, topic.name, topic.partitions)

    def newest(self) -> dict[str, bytes]:
        """What stands on the breaks topic, by id: the last record of each key, as compaction leaves it."""
        last = {record.key.decode(): record.value for record in self.records("breaks")}
        return {alert_id: value for alert_id, value in last.items() if value is not None}

    def transitions(self) -> dict[str, dict[int, list[bytes]]]:
        """What was published on the alerts topic, by id and version."""
        found: dict[str, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        for record in self.records("alerts"):
            alert = json.loads(record.value)
            assert record.key.decode() == alert["alert_id"]
            found[alert["alert_id"]][alert["version"]].append(record.value)
        return found

    def wrong(self, truth: Truth) -> list[str]:
        """What is not as it must be, in sentences: none if all is well."""
        newest = {alert_id: decoded(value) for alert_id, value in self.newest().items()}
        said, published = [], []
        for alert_id, versions in self.transitions().items():
            if sorted(versions) != list(range(1, len(versions) + 1)):
                said.append(f"{alert_id} has versions {sorted(versions)}")
            said += [f"{alert_id} has two versions {v}" for v, told in versions.items() if len(set(told)) > 1]
            alerts = [decoded(versions[version][-1]) for version in sorted(versions)]
            published += alerts
            if newest.get(alert_id) != alerts[-1]:
                said.append(f"breaks: {newest.get(alert_id)}, but alerts: {alerts[-1]}")
        said += [f"only in breaks: {newest[alert_id]}" for alert_id in newest.keys() - {a.alert_id for a in published}]
        return sorted([*said, *misjudged(truth, published, newest.values())])

    def stop(self, worker: Worker) -> None:
        """Let a worker leave as told by SIGTERM."""
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(PATIENCE_S) == 0, self.logs()


def misjudged(truth: Truth, published: Iterable[Alert], newest: Iterable[Alert]) -> list[str]:
    """Which conclusions are missing, false, without the cause that they follow from, or of the wrong status."""
    newest = list(newest)
    conditions: Counter[Condition] = Counter(
        (alert.reason, alert.origin, alert.account)
        for alert in published
        if isinstance(alert, FeedCondition) and alert.transition in {"OPENED", "REOPENED"}
    )
    stand = {(a.reason, a.origin, a.account) for a in newest if isinstance(a, FeedCondition) and a.status == "OPEN"}
    said = [f"missed: {each}" for each in truth.conditions - stand]
    said += [f"false: {each}" for each in conditions - Counter(truth.conditions)]

    judged = score(truth.injected, [alert for alert in published if isinstance(alert, Discrepancy)])
    said += [f"missed: {n} {fault}" for fault, n in judged.missed.items() if n]
    said += [f"false: {n} {kind}" for kind, n in judged.false.items()]
    said += [f"without a cause: {n} {kind}" for kind, n in judged.unnamed.items()]

    standing = {alert.alert_id: alert for alert in newest if isinstance(alert, Discrepancy) and alert.status == "OPEN"}
    found = Counter(plainly(in_the_oracles_words(a)) for a in standing.values() if a.identity in STATED)
    wanted = Counter(map(plainly, truth.standing))
    said += [f"missed: {each}" for each in wanted - found if each.account not in truth.doubted]
    said += [f"false: {each}" for each in found - wanted]
    said += [
        f"{alert_id} follows from {name}, which does not stand"
        for alert_id, alert in standing.items()
        for name in alert.explained_by
        if name not in standing
    ]
    things = Counter(
        (*finding_of(a), a.instrument, a.asset, a.interval)
        if isinstance(a, Discrepancy)
        else (*finding_of(a), a.partition)
        for a in newest
    )  # an asset may be named like an instrument
    return said + [f"one thing has {n} ids: {thing}" for thing, n in things.items() if n > 1]


def sleep(worker: Worker) -> None:
    """Let a worker's process run no more."""
    os.kill(worker.process.pid, signal.SIGSTOP)


def wake(worker: Worker) -> None:
    """Let it go on."""
    os.kill(worker.process.pid, signal.SIGCONT)
