"""Odd data by the public commands on a real broker: what cannot be read, real recordings, a chunk that came late."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.faults.books import signed_qty
from stream_recon.faults.injected import Effect, Injected
from tests.commands import run
from tests.deployment import Truth
from tests.oracles.worlds import known_instruments, recording, say, written
from tests.test_end_to_end import TIMING, lines_of, told, truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.events import Origin
    from stream_recon.faults.changes import Fault, Final
    from tests.deployment import Deployment

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
SECOND_US = 1_000_000


def bad_lines(good: dict[str, Any]) -> dict[str, bytes]:
    """A record that each rule refuses, by what is wrong with it; made of a good one, whose account stays its key."""

    def changed(**fields: Any) -> bytes:
        return msgspec.json.encode(good | fields)

    text = msgspec.json.encode(good)
    return {
        "truncated": text[:-7],
        "trailing data": text + b" {}",
        "array": b"[" + text + b"]",
        "broken utf-8": text.replace(b'"buy"', b'"b\xff"').replace(b'"sell"', b'"s\xff"'),
        "utf-16": text.decode().encode("utf-16")[:-1].replace(b"\n", b"") + b"\x00",
        "byte order mark": b"\xef\xbb\xbf" + text,
        "lone surrogate": text.replace(b'"trade_id":"', b'"trade_id":"\\ud800'),
        "deep nesting": text[:-1] + b',"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "too large": text[:-1] + b',"x":"' + b"x" * 70_000 + b'"}',
        "duplicate key": text[:-1] + b',"qty":"1"}',
        "not a number": changed(qty="NaN"),
        "infinite": changed(price="Infinity"),
        "exponent": changed(price="1e3"),
        "too many digits": changed(qty="1" * 39),
        "too many decimals": changed(qty="0." + "1" * 19),
        "digits of another script": changed(qty="\u0661"),
        "underscore": changed(qty="1_000"),
        "spaces": changed(qty=" 1 "),
        "no quantity": changed(qty="0"),
        "negative quantity": changed(qty="-1"),
        "no price": changed(price="0"),
        "a float's number": text.replace(b'"qty":"', b'"qty":1e5,"was":"'),
        "missing field": msgspec.json.encode({name: value for name, value in good.items() if name != "order_id"}),
        "wrong type": changed(instrument=5),
        "unknown side": changed(side="hold"),
        "unknown type": changed(type="trade"),
        "identifier too long": changed(trade_id="x" * 129),
        "control character": changed(trade_id="a\u0007"),
        "seconds": changed(ts_us=good["ts_us"] // SECOND_US),
        "nanoseconds": changed(ts_us=good["ts_us"] * 1000),
        "the future": changed(ts_us=good["ts_us"] + 86_400 * SECOND_US),
        "bust of nothing": changed(exec="bust"),
    }


def test_bad_records_between_good_ones_are_put_aside_untouched_and_delay_nothing(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    faults: dict[Fault, int] = {
        "price": 5,
        "fee": 5,
        "quantity": 5,
        "conflicting_duplicate": 5,
        "correction_one_side": 5,
    }
    one = told(6, faults)
    lines: list[bytes] = []
    bad: Counter[bytes] = Counter()
    accounts: set[tuple[str, str]] = set()
    for number, event in enumerate(lines_of(one)):
        lines.append(msgspec.json.encode(event))
        if event["type"] == "fill" and event["account_id"].endswith("-0") and number % 15 == 0:
            each = list(bad_lines(event).values())
            line = each[bad.total() % len(each)]
            lines.append(line)
            bad[line] += 1
            accounts.add((event["origin"], f"{event['venue']}|{event['account_id']}"))
    assert bad.total() > 2 * len(each)
    (tmp_path / "mixed").write_bytes(b"\n".join(lines) + b"\n")
    place = deploy(TIMING.contracts())
    place.worker()
    place.finish(place.start_publishing(tmp_path / "mixed", "--raw"))
    place.settle()

    sources = {place.plan.source(origin, "fills"): place.records(f"{origin}.fills") for origin in ORIGINS}
    lying = {(topic, r.partition, r.offset): (r.key, r.value) for topic, found in sources.items() for r in found}
    dead = place.records("dlq")
    assert Counter(record.value for record in dead) == bad
    for record in dead:
        headers = {name: value.decode() for name, value in record.headers}
        where = (
            headers["recon.error.topic"],
            int(headers["recon.error.partition"]),
            int(headers["recon.error.offset"]),
        )
        assert lying[where] == (record.key, record.value)
        assert headers["recon.error.reason"]
        assert headers["recon.error.stage"] == "decode"
    conditions = frozenset(("SCHEMA_ERROR", origin, account) for origin, account in accounts)
    # Of an account with records that cannot be read, nothing can be said of what moves it; of all others, everything.
    doubted = frozenset(account for _, account in accounts)
    assert place.wrong(truth(one)._replace(conditions=conditions, doubted=doubted)) == []


WHALE = "hyperliquid|0x72c6a4624e1dffa724e6d00d64ceae698af892a0"
TRUE_BREAKS = {
    "hyperliquid": [
        Injected(
            "position_gap", "exchange", "195.98118408 of @107 left an account without a fill", (WHALE, "@107"),
            (("position_mismatch", WHALE, "exchange:cross", "@107"),), "OPEN",
            span_us=(1_737_714_660_000_000, 1_737_756_240_000_000),
        )
    ],
    "binance_usdm": [],
}  # fmt: skip


@pytest.mark.parametrize("venue", TRUE_BREAKS)
def test_of_real_recordings_exactly_the_true_breaks_are_found_from_topics_as_from_files(
    deploy: Callable[..., Deployment], venue: str
) -> None:
    contracts, instruments = EXAMPLES / "contracts" / f"{venue}.yaml", EXAMPLES / "instruments.json"
    path = HERE / "data" / venue / "events.jsonl"
    place = deploy(contracts, instruments)
    worker = place.worker()
    place.publish(path)
    place.settle()
    heard = worker.metric("stream_recon_events_total") - worker.metric("stream_recon_events_total", kind="heartbeat")
    assert heard == len(recording(venue))
    oracle = say(recording(venue), written(venue), known_instruments())
    assert place.wrong(Truth(TRUE_BREAKS[venue], oracle.breaks)) == []
    found = [json.loads(value) for value in place.newest().values()]
    assert [alert["residual"] for alert in found] == ["-195.98118408" for _ in TRUE_BREAKS[venue]]
    done = run("reconcile", path, "--contracts", contracts, "--instruments", instruments, "--output", "json")
    assert (done.code, done.json["conditions"]) == (1 if found else 0, [])
    assert without_places(done.json["breaks"]) == without_places(found)


def without_places(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alerts, whatever log they rest on."""
    return [alert | {"evidence": [(each["origin"], each["record"]) for each in alert["evidence"]]} for alert in alerts]


