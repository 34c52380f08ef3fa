"""What runs cost beside the stream: emergencies, a full and an incremental run, and what a full run does to detection.

python bench/runs.py [--accounts 10000] [--partitions 64] [--fills 100000] [--output json]

One broker, one worker, 64 partitions, 10,000 accounts, a fill every 80 ms of event time on each side. First the stream
is caught up; then, in this order: five emergencies; a full run; an incremental run after 1 % more fills; an emergency
while a full run goes on and a backlog waits; detection latency (from the record that makes an alert due to the alert,
by Kafka's clock) at a steady rate, alone and while a full run goes on. Seconds are the wall clock's, and depend on the
machine; the ratios do less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import job
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from stream_recon.app import Deployment, make_topics, running_worker
from stream_recon.broker import open_broker
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.control import read_command
from stream_recon.domain.events import ORIGINS, Heartbeat, default_source
from stream_recon.domain.topics import TopicPlan
from stream_recon.produce import partition_of
from stream_recon.shell.commanding import send

if TYPE_CHECKING:
    from stream_recon.app import WorkerProcess
    from stream_recon.domain.control_commands import Command
    from stream_recon.domain.results import ReconciliationResult

SECOND_US = 1_000_000
CONTRACTS = Contracts(
    contracts=tuple(
        FeedContract(origin=o, fills="complete", orders="absent", positions="absent", balances="absent",
                     ledger="absent", order_within_us=2 * SECOND_US, grace_us=2 * SECOND_US)
        for o in ORIGINS
    )
)  # fmt: skip
PATIENCE_S = 400.0


def command(kind: str, **more: Any) -> Command:
    """A command to reconcile."""
    told = {
        "command": "reconcile", "type": kind, "command_id": uuid4().hex, "issued_by": "bench",
        "issued_us": time.time_ns() // 1000, **more,
    }  # fmt: skip
    read = read_command(msgspec.json.encode(told))
    assert not hasattr(read, "reason"), read
    return read  # type: ignore[return-value]


class Fresh(job.Job):
    """A job whose trades no other one has."""

    def records(self, origin: Any) -> Any:
        """One side, its trade ids told apart by the seed."""
        for account, value in super().records(origin):
            yield account, value.replace(b'"trade_id":"T', b'"trade_id":"S%d-' % self.seed)


class Bench:
    """A deployment, and what was measured of it."""

    def __init__(self, servers: str, plan: TopicPlan, worker: WorkerProcess) -> None:
        self.servers, self.plan, self.worker = servers, plan, worker
        self.told_us = time.time_ns() // 1000 - 48 * 3600 * SECOND_US
        """Up to when something has been told."""

    async def run(self, kind: str, **more: Any) -> tuple[float, ReconciliationResult]:
        """Start a run and wait for it; how long that took, from the command to the result."""
        started = time.monotonic()
        result = await send(self.servers, self.plan, command(kind, **more), patience_s=PATIENCE_S)
        assert result is not None
        return time.monotonic() - started, result

    def metric(self, name: str) -> float:
        """The sum of a metric."""
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.worker.http_port}/metrics").read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name
        )

    async def caught_up(self) -> None:
        """Wait until the stream has read everything."""
        done = 0
        while done < 2:
            await asyncio.sleep(1.1)
            done = done + 1 if self.metric("stream_recon_lag_records") == 0 else 0

    async def publish(self, fills: int, seed: int) -> int:
        """Fills of both sides, with faults, later than all before; gives the time of the newest."""
        one = Fresh(fills, seed, self.told_us + SECOND_US)
        self.told_us = one.end_us
        assert self.told_us < time.time_ns() // 1000
        await job.publish(one, self.servers, self.plan)
        return one.start_us + fills * job.APART_US

    async def steadily(self, rate: int, seconds: float, seed: int) -> list[float]:
        """Write fills of both sides at a rate, one in 20 faulty; gives the detection latencies (s) meanwhile."""
        alerts = [TopicPartition(self.plan.name("alerts"), p) for p in range(self.plan.partitions)]
        async with (
            AIOKafkaConsumer(bootstrap_servers=self.servers, enable_auto_commit=False) as consumer,
            AIOKafkaProducer(bootstrap_servers=self.servers, linger_ms=2) as producer,
        ):
            consumer.assign(alerts)
            for tp, end in (await consumer.end_offsets(alerts)).items():
                consumer.seek(tp, end)
            started, number = time.monotonic(), 0
            found: list[float] = []
            while (now := time.monotonic()) < started + seconds:
                while number < (now - started) * rate:
                    await self._pair(producer, seed, number)
                    number += 1
                if number % 50 == 0:
                    await self._beat(producer)
                for records in (await consumer.getmany(timeout_ms=5)).values():
                    for record in records:
                        trigger = dict(record.headers).get("recon.trigger_us")
                        if trigger is not None:
                            found.append(record.timestamp / 1e3 - int(trigger) / 1e6)
            return sorted(found)

    async def _pair(self, producer: AIOKafkaProducer, seed: int, number: int) -> None:
        now_us = time.time_ns() // 1000
        account = f"{job.VENUE}|account-{number * 7919 % job.ACCOUNTS:02d}"
        for origin in ORIGINS:
            price = "2" if number % 20 == 0 and origin == "exchange" else "1"
            value = msgspec.json.encode({
                "type": "fill", "origin": origin, "venue": job.VENUE, "account_id": account.split("|")[1],
                "event_id": f"{origin}-{seed}-{number}", "ts_us": now_us, "instrument": job.INSTRUMENT,
                "trade_id": f"S{seed}-{number}", "order_id": "O1", "side": "buy", "qty": "1", "price": price,
            })  # fmt: skip
            topic = self.plan.source(origin, "fills")
            await producer.send(topic, value, account.encode(), partition_of(account, self.plan.partitions))

    async def _beat(self, producer: AIOKafkaProducer) -> None:
        now_us = time.time_ns() // 1000
        for origin in ORIGINS:
            value = msgspec.json.encode(
                Heartbeat(origin=origin, source=default_source(origin, job.VENUE), through_us=now_us)
            )
            for partition in range(self.plan.partitions):
                await producer.send(self.plan.source(origin, "fills"), value, b"beat", partition)


def p(latencies: list[float], share: float) -> float:
    """A quantile (s)."""
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))] if latencies else float("nan")


async def measure(bench: Bench, fills: int) -> dict[str, Any]:
    """All of it."""
    found: dict[str, Any] = {}

    def say(name: str, value: object) -> None:
        found[name] = value
        print(f"{name:<52} {value}", file=sys.stderr, flush=True)

    newest_us = await bench.publish(fills, 1)
    await bench.caught_up()
    emergencies = [round((await bench.run("emergency"))[0], 3) for _ in range(5)]
    say("emergency, caught up (s, five times)", emergencies)
    took_s, full = await bench.run("full", cut_us=newest_us - 5 * SECOND_US)
    cpu_s = sum(full.summary.seconds.values())
    say("full: records", full.total_records_processed)
    say("full (s)", round(took_s, 2))
    say("full: seconds of reading and comparing", round(cpu_s, 2))
    say("full: status, discrepancies", [full.status, full.discrepancies_found])
    newest_us = await bench.publish(max(1000, fills // 100), 2)
    await bench.caught_up()
    took_i_s, more = await bench.run("incremental", cut_us=newest_us - 5 * SECOND_US)
    cpu_i_s = sum(more.summary.seconds.values())
    say("incremental at 1 %: records, notes", [more.total_records_processed, more.notes])
    say("incremental (s)", round(took_i_s, 2))
    say("incremental / full, seconds of reading and comparing", round(cpu_i_s / cpu_s, 3))
    newest_us = await bench.publish(430_000, 5)
    running = asyncio.create_task(bench.run("full", cut_us=newest_us - 5 * SECOND_US))
    await asyncio.sleep(0.3)
    say("backlog (records) at the emergency", int(bench.metric("stream_recon_lag_records")))
    took_s, result = await bench.run("emergency")
    say("emergency with a full run and that backlog (s)", round(took_s, 2))
    say("its status", result.status)
    say("that full run (s)", round((await running)[0], 2))
    await bench.caught_up()
    quiet = await bench.steadily(400, 20, 3)
    say("detection p50, p99 alone (ms)", [round(1000 * p(quiet, q), 1) for q in (0.5, 0.99)])
    running = asyncio.create_task(bench.run("full", cut_us=newest_us - 5 * SECOND_US))
    busy = await bench.steadily(400, 20, 4)
    say("detection p50, p99 while a full run goes on (ms)", [round(1000 * p(busy, q), 1) for q in (0.5, 0.99)])
    say("p99 ratio", round(p(busy, 0.99) / p(quiet, 0.99), 2))
    say("that full run (s)", round((await running)[0], 2))
    return found


def main() -> None:
    """Parse, start everything, measure, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--accounts", type=int, default=10_000)
    options.add_argument("--partitions", type=int, default=64)
    options.add_argument("--fills", type=int, default=100_000)
    options.add_argument("--output", choices=("table", "json"), default="table")
    given = options.parse_args()
    job.ACCOUNTS = given.accounts
    job.APART_US, job.JITTER = 80_000, 20  # a million fills a day, within the contracts' two seconds of order
    with ExitStack() as stack:
        kafka = stack.enter_context(open_broker("auto"))
        plan = TopicPlan(prefix=f"bench-{uuid4().hex[:8]}.", partitions=given.partitions)
        deployment = Deployment(kafka.bootstrap_servers, plan, CONTRACTS, f"{plan.prefix}group")
        make_topics(deployment)
        worker = stack.enter_context(running_worker(deployment))
        found = asyncio.run(measure(Bench(kafka.bootstrap_servers, plan, worker), given.fills))
    if given.output == "json":
        print(json.dumps(found))


if __name__ == "__main__":
    main()
