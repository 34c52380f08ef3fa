"""Fills sorted out in columns, in worlds where most agree: what comes of them is, to the last byte, what the core says.

Here the core may be left with any part of the lines, so that small worlds are sifted too, and the order of alerts
counts. That two different texts have the same hashes cannot be tried.
"""

from __future__ import annotations

import gzip
import json
import random
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_recon.columnar import sift as sifting
from stream_recon.columnar.replay import RestReader, replay
from stream_recon.columnar.sift import PlainFile, Sifter, sift
from stream_recon.columnar.template import template_of, templates_of
from stream_recon.columnar.told import SIDES, Amounts, Checked, table_of
from stream_recon.core.lane import Lane
from stream_recon.data import hyperliquid_fills
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.decode import decode_carefully
from stream_recon.domain.events import ORIGINS, Fill
from stream_recon.files import FileComparison, open_lines, reconcile
from tests.simulation import START_US as WORLD_US
from tests.simulation import world
from tests.test_decode import FILL, compact
from tests.test_decode_fuzz import records
from tests.test_end_to_end_data import bad_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.columnar.template import Templates
    from stream_recon.domain.events import Origin
    from stream_recon.files import Outcome

DATA = Path(__file__).parent / "data"
START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
Files = dict["Origin | None", list[bytes]]


def wrote(folder: Path, files: Files) -> list[PlainFile]:
    """The files, on disk."""
    found = []
    for origin, lines in files.items():
        path = folder / f"{origin or 'both'}.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        found.append(PlainFile(path, path.name, origin))
    return found


def by_the_core(files: Iterable[PlainFile], contracts: Contracts, *, columnar: bool | None = False) -> Outcome:
    with ExitStack() as stack:
        opened = [(stack.enter_context(open_lines(file.path)), file.name, file.origin) for file in files]
        return reconcile(opened, contracts, columnar=columnar)


def said(outcome: Outcome) -> tuple[list[bytes], Any]:
    """All of it, alerts as bytes and in their order."""
    return [msgspec.json.encode(alert) for alert in outcome.newest], outcome[1:]


def taken_out(folder: Path, files: Files, contracts: Contracts, sifter: type[Sifter] | None = None) -> int | None:
    """How many lines the core is spared, the outcome being the same; None: it has to take all.

    Raises:
        AssertionError: the outcome is another.
    """
    plain = wrote(folder, files)
    sifted = sift(plain, contracts, most_left=1, sifter=sifter)
    if sifted is None:
        return None
    assert said(replay(sifted, FileComparison(contracts))) == said(by_the_core(plain, contracts))
    return sifted.taken_out


# -- worlds -----------------------------------------------------------------------------------------------------------


