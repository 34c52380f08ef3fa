"""What both origins tell beside fills: orders, ledgers, and snapshots of positions and balances, from their books."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.events import ORIGINS
from stream_recon.faults.books import account, entry_movement, executed, movements_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping, Sequence

    from stream_recon.domain.events import Origin
    from stream_recon.domain.instruments import Instruments
    from stream_recon.faults.books import Key, Movement
    from stream_recon.faults.changes import Event

OrderKey = tuple[str, str, str]
"""(account, instrument, order id)."""
OPENING = "1000000"
"""What each balance begins with: more than any account of the recording ever owes."""
LEAST_ENTRIES = 6
FILLS_AN_ENTRY = 100
_AMOUNT_FIELD = {"position": "qty", "balance": "total"}
_NAME_FIELD = {"position": "instrument", "balance": "asset"}


@dataclass
class Book:
    """What one origin counts: its orders, positions and balances follow from it."""

    trades: list[list[Event]] = field(default_factory=list)
    """Of each fill, in order: what was booked of it, the trade before its amendments; empty: nothing."""
    entries: list[Event] = field(default_factory=list)
    """Ledger entries, as counted."""
    strays: list[Movement] = field(default_factory=list)
    """What changed its states though nothing moved."""

    def movements(self, instruments: Instruments) -> list[Movement]:
        """All that changes its positions and balances, by time."""
        found = [move for trade in self.trades for move in movements_of(trade, instruments)]
        found += [entry_movement(entry) for entry in self.entries]
        return sorted([*found, *self.strays], key=lambda move: move.ts_us)


def order_key(fill: Event) -> OrderKey:
    """The order of a fill."""
    return account(fill), fill["instrument"], fill["order_id"]


def orders_of(fills: Sequence[Event]) -> dict[OrderKey, list[int]]:
    """The orders, and the places of their fills."""
    found: dict[OrderKey, list[int]] = defaultdict(list)
    for place, fill in enumerate(fills):
        found[order_key(fill)].append(place)
    return dict(found)


def order_updates(
    origin: Origin, book: Book, fills: Sequence[Event], places: Sequence[int], before_us: int
) -> Iterator[Event]:
    """An order as an origin tells it: open `before_us` ahead of its first fill, and updated by each fill it counts.

    What happened to all of it is the order's quantity, on both sides.
    """
    first = fills[places[0]]
    ordered = Decimal(0)
    for place in places:
        ordered = EXACT.add(ordered, to_decimal(fills[place]["qty"]))

    def update(ts_us: int, status: str, filled: Decimal, number: int) -> Event:
        names = {name: first[name] for name in ("venue", "account_id", "instrument", "order_id", "side")}
        event_id = f"{origin}:order:{first['order_id']}:{number}"
        return {
            "type": "order", "origin": origin, **names, "event_id": event_id, "ts_us": ts_us, "qty": plain(ordered),
            "cum_qty": plain(filled), "status": status,
        }  # fmt: skip

    yield update(first["ts_us"] - before_us, "open", Decimal(0), 0)
    filled = Decimal(0)
    for number, place in enumerate(places, start=1):
        counts = executed(book.trades[place])
        if counts:
            filled = EXACT.add(filled, counts)
            status = "filled" if filled >= ordered else "partially_filled"
            yield update(fills[place]["ts_us"], status, filled, number)


def snapshots(
    books: Mapping[Origin, Book], instruments: Instruments, start_us: int, end_us: int, every_us: int
) -> Iterator[Event]:
    """Both origins' positions and balances from `start_us` to the first round time after `end_us`.

    All at the beginning and at the end; in between, at each round time, what has changed on either side since the one
    before the last: so all that moved is told once more when it has come to rest.
    """
    moves = {origin: books[origin].movements(instruments) for origin in ORIGINS}
    keys = {move.key for found in moves.values() for move in found}
    sums: dict[Origin, dict[Key, Decimal]] = {origin: defaultdict(Decimal) for origin in ORIGINS}
    read = dict.fromkeys(ORIGINS, 0)
    before: set[Key] = set()
    rounds = -(-(end_us - start_us) // every_us)
    for number in range(rounds + 1):
        at_us = start_us + number * every_us
        changed = set()
        for origin, found in moves.items():
            while read[origin] < len(found) and found[read[origin]].ts_us <= at_us:
                _, key, delta = found[read[origin]]
                sums[origin][key] = EXACT.add(sums[origin][key], delta)
                changed.add(key)
                read[origin] += 1
        for key in sorted(keys if number in {0, rounds} else changed | before):
            for origin in ORIGINS:
                yield _snapshot(origin, key, at_us, sums[origin][key])
        before = changed


def _snapshot(origin: Origin, key: Key, at_us: int, amount: Decimal) -> Event:
    whose, kind, name = key
    venue, account_id = whose.split("|", 1)
    return {
        "type": kind, "origin": origin, "venue": venue, "account_id": account_id,
        "event_id": f"{origin}:{kind}:{name}:{account_id}:{at_us}", "ts_us": at_us,
        _NAME_FIELD[kind]: name, _AMOUNT_FIELD[kind]: plain(amount),
    }  # fmt: skip


def cash_of(fills: Sequence[Event], instruments: Instruments) -> dict[str, list[str]]:
    """The assets that the fills of each account move: first what it pays with, then what it buys."""
    found: dict[str, list[str]] = defaultdict(list)
    for fill in fills:
        what = instruments.of(fill["venue"], fill["instrument"])
        if what is not None:
            assets = found[account(fill)]
            assets += [asset for asset in (what.settle or what.quote, what.base) if asset and asset not in assets]
    return dict(found)


def ledger_entry(  # noqa: PLR0913, PLR0917 - an entry says all of these
    whose: str, name: str, ts_us: int, asset: str, delta: str, reason: str
) -> Event:
    """An entry, before an origin tells it."""
    venue, account_id = whose.split("|", 1)
    return {
        "type": "ledger", "venue": venue, "account_id": account_id, "ts_us": ts_us, "ledger_id": name, "asset": asset,
        "delta": delta, "reason": reason,
    }  # fmt: skip


def openings(cash: Mapping[str, Sequence[str]], start_us: int) -> list[Event]:
    """A deposit of each asset, before anything else."""
    return [
        ledger_entry(whose, f"opening-{asset}-{whose.rpartition('|')[2]}", start_us, asset, OPENING, "deposit")
        for whose, assets in cash.items()
        for asset in assets
    ]


def entries_on_the_way(
    rng: random.Random, cash: Mapping[str, Sequence[str]], fills: int, start_us: int, took_us: int
) -> list[Event]:
    """Funding, deposits and withdrawals, evenly over the time of the fills, the accounts in turn."""
    if not cash:
        return []
    number = max(LEAST_ENTRIES, fills // FILLS_AN_ENTRY)
    found = []
    for place in range(number):
        whose = sorted(cash)[place % len(cash)]
        reason = ("funding", "deposit", "funding", "withdrawal")[place // len(cash) % 4]
        ts_us = start_us + (place + 1) * took_us // (number + 1)
        delta = some_amount(rng, 5_000, 2) if reason != "funding" else some_amount(rng, 20, 6)
        sign = "-" if reason == "withdrawal" or (reason == "funding" and rng.random() < 0.5) else ""  # noqa: PLR2004
        asset = cash[whose][0]
        found.append(ledger_entry(whose, f"{reason}-{place + 1}", ts_us, asset, sign + delta, reason))
    return found


def some_amount(rng: random.Random, about: int, decimals: int) -> str:
    """An amount from a tenth of `about` to all of it, with so many decimals, the last of them not 0."""
    units: int = 10**decimals
    whole = rng.randint(about * units // 10, about * units)
    return plain(Decimal(whole - whole % 10 + rng.randint(1, 9)).scaleb(-decimals))
