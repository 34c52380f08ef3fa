"""`stream-recon bench match`: our worker, its durable state included, beside the plainest program for the same job.

Our worker runs twice: concluding over trades only, and over all identities and windows. All three read the same topics
of the same broker, one after the other, several times; the figure is the CPU time per event of the process that does
the work, without its start. Alerts are compared with the truth each time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from job import GRACE_US, Job, Truth, contracts, new_job, publish  # beside this file

from stream_recon.broker import open_broker
from stream_recon.consume import newest
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.topics import Role, TopicPlan
from stream_recon.shell.topics import create, delete

HERE = Path(__file__).parent
PARTITIONS = 4
CONCLUDING = ("trades", "all")
START_S = 60
FINISH_S = 900


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fills", type=int, default=400_000, help="on each side")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--host", choices=["faust", "plain"], default="faust")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    given = parser.parse_args()
    with open_broker() as broker:
        result = measure(broker.bootstrap_servers, given)
    result["broker"] = broker.why
    if given.output == "json":
        print(json.dumps(result))
    else:
        _show(result)
    sys.exit(0 if result["alerts_as_they_must_be"] else 1)


def measure(servers: str, given: argparse.Namespace) -> dict[str, Any]:
    """Write the job, run everybody in turn, and put the figures together."""
    sources = TopicPlan(prefix=f"bench-{os.getpid()}-{int(time.time())}.", partitions=PARTITIONS)
    asyncio.run(create(servers, sources))
    try:
        job = new_job(given.fills, given.seed)
        began = time.monotonic()
        records = asyncio.run(publish(job, servers, sources))
        _note(f"{records:,} records written in {time.monotonic() - began:.0f} s")
        truth = job.truth()
        start_s = _start_cost(servers, (given.host, "all"))
        _note(f"a worker costs {start_s:.2f} s of CPU until it is ready; that is left out")
        plain: list[dict[str, Any]] = []
        ours: dict[str, list[dict[str, Any]]] = {concluding: [] for concluding in CONCLUDING}
        for number in range(given.runs):
            plain.append(_plain(servers, sources, job, records, truth))
            _note(f"run {number + 1}: plain {_said(plain[-1])}")
            for concluding, runs in ours.items():
                prefix = f"{sources.prefix}{number}-{concluding}."
                host = given.host, concluding
                runs.append(_ours(servers, sources, prefix, host, records, truth, start_s))
                _note(f"       stream-recon, {concluding}, {_said(runs[-1])}")
    finally:
        asyncio.run(delete(servers, sources))
    everybody = {"plain": plain} | {f"stream_recon_{concluding}": runs for concluding, runs in ours.items()}
    medians = {name: statistics.median(run["cpu_us_per_event"] for run in runs) for name, runs in everybody.items()}
    return {
        "machine": machine(),
        "job": {"fills_per_side": job.fills, "records": records, "faults": len(job.faults()), "seed": job.seed},
        "host": given.host,
        "cpu_us_per_event": medians,
        "ratio": round(medians["stream_recon_all"] / medians["plain"], 2),
        "all_identities_cost": round(medians["stream_recon_all"] / medians["stream_recon_trades"] - 1, 3),
        "alerts_as_they_must_be": all(run["wrong"] == 0 for runs in everybody.values() for run in runs),
        "runs": everybody,
    }


def _plain(servers: str, sources: TopicPlan, job: Job, records: int, truth: Truth) -> dict[str, Any]:
    topics = [sources.source("internal", "fills"), sources.source("exchange", "fills")]
    within_us = contracts().contracts[0].order_within_us
    command = [sys.executable, str(HERE / "peers" / "plain.py"), servers, *topics, str(GRACE_US), str(within_us)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert said["records"] == records, f"{said['records']} of {records} records of seed {job.seed} read"
    return _figures(said["cpu_s"], said["seconds"], records, {tuple(alert) for alert in said["alerts"]}, truth)


def _ours(  # noqa: PLR0913, PLR0917 - a run has that many sides
    servers: str, sources: TopicPlan, prefix: str, host: tuple[str, str], records: int, truth: Truth, start_s: float
) -> dict[str, Any]:
    plan = _plan(sources, prefix)
    asyncio.run(create(servers, plan))
    began = time.monotonic()
    worker, _ = _start(servers, sources.prefix, prefix, host)
    try:
        asyncio.run(_until_done(servers, plan, f"{prefix}worker", worker))
        used, took = cpu_s(worker.pid) - start_s, time.monotonic() - began
    finally:
        worker.terminate()
        worker.wait()
    states = asyncio.run(newest(servers, plan.name("breaks")))
    alerts = {
        (a.kind, a.account, a.trade_id or "", a.side or "")
        if isinstance(a, Discrepancy)
        else (a.reason, a.source, "", "")
        for a in (received.alert for received in states.values())
        if not (isinstance(a, Discrepancy) and a.identity == "net_change")  # the same faults, seen by windows
    }  # fmt: skip
    asyncio.run(_delete_own(servers, plan, sources))
    return _figures(used, took, records, alerts, truth)


def _figures(used_s: float, took_s: float, records: int, alerts: Truth, truth: Truth) -> dict[str, Any]:
    return {
        "cpu_us_per_event": round(used_s / records * 1e6, 2),
        "seconds": round(took_s, 1),
        "alerts": len(alerts),
        "wrong": len(alerts ^ truth),
    }


def _start_cost(servers: str, host: tuple[str, str]) -> float:
    """CPU seconds of a worker until it is ready, where there is nothing to do."""
    plan = TopicPlan(prefix=f"bench-{os.getpid()}-idle.", partitions=PARTITIONS)
    asyncio.run(create(servers, plan))
    worker, used_s = _start(servers, plan.prefix, plan.prefix, host)
    worker.terminate()
    worker.wait()
    asyncio.run(delete(servers, plan))
    return used_s


def _start(
    servers: str, source_prefix: str, prefix: str, host: tuple[str, str]
) -> tuple[subprocess.Popen[bytes], float]:
    """Start our worker; gives it and its CPU seconds when it was ready."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [
        sys.executable,
        str(HERE / "worker.py"),
        servers,
        source_prefix,
        prefix,
        str(PARTITIONS),
        str(port),
        *host,
    ]
    worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and worker.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return worker, cpu_s(worker.pid)
        except (URLError, OSError):
            time.sleep(0.02)
    worker.kill()
    raise RuntimeError("the worker did not become ready")


