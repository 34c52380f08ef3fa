"""The oracle of identities 3 and 4, its arithmetic: what fills move, and whether snapshots agree with what moved.

Theory. A snapshot minus what had moved by then is the *drift*: what no movement explains. Snapshots in order form runs
that one constant drift explains, each within its own rounding; where no single drift does any longer, the residual has
changed, and that interval is the break. The first snapshot only sets the drift (opening). So a residual that stays is
told once, one that goes away again is told twice (two intervals do not add up), and roundings cannot pile up unseen.

Which state a snapshot saw is known exactly where it is anchored to a fill. Else it may have seen any state within
+- `order_within_us` of its time, so it stands for a set of possible drifts. Two topics have no order between them: of
fills and ledger entries close to the snapshot, it may have seen any number of the first and any number of the others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Event = dict[str, Any]
Key = tuple[str, ...]
"""(instrument, position side) of a position, (asset,) of a balance."""
Effect = dict[Key, Decimal]
Instruments = dict[str, dict[str, dict[str, str]]]
"""By venue, by instrument or pattern: its kind and its assets."""
ZERO = Decimal(0)


class Change(NamedTuple):
    """One record of a fills log that changed what holds of its trade, at its own time."""

    ts_us: int
    record: Event
    before: Event | None
    after: Event | None


def changes(fills: Iterable[Event]) -> list[Change]:
    """Fold one origin's fills (log order) into changes by time, equal times in log order.

    A correction replaces the trade at the correction's time, a bust takes it back. A copy of a trade moves nothing,
    even where it differs: identity 1 says that they conflict. A trade that comes after its amendment moves nothing, nor
    does an exact copy of an amendment.
    """
    by_time = sorted(fills, key=lambda fill: int(fill["ts_us"]))
    trades = {(fill["instrument"], fill["trade_id"], fill["side"]) for fill in by_time if is_trade(fill)}
    refers = {(fill["instrument"], fill["trade_id"]): fill["ref_trade_id"] for fill in by_time if not is_trade(fill)}
    holds: dict[Key, Event | None] = {}
    found = []
    told: list[Event] = []
    for fill in by_time:
        root, passed = fill["trade_id"] if is_trade(fill) else fill["ref_trade_id"], set()
        while not is_trade(fill) and (fill["instrument"], root) in refers and root not in passed:
            passed.add(root)
            root = refers[fill["instrument"], root]
        sides = [fill["side"], "sell" if fill["side"] == "buy" else "buy"]
        side = next((side for side in sides if (fill["instrument"], root, side) in trades), fill["side"])
        key = (fill["instrument"], root, side)
        content = {name: said for name, said in fill.items() if name not in {"event_id", "feed_seq", "recorded_us"}}
        if (is_trade(fill) and key in holds) or (not is_trade(fill) and content in told):
            found.append(Change(fill["ts_us"], fill, holds.get(key), holds.get(key)))
            continue
        told.append(content)
        after = None if fill.get("exec") == "bust" else fill
        found.append(Change(fill["ts_us"], fill, holds.get(key), after))
        holds[key] = after
    return found


def is_trade(fill: Event) -> bool:
    """Whether it stands for itself."""
    return (fill.get("exec") or "trade") == "trade"


def kind_of(instrument: str, instruments: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """What is known of an instrument: by its name, else by the first pattern that matches; nothing: {}."""
    matching = [pattern for pattern in instruments if fnmatchcase(instrument, pattern)]
    names = [instrument] if instrument in instruments else matching
    known = instruments[names[0]] if names else {}
    return {field: said.replace("{instrument}", instrument) for field, said in known.items()}


def signed(fill: Event) -> Decimal:
    """What was bought, or minus what was sold; also in hedge mode, where a sell reduces the long."""
    return Decimal(fill["qty"]) * (1 if fill["side"] == "buy" else -1)


def moves_position(fill: Event, kind: Mapping[str, str]) -> Effect:
    """How a fill moves its position: a spot fee that is charged in the base asset is part of it."""
    traded = {kind["base"], fill["instrument"]} if kind.get("kind") == "spot" else set()
    in_base = fill.get("fee") and fill.get("fee_asset") in traded
    delta = signed(fill) - (Decimal(fill["fee"]) if in_base else ZERO)
    return {(fill["instrument"], fill.get("position_side") or "net"): delta}


def moves_balance(fill: Event, kind: Mapping[str, str]) -> Effect:
    """How a fill moves balances, by the kind of its instrument."""
    effect: Effect = defaultdict(Decimal)
    if kind["kind"] == "spot":
        effect[kind["base"],] += signed(fill)
        effect[kind["quote"],] -= signed(fill) * Decimal(fill["price"])
    else:
        effect[kind["settle"],] += Decimal(fill.get("realized_pnl") or 0)
    asset = fill.get("fee_asset") or kind.get("settle") or kind["quote"]
    if kind["kind"] == "spot" and asset == fill["instrument"]:
        asset = kind["base"]
    effect[asset,] -= Decimal(fill.get("fee") or 0)
    return effect


def untold(fill: Event, kind: Mapping[str, str]) -> str | None:
    """Why what a fill does to balances is not fully known."""
    if not kind:
        return "UNMAPPED_INSTRUMENT"
    lacks_profit = kind["kind"] != "spot" and fill.get("realized_pnl") is None
    return "PARTIAL" if lacks_profit or fill.get("fee") is None else None


@dataclass
class Axis:
    """The movements of one key in one topic, by time."""

    places: list[int] = field(default_factory=list)
    """Of each movement's record in the topic's order by time."""
    times: list[int] = field(default_factory=list)
    sums: list[Decimal] = field(default_factory=lambda: [ZERO])
    """What has moved before all of them, after the first, after the second, ..."""

    def add(self, place: int, ts_us: int, delta: Decimal) -> None:
        """One more, not older than the last."""
        self.places.append(place)
        self.times.append(ts_us)
        self.sums.append(self.sums[-1] + delta)

    def around(self, ts_us: int, within_us: int) -> set[Decimal]:
        """What may have moved by that time."""
        return set(
            self.sums[bisect_left(self.times, ts_us - within_us) : bisect_right(self.times, ts_us + within_us) + 1]
        )

    def by(self, ts_us: int) -> Decimal:
        """What had moved by that time, taken strictly."""
        return self.sums[bisect_right(self.times, ts_us)]

    def before(self, place: int) -> set[Decimal]:
        """What had moved before the record at that place."""
        return {self.sums[bisect_left(self.places, place)]}


class Snapshot(NamedTuple):
    """A reported state; `place`: twice the number of a fill that it was taken just before, one more if just after."""

    label: str
    ts_us: int
    value: Decimal
    tolerance: Decimal
    place: int | None


@dataclass
class Sight:
    """A snapshot, with the drifts it may stand for."""

    label: str
    ts_us: int
    drifts: set[Decimal]
    tolerance: Decimal
    likely: Decimal
    """The drift if it saw all that moved up to its own time, and nothing later."""


Ranges = list[tuple[Decimal, Decimal]]


@dataclass
class Run:
    """Snapshots that one drift explains, and the drifts that still do."""

    sights: list[Sight]
    drifts: Ranges = field(default_factory=list)

    def of(self, sight: Sight) -> set[Decimal]:
        """The drifts of one of its snapshots that all the others bear out."""
        return {
            drift
            for drift in sight.drifts
            if any(low - sight.tolerance <= drift <= high + sight.tolerance for low, high in self.drifts)
        }

    def shown(self, sight: Sight) -> set[Decimal]:
        """Its likely drift where the others bear it out, else all that they do."""
        possible = self.of(sight)
        return {sight.likely} if sight.likely in possible else possible


def runs(sights: Iterable[Sight]) -> list[Run]:
    """Divide snapshots, in order, into runs; between two of them the residual changed."""
    found: list[Run] = []
    for sight in sights:
        own = [(drift - sight.tolerance, drift + sight.tolerance) for drift in sorted(sight.drifts)]
        last = found[-1].drifts if found else own
        both = [(max(a, c), min(b, d)) for (a, b), (c, d) in product(last, own) if max(a, c) <= min(b, d)]
        if found and both:
            found[-1].sights.append(sight)
            found[-1].drifts = both
        else:
            found.append(Run([sight], own))
    return found


def residual(before: Run, after: Run) -> Decimal:
    """By how much the drift changed from one run to the next; where several changes may be shown, the least."""
    shown = product(before.shown(before.sights[-1]), after.shown(after.sights[0]))
    return min((two - one for one, two in shown), key=lambda step: (abs(step), step))


def rounding(value: Decimal, digits: int | None) -> Decimal:
    """Two units of the last significant digit that the venue keeps; of zero there is nothing to round."""
    return Decimal(2).scaleb(value.adjusted() - digits + 1) if digits and value else ZERO
