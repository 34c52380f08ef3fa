"""What the oracle of positions and balances says, rule by rule, in small worlds written by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.oracles.worlds import SECOND, T, anchor, balance, event, fill, ledger, position, promises, say

if TYPE_CHECKING:
    from stream_recon.domain.contracts import Contracts
    from tests.oracles.book import Truth
    from tests.oracles.movements import Event

EX_ONLY = promises(
    internal={"positions": "absent", "balances": "absent", "ledger": "absent"}, exchange={"fills": "absent"}
)
"""Our fills; all else of accounts is the exchange's."""


def changes(found: Truth) -> list[str]:
    """The residuals, and reasons where nothing can be said."""
    return [str(each.residual) for each in found.breaks] + [each.reason for each in found.unknown]


def positions(*events: Event, contracts: Contracts | None = None) -> list[str]:
    """What is wrong with the exchange's positions against our fills; orders are not the matter."""
    found = say([*events], contracts or only_positions(EX_ONLY))
    return changes(found)


def only_positions(contracts: Contracts) -> Contracts:
    """The same, and nobody sends orders, balances or a ledger."""
    absent = dict.fromkeys(("orders", "balances", "ledger"), "absent")
    return contracts.model_copy(
        update={"contracts": tuple(each.model_copy(update=absent) for each in contracts.contracts)}
    )


# -- what moves a position -------------------------------------------------------------------------------------------


def test_a_snapshot_and_the_signed_fills_after_it_make_the_next() -> None:
    mine = [fill("internal", "1", 10, "3"), fill("internal", "2", 20, "-5")]
    assert positions(position("exchange", 0, "1"), *mine, position("exchange", 30, "-1")) == []
    assert positions(position("exchange", 0, "1"), *mine, position("exchange", 30, "-1.5")) == ["-0.5"]


def test_the_first_snapshot_only_sets_where_it_starts() -> None:
    assert positions(fill("internal", "1", 0, "3"), position("exchange", 10, "1000")) == []


def test_a_residual_is_told_in_the_interval_in_which_it_changed_and_again_when_it_goes() -> None:
    told = [position("exchange", at, qty) for at, qty in ((0, "0"), (10, "0"), (20, "2"), (30, "2"), (40, "0"))]
    found = say(told, only_positions(EX_ONLY))
    at = [str(T + second * SECOND) for second in (10, 20, 30, 40)]
    assert [(each.interval, each.residual) for each in found.breaks] == [
        ((at[0], at[1]), Decimal(2)),
        ((at[2], at[3]), Decimal(-2)),
    ]
    assert found.matched == {"position": 2}


@pytest.mark.parametrize(
    ("side", "qty", "left"),
    [("long", "-2", {"long": "3", "short": "-4"}), ("short", "2", {"long": "5", "short": "-2"})],
)
def test_in_hedge_mode_a_sale_reduces_the_long_and_a_purchase_the_short(
    side: str, qty: str, left: dict[str, str]
) -> None:
    before = [position("exchange", 0, "5", position_side="long"), position("exchange", 0, "-4", position_side="short")]
    after = [position("exchange", 20, left[each], position_side=each) for each in left]
    assert positions(*before, fill("internal", "1", 10, qty, position_side=side), *after) == []


@pytest.mark.parametrize(("qty", "left"), [("1", "0.99"), ("-1", "-1.01")])
def test_a_spot_fee_in_the_base_asset_is_part_of_the_movement(qty: str, left: str) -> None:
    spot: dict[str, Any] = {"instrument": "BTC-USD"}
    trade = fill("internal", "1", 10, qty, fee="0.01", fee_asset="BTC", **spot)
    assert positions(position("exchange", 0, "0", **spot), trade, position("exchange", 20, left, **spot)) == []


def test_corrections_and_busts_move_at_their_own_time_and_copies_never() -> None:
    trade = fill("internal", "1", 10, "3")
    correction = fill("internal", "2", 20, "4", exec="correction", ref_trade_id="1")
    bust = fill("internal", "3", 30, "4", exec="bust", ref_trade_id="2")
    seen = [position("exchange", at, qty) for at, qty in ((0, "0"), (15, "3"), (25, "4"), (35, "0"))]
    assert positions(*seen, trade, trade, correction, bust, correction) == []
    assert positions(*seen, bust, correction, trade) == []
    assert positions(*seen, trade, correction) == ["-4"]


