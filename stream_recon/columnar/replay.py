"""The core over what is left of files, as if it had seen all of them.

The order is that of `stream_recon.files`: packs of as many lines, the file that is furthest behind first, in each pack
one origin after the other. Between the lines that are left, the sources of those taken out deliver what these would
have delivered: at once where nothing falls due by it, else one by one, so that whatever falls due does so at the same
watermark and in the same order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stream_recon.columnar.sift import PlainFile, Rest, Speaker, sift
from stream_recon.domain.events import ORIGINS, Fill, Heartbeat
from stream_recon.files import ANY_TIME_US, PACK_LINES, FileComparison, compare_in_turn, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from stream_recon.columnar.sift import Sifted
    from stream_recon.core.lane import Lane
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.events import Origin
    from stream_recon.files import Line, Outcome


def compare_rest(
    given: list[tuple[BinaryIO, str, Origin | None]], contracts: Contracts, comparison: FileComparison
) -> Outcome | None:
    """What files come to in a new comparison without what agrees; None: the core has to read them all."""
    paths = [path_of(file) for file, _, _ in given]
    files = [
        PlainFile(path, name, origin) for path, (_, name, origin) in zip(paths, given, strict=True) if path is not None
    ]
    sifted = sift(files, contracts) if len(files) == len(given) else None
    return replay(sifted, comparison) if sifted is not None else None


def replay(sifted: Sifted, comparison: FileComparison) -> Outcome:
    """Let the core judge what is left, and count what was taken out."""
    comparison.lane.hold_nothing_against_fills()
    readers = [RestReader(rest) for rest in sifted.rests]
    compare_in_turn(readers, comparison)
    comparison.heard.newest_us = max(reader.newest_us for reader in readers)
    outcome = comparison.close(sum(rest.lines for rest in sifted.rests))
    if sifted.taken_out:
        for count in ("consumed", "matched"):
            outcome.counts[count] = outcome.counts.get(count, 0) + sifted.taken_out
    return outcome


PACKS_TAKEN = 32
"""So many packs are judged before what was concluded is taken out: nothing but memory depends on it, as long as the
register has nothing to retire."""


class Judge(Protocol):
    """Who has what is left judged by the core."""

    lane: Lane

    def step(self, name: str, lines: list[Line]) -> None:
        """Judge further lines of a file."""

    def take(self) -> None:
        """Take out what has been concluded."""


class _Gap(NamedTuple):
    """Consecutive lines without any that is left."""

    start: int
    end: int


class RestReader:
    """Hands the packs of one file over."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest
        spool = rest.file.spool
        self._ends = iter(spool.ends if spool is not None else range(PACK_LINES, rest.lines + PACK_LINES, PACK_LINES))
        self.newest_us = -1
        self._next = 0
        self._packs = 0
        self._left = 0
        """How many of the lines that are left have been handed over."""

    def compare(self, comparison: Judge) -> bool:
        """Have the next pack compared. False: there is none."""
        rest = self.rest
        start, end = self._next, min(next(self._ends, rest.lines), rest.lines)
        if start == end:
            return False
        self._next = end
        first = self._left
        while self._left < len(rest.left) and rest.left[self._left].number <= end:
            self._left += 1
        left = rest.left[first : self._left]
        for origin in self._origins(start, end, left):
            for part in _parts(start, end, left, origin):
                if isinstance(part, _Gap):
                    self._pass_over(comparison, origin, part)
                else:
                    comparison.step(rest.file.name, part)
        told_us = rest.times_us[slice(*self._lifting(start, end))]
        self.newest_us = max((self.newest_us, *told_us, *map(self._told_us, left)))
        self._packs += 1
        if self._packs % PACKS_TAKEN == 0 or comparison.lane.register.retiring:
            comparison.take()
        return True

    def _told_us(self, line: Line) -> int:
        """How far a line brings its file; in a topic heartbeats do so too."""
        if isinstance(line.event, Heartbeat) and self.rest.file.spool is not None:
            return line.event.through_us
        return line.event.ts_us if isinstance(line.event, Fill) else -1

    def _time_us(self, at: int) -> int:
        """Kafka's time of a line."""
        spool = self.rest.file.spool
        return spool.times_us[at] if spool is not None else ANY_TIME_US

    def _origins(self, start: int, end: int, left: list[Line]) -> list[Origin]:
        """Whose lines there are, in the order of the first of each."""
        rest = self.rest
        if rest.file.origin is not None:
            return [rest.file.origin]
        firsts = {}
        for line in reversed(left):
            firsts[line.origin] = line.number - 1
        for origin in ORIGINS:
            at = next((at for at, of in self._speaking(start, firsts.get(origin, end)) if of.origin == origin), None)
            if at is not None:
                firsts[origin] = rest.lifting[at]
        return sorted(firsts, key=lambda origin: firsts[origin])

    def _lifting(self, start: int, end: int) -> tuple[int, int]:
        """Which of the lines that may lift a watermark lie between."""
        first = bisect_left(self.rest.lifting, start)
        return first, bisect_left(self.rest.lifting, end, lo=first)

    def _speaking(self, start: int, end: int) -> Iterator[tuple[int, Speaker]]:
        """The same, one after the other, with who speaks."""
        spoken, speakers = self.rest.spoken, self.rest.speakers
        for at in range(*self._lifting(start, end)):
            yield at, speakers[spoken[at] if spoken is not None else 0]

    def _pass_over(self, comparison: Judge, origin: Origin, gap: _Gap) -> None:
        """Let the lines of a gap deliver what they do."""
        lane, rest = comparison.lane, self.rest
        if rest.spoken is None:
            self._pass_over_one(lane, origin, gap)
            return
        delivered_us: dict[str, int] = {}
        last: dict[str, int] = {}
        for at, source, at_us in self._deliveries(gap, origin):
            last[source] = at
            if at_us > delivered_us.get(source, -1):
                delivered_us[source] = at_us
        wake_us = {source: lane.wakes_at_us(origin, "fills", source) for source in delivered_us}
        if any(at_us >= wake_us[source] for source, at_us in delivered_us.items()):
            self._pass_slowly(lane, origin, gap, wake_us)
        for source, at_us in delivered_us.items():
            lane.pass_over(origin, "fills", source, at_us, self._time_us(last[source]))

    def _pass_over_one(self, lane: Lane, origin: Origin, gap: _Gap) -> None:
        """The same where all speak alike: as times never fall, the lines by which something falls due are found."""
        rest, (_, _, source, within_us, _) = self.rest, self.rest.speakers[0]
        times_us = rest.times_us
        first, end = self._lifting(gap.start, gap.end)
        at = first
        while at < end:
            due = bisect_left(times_us, lane.wakes_at_us(origin, "fills", source) + within_us, lo=at, hi=end)
            if due == end:
                break
            lane.pass_over(origin, "fills", source, times_us[due] - within_us, self._time_us(rest.lifting[due]))
            at = bisect_right(times_us, times_us[due], lo=due, hi=end)
        if first < end or rest.file.spool is not None:
            newest_us = times_us[end - 1] if first < end else -1
            lane.pass_over(origin, "fills", source, newest_us - within_us, self._time_us(gap.end - 1))

    def _pass_slowly(self, lane: Lane, origin: Origin, gap: _Gap, wake_us: dict[str, int]) -> None:
        """Stop at each line by which something may fall due."""
        pending_us: dict[str, int] = {}
        for at, source, at_us in self._deliveries(gap, origin):
            if at_us >= wake_us[source] and at_us > pending_us.get(source, -1):
                time_us = self._time_us(at)
                for other, other_us in pending_us.items():
                    lane.pass_over(origin, "fills", other, other_us, time_us)
                lane.pass_over(origin, "fills", source, at_us, time_us)
                wake_us[source] = lane.wakes_at_us(origin, "fills", source)
                pending_us[source] = at_us
            elif at_us > pending_us.get(source, -1):
                pending_us[source] = at_us

    def _deliveries(self, gap: _Gap, origin: Origin) -> Iterator[tuple[int, str, int]]:
        """By the lines of an origin, one after the other: which source delivers up to when."""
        for at, (of, _, source, within_us, _) in self._speaking(gap.start, gap.end):
            if of == origin:
                yield self.rest.lifting[at], source, self.rest.times_us[at] - within_us


def _parts(start: int, end: int, left: list[Line], origin: Origin) -> Iterator[_Gap | list[Line]]:
    """The lines of a pack in order: what is left of one origin, and what lies between."""
    at = start
    run: list[Line] = []
    for line in left:
        if line.origin != origin:
            continue
        if line.number - 1 > at:
            if run:
                yield run
                run = []
            yield _Gap(at, line.number - 1)
        run.append(line)
        at = line.number
    if run:
        yield run
    if at < end:
        yield _Gap(at, end)
