"""Net changes by window, in the words of those who use them; and the argument with the oracle."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_recon.core import drift, windows
from stream_recon.core.account_book import AccountBook
from stream_recon.core.ledger import Entries
from stream_recon.core.nets import net_of
from stream_recon.core.tell_drift import Contribution
from stream_recon.core.trades import Rules
from stream_recon.core.window_books import Book as WindowBook
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.discrepancies import Discrepancy, SplitPart, alert_id, explained_in_full
from stream_recon.domain.events import ORIGINS
from tests.drifts import (
    CONTRACTS,
    END_S,
    GRACE,
    LENGTH,
    NAME,
    SECOND,
    START,
    WITHIN,
    LedgerReader,
    Reader,
    Record,
    argue_all,
    argue_ledgers,
    beat,
    check,
    check_ledgers,
    fills,
    key_of,
    ledger_contracts,
    ledgers,
    live,
    live_ledgers,
    move,
    place_of,
    posting,
    record,
    world,
)
from tests.lanes import Book, fill, heartbeat
from tests.simulation import Worker
from tests.simulation import world as small_world
from tests.test_core_against_oracle import published, turns
from tests.test_core_against_oracle import read as read_lane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.core.movements import Move


def read(internal: list[Move], exchange: list[Move], reader: Reader | None = None) -> Reader:
    """Read plain trades of both origins, and closing heartbeats."""
    return (reader or Reader()).read_all((fills(*internal), fills(*exchange)))


def only(reader: Reader) -> Discrepancy:
    """The one thing that was published."""
    assert len(reader.published) == 1
    return reader.published[0]


def test_twins_on_both_sides_of_an_end_are_no_drift() -> None:
    reader = read([move("1", 9.9)], [move("1", 10.1)])
    assert reader.said == []
    sight = next(iter(reader.windows.live()))
    assert sight.span.from_us == START  # that of the earlier time
    assert sight.nets[0] == sight.nets[1] == {"qty": 10, "notional": 15, "fee:USD": Decimal("0.1")}


@pytest.mark.parametrize("paired", [False, True], ids=["moves", "pairs"])
def test_at_a_thousand_fills_a_second_with_skews_up_to_order_within_there_is_no_false_break(
    paired: bool,  # noqa: FBT001
) -> None:
    rng = random.Random(7)
    reader = Reader()
    entries = []
    for number in range(25_000):
        at_s = 5 + number / 1000
        qty = str(rng.randint(1, 99))
        ours, theirs = (move(str(number), at_s + skew, qty=qty) for skew in (0, rng.uniform(-2, 2)))
        entries += [(ours.ts_us, 0, ours), (theirs.ts_us, 1, theirs)]
        if paired:
            reader.windows.pair(reader.account, ours, min(ours.ts_us, theirs.ts_us))
    for _, o, each in sorted(entries, key=lambda entry: entry[0]):
        one = record((key_of(each.trade_id), each))
        reader.read(o, Record([], one.ts_us, one.lift_us) if paired else one)
    for o in (0, 1):
        reader.read(o, beat(END_S))
    reader.write()
    assert reader.said == []
    assert sum(sight.nets[0] == sight.nets[1] for sight in reader.windows.live()) == 3


def test_a_missing_fill_is_the_drift_of_its_window_to_the_last_digit() -> None:
    common = [move(str(n), n) for n in range(30)]
    reader = read([*common[:15], *common[16:]], common)
    alert = only(reader)
    start = START + 10 * SECOND
    assert alert.alert_id == alert_id(
        NAME, "net_change", "net_change_mismatch", "internal:exchange", "BTC", str(start), str(LENGTH)
    )
    assert (alert.kind, alert.identity, alert.strategy) == ("net_change_mismatch", "net_change", "delta")
    assert [(f.field, f.internal, f.exchange, f.difference) for f in alert.fields] == [
        ("qty", "90", "100", "-10"),
        ("notional", "135", "150", "-15"),
        ("fee:USD", "0.9", "1", "-0.1"),
    ]
    assert (alert.residual, alert.size, alert.severity) == ("10", "0.1", "critical")
    assert alert.interval is not None
    assert (alert.interval.from_us, alert.interval.to_us) == (start, start + LENGTH)
    assert alert.interval.from_label == "2023-11-14T22:13:30Z"
    assert "the exchange's net qty changed by 10 more than ours" in alert.cause


@pytest.mark.parametrize(
    ("other", "residual", "measures"),
    [
        ({"qty": "9"}, "1", ["qty", "notional"]),
        ({"price": "1.6"}, "-1", ["notional"]),
        ({"fee": "0.15"}, "-0.05", ["fee:USD"]),
        ({"fee_asset": "BNB"}, "-0.1", ["fee:BNB", "fee:USD"]),
    ],
)
def test_a_difference_is_told_by_what_it_touches(other: dict[str, str], residual: str, measures: list[str]) -> None:
    reader = read([move("1", 5, **other), move("2", 6)], [move("1", 5), move("2", 6)])
    alert = only(reader)
    assert [field.field for field in alert.fields] == measures
    assert alert.residual == residual


@pytest.mark.parametrize("other", [{"qty": "10.00"}, {"fee": None}, {"fee": "0.10", "price": "1.50"}])
def test_what_trades_agree_on_is_no_drift(other: dict[str, Any]) -> None:
    assert read([move("1", 5, **other)], [move("1", 5)]).said == []


def test_what_a_contract_tolerates_is_in_the_nets_but_no_drift() -> None:
    tolerant = FeedContract(
        origin="internal", order_within_us=WITHIN, grace_us=GRACE, tolerance={"fee:USD": "0.01", "price": "0.1"}
    )
    reader = Reader(contracts=Contracts(contracts=(tolerant, CONTRACTS.contracts[1])))
    read([move("1", 5, fee="0.105", price="1.55")], [move("1", 5)], reader)
    assert reader.said == []
    assert [sight.nets[0]["fee:USD"] for sight in reader.windows.live()] == [Decimal("0.105")]


def test_a_drift_is_told_once_when_the_next_end_does_not_agree_either() -> None:
    reader = Reader()
    reader.read(1, fills(move("1", 5))[0])
    for at_s in (15, 24.9):  # the second end and order_within and grace
        for o in (0, 1):
            reader.read(o, beat(at_s))
        reader.write()
        assert reader.said == []
    for o in (0, 1):
        reader.read(o, beat(25))
    reader.write()
    assert reader.said == [("OPENED", 0, "10")]
    later = [move(f"later{n}", 30 + n) for n in range(30)]
    read(later, later, reader)
    assert reader.said == [("OPENED", 0, "10")]


def test_silence_of_one_feed_tells_nothing() -> None:
    reader = Reader()
    reader.read(1, fills(move("1", 5))[0])
    reader.read(1, beat(END_S))
    reader.write()
    assert reader.said == []


def test_each_drift_stays_in_the_window_where_it_arose() -> None:
    reader = read([], [move("1", 5), move("2", 15, qty="3"), move("3", 35, qty="1")])
    assert reader.said == [("OPENED", 0, "10"), ("OPENED", 1, "3"), ("OPENED", 3, "1")]


def test_a_late_twin_clears_the_drift_of_the_window_it_belongs_to_and_is_called_late() -> None:
    reader = read([], [move("1", 5), move("2", 6)])
    reader.read(0, fills(move("1", 5.5))[0])
    reader.read(0, beat(END_S + 1))
    reader.read(1, beat(END_S + 1))
    reader.write()
    assert reader.said[1:] == [("UPDATED", 0, "10")]
    reader.read(0, fills(move("2", 8))[0])
    reader.windows.settle()  # the feeds stand still
    reader.write()
    assert reader.said[2:] == [("CLEARED", 0, "10")]
    assert reader.published[-1].late


def test_a_drift_is_told_again_when_late_twins_move_both_sides_alike() -> None:
    reader = read([], [move("1", 5)])
    reader.read(0, beat(END_S + 1))
    reader.read(1, beat(END_S + 1))
    reader.write()
    for o in (0, 1):
        reader.read(o, fills(move("2", 6))[0])
    reader.windows.settle()
    reader.write()
    assert reader.said == [("OPENED", 0, "10"), ("UPDATED", 0, "10")]
    qty = next(field for field in reader.published[-1].fields if field.field == "qty")
    assert (qty.internal, qty.exchange, qty.difference) == ("10", "20", "-10")


@pytest.mark.parametrize(("windows_later", "again"), [(-1, False), (0, True), (1, True), (2, False)])
def test_a_drift_is_told_again_when_a_cause_of_its_time_is_another(windows_later: int, again: bool) -> None:  # noqa: FBT001
    reader = read([], [move("1", 5)])
    reader.read(0, beat(END_S + 1))
    reader.read(1, beat(END_S + 1))
    reader.write()
    reader.windows.causes = lambda _: [Contribution("ab", net_of(move("1", 5)))]
    reader.windows.cause_changed(reader.account, "fills", START + windows_later * LENGTH)
    reader.windows.settle()
    reader.write()
    assert [alert.explained_by for alert in reader.published] == ([[], ["ab"]] if again else [[]])


def test_what_comes_late_just_after_an_end_that_is_closed_is_told_of_its_own_window() -> None:
    reader = Reader()
    reader.read(1, fills(move("0", 1))[0])
    reader.read(0, fills(move("0", 1))[0])
    for o in (0, 1):
        reader.read(o, beat(16))  # the first window is closed, with what lies order_within after it
    reader.read(1, fills(move("1", 11))[0])
    for o in (0, 1):
        reader.read(o, beat(17))
    read([], [], reader)
    assert reader.said == [("OPENED", 1, "10")]


def test_what_is_booked_later_under_another_name_ends_the_drift_and_is_none_itself() -> None:
    reader = read([move("adjustment", 45)], [move("1", 5)])
    assert reader.standing == set()
    slowly = Reader()
    slowly.read(1, fills(move("1", 5))[0])
    for o in (0, 1):
        slowly.read(o, beat(30))
    read([move("adjustment", 45)], [], slowly)
    assert slowly.said == [("OPENED", 0, "10"), ("CLEARED", 0, "10")]
    assert not slowly.published[-1].late


def test_errors_that_offset_each_other_inside_a_window_cannot_be_seen() -> None:
    assert read([move("1", 4)], [move("2", 6)]).said == []
    assert read([move("1", 4), move("2", 5, qty="11")], [move("1", 4, qty="11"), move("2", 5)]).said == []


def test_feeds_without_common_ids_agree_at_any_moment_near_the_end() -> None:
    assert read([move("i1", 9.9), move("i2", 15)], [move("e1", 10.1), move("e2", 15.5)]).said == []
    assert read([move("i1", 10.1), move("i2", 15)], [move("e1", 9.9), move("e2", 15.5)]).said == []
    assert read([move("i1", 7.5)], [move("e1", 12.1)]).said == []  # not near, but at the next end they do


def test_a_correction_that_both_sides_make_is_no_drift_on_whichever_side_of_an_end() -> None:
    key = key_of("1")
    logs: list[list[Record]] = []
    for at_s in (9.5, 10.5):
        root = move("1", at_s - 3)
        corrected = move("c", at_s, price="1.6")
        logs.append([record((key, root)), record((key, move("c", at_s, sign=-1)), (key, corrected))])
    assert Reader().read_all((logs[0], logs[1])).said == []


def test_a_bust_that_one_side_does_not_know_of_is_a_drift_of_its_own_window() -> None:
    key = key_of("1")
    bust = record((key, move("b", 25, sign=-1)))
    reader = Reader().read_all((fills(move("1", 5)), [*fills(move("1", 5)), bust]))
    assert reader.said == [("OPENED", 2, "-10")]


def test_the_drift_of_a_window_is_the_sum_of_the_residuals_of_its_trades() -> None:
    rng = random.Random(3)
    sums: dict[int, Decimal] = {}
    internal, exchange = [], []
    for number in range(200):
        at_s = rng.choice((3, 4, 5, 6, 7)) + 10 * rng.randint(0, 5)
        ours, theirs = (rng.choice(("1.1", "1.1", "1.1", "0.7", None)) for _ in ORIGINS)
        internal += [move(str(number), at_s, qty=ours)] if ours else []
        exchange += [move(str(number), at_s, qty=theirs)] if theirs else []
        sums[int(at_s // 10)] = sums.get(int(at_s // 10), Decimal()) + Decimal(theirs or 0) - Decimal(ours or 0)
    internal.sort(key=lambda each: each.ts_us)
    exchange.sort(key=lambda each: each.ts_us)
    reader = read(internal, exchange)
    drifts = {(s.span.from_us - START) // LENGTH: s.drift.get("qty", 0) for s in reader.windows.live()}
    assert all(sums.values())
    assert drifts == sums


def test_a_feed_that_promises_nothing_is_summed_but_not_compared() -> None:
    partial = FeedContract(origin="internal", order_within_us=WITHIN, grace_us=GRACE, fills="partial")
    reader = Reader(contracts=Contracts(contracts=(partial, CONTRACTS.contracts[1])))
    read([], [move("1", 5)], reader)
    assert reader.said == []
    assert [sight.nets[1]["qty"] for sight in reader.windows.live()] == [10]


def test_the_causes_that_are_known_are_named() -> None:
    reader = Reader()
    whole = net_of(move("1", 15))
    reader.windows.causes = lambda span: [Contribution(f"{span.subject} {(span.from_us - START) // SECOND}", whole)]
    alert = only(read([], [move("1", 15)], reader))
    assert alert.explained_by == ["BTC 10"]
    assert alert.split == [SplitPart("known_causes", "10", ["BTC 10"])]
    assert explained_in_full(alert)
    assert not alert.notify


@pytest.mark.parametrize(
    ("known", "split", "explained_by"),
    [
        ({"qty": "7", "notional": "15", "fee:USD": "0.1"}, [("known_causes", "7"), ("unexplained", "3")], ["cause"]),
        ({"qty": "10", "notional": "14", "fee:USD": "0.1"}, [("known_causes", "10")], []),
        ({"qty": "10", "notional": "15", "fee:BNB": "1"}, [("known_causes", "10")], []),
        ({"notional": "15"}, [("unexplained", "10")], ["cause"]),
    ],
)
def test_a_drift_is_explained_only_where_the_causes_account_for_all_of_it(
    known: dict[str, str], split: list[tuple[str, str]], explained_by: list[str]
) -> None:
    reader = Reader()
    reader.windows.causes = lambda _: [Contribution("cause", {m: Decimal(amount) for m, amount in known.items()})]
    alert = only(read([], [move("1", 15)], reader))
    assert [(part.name, part.amount) for part in alert.split] == split
    assert alert.explained_by == explained_by
    assert not explained_in_full(alert)
    assert alert.notify


def test_where_a_record_is_known_to_be_lost_nothing_is_told_until_it_is_found() -> None:
    reader = Reader()
    reader.windows.in_doubt = lambda _: True
    read([], [move("1", 15)], reader)
    assert reader.said == []
    reader.windows.in_doubt = lambda _: False
    reader.windows.judge_again(reader.account)
    for o in (0, 1):
        reader.read(o, beat(END_S + 1))
    reader.write()
    assert reader.said == [("OPENED", 1, "10")]


def test_a_twin_that_its_side_dates_into_an_open_window_ends_the_drift_at_the_next_second() -> None:
    """What it was held against is of a window that was closed long ago: nobody waits for the open one to close."""
    reader = Reader()
    reader.read(1, fills(move("1", 5))[0])
    for o in (0, 1):
        reader.read(o, beat(31))
        reader.read(o, record((key_of("open"), move("open", 32))))
    assert reader.standing == set()
    reader.write()
    assert reader.standing == {("BTC", START // LENGTH)}
    reader.read(0, fills(move("1", 32))[0])
    for o in (0, 1):
        reader.read(o, beat(33))
    reader.write()
    assert reader.standing == set()


def test_of_two_entries_that_one_side_gives_one_id_each_is_residual_in_its_own_window() -> None:
    reader = Reader()
    for at_s in (5, 25):
        reader.read(1, fills(move("1", at_s))[0])
    for at_s in (21, 61):
        for o in (0, 1):
            reader.read(o, beat(at_s))
        reader.write()
    assert reader.standing == {("BTC", START // LENGTH), ("BTC", START // LENGTH + 2)}


# -- what is remembered -----------------------------------------------------------------------------------------------

SHORT = Rules(window_us=LENGTH, horizon_us=60 * SECOND)


def test_beyond_the_horizon_only_drifts_that_stand_are_kept_and_a_late_twin_still_clears_them() -> None:
    reader = read([move("2", 20)], [move("1", 5), move("2", 20)], Reader(SHORT))
    assert reader.standing == {("BTC", START // LENGTH)}
    book = reader.windows.books[NAME]
    assert list(book.tracks["BTC"].windows) == [START // LENGTH]
    assert len(book.halves.packed) == len(book.halves) == 1
    for snapshot_limit in (None, 1):
        reader.write(snapshot_limit)
        reader.start()
        assert len(reader.windows.books[NAME].halves.packed) == 1
    reader.read(0, fills(move("1", 5))[0])
    for o in (0, 1):
        reader.read(o, beat(END_S + 1))
    reader.write()
    assert reader.standing == set()
    assert [transition for transition, _, _ in reader.said] == ["OPENED", "CLEARED"]
    assert reader.register.newest == {}


@given(st.lists(st.tuples(st.sampled_from("ptdk"), st.integers(0, 3), st.integers(1, 9)), max_size=40))
def test_what_waits_is_what_was_put_packed_or_not(steps: list[tuple[str, int, int]]) -> None:
    """Beside a dictionary: units of two keys, plain and of what amends them."""
    units = [
        "a|b\x1fBTC\x1f1\x1fbuy",
        "a|b\x1fBTC\x1f1\x1fbuy\x1fC\x1f1",
        "a|b\x1fBTC\x1f2\x1fbuy",
        "a|b\x1fBTC\x1f2\x1fbuy\x1f2\x1f-1",
    ]
    book, plain, settled_s = WindowBook(Reader().account, "fills", Reader().account.feeds), {}, 0
    for what, at, second in steps:
        unit, halves = units[at], book.halves
        if what == "p":
            plain[unit] = [*halves.take(unit), (0, move("1", second))]
            halves.put(unit, plain[unit])
        elif what == "t":
            assert halves.take(unit) == plain.get(unit, [])
        elif what == "d":
            halves.drop(unit)
            plain.pop(unit, None)
        else:
            settled_s = max(settled_s, second)
            book.settled_us = START + settled_s * SECOND
            halves.pack(units, book.settled_us)
        assert dict(halves.items()) == plain
        assert len(halves) == len(plain)
        for key in (units[0], units[2]):
            residual = [
                m for u, held in plain.items() if u.startswith(key) for _, m in held if m.ts_us <= book.settled_us
            ]
            assert book.owes(key) == bool(residual)


def test_memory_stays_bounded_however_long_it_goes_on() -> None:
    reader = Reader(SHORT)
    sizes = set()
    for second in range(600):
        each = move(str(second), second)
        for o in (0, 1):
            reader.read(o, record((key_of(each.trade_id), each)))
        reader.write()
        if second > 100:
            book = reader.windows.books[NAME]
            assert len(book.halves) == 0
            sizes.add(len(book.tracks["BTC"].windows))
    assert max(sizes) <= 9
    for o in (0, 1):
        reader.read(o, beat(10_000))
    reader.write()
    assert reader.windows.books == {}


def test_windows_of_another_length_start_anew_from_what_waits() -> None:
    reader = Reader()
    reader.read(1, fills(move("1", 5))[0])
    reader.read(1, beat(8))
    reader.read(0, beat(8))
    reader.write()
    reader.rules = Rules(window_us=2 * LENGTH)
    reader.start()
    read([], [], reader)
    start = START // (2 * LENGTH) * 2 * LENGTH
    assert [(alert.interval.from_us, alert.interval.to_us) for alert in reader.published if alert.interval] == [
        (start, start + 2 * LENGTH)
    ]


def test_halves_and_drifts_that_stand_go_on_in_windows_of_another_length_and_the_old_alerts_are_cleared() -> None:
    # One has no twin; the other differs, which is told by the comparison of trades, and goes with its window.
    reader = read([move("2", 25)], [move("1", 5), move("2", 25, qty="11")])
    assert reader.said == [("OPENED", 0, "10"), ("OPENED", 2, "1")]
    reader.rules = Rules(window_us=2 * LENGTH)
    reader.start()
    for o in (0, 1):
        reader.read(o, beat(END_S + 1))
    reader.write()
    newest = {alert.alert_id: alert for alert in reader.published}
    assert sorted(alert.status for alert in newest.values()) == ["CLEARED", "CLEARED", "OPEN"]
    alert = next(alert for alert in newest.values() if alert.status == "OPEN")
    assert alert.interval is not None
    assert alert.interval.to_us - alert.interval.from_us == 2 * LENGTH
    assert alert.residual == "10"
    said = len(reader.published)
    reader.start()
    reader.write()
    assert len(reader.published) == said
    reader.read(0, fills(move("1", 5))[0])
    for o in (0, 1):
        reader.read(o, beat(END_S + 2))
    reader.write()
    assert {alert.status for alert in {alert.alert_id: alert for alert in reader.published}.values()} == {"CLEARED"}


def test_windows_that_are_turned_off_and_on_again_do_not_know_what_came_in_between() -> None:
    reader = read([], [move("1", 5)])
    reader.rules = Rules(window_us=0)
    reader.start()
    reader.read(0, fills(move("1", 5))[0])  # nobody looks
    reader.write()
    assert reader.said == [("OPENED", 0, "10"), ("CLEARED", 0, "10")]
    reader.rules = Rules(window_us=LENGTH)
    reader.start()
    for o in (0, 1):
        reader.read(o, beat(END_S + 1))
    reader.write()
    assert len(reader.said) == 2


def test_windows_may_have_another_length_for_a_while() -> None:
    reader = read([], [move("1", 5), move("2", 45)])
    for length_us in (3 * LENGTH, LENGTH):
        reader.rules = Rules(window_us=length_us)
        reader.start()
        if length_us > LENGTH:
            reader.read(0, fills(move("1", 5))[0])
        for o in (0, 1):
            reader.read(o, beat(END_S + 1 if length_us > LENGTH else END_S + 2))
        reader.write()
    newest = {alert.alert_id: alert for alert in reader.published}.values()
    places = {(alert.interval.from_us, alert.interval.to_us, alert.status) for alert in newest if alert.interval}
    assert {place for place in places if place[2] == "OPEN"} == {(START + 4 * LENGTH, START + 5 * LENGTH, "OPEN")}


# -- ledgers ----------------------------------------------------------------------------------------------------------


def test_an_entry_that_one_ledger_lacks_is_the_drift_of_its_asset_and_names_its_cause() -> None:
    common = [posting(str(n), n) for n in range(30)]
    reader = LedgerReader().read_all([*common[:15], *common[16:]], common)
    alert = reader.drifts[0]
    assert len(reader.drifts) == 1
    assert (alert.asset, alert.instrument, alert.kind) == ("USD", None, "net_change_mismatch")
    start = START + 10 * SECOND
    assert alert.alert_id == alert_id(
        NAME, "net_change", "net_change_mismatch", "internal:exchange", "asset", "USD", str(start), str(LENGTH)
    )
    assert [(f.field, f.internal, f.exchange, f.difference) for f in alert.fields] == [("delta", "90", "100", "-10")]
    assert alert.residual == "10"
    assert "the exchange's ledger of USD changed by 10 more than ours" in alert.cause
    cause = reader.published[0]
    assert cause.kind == "ledger_missing"
    assert alert.split == [SplitPart("known_causes", "10", [cause.alert_id])]
    assert alert.explained_by == [cause.alert_id]
    assert not alert.notify


def test_an_entry_that_differs_explains_the_window_of_the_earlier_twin() -> None:
    reader = LedgerReader().read_all(
        [posting("1", 9.9), posting("2", 15)], [posting("1", 10.1, "12"), posting("2", 15)]
    )
    assert [(alert.residual, place_of(alert)[1] - START // LENGTH) for alert in reader.drifts] == [("2", 0)]
    assert [alert.explained_by for alert in reader.drifts] == [[reader.published[0].alert_id]]
    assert reader.published[0].kind == "balance_mismatch"


def test_entries_of_different_assets_under_one_id_are_a_drift_of_both_with_one_cause() -> None:
    reader = LedgerReader().read_all([posting("1", 5)], [posting("1", 5, asset="EUR")])
    assert {alert.asset: alert.residual for alert in reader.drifts} == {"USD": "-10", "EUR": "10"}
    assert all(explained_in_full(alert) for alert in reader.drifts)


def test_what_else_moved_is_told_as_unexplained() -> None:
    # The ledgers find these two by what they say; their ids differ, and so do the windows.
    ours, theirs = [posting("i", 7, "5")], [posting("e", 12.5, "5"), posting("1", 5)]
    contracts = ledger_contracts(grace_us=6 * SECOND)
    reader = LedgerReader(contracts=contracts).read_all(ours, theirs)
    alert = reader.drifts[0]
    assert alert.residual == "5"
    assert [(part.name, part.amount) for part in alert.split] == [("known_causes", "10"), ("unexplained", "-5")]
    assert alert.explained_by == [reader.published[0].alert_id]
    assert alert.notify


def test_copies_of_an_entry_count_once_and_contradicting_ones_explain_nothing() -> None:
    same = [posting("1", 5), posting("2", 6)]
    reader = LedgerReader().read_all([*same, posting("1", 5), posting("2", 6, "77")], same)
    assert reader.drifts == []
    reader = LedgerReader().read_all([same[0], posting("1", 5, "77")], [posting("1", 5, "77")])
    assert {alert.kind for alert in reader.published} == {
        "duplicate_conflict", "balance_mismatch", "net_change_mismatch",
    }  # fmt: skip
    mismatch = next(alert for alert in reader.published if alert.kind == "balance_mismatch")
    assert [alert.explained_by for alert in reader.drifts] == [[mismatch.alert_id]]


@pytest.mark.parametrize(
    ("covers", "promises", "told"),
    [
        (("all", "all"), ("complete", "complete"), {"USD", "EUR"}),
        (("all", "non_trade"), ("complete", "complete"), {"USD"}),
        (("all", "all"), ("complete", "partial"), set()),
        (("all", "all"), ("absent", "complete"), set()),
    ],
)
def test_entries_count_where_both_promise_them(
    covers: tuple[str, str], promises: tuple[str, str], told: set[str]
) -> None:
    reader = LedgerReader(contracts=ledger_contracts(covers, promises))
    reader.read_all([], [posting("1", 5), posting("2", 5, asset="EUR", reason="fee")])
    assert {alert.asset for alert in reader.drifts} == told


def test_a_lost_record_of_balances_holds_back_the_drift_of_its_time_alone() -> None:
    reader = LedgerReader()
    reader.read(0, posting("0", 1))
    reader.read(0, b"{}")
    common = [posting("2", 12), posting("4", 55)]
    reader.read_all(common, [posting("0", 1), posting("1", 5), common[0], posting("3", 45), common[1]])
    assert [place_of(alert)[1] - START // LENGTH for alert in reader.drifts] == [4]


def test_an_account_keeps_the_drifts_of_its_fills_and_of_its_ledgers_apart() -> None:
    reader = LedgerReader(contracts=ledger_contracts(fills="complete"))
    reader.windows.add(reader.lane.directory.account("venue", "alice"), 1, key_of("1", instrument="USD"),
                       move("1", 5, instrument="USD"))  # fmt: skip
    reader.read_all([], [posting("1", 5)])
    assert [alert.asset for alert in reader.drifts] == ["USD"]  # it does not wait for fills
    places = {(sight.span.matter, tuple(sight.nets[1])) for sight in reader.windows.live()}
    assert places == {("ledger", ("delta",)), ("fills", ("qty", "notional", "fee:USD"))}


def test_a_ledger_that_is_no_longer_promised_is_not_accused_any_more() -> None:
    reader = LedgerReader().read_all([], [posting("1", 5)])
    reader.contracts = ledger_contracts(promises=("partial", "complete"))
    reader.start()
    reader.write()
    assert [alert.transition for alert in reader.drifts] == ["OPENED", "CLEARED"]


# -- in a lane --------------------------------------------------------------------------------------------------------


def test_a_lane_tells_the_drift_after_the_fill_that_is_missing() -> None:
    book = Book(rules=Rules())
    for second in range(0, 900, 60):
        pair = [fill(origin, str(second), second, qty="2") for origin in ORIGINS]
        book.hear(*(pair if second != 360 else pair[:1]))
    book.hear(*(heartbeat(origin, 1200) for origin in ORIGINS))
    kinds = [transition for transition, _, _ in book.said]
    assert [kind for _, kind, _ in book.said] == ["missing_exchange", "net_change_mismatch"], kinds
    missing, net_change = book.published
    assert isinstance(net_change, Discrepancy)
    assert net_change.split == [SplitPart("known_causes", "-2", [missing.alert_id])]
    assert explained_in_full(net_change)
    book.hear(fill("exchange", "360", 360, qty="2"), *(heartbeat(origin, 1201) for origin in ORIGINS))
    assert book.standing == set()


def test_a_bust_explains_the_drift_of_its_own_window_and_an_old_difference_that_of_the_fill() -> None:
    book = Book(rules=Rules())
    book.hear(*(fill(origin, "1", 10, qty="2" if origin == "internal" else "3") for origin in ORIGINS))
    book.hear(fill("exchange", "b", 700, exec="bust", ref_trade_id="1", qty="3"))
    book.hear(*(heartbeat(origin, 2000) for origin in ORIGINS))
    drifts = [alert for alert in book.published if isinstance(alert, Discrepancy) and alert.identity == "net_change"]
    assert [(alert.residual, [part.name for part in alert.split]) for alert in drifts] == [
        ("1", ["unexplained"]),  # the bust came before it was told, and with that the difference was over
        ("-3", ["known_causes"]),
    ]


@pytest.mark.parametrize("seed", range(60))
def test_restarts_do_not_change_what_is_said_of_ledgers(seed: int) -> None:
    one = ledgers(random.Random(seed))
    first: dict[tuple[int, str], str] = {}
    order = [
        (o, each)
        for _, o, each in sorted((at_s, o, each) for o in (0, 1) for at_s, each in one.logs[o])
        if first.setdefault((o, each.ledger_id), each.delta) == each.delta  # no copies that contradict
    ]
    said = []
    for restarts in (0, 0.5):
        rng = random.Random(seed)
        reader = LedgerReader(contracts=ledger_contracts(one.covers))
        for o, each in order:
            reader.read(o, each)
            if rng.random() < restarts:
                reader.write(rng.choice((None, 2)))
                reader.start()
        reader.read_all([], [])
        said.append([(alert.transition, alert.kind, alert.residual, alert.explained_by) for alert in reader.published])
    assert said[0] == said[1]


@pytest.mark.parametrize("seed", range(60))
def test_neither_batches_nor_restarts_change_what_a_lane_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "window_us", 6 * SECOND)
    rng = random.Random(seed)
    one = small_world(rng)
    order = turns(rng, one)
    cuts = set(rng.sample(range(len(order)), len(order) // 4))

    def restarted(worker: Worker) -> Worker:
        if rng.random() < 0.5:
            worker.write_snapshot(rng.choice((1, 4, 1000)))
        return Worker(worker.kafka)

    unharmed = published(read_lane(one, order, set()))
    assert published(read_lane(one, order, cuts)) == unharmed
    assert published(read_lane(one, order, cuts, restarted)) == unharmed


# -- the argument with the oracle -------------------------------------------------------------------------------------

SEEDS = range(500)


def test_lives_with_crashes_and_late_records_end_as_the_oracle_says() -> None:
    assert argue_all(SEEDS) > len(SEEDS)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64))
def test_any_world_ends_as_the_oracle_says(seed: int) -> None:
    rng = random.Random(seed)
    one = world(rng)
    check(one, live(rng, one))
    entries = ledgers(rng)
    check_ledgers(entries, live_ledgers(rng, entries))


def test_lives_of_ledgers_with_crashes_copies_and_late_entries_end_as_the_oracle_says() -> None:
    assert argue_ledgers(SEEDS) > len(SEEDS)


LEDGER_BITES = [
    (windows, "entry_key", lambda account, entry: f"{account}\x1f\x1f{entry.ledger_id}\x1f"),  # whatever the asset
    (Entries, "nets", lambda _, __: True),
    (Entries, "add", lambda _, __, ___: True),  # copies count too
    (AccountBook, "put_entry", lambda _, __, ___: False),  # none counts
]


@pytest.mark.parametrize("rule", LEDGER_BITES, ids=lambda rule: rule[1])
def test_the_harness_of_ledgers_bites_a_core_without(
    rule: tuple[object, str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*rule)
    with pytest.raises(AssertionError, match="seed"):
        argue_ledgers(SEEDS)


def bites() -> Iterator[tuple[object, str, object]]:
    """Rules that are taken away: module, name, instead."""
    yield windows, "unit_of", lambda _, one: f"{one.trade_id}\x1f{one.sign}\x1f{one.ts_us}"
    yield drift, "_levels", lambda _: iter([([], {})])
    yield drift, "_moments", lambda at_end, _, __: iter([(at_end, True)])


@pytest.mark.parametrize("rule", list(bites()), ids=lambda rule: rule[1])
def test_the_harness_bites_a_core_without(rule: tuple[object, str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*rule)
    with pytest.raises(AssertionError, match="seed"):
        argue_all(SEEDS)