def chunk_told_late() -> tuple[dict[Origin, list[dict[str, Any]]], list[Injected]]:
    """Two logs of 3 minutes; 300 fills of the exchange come 67 s late, some never. What must be said of that."""
    start_us = time.time_ns() // 1000 - 400 * SECOND_US
    logs: dict[Origin, list[dict[str, Any]]] = {}
    for origin in ORIGINS:
        logs[origin] = [
            {
                "type": "fill",
                "origin": origin,
                "venue": "venue",
                "account_id": f"account-{n % 16}",
                "event_id": f"{origin}:{n}",
                "ts_us": start_us + n * 20_000,
                "instrument": "BTC-USD",
                "trade_id": str(n),
                "order_id": f"order-{n // 3}",
                "side": "buy" if n % 3 else "sell",
                "qty": f"{n % 97 + 1}.5",
                "price": "36012.1",
            }
            for n in range(9_000)
        ]
    log = logs["exchange"]
    late, never = log[2_000:2_300], log[5_000:5_010]
    later = 2_300 + 67 * 50
    logs["exchange"] = [*log[:2_000], *log[2_300:5_000], *log[5_010:later], *late, *log[later:]]
    return logs, [absent(fill, "CLEARED") for fill in late] + [absent(fill, "OPEN") for fill in never]


def absent(fill: dict[str, Any], final: Final) -> Injected:
    """That the exchange did not tell a fill in time, or never; a window may be off because of it."""
    key = (f"venue|{fill['account_id']}", fill["instrument"], fill["trade_id"], fill["side"])
    net = ("net_change_mismatch", key[0], "internal:exchange", fill["instrument"])
    fault: Fault = "drop_exchange" if final == "OPEN" else "delay_beyond_grace"
    return Injected(
        fault, "exchange", "", key, (("missing_exchange", *key),), final,
        (Effect(net, -signed_qty(fill)),), (fill["ts_us"], fill["ts_us"]),
    )  # fmt: skip


def test_a_chunk_that_came_late_ends_the_same_however_the_topics_are_read(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    logs, injected = chunk_told_late()
    for origin, events in logs.items():
        (tmp_path / origin).write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    contracts = Contracts(contracts=tuple(FeedContract(origin=origin, grace_us=20 * SECOND_US) for origin in ORIGINS))
    for order in (ORIGINS, ORIGINS[::-1]):
        place = deploy(contracts)
        place.worker()
        for origin in order:
            place.publish(tmp_path / origin)
            place.settle()
        assert place.wrong(Truth(injected)) == []
    place = deploy(contracts)
    both = [place.start_publishing(tmp_path / origin) for origin in ORIGINS]
    for publishing in both:
        place.finish(publishing)
    place.worker("plain")  # reads what has piled up, as it comes
    place.settle()
    assert place.wrong(Truth(injected)) == []
