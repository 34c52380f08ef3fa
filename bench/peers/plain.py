"""The plainest program that does the match job: aiokafka, msgspec and a dict. No state that survives, no second look.

    python bench/peers/plain.py SERVERS INTERNAL_TOPIC EXCHANGE_TOPIC GRACE_US WITHIN_US

Reads both topics to their present end and prints one JSON object: CPU seconds from the first fetch on, records, alerts.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from decimal import Decimal

import msgspec
from aiokafka import AIOKafkaConsumer

SWEEP_US = 10_000_000


class Fill(msgspec.Struct, tag_field="type", tag="fill", gc=False):
    """What is compared."""

    venue: str
    account_id: str
    ts_us: int
    instrument: str
    trade_id: str
    side: str
    qty: str
    price: str
    fee: str


class Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", gc=False):
    """How far a side is."""

    through_us: int


def cpu_s() -> float:
    """What this process has used so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def agree(a: Fill, b: Fill) -> bool:
    """Whether two fills are the same to the last digit."""
    return (a.qty == b.qty and a.price == b.price and a.fee == b.fee) or (
        Decimal(a.qty) == Decimal(b.qty) and Decimal(a.price) == Decimal(b.price) and Decimal(a.fee) == Decimal(b.fee)
    )


async def main(  # noqa: C901 - plain on purpose
    servers: str, topics: list[str], grace_us: int, within_us: int
) -> None:
    """Read, match, report."""
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    tps = sorted(consumer.assignment())
    ends = await consumer.end_offsets(tps)
    decode = msgspec.json.Decoder(Fill | Heartbeat).decode
    waiting: list[dict[tuple[str, str, str], Fill]] = [{}, {}]
    done: list[set[tuple[str, str, str]]] = [set(), set()]
    watermarks = dict.fromkeys(tps, 0)
    swept_us = 0
    alerts: set[tuple[str, str, str, str]] = set()
    left = {tp for tp in tps if ends[tp]}
    records_read = 0
    started, began = cpu_s(), time.monotonic()
    while left:
        for tp, records in (await consumer.getmany(timeout_ms=200, max_records=4000)).items():
            side = topics.index(tp.topic)
            mine, other, seen = waiting[side], waiting[1 - side], done[side]
            watermark = watermarks[tp]
            for record in records:
                event = decode(record.value)
                if event.__class__ is Heartbeat:
                    watermark = max(watermark, event.through_us)
                    continue
                key = (f"{event.venue}|{event.account_id}", event.trade_id, event.side)
                twin = other.pop(key, None)
                if twin is not None:
                    seen.add(key)
                    if not agree(event, twin):
                        alerts.add(("fill_mismatch", *key))
                elif key not in seen and key not in mine:
                    mine[key] = event
                    seen.add(key)
                if event.ts_us - within_us > watermark:  # noqa: PLR1730 - half as fast with max()
                    watermark = event.ts_us - within_us
            watermarks[tp] = watermark
            records_read += len(records)
            if records[-1].offset + 1 >= ends[tp]:
                left.discard(tp)
        known_us = min(watermarks.values())
        if not left or known_us > swept_us + SWEEP_US:
            swept_us = known_us
            for side, kind in ((0, "missing_exchange"), (1, "missing_internal")):
                overdue = [key for key, fill in waiting[side].items() if fill.ts_us + grace_us <= known_us]
                for key in overdue:
                    del waiting[side][key]
                    alerts.add((kind, *key))
    used, took = cpu_s() - started, time.monotonic() - began
    await consumer.stop()
    print(json.dumps({"cpu_s": used, "seconds": took, "records": records_read, "alerts": sorted(alerts)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:4], int(sys.argv[4]), int(sys.argv[5])))
