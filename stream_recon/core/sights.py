"""Snapshots against movements: the arithmetic of identities 3 (position) and 4 (balance).

Theory. A snapshot minus what had moved by then is its *drift*: what no movement explains. Which state a snapshot saw is
known exactly where it is anchored to a fill; else it may have seen any state within +- `order_within_us` of its time,
and so stands for a set of possible drifts (a `Sight`). Two topics have no order between them: of fills and ledger
entries near the snapshot it may have seen any number of the first and any number of the others.

Sights in order form a `Run` as long as one constant drift explains them all, each within its own rounding. Where none
does any longer the residual has changed, and that interval is the break. So a residual that stays is told once, one
that goes away again is told twice, and roundings cannot pile up unseen. The first snapshot only sets the drift.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core.movements import ZERO, Key
from stream_recon.domain.amounts import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable

Mark = tuple[int, int]
"""(time in us, place in the log): the order of one origin's records."""
END = 1 << 62
Ranges = list[tuple[Decimal, Decimal]]


class Axis:
    """The movements of one key in one topic, in order, with what has moved by each; the oldest may be summed up."""

    __slots__ = ("_known", "_sums", "base", "deltas", "key", "kind", "marks", "since_us", "watched_us")

    def __init__(self, kind: str, key: Key, base: Decimal = ZERO) -> None:
        self.kind = kind
        self.key = key
        """What it moves: position or balance, and which."""
        self.base = base
        """What had moved before all that are kept."""
        self.since_us = -END
        """What moved before that time is only known in sum."""
        self.watched_us = END
        """Whoever is concerned wants to know of what moves up to that time."""
        self.marks: list[Mark] = []
        self.deltas: list[Decimal] = []
        self._sums: list[Decimal] = [base]
        self._known = 0

    def add(self, mark: Mark, delta: Decimal) -> None:
        """One more movement, or a further part of one; whatever its time."""
        marks, deltas = self.marks, self.deltas
        if mark[0] < self.since_us:
            self.base = EXACT.add(self.base, delta)
            self._sums, self._known = [self.base], 0
            return
        if not marks or marks[-1] < mark:
            marks.append(mark)
            deltas.append(delta)
            return
        at = bisect_left(marks, mark)
        if marks[at] == mark:
            deltas[at] = EXACT.add(deltas[at], delta)
        else:
            marks.insert(at, mark)
            deltas.insert(at, delta)
        self._known = min(self._known, at)

    def _sum(self, count: int) -> Decimal:
        sums, deltas = self._sums, self.deltas
        if count > self._known:
            del sums[self._known + 1 :]
            for at in range(self._known, count):
                sums.append(EXACT.add(sums[-1], deltas[at]))
            self._known = count
        return sums[count]

    def around(self, ts_us: int, within_us: int) -> set[Decimal]:
        """What may have moved by that time."""
        first, last = (
            bisect_left(self.marks, (ts_us - within_us, -1)),
            bisect_right(self.marks, (ts_us + within_us, END)),
        )
        self._sum(last)
        return set(self._sums[first : last + 1])

    def by(self, ts_us: int) -> Decimal:
        """What had moved by that time, taken strictly."""
        return self._sum(bisect_right(self.marks, (ts_us, END)))

    def before(self, mark: Mark) -> Decimal:
        """What had moved before the record at that mark."""
        return self._sum(bisect_left(self.marks, mark))

    def has_moved(self) -> bool:
        """Whether anything did: what was taken back at its own moment did not."""
        return bool(self.base) or any(self.deltas)

    def trim(self, ts_us: int) -> None:
        """Sum up what moved before that time."""
        count = bisect_left(self.marks, (ts_us, -1))
        self.since_us = max(self.since_us, ts_us)
        if count:
            self.base = self._sum(count)
            del self.marks[:count], self.deltas[:count]
            self._sums, self._known = [self.base], 0


class Doubts:
    """Times at which something moved that is not fully told."""

    __slots__ = ("times_us",)

    def __init__(self) -> None:
        self.times_us: list[int] = []

    def add(self, ts_us: int) -> None:
        """One more."""
        insort(self.times_us, ts_us)

    def remove(self, ts_us: int) -> None:
        """One less."""
        at = bisect_left(self.times_us, ts_us)
        if at < len(self.times_us) and self.times_us[at] == ts_us:
            del self.times_us[at]

    def between(self, from_us: int, to_us: int) -> bool:
        """Whether there is any in that time, its ends included."""
        at = bisect_left(self.times_us, from_us)
        return at < len(self.times_us) and self.times_us[at] <= to_us

    def trim(self, ts_us: int) -> None:
        """Forget what is older."""
        del self.times_us[: bisect_left(self.times_us, ts_us)]