# -- which state a snapshot saw --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_s", "agrees"), [(9, True), (11, True), (8.999999, False), (11.000001, True)])
def test_without_an_anchor_a_snapshot_agrees_if_it_did_at_some_moment_near_its_time(at_s: float, agrees: bool) -> None:  # noqa: FBT001
    seen = [position("exchange", 0, "0"), position("exchange", at_s, "3")]
    assert (positions(*seen, fill("internal", "1", 10, "3")) == []) is agrees


def test_a_snapshot_between_fills_of_one_moment_agrees_with_each_sum_but_no_other() -> None:
    burst = [fill("internal", str(n), 10, "1") for n in range(4)]
    for qty in ("0", "1", "2", "3", "4"):
        assert positions(position("exchange", 0, "0"), *burst, position("exchange", 10, qty)) == []
    assert positions(position("exchange", 0, "0"), *burst, position("exchange", 10, "2.5")) == ["-1.5"]


def test_a_moment_that_agrees_by_chance_is_found_out_by_the_next_snapshot() -> None:
    burst = [fill("internal", str(n), 10, "1") for n in range(4)]
    seen = [position("exchange", 0, "0"), position("exchange", 10, "3"), position("exchange", 20, "3")]
    assert positions(*seen, *burst) == ["-1"]


def test_an_opening_near_a_fill_is_taken_as_likely_and_doubted_if_the_next_snapshot_does_not_bear_it_out() -> None:
    near = fill("internal", "1", 0.5, "1")
    opening = position("exchange", 0, "5")
    assert positions(opening, near, position("exchange", 20, "6")) == []
    assert positions(opening, near, position("exchange", 20, "5")) == ["AMBIGUOUS_OPENING"]
    assert positions(opening, near, position("exchange", 20, "7")) == ["1"]
    from_nothing = [fill("internal", "1", 0, "1"), position("exchange", 0, "1")]
    assert positions(*from_nothing, position("exchange", 20, "2")) == ["1"]


def test_of_several_snapshots_of_one_time_the_last_is_judged() -> None:
    seen = [position("exchange", 0, "0"), position("exchange", 10, "77"), position("exchange", 10, "0")]
    assert positions(*seen) == []


def test_an_anchor_beats_a_time_in_the_order_of_the_log() -> None:
    burst = [fill("internal", str(n), 10, "1") for n in range(3)]
    opening = position("exchange", 10, "0", anchor=anchor("0", "before"))
    for qty, trade_id, when in (("1", "1", "before"), ("2", "1", "after"), ("3", "2", "after")):
        assert positions(opening, *burst, position("exchange", 10, qty, anchor=anchor(trade_id, when))) == []
    assert positions(opening, *burst, position("exchange", 10, "3", anchor=anchor("1", "after"))) == ["1"]


def test_an_anchor_to_a_fill_that_is_not_there_says_nothing() -> None:
    lost = position("exchange", 10, "3", anchor=anchor("lost", "before"))
    assert positions(position("exchange", 0, "0"), lost) == ["ANCHOR_MISSING"]


def test_a_complete_snapshot_proves_absence_and_an_incomplete_one_nothing() -> None:
    opening = [position("exchange", 0, "3"), position("exchange", 0, "1", instrument="OTHER")]
    named = position("exchange", 10, "1", instrument="OTHER", snapshot_id="s")
    assert positions(*opening, named) == []
    assert positions(*opening, named, event("snapshot_end", "exchange", 10, snapshot_id="s", count=1)) == ["-3"]
    assert positions(*opening, named, event("snapshot_end", "exchange", 10, snapshot_id="s", count=2)) == [
        "INCOMPLETE_SNAPSHOT"
    ]


