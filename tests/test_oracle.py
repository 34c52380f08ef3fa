"""The oracle itself, on logs small enough to judge by eye."""

from __future__ import annotations

from typing import Any

from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from tests.oracle import HORIZON_US, LogEntry, Truth, truth

SECOND_US = 1_000_000
CONTRACTS = Contracts(
    contracts=tuple(
        FeedContract(origin=origin, grace_us=5 * SECOND_US, order_within_us=SECOND_US) for origin in ORIGINS
    )
)


def fill(ts_s: int, *, at_s: int | None = None, **changes: Any) -> LogEntry:
    """A fill that happened at `ts_s` and came at `at_s`."""
    event = {
        "type": "fill", "venue": "v", "account_id": "a", "instrument": "BTC", "trade_id": "t1", "side": "buy",
        "qty": "1", "price": "100", "fee": "0.1", "fee_asset": "USDT", "ts_us": ts_s * SECOND_US,
    }  # fmt: skip
    return ((ts_s if at_s is None else at_s) * SECOND_US, event | changes)


def correction(ts_s: int, price: str, **changes: Any) -> LogEntry:
    return fill(ts_s, **{"exec": "correction", "trade_id": "c1", "ref_trade_id": "t1", "price": price} | changes)


def bust(ts_s: int, **changes: Any) -> LogEntry:
    return fill(ts_s, **{"exec": "bust", "trade_id": "b1", "ref_trade_id": "t1"} | changes)


def beat(through_s: int, *, source: str) -> LogEntry:
    return (through_s * SECOND_US, {"type": "heartbeat", "source": source, "through_us": through_s * SECOND_US})


def judge(
    internal: list[LogEntry], exchange: list[LogEntry], contracts: Contracts = CONTRACTS, end_s: int = 99
) -> Truth:
    """Judge both logs, each closed by a heartbeat."""
    return truth(
        {
            "internal": [*internal, beat(end_s, source="internal|v")],
            "exchange": [*exchange, beat(end_s, source="exchange|v")],
        },
        contracts,
    )


def named(kind: str, side: str = "buy") -> tuple[str, ...]:
    return (kind, "v|a", "BTC", "t1", side)


def test_two_that_agree_match_whatever_their_digits() -> None:
    judged = judge([fill(1)], [fill(1, qty="1.0", position_side="net")])
    assert judged == Truth(matched=1)


def test_a_fill_that_one_side_never_told_is_missing_there() -> None:
    assert judge([fill(1)], []).open == {named("missing_exchange")}
    assert judge([], [fill(1)]).open == {named("missing_internal")}


def test_nothing_is_missing_until_the_watermark_of_the_other_side_reaches_the_time_and_its_grace() -> None:
    assert judge([fill(1)], [], end_s=5).pending == {("v|a", "BTC", "t1", "buy")}
    assert judge([fill(1)], [], end_s=6).open == {named("missing_exchange")}


def test_what_came_too_late_was_open_and_cleared() -> None:
    judged = judge([fill(1)], [beat(6, source="exchange|v"), fill(1, at_s=7)])
    assert (judged.open, judged.cleared, judged.late) == (set(), {named("missing_exchange")}, 1)


def test_what_came_in_the_last_moment_was_never_open() -> None:
    judged = judge([fill(1)], [beat(5, source="exchange|v"), fill(1, at_s=7)])
    assert (judged.open, judged.cleared, judged.late, judged.matched) == (set(), set(), 0, 1)


def test_amounts_that_differ_beyond_the_tolerance_are_a_mismatch() -> None:
    tolerant = Contracts(
        contracts=(
            FeedContract(origin="internal", tolerance={"price": "0.5"}),
            FeedContract(origin="exchange", order_within_us=SECOND_US),
        )
    )
    assert judge([fill(1)], [fill(1, price="100.5")]).open == {named("fill_mismatch")}
    assert judge([fill(1)], [fill(1, price="100.5")], tolerant).matched == 1
    assert judge([fill(1)], [fill(1, price="100.51")], tolerant).open == {named("fill_mismatch")}


