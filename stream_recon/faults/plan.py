"""The fault plan: real fills on a live clock, told by both origins, with faults whose consequence is known.

Theory. The recorded fills become what the exchange executed, one every 1/speed s, their order and amounts kept.
Both origins report each of them shortly after it happened, and say twice a second up to where they have reported. They
tell what goes with it too: each order's updates, ledger entries, and snapshots of positions and balances. A fault then
changes what one origin says of one record. Each fill and each order carries at most one, so what must be found follows
from the fault alone: no matching is needed to know it. What follows from it elsewhere (a lost fill is lacking in a
position) follows from it alone, too: these are its effects. The clock is real, because grace and silence are.
"""

from __future__ import annotations

import random
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from stream_recon.data import hyperliquid_instruments
from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.events import ORIGINS, STREAM_OF, STREAMS, Origin, Stream, default_source
from stream_recon.faults.books import (
    ZERO,
    Movement,
    account,
    entry_movement,
    movements_of,
    total,
    with_profits,
)
from stream_recon.faults.changes import CHANGES, FAULTS, Event, Fault, Timing, off, told_wrong
from stream_recon.faults.choice import choose_fills, choose_orders, choose_silences, party
from stream_recon.faults.injected import (
    Effect,
    Injected,
    counted,
    of_fill,
    of_silence,
    order_effects,
    order_finding,
    state_effects,
)
from stream_recon.faults.states import (
    Book,
    cash_of,
    entries_on_the_way,
    ledger_entry,
    openings,
    order_updates,
    orders_of,
    snapshots,
    some_amount,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from stream_recon.domain.instruments import Instruments
    from stream_recon.faults.books import Amounts, Key
    from stream_recon.faults.choice import Silence
    from stream_recon.faults.states import OrderKey

_Some = TypeVar("_Some", bound=Sized)
_STREAM_OF = {kind.__struct_config__.tag: stream for kind, stream in STREAM_OF.items()}


class Step(NamedTuple):
    """One event to publish `at_us` after the start; a heartbeat goes to every partition of its topic."""

    at_us: int
    origin: Origin
    stream: Stream
    event: Event


@dataclass(frozen=True)
class Plan:
    """What to publish, in this order, and what must be found."""

    steps: list[Step]
    injected: list[Injected]


def faults_of(text: str) -> dict[Fault, int]:
    """How many of each fault `all`, `none` or a list like `price=3,drop_internal=2` asks for.

    Raises:
        ValueError: an unknown fault, or a number that is none.
    """
    if text in {"all", "none"}:
        return {fault: _usual(fault) for fault in FAULTS if text == "all"}
    wanted: dict[Fault, int] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        fault = next((each for each in FAULTS if each == name), None)
        if fault is None:
            raise ValueError(f"unknown fault {name!r}; there are {', '.join(FAULTS)}")
        if not (number or "1").isdecimal():
            raise ValueError(f"{part.strip()!r}: {number!r} is no count")
        wanted[fault] = int(number or "1")
    return wanted


def _usual(fault: Fault) -> int:
    """How many are asked for by `all`."""
    return 1 if fault == "silent_feed" else 3 if fault in CHANGES else 2


def plan(  # noqa: PLR0913 - what is told, what of it is wrong, and when
    fills: Sequence[Event],
    seed: int,
    faults: Mapping[Fault, int],
    *,
    timing: Timing = Timing(),  # noqa: B008 - frozen
    start_us: int = 0,
    instruments: Instruments | None = None,
) -> Plan:
    """Put `fills` on a clock that starts at `start_us` (us since the epoch), tell them twice, inject so many faults.

    `instruments` say what the fills move; left out: those of the recording.

    Raises:
        ValueError: there are not enough fills, orders or ledger entries for so many faults.
    """
    apart_us = round(1_000_000 / timing.speed_per_s)
    live_fills = [{**fill, "ts_us": start_us + (place + 1) * apart_us} for place, fill in enumerate(fills)]
    known = instruments or hyperliquid_instruments()
    play = _Play(random.Random(seed), timing, start_us, apart_us, with_profits(live_fills, known), known)  # noqa: S311 - repeatable on purpose
    play.choose(faults)
    play.tell_fills()
    play.move_ledgers(faults)
    play.disturb_states(faults)
    play.tell_orders()
    play.tell_states()
    return play.finish()


class _Play:
    """A plan in the making. Its parts are called in the order in which `plan` has them."""

    def __init__(  # noqa: PLR0913, PLR0917 - what is given, once
        self,
        rng: random.Random,
        timing: Timing,
        start_us: int,
        apart_us: int,
        fills: list[Event],
        instruments: Instruments,
    ) -> None:
        self.rng, self.timing, self.start_us, self.apart_us = rng, timing, start_us, apart_us
        self.fills, self.instruments = fills, instruments
        self.took_us = (len(fills) + 1) * apart_us
        self.cash = cash_of(fills, instruments)
        self.orders = orders_of(fills)
        self.books: dict[Origin, Book] = {origin: Book() for origin in ORIGINS}
        self.lost: dict[OrderKey, Origin] = {}
        """The orders whose last update one origin never tells."""
        self.chosen: dict[int, Fault] = {}
        """The faults of fills, by place."""
        self.silences: list[Silence] = []
        self.sources = {origin: sorted({default_source(origin, fill["venue"]) for fill in fills}) for origin in ORIGINS}
        self.steps: list[Step] = []
        self.injected: list[Injected] = []

    def choose(self, faults: Mapping[Fault, int]) -> None:
        """Which order and which fill carries which fault, and who falls silent when."""
        self.silences = choose_silences(self.rng, faults.get("silent_feed", 0), self.took_us, self.timing)
        self.injected += [of_silence(*each, self.sources[each[0]], self.timing) for each in self.silences]
        self.lost = choose_orders(self.rng, self.orders, faults.get("order_update_lost", 0))
        kept = {place for key in self.lost for place in self.orders[key]}
        free = [place for place in range(len(self.fills)) if place not in kept]
        times_us = [fill["ts_us"] - self.start_us for fill in self.fills]
        self.chosen = choose_fills(self.rng, free, times_us, faults, self.silences, self.timing)

    def tell_fills(self) -> None:
        """Both origins report each fill, one of them with its fault; what each books of it."""
        for place, fill in enumerate(self.fills):
            fault = self.chosen.get(place)
            at_fault = party(self.rng, fault) if fault else None
            told: dict[Origin, list[Event]] = {}
            for origin in ORIGINS:
                report = {**fill, "origin": origin, "event_id": f"{origin}:{fill['trade_id']}"}
                told[origin], books, delays_us, change = [report], [report], [0], None
                if fault and origin == at_fault:
                    change = CHANGES[fault](self.rng, report, self.timing)
                    told[origin] = [event for _, event in change.reports]
                    delays_us = [delay_us for delay_us, _ in change.reports]
                    books = counted(report, change)
                self.books[origin].trades.append(books)
                usual_us = self._usual_us()
                for delay_us, event in zip(delays_us, told[origin], strict=True):
                    self.steps.append(Step(self._after(fill["ts_us"], usual_us + delay_us), origin, "fills", event))
                if change is not None and fault is not None:
                    self.injected.append(of_fill(fault, report, change))
            if fault is not None:
                self.injected[-1] = self._with_effects(self.injected[-1], place, told)

    def _with_effects(self, injected: Injected, place: int, told: dict[Origin, list[Event]]) -> Injected:
        """A fault of a fill, with what follows from it."""
        if injected.final is None:
            return injected
        if injected.final == "CLEARED":  # while its message is on the way, it is as if it had never been told
            told = {**told, injected.origin: []}
        fill = self.fills[place]
        books = {origin: self.books[origin].trades[place] for origin in ORIGINS}
        effects = order_effects(fill, told, books)
        moves: dict[Origin, Amounts] = {o: total(movements_of(told[o], self.instruments)) for o in ORIGINS}
        states: dict[Origin, Amounts] = {o: total(movements_of(books[o], self.instruments)) for o in ORIGINS}
        effects += state_effects(moves, states)
        net = ("net_change_mismatch", account(fill), "internal:exchange", fill["instrument"])
        if all(effect.finding != net for effect in effects):
            effects.append(Effect(net, ZERO))
        times_us = [event["ts_us"] for events in (*told.values(), *books.values()) for event in events]
        return replace(injected, effects=tuple(effects), span_us=self._span(min(times_us), max(times_us)))

    def move_ledgers(self, faults: Mapping[Fault, int]) -> None:
        """Both origins tell all ledger entries; some one tells wrong, some only the exchange."""
        way = entries_on_the_way(self.rng, self.cash, len(self.fills), self.start_us, self.took_us)
        wrong = faults.get("ledger_amount", 0)
        if wrong > len(way):
            raise ValueError(f"{wrong} times ledger_amount was asked for, but there are only {len(way)} ledger entries")
        changed = self.rng.sample(range(len(way)), wrong)
        for entry in openings(self.cash, self.start_us):
            self._enter(entry, {})
        for place, entry in enumerate(way):
            self._enter(entry, {self.rng.choice(ORIGINS): off(self.rng, entry["delta"])} if place in changed else {})
        for number, ts_us in enumerate(self._moments(faults.get("unseen_deposit", 0)), start=1):
            whose = self.rng.choice(sorted(self._those_with(self.cash, "unseen_deposit")))
            asset, delta = self.rng.choice(self.cash[whose]), some_amount(self.rng, 5_000, 2)
            self._enter(
                ledger_entry(whose, f"deposit-{len(way) + number}", ts_us, asset, delta, "deposit"), {"internal": None}
            )

    def _enter(self, entry: Event, instead: dict[Origin, str | None]) -> None:
        """Both origins tell an entry, one of them another amount `instead`, or (None) nothing."""
        told: dict[Origin, Amounts] = {}
        counted: dict[Origin, Amounts] = {}
        for origin in ORIGINS:
            delta = instead.get(origin, entry["delta"])
            event = {**entry, "origin": origin, "event_id": f"{origin}:{entry['ledger_id']}", "delta": delta}
            books = {**event, "delta": entry["delta"]} if origin == "exchange" else event
            if delta is not None:
                self._tell(event)
                self.books[origin].entries.append(books)
            told[origin] = total([entry_movement(event)] if delta is not None else [])
            counted[origin] = total([entry_movement(books)] if delta is not None else [])
        for origin, delta in instead.items():
            whose, amount = account(entry), f"{entry['delta']} {entry['asset']}"
            key = (whose, entry["ledger_id"])
            kind = "ledger_missing" if delta is None else "balance_mismatch"
            done = (
                f"the exchange booked a deposit of {amount} that internal never heard of"
                if delta is None
                else told_wrong(origin, f"a {entry['reason']} of {delta} instead of {amount}")
            )
            self.injected.append(
                Injected(
                    "unseen_deposit" if delta is None else "ledger_amount", origin, done, key,
                    ((kind, whose, "internal:exchange", entry["ledger_id"]),), "OPEN",
                    tuple(state_effects(told, counted)), self._span(entry["ts_us"], entry["ts_us"]),
                )
            )  # fmt: skip

    def disturb_states(self, faults: Mapping[Fault, int]) -> None:
        """Positions and balances that change though nothing moved."""
        hit = [(account(self.fills[place]), self.fills[place]["instrument"]) for place in self.chosen]
        positions = sorted({(account(fill), fill["instrument"]) for fill in self.fills})
        gaps = self._moments(faults.get("position_gap", 0))
        # Rather where no fill is wrong, and each time another one: so each is a break of its own.
        self.rng.shuffle(positions)
        positions.sort(key=hit.count)
        for number, ts_us in enumerate(gaps):
            whose, instrument = self._those_with(positions, "position_gap")[number % len(positions)]
            sizes = [f["qty"] for f in self.fills if (account(f), f["instrument"]) == (whose, instrument)]
            amount = EXACT.multiply(to_decimal(self.rng.choice(sizes)), to_decimal(some_amount(self.rng, 2, 5)))
            key = (whose, "position", instrument)
            self._stray("position_gap", "exchange", ts_us, key, amount)
        for ts_us in self._moments(faults.get("balance_off", 0)):
            whose = self.rng.choice(sorted(self._those_with(self.cash, "balance_off")))
            key = (whose, "balance", self.rng.choice(self.cash[whose]))
            self._stray("balance_off", self.rng.choice(ORIGINS), ts_us, key, to_decimal(some_amount(self.rng, 500, 5)))

    def _stray(self, fault: Fault, origin: Origin, ts_us: int, key: Key, amount: Decimal) -> None:
        """One origin's state is off from a time on."""
        self.books[origin].strays.append(Movement(ts_us, key, amount))
        nothing: dict[Origin, Amounts] = {each: {} for each in ORIGINS}
        effects = state_effects(nothing, {**nothing, origin: {key: amount}})
        second = (ts_us - self.start_us) / 1e6
        done = f"from second {second:.1f} on, {origin} told a {key[1]} that is {plain(amount)} more than what moved"
        self.injected.append(
            Injected(
                fault, origin, done, (key[0], key[2]), tuple(effect.finding for effect in effects), "OPEN",
                tuple(effects), self._span(ts_us, ts_us + self.timing.snapshot_us),  # told by the next round time
            )
        )  # fmt: skip

    def tell_orders(self) -> None:
        """Each order's updates; of some, one origin never tells the last."""
        for key, places in self.orders.items():
            for origin in ORIGINS:
                updates = list(
                    order_updates(origin, self.books[origin], self.fills, places, max(self.apart_us // 2, 1))
                )
                if self.lost.get(key) == origin:
                    self.injected.append(self._lost(key, origin, updates))
                    updates.pop()
                for update in updates:
                    self._tell(update)

    def _lost(self, key: OrderKey, origin: Origin, updates: Sequence[Event]) -> Injected:
        """The last update of an order that an origin never tells."""
        said, last = updates[-2:]
        done = (
            f"{origin} never told that it was {last['status']}: {said['cum_qty']} of {last['qty']} is the last it said"
        )
        lacks = EXACT.subtract(to_decimal(said["cum_qty"]), to_decimal(last["cum_qty"]))
        effects = (
            Effect(order_finding(key, "internal:exchange"), lacks if origin == "exchange" else -lacks),
            Effect(order_finding(key, f"{origin}:fills"), lacks),
        )
        span_us = self._span(last["ts_us"], last["ts_us"])
        findings = tuple(effect.finding for effect in effects)
        return Injected("order_update_lost", origin, done, key, findings, "OPEN", effects, span_us)

    def tell_states(self) -> None:
        """Snapshots, the last when all has been at rest for as long as anything may be out of order."""
        within_us = self.timing.order_within_us
        end_us = self.start_us + self.took_us + 2 * within_us
        for event in snapshots(self.books, self.instruments, self.start_us, end_us, self.timing.snapshot_us):
            self._tell(event)

    def finish(self) -> Plan:
        """All in order, with heartbeats; a silent origin holds back what it has to say."""
        # When all has been told and nobody is silent any more, what is missing must still fall due.
        ends_us = [step.at_us for step in self.steps]
        ends_us += [since_us + self.timing.silence_us for _, since_us in self.silences]
        end_us = max(ends_us, default=0) + self.timing.missed_us
        steps = [*self.steps, *_heartbeats(self.sources, self.timing, self.start_us, end_us)]
        return Plan(_hold_back(sorted(steps, key=lambda step: step.at_us), self.silences, self.timing), self.injected)

    def _tell(self, event: Event) -> None:
        """An origin tells something about as fast as its fills."""
        stream = _STREAM_OF[event["type"]]
        assert stream is not None
        self.steps.append(Step(self._after(event["ts_us"], self._usual_us()), event["origin"], stream, event))

    def _usual_us(self) -> int:
        """How long after something happened it is told."""
        return self.rng.randint(self.timing.order_within_us // 20, self.timing.order_within_us // 2)

    def _after(self, ts_us: int, delay_us: int) -> int:
        return int(ts_us) - self.start_us + delay_us

    def _span(self, from_us: int, to_us: int) -> tuple[int, int]:
        return from_us - self.timing.order_within_us, to_us + self.timing.order_within_us

    def _moments(self, number: int) -> list[int]:
        """One time in each of so many equal parts of the time of the fills."""
        part_us = self.took_us // max(number, 1)
        return [self.start_us + part * part_us + self.rng.randint(1, max(part_us, 1)) for part in range(number)]

    @staticmethod
    def _those_with(there: _Some, fault: Fault) -> _Some:
        """What a fault can befall.

        Raises:
            ValueError: nothing.
        """
        if not there:
            raise ValueError(f"{fault} was asked for, but there is nothing it could befall")
        return there


def _heartbeats(sources: Mapping[Origin, Sequence[str]], timing: Timing, start_us: int, end_us: int) -> Iterator[Step]:
    """Both origins say how far they are; no unchanged report lags by more than half of order_within_us."""
    for at_us in range(0, end_us + timing.heartbeat_us, timing.heartbeat_us):
        for origin in ORIGINS:
            for source in sources[origin]:
                through_us = max(start_us + at_us - timing.order_within_us, 0)
                beat = {"type": "heartbeat", "origin": origin, "source": source, "through_us": through_us}
                yield from (Step(at_us, origin, stream, beat) for stream in STREAMS)


def _hold_back(steps: Iterable[Step], silences: Sequence[Silence], timing: Timing) -> list[Step]:
    """What a silent origin had to say comes at the end of its silence, in order; its heartbeats never."""
    kept = []
    for step in steps:
        ends_us = [
            since_us + timing.silence_us
            for origin, since_us in silences
            if origin == step.origin and since_us <= step.at_us < since_us + timing.silence_us
        ]
        if not ends_us:
            kept.append(step)
        elif step.event["type"] != "heartbeat":
            kept.append(step._replace(at_us=ends_us[0]))
    return sorted(kept, key=lambda step: step.at_us)