def line(event: dict[str, Any], style: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps({name: value for name, value in event.items() if value is not None}, separators=style).encode()


def fill_of(number: int, accounts: int = 1) -> dict[str, Any]:
    return {
        "type": "fill", "origin": "", "venue": "v1", "account_id": f"a{number % accounts}", "event_id": f"e{number}",
        "ts_us": START_US + number * 10_000, "instrument": "BTC", "trade_id": f"t{number}", "order_id": "o",
        "side": "buy", "qty": "1", "price": "100", "fee": "0.1", "fee_asset": "USDT",
    }  # fmt: skip


def agreeing(number: int, accounts: int = 1) -> Files:
    """So many fills, told alike."""
    return {origin: [line(fill_of(n, accounts) | {"origin": origin}) for n in range(number)] for origin in ORIGINS}


def readable(lines: dict[str, bytes]) -> dict[str, bytes]:
    """The lines that do not keep DuckDB from reading all others."""
    found = {}
    for name, text in lines.items():
        try:
            text.decode()
        except UnicodeDecodeError:
            continue
        if not any(sign in text for sign in (b"\r", b"\n", b"\x01", b"\x02")) and text.strip():
            found[name] = text
    return found


def drawn_contracts(rng: random.Random) -> Contracts:
    """Mostly the same for all, sometimes by account, or with a tolerance or sources that are named."""
    found = []
    for origin in ORIGINS:
        common: dict[str, Any] = {
            "origin": origin,
            "grace_us": rng.choice((0, 2, 5, 60, 60, 60)) * SECOND_US,
            "order_within_us": rng.choice((0, 1, 2)) * SECOND_US,
            "sources": rng.choice((None, None, None, (f"{origin}|v1",), ("gw1", "gw2"))),
            "tolerance": rng.choice(({}, {}, {"price": "0.5", "fee": "0.01"})),
            "silence": rng.choice(("stale", "trust")),
        }
        if rng.random() < 0.2:
            found.append(FeedContract(**common | {"account": "a2", "fills": rng.choice(("partial", "absent"))}))
        if rng.random() < 0.2:
            found.append(FeedContract(**common | {"account": "a3", "grace_us": 9 * SECOND_US, "order_within_us": 0}))
        if rng.random() < 0.1:
            found.append(FeedContract(**common | {"account": "a1", "positions": "complete"}))
        if rng.random() < 0.8:
            found.append(FeedContract(**common))
    return Contracts(contracts=tuple(found))


FAULTS = ("missing", "twice", "conflict", "late", "early", "price", "near", "fee", "zeros", "nofee", "odd", "amended",
          "garbage", "beat", "wrong", "oddly")  # fmt: skip
CHANGED: dict[str, dict[str, Any]] = {
    "price": {"price": "99"}, "near": {"price": "100.2"}, "fee": {"fee": "0.105"}, "zeros": {"fee": "0.10"},
    "nofee": {"fee": None}, "wrong": {"qty": "1e2"},
}  # fmt: skip
ODD: tuple[dict[str, Any], ...] = (
    {"extra": [1]}, {"liquidity": "maker"}, {"position_side": "long"}, {"trade_id": "é"}, {"qty": 5}, {"exec": "trade"},
    {"fee": "-0"}, {"qty": "007.5"}, {"ts_us": 1}, {"client_order_id": "c"}, {"venue": "v9"}, {"realized_pnl": "-1.5"},
)  # fmt: skip


def drawn_files(rng: random.Random) -> Files:
    """Both sides of some hundred fills, with faults, in two files or in one."""
    number = rng.choice((30, 100, 300, 300, 1_200))
    venues = rng.choice((("v1",), ("v1",), ("v1", "v2")))
    accounts = rng.choice((("a1",), ("a1", "a2", "a3"), tuple(f"a{n}" for n in range(8))))
    sources = rng.choice((None, None, None, ("gw1",), ("gw1", "gw2", None)))
    faulty = rng.choice((0.0, 0.01, 0.05, 0.2))
    apart_us = rng.choice((5_000, 100_000, 1_000_000))
    jitter = rng.choice((0, 0, 5, 40))
    skew_us = rng.choice((0, 0, 0, 1_500, 900_000))
    style = {origin: rng.choice(((",", ":"), (",", ":"), (", ", ": "))) for origin in ORIGINS}
    scale = rng.random() < 0.2
    odd = rng.random() < 0.3
    reports: dict[Origin, list[tuple[float, bytes]]] = {origin: [] for origin in ORIGINS}
    for n in range(number):
        base: dict[str, Any] = {
            "type": "fill", "origin": None, "venue": rng.choice(venues), "account_id": rng.choice(accounts),
            "event_id": f"e{n}", "ts_us": START_US + n * apart_us, "source": None,
            "instrument": rng.choice(("BTC", "ETH")), "trade_id": f"t{n}", "order_id": f"o{n // 3}",
            "side": rng.choice(("buy", "sell")), "qty": f"{n % 7 + 1}.5", "price": f"{100 + n % 13}", "fee": "0.1",
            "fee_asset": "USDT",
        }  # fmt: skip
        fault = rng.choice(FAULTS) if rng.random() < faulty else ""
        for origin in ORIGINS:
            event = base | {"origin": origin, "source": rng.choice(sources) if sources else None}
            if origin == "exchange":
                event["ts_us"] += rng.randint(0, skew_us)
                event |= {"qty": event["qty"] + "00"} if scale else {}
            at = n + rng.random() * jitter
            if fault in {"late", "early"}:
                at += rng.choice((3, 30, 300)) * (1 if fault == "late" else -1)
            told = told_with(rng, fault, event, odd=odd)
            reports[origin] += [(at, line(each, style[origin])) for each in told]
            if odd:
                reports[origin] += [(at + later, text) for later, text in beside(rng, fault, event, n * apart_us)]
    if rng.random() < 0.3:
        both = sorted((at, text) for told in reports.values() for at, text in told)
        return {None: [text for _, text in both]}
    return {origin: [text for _, text in sorted(told)] for origin, told in reports.items()}


def told_with(rng: random.Random, fault: str, event: dict[str, Any], *, odd: bool) -> list[dict[str, Any]]:
    """What is told of one fill."""
    theirs = event["origin"] == "exchange"
    if fault == "missing":
        return [] if theirs == (event["side"] == "buy") else [event]
    if fault == "twice":
        return [event, event]
    if fault == "oddly":
        return [event, event | {"extra": 1, "price": "8"}]
    if fault == "conflict" and theirs:
        return [event, event | {"price": "7"}]
    if fault == "odd" and odd:
        return [event | rng.choice(ODD)]
    return [event | CHANGED[fault]] if fault in CHANGED and theirs else [event]


def beside(rng: random.Random, fault: str, event: dict[str, Any], after_us: int) -> list[tuple[int, bytes]]:
    """What is told beside it, so much later."""
    if fault == "amended":
        change = {"exec": rng.choice(("correction", "bust")), "trade_id": f"c{event['trade_id']}", "price": "8"}
        return [(rng.randint(-1, 9), line(event | change | {"ref_trade_id": event["trade_id"]}))]
    if fault == "garbage":
        good = {name: value for name, value in event.items() if value is not None}
        return [(0, rng.choice(sorted(readable(bad_lines(good)).values())))]
    if fault == "beat":
        through_us = START_US + max(after_us - rng.randint(0, 9) * 100_000, 0)
        beat = {"type": "heartbeat", "origin": event["origin"], "source": f"{event['origin']}|v1"}
        return [(0, line(beat | {"through_us": through_us}))]
    return []


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_worlds_of_many_fills_come_out_as_the_core_alone_has_them(first: int, tmp_path: Path) -> None:
    spared = 0
    for seed in range(first, first + 10):
        rng = random.Random(seed)
        try:
            spared += taken_out(tmp_path, drawn_files(rng), drawn_contracts(rng)) or 0
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert spared > 300


def test_small_worlds_full_of_trouble_come_out_the_same_among_fills_that_agree(tmp_path: Path) -> None:
    spared = 0
    for seed in range(100):
        one = world(random.Random(seed))
        files: Files = {}
        for origin in ORIGINS:
            quiet = [fill_of(n, accounts=3) | {"origin": origin, "ts_us": WORLD_US + n * 100_000} for n in range(300)]
            told = [*one.logs[origin], *((event["ts_us"], event) for event in quiet)]
            files[origin] = [line(event) for _, event in sorted(told, key=lambda each: each[0])]
        try:
            spared += taken_out(tmp_path, files, one.contracts) or 0
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert spared > 10_000


def test_only_what_keeps_the_order_of_accounts_is_left_where_all_agrees(tmp_path: Path) -> None:
    assert taken_out(tmp_path, agreeing(1_000), Contracts()) == 2 * (1_000 - 1)  # the first line of the one account


def test_amounts_that_are_written_otherwise_are_compared_as_numbers(tmp_path: Path) -> None:
    files = agreeing(1_000)
    files["exchange"] = [text.replace(b'"price":"100"', b'"price":"100.00"') for text in files["exchange"]]
    assert taken_out(tmp_path, files, Contracts()) == 2 * (1_000 - 1)


def test_what_agrees_only_within_a_tolerance_is_for_the_core(tmp_path: Path) -> None:
    files = agreeing(1_000)
    files["exchange"][500] = files["exchange"][500].replace(b'"price":"100"', b'"price":"100.5"')
    within = Contracts(contracts=(FeedContract(origin="exchange", tolerance={"price": "0.5"}),))
    assert taken_out(tmp_path, files, within) == 2 * (1_000 - 2)


def test_an_account_with_an_amendment_is_for_the_core_whole(tmp_path: Path) -> None:
    files = agreeing(1_000, accounts=10)
    amended = {"account_id": "a3", "trade_id": "c", "exec": "bust", "ref_trade_id": "t503"}
    files["internal"].append(line(fill_of(1_000) | {"origin": "internal"} | amended))
    assert taken_out(tmp_path, files, Contracts()) == 2 * (900 - 9)


def test_an_account_of_which_a_line_cannot_be_read_is_for_the_core_whole(tmp_path: Path) -> None:
    for origin in ORIGINS:
        files = agreeing(1_000, accounts=10)
        files[origin][503] = line(fill_of(503, accounts=10) | {"origin": origin, "qty": "1e2"})
        assert taken_out(tmp_path, files, Contracts()) == 2 * (900 - 9)


def test_what_looks_like_a_fill_to_the_columns_but_is_refused_hides_no_watermark(tmp_path: Path) -> None:
    # Amounts of the exchange are not looked at where both write them alike: it turns out to be refused by the core.
    files: Files = {origin: [] for origin in ORIGINS}
    for origin in ORIGINS:
        files[origin] = agreeing(4_000, accounts=10)[origin]
        files[origin].insert(5, line(fill_of(5) | {"origin": origin, "account_id": "b", "trade_id": "first"}))
    late = files["exchange"].pop(3_001)
    ahead = {"origin": "exchange", "account_id": "b", "trade_id": "bad", "qty": "1e2", "ts_us": START_US + 38_900_000}
    files["exchange"].insert(3_500, line(fill_of(3_500) | ahead))
    files["exchange"].insert(3_800, late)  # when its feed had passed the time at which it was due
    assert (taken_out(tmp_path, files, Contracts()) or 0) > 2 * 3_500


def test_an_account_under_a_contract_that_promises_more_is_for_the_core_whole(tmp_path: Path) -> None:
    more = Contracts(contracts=(FeedContract(origin="internal", account="a3", balances="partial"),))
    assert taken_out(tmp_path, agreeing(1_000, accounts=10), more) == 2 * (900 - 9)


GOOD = {"origin": "internal", "type": "fill", "venue": "v1", "account_id": "a3", "event_id": "e", "ts_us": START_US,
        "instrument": "BTC", "trade_id": "bad", "order_id": "o", "side": "buy", "qty": "1", "price": "100",
        "fee": "0.1", "fee_asset": "USDT"}  # fmt: skip


@pytest.mark.parametrize("what", sorted(bad_lines(GOOD)))
def test_every_line_that_is_refused_is_refused_beside_what_is_taken_out(what: str, tmp_path: Path) -> None:
    files = agreeing(1_000, accounts=10)
    files["internal"].insert(500, bad_lines(GOOD)[what])
    spared = taken_out(tmp_path, files, Contracts())
    if what in readable(bad_lines(GOOD)):
        assert spared is not None
        assert spared >= 2 * (900 - 9) or what == "the future"  # after that, all are late


@pytest.mark.parametrize(
    "odd", [b"", b"  ", b"x\x01y", b"\xff", b"\x02"],
    ids=("blank", "spaces", "the sign that divides columns", "no UTF-8", "the sign that stands for nothing"),
)  # fmt: skip
def test_a_file_that_cannot_be_read_line_by_line_beyond_doubt_is_for_the_core(odd: bytes, tmp_path: Path) -> None:
    files = agreeing(100)
    files["exchange"].insert(50, odd)
    plain = wrote(tmp_path, files)
    assert sift(plain, Contracts(), most_left=1) is None
    assert said(by_the_core(plain, Contracts(), columnar=True)) == said(by_the_core(plain, Contracts()))


@pytest.mark.parametrize("name", ["position", "order", "feed_seq", "carriage returns", "no line feed at the end"])
def test_what_files_hold_beside_plain_fills_decides_who_reads_them(name: str, tmp_path: Path) -> None:
    files = agreeing(100)
    position = {"type": "position", "origin": "internal", "venue": "v1", "account_id": "a0", "event_id": "p",
                "ts_us": START_US, "instrument": "BTC", "qty": "1"}  # fmt: skip
    order = {"type": "order", "side": "buy", "cum_qty": "0", "status": "open", "order_id": "o"}
    if name in {"position", "order"}:
        files["internal"].insert(60, line(position | (order if name == "order" else {})))
    elif name == "feed_seq":
        files["internal"][60] = line(fill_of(60) | {"origin": "internal", "feed_seq": 7})
    plain = wrote(tmp_path, files)
    text = plain[0].path.read_bytes()
    plain[0].path.write_bytes(text.replace(b"\n", b"\r\n") if "returns" in name else text.rstrip(b"\n"))
    assert (sift(plain, Contracts(), most_left=1) is None) == (name != "no line feed at the end")
    assert said(by_the_core(plain, Contracts(), columnar=True)) == said(by_the_core(plain, Contracts()))


def test_packed_files_are_read_by_the_core(tmp_path: Path) -> None:
    plain = wrote(tmp_path, agreeing(100))
    expected = said(by_the_core(plain, Contracts()))
    plain[0].path.write_bytes(gzip.compress(plain[0].path.read_bytes()))
    assert said(by_the_core(plain, Contracts(), columnar=True)) == expected


@pytest.mark.parametrize("name", ["hyperliquid", "binance_usdm"])
def test_the_fills_of_recordings_come_out_the_same(name: str, tmp_path: Path) -> None:
    lines = (DATA / name / "events.jsonl").read_bytes().splitlines()
    told = [event for event in map(json.loads, lines) if event["type"] == "fill"]
    files: Files = {origin: [line(each | {"origin": origin}) for each in told] for origin in ORIGINS}
    del files["exchange"][7::100]
    contracts = Contracts(contracts=tuple(FeedContract(origin=origin, grace_us=60 * SECOND_US) for origin in ORIGINS))
    assert (taken_out(tmp_path, files, contracts) or 0) > len(told)


def test_the_recording_of_the_package_comes_out_the_same_with_faults_in_it(tmp_path: Path) -> None:
    rng = random.Random(1)
    files: Files = {
        origin: [
            line(fill | {"origin": origin} | ({"price": "1"} if rng.random() < 0.01 else {}))
            for fill in hyperliquid_fills()
            for _ in range(rng.choice((0, 2)) if rng.random() < 0.01 else 1)
        ]
        for origin in ORIGINS
    }
    assert (taken_out(tmp_path, files, Contracts()) or 0) > 5_000


# -- what is proven of a line -----------------------------------------------------------------------------------------


def proven(
    folder: Path, lines: list[bytes], origin: Origin | None = "exchange", templates: Templates | None = None
) -> list[int | None]:
    """Of each line its time where it is proven; templates are those of all lines, where none are given."""
    path = folder / "lines.jsonl"
    path.write_bytes(b"".join(text + b"\n" for text in lines))
    checked = Checked(templates or templates_of(lines, origin), Amounts.DECIMAL, True, "", SIDES["exchange"])
    with duckdb.connect(config={"threads": 1}) as base:
        rows = base.execute(f"SELECT at_us FROM ({table_of(path, checked, careful=True)})").fetchall()  # noqa: S608
    assert len(rows) == len(lines)
    return [at_us for (at_us,) in rows]


def is_plain(text: bytes) -> bool:
    fill = decode_carefully(text, "exchange", "fills")
    return (
        isinstance(fill, Fill)
        and fill.exec in {None, "trade"}
        and (fill.feed_seq, fill.feed_epoch, fill.ref_trade_id) == (None, None, None)
    )


@given(texts=st.lists(records("fills"), min_size=20, max_size=20))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_line_is_proven_that_the_definition_does_not_take_for_that_fill(texts: list[bytes], tmp_path: Path) -> None:
    several = readable({str(n): text for n, text in enumerate(texts)})
    lines = [compact(FILL), *(text for text in several.values() if not text.startswith(b"\xef\xbb\xbf"))]
    for text, at_us in zip(lines, proven(tmp_path, lines), strict=True):
        if at_us is not None:
            assert is_plain(text), text
            assert json.loads(text)["ts_us"] == at_us


FORGED = {
    "a number as long as it takes": compact(FILL).replace(b'"qty":"0.5"', b'"qty":1e5').replace(b"{", b"{" + b" " * 7),
    "an escape": compact(FILL | {"trade_id": "?"}).replace(b"?", b"\\u0041"),
    "a quote": compact(FILL | {"trade_id": 'a"b'}),
    "an object": compact(FILL | {"trade_id": {"a": 1}}),
    "a list": compact(FILL | {"trade_id": ["a"]}),
    "a field twice, the second time another": compact(FILL)[:-1] + b',"qty":"7"}',
    "a field twice, the first time another": b'{"qty":"7",' + compact(FILL)[1:],
    "an unknown field": compact(FILL | {"more": "x"}),
    "a number of its source": compact(FILL | {"feed_seq": 7}),
    "a correction": compact(FILL | {"exec": "correction", "ref_trade_id": "t0"}),
    "an exponent": compact(FILL | {"qty": "1e2"}),
    "zero": compact(FILL | {"qty": "0.0"}),
    "below zero": compact(FILL | {"price": "-1"}),
    "an empty name": compact(FILL | {"trade_id": ""}),
    "a long name": compact(FILL | {"trade_id": "x" * 129}),
    "DEL": compact(FILL | {"trade_id": "\x7f"}),
    "a control character of Latin 1": compact(FILL | {"trade_id": "\x85"}),
    "a venue with a bar": compact(FILL | {"venue": "a|b"}),
    "a time with an exponent": compact(FILL).replace(b"1750000000000000", b"1.75000000000e15"),
    "a time with a capital exponent": compact(FILL).replace(b"1750000000000000", b"1.75000000000E15"),
    "a time with a fraction": compact(FILL).replace(b"1750000000000000", b"1750000000000.25"),
    "a time below zero": compact(FILL).replace(b"1750000000000000", b"-175000000000000"),
    "a time in a list": compact(FILL).replace(b"1750000000000000", b"[17500000000000]"),
    "a time after 2255": compact(FILL | {"ts_us": 9_007_199_254_740_992}),
    "a time in seconds": compact(FILL | {"ts_us": 1_750_000_000}),
    "a time before 2009": compact(FILL | {"ts_us": 1_230_767_999_999_999}),
    "a time in quotes": compact(FILL | {"ts_us": "1750000000000000"}),
    "another side": compact(FILL | {"side": "hold"}),
    "another origin": compact(FILL | {"origin": "internal"}),
    "another type": compact(FILL | {"type": "order"}),
    "more after it": compact(FILL) + b"{}",
    "a comma too many": compact(FILL)[:-1] + b",}",
    "a comment": compact(FILL) + b"//",
    "null": compact(FILL).replace(b'"t1"', b"null"),
    "a fraction of a point": compact(FILL | {"qty": "5."}),
    "nothing before the point": compact(FILL | {"qty": ".5"}),
    "19 decimals": compact(FILL | {"qty": f"0.{'1' * 19}"}),
    "digits of another script": compact(FILL | {"qty": "\u0661"}),
}


OTHER = FILL | {"venue": "v9", "account_id": "a9", "event_id": "e9", "instrument": "I9", "trade_id": "t9",
                "order_id": "o9", "side": "sell" if FILL["side"] == "buy" else "buy"}  # fmt: skip


@pytest.mark.parametrize("first", [FILL, OTHER], ids=["constants are known", "no value is constant"])
def test_nothing_but_plain_fills_is_proven_and_plain_fills_are(first: dict[str, Any], tmp_path: Path) -> None:
    good = [
        compact(first),
        compact(FILL | {"qty": "1", "price": "0.000000000000000001"}),
        compact(FILL | {"trade_id": "x" * 128, "order_id": "?"}),
    ]
    found = proven(tmp_path, [*good, *FORGED.values()])
    assert None not in found[: len(good)]
    assert dict(zip(FORGED, found[len(good) :], strict=True)) == dict.fromkeys(FORGED)


def test_a_file_may_write_its_fills_in_several_ways(tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        FILL | {"fee": "-0.1", "fee_asset": "USDT"},
        FILL
        | {"liquidity": "maker", "position_side": "long", "exec": "trade", "source": "gw", "recorded_us": START_US},
        dict(reversed(FILL.items())) | {"client_order_id": "c", "realized_pnl": "-0.5"},
    ]
    lines = [compact(FILL), *(line(way, (", ", ": ")) for way in ways)]
    assert None not in proven(tmp_path, lines)
    assert None not in proven(tmp_path, lines, None)


@pytest.mark.parametrize("name", sorted(set(FORGED) - {"another origin"}))
def test_no_template_is_taken_from_what_is_no_plain_fill(name: str) -> None:
    assert template_of(FORGED[name], "exchange") is None or is_plain(FORGED[name])


def test_what_is_not_as_constant_as_it_seemed_is_not_proven(tmp_path: Path) -> None:
    constant = {name for name in OTHER if OTHER[name] != FILL[name]}
    templates = templates_of([compact(FILL)], "exchange")
    assert templates.constants == {name: FILL[name] for name in constant}
    lines = [compact(FILL), *(compact(FILL | {name: OTHER[name]}) for name in constant)]
    assert proven(tmp_path, lines, templates=templates) == [FILL["ts_us"], *[None] * len(constant)]


@pytest.mark.parametrize("name", ["venue", "account_id", "instrument", "side", "fee_asset", "position_side"])
def test_constants_of_two_files_are_compared(name: str, tmp_path: Path) -> None:
    other = {name: {"side": "sell", "position_side": "short"}.get(name, "it's another")}
    agreed: Files = {
        origin: [line(fill_of(n) | {"position_side": "long"} | other | {"origin": origin}) for n in range(100)]
        for origin in ORIGINS
    }
    assert taken_out(tmp_path, agreed, Contracts()) == 2 * (100 - 1)
    files = agreed | {
        "internal": [line(fill_of(n) | {"position_side": "long", "origin": "internal"}) for n in range(100)]
    }
    assert taken_out(tmp_path, files, Contracts()) == 0


def test_a_value_that_no_sampled_line_has_is_for_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sifting, "SAMPLED", 10)
    changed = {"venue": "v2", "instrument": "ETH", "fee_asset": "USDC"}
    fills = [fill_of(n) | (changed if n % 10 == 9 and n > 100 else {}) for n in range(900)]
    files: Files = {origin: [line(fill | {"origin": origin}) for fill in fills] for origin in ORIGINS}
    assert taken_out(tmp_path, files, Contracts()) == 2 * (900 - 80 - 1)


