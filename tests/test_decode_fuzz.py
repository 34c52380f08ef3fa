"""Whatever the bytes: a pack is decoded as its records are one by one, and nothing is ever raised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_recon.domain.decode import Rejected, _decode_proven, _Pack, decode_carefully, decode_pack
from stream_recon.domain.events import STREAMS
from tests.test_decode import ANCHOR, BALANCE, FILL, GOOD, KEY, NOW_US, compact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream_recon.domain.events import Event, Origin, Stream

AMOUNTS = (
    "0", "-0", "1", "0.5", "-3", "00.10", "1e5", ".5", "5.", "1_0", " 1", "1\n", "+1", "9" * 20, "9" * 21, "9" * 38,
    "9" * 39, f"{'9' * 20}.{'9' * 18}", f"0.{'0' * 18}1", "\u0661", "\uff11", "NaN", "", "\x00", "1,2", '1"2', "\\",
)  # fmt: skip
TEXTS = (
    "a", "", "x" * 128, "x" * 129, "é" * 64, "é" * 65, "\x7f", "\x85", "a|b", "|", "\u2028", "\ud800", "\n", '"', "},{",
    "\\u0041", "buy", "sell", "bust", "fill", "internal", "exchange", ": ", ", ", "null", '":null',
)  # fmt: skip
NUMBERS = (
    "0", "-0", "1", "1.0", "1e3", "-1", "1.75e15", str(NOW_US), str(NOW_US // 1000), str(NOW_US * 1000), str(2**53),
    "9" * 40, "9" * 5000, "01", "NaN", "1e400", str(NOW_US + 300_000_000), str(NOW_US + 300_000_001),
    "1230768000000000", "1230767999999999",
)  # fmt: skip
SNIPPETS = (
    b" ", b"\n", b"\t", b"\x0b", b"\x00", b"\x7f", b"\xff", b"\xc2\x85", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\",
    b"\\u0041", b"\\ud800", b'"', b",", b":", b"{", b"}", b"[", b"]", b"},{", b'"x":1,', b'"x":[{}],', b'"qty":"1",',
    b'"type":"fill",', b": ", b", ", b'"fee":null,', b"null", b"true", b"0", b"-0", b"1e5", b".0", b"//", b"/**/", b"'",
    b"\xe2\x80\xa8",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, [], {}, ["a"], ANCHOR, {"a": {"a": 1}}, ANCHOR | {"when": "now"}, [[1]])

values_of_fields = st.one_of(st.sampled_from(AMOUNTS + TEXTS + OTHERS), st.text(max_size=4))


@st.composite
def records(draw: st.DrawFn, stream: Stream) -> bytes:
    """A good record, or one with some fields changed, added, doubled or dropped, written in one of many ways."""
    fitting = [record for where, record in GOOD if where == stream]
    record: dict[str, Any] = dict(draw(st.sampled_from(fitting if draw(st.integers(0, 9)) else [r for _, r in GOOD])))
    names = sorted({*record, "fee", "exec", "ref_trade_id", "anchor", "feed_seq", "recorded_us", "extra", "source"})
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        name = draw(st.sampled_from(names))
        if draw(st.booleans()):
            record[name] = draw(values_of_fields)
        else:
            record.pop(name, None)
    if draw(st.integers(0, 5)) == 0:
        record = dict(draw(st.permutations(list(record.items()))))
    separators = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (",", " :"), (" ,", ": ")]))
    text = json.dumps(record, separators=separators, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from(sorted(record) or ["type"]))
        text = text.replace(json.dumps(record.get(name)), draw(st.sampled_from(NUMBERS)), 1)
    return mutate(draw, text.encode("utf-8", "surrogatepass"))


def mutate(draw: st.DrawFn, value: bytes) -> bytes:
    """The bytes, or the bytes with something put in, cut out, doubled or flipped."""
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(value)))
        to = min(len(value), at + draw(st.integers(0, 12)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            value = value[:at] + draw(st.sampled_from(SNIPPETS)) + value[at:]
        elif kind == 1:
            value = value[:at] + value[to:]
        elif kind == 2:
            value = value[:to] + value[at:]
        elif kind == 3:
            value = value[:at] + bytes([draw(st.integers(0, 255))]) + value[at + 1 :]
        else:
            value = value[:at]
    return value


def one_by_one(  # noqa: PLR0913, PLR0917 - the parts of a Kafka record, in columns
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    times_us: Sequence[int] | None,
    origin: Origin,
    stream: Stream,
    header_counts: Sequence[int] | None = None,
) -> list[Event | Rejected]:
    return [
        decode_carefully(
            value,
            origin,
            stream,
            key=keys[i] if keys is not None else None,
            keyed=keys is not None,
            time_us=times_us[i] if times_us is not None else None,
            header_count=header_counts[i] if header_counts is not None else 0,
        )
        for i, value in enumerate(values)
    ]


def agree(value: bytes, stream: Stream, key: bytes | None = KEY) -> None:
    """One record, alone, as its own pack."""
    expected = decode_carefully(value, "exchange", stream, key=key, keyed=True, time_us=NOW_US)
    assert decode_pack([value], [key], [NOW_US], "exchange", stream) == [expected]


@pytest.mark.parametrize(("stream", "record"), GOOD, ids=lambda part: part if isinstance(part, str) else part["type"])
def test_every_field_with_every_odd_value_is_judged_alike_on_both_ways(stream: Stream, record: dict[str, Any]) -> None:
    for name in (
        *record,
        "fee",
        "exec",
        "ref_trade_id",
        "anchor",
        "feed_seq",
        "recorded_us",
        "source",
        "venue",
        "extra",
    ):
        for value in AMOUNTS + TEXTS + OTHERS:
            venue, account_id = (value if name == part else record.get(part) for part in ("venue", "account_id"))
            key = f"{venue}|{account_id}".encode("utf-8", "surrogatepass")
            written = json.dumps(record | {name: value}, separators=(",", ":"), ensure_ascii=False)
            agree(written.encode("utf-8", "surrogatepass"), stream, key)
            agree(json.dumps(record | {name: value}).encode(), stream, key)
        for number in NUMBERS:
            agree(compact(record | {name: "@"}).replace(b'"@"', number.encode()), stream)


@pytest.mark.parametrize("write", [compact, lambda record: json.dumps(record).encode()], ids=["compact", "spaced"])
def test_every_place_with_everything_put_in_or_left_out_is_judged_alike(
    write: Callable[[dict[str, Any]], bytes],
) -> None:
    value = write(BALANCE | {"anchor": ANCHOR})
    for at in range(len(value) + 1):
        for snippet in SNIPPETS:
            agree(value[:at] + snippet + value[at:], "balances")
        for length in (1, 2, 5):
            agree(value[:at] + value[at + length :], "balances")
            agree(value[: at + length] + value[at:], "balances")


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(STREAMS))
def test_a_pack_of_anything_is_what_its_records_are(data: st.DataObject, stream: Stream) -> None:
    values: list[bytes | None] = data.draw(
        st.lists(st.one_of(records(stream), records(stream), st.none()), max_size=20)
    )
    keys: list[bytes | None] | None = None
    times: list[int] | None = None
    if data.draw(st.booleans()):
        keys = data.draw(
            st.lists(st.sampled_from([KEY] * 20 + [None, b"", b"a|b|a1"]), min_size=len(values), max_size=len(values))
        )
    if data.draw(st.booleans()):
        times = [NOW_US - data.draw(st.sampled_from([0, 0, 0, 10**9])) for _ in values]
    headers = data.draw(st.sampled_from([None, [0] * len(values), [65] * len(values)]))
    expected = one_by_one(values, keys, times, "exchange", stream, headers)
    assert decode_pack(values, keys, times, "exchange", stream, headers) == expected


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_records_cut_at_the_wrong_commas_are_never_put_together(data: st.DataObject) -> None:
    """Values that only together are an array of records are not records."""
    good = [dict(FILL), FILL | {"trade_id": "},{"}, FILL | {"trade_id": ",", "instrument": "x,y"}]
    chosen = data.draw(st.lists(st.sampled_from(good), min_size=2, max_size=5))
    joined = b",".join(map(compact, chosen))
    commas = [i for i, byte in enumerate(joined) if byte == ord(",")]
    at = sorted(data.draw(st.lists(st.sampled_from(commas), unique=True, min_size=1, max_size=len(chosen) + 1)))
    values = [joined[a + 1 : b] for a, b in zip([-1, *at], [*at, len(joined)], strict=True)]
    assert b",".join(values) == joined
    assert decode_pack(values, None, None, "exchange", "fills") == one_by_one(values, None, None, "exchange", "fills")


def test_two_halves_and_a_pair_do_not_pass_as_three_records() -> None:
    whole = compact(FILL | {"trade_id": "x},{y"})
    half, other = whole.split(b"},{")
    pair = compact(FILL) + b"," + compact(FILL)
    for values in (
        [half + b"}", b"{" + other, pair],
        [pair, half + b"}", b"{" + other],
        [pair, half + b"},{" + other, b""],
    ):
        results = decode_pack(values, None, None, "exchange", "fills")
        assert results == one_by_one(values, None, None, "exchange", "fills")
        assert sum(isinstance(result, Rejected) for result in results) >= 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from(STREAMS))
def test_random_bytes_raise_nothing(values: list[bytes], stream: Stream) -> None:
    results = decode_pack(values, values, None, "internal", stream)
    assert results == one_by_one(values, values, None, "internal", stream)


def _spaced(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def _reversed(record: dict[str, Any]) -> bytes:
    return compact(dict(reversed(record.items())))


@pytest.mark.parametrize("write", [compact, _spaced, _reversed])
@pytest.mark.parametrize("stream", STREAMS)
def test_plain_records_of_any_writer_take_the_fast_path(
    stream: Stream, write: Callable[[dict[str, Any]], bytes]
) -> None:
    """What the fast path proves is worth something only if it proves it of what is usually sent."""
    values = [write(record) for where, record in GOOD if where == stream] * 3
    if stream == "balances":
        values.append(write(BALANCE | {"anchor": ANCHOR}))
    pack = _Pack(values, [KEY] * len(values), [NOW_US] * len(values), [0] * len(values), "exchange", stream)
    assert _decode_proven(pack) == (one_by_one(values, pack.keys, pack.times_us, "exchange", stream), [])
