"""The trade identity, in the words of those who use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.domain.contracts import FeedContract
from tests.lanes import NOW, SECOND, Book, fill, heartbeat

if TYPE_CHECKING:
    from stream_recon.domain.events import Origin


def test_fills_that_agree_are_matched_whatever_their_digits() -> None:
    book = Book()
    book.hear(
        fill("internal", "1", qty="10.0", fee="0.10", fee_asset="USD"),
        fill("exchange", "1", fee="0.1", fee_asset="USD"),
    )
    assert book.lane.counts["matched"] == 2
    assert book.said == []


def test_a_fill_is_missing_once_the_other_feed_has_passed_its_time_and_grace_and_not_before() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("exchange", 4.999999))
    assert book.said == []
    book.hear(heartbeat("exchange", 5))
    assert book.said == [("OPENED", "missing_exchange", "1")]


def test_silence_proves_nothing() -> None:
    book = Book()
    book.hear(fill("exchange", "0"), fill("internal", "1"), heartbeat("internal", 3600))
    assert ("missing_exchange", "1") not in book.standing


def test_an_events_own_time_lifts_the_watermark_only_by_what_the_feed_may_be_out_of_order() -> None:
    book = Book()
    book.hear(fill("internal", "1"), fill("exchange", "2", 6.9))
    assert book.said == []
    book.hear(fill("exchange", "3", 7))
    assert book.said == [("OPENED", "missing_exchange", "1")]


def test_a_late_counterpart_clears_and_is_called_late() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("exchange", 10), fill("exchange", "1"))
    assert book.said == [("OPENED", "missing_exchange", "1"), ("CLEARED", "missing_exchange", "1")]
    assert getattr(book.published[-1], "late", None) is True


def test_a_late_record_read_first_leaves_the_same_history() -> None:
    book = Book()
    book.hear(heartbeat("exchange", 10), fill("exchange", "1"), fill("internal", "1"))
    assert book.said == [("OPENED", "missing_exchange", "1"), ("CLEARED", "missing_exchange", "1")]


@pytest.mark.parametrize(
    ("field", "value", "severity"),
    [
        ("price", "1.5001", "info"),
        ("price", "1.51", "warning"),
        ("qty", "11", "critical"),
        ("fee_asset", "EUR", "critical"),
        ("position_side", "long", "critical"),
    ],
)
def test_a_mismatch_names_the_field_and_weighs_it(field: str, value: str, severity: str) -> None:
    book = Book()
    common: dict[str, Any] = {"fee": "0.1", "fee_asset": "USD"}
    book.hear(fill("internal", "1", **(common | {field: value})), fill("exchange", "1", **common))
    assert book.said == []  # a correction may be on its way
    book.hear(heartbeat("internal", 5), heartbeat("exchange", 5))
    assert book.said == [("OPENED", "fill_mismatch", "1")]
    alert = msgspec.to_builtins(book.published[0])
    assert [difference["field"] for difference in alert["fields"]] == [field]
    assert alert["severity"] == severity
    assert [evidence["offset"] for evidence in alert["evidence"]] == [0, 1]


def test_a_fee_that_one_side_does_not_send_is_not_compared() -> None:
    book = Book()
    book.hear(fill("internal", "1"), fill("exchange", "1", fee="1", fee_asset="USD"))
    assert book.lane.counts["matched"] == 2


def test_tolerance_and_venue_precision_let_small_differences_agree() -> None:
    book = Book(FeedContract(origin="exchange", tolerance={"fee:USD": "0.01"}, venue_precision=4))
    book.hear(
        fill("internal", "1", qty="1000.1", fee="0.10", fee_asset="USD"),
        fill("exchange", "1", qty="1001", fee="0.11", fee_asset="USD"),
        heartbeat("internal", 9),
        heartbeat("exchange", 9),
    )
    assert book.said == []
    assert book.lane.counts["matched"] == 2


def test_the_wrong_side_is_missing_on_both_sides() -> None:
    book = Book()
    book.hear(
        fill("internal", "1", side="sell"), fill("exchange", "1"), heartbeat("internal", 9), heartbeat("exchange", 9)
    )
    assert book.standing == {("missing_exchange", "1"), ("missing_internal", "1")}


def test_both_fills_of_a_self_trade_keep_their_own_side() -> None:
    book = Book()
    for origin in ("internal", "exchange"):
        book.hear(fill(origin, "1"), fill(origin, "1", side="sell"))
    assert book.lane.counts["matched"] == 4


def test_duplicates_are_counted_wherever_they_come() -> None:
    book = Book()
    book.hear(
        fill("internal", "1"), fill("internal", "1", event_id="again"), fill("exchange", "1"), fill("exchange", "1")
    )
    book.hear(fill("internal", "1", qty="10.00"))
    assert book.lane.counts == {"consumed": 5, "matched": 2, "duplicate": 3, "open": 0}
    assert book.said == []


def test_no_copy_wins_a_conflict_until_a_correction_decides() -> None:
    book = Book()
    book.hear(fill("internal", "1"), fill("exchange", "1"), fill("internal", "1", qty="11"))
    assert book.said == [("OPENED", "duplicate_conflict", "1")]
    book.hear(fill("internal", "c", 1, exec="correction", ref_trade_id="1"))
    assert book.said[1:] == [("CLEARED", "duplicate_conflict", "1")]


@pytest.mark.parametrize("root_first", [True, False])
def test_a_correction_seen_by_one_side_only_is_a_mismatch_and_by_both_none(root_first: bool) -> None:  # noqa: FBT001
    book = Book()
    root = fill("internal", "1")
    corrected = fill("internal", "c", 1, exec="correction", ref_trade_id="1", price="1.6")
    book.hear(*([root, corrected] if root_first else [corrected, root]), fill("exchange", "1"))
    book.hear(heartbeat("internal", 9), heartbeat("exchange", 9))
    assert book.said == [("OPENED", "fill_mismatch", "1")]
    book.hear(fill("exchange", "c", 1, exec="correction", ref_trade_id="1", price="1.6"))
    assert book.standing == set()


def test_a_bust_seen_by_one_side_only_leaves_the_fill_missing_there() -> None:
    book = Book()
    book.hear(fill("internal", "1"), fill("exchange", "1"), fill("exchange", "b", 2, exec="bust", ref_trade_id="1"))
    book.hear(heartbeat("internal", 6.9), heartbeat("exchange", 60))
    assert book.said == []
    book.hear(heartbeat("internal", 7))
    assert book.said == [("OPENED", "missing_exchange", "1")]
    assert "busted" in book.published[0].cause
    book.hear(fill("internal", "b", 2, exec="bust", ref_trade_id="1"))
    assert book.standing == set()


def test_a_chain_of_corrections_folds_into_its_root_in_any_order() -> None:
    book = Book()
    book.hear(
        fill("internal", "c2", 2, exec="correction", ref_trade_id="c1", price="1.8"),
        fill("internal", "c1", 1, exec="correction", ref_trade_id="1", price="1.7"),
        fill("internal", "1"),
        fill("exchange", "1", price="1.8"),
        heartbeat("internal", 60),
        heartbeat("exchange", 60),
    )
    assert book.said == []


def test_a_correction_may_change_the_side_of_its_root() -> None:
    book = Book()
    book.hear(
        fill("internal", "1", side="sell"),
        fill("exchange", "1", side="sell"),
        fill("internal", "c", 1, exec="correction", ref_trade_id="1", side="buy"),
        heartbeat("internal", 60),
        heartbeat("exchange", 60),
    )
    assert book.said == [("OPENED", "fill_mismatch", "1")]
    assert "side" in book.published[0].cause


def test_a_feed_promised_to_be_absent_or_partial_owes_nothing() -> None:
    for promise in ("absent", "partial"):
        book = Book(FeedContract(origin="exchange", fills=promise))
        book.hear(fill("exchange", "0"), fill("internal", "1"), heartbeat("exchange", 60), heartbeat("internal", 60))
        assert ("missing_exchange", "1") not in book.standing
        assert ("missing_internal", "0") in book.standing


def test_a_record_older_than_the_horizon_is_decided_by_nobody_but_said() -> None:
    book = Book()
    book.hear(heartbeat("exchange", 7200), heartbeat("internal", 7200), fill("internal", "1"))
    assert book.said == [("OPENED", "LATE_BEYOND_HORIZON", "internal|venue")]
    assert book.published[-1].cause == (
        "1 fill of internal|venue cannot be judged; the newest: BTC-USD trade 1, which came too late to be told from a"
        " duplicate (recon.internal.fills.v1-0-2)"
    )


@pytest.mark.parametrize("what", ["correction", "bust"])
def test_an_amendment_of_what_is_not_known_is_no_verdict_but_is_said(what: str) -> None:
    book = Book()
    book.hear(fill("exchange", "0"), fill("internal", "0"), fill("internal", "c", exec=what, ref_trade_id="old"))
    book.hear(heartbeat("internal", 60), heartbeat("exchange", 60))
    assert book.said == [("OPENED", "LATE_BEYOND_HORIZON", "internal|venue")]
    assert book.published[-1].cause == (
        f"1 fill of internal|venue cannot be judged; the newest: {what} c of BTC-USD trade old, which is not known"
        " (recon.internal.fills.v1-0-2)"
    )


@pytest.mark.parametrize(("one", "other"), [("internal", "exchange"), ("exchange", "internal")])
def test_a_bust_of_what_is_not_known_is_said_once_the_other_feed_has_passed_it(one: Origin, other: Origin) -> None:
    book = Book()
    book.hear(fill("exchange", "0"), fill("internal", "0"), fill(one, "b", exec="bust", ref_trade_id="old"))
    book.hear(heartbeat(one, 60), heartbeat(other, 4.9))
    assert book.said == []
    book.hear(heartbeat(other, 5))
    assert book.said == [("OPENED", "LATE_BEYOND_HORIZON", f"{one}|venue")]


def test_an_open_discrepancy_outlives_the_horizon_and_clears() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("exchange", 50_000), heartbeat("internal", 50_000))
    assert book.standing == {("missing_exchange", "1")}
    book.hear(fill("exchange", "1"))
    assert book.standing == set()


def test_what_closed_is_retired_some_days_later_once() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("exchange", 10), fill("exchange", "1"))
    hour_s = 3600
    for hours in (2, 24, 73, 76):
        book.hear(heartbeat("internal", hours * hour_s), heartbeat("exchange", hours * hour_s), time_us=NOW * 2)
    assert book.retired == [book.published[0].alert_id]
    assert book.restored().register.retiring == {}


def test_what_agreed_is_forgotten_after_the_horizon() -> None:
    book = Book()
    for at_s in range(0, 40_000, 100):
        for origin in ("internal", "exchange"):
            book.hear(fill(origin, f"t{at_s}", at_s))
    assert len(book.lane.book.matched) <= 40
    assert all(len(feeds.expiry) < 70 for feeds in book.lane.directory.feeds.values())


def test_two_gateways_vouch_each_for_itself() -> None:
    book = Book(FeedContract(origin="exchange", sources=("gw-1", "gw-2")))
    book.hear(fill("internal", "1"), heartbeat("exchange", 60, source="gw-1"))
    assert book.said == []
    book.hear(heartbeat("exchange", 60, source="gw-2"))
    assert book.said == [("OPENED", "missing_exchange", "1")]


def test_an_event_ahead_of_kafkas_time_lifts_nothing_beyond_it() -> None:
    book = Book()
    book.hear(fill("internal", "1"))
    book.hear(fill("exchange", "2", 100), time_us=NOW - 24 * 3600 * SECOND + 3 * SECOND)
    assert book.said == [("OPENED", "CLOCK_SKEW", "exchange|venue")]
    book.hear(fill("exchange", "3", 100.5))
    assert ("missing_exchange", "1") in book.standing
    assert ("CLOCK_SKEW", "exchange|venue") not in book.standing


def test_folding_all_changes_gives_the_same_lane() -> None:
    book = Book()
    book.hear(
        fill("internal", "1"),
        fill("exchange", "1"),
        fill("internal", "2"),
        fill("internal", "3", price="2"),
        fill("exchange", "3"),
        fill("internal", "c", 1, exec="correction", ref_trade_id="1", price="1.6"),
        b"{",
        heartbeat("exchange", 60),
        fill("internal", "4", 70, feed_seq=1),
        fill("internal", "5", 71, feed_seq=4),
    )
    restored = book.restored()
    assert restored.counts == book.lane.counts
    assert restored.book.waiting == book.lane.book.waiting
    assert restored.book.matched == book.lane.book.matched
    assert restored.book.cases == book.lane.book.cases
    assert restored.book.names == book.lane.book.names
    assert restored.register.newest == book.lane.register.newest
    assert restored.conditions.numberings == book.lane.conditions.numberings
    assert list(restored.snapshot(3)) == list(book.lane.snapshot(3))