def test_places_all_over_a_long_file_are_sampled(tmp_path: Path) -> None:
    fills = [fill_of(n) | ({"venue": "v2", "instrument": "ETH"} if n > 2_000 else {}) for n in range(4_000)]
    files: Files = {origin: [line(fill | {"origin": origin}) for fill in fills] for origin in ORIGINS}
    assert taken_out(tmp_path, files, Contracts()) == 2 * (4_000 - 2)


def test_no_fee_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    # That an amount of the exchange is none is not looked at by the columns.
    files = agreeing(1_000, accounts=10)
    files["internal"][503] = line(fill_of(503, accounts=10) | {"origin": "internal", "fee": None})
    files["exchange"][503] = line(fill_of(503, accounts=10) | {"origin": "exchange", "fee": ""})
    files["internal"][14] = line(fill_of(14, accounts=10) | {"origin": "internal", "fee": None})
    assert taken_out(tmp_path, files, Contracts()) == 2 * (900 - 9 - 1)


# -- that all this would be noticed -----------------------------------------------------------------------------------


class WithoutLate(Sifter):
    """Takes out what came late."""

    def _late(self) -> None:
        pass


class WithoutBarred(Sifter):
    """Takes out pairs of accounts that are amended, or of which something cannot be read."""

    def _leave(self) -> int:
        self.barred.clear()
        return super()._leave()