async def _until_done(servers: str, plan: TopicPlan, group: str, worker: subprocess.Popen[bytes]) -> None:
    """Wait until everything is acknowledged, that is, until all that follows from it is published."""
    consumer, admin = AIOKafkaConsumer(bootstrap_servers=servers), AIOKafkaAdminClient(bootstrap_servers=servers)
    await consumer.start()
    await admin.start()
    try:
        tps = [TopicPartition(topic, p) for topic in plan.sources() for p in range(PARTITIONS)]
        ends = {tp: end for tp, end in (await consumer.end_offsets(tps)).items() if end}
        deadline = time.monotonic() + FINISH_S
        while time.monotonic() < deadline and worker.poll() is None:
            done = await admin.list_consumer_group_offsets(group)
            if all(tp in done and done[tp].offset >= end for tp, end in ends.items()):
                return
            await asyncio.sleep(0.1)
    finally:
        await consumer.stop()
        await admin.close()
    raise RuntimeError("the worker did not finish")


async def _delete_own(servers: str, plan: TopicPlan, sources: TopicPlan) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.delete_topics([t.name for t in plan.topics() if t.name not in sources.sources()])
    await admin.close()


def _plan(sources: TopicPlan, prefix: str) -> TopicPlan:
    names: dict[Role, str] = {f"{origin}.{stream}": name for name, (origin, stream) in sources.sources().items()}
    return TopicPlan(prefix=prefix, partitions=PARTITIONS, names=names)


def cpu_s(pid: int) -> float:
    """What a process has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """What this was measured on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} x {name}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def _said(run: dict[str, Any]) -> str:
    return f"{run['cpu_us_per_event']:.2f} us an event, {run['seconds']} s, {run['wrong']} alerts wrong"


def _show(result: dict[str, Any]) -> None:
    print(result["machine"])
    print(f"{result['job']['records']:,} records, {result['job']['faults']:,} faults; {result['broker']}")
    for name, label in (
        ("plain", "aiokafka + msgspec + dict, nothing kept"),
        ("stream_recon_trades", "stream-recon, durable, trades only"),
        ("stream_recon_all", "stream-recon, durable, all identities"),
    ):
        runs = ", ".join(f"{run['cpu_us_per_event']:.2f}" for run in result["runs"][name])
        print(f"{label:<42} {result['cpu_us_per_event'][name]:6.2f} us of CPU an event (median of {runs})")
    print(f"all identities and windows cost {100 * result['all_identities_cost']:+.1f} % over trades only")
    print(f"ratio {result['ratio']}; alerts {'as they must be' if result['alerts_as_they_must_be'] else 'WRONG'}")


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
