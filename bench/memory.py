"""Memory of a lane over many events: it grows to what the horizon holds, and stays there.

    python bench/memory.py [events] [accounts]

Fills of both sides at 5 ms of event time, 0.5 % of them missing on one side and as many sent twice; prints resident
memory after each tenth. Uses no broker: it is the memory of the core that is in question.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import msgspec

from stream_recon.core.lane import Batch, Lane
from stream_recon.domain.contracts import Contracts
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.events import ORIGINS

PACK = 1_000
START_US = 1_700_000_000_000_000


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


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
            values = [
                f'{{"type":"fill","origin":"{origin}","venue":"venue","account_id":"account-{n % accounts:05d}",'
                f'"event_id":"{origin}:{n}","ts_us":{START_US + n * 5_000},"instrument":"BTC-USD","trade_id":"{n}",'
                f'"order_id":"order-{n // 3}","side":"buy","qty":"{n % 97 + 1}.5","price":"{n % 1000 + 1000}.25",'
                f'"fee":"0.12","fee_asset":"USD"}}'.encode()
                for n in numbers
            ]
            keys = [f"venue|account-{n % accounts:05d}".encode() for n in numbers]
            times_us = [START_US + 10**15] * len(values)
            decoded = decode_pack(values, keys, times_us, origin, "fills")
            lane.step(Batch(origin, "fills", None, numbers, times_us, values, decoded))
            state_bytes += len(msgspec.msgpack.encode(lane.drain().changes))
        done = 2 * (start + PACK)
        if done % max(events // 10 // (2 * PACK) * (2 * PACK), 2 * PACK) == 0:
            counts = lane.counts
            print(
                f"{done:>10,} events  {resident_mb():7.0f} MB  remembered {len(lane.book.matched):>8,}  "
                f"discrepant {counts.get('discrepant', 0):>7,}  state log {state_bytes / done:4.0f} bytes/event",
                flush=True,
            )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:] or ("5000000", "64")))