# -- how exact -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qty", "agrees"), [("123456.002", True), ("123455.998", True), ("123456.003", False), ("123455.997", False)]
)
def test_a_venue_may_round_by_two_units_of_its_last_digit(qty: str, agrees: bool) -> None:  # noqa: FBT001
    rounds = promises(internal={"positions": "absent"}, exchange={"fills": "absent", "venue_precision": 9})
    seen = [position("exchange", 0, "0"), position("exchange", 20, qty)]
    found = positions(*seen, fill("internal", "1", 10, "123456"), contracts=only_positions(rounds))
    assert (found == []) is agrees


def test_roundings_do_not_pile_up_unseen() -> None:
    loose = promises(internal={"positions": "absent"}, exchange={"fills": "absent", "tolerance": {"qty": "0.1"}})
    seen = [position("exchange", 10 * n, f"0.{n}") for n in range(4)]
    assert positions(*seen, contracts=only_positions(loose)) == ["0.1"]


# -- whose movements -------------------------------------------------------------------------------------------------


def world_of_positions() -> list[Event]:
    """Both sides tell of two fills, before and after of which both report the position."""
    return [
        each
        for origin in ("internal", "exchange")
        for each in (
            position(origin, 0, "1"),
            fill(origin, "1", 10, "2"),
            position(origin, 20, "3"),
            fill(origin, "2", 30, "-4"),
            position(origin, 40, "-1"),
        )
    ]


def test_positions_are_held_against_own_fills_and_the_exchanges_against_ours_too() -> None:
    everything = world_of_positions()
    found = say(everything, only_positions(promises()))
    assert (changes(found), found.matched, found.unverified) == ([], {"position": 12}, set())
    lost = {"internal": ["cross", "own"], "exchange": ["own"]}
    for origin, compared in lost.items():
        rest = [each for each in everything if (each["origin"], each.get("trade_id")) != (origin, "1")]
        broken = say(rest, only_positions(promises()))
        assert sorted(each.compared for each in broken.breaks) == compared
        assert {each.residual for each in broken.breaks} == {Decimal(2)}


def test_positions_that_differ_all_along_are_one_break() -> None:
    ours = [
        each if each["type"] == "fill" else each | {"qty": str(int(each["qty"]) + 5)}
        for each in world_of_positions()[:5]
    ]
    found = say([*ours, *world_of_positions()[5:]], only_positions(promises()))
    assert [(each.compared, each.residual) for each in found.breaks] == [("equal", Decimal(-5))]


def test_what_is_taken_from_the_other_origin_is_listed() -> None:
    found = say([position("exchange", 0, "0"), fill("internal", "1", 10, "1")], only_positions(EX_ONLY))
    assert ("venue|alice", "fill", "internal") in found.unverified


# -- what cannot be known --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contracts", "reason"),
    [
        (promises(internal={"positions": "absent", "fills": "partial"}, exchange={"fills": "absent"}), "PARTIAL"),
        (promises(internal={"positions": "absent", "fills": "absent"}, exchange={"fills": "absent"}), "NEVER_SENT"),
    ],
)
def test_a_residual_is_a_break_only_where_fills_are_complete(contracts: Contracts, reason: str) -> None:
    seen = [position("exchange", 0, "0"), position("exchange", 20, "1")]
    assert positions(*seen, contracts=only_positions(contracts)) == [reason]
    assert positions(seen[0], position("exchange", 20, "0"), contracts=only_positions(contracts)) == []


def test_nothing_is_said_before_all_feeds_have_passed() -> None:
    seen = [position("exchange", 0, "0"), position("exchange", 20, "1")]
    due_us = T + 26 * SECOND
    assert changes(say(seen, only_positions(EX_ONLY), through_us=due_us - 1)) == ["WAITING"]
    assert changes(say(seen, only_positions(EX_ONLY), through_us=due_us)) == ["1"]


def test_a_hole_in_the_numbering_puts_what_may_be_in_it_in_doubt() -> None:
    seen = [position("exchange", at, qty) for at, qty in ((0, "0"), (20, "1"), (40, "2"))]
    mine = [fill("internal", str(n), at, "1", feed_seq=n) for n, at in ((1, 2), (3, 15), (4, 30), (5, 31))]
    assert positions(*seen, *mine) == ["-1", "SEQ_GAP"]
    assert positions(*seen[:2], *mine[:2], fill("internal", "2", 5, "-1", feed_seq=2)) == []


