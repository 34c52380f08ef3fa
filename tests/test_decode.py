"""What is a good record and what is not, and why: each rule once, on both ways through the decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stream_recon.domain.decode import Rejected, decode_carefully, decode_pack
from stream_recon.domain.events import STREAM_OF, STREAMS, Anchor, Balance, Event, Fill, Heartbeat, Order, Position

if TYPE_CHECKING:
    from stream_recon.domain.events import Origin, Stream

DATA = Path(__file__).parent / "data"
NOW_US = 1_750_000_000_000_000
MINUTE_US = 60_000_000
KEY = b"binance|a1"

COMMON = {"origin": "exchange", "venue": "binance", "account_id": "a1", "event_id": "e1", "ts_us": NOW_US}
FILL = {
    "type": "fill", **COMMON, "instrument": "BTC-USDT", "trade_id": "t1", "order_id": "o1", "side": "buy",
    "qty": "0.5", "price": "50000.10",
}  # fmt: skip
ORDER = {
    "type": "order", **COMMON, "instrument": "BTC-USDT", "side": "sell", "qty": "2", "cum_qty": "0", "status": "open",
    "order_id": "o1",
}  # fmt: skip
BALANCE = {"type": "balance", **COMMON, "asset": "USDT", "total": "-12.5"}
POSITION = {"type": "position", **COMMON, "instrument": "BTC-USDT", "qty": "-3"}
LEDGER = {"type": "ledger", **COMMON, "ledger_id": "l1", "asset": "USDT", "delta": "-5", "reason": "withdrawal"}
SNAPSHOT_END = {"type": "snapshot_end", **COMMON, "snapshot_id": "s1", "count": 2}
HEARTBEAT = {"type": "heartbeat", "origin": "exchange", "source": "gw1", "through_us": NOW_US}
ANCHOR = {"instrument": "BTC-USDT", "trade_id": "t1", "side": "buy", "when": "after"}
GOOD: list[tuple[Stream, dict[str, Any]]] = [
    ("fills", FILL), ("orders", ORDER), ("balances", BALANCE), ("balances", POSITION), ("balances", LEDGER),
    ("balances", SNAPSHOT_END), ("fills", HEARTBEAT), ("orders", HEARTBEAT), ("balances", HEARTBEAT),
]  # fmt: skip


def compact(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def decode(  # noqa: PLR0913, PLR0917 - the parts of a Kafka record
    value: bytes | None,
    stream: Stream = "fills",
    key: bytes | None = KEY,
    time_us: int = NOW_US,
    origin: Origin = "exchange",
    header_count: int = 0,
) -> Event | Rejected:
    """Decode one record, alone and between good ones: all ways must agree, and its neighbours come through."""
    alone = decode_carefully(value, origin, stream, key=key, keyed=True, time_us=time_us, header_count=header_count)
    good = compact(HEARTBEAT | {"origin": origin})
    values = [good] * 20 + [value] + [good] * 20
    headers = [0] * 20 + [header_count] + [0] * 20
    pack = decode_pack(
        values, [key] * 41, [max(time_us, NOW_US)] * 20 + [time_us] + [NOW_US] * 20, origin, stream, headers
    )
    assert pack[20] == alone
    assert all(isinstance(event, Heartbeat) for i, event in enumerate(pack) if i != 20)
    return alone


def fill(**changes: Any) -> bytes:
    return compact(FILL | changes)


def accept(value: bytes, stream: Stream = "fills", **record: Any) -> Event:
    event = decode(value, stream, **record)
    assert not isinstance(event, Rejected), event
    return event


def refuse(value: bytes | None, reason: str, says: str = "", stream: Stream = "fills", **record: Any) -> Rejected:
    rejected = decode(value, stream, **record)
    assert isinstance(rejected, Rejected), rejected
    assert rejected.reason == reason, rejected
    assert says in rejected.detail, rejected
    assert rejected.detail.isascii()
    assert len(rejected.detail) < 300
    return rejected


@pytest.mark.parametrize(("stream", "record"), GOOD, ids=lambda part: part if isinstance(part, str) else part["type"])
def test_every_type_is_read_on_its_stream_and_refused_on_the_others(stream: Stream, record: dict[str, Any]) -> None:
    event = accept(compact(record), stream)
    assert {name: getattr(event, name) for name in record if name != "type"} == {
        name: value for name, value in record.items() if name != "type"
    }
    for other in STREAMS:
        if other != stream and record["type"] != "heartbeat":
            refuse(compact(record), "wrong_stream", f"belongs on {stream}", stream=other)


def test_every_type_has_a_good_example_here() -> None:
    assert {record["type"] for _, record in GOOD} == {kind.__struct_config__.tag for kind in STREAM_OF}


@pytest.mark.parametrize(
    "changes",
    [
        {"qty": "1.0"}, {"qty": "00001"}, {"qty": "9" * 38}, {"qty": f"{'9' * 20}.{'9' * 18}"}, {"fee": "-0"},
        {"fee": "-0.000000000000000001"}, {"qty": f"{'0' * 50}1"}, {"exec": "bust", "ref_trade_id": "t0"},
        {"venue": "börse", "key": "börse|a1".encode()}, {"trade_id": "x" * 128}, {"trade_id": "é" * 64},
        {"trade_id": "a|b c/'\U0001f600"}, {"account_id": "a|1", "key": b"binance|a|1"}, {"feed_seq": 0},
        {"liquidity": None}, {"raw": {"a": [1, 2.5e9, None, True]}}, {"qty_raw": "1e5"}, {"ts_us": NOW_US - 10**14},
        {"ts_us": NOW_US + 5 * MINUTE_US}, {"event_id": "\u2028"},
    ],
    ids=str,
)  # fmt: skip
def test_odd_but_right_records_are_accepted(changes: dict[str, Any]) -> None:
    key = changes.pop("key", KEY)
    event = accept(fill(**changes), key=key)
    assert isinstance(event, Fill)
    for name, value in changes.items():
        if name in Fill.__struct_fields__:
            assert getattr(event, name) == value


@pytest.mark.parametrize(
    "text", ["1.50", "5e0", "1", "0.000000000000000001", "1E2", "1.0e1", "-0", "0", "9" * 38, "9" * 39]
)
def test_a_json_number_is_an_amount_in_its_own_digits_or_none(text: str) -> None:
    value = fill(fee="@").replace(b'"@"', text.encode())
    if "e" in text.lower() or len(text) > 38:
        refuse(value, "bad_amount", "fee")
    else:
        event = accept(value)
        assert isinstance(event, Fill)
        assert event.fee == text


@pytest.mark.parametrize(
    "text",
    [
        "", " 1", "1 ", "1\n", "1_000", "1e5", "1E-5", "+1", "--1", ".5", "5.", "1.2.3", "0x10", "NaN", "Infinity", "-",
        "\u0661", "\uff11", "1,5", "9" * 39, f"{'9' * 21}.{'9' * 18}", f"0.{'0' * 18}1", "1" * 5000, "\x00", "١٢",
    ],
    ids=ascii,
)  # fmt: skip
def test_an_amount_is_a_plain_decimal_within_limits(text: str) -> None:
    refuse(fill(qty=text), "bad_amount", "qty")
    refuse(fill(fee=text), "bad_amount", "fee")
    refuse(compact(BALANCE | {"total": text}), "bad_amount", "total", stream="balances")


@pytest.mark.parametrize("text", ["0", "-0", "0.000", "-1", "-0.1", "00.00"])
def test_a_fill_has_a_quantity_and_a_price_above_zero(text: str) -> None:
    refuse(fill(qty=text), "bad_amount", "qty must be above zero")
    refuse(fill(price=text), "bad_amount", "price must be above zero")


def test_an_order_may_have_filled_nothing_but_not_less() -> None:
    accept(compact(ORDER | {"cum_qty": "-0.0"}), "orders")
    refuse(compact(ORDER | {"cum_qty": "-0.1"}), "bad_amount", "must not be below zero", stream="orders")


@pytest.mark.parametrize("value", [True, None, [], {}, ["1"], {"a": 1}])
def test_a_field_of_the_wrong_type_is_named(value: object) -> None:
    reason = "missing_field" if value is None else "wrong_type"
    refuse(fill(qty=value), reason, "qty")
    refuse(fill(trade_id=value), reason, "trade_id")
    refuse(fill(ts_us=value), reason, "ts_us")


@pytest.mark.parametrize("name", [name for name in FILL if name != "type"])
def test_every_required_field_is_required(name: str) -> None:
    refuse(compact({key: value for key, value in FILL.items() if key != name}), "missing_field", f"{name} is missing")
    refuse(fill(**{name: None}), "missing_field", f"{name} is null")


@pytest.mark.parametrize(
    "value", [123, 1.5, "", "x" * 129, "é" * 65, "a\nb", "\x00", "\x7f", "\x85", "a\u009f"], ids=ascii
)
def test_an_identifier_is_short_text_without_control_characters(value: object) -> None:
    reason = "bad_identifier" if isinstance(value, str) else "wrong_type"
    for name in ("trade_id", "venue", "account_id", "event_id", "source"):
        refuse(fill(**{name: value}), reason, name)


def test_a_venue_may_not_hold_what_divides_it_from_the_account() -> None:
    refuse(fill(venue="bin|ance"), "bad_identifier", "venue", key=b"bin|ance|a1")
    refuse(compact(HEARTBEAT | {"venue": "bin|ance"}), "bad_identifier", "venue")


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"side": "BUY"}, "bad_value", "buy, sell"), ({"side": 1}, "bad_value", "side"),
        ({"liquidity": "both"}, "bad_value", "maker, taker"), ({"exec": "cancel"}, "bad_value", "exec"),
        ({"origin": "venue"}, "bad_value", "origin"), ({"origin": "internal"}, "wrong_origin", "internal"),
        ({"type": "trade"}, "unknown_type", "trade"), ({"type": 1}, "unknown_type", "1"),
        ({"type": ["fill"]}, "unknown_type", "fill"), ({"feed_seq": -1}, "bad_value", "feed_seq"),
        ({"feed_seq": 2**53}, "bad_value", "feed_seq"), ({"feed_seq": 1.0}, "wrong_type", "feed_seq"),
        ({"exec": "bust"}, "missing_field", "ref_trade_id"), ({"exec": "correction"}, "missing_field", "ref_trade_id"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_said_must_be_among_what_can_be_said(changes: dict[str, Any], reason: str, says: str) -> None:
    refuse(fill(**changes), reason, says)


def test_a_record_without_a_type_says_so() -> None:
    refuse(compact({name: value for name, value in FILL.items() if name != "type"}), "missing_field", "type")


def test_an_order_needs_one_id_of_two() -> None:
    nameless = {name: value for name, value in ORDER.items() if name != "order_id"}
    refuse(compact(nameless), "missing_field", "order_id or client_order_id", stream="orders")
    event = accept(compact(nameless | {"client_order_id": "c1"}), "orders")
    assert isinstance(event, Order)


@pytest.mark.parametrize(
    ("stamp", "says"),
    [
        (1_750_000_000, "looks like seconds"), (1_750_000_000_000, "looks like milliseconds"),
        (1_750_000_000_000_000_000, "looks like nanoseconds"), (0, ""), (-1, ""), (10**40, ""), (2**53, ""),
        (1_230_767_999_999_999, "from 2009 on"), (NOW_US + 5 * MINUTE_US + 1, "300 s ahead of the record's own time"),
    ],
)  # fmt: skip
def test_a_time_in_another_unit_or_ahead_of_its_record_is_refused(stamp: int, says: str) -> None:
    refuse(fill(ts_us=stamp), "bad_time", says)
    refuse(fill(recorded_us=stamp), "bad_time", says)
    refuse(compact(HEARTBEAT | {"through_us": stamp}), "bad_time", says)


@pytest.mark.parametrize("text", [b"1750000000000000.0", b"1.75e15", b'"1750000000000000"'])
def test_a_time_is_an_integer(text: bytes) -> None:
    refuse(fill(ts_us=0).replace(b'"ts_us":0', b'"ts_us":' + text), "wrong_type", "ts_us")


def test_each_record_is_held_against_its_own_time() -> None:
    values = [fill(ts_us=NOW_US + i * MINUTE_US * 10) for i in range(40)]
    times = [NOW_US + i * MINUTE_US * 10 for i in range(40)]
    assert not any(isinstance(e, Rejected) for e in decode_pack(values, [KEY] * 40, times, "exchange", "fills"))
    times[7] -= 6 * MINUTE_US
    refused = [isinstance(e, Rejected) for e in decode_pack(values, [KEY] * 40, times, "exchange", "fills")]
    assert refused == [i == 7 for i in range(40)]


@pytest.mark.parametrize("key", [None, b"", b"binance", b"binance|a2", b"binance|a1 ", b"\xff|a1", b"|a1", b"binance|"])
def test_a_key_is_the_account(key: bytes | None) -> None:
    rejected = refuse(fill(), "key_mismatch", "binance|a1", key=key)
    assert rejected.account == (key.decode() if key in {b"binance|a2", b"binance|a1 "} else None)
    accept(compact(HEARTBEAT), key=key)


def test_a_refusal_names_the_account_of_the_key_or_in_a_file_of_the_record() -> None:
    assert refuse(b"{", "not_json").account == "binance|a1"
    assert refuse(b"{", "not_json", key=b"\x00|1").account is None
    values = [b"{", fill(qty="x"), fill(qty="x", venue="")]
    accounts = [e.account for e in decode_pack(values, None, None, "exchange", "fills") if isinstance(e, Rejected)]
    assert accounts == [None, "binance|a1", None]


def test_a_file_has_no_keys_and_no_time_to_be_ahead_of() -> None:
    far = fill(ts_us=NOW_US * 2)
    assert isinstance(decode_pack([far], None, None, "exchange", "fills")[0], Fill)


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (None, "empty", "null"), (b"", "empty", "empty"), (b"{", "not_json", ""), (fill()[:-1], "not_json", ""),
        (fill()[:80], "not_json", ""), (fill() + b"x", "not_json", "Extra data"),
        (fill() + b"\x00", "not_json", "Extra"), (fill() + b"," + fill(), "not_json", "Extra data"),
        (fill() * 2, "not_json", "Extra data"), (b"[" + fill() + b"]", "not_an_object", ""),
        (b"1", "not_an_object", ""), (b"null", "not_an_object", ""), (b"hello", "not_json", ""), (b" ", "not_json", ""),
        (fill(x=1)[:-2] + b"NaN}", "not_json", "NaN"), (fill(x=1)[:-2] + b"-Infinity}", "not_json", "Infinity"),
        (fill()[:-1] + b",}", "not_json", ""), (fill(x=1)[:-2] + b"01}", "not_json", ""),
        (fill(trade_id="@").replace(b"@", b"\x01"), "not_json", "control"),
        (b"\xef\xbb\xbf" + fill(), "bad_encoding", "byte order mark"),
        (fill().decode().encode("utf-16"), "bad_encoding", "utf-16"),
        (fill().decode().encode("utf-16-le"), "bad_encoding", "utf-16"),
        (fill().decode().encode("utf-16-be"), "bad_encoding", "utf-16"),
        (fill().decode().encode("utf-32-be"), "bad_encoding", "utf-32"),
        (fill(x="@").replace(b"@", b"\xff"), "bad_encoding", "not UTF-8"),
        (fill(x="@").replace(b"@", b"\xed\xa0\x80"), "bad_encoding", "not UTF-8"),
        (fill(x="@").replace(b"@", b"\xc0\xaf"), "bad_encoding", "not UTF-8"),
        (fill(x="@").replace(b"@", b"\\ud800"), "bad_encoding", "surrogate"),
        (fill(x="@").replace(b'"x"', b'"\\udc00"'), "bad_encoding", "surrogate"),
        (fill(trade_id="@").replace(b"@", b"\\udfff\\ud800"), "bad_encoding", "surrogate"),
        (fill()[:-1] + b',"qty":"0.5"}', "duplicate_field", "qty"),
        (fill(x="@").replace(b'"x"', b'"\\u0071ty"'), "duplicate_field", "qty"),
        (fill(x={"a": 1}).replace(b'"a":1', b'"a":1,"a":1'), "duplicate_field", "'a'"),
        (b'{"type":"fill",' + fill()[1:], "duplicate_field", "type"),
        (b"\x00\x00\x00\x00\x2a" + fill(), "schema_registry", "magic byte"),
        (b"\x00\x01\x02\x03\x04\x05", "schema_registry", ""), (b"[" * 60_000, "too_deep", "32"),
        (b'{"a":' * 10_000, "too_deep", "32"), (fill(x="y" * 66_000), "too_large", "65536"),
        (fill(x=1)[:-2] + b"[" * 32 + b"]" * 32 + b"}", "too_deep", "32"),
        (b"\xff\xfe\x00\x00", "bad_encoding", "utf-32"),
    ],
    ids=lambda part: ascii(part)[:24],
)  # fmt: skip
def test_what_is_not_one_json_object_is_refused_with_its_reason(value: bytes | None, reason: str, says: str) -> None:
    refuse(value, reason, says)


def test_nesting_and_brackets_within_limits_are_passed_over() -> None:
    accept(fill(x=1)[:-2] + b"[" * 31 + b"]" * 31 + b"}")
    accept(fill(x='\\"[{' * 1000))
    accept(fill(x="y" * 65_000))
    accept(fill(trade_id='[[[{"\\'))


def test_a_record_may_not_have_thousands_of_headers() -> None:
    accept(fill(), header_count=64)
    refuse(fill(), "too_many_headers", "65", header_count=65)


def test_spaces_count_towards_the_size_of_a_record() -> None:
    accept(json.dumps(FILL).encode() + b" " * 65_000)
    refuse(json.dumps(FILL).encode() + b" " * 66_000, "too_large")


@pytest.mark.parametrize("indent", [None, 0, 4])
def test_spaces_and_the_order_of_fields_say_nothing(indent: int | None) -> None:
    expected = accept(fill())
    assert accept(json.dumps(FILL, indent=indent).encode()) == expected
    assert accept(b" \r\n\t" + compact(dict(reversed(FILL.items()))) + b"\n ") == expected
    assert accept(json.dumps(FILL).replace("buy", "b\\u0075y").encode()) == expected


@pytest.mark.parametrize("record", [BALANCE, POSITION])
def test_a_snapshot_may_be_tied_to_a_fill(record: dict[str, Any]) -> None:
    event = accept(compact(record | {"anchor": ANCHOR}), "balances")
    assert isinstance(event, Balance | Position)
    assert event.anchor == Anchor(instrument="BTC-USDT", trade_id="t1", side="buy", when="after")
    accept(compact(record | {"anchor": ANCHOR | {"seen": 1}}), "balances")
    for name in ANCHOR:
        less = {key: value for key, value in ANCHOR.items() if key != name}
        refuse(compact(record | {"anchor": less}), "missing_field", f"anchor.{name} is missing", stream="balances")
        refuse(compact(record | {"anchor": ANCHOR | {name: 1}}), _reason(name), name, stream="balances")
    refuse(compact(record | {"anchor": "t1"}), "wrong_type", "anchor must be an object", stream="balances")


def _reason(name: str) -> str:
    return "bad_value" if name in {"side", "when"} else "wrong_type"


@pytest.mark.parametrize("recording", ["hyperliquid", "binance_usdm"])
def test_the_recordings_are_read_the_same_in_packs_and_one_by_one(recording: str) -> None:
    by_topic: dict[tuple[Origin, Stream], list[bytes]] = {}
    for line in (DATA / recording / "events.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        stream: Stream = {"fill": "fills", "order": "orders"}.get(record["type"], "balances")  # type: ignore[assignment]
        by_topic.setdefault((record["origin"], stream), []).append(line)
    for (origin, stream), lines in by_topic.items():
        keys = [f"{record['venue']}|{record['account_id']}".encode() for record in map(json.loads, lines)]
        events = decode_pack(lines, keys, [NOW_US] * len(lines), origin, stream)
        assert not any(isinstance(event, Rejected) for event in events)
        assert events == [decode_carefully(line, origin, stream) for line in lines]


def test_no_records_give_no_events() -> None:
    assert decode_pack([], [], [], "internal", "orders") == []
