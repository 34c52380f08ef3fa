"""The oracle of delta (net change): plain loops over all movements of one account, sorted by time, in fractions.

`truth` judges fills by instrument, `truth_of_ledgers` the entries of two complete ledgers by asset; both alike.

It shares no code with the core, looks at both logs from their ends, and says which windows then hold a drift, and which
windows' drifts have ever been told if no record came later than it may. Late records, restarts and what was read first
are not its matter.

Theory. A movement has a twin in the other origin: the n-th of the same key, trade id and sign; an entry, of which only
the first of its origin and id counts, the one of the same id and asset. Twins belong to one time, the earlier of
theirs. What differs between them (a fee that one of them does not tell is not compared), and every movement without a
twin, is a *residual* (exchange minus internal) at its time. `R(t)` is the sum of residuals up to and including `t`.
Windows are judged in order, at their ends. `told` are the drifts that have been told, by window, and `quiet_us` the
last moment at which R was explained by them alone.

- At the end of a window, R is looked at just before it, at every other moment not further than `within_us` away, and
  first of all at that end itself. Where it equals the sum of what has been told, the window agrees; where it equals
  that without one of them (the newest first), or nothing at all, those are over.
- Where there is no such moment: what is residual after `quiet_us` in each older window is told as that window's drift,
  if the window before had no such moment either.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.core.movements import Move

Sums = dict[str, Fraction]
"""By measure: qty, notional, fee:<asset>; of an asset delta; nothing is zero."""
Told = tuple[str, "Move"]
"""Key and movement."""


class Setting(NamedTuple):
    """How long windows are, and how far from their ends one looks."""

    length_us: int
    within_us: int


class Posting(NamedTuple):
    """An entry of a ledger."""

    ts_us: int
    ledger_id: str
    asset: str
    delta: str
    reason: str


class Both(NamedTuple):
    """What twins moved of an instrument or asset, or one that has none; `gap` is what is residual of it."""

    subject: str
    ts_us: int
    sums: tuple[Sums, Sums]
    gap: Sums


class Residual(NamedTuple):
    """What one origin moved and the other did not."""

    ts_us: int
    sums: Sums


@dataclass
class Truth:
    """By instrument or asset, and number of the window (its start is number * length)."""

    drifts: dict[tuple[str, int], Sums] = field(default_factory=dict)
    """What is wrong at last."""
    ever: set[tuple[str, int]] = field(default_factory=set)
    """What has been told on the way."""
    nets: dict[tuple[str, int], tuple[Sums, Sums]] = field(default_factory=dict)


def truth(logs: tuple[Sequence[Told], Sequence[Told]], setting: Setting, closed: int) -> Truth:
    """Judge the movements of both origins, each in log order, up to the end of window number `closed`."""
    found = []
    for pair in twins(logs):
        there = [move for move in pair if move is not None]
        both = moved(pair[0]), moved(pair[1])
        gap = minus(both[1], both[0])
        if len(there) == 2 and not (there[0].fee and there[1].fee):
            gap = {measure: amount for measure, amount in gap.items() if not measure.startswith("fee")}
        found.append(Both(there[0].instrument, min(move.ts_us for move in there), both, gap))
    return judge(found, setting, closed)


def truth_of_ledgers(
    logs: tuple[Sequence[Posting], Sequence[Posting]], setting: Setting, closed: int, *, cover_all: bool
) -> Truth:
    """Judge two complete ledgers; entries of trades only where both tell all movements."""
    twin: dict[tuple[str, str], list[Posting | None]] = {}
    for o in (0, 1):
        seen: set[str] = set()
        for posting in logs[o]:
            if posting.ledger_id not in seen and (cover_all or posting.reason not in {"trade", "fee", "realized_pnl"}):
                twin.setdefault((posting.ledger_id, posting.asset), [None, None])[o] = posting
            seen.add(posting.ledger_id)
    found = []
    for (_, asset), pair in twin.items():
        ours, theirs = (total({"delta": Fraction(each.delta)}) if each is not None else {} for each in pair)
        ts_us = min(each.ts_us for each in pair if each is not None)
        found.append(Both(asset, ts_us, (ours, theirs), minus(theirs, ours)))
    return judge(found, setting, closed)


def judge(movements: Iterable[Both], setting: Setting, closed: int) -> Truth:
    """Judge all ends up to that of window number `closed`."""
    found = Truth()
    residuals: dict[str, list[Residual]] = defaultdict(list)
    for subject, ts_us, both, gap in movements:
        here = found.nets.setdefault((subject, ts_us // setting.length_us), ({}, {}))
        for o in (0, 1):
            plus(here[o], both[o])
        if gap:
            residuals[subject].append(Residual(ts_us, gap))
    for subject, of_it in residuals.items():
        walk = Walk(sorted(of_it, key=lambda each: each.ts_us), setting)
        first = min(each.ts_us for each in of_it) // setting.length_us
        for number in range(first, closed + 1):
            walk.end(number)
        found.drifts |= {(subject, number): sums for number, sums in walk.told.items()}
        found.ever |= {(subject, number) for number in walk.ever}
    return found


def twins(logs: tuple[Sequence[Told], Sequence[Told]]) -> Iterable[Sequence[Move | None]]:
    """Twins, internal first, and those who have none."""
    units: dict[tuple[str, str, int, int], list[Move | None]] = {}
    for o in (0, 1):
        count: dict[tuple[str, str, int], int] = defaultdict(int)
        for key, move in logs[o]:
            name = (key, move.trade_id, move.sign)
            count[name] += 1
            units.setdefault((*name, count[name]), [None, None])[o] = move
    return units.values()


def moved(move: Move | None) -> Sums:
    """What a movement moves."""
    if move is None:
        return {}
    qty = Fraction(move.qty) * move.sign * (1 if move.side == "buy" else -1)
    sums = {"qty": qty, "notional": qty * Fraction(move.price)}
    if move.fee is not None and Fraction(move.fee):
        sums[f"fee:{move.fee_asset}"] = Fraction(move.fee) * move.sign
    return sums


class Walk:
    """From one end of a window to the next."""

    def __init__(self, residuals: list[Residual], setting: Setting) -> None:
        self.residuals = residuals
        self.setting = setting
        self.told: dict[int, Sums] = {}
        self.ever: set[int] = set()
        self.quiet_us = residuals[0].ts_us - 1
        self.failed = False
        """The end before had no moment at which the running nets were explained."""

    def running(self, until_us: int) -> Sums:
        """R."""
        sums: Sums = {}
        for each in self.residuals:
            if each.ts_us <= until_us:
                plus(sums, each.sums)
        return sums

    def end(self, number: int) -> None:
        """Judge the end of a window."""
        agrees = self.agrees(number)
        if not agrees and self.failed:
            for window in range(self.quiet_us // self.setting.length_us, number):
                sums: Sums = {}
                for each in self.residuals:
                    if each.ts_us // self.setting.length_us == window and each.ts_us > self.quiet_us:
                        plus(sums, each.sums)
                if sums and window not in self.told:
                    self.told[window] = sums
            agrees = self.agrees(number)  # what is told and over at one end has not been said
        self.failed = not agrees
        self.ever |= self.told.keys()

    def agrees(self, number: int) -> bool:
        """Whether at some moment near the end of a window the running nets are explained by what has been told."""
        end_us = (number + 1) * self.setting.length_us - 1  # the last moment of the window
        low_us, high_us = end_us + 1 - self.setting.within_us, end_us + 1 + self.setting.within_us
        near = [each.ts_us for each in self.residuals if low_us <= each.ts_us <= high_us]
        before = sorted({low_us - 1, *(ts_us for ts_us in near if ts_us <= end_us)}, reverse=True)
        after = sorted({ts_us for ts_us in near if ts_us > end_us})
        for over in [[], *([window] for window in sorted(self.told, reverse=True)), list(self.told)]:
            level: Sums = {}
            for window, sums in self.told.items():
                if window not in over:
                    plus(level, sums)
            for moment_us in (end_us, *before, *after):
                if self.running(moment_us) == level:
                    self.told = {window: sums for window, sums in self.told.items() if window not in over}
                    self.quiet_us = moment_us
                    return True
        return False


def plus(sums: Sums, more: Sums) -> None:
    """Add to sums."""
    for measure, amount in more.items():
        total = sums.get(measure, Fraction()) + amount
        if total:
            sums[measure] = total
        else:
            sums.pop(measure, None)


def total(*all_sums: Sums) -> Sums:
    """The sum of all."""
    found: Sums = {}
    for sums in all_sums:
        plus(found, sums)
    return found


def minus(one: Sums, other: Sums) -> Sums:
    """What is between two."""
    return total(one, {measure: -amount for measure, amount in other.items()})