def test_a_position_that_should_have_been_reported_and_was_not_has_no_opening() -> None:
    assert positions(fill("internal", "1", 0, "1"), position("exchange", 0, "0", instrument="X")) == [
        "LOOKBACK_TRUNCATED"
    ]


# -- balances --------------------------------------------------------------------------------------------------------


def balances(*events: Event, contracts: Contracts | None = None) -> list[str]:
    """What is wrong with the exchange's balances against our fills and its ledger."""
    absent = {"positions": "absent", "orders": "absent"}
    default = promises(
        **absent, balances="partial", internal={"ledger": "absent", "balances": "absent"}, exchange={"fills": "absent"}
    )
    return changes(say([*events], contracts or default))


@pytest.mark.parametrize(
    ("trade", "after"),
    [
        (fill("internal", "1", 10, "2", realized_pnl="7", fee="1"), {"USD": "1006", "BTC": "50"}),
        (fill("internal", "1", 10, "2", realized_pnl="7", fee="1", fee_asset="BNB"), {"USD": "1007", "BNB": "49"}),
        (
            fill("internal", "1", 10, "2", instrument="INVERSE", realized_pnl="-3", fee="-1"),
            {"USD": "1000", "BTC": "48"},
        ),
        (fill("internal", "1", 10, "2", instrument="BTC-USD", fee="1", fee_asset="USD"), {"USD": "799", "BTC": "52"}),
        (fill("internal", "1", 10, "-2", instrument="BTC-USD", fee="1", fee_asset="BTC"), {"USD": "1200", "BTC": "47"}),
    ],
)
def test_what_a_fill_moves_depends_on_the_kind_of_its_instrument(trade: Event, after: dict[str, str]) -> None:
    before = [balance("exchange", 0, "1000"), *(balance("exchange", 0, "50", asset=each) for each in ("BTC", "BNB"))]
    assert balances(*before, trade, *(balance("exchange", 20, after[asset], asset=asset) for asset in after)) == []
    wrong = [balance("exchange", 20, after[asset] + ".5", asset=asset) for asset in after]
    assert balances(*before, trade, *wrong) == ["0.5"] * len(after)


def test_the_ledger_moves_what_no_trade_does_and_all_where_it_covers_all() -> None:
    seen = [balance("exchange", 0, "100"), balance("exchange", 30, "148")]
    trade = fill("internal", "1", 10, "1", fee="2")
    entries = [ledger("exchange", "a", 5, "50"), ledger("exchange", "b", 10, "-2", reason="fee")]
    assert balances(*seen, trade, *entries) == []
    covers_all = promises(
        positions="absent", orders="absent", ledger_covers="all",
        internal={"ledger": "absent", "balances": "absent"}, exchange={"fills": "absent"},
    )  # fmt: skip
    assert balances(*seen, trade, *entries, contracts=covers_all) == []
    assert balances(*seen, entries[0], contracts=covers_all) == ["-2"]


def test_fills_and_ledger_entries_near_a_snapshot_have_no_order_between_them() -> None:
    trade, deposit = fill("internal", "1", 10, "1", fee="2"), ledger("exchange", "a", 10.0001, "50")
    for total in ("100", "98", "150", "148"):
        assert balances(balance("exchange", 0, "100"), trade, deposit, balance("exchange", 10, total)) == []


def test_what_is_not_told_of_a_fill_leaves_its_balances_open() -> None:
    seen = [balance("exchange", 0, "100"), balance("exchange", 20, "90")]
    assert balances(*seen, fill("internal", "1", 10, "1", instrument="WHAT")) == ["UNMAPPED_INSTRUMENT"]
    assert balances(*seen, fill("internal", "1", 10, "1", realized_pnl=None)) == ["PARTIAL"]
    assert balances(*seen, fill("internal", "1", 40, "1", instrument="WHAT")) == ["-10"]


def test_free_and_locked_make_the_total() -> None:
    assert balances(balance("exchange", 0, "100", free="60", locked="40")) == []
    assert balances(balance("exchange", 0, "100", free="60", locked="41")) == ["-1"]