class Sight:
    """A snapshot, with the drifts it may stand for."""

    __slots__ = ("drifts", "label", "likely", "snapshot", "tolerance", "ts_us")

    def __init__(  # noqa: PLR0913, PLR0917 - all of them make one
        self, label: str, ts_us: int, drifts: set[Decimal], tolerance: Decimal, likely: Decimal, snapshot: object = None
    ) -> None:
        self.label = label
        self.ts_us = ts_us
        self.drifts = drifts
        self.tolerance = tolerance
        self.likely = likely
        """The drift if it saw all that moved up to its own time, and nothing later."""
        self.snapshot = snapshot


class Run:
    """Sights that one drift explains, and the drifts that still do."""

    __slots__ = ("drifts", "first", "last")

    def __init__(self, first: Sight, drifts: Ranges) -> None:
        self.first = first
        self.last = first
        self.drifts = drifts

    def take(self, sight: Sight) -> bool:
        """Let it join if one drift explains it too. False where none does."""
        drifts = self.drifts
        if len(drifts) == 1 and len(sight.drifts) == 1:  # the common case
            (drift,) = sight.drifts
            (low, high) = drifts[0]
            low, high = max(low, drift - sight.tolerance), min(high, drift + sight.tolerance)
            both = [(low, high)] if low <= high else []
        else:
            both = _common(drifts, ranges_of(sight))
        if not both:
            return False
        self.last = sight
        if both != drifts:
            self.drifts = both
        return True

    def copy(self) -> Run:
        """One that may take more without this one knowing."""
        run = Run(self.first, self.drifts)
        run.last = self.last
        return run

    def of(self, sight: Sight) -> set[Decimal]:
        """The drifts of one of its sights that all the others bear out."""
        wide = sight.tolerance
        lows = [low for low, _ in self.drifts]
        found = set()
        for drift in sight.drifts:
            at = bisect_right(lows, drift + wide) - 1
            if at >= 0 and drift <= self.drifts[at][1] + wide:
                found.add(drift)
        return found

    def shown(self, sight: Sight) -> set[Decimal]:
        """Its likely drift where the others bear it out, else all that they do."""
        possible = self.of(sight)
        return {sight.likely} if sight.likely in possible else possible

    def allows_none(self) -> bool:
        """Whether no drift at all explains it too."""
        return any(low <= 0 <= high for low, high in self.drifts)


def ranges_of(sight: Sight) -> Ranges:
    """The drifts of a sight, each within its rounding; in order, those that touch as one."""
    found: Ranges = []
    for drift in sorted(sight.drifts):
        low, high = drift - sight.tolerance, drift + sight.tolerance
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def _common(one: Ranges, two: Ranges) -> Ranges:
    """What lies in both, of ranges that are in order and do not touch."""
    found: Ranges = []
    a = b = 0
    while a < len(one) and b < len(two):
        low, high = max(one[a][0], two[b][0]), min(one[a][1], two[b][1])
        if low <= high:
            found.append((low, high))
        if one[a][1] <= two[b][1]:
            a += 1
        else:
            b += 1
    return found


def fold(runs: list[Run], sight: Sight) -> bool:
    """Add a sight to the last of some runs, or begin a new one. True where the drifts of the last run changed."""
    if runs:
        before = runs[-1].drifts
        if runs[-1].take(sight):
            return runs[-1].drifts is not before
    runs.append(Run(sight, ranges_of(sight)))
    return True


def step_between(before: Iterable[Decimal], after: Iterable[Decimal]) -> Decimal:
    """By how much the drift changed; where several changes may be shown, the least."""
    earlier = list(before)
    return min((two - one for two in after for one in earlier), key=lambda step: (abs(step), step))


def rounding(value: Decimal, digits: int | None) -> Decimal:
    """Two units of the last significant digit that the venue keeps; of zero there is nothing to round."""
    return Decimal(2).scaleb(value.adjusted() - digits + 1) if digits and value else ZERO


class Gap(NamedTuple):
    """By how much the drifts of both origins differ at one snapshot, and the time that this rests on."""

    sight: Sight
    from_us: int
    to_us: int
    origin: int
    """Whose snapshot it is."""
    other: Sight
    """The snapshot of the other side that is nearest to it."""
