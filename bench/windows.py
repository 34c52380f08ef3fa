"""What the windows of net changes cost: CPU microseconds a move, beside making the moves, and what their state weighs.

python bench/windows.py [--fills 200000] [--accounts 64] [--pack 500]
"""

from __future__ import annotations

import argparse
import gc
import random
from itertools import islice
from time import process_time
from typing import TYPE_CHECKING

import msgspec

from stream_recon.core.accounts import Directory
from stream_recon.core.movements import Move
from stream_recon.core.register import Register
from stream_recon.core.trades import Rules
from stream_recon.core.window_memory import take
from stream_recon.core.windows import Windows
from stream_recon.domain.contracts import Contracts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.domain.events import Side

STEP_US = 5_000
START_US = 1_700_000_000_000_000
JITTER = 200
RUNS = 5


def told(fills: int, accounts: int, seed: int) -> list[tuple[int, str, Move]]:
    """One origin's moves, out of order by up to `JITTER` places: account, key, move."""
    rng, texts = random.Random(seed), random.Random(1)
    moves = []
    for number in range(fills):
        account = number % accounts
        side: Side = "buy" if texts.random() < 0.5 else "sell"
        qty, price = f"{texts.randint(1, 9999) / 1000:.3f}", f"{texts.randint(100_000, 200_000) / 10:.1f}"
        key = f"venue|account-{account}\x1fBTC-PERP\x1f{number}\x1f{side}"
        move = Move(
            START_US + number * STEP_US, number, 1, "BTC-PERP", str(number), side, qty, price, "0.125000", "USDC"
        )
        moves.append((number + rng.randint(0, JITTER), account, key, move))
    moves.sort(key=lambda each: each[0])
    return [(account, key, move) for _, account, key, move in moves]


def packs(moves: list[tuple[int, str, Move]], size: int) -> Iterator[list[tuple[int, str, Move]]]:
    """Cut them up."""
    each = iter(moves)
    while pack := list(islice(each, size)):
        yield pack


def run(arguments: argparse.Namespace, *, paired: bool = False) -> tuple[float, float, int]:
    """Seconds of CPU with the windows, without, and bytes of state written; `paired`: each two moves come as one."""
    sides = [told(arguments.fills, arguments.accounts, seed) for seed in (2, 3)]
    spent, written = [], 0
    for window_us in (0, 300_000_000):
        directory = Directory(Contracts())
        windows = Windows(directory, Register(), Rules(window_us=window_us))
        accounts = [directory.account("venue", f"account-{number}") for number in range(arguments.accounts)]
        encoder = msgspec.msgpack.Encoder()
        clocks = accounts[0].clocks
        cut = list(zip(*(packs(side, arguments.pack) for side in sides), strict=True))
        gc.collect()
        started = process_time()
        for both in cut:
            for o, pack in enumerate(both):
                clock, add = clocks[o], windows.add
                for number, key, move in pack:
                    if not paired:
                        add(accounts[number], o, key, move)
                    elif o:
                        windows.pair(accounts[number], move, move.ts_us)
                    lift_us = move.ts_us - 2_000_000
                    if lift_us > clock.watermark_us:
                        clock.watermark_us = lift_us
                        if lift_us >= clock.ends.next_us:
                            windows.fall_due(clock)
                windows.forget()
                written += len(encoder.encode(take(windows)))
        spent.append(process_time() - started)
        assert not windows.register.newest
    return spent[1], spent[0], written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fills", type=int, default=200_000, help="of each origin")
    parser.add_argument("--accounts", type=int, default=64)
    parser.add_argument("--pack", type=int, default=500, help="records stepped over before state is written")
    given = parser.parse_args()
    results = sorted(run(given) for _ in range(RUNS))
    paired = sorted(run(given, paired=True) for _ in range(RUNS))[RUNS // 2]
    print(
        f"{(paired[0] - paired[1]) / given.fills / 2 * 1e6:.2f} us a move that comes paired; "
        f"{paired[2] / given.fills / 2:.0f} bytes of state"
    )
    with_us, without_us = (results[RUNS // 2][at] / given.fills / 2 * 1e6 for at in (0, 1))
    print(f"{with_us - without_us:.2f} us a move ({with_us:.2f} with an empty loop of {without_us:.2f})")
    print(f"{results[0][2] / given.fills / 2:.0f} bytes of state a move")
