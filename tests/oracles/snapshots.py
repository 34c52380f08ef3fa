"""The oracle of identities 3 (position) and 4 (balance): what snapshots say against movements, and each other."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tests.oracles.book import OTHER, Break, Unknown
from tests.oracles.ledger import OF_TRADES, first_of_each
from tests.oracles.movements import (
    ZERO,
    Axis,
    Event,
    Key,
    Run,
    Sight,
    Snapshot,
    kind_of,
    moves_balance,
    moves_position,
    residual,
    rounding,
    runs,
    untold,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_recon.domain.events import Origin, Stream
    from tests.oracles.book import Book

AMOUNT = {"position": "qty", "balance": "total"}


class Sources(NamedTuple):
    """Whose fills and whose ledger a comparison rests on; None: it needs none, or nobody sends them."""

    fills: Origin | None
    ledger: Origin | None


class Doubt(NamedTuple):
    """Why movements of that time may not be all."""

    reason: str
    from_us: int
    to_us: int
    keys: frozenset[Key] | None = None
    """None: any."""


ALWAYS = 2**62


def judge_states(book: Book, kind: str) -> None:
    """What each origin's snapshots say against movements, and against each other."""
    judged: dict[tuple[Origin, str], dict[Key, list[Run]]] = {}
    cross = sources_of(book, kind, ("internal", "exchange"))
    comparisons: list[tuple[Origin, Sources]] = [
        ("internal", cross),
        ("exchange", cross),
        ("exchange", sources_of(book, kind, ("exchange", "internal"))),
    ]
    for origin, sources in comparisons:
        about = "cross" if origin == "exchange" and sources == cross and "internal" in cross else "own"
        if book.sends(origin, kind) and (origin, about) not in judged:
            judged[origin, about] = Comparison(book, kind, origin, about, sources).judge()
    theirs = judged.get(("exchange", "cross"), judged.get(("exchange", "own"), {}))
    for key, ours in judged.get(("internal", "own"), {}).items():
        if key in theirs:
            Comparison(book, kind, "exchange", "equal", cross).judge_equal(key, ours, theirs[key])


def judge_ends(book: Book) -> None:
    """A snapshot of which nothing came at all is not complete either."""
    told = {each.label for each in book.found.unknown if each.reason == "INCOMPLETE_SNAPSHOT"}
    for origin in OTHER:
        named = {each.get("snapshot_id") for kind in AMOUNT for each in book.of(origin, kind)}
        for end in book.of(origin, "snapshot_end"):
            if end["count"] and end["snapshot_id"] not in {*named, *told}:
                book.found.unknown.append(Unknown("INCOMPLETE_SNAPSHOT", book.name, "own", (), end["snapshot_id"]))


def judge_parts(book: Book) -> None:
    """What is free and what is locked are the total, in the newest balance of each asset that says so."""
    newest: dict[tuple[Origin, str], Event] = {}
    for event in [*book.of("internal", "balance"), *book.of("exchange", "balance")]:
        if event.get("free") is not None and event.get("locked") is not None:
            before = newest.get((event["origin"], event["asset"]))
            if before is None or before["ts_us"] <= event["ts_us"]:
                newest[event["origin"], event["asset"]] = event
    for event in newest.values():
        if book.passed(event["ts_us"], (event["origin"], "balances")):
            parts, total = Decimal(event["free"]) + Decimal(event["locked"]), Decimal(event["total"])
            if abs(parts - total) > book.tolerance("total", event["asset"]):
                at = str(event["ts_us"])
                fields = (("free+locked", str(parts), str(total)),)
                book.found.breaks.append(
                    Break("balance_mismatch", book.name, "parts", (event["asset"],), (at, at), total - parts, fields)
                )


def sources_of(book: Book, kind: str, order: Sequence[Origin]) -> Sources:
    """The first of these origins that sends what moves this kind of state."""
    ledger = book.first_that_sends("ledger", order) if kind == "balance" else None
    covers_all = ledger is not None and book.contract[ledger].ledger_covers == "all"
    return Sources(None if covers_all else book.first_that_sends("fill", order), ledger)


