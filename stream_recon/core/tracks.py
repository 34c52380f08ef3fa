"""Snapshots of positions and balances as they are kept, and what they came to so far: tracks.

A track holds one origin's snapshots of one key against one choice of movements (`core.states` says which); it goes on
as long as they come in order, and begins again with all that is kept when one comes late. What is too old to be kept is
summed up in its base.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from stream_recon.core.findings import Told
from stream_recon.core.movements import Key, position_key
from stream_recon.core.sights import Gap, Run, Sight, fold
from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.events import ORIGINS, Anchor, Balance, Position

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal


class Snapshot(Struct, array_like=True, gc=False):
    """A reported state as it came; without a value it is the zero that a complete snapshot says."""

    ts_us: int
    seq: int
    value: str
    anchor: Anchor | None = None
    told: Told | None = None


class End(Struct, array_like=True):
    """The end of a snapshot that claims to be complete, and the keys that were named under its id."""

    ts_us: int = 0
    count: int = -1
    """-1: the end has not come."""
    named: list[tuple[str, ...]] = []
    applied: bool = False
    """What it proves is among the snapshots."""

    @property
    def complete(self) -> bool:
        """Whether all that it counts has come."""
        return self.count == len(self.named)


class Sources(NamedTuple):
    """Whose fills and whose ledger a comparison rests on; None: it needs none, or nobody sends them."""

    fills: int | None
    ledger: int | None


Moment = tuple[int, int]
"""(time in us, twice the place among the fills of that time, one more if after it): where a snapshot stands; one
without an anchor after all of them."""


class Track:
    """One origin's snapshots of one key against one choice of movements."""

    def __init__(self, kind: str, key: Key, origin: int, about: str, sources: Sources) -> None:
        self.kind = kind
        self.key = key
        self.origin = origin
        self.about = about
        self.sources = sources
        self.pending: list[Snapshot] = []
        self.sights: list[Sight] = []
        """Judged, in order."""
        self.reached: Moment = (-1, -1)
        """Of the last one judged."""
        self.runs: list[Run] = []
        self.run_of: dict[int, Run] = {}
        """By the sight's id."""
        self.base: Run | None = None
        """What the sights that are no longer kept came to."""
        self.unanchored: list[Snapshot] = []
        """Whose fill has not come though it should have."""
        self.too_old: Snapshot | None = None
        """The newest that is of a time of which it is no longer known what moved."""
        self.narrowed = 0
        """How often the drifts of a run changed: what was concluded from them may too."""

    @property
    def compared(self) -> str:
        """In the words of discrepancies."""
        return f"{ORIGINS[self.origin]}:{self.about}"

    def restart(self, snapshots: Iterable[Snapshot]) -> None:
        """Forget what was judged, and begin again with all that is kept."""
        self.pending = list(snapshots)
        self.sights, self.runs, self.run_of, self.unanchored = [], [], {}, []
        self.reached = (-1, -1)
        self.narrowed += 1
        if self.base is not None:
            self.runs = [self.base.copy()]

    def take(self, sight: Sight) -> None:
        """One more, not before the last."""
        if not self.runs and abs(sight.likely) <= sight.tolerance and _has_moved(sight):
            sight.drifts = {sight.likely}
        if fold(self.runs, sight):
            self.narrowed += 1
        self.sights.append(sight)
        self.run_of[id(sight)] = self.runs[-1]

    def shift(self, delta: Decimal) -> None:
        """A movement older than all that is kept turned out to be: no drift of what was summed up is what it was."""
        if self.base is not None:
            self.base.drifts = [(low - delta, high - delta) for low, high in self.base.drifts]
            for sight in (self.base.first, self.base.last):
                sight.drifts = {drift - delta for drift in sight.drifts}
                sight.likely -= delta


class Equal:
    """The drifts of both origins' snapshots of one key, side by side."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.runs: list[Run] = []
        self.at = [0, 0]
        """How many snapshots of each origin have been looked at."""
        self.seen: tuple[int, ...] = ()
        """How the tracks stood when this was made."""


class KeyState:
    """All that is known of the states of one key."""

    def __init__(self) -> None:
        self.snapshots: tuple[list[Snapshot], list[Snapshot]] = ([], [])
        self.tracks: list[Track] = []
        self.equal = Equal()
        self.equal_base: Run | None = None
        """By how much both differed, in the end, at snapshots that are no longer held against each other."""
        self.equal_base_us = -1
        """Up to that time they are not."""
        self.stale = True
        """Something came late: all that is kept has to be judged anew."""
        self.summed_up_us = -1
        """What was concluded from what is older cannot be judged anew."""


def _has_moved(sight: Sight) -> bool:
    """Whether there is anything that explains a snapshot from nothing: that nothing moved yet explains nothing."""
    return not isinstance(sight.snapshot, Snapshot) or to_decimal(sight.snapshot.value) != sight.likely


def time_of(snapshot: Snapshot) -> int:
    """By which snapshots are kept in order."""
    return snapshot.ts_us


def is_copy(one: Snapshot, two: Snapshot) -> bool:
    """Whether two that were told say the same of the same moment."""
    same = one.ts_us == two.ts_us and one.anchor == two.anchor and one.value == two.value
    return same and one.told is not None


def is_overtaken(kept: Iterable[Snapshot], one: Snapshot) -> bool:
    """Whether something else was told since of the moment that one is anchored to: what repeats it is news then."""
    return one.anchor is not None and any(each.anchor == one.anchor and each.seq > one.seq for each in kept)


def is_same_record(one: Snapshot, two: Snapshot) -> bool:
    """Whether one was sent again, whatever came between."""
    return one.told is not None and two.told is not None and one.told.value == two.told.value


def say_zero(kept: list[Snapshot], ts_us: int) -> bool:
    """Add the zero of a complete snapshot, unless something was reported at that time."""
    at = bisect_left(kept, ts_us, key=time_of)
    if any(each.ts_us == ts_us and each.anchor is None for each in kept[at:]):
        return False
    kept.insert(at, Snapshot(ts_us, -1, "0"))
    return True


def told_snapshot(event: Position | Balance, seq: int, told: Told) -> tuple[str, Key, Snapshot]:
    """What a reported state is about, and the state."""
    if isinstance(event, Position):
        key = position_key(event.instrument, event.position_side)
        return "position", key, Snapshot(event.ts_us, seq, event.qty, event.anchor, told)
    return "balance", (event.asset,), Snapshot(event.ts_us, seq, event.total, event.anchor, told)
