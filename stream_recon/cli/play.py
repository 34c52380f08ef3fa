"""The demo's play: recorded fills told by both sides to a real broker, with faults, and what was made of them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from stream_recon.app import Deployment, WorkerError, running_worker
from stream_recon.cli.checking import check
from stream_recon.consume import read
from stream_recon.data import hyperliquid_fills, hyperliquid_instruments
from stream_recon.domain.decode import Rejected, decode_pack
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.events import Heartbeat
from stream_recon.domain.topics import TopicPlan
from stream_recon.faults.changes import Timing
from stream_recon.faults.plan import Plan, faults_of, plan
from stream_recon.faults.score import Score, causes_of, is_expected_of, score
from stream_recon.produce import Producer
from stream_recon.shell.topics import create, delete

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.app import WorkerProcess
    from stream_recon.broker import Broker
    from stream_recon.cli.checking import Check
    from stream_recon.consume import Received
    from stream_recon.faults.changes import Fault
    from stream_recon.faults.injected import Injected
    from stream_recon.faults.plan import Step

LEAD_US = 1_000_000
"""From the moment the plan is made to its first event."""
SETTLE_S = 60
DELTA_WINDOW_S = 4
"""Short, so that net changes are told while somebody watches."""


class Screen(Protocol):
    """Who is told how the play goes on."""

    def say(self, text: str) -> None:
        """Something that is done now."""

    def sent(self, number: int, of: int) -> None:
        """So many events have been sent."""

    def alert(self, received: Received) -> None:
        """An alert was published."""

    def done(self, report: Report) -> None:
        """The play is over."""


class Play(NamedTuple):
    """What is played."""

    seed: int
    timing: Timing
    faults: dict[Fault, int]
    fills: list[dict[str, Any]]

    @classmethod
    def of(cls, seed: int, speed: float, faults: str) -> Play:
        """A play, as the command line asks for it.

        Raises:
            ValueError: there is no such fault, or no room for so many.
        """
        made = cls(seed, Timing(speed_per_s=speed), faults_of(faults), hyperliquid_fills())
        made.plan(0)
        return made

    def plan(self, start_us: int) -> Plan:
        """The events, from `start_us` on."""
        return plan(self.fills, self.seed, self.faults, timing=self.timing, start_us=start_us)


class Report(NamedTuple):
    """How it went."""

    broker: Broker
    deployment: Deployment
    plan: Plan
    events: int
    alerts: list[Received]
    score: Score
    seconds: float
    checks: list[Check]
    """What runs over the same records said."""

    @property
    def perfect(self) -> bool:
        """Whether every fault was found, nothing else was said, and runs say the same."""
        found = not any(self.score.missed.values()) and not any(self.score.false.values())
        return found and all(check.agrees for check in self.checks)

    def summary(self) -> dict[str, Any]:
        """The one object of `--output json`."""
        return {
            "broker": {
                "kind": self.broker.kind,
                "bootstrap_servers": self.broker.bootstrap_servers,
                "why": self.broker.why,
            },
            "events": self.events,
            "injected": self.score.injected,
            "detected": self.score.detected,
            "missed": self.score.missed,
            "caused": self.score.caused,
            "unnamed": self.score.unnamed,
            "false": self.score.false,
            "latency_ms": percentiles(latencies_ms(self.alerts)),
            "runs": [{**check._asdict(), "agrees": check.agrees} for check in self.checks],
            "seconds": round(self.seconds, 1),
        }


def latencies_ms(alerts: Iterable[Received]) -> list[float]:
    """From the record that made a discrepancy due to its alert, both as the broker's clock saw them."""
    return [
        (received.time_us - received.trigger_us) / 1000
        for received in alerts
        if received.trigger_us is not None
        and isinstance(received.alert, Discrepancy)
        and received.alert.transition in {"OPENED", "REOPENED"}
    ]