class Comparison:
    """One origin's snapshots of one kind, held against one choice of movements."""

    def __init__(self, book: Book, kind: str, origin: Origin, about: str, sources: Sources) -> None:
        self.book, self.kind, self.origin, self.about, self.sources = book, kind, origin, about, sources
        self.within_us = max(each.order_within_us for each in book.contract.values())
        self.fills: dict[Key, Axis] = defaultdict(Axis)
        self.ledger: dict[Key, Axis] = defaultdict(Axis)
        self.doubts: list[Doubt] = []
        self.places: dict[Key, int] = {}
        if sources.fills:
            self.read_fills(sources.fills)
        elif kind == "position":
            self.doubts.append(Doubt("NEVER_SENT", 0, ALWAYS))
        if sources.ledger:
            self.read_ledger(sources.ledger)
        elif kind == "balance":
            self.doubts.append(Doubt("NEVER_SENT", 0, ALWAYS))
        for who in sources:
            if who:
                self.doubts += [Doubt("SEQ_GAP", *hole) for hole in book.holes[who]]
        self.unanchored: set[tuple[Key, int, str]] = set()

    def read_fills(self, who: Origin) -> None:
        """What trades moved, each change at its time."""
        if self.book.promise(who, "fill") == "partial":
            self.doubts.append(Doubt("PARTIAL", 0, ALWAYS))
        untold_fills = []
        for place, change in enumerate(self.book.changes[who]):
            fill = change.record
            self.places.setdefault((fill["instrument"], fill["trade_id"], fill["side"]), place)
            if change.before is change.after:
                continue
            what = kind_of(fill["instrument"], self.book.instruments)
            reason = untold(fill, what) if self.kind == "balance" else None
            if reason == "UNMAPPED_INSTRUMENT":
                self.doubts.append(Doubt(reason, change.ts_us, change.ts_us))
                continue
            effect: dict[Key, Decimal] = defaultdict(Decimal)
            for event, sign in ((change.before, -1), (change.after, 1)):
                if event:
                    moves = moves_position if self.kind == "position" else moves_balance
                    for key, delta in moves(event, what).items():
                        effect[key] += sign * delta
            for key, delta in effect.items():
                self.fills[key].add(place, change.ts_us, delta)
            if reason:
                untold_fills.append(Doubt(reason, change.ts_us, change.ts_us, frozenset(effect)))
        self.doubts += untold_fills

    def read_ledger(self, who: Origin) -> None:
        """What the ledger moved; entries of trades only where it covers them."""
        if self.book.promise(who, "ledger") == "partial":
            self.doubts.append(Doubt("PARTIAL", 0, ALWAYS))
        entries = first_of_each(self.book.of(who, "ledger"))
        for place, entry in enumerate(sorted(entries, key=lambda entry: int(entry["ts_us"]))):
            if self.book.contract[who].ledger_covers == "all" or entry["reason"] not in OF_TRADES:
                self.ledger[entry["asset"],].add(place, entry["ts_us"], Decimal(entry["delta"]))

    def judge(self) -> dict[Key, list[Run]]:
        """Write the verdicts; the runs of each key."""
        found = {}
        snapshots = self.snapshots()
        for key, seen in snapshots.items():
            sights, opening = [], None
            for snapshot in sorted(seen, key=lambda each: (each.ts_us, ALWAYS if each.place is None else each.place)):
                if self.is_due(snapshot.ts_us):
                    opening = opening or snapshot
                    sights.append(self.sight(key, snapshot))
                else:
                    self.unknown("WAITING", key, snapshot.label)
            if opening and abs(sights[0].likely) <= sights[0].tolerance and sights[0].likely != opening.value:
                sights[0].drifts = {sights[0].likely}  # something had moved, and explains it from nothing
            found[key] = runs(sights)
            self.book.found.matched[self.kind] += len(sights) - len(found[key])
            self.doubt_opening(key, found[key])
            for before, after in pairwise(found[key]):
                span = (before.sights[-1].ts_us, after.sights[0].ts_us)
                self.conclude(key, before, after, span)
        if self.book.promise(self.origin, self.kind) == "complete":
            told = {key_of(event) for event in self.book.of(self.origin, self.kind)}
            moved = {key for axes in (self.fills, self.ledger) for key, axis in axes.items() if any(axis.sums)}
            for key in sorted(moved - {*snapshots} - told):
                is_spot = kind_of(key[0], self.book.instruments).get("kind") == "spot"
                if self.kind == "balance" or not is_spot:  # what spot trades buy is in the balances
                    self.unknown("LOOKBACK_TRUNCATED", key, None)
        return found

    def doubt_opening(self, key: Key, found: list[Run]) -> None:
        """An opening that saw something else than is likely may as well be a movement that is missing."""
        opening = found[0].sights[0] if found else None
        if opening and opening.likely not in found[0].of(opening):
            for sight in found[0].sights:
                wide = opening.tolerance + sight.tolerance
                if all(abs(drift - opening.likely) > wide for drift in sight.drifts):
                    self.book.found.matched[self.kind] -= 1
                    self.unknown("AMBIGUOUS_OPENING", key, sight.label)
                    return

    def sight(self, key: Key, snapshot: Snapshot) -> Sight:
        """The drifts that a snapshot may stand for."""
        fills, ledger = self.fills[key], self.ledger[key]
        by_fills = (
            fills.around(snapshot.ts_us, self.within_us)
            if snapshot.place is None
            else fills.before((snapshot.place + 1) // 2)
        )
        by_ledger = ledger.around(snapshot.ts_us, self.within_us)
        drifts = {snapshot.value - one - two for one in by_fills for two in by_ledger}
        likely = ledger.by(snapshot.ts_us) + (fills.by(snapshot.ts_us) if snapshot.place is None else min(by_fills))
        return Sight(snapshot.label, snapshot.ts_us, drifts, snapshot.tolerance, snapshot.value - likely)

    def snapshots(self) -> dict[Key, list[Snapshot]]:
        """All that can be judged, by key; what was never reported but must be zero included."""
        seen: dict[Key, dict[tuple[int, int | None], Snapshot]] = defaultdict(dict)
        events = self.book.of(self.origin, self.kind)
        for event in [each for n, each in enumerate(events) if each not in events[:n]]:  # what is sent again is no news
            key, value = key_of(event), Decimal(event[AMOUNT[self.kind]])
            ts_us, place, label = event["ts_us"], None, str(event["ts_us"])
            anchor = event.get("anchor")
            if anchor and self.sources.fills:
                at = self.places.get((anchor["instrument"], anchor["trade_id"], anchor["side"]))
                if at is None:
                    if (key, ts_us, str(anchor)) not in self.unanchored:
                        self.unknown("ANCHOR_MISSING" if self.is_due(ts_us) else "WAITING", key, anchor["trade_id"])
                    self.unanchored.add((key, ts_us, str(anchor)))
                    continue
                ts_us = self.book.changes[self.sources.fills][at].ts_us
                place, label = 2 * at + (anchor["when"] == "after"), anchor["trade_id"]
            tolerance = max(
                self.book.tolerance(AMOUNT[self.kind], key[0]),
                rounding(value, self.book.contract[self.origin].venue_precision),
            )
            seen[key][ts_us, place] = Snapshot(label, ts_us, value, tolerance, place)
        known = {*self.fills, *self.ledger, *seen}
        known |= {key_of(event) for event in self.book.of(OTHER[self.origin], self.kind)}
        for end in self.book.of(self.origin, "snapshot_end"):
            named = {
                (each["type"], key_of(each))
                for kind in AMOUNT
                for each in self.book.of(self.origin, kind)
                if each.get("snapshot_id") == end["snapshot_id"]
            }
            if len(named) != end["count"]:
                self.unknown("INCOMPLETE_SNAPSHOT", (), end["snapshot_id"])
                continue
            for key in known:
                if (self.kind, key) not in named:
                    zero = Snapshot(
                        str(end["ts_us"]), end["ts_us"], ZERO, self.book.tolerance(AMOUNT[self.kind], key[0]), None
                    )
                    seen[key].setdefault((end["ts_us"], None), zero)
        return {key: list(seen[key].values()) for key in sorted(seen)}

    def judge_equal(self, key: Key, ours: list[Run], theirs: list[Run]) -> None:
        """Where snapshots of one origin lie between two of the other, both must have the same drift."""
        told = [(sight, run, who) for who, side in ((-1, ours), (1, theirs)) for run in side for sight in run.sights]
        told.sort(key=lambda each: (each[0].ts_us, each[2]))
        gaps, spans = [Sight("opening", 0, {ZERO}, ZERO, ZERO)], {}
        for sight, run, who in told:
            before = [each for each in told if each[2] != who and each[0].ts_us <= sight.ts_us + self.within_us][-1:]
            after = [each for each in told if each[2] != who and each[0].ts_us >= sight.ts_us - self.within_us][:1]
            if before and after:
                near = [*before, *after]
                possible = {who * (one - two) for one in run.of(sight) for side in near for two in side[1].of(side[0])}
                shown = {
                    who * (one - two) for one in run.shown(sight) for side in near for two in side[1].shown(side[0])
                }
                wide = sight.tolerance + max(side[0].tolerance for side in near)
                gaps.append(Sight(sight.label, sight.ts_us, possible, wide, min(shown, key=abs)))
                times = [sight.ts_us, *(side[0].ts_us for side in near)]
                spans[id(gaps[-1])] = (min(times), max(times))
        found = runs(gaps)
        agrees = [n for n, run in enumerate(found) if any(low <= 0 <= high for low, high in run.drifts)]
        for one, two in pairwise(found[agrees[-1] :]):
            self.conclude(key, one, two, spans[id(two.sights[0])])
        closed = [run for run in found if any(low <= 0 <= high for low, high in run.drifts)]
        self.book.found.matched[self.kind] += sum(len(run.sights) for run in closed) - 1

    def conclude(self, key: Key, before: Run, after: Run, span: tuple[int, int]) -> None:
        """The residual changed: a break, unless movements may be unknown."""
        interval = (before.sights[-1].label, after.sights[0].label)
        from_us, to_us = span[0] - self.within_us, span[1] + self.within_us
        for doubt in self.doubts:
            if doubt.from_us <= to_us and from_us <= doubt.to_us and (doubt.keys is None or key in doubt.keys):
                self.unknown(doubt.reason, key, interval[1])
                return
        changed = residual(before, after)
        self.book.found.breaks.append(
            Break(f"{self.kind}_mismatch", self.book.name, self.about, key, interval, changed)
        )

    def is_due(self, ts_us: int) -> bool:
        """Whether all that a snapshot of that time rests on has come."""
        fills, ledger = self.sources
        senders = [origin for origin in OTHER if self.book.sends(origin, "fill")]
        topics: list[tuple[Origin | None, Stream]] = [
            (self.origin, "balances"), (fills, "fills"), (ledger, "balances"),
        ]  # fmt: skip
        if len(senders) == 1:
            topics += [(origin, "orders") for origin in OTHER if self.book.sends(origin, "order")]
        return self.book.passed(ts_us, *topics)

    def unknown(self, reason: str, key: Key, label: str | None) -> None:
        """Say what cannot be known."""
        self.book.found.unknown.append(Unknown(reason, self.book.name, self.about, key, label))


def key_of(event: Event) -> Key:
    """What a snapshot is about."""
    if event["type"] == "position":
        return (event["instrument"], event.get("position_side") or "net")
    return (event["asset"],)
