"""What the oracle says of orders, and of ledgers entry by entry, in small worlds written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.oracles.worlds import SECOND, T, fill, ledger, order, promises, say

if TYPE_CHECKING:
    from tests.oracles.movements import Event

# -- ledgers, entry by entry -----------------------------------------------------------------------------------------


def entries(*events: Event, **more: Any) -> list[tuple[Any, ...]]:
    """What is wrong with the ledgers of both sides."""
    found = say([*events], promises(orders="absent", positions="absent", balances="absent", **more))
    return [(each.kind, each.compared, *each.subject) for each in found.breaks] + [
        (each.reason, *each.subject) for each in found.unknown
    ]


def test_entries_pair_by_id_by_reference_and_by_content() -> None:
    ours, theirs = ledger("internal", "mine", 10, "5"), ledger("exchange", "theirs", 10, "5")
    assert entries(ledger("internal", "a", 0, "5"), ledger("exchange", "a", 900, "5.0")) == []
    assert entries(ours | {"ref_id": "theirs"}, theirs | {"ts_us": T + 900 * SECOND}) == []
    assert entries(ours | {"ref_id": "r"}, theirs | {"ref_id": "r", "ts_us": T}) == []
    assert entries(ours, theirs | {"ts_us": T + 15 * SECOND}) == []
    assert entries(ours, theirs | {"ts_us": T + 15 * SECOND + 1}) == [
        ("ledger_missing", "internal", "theirs"),
        ("ledger_missing", "exchange", "mine"),
    ]


def test_one_entry_has_one_twin() -> None:
    twice = [ledger("internal", "a", 0, "5"), ledger("internal", "b", 1, "5")]
    assert entries(*twice, ledger("exchange", "c", 1, "5")) == [("ledger_missing", "exchange", "b")]


def test_twins_that_differ_and_copies_that_contradict_each_other_are_breaks() -> None:
    pair = [ledger("internal", "a", 0, "5"), ledger("exchange", "a", 0, "6")]
    assert entries(*pair) == [("balance_mismatch", "ledger", "a")]
    copies = [ledger("internal", "a", 0, "5"), ledger("internal", "a", 0, "6"), ledger("exchange", "a", 0, "5")]
    assert entries(*copies) == [("duplicate_conflict", "internal", "a")]
    assert entries(copies[0], copies[0], copies[2]) == []


def test_entries_of_trades_are_owed_only_by_ledgers_that_cover_them() -> None:
    fee = ledger("exchange", "a", 0, "-1", reason="fee")
    assert entries(fee, exchange={"ledger_covers": "all"}) == []
    assert entries(fee, ledger_covers="all") == [("ledger_missing", "internal", "a")]
    assert entries(fee, ledger_covers="all", internal={"ledger": "partial"}) == [("PARTIAL", "a")]


# -- orders ----------------------------------------------------------------------------------------------------------


def orders(*events: Event, **more: Any) -> list[tuple[str, str, list[str]]]:
    """What is wrong with orders, and in which fields."""
    found = say([*events], promises(positions="absent", balances="absent", ledger="absent", **more))
    return [(each.kind, each.compared, [name for name, _, _ in each.fields]) for each in found.breaks] + [
        (each.reason, each.compared, []) for each in found.unknown
    ]


def life_of_an_order() -> list[Event]:
    """Opened, filled in two parts, on both sides."""
    return [
        each
        for origin in ("internal", "exchange")
        for each in (
            order(origin, 0, "open", "0"),
            fill(origin, "1", 10, "4"),
            order(origin, 10, "partially_filled", "4"),
            fill(origin, "2", 20, "6"),
            order(origin, 20, "filled", "10"),
        )
    ]


def test_the_update_with_the_most_filled_counts_whatever_came_last() -> None:
    life = life_of_an_order()
    assert orders(*life) == []
    assert orders(*reversed(life)) == []


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"status": "canceled"}, [("order_mismatch", "equal", ["status"])]),
        ({"qty": "11"}, [("order_mismatch", "equal", ["qty"])]),
        ({"cum_qty": "9"}, [("order_mismatch", "equal", ["cum_qty"]), ("order_mismatch", "internal", ["cum_qty"])]),
    ],
)
def test_both_origins_agree_on_an_order_and_its_fills_add_up(changed: dict[str, str], wrong: list[Any]) -> None:
    life = life_of_an_order()
    life[4] |= changed
    assert orders(*life) == wrong


def test_a_bust_takes_its_part_out_of_the_sum() -> None:
    bust = fill("internal", "3", 30, "6", exec="bust", ref_trade_id="2")
    assert orders(*life_of_an_order(), bust) == [("order_mismatch", "internal", ["cum_qty"])]


def test_a_bust_of_a_bust_is_a_record_of_its_order_whichever_of_them_came_first() -> None:
    hole = [order("exchange", 38, "open", "0", order_id="o2", feed_seq=1),
            order("exchange", 60, "open", "0", order_id="o2", feed_seq=3)]  # fmt: skip
    others = [*life_of_an_order(), *hole, *(each | {"origin": "internal", "feed_seq": None} for each in hole)]
    bust = fill("internal", "3", 30, "6", exec="bust", ref_trade_id="2")
    of_it = fill("internal", "4", 40, "6", exec="bust", ref_trade_id="3")
    assert orders(*others, bust) == [("order_mismatch", "internal", ["cum_qty"])]
    assert orders(*others, bust, of_it) == orders(*others, of_it, bust) == [("SEQ_GAP", "internal", [])]


def test_an_order_that_may_be_older_than_the_log_is_not_accused() -> None:
    late = [each for each in life_of_an_order() if each["ts_us"] > T + 10 * SECOND]
    assert orders(*late) == [("LOOKBACK_TRUNCATED", origin, []) for origin in ("internal", "exchange")]
    lone = [each for each in late if each["origin"] == "internal"]
    assert orders(*lone) == [("LOOKBACK_TRUNCATED", which, []) for which in ("equal", "internal")]


def test_an_order_that_one_side_lacks_is_a_break_unless_it_never_reached_the_venue() -> None:
    ours = [
        order("internal", 0, "pending_new", "0", order_id=None, client_order_id="c"),
        order("internal", 0, "open", "0"),
    ]
    assert orders(*ours[:1]) == [("order_mismatch", "equal", ["order"])]
    assert orders(ours[0], ours[0] | {"status": "rejected"}) == []
    named = ours[1] | {"client_order_id": "c"}
    assert orders(ours[0], named, order("exchange", 0, "open", "0")) == []
    assert orders(named, exchange={"orders": "partial"}) == [("PARTIAL", "equal", [])]
