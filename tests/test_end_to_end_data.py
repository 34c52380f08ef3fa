"""Odd data by the public commands on a real broker: what cannot be read, real recordings, a chunk that came late."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.data import hyperliquid_fills
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.faults.plan import plan
from tests.test_end_to_end import TIMING, truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.events import Origin
    from stream_recon.faults.changes import Fault
    from tests.deployment import Deployment, Finding

HERE = Path(__file__).parent
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
    fills = hyperliquid_fills()
    start_us = time.time_ns() // 1000 - round(len(fills) / TIMING.speed_per_s * 1e6) - 4 * TIMING.late_us
    one = plan(fills, 6, faults, timing=TIMING, start_us=start_us)
    lines: list[bytes] = []
    bad: Counter[bytes] = Counter()
    accounts: set[tuple[str, str]] = set()
    for number, step in enumerate(one.steps):
        lines.append(msgspec.json.encode(step.event))
        if step.event["type"] == "fill" and number % 60 == 0:
            each = list(bad_lines(step.event).values())
            line = each[bad.total() % len(each)]
            lines.append(line)
            bad[line] += 1
            accounts.add((step.origin, f"{step.event['venue']}|{step.event['account_id']}"))
    assert bad.total() > 2 * len(bad_lines(fills[0]))
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
    expected, explained = truth(one)
    conditions: set[Finding] = {("SCHEMA_ERROR", origin, account) for origin, account in accounts}
    assert place.wrong(
        expected | {(*condition, "OPEN") for condition in conditions},
        explained + Counter(conditions),
    ) == []  # fmt: skip


@pytest.mark.parametrize("venue", ["hyperliquid", "binance_usdm"])
def test_real_recordings_agree_under_contracts_that_say_what_their_feeds_lack(
    deploy: Callable[..., Deployment], venue: str
) -> None:
    place = deploy(HERE.parent / "examples" / "contracts" / f"{venue}.yaml")
    worker = place.worker()
    recording = HERE / "data" / venue / "events.jsonl"
    place.publish(recording)
    place.settle()
    assert place.wrong(set(), {}) == []
    heard = worker.metric("stream_recon_events_total") - worker.metric("stream_recon_events_total", kind="heartbeat")
    assert heard == len(recording.read_bytes().splitlines())


def chunk_told_late() -> tuple[dict[Origin, list[dict[str, Any]]], set[Finding]]:
    """Two logs of 3 minutes; 300 fills of the exchange come 67 s late, some never. What must stand at the end."""
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
    return logs, {
        ("missing_exchange", f"venue|{e['account_id']}", e["instrument"], e["trade_id"], e["side"], status)
        for told, status in ((late, "CLEARED"), (never, "OPEN"))
        for e in told
    }


def test_a_chunk_that_came_late_ends_the_same_however_the_topics_are_read(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    logs, expected = chunk_told_late()
    for origin, events in logs.items():
        (tmp_path / origin).write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    contracts = Contracts(contracts=tuple(FeedContract(origin=origin, grace_us=20 * SECOND_US) for origin in ORIGINS))
    explained = {finding[:-1]: 1 for finding in expected}
    for order in (ORIGINS, ORIGINS[::-1]):
        place = deploy(contracts)
        place.worker()
        for origin in order:
            place.publish(tmp_path / origin)
            place.settle()
        assert place.wrong(expected, explained) == []
    place = deploy(contracts)
    both = [place.start_publishing(tmp_path / origin) for origin in ORIGINS]
    for publishing in both:
        place.finish(publishing)
    place.worker("plain")  # reads what has piled up, as it comes
    place.settle()
    assert place.wrong(expected, explained) == []
