"""The oracle of identity 2: orders, as both origins report them and as their fills add up."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.oracles.book import OTHER, Break, Unknown

if TYPE_CHECKING:
    from stream_recon.domain.events import Origin
    from tests.oracles.book import Book
    from tests.oracles.movements import Event, Key

STATUSES = ["pending_new", "open", "partially_filled", "filled", "canceled", "expired", "rejected"]


def judge_orders(book: Book) -> None:  # noqa: C901 - plain loops
    """Say of each order what holds."""
    names: dict[Key, str] = {}
    records = [each for origin in OTHER for kind in ("order", "fill") for each in book.of(origin, kind)]
    for record in records:
        if record.get("order_id") and record.get("client_order_id"):
            names.setdefault((record["instrument"], record["client_order_id"]), record["order_id"])

    def key_of(record: Event) -> Key:
        client = record.get("client_order_id") or ""
        return record["instrument"], record.get("order_id") or names.get((record["instrument"], client), client)

    orders: dict[Key, Order] = defaultdict(Order)
    for record in records:
        if record["type"] == "order":
            orders[key_of(record)].times.append(record["ts_us"])
            orders[key_of(record)].updates[record["origin"]].append(record)
    for origin in OTHER:
        for change in book.changes[origin]:
            moved = [change.record] if change.before is change.after else [change.before, change.after]
            for fill in moved:
                if fill is not None:
                    orders[key_of(fill)].times.append(change.ts_us)
        for fill in book.live_fills(origin):
            orders[key_of(fill)].filled[origin, fill["side"]] += Decimal(fill["qty"])
    for key in sorted(orders):
        judge_reports(book, key, orders[key])
        for origin in OTHER:
            judge_sum(book, key, orders[key], origin)


class Order:
    """All that is known of one order."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.updates: dict[Origin, list[Event]] = {"internal": [], "exchange": []}
        self.filled: dict[tuple[Origin, str], Decimal] = defaultdict(Decimal)
        """By origin and side of the market."""

    def newest(self, origin: Origin) -> Event | None:
        """The update that counts, whatever came last."""
        ranked = [
            (Decimal(each["cum_qty"]), STATUSES.index(each["status"]), each["ts_us"], place)
            for place, each in enumerate(self.updates[origin])
        ]
        return self.updates[origin][max(ranked)[3]] if ranked else None

    @property
    def is_begun(self) -> bool:
        """Whether its beginning was seen, so that none of its fills can be older than the log."""
        return any(Decimal(each["cum_qty"]) == 0 for side in self.updates.values() for each in side)

    @property
    def never_reached_the_venue(self) -> bool:
        """Whether we rejected it before the venue gave it an id."""
        ours = self.newest("internal")
        named = any(each.get("order_id") for each in self.updates["internal"])
        return ours is not None and ours["status"] == "rejected" and not named


def judge_reports(book: Book, key: Key, order: Order) -> None:
    """The two origins agree on status, qty and cum_qty."""
    newest = {origin: order.newest(origin) for origin in OTHER if book.sends(origin, "order")}
    if len(newest) < len(OTHER) or not any(newest.values()):
        return
    ours, theirs = newest["internal"], newest["exchange"]
    fields: list[tuple[str, str | None, str | None]] = []
    reason = None
    if ours and theirs:
        if ours["status"] != theirs["status"]:
            fields.append(("status", ours["status"], theirs["status"]))
        fields += [
            (name, ours[name], theirs[name])
            for name in ("qty", "cum_qty")
            if abs(Decimal(ours[name]) - Decimal(theirs[name])) > book.tolerance(name, key[0])
        ]
        standing = {
            origin: (Decimal(each["cum_qty"]), STATUSES.index(each["status"]))
            for origin, each in newest.items()
            if each
        }
        behind = min(standing, key=lambda origin: standing[origin])
        if fields and book.promise(behind, "order") == "partial":
            reason = "PARTIAL"
    elif not order.never_reached_the_venue:
        lacking: Origin = "exchange" if ours else "internal"
        fields.append(("order", "reported" if ours else None, "reported" if theirs else None))
        reason = "PARTIAL" if book.promise(lacking, "order") == "partial" else None
        reason = reason or (None if order.is_begun else "LOOKBACK_TRUNCATED")
    if not book.passed(max(order.times), ("internal", "orders"), ("exchange", "orders")):
        reason = "WAITING"
    conclude(book, key, order, "equal", fields, reason)


def judge_sum(book: Book, key: Key, order: Order, origin: Origin) -> None:
    """The live fills of an order add up to its cum_qty: its own origin's, or the other's where it sends none."""
    source = book.first_that_sends("fill", (origin, OTHER[origin]))
    if not book.sends(origin, "order") or source is None:
        return
    newest = order.newest(origin)
    if newest is None:
        if not any(order.updates.values()) and book.promise(origin, "order") == "complete":
            book.found.unknown.append(Unknown("LOOKBACK_TRUNCATED", book.name, origin, key))
        return
    other = "sell" if newest["side"] == "buy" else "buy"
    filled = order.filled[source, newest["side"]] - order.filled[source, other]
    lacks = Decimal(newest["cum_qty"]) - filled
    fields: list[tuple[str, str | None, str | None]] = []
    reason = None
    if abs(lacks) > book.tolerance("cum_qty", key[0]):
        fields.append(("cum_qty", str(filled), newest["cum_qty"]))
        if book.promise(*((source, "fill") if lacks > 0 else (origin, "order"))) == "partial":
            reason = "PARTIAL"
        elif lacks > 0 and not order.is_begun:
            reason = "LOOKBACK_TRUNCATED"
    if not book.passed(max(order.times), (origin, "orders"), (source, "fills")):
        reason = "WAITING"
    conclude(book, key, order, origin, fields, reason)


def conclude(  # noqa: PLR0913, PLR0917 - a verdict is all of these
    book: Book,
    key: Key,
    order: Order,
    compared: str,
    fields: list[tuple[str, str | None, str | None]],
    reason: str | None,
) -> None:
    """Write the verdict."""
    if reason is None and fields and book.gap(OTHER, min(order.times), max(order.times)):
        reason = "SEQ_GAP"
    if reason == "WAITING" or (reason and fields):
        book.found.unknown.append(Unknown(reason, book.name, compared, key))
    elif fields:
        book.found.breaks.append(Break("order_mismatch", book.name, compared, key, None, None, tuple(fields)))
    else:
        book.found.matched["order"] += 1
