"""What a lane has been asked and has not answered yet, and the configuration it was given: part of what it remembers.

Both kinds of errands are bounded in number, for whoever asks may never come back: of questions about the live state the
newest is refused, of findings in parts the oldest run is given up.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from stream_recon.domain.work import LiveItem

MOST_LIVE = 64
"""Questions that may wait for records at the same time."""
MOST_GATHERED = 16
"""Runs of which some parts of their findings may be missing at the same time."""


class Part(NamedTuple):
    """What came of one part of a run's findings."""

    run_id: str
    number: int
    of: int
    found: list[str]
    """Ids."""
    adopted: int = 0
    agreed: int = 0
    awaited: int = 0
    disagreements: tuple[str, ...] = ()
    """Ids of findings that the stream judged otherwise."""


class Tuned(NamedTuple):
    """The configuration that a lane was given while it ran."""

    version: int
    critical: str
    warning: str
    enable_alerts: bool


class ErrandChanges(Struct, array_like=True):
    """What changed of the errands; what is over comes before what is new."""

    over: list[str] = []
    """Runs whose questions are answered."""
    live: list[LiveItem] = []
    dropped: list[str] = []
    """Runs of which all parts were there, or that were given up."""
    parts: list[Part] = []
    tuned: Tuned | None = None


class Errands:
    """What a lane has been asked and has not answered yet."""

    def __init__(self) -> None:
        self.live: dict[str, LiveItem] = {}
        """By run, questions that wait for records."""
        self.gathered: dict[str, dict[int, Part]] = {}
        """By run and number, the parts of findings that have come."""
        self.tuned: Tuned | None = None
        self._changes = ErrandChanges()

    def wait(self, item: LiveItem) -> bool:
        """Keep a question. False: too many wait already."""
        if item.run_id not in self.live and len(self.live) >= MOST_LIVE:
            return False
        self.live[item.run_id] = item
        self._changes.live = [each for each in self._changes.live if each.run_id != item.run_id] + [item]
        return True

    def answered(self, run_id: str) -> None:
        """A question is answered."""
        del self.live[run_id]
        self._changes.live = [each for each in self._changes.live if each.run_id != run_id]
        self._changes.over.append(run_id)

    def gather(self, part: Part) -> list[Part] | None:
        """Note one part of a run's findings; gives all of them once they are there."""
        parts = self.gathered.setdefault(part.run_id, {})
        parts[part.number] = part
        self._changes.parts.append(part)
        if not all(number in parts for number in range(1, part.of + 1)):
            return None
        self._drop(part.run_id)
        return [parts[number] for number in sorted(parts)]

    def give_up(self) -> str | None:
        """The run that waits longest for its parts, if too many do; it is no longer waited for."""
        if len(self.gathered) <= MOST_GATHERED:
            return None
        oldest = next(iter(self.gathered))
        self._drop(oldest)
        return oldest

    def _drop(self, run_id: str) -> None:
        del self.gathered[run_id]
        self._changes.parts = [part for part in self._changes.parts if part.run_id != run_id]
        self._changes.dropped.append(run_id)

    def tune(self, tuned: Tuned) -> None:
        """Note what configuration holds."""
        self.tuned = self._changes.tuned = tuned

    # -- memory -------------------------------------------------------------------------------------------------------

    def take_changes(self) -> ErrandChanges:
        """What changed since this was last asked for."""
        changes, self._changes = self._changes, ErrandChanges()
        return changes

    def snapshot(self) -> ErrandChanges:
        """All of it."""
        parts = [part for parts in self.gathered.values() for part in parts.values()]
        return ErrandChanges(live=list(self.live.values()), parts=parts, tuned=self.tuned)

    def restore(self, changes: ErrandChanges) -> None:
        """Fold what changed once."""
        for run_id in changes.over:
            self.live.pop(run_id, None)
        self.live |= {item.run_id: item for item in changes.live}
        for run_id in changes.dropped:
            self.gathered.pop(run_id, None)
        for part in changes.parts:
            self.gathered.setdefault(part.run_id, {})[part.number] = part
        self.tuned = changes.tuned or self.tuned