def percentiles(values: list[float]) -> dict[str, float | None]:
    """The middle and the worst but one in a hundred."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p99": None}
    return {
        name: ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for name, part in (("p50", 50), ("p99", 99))
    }


def explaining(injected: Injected, alerts: Iterable[Received]) -> list[Received]:
    """The alerts that must be said of a fault."""
    return [received for received in alerts if is_expected_of(injected, received.alert)]


def effects_of(injected: Injected, report: Report) -> list[Discrepancy]:
    """The alerts, as they are in the end, that follow from a fault beside those that must be said of it."""
    newest = {received.alert.alert_id: received.alert for received in report.alerts}
    causes = causes_of(report.plan.injected, newest.values())
    return [
        alert
        for alert_id, alert in newest.items()
        if causes.get(alert_id) is injected and isinstance(alert, Discrepancy)
    ]


def by_fault(report: Report) -> dict[str, list[Received]]:
    """The alerts by the fault that caused them."""
    found: dict[str, list[Received]] = {injected.fault: [] for injected in report.plan.injected}
    for injected in report.plan.injected:
        found[injected.fault] += explaining(injected, report.alerts)
    return found


async def perform(play: Play, broker: Broker, screen: Screen, *, keep: bool) -> None:
    """Play it: topics of its own, a worker, the replay, the alerts, the score.

    Raises:
        WorkerError: the worker ended by itself, or does not keep up.
    """
    started = time.monotonic()
    topics = TopicPlan(prefix=f"demo-{os.getpid()}-{int(time.time())}.")
    deployment = Deployment(
        broker.bootstrap_servers, topics, play.timing.contracts(), f"{topics.prefix}worker", hyperliquid_instruments(),
        DELTA_WINDOW_S,
    )  # fmt: skip
    screen.say("Making the topics.")
    await create(broker.bootstrap_servers, topics)
    try:
        screen.say("Starting a worker.")
        with running_worker(deployment) as worker:
            start_us = time.time_ns() // 1000 + LEAD_US
            made = play.plan(start_us)
            watcher = asyncio.create_task(_watch(deployment, screen))
            try:
                await _replay(made.steps, start_us, deployment, worker, screen)
                screen.say("Waiting for the last verdicts.")
                await _until_settled(deployment, worker)
                alerts = [r async for r in read(broker.bootstrap_servers, topics.name("alerts"), follow=False)]
                screen.say("Asking for an emergency and a full run over the same records.")
                checks = await check(deployment, made, alerts)
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
            report = Report(
                broker, deployment, made, len(made.steps), alerts,
                score(made.injected, [received.alert for received in alerts]), time.monotonic() - started, checks,
            )  # fmt: skip
            screen.done(report)
            while keep:
                worker.check()
                await asyncio.sleep(1)
    finally:
        await delete(broker.bootstrap_servers, topics)


async def _replay(
    steps: list[Step], start_us: int, deployment: Deployment, worker: WorkerProcess, screen: Screen
) -> None:
    """Send each step at its time."""
    values = [msgspec.json.encode(step.event) for step in steps]
    events = [
        decode_pack([value], None, None, step.origin, step.stream)[0] for step, value in zip(steps, values, strict=True)
    ]
    async with Producer(deployment.bootstrap_servers, deployment.plan) as producer:
        for number, (step, value, event) in enumerate(zip(steps, values, events, strict=True), start=1):
            ahead_s = (start_us + step.at_us) / 1e6 - time.time()
            if ahead_s > 0:
                screen.sent(number, len(steps))
                worker.check()
                await asyncio.sleep(ahead_s)
            assert not isinstance(event, Rejected)
            if isinstance(event, Heartbeat):
                await producer.heartbeat(step.origin, event.source, step.stream, event.through_us, event.venue)
            else:
                await producer.send(event, value, step.stream)
    screen.sent(len(steps), len(steps))


async def _watch(deployment: Deployment, screen: Screen) -> None:
    async for received in read(deployment.bootstrap_servers, deployment.plan.name("alerts"), follow=True):
        screen.alert(received)


async def _until_settled(deployment: Deployment, worker: WorkerProcess) -> None:
    """Wait until the worker has acknowledged all there is: it does so only after what follows from it is published."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.bootstrap_servers)
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.bootstrap_servers)
    await consumer.start()
    await admin.start()
    try:
        places = [
            TopicPartition(topic, number)
            for topic in deployment.plan.sources()
            for number in range(deployment.plan.partitions)
        ]
        ends = await consumer.end_offsets(places)
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            worker.check()
            try:
                done = await admin.list_consumer_group_offsets(deployment.group)
            except GroupCoordinatorNotAvailableError:  # of a broker that has just started
                done = {}
            if all(done[place].offset >= end for place, end in ends.items() if end and place in done) and all(
                place in done for place, end in ends.items() if end
            ):
                return
            await asyncio.sleep(0.2)
    finally:
        await consumer.stop()
        await admin.close()
    raise WorkerError(f"the worker has not acknowledged everything after {SETTLE_S} s; its log: {worker.log}")
