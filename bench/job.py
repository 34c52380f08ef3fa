"""The match job: fills of both sides with seeded faults, written to a broker once, and the alerts they must give.

4 partitions, 64 accounts, one fill every 5 ms of event time on each side, JSON of about 260 bytes, each side out of
order by up to 200 fills, 0.5 % faulty (missing on one side, price, fee, duplicate), grace 60 s, heartbeats at the end.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer
from msgspec import json

from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS, Heartbeat, Origin, default_source
from stream_recon.produce import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.domain.topics import TopicPlan

ACCOUNTS = 64
APART_US = 5_000
GRACE_US = 60_000_000
JITTER = 200
FAULTY = 0.005
VENUE = "simex"
INSTRUMENT = "BTC-USDT-PERP"

Truth = set[tuple[str, ...]]
"""(kind, account, trade id, side)."""


class Job(NamedTuple):
    """What is in the topics."""

    fills: int
    """On each side."""
    seed: int
    start_us: int

    @property
    def end_us(self) -> int:
        """Up to when the closing heartbeats vouch."""
        return self.start_us + self.fills * APART_US + GRACE_US + 2 * JITTER * APART_US

    def faults(self) -> dict[int, str]:
        """What is wrong with which fill."""
        rng = random.Random(self.seed)
        kinds = ("missing_internal", "missing_exchange", "price", "fee", "duplicate")
        return {n: rng.choice(kinds) for n in range(self.fills) if rng.random() < FAULTY}

    def truth(self) -> Truth:
        """The alerts that must be there at the end."""
        kinds = {"price": "fill_mismatch", "fee": "fill_mismatch"}
        return {
            (kinds.get(fault, fault), f"{VENUE}|account-{n % ACCOUNTS:02d}", f"T{n:012d}", "sell" if n % 3 else "buy")
            for n, fault in self.faults().items()
            if fault != "duplicate"
        }

    def records(self, origin: Origin) -> Iterator[tuple[str, bytes]]:
        """One side: (account, value), in the order of its log."""
        faults = self.faults()
        rng = random.Random(f"{self.seed} {origin}")
        order = sorted(range(self.fills), key=lambda n: n + rng.random() * JITTER)
        for n in order:
            fault = faults.get(n)
            if fault == f"missing_{origin}":
                continue
            wrong = origin == "exchange" and fault in {"price", "fee"}
            price = f"{60_000 + n % 5_000}.{n % 100:02d}{'1' if wrong and fault == 'price' else ''}"
            fee = f"0.{n % 9_000 + 1_000}{'1' if wrong and fault == 'fee' else ''}"
            value = (
                f'{{"type":"fill","origin":"{origin}","venue":"{VENUE}","account_id":"account-{n % ACCOUNTS:02d}",'
                f'"event_id":"{origin[0]}{n:012d}","ts_us":{self.start_us + n * APART_US},"instrument":"{INSTRUMENT}",'
                f'"trade_id":"T{n:012d}","order_id":"O{n // 3:011d}","side":"{"sell" if n % 3 else "buy"}",'
                f'"qty":"{n % 40 + 1}.{n % 10}","price":"{price}","fee":"{fee}","fee_asset":"USDT"}}'
            ).encode()
            yield f"{VENUE}|account-{n % ACCOUNTS:02d}", value
            if fault == "duplicate" and origin == "internal":
                yield f"{VENUE}|account-{n % ACCOUNTS:02d}", value


def contracts(*, trades_only: bool = False) -> Contracts:
    """What both sides promise; `trades_only`: nothing but fills, so that nothing else is concluded."""
    absent: dict[str, Any] = dict.fromkeys(("orders", "positions", "balances", "ledger"), "absent")
    return Contracts(
        contracts=tuple(
            FeedContract(
                origin=origin, fills="complete", order_within_us=2 * JITTER * APART_US, grace_us=GRACE_US,
                **(absent if trades_only else {}),
            )
            for origin in ORIGINS
        )
    )  # fmt: skip


def new_job(fills: int, seed: int) -> Job:
    """A job whose newest time lies a little in the past, so that Kafka's time is ahead of all of it."""
    now_us = time.time_ns() // 1_000
    return Job(fills, seed, now_us - fills * APART_US - 2 * GRACE_US)


async def publish(job: Job, servers: str, plan: TopicPlan) -> int:
    """Write the job to the topics; gives the number of records."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, max_batch_size=262_144)
    await producer.start()
    sent = 0
    try:
        for origin in ORIGINS:
            topic = plan.source(origin, "fills")
            batches = [producer.create_batch() for _ in range(plan.partitions)]
            for account, value in job.records(origin):
                partition = partition_of(account, plan.partitions)
                while batches[partition].append(key=account.encode(), value=value, timestamp=None) is None:
                    await producer.send_batch(batches[partition], topic, partition=partition)
                    batches[partition] = producer.create_batch()
                sent += 1
            beat = json.encode(Heartbeat(origin=origin, source=default_source(origin, VENUE), through_us=job.end_us))
            for partition, batch in enumerate(batches):
                last = batch
                while last.append(key=b"beat", value=beat, timestamp=None) is None:
                    await producer.send_batch(last, topic, partition=partition)
                    last = producer.create_batch()
                await producer.send_batch(last, topic, partition=partition)
                sent += 1
        await producer.flush()
    finally:
        await producer.stop()
    return sent
