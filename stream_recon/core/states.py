"""Identities 3 (position) and 4 (balance) of an account: what snapshots say against movements, and each other.

Comparisons, by the words of `Discrepancy.compared`:

- `internal:own`, `exchange:own`: an origin's snapshots against its own movements;
- `exchange:cross`: the exchange's snapshots against ours: do our books explain what the venue holds?
- `internal:exchange`: where snapshots of one origin lie between two of the other, the drifts of both against the same
  movements must be the same.

Movements of a class that an origin does not send are taken from the other; if that makes own and cross the same, it is
one comparison, cross. Everything here follows from what is kept and the time up to which it is complete, so it may be
judged anew at any time: `judge` does so for one key, and goes on from where it was as long as nothing came late.

A residual is a claim that no movement is missing. Where a class of movements is only partial or sent by nobody, where a
fill of an unmapped instrument or without its profit or fee lies in the interval, or records of that time may have been
lost, it is not known, and the next run starts with it; agreement is agreement all the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stream_recon.core.both import differences, sum_up
from stream_recon.core.findings import Unknown, Verdict
from stream_recon.core.movements import ZERO, Key, balance_deltas, position_delta, position_key, untold
from stream_recon.core.sights import (
    END,
    Axis,
    Doubts,
    Mark,
    Sight,
    fold,
    rounding,
    step_between,
)
from stream_recon.core.steps import AMOUNT, Step, finding_of
from stream_recon.core.tracks import (
    End,
    Equal,
    KeyState,
    Moment,
    Snapshot,
    Sources,
    Track,
    is_copy,
    is_overtaken,
    is_same_record,
    say_zero,
    time_of,
)
from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.events import ORIGINS, SnapshotEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal

    from stream_recon.core.conditions import Doubted
    from stream_recon.core.ledger import Entry
    from stream_recon.core.movements import Move
    from stream_recon.core.promises import Class, Promises
    from stream_recon.domain.discrepancies import Reason
    from stream_recon.domain.events import Stream
    from stream_recon.domain.instruments import Instrument

KINDS = ("position", "balance")
OF_TRADES = frozenset({"trade", "fee", "realized_pnl"})
"""Reasons of ledger entries that tell what trades moved; they move nothing in a ledger of non-trades."""
RECENT_KEPT = 1_000
"""Fills that are remembered by name before any snapshot was tied to one."""
SIGHTS_KEPT = 1_000
"""Snapshots of one key and comparison that can be judged anew; older ones are summed up."""


class Doubt(NamedTuple):
    """Why movements of that time may not be all."""

    reason: Reason
    origin: int
    stream: Stream
    lies_in: Callable[[int, int], bool]


class Plan(NamedTuple):
    """What fills of an instrument move."""

    what: Instrument | None
    position: Axis
    settles: Axis | None
    """The one balance that they move; None: several, or it is not known which."""


class Concerned(Protocol):
    """Who is told what judged snapshots may have seen."""

    def moved(self, kind: str, key: Key, ts_us: int) -> int:
        """It moved then; gives the time up to which further movements are of interest."""

    def anchored(self, kind: str, key: Key, ts_us: int) -> None:
        """A fill came that snapshots of it are anchored to, the first of which is judged as of that time."""


class States:
    """Positions and balances of one account."""

    def __init__(
        self,
        promises: Promises,
        instrument_of: Callable[[str], Instrument | None],
        doubted: Doubted,
        told: Concerned,
    ) -> None:
        self.promises = promises
        self.instrument_of = instrument_of
        self.doubted = doubted
        self.told = told
        self.since_us = -1
        """What moved before that time is not known."""
        self.axes: dict[tuple[str, int], dict[Key, Axis]] = {
            (kind, o): {} for kind in (*KINDS, "ledger") for o in (0, 1)
        }
        """What moved, by kind (of fills position and balance, of ledger entries ledger) and origin."""
        self.partly_told: tuple[dict[Key, Doubts], dict[Key, Doubts]] = ({}, {})
        self.unmapped: tuple[Doubts, Doubts] = (Doubts(), Doubts())
        self.anchors: list[dict[tuple[str, str, str], Mark]] = [{}, {}]
        self.is_anchored = False
        """Snapshots are tied to fills."""
        self._recent: tuple[deque[Move], deque[Move]] = (deque(maxlen=RECENT_KEPT), deque(maxlen=RECENT_KEPT))
        self._plans: dict[tuple[int, str, str | None, str | None], Plan] = {}
        """By origin, instrument, position side and fee asset."""
        self.awaited: tuple[dict[tuple[str, str, str], dict[tuple[str, ...], int]], ...] = ({}, {})
        """By the fill that has not come, the keys with snapshots anchored to it, and the time of the first (us)."""
        self.fresh: set[tuple[str, ...]] = set()
        """Keys that were moved for the first time by an origin's fills or ledger, since this was last looked at."""
        self.ahead: list[tuple[int, tuple[str, ...]]] = []
        """(time, key) of snapshots anchored to fills that are newer than they are, since this was last taken."""
        self.ends: list[dict[str, End]] = [{}, {}]
        self.keys: dict[tuple[str, ...], KeyState] = {}
        """By (kind, *key)."""

    # -- what comes ---------------------------------------------------------------------------------------------------

    def move(self, o: int, move: Move) -> None:
        """A fill of side `o` counts, or no longer; call it within exact arithmetic."""
        self._note_anchor(o, move)
        if not move.sign:
            return
        mark = (move.ts_us, move.seq)
        plan = self._plans.get((o, move.instrument, move.position_side, move.fee_asset))
        if plan is None:
            plan = self._plan(o, move)
        if plan.settles is not None and move.realized_pnl is not None and move.fee is not None:  # the common case
            self._put(plan.position, mark, move.signed_qty())
            profit = to_decimal(move.realized_pnl) - to_decimal(move.fee)
            self._put(plan.settles, mark, profit if move.sign > 0 else -profit)
            return
        what = plan.what
        self._put(plan.position, mark, position_delta(move, what))
        if what is None:
            self.unmapped[o].add(move.ts_us)
            return
        reason = untold(move, what)
        for asset, delta in balance_deltas(move, what).items():
            self._put(self._axis("balance", o, (asset,)), mark, delta)
            if reason is not None:
                self.partly(o, (asset,)).add(move.ts_us)

    def _plan(self, o: int, move: Move) -> Plan:
        """What fills like that move: looked up once."""
        what = self.instrument_of(move.instrument)
        settles = None
        if what is not None and what.settle is not None and move.fee_asset in {None, what.settle}:
            settles = self._axis("balance", o, (what.settle,))
        position = self._axis("position", o, position_key(move.instrument, move.position_side))
        plan = Plan(what, position, settles)
        self._plans[o, move.instrument, move.position_side, move.fee_asset] = plan
        return plan

    def _note_anchor(self, o: int, move: Move) -> None:
        """Remember where a fill stands, should snapshots be anchored to it."""
        if not self.is_anchored:
            self._recent[o].append(move)
            return
        anchor = (move.instrument, move.trade_id, move.side)
        if anchor not in self.anchors[o]:
            self.anchors[o][anchor] = (move.ts_us, move.seq)
            for subject, ts_us in sorted(self.awaited[o].pop(anchor, {}).items()):
                self.told.anchored(subject[0], subject[1:], max(move.ts_us, ts_us))  # when both would be due

    def places(self, o: int) -> Iterator[tuple[tuple[str, str, str], Mark]]:
        """Where the fills stand that snapshots may be anchored to."""
        yield from self.anchors[o].items()
        for move in self._recent[o]:
            yield (move.instrument, move.trade_id, move.side), (move.ts_us, move.seq)

    def expect_anchors(self) -> None:
        """A snapshot came that is anchored to a fill: from now on, all fills are remembered by name."""
        if not self.is_anchored:
            self.is_anchored = True
            for o in (0, 1):
                for move in self._recent[o]:
                    self._note_anchor(o, move)
                self._recent[o].clear()

    def partly(self, o: int, key: Key) -> Doubts:
        """When fills of side `o` moved an asset by what they do not fully tell."""
        return self.partly_told[o].setdefault(key, Doubts())

    def entry(self, o: int, seq: int, entry: Entry) -> bool:
        """A ledger entry of side `o`. False where it moves nothing."""
        if self.promises.contracts[o].ledger_covers != "all" and entry.reason in OF_TRADES:
            return False
        self._put(self._axis("ledger", o, (entry.asset,)), (entry.ts_us, seq), to_decimal(entry.delta))
        return True

    def _axis(self, kind: str, o: int, key: Key) -> Axis:
        axes = self.axes[kind, o]
        axis = axes.get(key)
        if axis is None:
            axis = axes[key] = Axis("balance" if kind == "ledger" else kind, key)
            axis.since_us = self.since_us
            self.fresh.add((axis.kind, *key))
        return axis

    def _put(self, axis: Axis, mark: Mark, delta: Decimal) -> None:
        marks = axis.marks
        if marks and marks[-1] < mark:
            marks.append(mark)
            axis.deltas.append(delta)
        else:
            axis.add(mark, delta)
        if mark[0] <= axis.watched_us:
            axis.watched_us = self.told.moved(axis.kind, axis.key, mark[0])

    def watch(self, kind: str, key: Key, until_us: int) -> None:
        """Tell of movements up to that time: what was judged may have seen them."""
        for what in ("position",) if kind == "position" else ("balance", "ledger"):
            for o in (0, 1):
                axis = self.axes[what, o].get(key)
                if axis is not None:
                    axis.watched_us = until_us

    def snapshot(self, o: int, kind: str, key: Key, snapshot: Snapshot, snapshot_id: str | None) -> bool:
        """A reported state. True where it belongs to a complete snapshot that has ended already."""
        state = self.key_state(kind, key)
        if snapshot.anchor is not None:
            self.expect_anchors()
        kept = state.snapshots[o]
        at = bisect_right(kept, snapshot.ts_us, key=time_of)
        same_time = kept[bisect_left(kept, snapshot.ts_us, hi=at, key=time_of) : at]
        if not any(is_same_record(each, snapshot) for each in same_time) and not (
            same_time and is_copy(same_time[-1], snapshot) and not is_overtaken(kept, same_time[-1])
        ):
            kept.insert(at, snapshot)
            for track in state.tracks:
                if track.origin == o:
                    track.pending.append(snapshot)
        if snapshot_id is None:
            return False
        end = self.ends[o].setdefault(snapshot_id, End())
        if (kind, *key) not in end.named:
            end.named.append((kind, *key))
            end.applied = False
        return end.count >= 0

    def end(self, o: int, event: SnapshotEnd) -> End:
        """A complete snapshot ended."""
        end = self.ends[o].setdefault(event.snapshot_id, End())
        end.ts_us, end.count, end.applied = event.ts_us, event.count, False
        return end

    def key_state(self, kind: str, key: Key) -> KeyState:
        """What is known of a key; of a new one, the complete snapshots that did not name it say zero."""
        state = self.keys.get((kind, *key))
        if state is None:
            state = self.keys[kind, *key] = KeyState()
            for o in (0, 1):
                for end in self.ends[o].values():
                    if end.applied and end.complete and (kind, *key) not in end.named:
                        say_zero(state.snapshots[o], end.ts_us)
        return state

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def judge(self, kind: str, key: Key, until_us: int) -> Verdict:
        """All that is to be said of one key, of snapshots up to `until_us`; call it within exact arithmetic."""
        state = self.key_state(kind, key)
        comparisons = self._comparisons(kind)
        if state.stale or [(t.origin, t.about, t.sources) for t in state.tracks] != comparisons:
            self._begin(state, kind, key, comparisons)
        verdict = Verdict([], [])
        for track in state.tracks:
            self._read(track, state, until_us)
            self._say_own(track, verdict)
        agreed_us = self._say_equal(state, kind, key, until_us, verdict)
        for track in state.tracks:
            promised = self.promises.of(track.origin, _class(kind)) == "complete" and not self._is_held_as_balances(
                kind, key
            )
            if promised and not state.snapshots[track.origin]:
                fills, ledger = track.sources
                axes = (self.axes[what, o].get(key) for what, o in ((kind, fills), ("ledger", ledger)) if o is not None)
                if any(axis is not None and axis.has_moved() for axis in axes):
                    verdict.unknown.append(Unknown("LOOKBACK_TRUNCATED", track.origin, "balances", track.compared, key))
        return verdict._replace(agreed_us=agreed_us)

    def _is_held_as_balances(self, kind: str, key: Key) -> bool:
        """Whether venues report no position of it: what spot trades buy is in the balances."""
        what = self.instrument_of(key[0]) if kind == "position" else None
        return what is not None and what.kind == "spot"

    def judge_ends(self, o: int, until_us: int) -> tuple[list[Unknown], dict[tuple[str, ...], int]]:
        """The snapshots that are not complete though they said so, and what complete ones newly prove to be zero.

        The second by key, with the newest time of which that is proven (us).
        """
        unknown: list[Unknown] = []
        touched: dict[tuple[str, ...], int] = {}
        for name, end in self.ends[o].items():
            if end.count < 0 or end.ts_us > until_us:
                continue
            if not end.complete:
                unknown.append(Unknown("INCOMPLETE_SNAPSHOT", o, "balances", f"{ORIGINS[o]}:snapshot", (name,)))
            if end.applied:
                continue
            end.applied = True
            others = [each for each in self.ends[o].values() if each.ts_us == end.ts_us and each.complete]
            for subject in self._known():
                state = self.key_state(subject[0], subject[1:])
                kept = state.snapshots[o]
                before = len(kept)
                kept[:] = [each for each in kept if each.told is not None or each.ts_us != end.ts_us]
                removed = before - len(kept)
                added = any(subject not in each.named for each in others) and say_zero(kept, end.ts_us)
                if removed or added:
                    state.stale = True
                    touched[subject] = max(touched.get(subject, end.ts_us), end.ts_us)
        return unknown, touched

    def _known(self) -> set[tuple[str, ...]]:
        """Every key of which anything is known."""
        found = {
            ("position" if kind == "position" else "balance", *key)
            for (kind, _), axes in self.axes.items()
            for key in axes
        }
        return found | {name for name, state in self.keys.items() if any(state.snapshots)}

    def _comparisons(self, kind: str) -> list[tuple[int, str, Sources]]:
        sends = self.promises.sends
        cross, own = self._sources(kind, (0, 1)), self._sources(kind, (1, 0))
        found = []
        if sends(0, _class(kind)):
            found.append((0, "own", cross))
        if sends(1, _class(kind)):
            is_cross = 0 in cross
            found.append((1, "cross" if is_cross else "own", cross))
            if own != cross and is_cross:
                found.append((1, "own", own))
        return found

    def _sources(self, kind: str, order: tuple[int, int]) -> Sources:
        """The first of these origins that sends what moves this kind of state."""
        ledger = self.promises.first_that_sends("ledger", order) if kind == "balance" else None
        covers_all = ledger is not None and self.promises.contracts[ledger].ledger_covers == "all"
        return Sources(None if covers_all else self.promises.first_that_sends("fill", order), ledger)

    def _begin(self, state: KeyState, kind: str, key: Key, comparisons: list[tuple[int, str, Sources]]) -> None:
        """Judge anew all that is kept."""
        bases = {(track.origin, track.about): track.base for track in state.tracks}
        state.tracks = [Track(kind, key, *chosen) for chosen in comparisons]
        for track in state.tracks:
            track.base = bases.get((track.origin, track.about))
            track.restart(state.snapshots[track.origin])
        state.equal = Equal()
        state.stale = False

    def _read(self, track: Track, state: KeyState, until_us: int) -> None:
        """Judge what is due in its order: what came late sends it back to the beginning."""
        ready = self._ready(track, until_us)
        if not ready:
            return
        if ready[0][0] <= track.reached:
            track.restart(state.snapshots[track.origin])
            state.equal = Equal()
            ready = self._ready(track, until_us)
        for (ts_us, place), snapshot in dict(ready).items():  # of several of one moment the last in the log
            track.take(self._sight(track, snapshot, ts_us, place))
            track.reached = (ts_us, place)

    def _ready(self, track: Track, until_us: int) -> list[tuple[Moment, Snapshot]]:
        """Take what is due out of what is pending, in order."""
        ready: list[tuple[Moment, Snapshot]] = []
        since_us = self._known_since(track)
        rest, track.unanchored = [], []
        for snapshot in sorted(track.pending, key=lambda each: each.seq):
            ts_us, place = snapshot.ts_us, END
            anchor = snapshot.anchor
            if anchor is not None and track.sources.fills is not None:
                fill = (anchor.instrument, anchor.trade_id, anchor.side)
                mark = self.anchors[track.sources.fills].get(fill)
                if mark is None:
                    rest.append(snapshot)
                    awaited = self.awaited[track.sources.fills].setdefault(fill, {})
                    awaited[track.kind, *track.key] = min(ts_us, awaited.get((track.kind, *track.key), ts_us))
                    if ts_us <= until_us:
                        track.unanchored.append(snapshot)
                    continue
                if ts_us <= until_us < mark[0]:
                    self.ahead.append((mark[0], (track.kind, *track.key)))
                ts_us, place = mark[0], 2 * mark[1] + (anchor.when == "after")
            if ts_us > until_us:
                rest.append(snapshot)
            elif ts_us - self.promises.within_us < since_us:
                track.too_old = snapshot
            else:
                ready.append(((ts_us, place), snapshot))
        track.pending = rest
        return sorted(ready, key=lambda each: each[0])

    def _known_since(self, track: Track) -> int:
        """From which time on all that moves a key is known one by one (us)."""
        fills, ledger = track.sources
        axes = [
            self.axes[track.kind, fills].get(track.key) if fills is not None else None,
            self.axes["ledger", ledger].get(track.key) if ledger is not None else None,
        ]
        return max((axis.since_us for axis in axes if axis is not None), default=self.since_us)

    def _sight(self, track: Track, snapshot: Snapshot, ts_us: int, place: int) -> Sight:
        """The drifts that a snapshot may stand for."""
        kind, key, sources = track.kind, track.key, track.sources
        within_us = self.promises.within_us
        value = to_decimal(snapshot.value)
        fills = self.axes[kind, sources.fills].get(key) if sources.fills is not None else None
        entries = self.axes["ledger", sources.ledger].get(key) if sources.ledger is not None else None
        by_fills, likely, label = {ZERO}, value, str(ts_us)
        if place != END:
            assert snapshot.anchor is not None
            label = snapshot.anchor.trade_id
            moved = fills.before((ts_us, (place + 1) // 2)) if fills is not None else ZERO
            by_fills, likely = {moved}, likely - moved
        elif fills is not None:
            by_fills, likely = fills.around(ts_us, within_us), likely - fills.by(ts_us)
        by_entries = {ZERO}
        if entries is not None:
            by_entries, likely = entries.around(ts_us, within_us), likely - entries.by(ts_us)
        tolerance = max(
            self.promises.tolerance(AMOUNT[kind], key[0]),
            rounding(value, self.promises.contracts[track.origin].venue_precision),
        )
        return Sight(
            label, ts_us, {value - one - two for one in by_fills for two in by_entries}, tolerance, likely, snapshot
        )

    # -- own and cross ------------------------------------------------------------------------------------------------

    def _say_own(self, track: Track, verdict: Verdict) -> None:
        for snapshot in {(each.ts_us, str(each.anchor)): each for each in track.unanchored}.values():
            assert snapshot.anchor is not None
            source = track.sources.fills if track.sources.fills is not None else track.origin
            verdict.unknown.append(
                Unknown("ANCHOR_MISSING", source, "fills", track.compared, (*track.key, snapshot.anchor.trade_id))
            )
        if track.too_old is not None:
            key = (*track.key, str(track.too_old.ts_us))
            verdict.unknown.append(Unknown("LATE_BEYOND_HORIZON", track.origin, "balances", track.compared, key))
        if track.base is None:
            self._doubt_opening(track, verdict)
        for before, after in pairwise(track.runs):
            residual = step_between(before.shown(before.last), after.shown(after.first))
            step = Step(before.last, after.first, before.last.ts_us, after.first.ts_us, residual)
            self._conclude(track, step, verdict)

    @staticmethod
    def _doubt_opening(track: Track, verdict: Verdict) -> None:
        """An opening that saw something else than is likely may as well be a movement that is missing."""
        if not track.sights:
            return
        opening, first = track.sights[0], track.runs[0]
        if opening.likely in first.of(opening):
            return
        for sight in track.sights:
            if track.run_of[id(sight)] is not first:
                return
            wide = opening.tolerance + sight.tolerance
            if all(abs(drift - opening.likely) > wide for drift in sight.drifts):
                key = (*track.key, sight.label)
                verdict.unknown.append(Unknown("AMBIGUOUS_OPENING", track.origin, "balances", track.compared, key))
                return

    def _conclude(self, track: Track, step: Step, verdict: Verdict) -> None:
        """The residual changed: a break, unless movements may be unknown."""
        within_us = self.promises.within_us
        for doubt in self._doubts(track):
            if doubt.lies_in(step.from_us - within_us, step.to_us + within_us):
                key = (*track.key, step.after.label)
                verdict.unknown.append(Unknown(doubt.reason, doubt.origin, doubt.stream, track.compared, key))
                return
        verdict.breaks.append(finding_of(track, step, within_us, self.promises.wait_us))

    def _doubts(self, track: Track) -> Iterator[Doubt]:
        """Why movements may be unknown, and when."""
        fills, ledger = track.sources
        if fills is None and (track.kind == "position" or ledger is None):
            yield Doubt("NEVER_SENT", 0, "fills", _ever)
        if fills is not None and self.promises.of(fills, "fill") == "partial":
            yield Doubt("PARTIAL", fills, "fills", _ever)
        if fills is not None and track.kind == "balance":
            yield Doubt("UNMAPPED_INSTRUMENT", fills, "fills", self.unmapped[fills].between)
            partly = self.partly_told[fills].get(track.key)
            if partly is not None:
                yield Doubt("PARTIAL", fills, "fills", partly.between)
        if ledger is not None and self.promises.of(ledger, "ledger") == "partial":
            yield Doubt("PARTIAL", ledger, "balances", _ever)
        if ledger is None and track.kind == "balance":
            yield Doubt("NEVER_SENT", 0, "balances", _ever)
        if fills is not None:
            yield from self._lost(fills, "fills")
        if ledger is not None:
            yield from self._lost(ledger, "balances")

    def _lost(self, o: int, stream: Stream) -> Iterator[Doubt]:
        """Records of a topic that are known to be lost."""
        yield Doubt("SEQ_GAP", o, stream, partial(self.doubted.has_hole, o))
        yield Doubt("SCHEMA_ERROR", o, stream, partial(self.doubted.has_unread, o, stream))

    # -- both ---------------------------------------------------------------------------------------------------------

    def _say_equal(self, state: KeyState, kind: str, key: Key, until_us: int, verdict: Verdict) -> int:
        """Where snapshots of one origin lie between two of the other, both must have the same drift.

        Gives the time since which they have (us), -1 if they never had.
        """
        ours = next((t for t in state.tracks if (t.origin, t.about) == (0, "own")), None)
        theirs = next((t for t in state.tracks if t.origin == 1), None)  # cross, if it is made
        if ours is None or theirs is None:
            return -1
        steps, agreed_us = differences(state, ours, theirs, until_us, self.promises.within_us)
        common = Track(kind, key, 0, "exchange", self._sources(kind, (0, 1)))  # of movements that count for both
        for step in steps:
            self._conclude(common, step, verdict)
        return agreed_us

    def summed_up_us(self, subject: tuple[str, ...], *, of_both: bool) -> int:
        """Before which time nothing can be judged anew of a subject, or of how the snapshots of both differ."""
        state = self.keys.get(subject)
        if state is None:
            return -1
        return max(state.summed_up_us, state.equal_base_us + 1) if of_both else state.summed_up_us

    def unconfirmed(self) -> Iterator[tuple[str, ...]]:
        """The keys that moved after the last snapshot of them that they are held against."""
        for subject, state in self.keys.items():
            for track in state.tracks:
                told = state.snapshots[track.origin]
                moved = ((subject[0], track.sources.fills), ("ledger", track.sources.ledger))
                axes = (self.axes[what, o].get(track.key) for what, o in moved if o is not None)
                if told and any(axis and axis.marks and axis.marks[-1][0] > told[-1].ts_us for axis in axes):
                    yield subject
                    break

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def trim(self, before_us: int) -> None:
        """Sum up what is older than that time, or more than is kept; what was concluded from it stands."""
        for state in self.keys.values():
            limits_us = [_limit_us(state.snapshots[o], before_us) for o in (0, 1)]
            sum_up(state, max(limits_us))
            for o in (0, 1):
                self._trim_snapshots(state, o, limits_us[o])
        keep_us = before_us - 2 * self.promises.within_us
        for axes in self.axes.values():
            for axis in axes.values():
                axis.trim(keep_us)
        for o in (0, 1):
            for doubts in (self.unmapped[o], *self.partly_told[o].values()):
                doubts.trim(keep_us)
            self.anchors[o] = {anchor: mark for anchor, mark in self.anchors[o].items() if mark[0] >= keep_us}
            self.ends[o] = {name: end for name, end in self.ends[o].items() if end.ts_us >= keep_us or end.count < 0}

    def _trim_snapshots(self, state: KeyState, o: int, before_us: int) -> None:
        kept = state.snapshots[o]
        if not kept or kept[0].ts_us >= before_us:
            return
        for track in state.tracks:
            if track.origin == o:
                self._sum_up(track, before_us)
        state.summed_up_us = max(state.summed_up_us, before_us)
        state.snapshots[o][:] = [each for each in kept if each.ts_us >= before_us]

    @staticmethod
    def _sum_up(track: Track, limit_us: int) -> None:
        gone = bisect_left(track.sights, limit_us, key=lambda sight: sight.ts_us)
        if not gone:
            return
        runs = [] if track.base is None else [track.base]
        for sight in track.sights[:gone]:
            fold(runs, sight)
        track.base = runs[-1]
        for sight in track.sights[:gone]:
            del track.run_of[id(sight)]
        del track.sights[:gone]
        track.narrowed += 1


def _limit_us(kept: list[Snapshot], before_us: int) -> int:
    """Up to which time snapshots are summed up."""
    if len(kept) > SIGHTS_KEPT:
        return max(before_us, kept[len(kept) - SIGHTS_KEPT // 2].ts_us)
    return before_us


def _sight_time(sight: Sight) -> int:
    return sight.ts_us


def _ever(_: int, __: int) -> bool:
    return True


def _class(kind: str) -> Class:
    return "position" if kind == "position" else "balance"
