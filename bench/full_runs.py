"""What a full run over Kafka costs with what agrees taken out in columns, and by the core alone.

python bench/full_runs.py [--fills 400000] [--output json]

One broker, 4 partitions, 64 accounts, the fills of the match job (0.5 % faulty) over eleven hours of event time, of
which the last hour is left to the core because the checkpoint remembers it. Each way has a process of its own, which
replays the partitions one after the other, as a run lane does: CPU seconds of that process, its peak of memory (from
the start of Python on), and a digest of all partials and checkpoints, which must be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import job
import msgspec

from stream_recon.broker import open_broker
from stream_recon.core.memory import Changes
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.results import Scope
from stream_recon.domain.topics import TopicPlan
from stream_recon.domain.work import ReplayItem
from stream_recon.shell import replaying
from stream_recon.shell.settings import WorkerSettings
from stream_recon.shell.topics import create
from stream_recon.strategies.registry import registry

job.APART_US = 100_000
PARTITIONS = 4
CONTRACTS = Contracts(
    contracts=tuple(
        FeedContract(
            origin=origin, fills="complete", orders="absent", positions="absent", balances="absent", ledger="absent",
            order_within_us=2 * job.JITTER * job.APART_US, grace_us=job.GRACE_US,
        )
        for origin in ORIGINS
    )
)  # fmt: skip


class _Watch:
    """Lets everything pass, and asks how long the loop was held up."""

    def __init__(self) -> None:
        self.last_s = time.monotonic()
        self.longest_s = 0.0

    async def step(self, stage: str, records: int, of: int) -> None:
        """As `replaying.Oversight`."""
        del stage, records, of
        self.longest_s = max(self.longest_s, time.monotonic() - self.last_s)
        await asyncio.sleep(0)
        self.last_s = time.monotonic()


async def replay(servers: str, prefix: str, end_us: int) -> dict[str, Any]:
    """Replay all partitions; gives what they come to."""
    full = registry().of("full")
    settings = WorkerSettings(
        bootstrap=servers, plan=TopicPlan(prefix=prefix, partitions=PARTITIONS), contracts=CONTRACTS
    )
    hashed = blake2b(digest_size=16)
    records = discrepancies = 0
    watch = _Watch()
    for partition in range(PARTITIONS):
        item = ReplayItem(
            run_id="bench", type="full", strategy="full", deadline_us=0, config={}, keep_checkpoint=True,
            scope=Scope(identities=full.identities, from_us=0, to_us=end_us),
        )  # fmt: skip
        watch.last_s = time.monotonic()
        done = await replaying.Replay(settings, full, partition, item, watch).run()
        done.partial.seconds = {}
        records += done.partial.counts["consumed"]
        discrepancies += len(done.partial.discrepancies)
        counts = sorted((name, count) for name, count in done.partial.counts.items() if count)
        hashed.update(msgspec.json.encode([msgspec.structs.replace(done.partial, counts={}), counts]))
        for part in done.checkpoint:
            changes = msgspec.msgpack.decode(part.changes, type=Changes)
            changes.tallies = dict(sorted(item for item in changes.tallies.items() if item[1]))
            hashed.update(msgspec.msgpack.encode(changes))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "records": records, "discrepancies": discrepancies, "digest": hashed.hexdigest(),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2), "peak_mb": usage.ru_maxrss // 1024,
        "longest_between_steps_s": round(watch.longest_s, 2),
    }  # fmt: skip


def apart(way: str, servers: str, prefix: str, end_us: int) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, str(Path(__file__)), "--way", way, "--servers", servers, "--prefix", prefix]
    started = time.monotonic()
    done = subprocess.run([*words, "--end", str(end_us)], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"wall_s": round(time.monotonic() - started, 2)}


def main() -> None:
    """Measure, or do one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fills", type=int, default=400_000)
    parser.add_argument("--output", choices=["text", "json"], default="text")
    parser.add_argument("--way", choices=["core", "columns"])
    parser.add_argument("--servers")
    parser.add_argument("--prefix")
    parser.add_argument("--end", type=int)
    args = parser.parse_args()
    if args.way is not None:
        if args.way == "core":
            replaying.COLUMNS_FROM = 1 << 62
        print(json.dumps(asyncio.run(replay(args.servers, args.prefix, args.end))))
        return
    plan = TopicPlan(prefix="bench.", partitions=PARTITIONS)
    with open_broker() as broker:
        asyncio.run(create(broker.bootstrap_servers, plan))
        one = job.new_job(args.fills, 1)
        asyncio.run(job.publish(one, broker.bootstrap_servers, plan))
        end_us = one.start_us + args.fills * job.APART_US
        found = {way: apart(way, broker.bootstrap_servers, "bench.", end_us) for way in ("core", "columns")}
    print(json.dumps(found) if args.output == "json" else "\n".join(f"{way}: {each}" for way, each in found.items()))
    assert found["core"]["digest"] == found["columns"]["digest"]


if __name__ == "__main__":
    main()
