"""Drift: in which windows the net changes of two origins came apart, from what each window holds; pure.

A *residual* is what one origin moved and the other did not, `exchange - internal`, and counts at the time of its move.
Where both origins name a trade alike, their two moves count as one at the earlier of their times, so that twins on both
sides of a window's end leave no residual, however many there are and however late the second. What has no twin, or
another one than it should, makes the running residual, and near the end of a window that is looked at from moment to
moment: the end *agrees* if at some moment not further away than `within` the residual is explained by the drifts
already known. Where it does not, the window is provisional; where the next end does not either, its residual is told as
its drift, once. From then on that drift is known, so it is no drift of later windows. A known drift is over when the
running residual is explained without it.

Moments matter only where names do not: two origins without common trade ids have everything in the residual. Two drifts
that cancel out between ends cannot be seen. A drift told is, to the last digit, what its window left residual, but for
what lies around its two ends: that belongs to the window after the moment at which the end agreed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from stream_recon.core.nets import Net, add, minus, subtract, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal


class Window(Struct, array_like=True):
    """What moved of one account and instrument in one window; twins in that of the earlier of their times."""

    agreed: Net = {}
    """Of twins that say the same: once, for both."""
    own: tuple[Net, Net] = field(default_factory=lambda: ({}, {}))
    """Of everything else, by origin."""
    tolerated: Net = {}
    """The part of what is between `own` that the comparison of trades tolerates."""
    edge: dict[int, Net] = {}
    """Residuals near the end of this window, on both sides of it, by time."""

    @property
    def is_even(self) -> bool:
        """Whether both sides moved the same, as twins."""
        return not (self.own[0] or self.own[1] or self.edge)

    def residual(self) -> Net:
        """What the exchange moved beyond what the books did."""
        gap = minus(self.own[1], self.own[0])
        if self.tolerated:
            subtract(gap, self.tolerated)
        return gap


class Chain(Struct, array_like=True):
    """What is known at the end of one window."""

    end: int = -1
    """Number of the window."""
    told: dict[int, Net] = {}
    """Drifts, by window."""
    open: dict[int, Net] = {}
    """Residuals that no moment has explained yet, nor anybody told, by window."""
    failing: bool = False
    """The last end had no moment at which all was explained."""

    def holds(self, number: int) -> bool:
        """Whether anything of a window is still to be explained."""
        return number in self.told or number in self.open

    def shift(self, number: int, gap: Net) -> None:
        """Let the residual of a judged window change: what comes so late is told, or told no longer, at once."""
        nets = self.open if number in self.open else self.told
        add(nets.setdefault(number, {}), gap)
        if not nets[number]:
            del nets[number]

    def copy(self) -> Chain:
        """Another one, to go on with."""
        told, held = ({number: dict(net) for number, net in nets.items()} for nets in (self.told, self.open))
        return Chain(self.end, told, held, self.failing)


def follow(start: Chain, windows: Mapping[int, Window], until: int, length_us: int) -> Chain:
    """Judge the ends after `start`, up to that of window `until`."""
    numbers = sorted(number for number in windows if start.end < number <= until)
    chain = start.copy()
    if chain.end < until and not chain.open and all(windows[number].is_even for number in numbers):
        chain.end, chain.failing = until, False  # as most are: nothing is open, so what is told stays
        return chain
    while chain.end < until:
        upcoming = next((number for number in numbers if number > chain.end), until)
        chain.end = chain.end + 1 if chain.open else upcoming
        window = windows.get(chain.end)
        if window is not None:
            _add_open(chain, chain.end, window.residual())
        _judge_end(chain, window.edge if window is not None else {}, (chain.end + 1) * length_us)
    return chain


def _judge_end(chain: Chain, edge: dict[int, Net], end_us: int) -> None:
    if _agrees(chain, edge, end_us):
        chain.failing = False
        return
    older = [number for number in chain.open if number < chain.end]
    if chain.failing and older:
        for number in older:
            chain.told[number] = chain.open.pop(number)
        if _agrees(chain, edge, end_us):
            chain.failing = False
            return
    chain.failing = True


def _agrees(chain: Chain, edge: dict[int, Net], end_us: int) -> bool:
    """Whether some moment explains all, with what has been told or without some of it; then so it is from there on."""
    at_end = total(chain.open.values())
    moments: dict[frozenset[tuple[str, Decimal]], bool] = {}
    for residual, before in _moments(at_end, edge, end_us):
        moments.setdefault(frozenset(residual.items()), before)
    for over, level in _levels(chain):
        explained = frozenset(level.items())
        if explained in moments:
            for number in over:
                del chain.told[number]
            chain.open = {}
            _add_open(chain, chain.end if moments[explained] else chain.end + 1, minus(at_end, level))
            return True
    return False


def _moments(at_end: Net, edge: dict[int, Net], end_us: int) -> Iterator[tuple[Net, bool]]:
    """The residual at the end, at the moments before it (the last one first), and at those after it (False)."""
    yield at_end, True
    running = dict(at_end)
    for ts_us in sorted((ts_us for ts_us in edge if ts_us < end_us), reverse=True):
        subtract(running, edge[ts_us])
        yield running, True
    running = dict(at_end)
    for ts_us in sorted(ts_us for ts_us in edge if ts_us >= end_us):
        add(running, edge[ts_us])
        yield running, False


def _levels(chain: Chain) -> Iterator[tuple[list[int], Net]]:
    """Which known drifts may be over, and the residual that there is then: none of them, one, the newest first, all."""
    yield [], {}
    for number in sorted(chain.told, reverse=True):
        yield [number], minus({}, chain.told[number])
    if len(chain.told) > 1:
        yield list(chain.told), minus({}, total(chain.told.values()))


def _add_open(chain: Chain, number: int, net: Net) -> None:
    add(chain.open.setdefault(number, {}), net)
    if not chain.open[number]:
        del chain.open[number]
