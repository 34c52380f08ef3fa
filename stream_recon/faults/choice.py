"""Which record carries which fault, and who falls silent when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_recon.domain.events import ORIGINS, Origin
from stream_recon.faults.changes import CHANGES, Fault, Timing

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from stream_recon.faults.states import OrderKey

Silence = tuple[Origin, int]
"""Who says nothing, and from when on (us after the start)."""
_SMALL_ORDER = 10


def choose_silences(rng: random.Random, number: int, fills_us: int, timing: Timing) -> list[Silence]:
    """Who falls silent, and when: once in each of `number` equal parts of the time, after a second for `_undisturbed`.

    Where the fills take less time than that, the heartbeats go on.
    """
    first_us = timing.late_us + 1_000_000
    needs_us = timing.silence_us + 2 * timing.grace_us
    part_us = max(needs_us, (fills_us - first_us) // max(number, 1))
    return [
        (rng.choice(ORIGINS), first_us + part * part_us + rng.randint(0, part_us - needs_us)) for part in range(number)
    ]


def choose_orders(rng: random.Random, orders: Mapping[OrderKey, Sequence[int]], number: int) -> dict[OrderKey, Origin]:
    """Which orders lose their last update, and on whose side; rather small ones, that leave fills for other faults.

    Raises:
        ValueError: there are not so many.
    """
    keys = sorted(orders)
    if number > len(keys):
        raise ValueError(f"{number} times order_update_lost was asked for, but there are only {len(keys)} orders")
    rng.shuffle(keys)
    keys.sort(key=lambda key: len(orders[key]) > _SMALL_ORDER)
    return {key: rng.choice(ORIGINS) for key in keys[:number]}


def choose_fills(  # noqa: PLR0913, PLR0917 - all of them decide
    rng: random.Random,
    free: list[int],
    times_us: Sequence[int],
    faults: Mapping[Fault, int],
    silences: Sequence[Silence],
    timing: Timing,
) -> dict[int, Fault]:
    """Which of the `free` fills (by their places) carries which fault.

    Raises:
        ValueError: there are not enough.
    """
    free = rng.sample(free, len(free))
    chosen: dict[int, Fault] = {}
    # The choosy one first: what comes after its grace is only missed meanwhile if both feeds go on talking.
    for fault in sorted(CHANGES, key=lambda each: each != "delay_beyond_grace"):
        fits = free
        if fault == "delay_beyond_grace":  # rather one that does not make the replay longer
            fits = [place for place in free if _undisturbed(times_us[place], silences, timing)]
            fits.sort(key=lambda place: times_us[place] + timing.late_us > times_us[-1])
        number = faults.get(fault, 0)
        if number > len(fits):
            raise ValueError(f"{number} times {fault} was asked for, but only {len(fits)} fills are left for it")
        chosen |= dict.fromkeys(fits[:number], fault)
        free = [place for place in free if place not in chosen]
    return chosen


def _undisturbed(at_us: int, silences: Iterable[Silence], timing: Timing) -> bool:
    """Whether nobody is silent from a fill on until it has been missed and told after all."""
    return all(at_us + timing.late_us < since_us or since_us + timing.silence_us < at_us for _, since_us in silences)


def party(rng: random.Random, fault: Fault) -> Origin:
    """Whose report a fault changes."""
    fixed: dict[Fault, Origin] = {"drop_internal": "internal", "drop_exchange": "exchange"}
    return fixed[fault] if fault in fixed else rng.choice(ORIGINS)