def test_a_fee_that_one_side_does_not_tell_is_not_compared() -> None:
    assert judge([fill(1, fee=None, fee_asset=None)], [fill(1)]).matched == 1
    assert judge([fill(1, fee="0.2")], [fill(1)]).open == {named("fill_mismatch")}


def test_a_wrong_side_is_missing_on_both() -> None:
    assert judge([fill(1)], [fill(1, side="sell")]).open == {
        named("missing_exchange"),
        named("missing_internal", "sell"),
    }


def test_a_copy_is_dropped_and_one_that_differs_is_a_conflict_in_which_none_wins() -> None:
    assert judge([fill(1), fill(2, qty="1.00")], [fill(1)]) == Truth(matched=1, duplicates=1)
    judged = judge([fill(1), fill(1, price="101")], [fill(1)])
    assert (judged.open, judged.matched) == ({named("duplicate_conflict")}, 1)


def test_an_amendment_settles_a_conflict() -> None:
    judged = judge([fill(1), fill(1, price="101"), correction(2, "100")], [fill(1)])
    assert (judged.open, judged.cleared) == (set(), {named("duplicate_conflict")})


def test_a_correction_decides_also_when_it_comes_before_its_root() -> None:
    assert judge([correction(2, "101"), fill(1, at_s=3)], [fill(1), correction(2, "101")]).matched == 1
    assert judge([correction(2, "101"), fill(1, at_s=3)], [fill(1)]).open == {named("fill_mismatch")}


def test_the_newest_amendment_decides_whatever_came_last() -> None:
    late = correction(2, "102", at_s=4)
    assert judge([fill(1), correction(3, "101", trade_id="c2"), late], [fill(1, price="101")]).matched == 1


def test_a_bust_on_one_side_makes_the_fill_missing_there_and_on_both_sides_nothing() -> None:
    assert judge([fill(1), bust(2)], [fill(1)]).open == {named("missing_internal")}
    assert judge([fill(1), bust(2)], [fill(1), bust(3)]) == Truth()


def test_an_amendment_whose_root_nobody_knows_accuses_nobody() -> None:
    assert judge([correction(2, "101")], []) == Truth()


def test_absence_counts_only_where_completeness_was_promised_and_somebody_has_spoken() -> None:
    partial = Contracts(contracts=(FeedContract(origin="exchange", fills="partial"),))
    assert judge([fill(1)], [], partial).open == set()
    silent = truth({"internal": [fill(1), beat(99, source="internal|v")], "exchange": []}, CONTRACTS)
    assert silent.open == set()


def test_every_named_source_has_to_vouch() -> None:
    two = Contracts(contracts=(FeedContract(origin="exchange", sources=("exchange|v", "gw")), *CONTRACTS.contracts))
    assert judge([fill(1)], [], two).open == set()
    assert judge([fill(1)], [beat(50, source="gw")], two).open == {named("missing_exchange")}


def test_no_watermark_passes_kafkas_time() -> None:
    ahead = (5 * SECOND_US, {"type": "heartbeat", "source": "exchange|v", "through_us": 99 * SECOND_US})
    judged = truth({"internal": [fill(1), beat(99, source="internal|v")], "exchange": [ahead]}, CONTRACTS)
    assert judged.open == set()


def test_what_is_older_than_the_horizon_and_awaited_by_nobody_is_not_judged() -> None:
    old_s = HORIZON_US // SECOND_US
    judged = judge(
        [fill(old_s + 10, trade_id="t2"), fill(1, at_s=old_s + 11)], [fill(old_s + 10, trade_id="t2")], end_s=9999
    )
    assert (judged.unverified, judged.open, judged.matched) == (1, set(), 1)
    awaited = judge([beat(old_s + 10, source="internal|v"), fill(1, at_s=old_s + 11)], [fill(1)], end_s=9999)
    assert (awaited.unverified, awaited.cleared) == (0, {named("missing_internal")})
