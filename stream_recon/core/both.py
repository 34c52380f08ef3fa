"""How the snapshots of both sides differ: where those of one lie between two of the other, drifts must be the same."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise

from stream_recon.core.movements import ZERO
from stream_recon.core.sights import Gap, Sight, fold, step_between
from stream_recon.core.steps import Step
from stream_recon.core.tracks import Equal, KeyState, Track

PAIRS_LIMIT = 20_000
"""Of so many possible states of two snapshots, taken together, nothing is concluded."""


def differences(state: KeyState, ours: Track, theirs: Track, until_us: int, within_us: int) -> tuple[list[Step], int]:
    """Where the difference of both changed, by snapshots up to that time, since they last agreed.

    Also since when they agree, or did last (us); -1: they never did.
    """
    equal = state.equal
    seen = (ours.narrowed, theirs.narrowed)
    if seen != equal.seen:
        equal = state.equal = Equal()
        equal.seen = seen
    if not equal.runs:
        _begin(state, ours, theirs)
    _fill_gaps(equal, ours, theirs, until_us, within_us)
    spans = {id(gap.sight): gap for gap in equal.gaps}
    agrees = max((n for n, run in enumerate(equal.runs) if run.allows_none()), default=-1)
    steps = []
    for before, after in pairwise(equal.runs[max(agrees, 0) :]):  # what differed before they agreed again is over
        gap = spans[id(after.first)]
        residual = step_between(before.shown(before.last), after.shown(after.first))
        steps.append(Step(before.last, after.first, gap.from_us, gap.to_us, residual, gap))
    return steps, equal.runs[agrees].first.ts_us if agrees >= 0 else -1


def sum_up(state: KeyState, limit_us: int) -> None:
    """How both differed where that rests on snapshots that go."""
    gaps = state.equal.gaps
    gone = max((n for n, gap in enumerate(gaps, 1) if gap.from_us < limit_us), default=0)
    if not gone:
        return
    runs = [] if state.equal_base is None else [state.equal_base]
    if not runs:
        fold(runs, Sight("opening", 0, {ZERO}, ZERO, ZERO))
    for gap in gaps[:gone]:
        fold(runs, gap.sight)
    state.equal_base, state.equal_base_us = runs[-1], gaps[gone - 1].sight.ts_us
    del gaps[:gone]  # the rest too may go before it is judged anew
    state.equal.seen = ()


def _begin(state: KeyState, ours: Track, theirs: Track) -> None:
    equal = state.equal
    if state.equal_base is not None:
        equal.runs.append(state.equal_base.copy())
    else:
        fold(equal.runs, Sight("opening", 0, {ZERO}, ZERO, ZERO))
    equal.at = [bisect_right(track.sights, state.equal_base_us, key=_time) for track in (ours, theirs)]


def _fill_gaps(equal: Equal, ours: Track, theirs: Track, until_us: int, within_us: int) -> None:
    """Go on, in order, as far as is known what each snapshot lies between."""
    while True:
        heads = [
            (track.sights[at].ts_us, o, at)
            for o, (track, at) in enumerate(zip((ours, theirs), equal.at, strict=True))
            if at < len(track.sights)
        ]
        if not heads:
            return
        ts_us, o, at = min(heads)
        track, other = (ours, theirs) if o == 0 else (theirs, ours)
        first = bisect_left(other.sights, ts_us - within_us, key=_time)
        if ts_us + within_us > until_us or first == len(other.sights):
            return  # what it lies between is not known yet
        equal.at[o] += 1
        last = bisect_right(other.sights, ts_us + within_us, key=_time) - 1
        if last >= 0:
            _fill_gap(equal, (o, track, track.sights[at]), other, (other.sights[last], other.sights[first]))


def _fill_gap(equal: Equal, own: tuple[int, Track, Sight], other: Track, near: tuple[Sight, Sight]) -> None:
    """By how much the drift of a snapshot differs from those of the other side near by."""
    o, track, sight = own
    run = track.run_of[id(sight)]
    theirs = {drift for side in near for drift in other.run_of[id(side)].of(side)}
    ours = run.of(sight)
    if len(ours) * len(theirs) > PAIRS_LIMIT:
        return  # it may have seen too many states; when later ones have told which, this is done anew
    sign = 1 if o else -1
    shown = {
        sign * (one - two)
        for one in run.shown(sight)
        for two in {drift for side in near for drift in other.run_of[id(side)].shown(side)}
    }
    wide = sight.tolerance + max(side.tolerance for side in near)
    at_us = [sight.ts_us, *(side.ts_us for side in near)]
    possible = {sign * (one - two) for one in ours for two in theirs}
    gap = Sight(sight.label, sight.ts_us, possible, wide, min(shown, key=abs), sight.snapshot)
    nearest = min(near, key=lambda side: abs(side.ts_us - sight.ts_us))
    equal.gaps.append(Gap(gap, min(at_us), max(at_us), o, nearest))
    fold(equal.runs, gap)


def _time(sight: Sight) -> int:
    return sight.ts_us
