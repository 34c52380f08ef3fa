"""The fault plan: real fills on a live clock, told by both origins, with faults whose consequence is known.

Theory. The recorded fills become what the exchange executed, one every 1/speed s, their order and amounts kept.
Both origins report each of them shortly after it happened, and say twice a second up to where they have reported. A
fault then changes what one origin says of one fill. Each fill carries at most one, so what must be found follows from
the fault alone: no matching is needed to know it. The clock is real, because grace and silence are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.domain.events import ORIGINS, Origin, Stream, account_of, default_source
from stream_recon.faults.changes import CHANGES, FAULTS, OTHER, Change, Event, Fault, Final, Timing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Finding = tuple[str, ...]
"""(kind, account, instrument, root trade id, side) of a discrepancy; (reason, origin, source) of a feed condition."""
Silence = tuple[Origin, int]
"""Who says nothing, and from when on (us after the start)."""


class Step(NamedTuple):
    """One event to publish `at_us` after the start; a heartbeat goes to every partition of its topic."""

    at_us: int
    origin: Origin
    stream: Stream
    event: Event


@dataclass(frozen=True)
class Injected:
    """One fault and what must be said of it."""

    fault: Fault
    origin: Origin
    """Whose report was changed."""
    done: str
    """What was done to the data."""
    key: tuple[str, ...]
    """(account, instrument, trade id, side) of the fill, (source,) of a silent feed."""
    expects: tuple[Finding, ...]
    """What must be opened; empty where nothing may be."""
    final: Final | None
    """The status in which all of it must end."""


@dataclass(frozen=True)
class Plan:
    """What to publish, in this order, and what must be found."""

    steps: list[Step]
    injected: list[Injected]


def faults_of(text: str) -> dict[Fault, int]:
    """How many of each fault `all`, `none` or a list like `price=3,drop_internal=2` asks for.

    Raises:
        ValueError: an unknown fault, or a number that is none.
    """
    if text in {"all", "none"}:
        return {fault: 1 if fault == "silent_feed" else 3 for fault in FAULTS if text == "all"}
    wanted: dict[Fault, int] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        fault = next((each for each in FAULTS if each == name), None)
        if fault is None:
            raise ValueError(f"unknown fault {name!r}; there are {', '.join(FAULTS)}")
        if not (number or "1").isdecimal():
            raise ValueError(f"{part.strip()!r}: {number!r} is no count")
        wanted[fault] = int(number or "1")
    return wanted


def plan(
    fills: Sequence[Event],
    seed: int,
    faults: Mapping[Fault, int],
    *,
    timing: Timing = Timing(),  # noqa: B008 - frozen
    start_us: int = 0,
) -> Plan:
    """Put `fills` on a clock that starts at `start_us` (us since the epoch), tell them twice, inject so many faults.

    Raises:
        ValueError: there are not enough fills for so many faults.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    apart_us = round(1_000_000 / timing.speed_per_s)
    live = [{**fill, "ts_us": start_us + (number + 1) * apart_us} for number, fill in enumerate(fills)]
    sources = {origin: sorted({default_source(origin, fill["venue"]) for fill in fills}) for origin in ORIGINS}
    silences = _silences(rng, faults.get("silent_feed", 0), (len(fills) + 1) * apart_us, timing)
    chosen = _choose(rng, [fill["ts_us"] - start_us for fill in live], faults, silences, timing)

    steps: list[Step] = []
    injected = [_silent(origin, since_us, sources[origin], timing) for origin, since_us in silences]
    for number, fill in enumerate(live):
        fault = chosen.get(number)
        at_fault = _party(rng, fault) if fault else None
        for origin in ORIGINS:
            report = {**fill, "origin": origin, "event_id": f"{origin}:{fill['trade_id']}"}
            reports = [(0, report)]
            if fault and origin == at_fault:
                change = CHANGES[fault](rng, report, timing)
                reports = change.reports
                injected.append(_injected(fault, report, change))
            at_us = fill["ts_us"] - start_us + rng.randint(timing.order_within_us // 20, timing.order_within_us // 2)
            steps.extend(Step(at_us + delay_us, origin, "fills", event) for delay_us, event in reports)
    # When all has been told and nobody is silent any more, what is missing must still fall due.
    ends_us = [step.at_us for step in steps] + [since_us + timing.silence_us for _, since_us in silences]
    steps.extend(_heartbeats(sources, timing, start_us, max(ends_us, default=0) + timing.missed_us))
    return Plan(_hold_back(sorted(steps, key=lambda step: step.at_us), silences, timing), injected)


def _silences(rng: random.Random, number: int, fills_us: int, timing: Timing) -> list[Silence]:
    """Who falls silent, and when: once in each of `number` equal parts of the time, after a second for `_undisturbed`.

    Where the fills take less time than that, the heartbeats go on.
    """
    first_us = timing.late_us + 1_000_000
    needs_us = timing.silence_us + 2 * timing.grace_us
    part_us = max(needs_us, (fills_us - first_us) // max(number, 1))
    return [
        (rng.choice(ORIGINS), first_us + part * part_us + rng.randint(0, part_us - needs_us)) for part in range(number)
    ]


def _choose(
    rng: random.Random,
    times_us: Sequence[int],
    faults: Mapping[Fault, int],
    silences: Sequence[Silence],
    timing: Timing,
) -> dict[int, Fault]:
    """Which fill (by its place) carries which fault."""
    free = list(range(len(times_us)))
    rng.shuffle(free)
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


def _party(rng: random.Random, fault: Fault) -> Origin:
    """Whose report a fault changes."""
    fixed: dict[Fault, Origin] = {"drop_internal": "internal", "drop_exchange": "exchange"}
    return fixed[fault] if fault in fixed else rng.choice(ORIGINS)


def _injected(fault: Fault, report: Event, change: Change) -> Injected:
    """What must be said of a changed report."""
    account = account_of(report["venue"], report["account_id"])
    key = (account, report["instrument"], report["trade_id"], report["side"])
    expects = [(kind, *key) for kind in (*change.kinds, *(f"missing_{origin}" for origin in change.missing_from))]
    if fault == "wrong_side":  # as it was told, it has no counterpart either
        expects.append((f"missing_{OTHER[report['origin']]}", *key[:3], change.reports[0][1]["side"]))
    return Injected(fault, report["origin"], change.done, key, tuple(expects), change.final)


def _silent(origin: Origin, since_us: int, sources: Sequence[str], timing: Timing) -> Injected:
    """What must be said of a feed that pauses."""
    done = f"{origin} said nothing for {timing.silence_us / 1e6:g} s from second {since_us / 1e6:.1f} on"
    expects = tuple(("STALE", origin, source) for source in sources)
    return Injected("silent_feed", origin, done, tuple(sources), expects, "CLEARED")


def _heartbeats(sources: Mapping[Origin, Sequence[str]], timing: Timing, start_us: int, end_us: int) -> Iterator[Step]:
    """Both origins say how far they are; no unchanged report lags by more than half of order_within_us."""
    for at_us in range(0, end_us + timing.heartbeat_us, timing.heartbeat_us):
        for origin in ORIGINS:
            for source in sources[origin]:
                through_us = max(start_us + at_us - timing.order_within_us, 0)
                beat = {"type": "heartbeat", "origin": origin, "source": source, "through_us": through_us}
                yield Step(at_us, origin, "fills", beat)


def _hold_back(steps: Iterable[Step], silences: Sequence[Silence], timing: Timing) -> list[Step]:
    """What a silent origin had to say comes at the end of its silence, in order; its heartbeats never."""
    kept = []
    for step in steps:
        ends_us = [
            since_us + timing.silence_us
            for origin, since_us in silences
            if origin == step.origin and since_us <= step.at_us < since_us + timing.silence_us
        ]
        if not ends_us:
            kept.append(step)
        elif step.event["type"] != "heartbeat":
            kept.append(step._replace(at_us=ends_us[0]))
    return sorted(kept, key=lambda step: step.at_us)
