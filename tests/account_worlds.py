"""Small worlds of whole accounts in virtual time: what happened, what two feeds tell of it, and how that is read.

A world begins with what truly happened to one or two accounts: trades with what amends them, orders, deposits. Each
origin then tells of it what its contract promises, with the faults that feeds have: records lost, wrong, repeated, too
late or incomplete. Both logs are read in some interleaving by lanes that drain, restart and write themselves down, and
what stands at the end is held against the oracle of accounts; what was published on the way is held against the faults
that were put in.

All is drawn from one `Random`, so a seed repeats a world and its reading exactly. Times are few whole seconds on
purpose: that is where records meet deadlines and the borders of tolerance to the microsecond.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.events import ORIGINS, STREAMS, OrderStatus, Origin
from tests.oracles.accounts import truth
from tests.oracles.argument import (
    LONG_US,
    STATED,
    Reader,
    in_the_oracles_words,
    plainly,
    unknown_in_the_core,
    unknown_in_truth,
)
from tests.oracles.movements import changes, kind_of, moves_balance, moves_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream_recon.domain.events import Stream
    from tests.oracles.book import Truth
    from tests.oracles.movements import Effect, Event, Instruments, Key

    Topic = tuple[Origin, Stream]
    Logs = dict[Topic, list[tuple[int, Event]]]

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
LATER = 2**53 - 1
LAST_S = 60
CLASSES = ("fills", "orders", "positions", "balances", "ledger")
ONE_SIDED = "one_sided"
"""A theme that is not drawn by itself: only one side sends fills."""
STREAM_OF: dict[str, Stream] = {"fill": "fills", "order": "orders"}
CLASS_OF = {"fill": "fills", "order": "orders", "position": "positions", "balance": "balances", "ledger": "ledger"}
THEMES: dict[str, tuple[str, ...]] = {
    "orders": ("orders",),
    "positions": ("positions",),
    "balances": ("balances", "ledger"),
    "ledger": ("ledger",),
    "mixed": ("orders", "positions", "balances", "ledger"),
}
"""What is told beside fills."""
MARKETS: dict[str, dict[str, str]] = {
    "PERP": {"kind": "linear_perpetual", "settle": "USD"},
    "INVERSE": {"kind": "inverse", "settle": "BTC"},
    "BTC-USD": {"kind": "spot", "base": "BTC", "quote": "USD"},
}
UNMAPPED = "ODD"
VENUES = ("v1", "v2")


def chance(rng: random.Random, probability: float) -> bool:
    """Throw a coin; the least draw means no, so that what shrinks becomes plain."""
    return rng.random() >= 1 - probability


@dataclass
class World:
    """One partition from beginning to end."""

    contracts: Contracts
    instruments: Instruments
    logs: Logs
    late: set[str]
    """Accounts of which a record came later than its contract allows."""
    overtaken: list[tuple[str, int, int]]
    """(account, time, how far its feed had been) of records that came behind their feed, be it within grace."""
    unsure: set[str]
    """Accounts of which an opening may be taken back for another reason: what they send, or lost, came out late."""
    faulty_orders: set[tuple[str, str]]
    """(account, order or client id) that was not told as it was."""


@dataclass
class Story:
    """What truly happened to one account."""

    venue: str
    account_id: str
    fills: list[Event] = field(default_factory=list)
    orders: list[list[Event]] = field(default_factory=list)
    """The updates of each."""
    entries: list[Event] = field(default_factory=list)
    opening: dict[tuple[str, Key], Decimal] = field(default_factory=dict)
    hedged: bool = False

    @property
    def name(self) -> str:
        """As the account is called."""
        return f"{self.venue}|{self.account_id}"


# -- what happened ---------------------------------------------------------------------------------------------------


def story_of(rng: random.Random, venue: str, account_id: str) -> Story:
    """Orders and their fills, what amends these, and what moved besides."""
    story = Story(venue, account_id, hedged=chance(rng, 0.25))
    for number in range(rng.randint(1, 3)):
        _order(rng, story, f"{account_id}o{number}")
    story.fills.sort(key=lambda fill: int(fill["ts_us"]))
    for number in range(rng.choice((0, 1, 2, 3))):
        story.entries.append({
            "type": "ledger", "ledger_id": f"L{number}", "asset": rng.choice(("USD", "USD", "BTC")),
            "delta": rng.choice(("5", "5", "-3", "0.7")), "reason": rng.choice(("deposit", "deposit", "funding")),
            "ts_us": _time(rng),
        })  # fmt: skip
    for kind, keys in _keys(story).items():
        for key in keys:
            story.opening[kind, key] = Decimal(rng.choice(("0", "0", "0", "7", "-2.5")))
    return story


def _time(rng: random.Random, last_s: int = 50) -> int:
    return START + rng.randint(1, last_s) * SECOND + rng.choice((0, 0, 0, 0, 0, 0, -1, 1))


def _order(rng: random.Random, story: Story, order_id: str) -> None:
    instrument = rng.choice(("PERP", "PERP", "BTC-USD", "BTC-USD", "INVERSE", UNMAPPED))
    side, ts_us = rng.choice(("buy", "sell")), _time(rng, 30)
    common = {"instrument": instrument, "order_id": order_id, "client_order_id": f"c-{order_id}", "side": side}
    cum, qty = Decimal(0), Decimal(rng.choice((2, 4)))
    updates = [("pending_new", cum, ts_us - rng.choice((0, SECOND))), ("open", cum, ts_us)]
    if chance(rng, 0.1):  # the venue never hears of it
        updates = [updates[0], ("rejected", cum, ts_us)]
    else:
        for number in range(rng.choice((0, 1, 1, 2, 3))):
            ts_us += rng.choice((0, 0, 1, 2, 8)) * SECOND
            size = rng.choice((qty / 2, qty / 4, qty - cum))
            if cum + size > qty or not size:
                break
            cum += size
            fill = _fill(rng, story, common, size, ts_us) | {"trade_id": f"{order_id}t{number}"}
            story.fills.append(fill)
            updates.append(("filled" if cum == qty else "partially_filled", cum, ts_us))
            if chance(rng, 0.15):
                story.fills += _amendments(rng, fill)
        if cum < qty and chance(rng, 0.6):
            updates.append((rng.choice(("canceled", "expired")), cum, ts_us + rng.choice((0, 1, 5)) * SECOND))
    story.orders.append([
        common | {"type": "order", "qty": str(qty), "cum_qty": str(cum), "status": status, "ts_us": at_us}
        for status, cum, at_us in updates
    ])  # fmt: skip


def _fill(rng: random.Random, story: Story, common: Event, size: Decimal, ts_us: int) -> Event:
    instrument = common["instrument"]
    fill = common | {"type": "fill", "qty": str(size), "price": rng.choice(("100", "101.5")), "ts_us": ts_us}
    if not chance(rng, 0.1):
        fill["fee"] = rng.choice(("0.1", "0.1", "0", "-0.02"))
    if instrument == "BTC-USD":
        fill["fee_asset"] = rng.choice(("USD", "BTC", "BNB"))
    elif chance(rng, 0.3):
        fill["fee_asset"] = "USD"
    if instrument != "BTC-USD" and not chance(rng, 0.1):
        fill["realized_pnl"] = rng.choice(("0", "0", "3", "-1.5"))
    if story.hedged and instrument == "PERP":
        fill["position_side"] = rng.choice(("long", "short"))
    return fill


def _amendments(rng: random.Random, fill: Event) -> list[Event]:
    """Corrections and busts, each of the fill or of the one before it."""
    found: list[Event] = []
    for number in range(rng.choice((1, 1, 2))):
        target = rng.choice([fill, *found])
        change: Event = rng.choice(({"qty": "0.5"}, {"price": "99"}, {"fee": "0.3"}, {}))
        if "fee" in change and "fee" not in fill:
            change = {}
        found.append(
            fill
            | change
            | {
                "exec": rng.choice(("correction", "correction", "bust")),
                "trade_id": f"{fill['trade_id']}.{number}",
                "ref_trade_id": target["trade_id"],
                "ts_us": max(each["ts_us"] for each in (fill, *found)) + rng.randint(0, 6) * SECOND,
            }
        )
    return found


def _keys(story: Story) -> dict[str, list[Key]]:
    found: dict[str, set[Key]] = {"position": set(), "balance": {("USD",), ("BTC",)}}
    for fill in story.fills:
        found["position"].add((fill["instrument"], fill.get("position_side") or "net"))
        if fill.get("fee_asset"):
            found["balance"].add((fill["fee_asset"],))
    return {kind: sorted(keys) for kind, keys in found.items()}


@dataclass
class Path:
    """How the states of an account truly went: each step of fills and of other movements, by time."""

    steps: list[tuple[int, int, dict[tuple[str, Key], Decimal]]]
    """(time, number of the fill's change, else -1, what moved)."""
    opening: dict[tuple[str, Key], Decimal]

    def at(self, what: tuple[str, Key], ts_us: int) -> Decimal:
        """By that time."""
        return self.opening.get(what, Decimal(0)) + sum(
            (moved.get(what, Decimal(0)) for at_us, _, moved in self.steps if at_us <= ts_us), Decimal(0)
        )

    def around(self, what: tuple[str, Key], change: int, when: str) -> Decimal:
        """Just before or after one change of fills; other movements by its time."""
        at_us = next(time_us for time_us, number, _ in self.steps if number == change)
        return self.opening.get(what, Decimal(0)) + sum(
            (
                moved.get(what, Decimal(0))
                for time_us, number, moved in self.steps
                if (time_us <= at_us if number < 0 else number < change or (number == change and when == "after"))
            ),
            Decimal(0),
        )


def path_of(story: Story) -> Path:
    """What moved, and when."""
    steps: list[tuple[int, int, dict[tuple[str, Key], Decimal]]] = []
    for number, change in enumerate(changes(story.fills)):
        moved: dict[tuple[str, Key], Decimal] = defaultdict(Decimal)
        for event, sign in ((change.before, -1), (change.after, 1)):
            if event is None:
                continue
            what = kind_of(event["instrument"], MARKETS)
            effects: list[tuple[str, Effect]] = [("position", moves_position(event, what))]
            if what:
                effects.append(("balance", moves_balance(event, what)))
            for kind, effect in effects:
                for key, delta in effect.items():
                    moved[kind, key] += sign * delta
        steps.append((change.ts_us, number, dict(moved)))
    steps += [(each["ts_us"], -1, {("balance", (each["asset"],)): Decimal(each["delta"])}) for each in story.entries]
    return Path(sorted(steps, key=lambda step: step[0]), story.opening)


# -- what is told ----------------------------------------------------------------------------------------------------


@dataclass
class Feed:
    """One origin's way to tell of one account."""

    origin: Origin
    contract: FeedContract
    classes: set[str]
    """What it sends."""
    faults: float
    """How often a record is not told as it is."""
    punctual: bool
    delays_s: tuple[float, ...]
    told: list[tuple[float, Event]] = field(default_factory=list)
    """(when it reaches Kafka, event)."""

    def tell(self, rng: random.Random, event: Event, delay_s: float | None = None) -> None:
        """Let a record reach Kafka some time."""
        if CLASS_OF.get(event["type"], "balances") in self.classes or event["type"] == "snapshot_end":
            delay_s = rng.choice(self.delays_s) if delay_s is None else delay_s
            self.told.append(((event["ts_us"] - START) / SECOND + delay_s, event))

    def errs(self, rng: random.Random) -> bool:
        """Whether the next record has a fault."""
        return chance(rng, self.faults)


def _tell_fills(rng: random.Random, feed: Feed, story: Story, faulty: set[tuple[str, str]]) -> None:
    for fill in story.fills:
        if not feed.errs(rng):
            feed.tell(rng, fill)
            continue
        faulty |= {(story.name, fill["order_id"]), (story.name, fill["client_order_id"])}
        fault = rng.choice(("lost", "wrong", "copy", "twice", "untold"))
        if fault == "lost":
            continue
        wrong: Event = rng.choice((
            {"qty": "0.75"}, {"price": "98"}, {"fee": "0.4"}, {"realized_pnl": "9"}, {"position_side": "long"},
            {"order_id": f"{fill['order_id']}x", "client_order_id": None},
        ))  # fmt: skip
        if "fee" in wrong and "fee" not in fill:
            wrong = {"qty": "0.75"}
        amended = any(each.get("ref_trade_id") for each in story.fills if each["order_id"] == fill["order_id"])
        if amended and "order_id" in wrong:  # what amends a fill is of its order
            wrong = {"qty": "0.75"}
        if fault == "untold" and not amended:
            fill = {name: value for name, value in fill.items() if name not in {"fee", "realized_pnl"}}  # noqa: PLW2901
        told = fill | wrong if fault == "wrong" else fill
        feed.tell(rng, {name: value for name, value in told.items() if value is not None})
        if fault == "twice" or (fault == "copy" and "fee" not in fill):
            feed.tell(rng, fill)
        elif fault == "copy":
            feed.tell(rng, fill | {"price": "97"})


def _tell_orders(rng: random.Random, feed: Feed, story: Story, faulty: set[tuple[str, str]]) -> None:
    for updates in story.orders:
        unsent = updates[-1]["status"] == "rejected"
        unknown_begin = feed.errs(rng) and chance(rng, 0.3)
        for update in updates:
            told = dict(update)
            if unsent or update["status"] == "pending_new":
                if feed.origin == "exchange":
                    continue
                del told["order_id"]
            elif chance(rng, 0.3):
                del told["client_order_id"]
            wrong = feed.errs(rng)
            if wrong or (unknown_begin and update["cum_qty"] == "0"):
                faulty |= {(story.name, update["order_id"]), (story.name, update["client_order_id"])}
                if not wrong or chance(rng, 0.5):
                    continue
                told |= rng.choice((
                    {"qty": "3"}, {"cum_qty": "0.5"}, {"status": rng.choice(get_args(OrderStatus))}, {"cum_qty": "0"},
                ))  # fmt: skip
            feed.tell(rng, told)
            if chance(rng, 0.05):
                feed.tell(rng, told)


def _tell_ledger(rng: random.Random, feed: Feed, story: Story, names: str) -> None:  # noqa: C901 - what may go wrong
    entries = list(story.entries)
    if feed.contract.ledger_covers == "all" or chance(rng, 0.1):
        for number, (at_us, change, moved) in enumerate(path_of(story).steps):
            for (kind, key), delta in moved.items():
                if kind == "balance" and change >= 0 and delta:
                    entries.append({
                        "type": "ledger", "ledger_id": f"T{number}{key[0]}", "asset": key[0], "delta": str(delta),
                        "reason": "trade", "ts_us": at_us,
                    })  # fmt: skip
    for entry in entries:
        told = dict(entry)
        if feed.origin == "internal" and names == "content":
            told["ledger_id"] = f"our-{entry['ledger_id']}"
        elif feed.origin == "internal" and names == "reference":
            told |= {"ledger_id": f"our-{entry['ledger_id']}", "ref_id": entry["ledger_id"]}
        elif names == "common":
            told |= {"ledger_id": f"{feed.origin}-{entry['ledger_id']}", "ref_id": f"R{entry['ledger_id']}"}
        told["ts_us"] += rng.choice((0, 0, 0, 0, 1, 2)) * SECOND if names != "same" else 0
        if not feed.errs(rng):
            feed.tell(rng, told)
            continue
        fault = rng.choice(("lost", "wrong", "copy", "twice"))
        if fault == "lost":
            continue
        wrong: Event = rng.choice(({"delta": "6"}, {"asset": "BTC"}, {"reason": "transfer"}, {"delta": "5.01"}))
        feed.tell(rng, told | wrong if fault == "wrong" else told)
        if fault == "twice":
            feed.tell(rng, told)
        elif fault == "copy":
            feed.tell(rng, told | wrong)


def _rounded(value: Decimal, digits: int | None) -> Decimal:
    if digits is None or not value:
        return value
    return round(value, digits - 1 - value.adjusted())


def _state(rng: random.Random, feed: Feed, kind: str, key: Key, value: Decimal) -> Event:
    """A report of a state."""
    value = _rounded(value, feed.contract.venue_precision)
    if feed.errs(rng):
        value += Decimal(rng.choice(("1", "-0.5", "0.01")))
    if kind == "position":
        side = {} if key[1] == "net" and chance(rng, 0.5) else {"position_side": key[1]}
        return {"type": "position", "instrument": key[0], "qty": f"{value:f}", **side}
    parts = {}
    if chance(rng, 0.2):
        parts = {"free": f"{value - 1:f}", "locked": "2" if feed.errs(rng) else "1"}
    return {"type": "balance", "asset": key[0], "total": f"{value:f}", **parts}


def _tell_states(rng: random.Random, feed: Feed, story: Story, path: Path) -> None:  # noqa: C901 - what may go wrong
    kinds = [kind for kind in ("position", "balance") if f"{kind}s" in feed.classes]
    keys = _keys(story)
    within_us = feed.contract.order_within_us
    fills = changes(story.fills)
    wanted = [(kind, key) for kind in kinds for key in keys[kind] if not chance(rng, 0.2)]
    for what in wanted:
        for _ in range(rng.choice((1, 2, 3, 4))):
            own = [
                at for at, change in enumerate(fills)
                if what[0] == "balance" or change.record["instrument"] == what[1][0]
            ]  # fmt: skip
            if own and chance(rng, 0.3):
                at, when = rng.choice(own), rng.choice(("before", "after"))
                record = fills[at].record
                anchor = {name: record[name] for name in ("instrument", "trade_id", "side")} | {"when": when}
                ts_us = record["ts_us"] + rng.choice((0, 0, 0, 1)) * SECOND
                event = _state(rng, feed, *what, path.around(what, at, when)) | {"anchor": anchor}
                if feed.errs(rng):
                    anchor["trade_id"] = "lost"
            else:
                ts_us = rng.choice((_time(rng, 55), START + rng.choice((0, 10, 20, 30, 40, 50)) * SECOND))
                event = _state(rng, feed, *what, path.at(what, ts_us + rng.choice((0, 0, 0, -1, 1)) * within_us))
            feed.tell(rng, event | {"ts_us": ts_us})
            if chance(rng, 0.07):  # of several of one time the last counts
                feed.tell(rng, _state(rng, feed, *what, path.at(what, ts_us)) | {"ts_us": ts_us})
    for number in range(rng.choice((0, 0, 1, 2)) if kinds else 0):
        ts_us, count = START + rng.choice((0, 15, 30, 45, 55)) * SECOND, 0
        for kind in kinds:
            for key in keys[kind]:
                value = path.at((kind, key), ts_us)
                if value and not (feed.errs(rng) and chance(rng, 0.5)):
                    name = {"ts_us": ts_us, "snapshot_id": f"{story.account_id}{feed.origin}{number}"}
                    count += 1
                    if not (feed.errs(rng) and chance(rng, 0.5)):
                        feed.tell(rng, _state(rng, feed, kind, key, value) | name)
        end = {
            "type": "snapshot_end",
            "ts_us": ts_us,
            "snapshot_id": f"{story.account_id}{feed.origin}{number}",
            "count": count,
        }
        if not feed.errs(rng):
            feed.tell(rng, end)


# -- contracts and logs ----------------------------------------------------------------------------------------------


def _contract(rng: random.Random, origin: Origin, theme: Sequence[str], *, plain: bool) -> FeedContract:
    """What one origin promises."""
    said: dict[str, Any] = {"orders": "absent", "positions": "absent", "balances": "absent", "ledger": "absent"}
    choices = ("complete",) if plain else ("complete", "complete", "complete", "partial", "absent", None)
    said |= {each: rng.choice(choices) for each in theme}
    said["fills"] = "complete" if plain else rng.choice(("complete", "complete", "complete", "partial", "absent", None))
    tolerance: dict[str, str] = rng.choice((
        {}, {}, {}, {"qty": "0.01", "total": "0.01", "delta": "0.01"}, {"total:USD": "0.5", "cum_qty": "0.25"},
    ))  # fmt: skip
    return FeedContract(
        origin=origin,
        order_within_us=rng.choice((0, 1, 2)) * SECOND,
        grace_us=rng.choice((2, 5)) * SECOND,
        ledger_covers=rng.choice(("all", "non_trade", "non_trade")),
        stale_after_us=rng.choice((0, 5, 30)) * SECOND,
        tolerance=tolerance,
        venue_precision=rng.choice((None, None, None, 3)),
        **said,
    )


def _contracts(rng: random.Random, theme: str, *, plain: bool) -> Contracts:
    classes = THEMES.get(theme, THEMES["mixed"])
    written: list[FeedContract] = []
    for origin in ORIGINS:
        written.append(_contract(rng, origin, classes, plain=plain))
        if chance(rng, 0.2):
            more = _contract(rng, origin, classes, plain=plain)
            written.insert(0, more.model_copy(update={"account": "a2"}))
    if theme == ONE_SIDED:
        without = {"fills": "absent", "orders": "complete", "positions": "complete"}
        lone = rng.choice(ORIGINS)
        updates = [{"fills": "complete"} if each.origin == lone else without for each in written]
        written = [each.model_copy(update=update) for each, update in zip(written, updates, strict=True)]
    return Contracts(contracts=tuple(written))


def world(rng: random.Random, theme: str | None = None) -> World:  # noqa: C901 - all of it, in order
    """Draw contracts, what happened, and both feeds' logs."""
    theme = theme or rng.choice((*THEMES, "mixed", "mixed"))
    plain = chance(rng, 0.4)
    stories = [story_of(rng, "v1", "a1")]
    if chance(rng, 0.4):
        stories.append(story_of(rng, rng.choice(VENUES), "a2"))
    contracts = _contracts(rng, theme, plain=plain)
    faults = rng.choice((0.0, 0.05, 0.15, 0.3))
    unsure: set[str] = set()
    faulty: set[tuple[str, str]] = set()
    names = rng.choice(("same", "same", "common", "reference", "content"))
    told: dict[Topic, list[tuple[float, Event]]] = {(o, s): [] for o in ORIGINS for s in STREAMS}
    for story in stories:
        path = path_of(story)
        numbered = chance(rng, 0.15)
        for origin in ORIGINS:
            contract = contracts.of(origin, story.venue, story.account_id)
            within_s, punctual = contract.order_within_us // SECOND, chance(rng, 0.7)
            delays: tuple[float, ...] = (0, 0, 0, within_s) if punctual else (0, 0, 1, within_s + 1, 4, 9, 30)
            classes = {
                each for each in CLASSES
                if getattr(contract, each) in {"complete", "partial"}
                or (getattr(contract, each) is None and chance(rng, 0.7))
            }  # fmt: skip
            if any(getattr(contract, each) is None for each in CLASSES):
                unsure.add(story.name)
            feed = Feed(origin, contract, classes, faults * rng.choice((0, 1, 1)), punctual, delays)
            _tell_fills(rng, feed, story, faulty)
            _tell_orders(rng, feed, story, faulty)
            _tell_ledger(rng, feed, story, names)
            _tell_states(rng, feed, story, path)
            feed.told.sort(key=lambda each: each[0])
            if numbered:
                unsure.add(story.name)
            for number, (at_s, event) in enumerate(feed.told):
                if numbered and chance(rng, 0.1):
                    continue
                name = {"origin": origin, "venue": story.venue, "account_id": story.account_id}
                seq = {"feed_seq": number} if numbered else {}
                event_id = f"{origin}{story.account_id}{number}"
                stream = STREAM_OF.get(event["type"], "balances")
                told[origin, stream].append((at_s, {**event, **name, **seq, "event_id": event_id}))
    logs: Logs = {}
    venues = sorted({story.venue for story in stories})
    for topic, records in told.items():
        everything = records + _heartbeats(rng, topic, venues, contracts)
        everything.sort(key=lambda each: each[0])
        logs[topic] = [(LATER, event) for _, event in everything]
    for topic, log in logs.items():
        for venue in venues:
            beat = {"type": "heartbeat", "origin": topic[0], "source": f"{topic[0]}|{venue}", "through_us": LATER}
            log.append((LATER, beat))
    late, overtaken = _late(logs, contracts)
    return World(contracts, dict.fromkeys(venues, MARKETS), logs, late, overtaken, unsure, faulty)


def _heartbeats(
    rng: random.Random, topic: Topic, venues: Iterable[str], contracts: Contracts
) -> list[tuple[float, Event]]:
    found: list[tuple[float, Event]] = []
    for venue in venues:
        within_s = max(contracts.of(topic[0], venue, account).order_within_us for account in ("a1", "a2")) // SECOND
        hasty = chance(rng, 0.15)
        for at_s in rng.sample(range(LAST_S), rng.choice((0, 3, 10))):
            through_us = START + max(0, at_s - rng.choice((0, 1) if hasty else (within_s + 1, within_s + 3))) * SECOND
            beat = {"type": "heartbeat", "origin": topic[0], "source": f"{topic[0]}|{venue}", "through_us": through_us}
            found.append((at_s, beat))
    return found


def _late(logs: Logs, contracts: Contracts) -> tuple[set[str], list[tuple[str, int, int]]]:
    """What came when its feed had passed its time: the accounts of what it had passed by grace; all, how far it was."""
    found: set[str] = set()
    overtaken: list[tuple[str, int, int]] = []
    for (origin, _), log in logs.items():
        reached: dict[str, int] = defaultdict(int)
        for _, event in log:
            if event["type"] == "heartbeat":
                venue, through_us = event["source"].split("|")[1], event["through_us"]
            else:
                venue = event["venue"]
                contract = contracts.of(origin, venue, event["account_id"])
                through_us = event["ts_us"] - contract.order_within_us
                if reached[venue] >= event["ts_us"] + contract.grace_us:
                    found.add(f"{venue}|{event['account_id']}")
                if reached[venue] >= event["ts_us"]:
                    overtaken.append((f"{venue}|{event['account_id']}", event["ts_us"], reached[venue]))
            reached[venue] = max(reached[venue], through_us)
    return found, overtaken


# -- how it is read, and what is checked -----------------------------------------------------------------------------


@dataclass
class Turn:
    """What is read next, and what happens then."""

    topic: Topic
    count: int
    then: str


def schedule(rng: random.Random, one: World) -> list[Turn]:
    """Some interleaving, with batch borders, drains, restarts and snapshots of state."""
    left = {topic: len(log) for topic, log in one.logs.items()}
    slow = rng.choice((None, None, *one.logs))
    trouble = chance(rng, 0.7)
    found = []
    while any(left.values()):
        topics = [topic for topic, count in left.items() if count]
        if slow in topics and len(topics) > 1 and chance(rng, 0.9):
            topics.remove(slow)
        topic = rng.choice(topics)
        count = min(left[topic], rng.choice((1, 1, 2, 5, 30)))
        left[topic] -= count
        what = 1 - rng.random()
        then = ("drain" if what < 0.15 else "restart" if trouble and what < 0.25
                else "snapshot" if trouble and what < 0.3 else "")  # fmt: skip
        found.append(Turn(topic, count, then))
    return found


def read(
    one: World, turns: Iterable[Turn], *, unharmed: bool = False, horizon_us: int = LONG_US,
    idle_fills_kept: int | None = None,
) -> Reader:  # fmt: skip
    """Read a world; unharmed, what would be a restart or a snapshot is a mere drain."""
    reader = Reader(one.logs, one.contracts, one.instruments, horizon_us, idle_fills_kept)
    for turn in turns:
        reader.read(turn.topic, turn.count)
        if turn.then and (unharmed or turn.then == "drain"):
            reader.drain()
        elif turn.then == "restart":
            reader.restart()
        elif turn.then == "snapshot":
            reader.snapshot()
    reader.lane.tick({})  # what came late is looked at
    reader.drain()
    return reader


def read_from_snapshots(one: World, turns: Iterable[Turn]) -> Reader:
    """Read a world; at every drain go on from a snapshot of state alone."""
    reader = Reader(one.logs, one.contracts, one.instruments)
    for turn in turns:
        reader.read(turn.topic, turn.count)
        if turn.then:
            reader.snapshot()
            reader.restart()
    reader.lane.tick({})
    reader.drain()
    return reader


def check(one: World, reader: Reader, expected: Truth) -> None:
    """Hold what stands, and what was said on the way, against the truth."""
    found = Counter(plainly(in_the_oracles_words(a)) for a in reader.standing() if a.identity in STATED)
    wanted = Counter(plainly(each) for each in expected.breaks)
    assert found == wanted, f"breaks: core {_shown(found - wanted)}, oracle {_shown(wanted - found)}"
    held, in_truth = unknown_in_the_core(reader.lane), unknown_in_truth(expected)
    assert held == in_truth, f"not known: core {_shown(held - in_truth)}, oracle {_shown(in_truth - held)}"
    versions: dict[str, int] = defaultdict(int)
    open_now: set[str] = set()
    at_the_end = {alert.alert_id for alert in reader.standing()}
    for alert in reader.published:
        assert isinstance(alert, Discrepancy)
        versions[alert.alert_id] += 1
        assert alert.version == versions[alert.alert_id], f"versions grow by one: {alert}"
        if alert.split:
            total = sum((Decimal(part.amount) for part in alert.split), Decimal(0))
            assert total == Decimal(alert.residual or "0"), f"parts do not add up: {alert}"
        if alert.status == "OPEN":
            open_now.add(alert.alert_id)
            assert open_now.issuperset(alert.explained_by), f"explained by what does not stand: {alert}"
        else:
            open_now.discard(alert.alert_id)
        if alert.transition in {"OPENED", "REOPENED"} and alert.alert_id not in at_the_end:
            explained(one, alert)
    for alert in reader.standing():
        assert at_the_end.issuperset(alert.explained_by), f"still explained by what cleared: {alert}"
    standing = reader.standing()
    explained_by_orders(standing)
    for alert in standing:
        if alert.identity == "position" and not alert.explained_by and alert.account not in one.unsure:
            explained_by_no_order(one, alert, standing)


def explained_by_no_order(one: World, alert: Discrepancy, standing: list[Discrepancy]) -> None:
    """Where one side sends no fills, no order that it reported in that interval lacks what the position moved."""
    lone = [origin for origin in ORIGINS if one.contracts.of(origin, alert.venue, alert.account_id).fills == "absent"]
    if len(lone) != 1 or alert.compared == "internal:exchange" or alert.position_side != "net":
        return
    spent = {name for other in standing if other.compared == alert.compared for name in other.explained_by}
    assert alert.interval is not None
    for order in standing:
        if (
            (order.account, order.instrument, order.compared) == (alert.account, alert.instrument, f"{lone[0]}:fills")
            and alert.interval.from_us <= order.event_us <= alert.interval.to_us
            and order.alert_id not in spent
        ):
            assert _lacking(order) != Decimal(alert.residual or 0), f"not explained by {order}: {alert}"


def explained_by_orders(standing: list[Discrepancy]) -> None:
    """What orders explain of positions is what they lack of fills, and that of one interval each."""
    orders = {alert.alert_id: alert for alert in standing if alert.identity == "order"}
    explained_once: set[tuple[str, str]] = set()
    for alert in standing:
        if alert.identity != "position" or not orders.keys() & alert.explained_by:
            continue
        for name in alert.explained_by if not alert.notify else ():
            assert (alert.compared, name) not in explained_once, f"an order explains two intervals: {alert}"
            explained_once |= {(alert.compared, name)} if name in orders else set()
        if orders.keys() >= set(alert.explained_by):
            lacking = sum((_lacking(orders[name]) for name in alert.explained_by), Decimal(0))
            known = sum((Decimal(part.amount) for part in alert.split if part.name == "known_causes"), Decimal(0))
            assert abs(known) == abs(lacking), f"orders lack {lacking}, not as much as they explain: {alert}"


def _lacking(order: Discrepancy) -> Decimal:
    """What was bought or, below zero, sold of it more than fills tell."""
    left = sum((Decimal(part.amount) for part in order.split if part.name == "unexplained"), Decimal(0))
    return left if order.evidence[0].record["side"] == "buy" else -left


def _shown(counted: Counter[Any]) -> str:
    return "\n  ".join(["", *map(str, counted.elements())])


def explained(one: World, alert: Discrepancy) -> None:
    """An opening that was taken back must follow from a record that came late, or from a fault."""
    if alert.identity not in STATED or alert.account in one.late | one.unsure:
        return
    if alert.compared.endswith(":parts"):  # a newer balance tells another story
        return
    if alert.compared == "internal:exchange" and alert.interval is not None:  # both report the same again
        return
    if alert.identity == "order" and (alert.account, alert.order_id) in one.faulty_orders:
        return
    for account, ts_us, reached_us in one.overtaken:  # it came in time, but after what it belongs to was due
        if account == alert.account and ts_us <= alert.due_us <= reached_us:
            return
    raise AssertionError(f"false alert: {in_the_oracles_words(alert)}")


def say_the_same(reader: Reader, unharmed: Reader) -> None:
    """A lane that was restored on the way publishes what one that lived does, and so does one restored at the end."""
    stands = [Counter(map(repr, each.standing())) for each in (reader, unharmed)]
    assert stands[0] == stands[1], f"restarts change what stands: {_differing(*stands)}"
    counted = [Counter(map(repr, each.published)) for each in (reader, unharmed)]
    assert counted[0] == counted[1], f"restarts change what is said: {_differing(*counted)}"
    before, said = unknown_in_the_core(reader.lane), len(reader.published)
    reader.restart()
    reader.drain()
    assert len(reader.published) == said, f"a restored lane says more: {reader.published[said:]}"
    assert unknown_in_the_core(reader.lane) == before, "a restored lane knows less or more"


def _differing(ours: Counter[str], theirs: Counter[str]) -> str:
    return f"restarted {_shown(ours - theirs)}, lived {_shown(theirs - ours)}"


def argue_from_snapshots(rng: random.Random, theme: str | None = None) -> World:
    """One world, read by lanes that know nothing but snapshots of state, and by one that lived."""
    one = world(rng, theme)
    turns = schedule(rng, one)
    reader = read_from_snapshots(one, turns)
    check(one, reader, truth(one.logs, one.contracts, one.instruments))
    say_the_same(reader, read(one, turns, unharmed=True))
    return one


def argue(rng: random.Random, theme: str | None = None) -> World:
    """One world, read with trouble and without."""
    one = world(rng, theme)
    expected = truth(one.logs, one.contracts, one.instruments)
    turns = schedule(rng, one)
    reader = read(one, turns)
    check(one, reader, expected)
    if any(turn.then in {"restart", "snapshot"} for turn in turns):
        say_the_same(reader, read(one, turns, unharmed=True))
    return one


def argue_all(
    seeds: Iterable[int], theme: str | None = None, how: Callable[[random.Random, str | None], World] = argue
) -> None:
    """Many worlds; a failure names its seed."""
    for seed in seeds:
        try:
            how(random.Random(seed), theme)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def main() -> None:
    """Go on after a failure, and tell which seeds failed, in a line each."""
    theme = sys.argv[3] if len(sys.argv) > 3 else None
    failed = 0
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        try:
            argue_all([seed], theme)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed is what matters
            failed += 1
            print(f"{type(error).__name__}: {error}"[:900])
    print(f"{failed} failed")


if __name__ == "__main__":  # python -m tests.account_worlds FIRST LAST [THEME]
    main()
