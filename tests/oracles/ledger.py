"""The oracle of identity 4, entry by entry: where both origins send their ledgers, entries pair one to one."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tests.oracles.book import OTHER, Break, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.events import Origin
    from tests.oracles.book import Book
    from tests.oracles.movements import Event

OF_TRADES = {"trade", "fee", "realized_pnl"}
"""Reasons that a ledger of non-trades does not tell, and which move nothing in it."""


def first_of_each(entries: Iterable[Event]) -> list[Event]:
    """One entry of each ledger_id: the first in the log."""
    found: dict[str, Event] = {}
    for entry in entries:
        found.setdefault(entry["ledger_id"], entry)
    return list(found.values())


def said(entry: Event) -> tuple[str, Decimal, str]:
    """What an entry says."""
    return entry["asset"], Decimal(entry["delta"]), entry["reason"]


def judge_ledger(book: Book) -> None:
    """Pair the entries of both origins one to one, and name those that lack a twin."""
    left: dict[Origin, list[Event]] = {}
    for origin in OTHER:
        left[origin] = sorted(first_of_each(book.of(origin, "ledger")), key=lambda each: int(each["ts_us"]))
        first = {entry["ledger_id"]: said(entry) for entry in left[origin]}
        contradicted = {
            each["ledger_id"] for each in book.of(origin, "ledger") if said(each) != first[each["ledger_id"]]
        }
        for ledger_id in sorted(contradicted):
            book.found.breaks.append(Break("duplicate_conflict", book.name, origin, (ledger_id,)))
    if all(book.sends(origin, "ledger") for origin in OTHER):
        pair_up(book, left["internal"], left["exchange"])
        for lacking, other in OTHER.items():
            for entry in left[other]:
                if book.contract[lacking].ledger_covers == "all" or entry["reason"] not in OF_TRADES:
                    judge_lone(book, entry, lacking)


def pair_up(book: Book, ours: list[Event], theirs: list[Event]) -> None:
    """Find twins, the surest first, and take them off both lists (by time)."""
    grace_us = max(each.grace_us for each in book.contract.values())
    for same in (
        lambda one, two: one["ledger_id"] == two["ledger_id"],
        lambda one, two: bool(ids(one) & ids(two)) and (one["asset"], one["reason"]) == (two["asset"], two["reason"]),
        lambda one, two: said(one) == said(two) and abs(one["ts_us"] - two["ts_us"]) <= grace_us,
    ):
        for one in list(ours):
            two = next((two for two in theirs if same(one, two)), None)
            if two is not None:
                ours.remove(one)
                theirs.remove(two)
                judge_pair(book, one, two)


def judge_lone(book: Book, entry: Event, lacking: Origin) -> None:
    """An entry without a twin."""
    grace_us = book.contract[lacking].grace_us
    reason = None
    if not book.passed(entry["ts_us"], (lacking, "balances")):
        reason = "WAITING"
    elif book.promise(lacking, "ledger") == "partial":
        reason = "PARTIAL"
    elif book.gap([lacking], entry["ts_us"] - grace_us, entry["ts_us"] + grace_us):
        reason = "SEQ_GAP"
    subject = (entry["ledger_id"],)
    if reason:
        book.found.unknown.append(Unknown(reason, book.name, "ledger", subject))
    else:
        book.found.breaks.append(Break("ledger_missing", book.name, lacking, subject))


def ids(entry: Event) -> set[str]:
    """The names by which the other side may know it."""
    return {entry["ledger_id"], entry.get("ref_id") or entry["ledger_id"]}


def judge_pair(book: Book, ours: Event, theirs: Event) -> None:
    """Twins say the same."""
    fields = []
    if ours["asset"] != theirs["asset"]:
        fields.append(("asset", ours["asset"], theirs["asset"]))
    if abs(Decimal(ours["delta"]) - Decimal(theirs["delta"])) > book.tolerance("delta", ours["asset"]):
        fields.append(("delta", ours["delta"], theirs["delta"]))
    if not fields:
        book.found.matched["ledger"] += 1
    elif book.passed(max(ours["ts_us"], theirs["ts_us"]), ("internal", "balances"), ("exchange", "balances")):
        book.found.breaks.append(
            Break("balance_mismatch", book.name, "ledger", (ours["ledger_id"],), None, None, tuple(fields))
        )
    else:
        book.found.unknown.append(Unknown("WAITING", book.name, "ledger", (ours["ledger_id"],)))
