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
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from stream_recon.domain.topics import TopicPlan
from tests.commands import command, environment, run
from tests.workers import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from stream_recon.domain.contracts import Contracts

PATIENCE_S = 60
Finding = tuple[str, ...]
"""(kind, account, instrument, trade id, side) of a discrepancy; (reason, origin, account) of a feed condition."""


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

    def __init__(self, servers: str, folder: Path, contracts: Contracts | Path) -> None:
        self.servers = servers
        self.plan = TopicPlan(prefix=f"e2e-{uuid4().hex[:10]}.")
        self.folder = folder
        if not hasattr(contracts, "model_dump_json"):
            path = contracts
        else:
            path = folder / f"{self.plan.prefix}contracts.json"
            path.write_text(contracts.model_dump_json(), "utf-8")
        self.env = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "STREAM_RECON_TOPIC_PREFIX": self.plan.prefix,
            "STREAM_RECON_GROUP": self.plan.prefix,
            "STREAM_RECON_CONTRACTS": str(path),
            "STREAM_RECON_HTTP_PORT": "0",
            "STREAM_RECON_SESSION_TIMEOUT_S": "6",
        }
        self.workers: list[Worker] = []
        self.publishing: list[subprocess.Popen[bytes]] = []
        done = run("topics", "create", env=self.env)
        assert done.code == 0, done.err

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

    def newest(self) -> dict[str, dict[str, Any]]:
        """What stands on the breaks topic, by id: the last record of each key, as compaction leaves it."""
        last = {record.key.decode(): record.value for record in self.records("breaks")}
        return {alert_id: json.loads(value) for alert_id, value in last.items() if value is not None}

    def transitions(self) -> dict[str, dict[int, list[bytes]]]:
        """What was published on the alerts topic, by id and version."""
        found: dict[str, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        for record in self.records("alerts"):
            alert = json.loads(record.value)
            assert record.key.decode() == alert["alert_id"]
            found[alert["alert_id"]][alert["version"]].append(record.value)
        return found

    def wrong(self, expected: set[Finding], explained: Mapping[Finding, int]) -> list[str]:
        """What is not as it must be, in sentences: none if all is well.

        `expected`: findings and their status at the end; `explained`: how often each may have been opened.
        """
        newest, transitions = self.newest(), self.transitions()
        # Net changes are the same faults, seen by windows; these expectations name trades.
        of_trades = [alert for alert in newest.values() if alert.get("identity") != "net_change"]
        states = {(*finding_of(alert), alert["status"]) for alert in of_trades}
        said = [f"missed: {state}" for state in expected - states] + [f"false: {state}" for state in states - expected]
        if len(states) != len(of_trades):
            said.append("one thing has two ids")
        rebuilt = {}
        openings: Counter[Finding] = Counter()
        for alert_id, versions in transitions.items():
            if sorted(versions) != list(range(1, len(versions) + 1)):
                said.append(f"{alert_id} has versions {sorted(versions)}")
            said += [f"{alert_id} has two versions {v}" for v, told in versions.items() if len(set(told)) > 1]
            alerts = [json.loads(versions[version][-1]) for version in sorted(versions)]
            rebuilt[alert_id] = alerts[-1]
            if alerts[0].get("identity") != "net_change":
                openings.update(finding_of(alert) for alert in alerts if alert["transition"] in {"OPENED", "REOPENED"})
        for alert_id in newest.keys() | rebuilt.keys():
            if newest.get(alert_id) != rebuilt.get(alert_id):
                said.append(f"breaks: {newest.get(alert_id)}, but alerts: {rebuilt.get(alert_id)}")
        said += [f"opened {n} times: {finding}" for finding, n in openings.items() if n > explained.get(finding, 0)]
        return sorted(said)

    def stop(self, worker: Worker) -> None:
        """Let a worker leave as told by SIGTERM."""
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(PATIENCE_S) == 0, self.logs()


def finding_of(alert: Mapping[str, Any]) -> Finding:
    """What an alert is about."""
    if alert["record"] == "feed_condition":
        return (alert["reason"], alert["origin"], str(alert["account"]))
    return (alert["kind"], alert["account"], alert["instrument"], alert["trade_id"], alert["side"])


def sleep(worker: Worker) -> None:
    """Let a worker's process run no more."""
    os.kill(worker.process.pid, signal.SIGSTOP)


def wake(worker: Worker) -> None:
    """Let it go on."""
    os.kill(worker.process.pid, signal.SIGCONT)
