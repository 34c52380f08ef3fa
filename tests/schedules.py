"""Small logs drawn from the named cases, each read in every order there is; counts the schedules tried.

`python -m tests.schedules SECONDS [SEED]` goes on for so long, and prints how many it tried; a failure prints its seed.
"""

from __future__ import annotations

import random
import sys
import time
from itertools import count
from typing import TYPE_CHECKING

from tests.simulation import Kafka, Worker, World, check
from tests.test_interleavings import CASES, every_order, live
from tests.test_oracle import CONTRACTS

if TYPE_CHECKING:
    from tests.oracle import LogEntry

LONG_US = 10**10


def drawn(rng: random.Random, log: list[LogEntry]) -> list[LogEntry]:
    """The log with a record left out or told twice now and then."""
    found = [entry for entry in log if rng.random() > 0.15]
    return found + ([rng.choice(found)] if found and rng.random() < 0.2 else [])


def try_all(seed: int) -> int:
    """One drawn world in every order; gives how many there were."""
    rng = random.Random(seed)
    case = rng.choice(sorted(CASES))
    internal, exchange = (drawn(rng, log) for log in CASES[case])
    one = World(
        CONTRACTS, {"internal": live(internal, "internal"), "exchange": live(exchange, "exchange")}, True, LONG_US
    )
    tried = 0
    for order in every_order((len(one.logs["internal"]), len(one.logs["exchange"]))):
        kafka = Kafka(one)
        worker = Worker(kafka)
        for origin in order:
            worker.read(origin, 1)
        worker.write()
        try:
            check(kafka, worker)
        except AssertionError as error:
            raise AssertionError(f"seed {seed} ({case}), order {order}: {error}") from error
        tried += 1
    return tried


def main() -> None:
    """Try for so many seconds."""
    ends, tried = time.monotonic() + float(sys.argv[1]), 0
    for seed in count(int(sys.argv[2]) if len(sys.argv) > 2 else 0):
        tried += try_all(seed)
        if time.monotonic() > ends:
            print(f"{tried:,} schedules of {seed + 1:,} worlds, none fails")
            return


if __name__ == "__main__":
    main()
