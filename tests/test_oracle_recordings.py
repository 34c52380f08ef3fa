"""The oracle of orders, positions and balances on recordings with known truth, whole and with one fault in them."""

from __future__ import annotations

import copy
import json
from collections import Counter, defaultdict
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.oracles.worlds import (
    ROOT,
    SECOND,
    known_instruments,
    promises,
    recording,
    say,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.contracts import Contracts
    from tests.oracles.book import Break, Truth
    from tests.oracles.movements import Event

    Fault = Callable[[list[Event]], Any]
    Wrong = tuple[str, str, tuple[str, ...], str | Decimal]
    """Kind, what was compared, subject, and the residual or the fields that differ."""

WHALE = "0x72c6a4624e1dffa724e6d00d64ceae698af892a0"
SESSION = "exemple-6-futures-2buy-1sell-limit-1BNB"
"""Opens with a deposit, buys 0.02 twice and sells 0.03, one fill an order."""


def hyperliquid(events: list[Event]) -> Truth:
    """Under the contracts that a user would write."""
    return say(events, written("hyperliquid"), known_instruments())


def binance(events: list[Event]) -> Truth:
    """Under the contracts that a user would write."""
    return say(events, written("binance_usdm"), known_instruments())


def told(breaks: list[Break]) -> Counter[Wrong]:
    """Breaks in short."""
    return Counter(
        (each.kind, each.compared, each.subject, each.residual or "+".join(name for name, _, _ in each.fields))
        for each in breaks
    )


# -- as they are -----------------------------------------------------------------------------------------------------


def test_hyperliquid_has_exactly_one_break() -> None:
    expected = json.loads((ROOT / "tests/data/hyperliquid/expected.json").read_text())["breaks"]
    found = hyperliquid(recording("hyperliquid"))
    assert [(each.account, each.subject, each.interval, each.residual) for each in found.breaks] == [
        (
            f"hyperliquid|{one['account']}",
            (one["symbol"], "net"),
            (one["after_id"], one["at_id"]),
            Decimal(one["missing_signed_qty"]),
        )
        for one in expected
    ]
    assert (found.unknown, found.matched["position"]) == ([], 3359)


def test_without_the_venues_rounding_hyperliquid_would_seem_to_break_often() -> None:
    exact = written("hyperliquid")
    exact = exact.model_copy(
        update={"contracts": tuple(each.model_copy(update={"venue_precision": None}) for each in exact.contracts)}
    )
    assert len(say(recording("hyperliquid"), exact, known_instruments()).breaks) == 55


def test_binance_has_no_break() -> None:
    found = binance(recording("binance_usdm"))
    assert (found.breaks, found.unknown) == ([], [])
    assert found.matched == {"order": 12, "balance": 11, "position": 8}


@pytest.mark.parametrize("skew_us", [-4000, -1000, 1000, 4000])
def test_binance_has_no_break_where_one_stream_lags_as_its_contract_allows(skew_us: int) -> None:
    ours = [
        each | {"ts_us": each["ts_us"] + skew_us * (each["origin"] == "internal")} for each in recording("binance_usdm")
    ]
    found = binance(ours)
    assert found.breaks == []
    assert {each.reason for each in found.unknown} <= {"AMBIGUOUS_OPENING"}


def test_binance_would_have_breaks_if_times_were_taken_strictly() -> None:
    late = [
        each | {"ts_us": each["ts_us"] + 6000} if each["origin"] == "internal" else each
        for each in recording("binance_usdm")
    ]
    assert binance(late).breaks != []


# -- one fault in Hyperliquid: our fills, the venue's positions anchored to them ---------------------------------------


def named(events: list[Event], kind: str, trade_id: str) -> Event:
    """The fill of that trade, or the position before it."""
    return next(
        each
        for each in events
        if each["type"] == kind and (each.get("trade_id") or each["anchor"]["trade_id"]) == trade_id
    )


def dropped(events: list[Event]) -> None:
    events.remove(named(events, "fill", "row-565"))


def twice(events: list[Event]) -> None:
    events.append(named(events, "fill", "row-565") | {"event_id": "again"})


def altered(**more: str) -> Fault:
    def fault(events: list[Event]) -> None:
        named(events, "fill", "row-565").update(more)

    return fault


def snapshot(qty: str) -> Fault:
    def fault(events: list[Event]) -> None:
        named(events, "position", "row-565").update(qty=qty)

    return fault


def snapshot_dropped(events: list[Event]) -> None:
    events.remove(named(events, "position", "row-565"))


@pytest.mark.parametrize(
    ("fault", "intervals", "unknown"),
    [
        (dropped, {("row-564", "row-566"): "-10.85"}, ["ANCHOR_MISSING"]),
        (twice, {}, []),
        (altered(qty="11.85"), {("row-565", "row-566"): "1.00"}, []),
        (altered(side="buy"), {("row-564", "row-566"): "-21.70"}, ["ANCHOR_MISSING"]),
        (altered(price="4"), {}, []),
        (altered(fee="1"), {}, []),
        (snapshot("-4582.6"), {("row-564", "row-565"): "0.01", ("row-565", "row-566"): "-0.01"}, []),
        (snapshot("-4582.61001"), {}, []),
        (snapshot_dropped, {}, []),
    ],
)
def test_one_fault_in_hyperliquid_is_the_break_it_should_be(
    fault: Fault, intervals: dict[tuple[str, str], str], unknown: list[str]
) -> None:
    events = recording("hyperliquid")
    fault(events)
    found = hyperliquid(events)
    expected = intervals | {("row-1097", "row-1098"): "-195.98118408"}
    assert {each.interval: str(each.residual) for each in found.breaks} == expected
    assert [each.reason for each in found.unknown] == unknown
    assert {each.account for each in found.breaks} == {f"hyperliquid|{WHALE}"}


def test_a_fill_that_is_dropped_anywhere_is_the_residual_that_it_moved() -> None:
    books: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for each in recording("hyperliquid"):
        books[each["account_id"], each["instrument"]].append(each)
    for book in books.values():
        fills = [each for each in book if each["type"] == "fill"]
        middle = fills[len(fills) // 2]
        found = hyperliquid([each for each in book if each is not middle])
        in_base = middle["fee_asset"] == middle["instrument"]
        moved = Decimal(middle["qty"]) * (1 if middle["side"] == "buy" else -1)
        moved -= Decimal(middle["fee"]) if in_base else 0
        new = [each.residual or 0 for each in found.breaks if each.residual != Decimal("-195.98118408")]
        # What came first is part of the opening, and after the last one no snapshot says that it was there.
        assert len(new) == (fills[0] is not middle and fills[-1] is not middle)
        assert all(abs(residual - moved) < Decimal("0.0001") for residual in new)
        assert [each.reason for each in found.unknown] == ["ANCHOR_MISSING"]


def test_a_fill_dropped_from_binance_is_always_missed_by_its_order_and_by_what_was_reported_after_the_opening() -> None:
    events = recording("binance_usdm")
    for trade in [each for each in events if each["type"] == "fill"]:
        found = binance([each for each in events if each is not trade])
        by_kind = {each.kind: each for each in found.breaks}
        assert len(by_kind) == len(found.breaks)
        assert by_kind["order_mismatch"].subject == ("BNBUSDT", trade["order_id"])
        opening_us = {
            kind: min(
                each["ts_us"] for each in events if (each["type"], each["account_id"]) == (kind, trade["account_id"])
            )
            for kind in ("position", "balance")
        }
        later = {f"{kind}_mismatch" for kind, at_us in opening_us.items() if trade["ts_us"] > at_us}
        assert set(by_kind) == {"order_mismatch", *later}
        if "position_mismatch" in by_kind:
            moved = Decimal(trade["qty"]) * (1 if trade["side"] == "buy" else -1)
            assert by_kind["position_mismatch"].residual == moved


# -- one fault in a Binance session that both sides tell completely ----------------------------------------------------


@cache
def session_text() -> str:
    """One session with a deposit of 5 between its second purchase and its sale, told by both sides alike."""
    events = [each for each in recording("binance_usdm") if each["account_id"] == SESSION]
    sale_us = max(each["ts_us"] for each in events)
    for each in events:
        if each["type"] == "balance" and each["ts_us"] == sale_us:
            each["total"] = str(Decimal(each["total"]) + 5)
    deposit = next(each for each in events if each["type"] == "ledger")
    events.append(deposit | {"ledger_id": "later", "delta": "5", "ts_us": sale_us - 60 * SECOND})
    return json.dumps([each | {"origin": origin} for origin in ("internal", "exchange") for each in events])


def session() -> list[Event]:
    """A copy of it."""
    found: list[Event] = json.loads(session_text())
    return found


def complete() -> Contracts:
    """Both sides tell everything."""
    return promises(order_within_us=5000)


def pick(kind: str, number: int, origin: str = "internal", **changed: str | None) -> Fault:
    """Drop one of one side's records of a type (by time), or change it."""

    def fault(events: list[Event]) -> None:
        own = sorted(
            (each for each in events if (each["origin"], each["type"]) == (origin, kind)),
            key=lambda each: each["ts_us"],
        )
        if changed:
            own[number].update(changed)
        else:
            events.remove(own[number])

    return fault


def again(kind: str) -> Fault:
    """Send all of a type twice."""

    def fault(events: list[Event]) -> None:
        events += [copy.copy(each) | {"event_id": "again"} for each in events if each["type"] == kind]

    return fault


FIRST, SECOND_ONE, LAST = ("BNBUSDT", "37877239826"), ("BNBUSDT", "37877270871"), ("BNBUSDT", "37877307672")
NET, USDT = ("BNBUSDT", "net"), ("USDT",)


def of_states(kind: str, compared: str, subject: tuple[str, ...], *residuals: str) -> list[Wrong]:
    """Breaks of positions or balances."""
    return [(f"{kind}_mismatch", compared, subject, Decimal(residual)) for residual in residuals]


FAULTS: dict[str, tuple[Fault, list[Wrong]]] = {
    "nothing": (lambda _: None, []),
    "our second fill dropped": (
        pick("fill", 1),
        [
            ("order_mismatch", "internal", SECOND_ONE, "cum_qty"),
            *of_states("position", "own", NET, "0.02"),
            *of_states("position", "cross", NET, "0.02"),
            *of_states("balance", "own", USDT, "-0.0015840"),
            *of_states("balance", "cross", USDT, "-0.0015840"),
        ],
    ),
    "the venue's last fill dropped": (
        pick("fill", 2, "exchange"),
        [
            ("order_mismatch", "exchange", LAST, "cum_qty"),
            *of_states("position", "own", NET, "-0.03"),
            *of_states("balance", "own", USDT, "0.0216210"),
        ],
    ),
    "every fill twice": (again("fill"), []),
    "our fill's quantity": (
        pick("fill", 1, qty="0.03"),
        [
            ("order_mismatch", "internal", SECOND_ONE, "cum_qty"),
            *of_states("position", "own", NET, "-0.01"),
            *of_states("position", "cross", NET, "-0.01"),
        ],
    ),
    "our fill's fee": (
        pick("fill", 1, fee="0.002584"),
        [*of_states("balance", "own", USDT, "0.001"), *of_states("balance", "cross", USDT, "0.001")],
    ),
    "the venue's fill's profit": (
        pick("fill", 2, "exchange", realized_pnl="0.124"),
        of_states("balance", "own", USDT, "-0.1"),
    ),
    "our fill's price": (pick("fill", 1, price="1"), []),
    "an early update dropped": (pick("order", 0), []),
    "the last update dropped": (
        pick("order", -1),
        [("order_mismatch", "equal", LAST, "status+cum_qty"), ("order_mismatch", "internal", LAST, "cum_qty")],
    ),
    "every update twice": (again("order"), []),
    "an update's status": (
        pick("order", -1, "exchange", status="canceled"),
        [("order_mismatch", "equal", LAST, "status")],
    ),
    "an update's cum_qty": (
        pick("order", -1, "exchange", cum_qty="0.02"),
        [("order_mismatch", "equal", LAST, "cum_qty"), ("order_mismatch", "exchange", LAST, "cum_qty")],
    ),
    "the venue's deposit dropped": (
        pick("ledger", 1, "exchange"),
        [("ledger_missing", "exchange", ("later",), ""), *of_states("balance", "own", USDT, "5")],
    ),
    "our deposit dropped": (
        pick("ledger", 1),
        [
            ("ledger_missing", "internal", ("later",), ""),
            *of_states("balance", "own", USDT, "5"),
            *of_states("balance", "cross", USDT, "5"),
        ],
    ),
    "our deposit's amount": (
        pick("ledger", 1, delta="6"),
        [
            ("balance_mismatch", "ledger", ("later",), "delta"),
            *of_states("balance", "own", USDT, "-1"),
            *of_states("balance", "cross", USDT, "-1"),
        ],
    ),
    "every entry twice": (again("ledger"), []),
    "the venue's position": (
        pick("position", 1, "exchange", qty="0.05"),
        [
            *of_states("position", "own", NET, "0.01", "-0.01"),
            *of_states("position", "cross", NET, "0.01", "-0.01"),
        ],
    ),
    "our balance": (
        pick("balance", 2, total="28"),
        [
            *of_states("balance", "own", USDT, "0.0047472", "-0.0047472"),
        ],
    ),
    "a position dropped": (pick("position", 1, "exchange"), []),
    "every snapshot twice": (lambda events: (again("position")(events), again("balance")(events)), []),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_in_a_session_is_the_breaks_it_should_be(name: str) -> None:
    fault, expected = FAULTS[name]
    events = session()
    fault(events)
    found = say(events, complete(), known_instruments())
    assert told(found.breaks) == Counter(expected)
    assert found.unknown == []