class WithoutDoubled(Sifter):
    """Takes out pairs whose key was told again by a line that is not proven."""

    def _bar(self) -> None:
        pass


class WithoutContent(Sifter):
    """Takes out pairs whatever they say."""

    def _tell(self) -> None:
        super()._tell()
        for number, file in enumerate(self.files):
            side = SIDES[file.origin or "internal"]
            self.base.execute(f"UPDATE told_{number} SET said = {side}")  # noqa: S608 - our own numbers


class WithoutFirsts(Sifter):
    """Takes out the first lines of accounts too."""

    def _pair(self) -> None:
        self.base.execute("DELETE FROM kept")
        super()._pair()


def noticed(folder: Path, sifter: type[Sifter] | None) -> bool:
    """Whether any of many worlds comes out otherwise, or not at all."""
    for seed in range(60):
        rng = random.Random(seed)
        try:
            taken_out(folder, drawn_files(rng), drawn_contracts(rng), sifter)
        except (AssertionError, KeyError):
            return True
    return False


@pytest.mark.parametrize(
    "wrong", [WithoutLate, WithoutBarred, WithoutDoubled, WithoutContent, WithoutFirsts], ids=lambda each: each.__name__
)
def test_a_pass_that_takes_out_too_much_is_noticed(wrong: type[Sifter], tmp_path: Path) -> None:
    assert noticed(tmp_path, wrong)


def test_watermarks_that_are_not_kept_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(RestReader, "_pass_over", nothing)
    assert noticed(tmp_path, None)


def due_in_turn() -> Files:
    """Two venues, fill by fill in turn, of which each lacks two fills near by, and nothing else is wrong."""
    turns: Files = {
        origin: [text.replace(b'"v1"', b'"v2"') if n % 2 else text for n, text in enumerate(lines)]
        for origin, lines in agreeing(1_900).items()
    }
    del turns["exchange"][100:104]
    return turns


def test_what_falls_due_in_two_feeds_does_so_in_turn(tmp_path: Path) -> None:
    assert taken_out(tmp_path, due_in_turn(), Contracts()) == 2 * (1_896 - 2)


def test_what_falls_due_a_line_later_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lane, "wakes_at_us", lambda *_: 1 << 62)
    with pytest.raises(AssertionError):
        taken_out(tmp_path, due_in_turn(), Contracts())
