"""Memory of a lane: over many events it grows to what the horizon holds, and stays there; what stays open costs more.

    python bench/memory.py [events] [accounts]
    python bench/memory.py waiting [items]
    python bench/memory.py open [items]

The first: fills of both sides at 5 ms of event time, 0.5 % of them missing on one side and as many sent twice; prints
resident memory after each tenth. The others: fills of one side only, the other silent or past their grace, so that each
of them waits, or is an open discrepancy; prints what one costs, and what writing and restoring it takes. No broker:
it is the memory of the core that is in question.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.domain.contracts import Contracts
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from stream_recon.domain.events import Origin

PACK = 1_000
START_US = 1_700_000_000_000_000


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def fills(origin: Origin, numbers: list[int], accounts: int) -> tuple[list[bytes], list[bytes | None]]:
    """Values and keys."""
    values = [
        f'{{"type":"fill","origin":"{origin}","venue":"venue","account_id":"account-{n % accounts:05d}",'
        f'"event_id":"{origin}:{n}","ts_us":{START_US + n * 5_000},"instrument":"BTC-USD","trade_id":"{n}",'
        f'"order_id":"order-{n // 3}","side":"buy","qty":"{n % 97 + 1}.5","price":"{n % 1000 + 1000}.25",'
        f'"fee":"0.12","fee_asset":"USD"}}'.encode()
        for n in numbers
    ]
    return values, [f"venue|account-{n % accounts:05d}".encode() for n in numbers]


def step(lane: Lane, origin: Origin, offsets: list[int], values: list[bytes], keys: list[bytes | None]) -> bytes:
    """Feed records; what changed, as it is written down."""
    times_us = [START_US + 10**15] * len(values)
    decoded = decode_pack(values, keys, times_us, origin, "fills")
    lane.step(Batch(origin, "fills", f"recon.{origin}.fills.v1", offsets, times_us, values, decoded))
    return msgspec.msgpack.encode(lane.drain().changes)


def heartbeat(lane: Lane, origin: Origin, through_us: int) -> bytes:
    """Let a side have delivered everything up to that time."""
    beat = f'{{"type":"heartbeat","origin":"{origin}","source":"{origin}|venue","through_us":{through_us}}}'
    return step(lane, origin, [0], [beat.encode()], [None])


def main(events: int, accounts: int) -> None:
    """Feed a lane and print how it grows."""
    chance = Random(1)
    lane = Lane(0, Contracts())
    state_bytes = 0
    for start in range(0, events // 2, PACK):
        missing = {n for n in range(start, start + PACK) if chance.random() < 0.005}
        for origin in ORIGINS:
            numbers = [n for n in range(start, start + PACK) if origin == "internal" or n not in missing]
            numbers += numbers[:5]
            state_bytes += len(step(lane, origin, numbers, *fills(origin, numbers, accounts)))
        done = 2 * (start + PACK)
        if done % max(events // 10 // (2 * PACK) * (2 * PACK), 2 * PACK) == 0:
            counts = lane.counts
            print(
                f"{done:>10,} events  {resident_mb():7.0f} MB  remembered {len(lane.book.matched):>8,}  "
                f"discrepant {counts.get('discrepant', 0):>7,}  state log {state_bytes / done:4.0f} bytes/event",
                flush=True,
            )


def stay_open(items: int, *, due: bool) -> None:
    """Let so many fills wait, or be missing, and print what one costs."""
    lane = Lane(0, Contracts())
    heartbeat(lane, "exchange", START_US)
    empty_mb, started = resident_mb(), time.process_time()
    for start in range(0, items, PACK):
        numbers = list(range(start, start + PACK))
        step(lane, "internal", numbers, *fills("internal", numbers, 64))
        if due:
            heartbeat(lane, "exchange", START_US + (start + PACK) * 5_000 + 10_000_000)
    took_s = time.process_time() - started
    used_mb = resident_mb() - empty_mb
    waiting, standing = len(lane.book.waiting[0]), lane.register.newest.standing.total()
    print(
        f"{waiting:,} waiting, {standing:,} open: {used_mb:,.0f} MB, {used_mb * 2**20 / items:,.0f} bytes each, "
        f"{took_s / items * 1e6:.0f} us of CPU each"
    )
    started = time.process_time()
    parts = [msgspec.msgpack.encode(part) for part in lane.snapshot(20_000)]
    wrote_s = time.process_time() - started
    restored, started = Lane(0, Contracts()), time.process_time()
    for part in parts:
        restored.restore(msgspec.msgpack.decode(part, type=Changes))
    print(
        f"snapshot {sum(map(len, parts)) / items:,.0f} bytes each, {wrote_s / items * 1e6:.1f} us to write, "
        f"{(time.process_time() - started) / items * 1e6:.1f} us to restore"
    )


if __name__ == "__main__":
    if sys.argv[1:2] in (["waiting"], ["open"]):
        stay_open(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000, due=sys.argv[1] == "open")
    else:
        main(*(int(argument) for argument in sys.argv[1:] or ("5000000", "64")))
