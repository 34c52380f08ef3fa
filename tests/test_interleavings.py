"""Small logs in every order in which two topics can be read: what stands at the end is the oracle's each time."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from stream_recon.domain.events import ORIGINS
from tests.simulation import START_US, Kafka, Worker, World, check
from tests.test_oracle import CONTRACTS, SECOND_US, beat, bust, correction, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.domain.events import Origin
    from tests.oracle import LogEntry

CASES: dict[str, tuple[list[LogEntry], list[LogEntry]]] = {
    "both in time": ([fill(1)], [fill(1)]),
    "nothing from the other side": ([fill(1)], []),
    "a copy, and one that differs": ([fill(1), fill(2), fill(2, price="101")], [fill(1)]),
    "amounts that differ": ([fill(1, qty="2")], [fill(1)]),
    "the wrong side": ([fill(1, side="sell")], [fill(1)]),
    "too late on one side": ([fill(1)], [beat(6, source="exchange|v"), fill(1, at_s=9)]),
    "too late on both sides": (
        [beat(7, source="internal|v"), fill(1, at_s=9)],
        [beat(6, source="exchange|v"), fill(1, at_s=9)],
    ),
    "a bust on one side, in time": ([fill(1), bust(2)], [fill(1)]),
    "a bust on one side, late": ([fill(1), beat(9, source="internal|v"), bust(2, at_s=9)], [fill(1)]),
    "a bust of what the other side never told": ([fill(1), bust(2)], []),
    "a correction on both sides": ([fill(1), correction(2, "101")], [fill(1), correction(2, "101")]),
    "a correction before its root": ([correction(2, "101"), fill(1, at_s=3)], [fill(1), correction(2, "101")]),
    "a late correction that mends a mismatch": (
        [fill(1, price="101"), beat(9, source="internal|v"), correction(3, "100", at_s=9)],
        [fill(1)],
    ),
    "a late correction that mends nothing": (
        [fill(1, price="101"), beat(9, source="internal|v"), correction(8, "102", at_s=9)],
        [fill(1)],
    ),
    "a correction that comes when its fill has been missed": ([fill(1), correction(4, "101")], [fill(1, at_s=9)]),
    "a correction of a correction that comes before it": (
        [fill(1), correction(4, "101", trade_id="c2", ref_trade_id="c1"), bust(4), correction(3, "102")],
        [fill(1), correction(3, "102"), correction(4, "101", trade_id="c2", ref_trade_id="c1"), bust(4)],
    ),
    "a source that spoke before it joined": (
        [fill(1)],
        [beat(6, source="gateway"), fill(5, trade_id="t2", source="gateway", at_s=7), fill(1, at_s=8)],
    ),
}


def live(log: list[LogEntry], origin: Origin) -> list[LogEntry]:
    """The same records on a clock of today, complete, and closed by a heartbeat of every source."""
    sources = dict.fromkeys([f"{origin}|v", *(event["source"] for _, event in log if "source" in event)])
    found = []
    for time_us, event in [*log, *(beat(99, source=source) for source in sources)]:
        told: dict[str, Any] = {name: value for name, value in event.items() if value is not None}
        told |= {name: START_US + told[name] for name in ("ts_us", "through_us") if name in told}
        told |= {"origin": origin} | ({"event_id": "e", "order_id": "o"} if event["type"] == "fill" else {})
        found.append((START_US + time_us, told))
    return found


def every_order(counts: tuple[int, int]) -> Iterator[list[Origin]]:
    """Every way to merge so many records of both origins."""
    total = sum(counts)
    for places in combinations(range(total), counts[0]):
        yield [ORIGINS[0] if place in places else ORIGINS[1] for place in range(total)]


@pytest.mark.parametrize("case", CASES)
def test_in_every_order(case: str) -> None:
    internal, exchange = CASES[case]
    one = World(
        CONTRACTS, {"internal": live(internal, "internal"), "exchange": live(exchange, "exchange")}, True, 10**10
    )
    for order in every_order((len(one.logs["internal"]), len(one.logs["exchange"]))):
        kafka = Kafka(one)
        worker = Worker(kafka)
        for origin in order:
            worker.read(origin, 1)
        worker.write()
        check(kafka, worker)
        # What a late correction does not mend goes on: it is not closed and opened again.
        assert "REOPENED" not in {alert.transition for _, alert in kafka.alerts} or "mends" not in case


def test_a_record_at_the_horizon_still_finds_its_counterpart() -> None:
    horizon_s = 20
    internal = live([fill(1, at_s=21)], "internal")
    exchange = live([beat(21 + 1, source="exchange|v"), fill(1, at_s=30)], "exchange")
    internal.insert(0, live([beat(horizon_s + 1, source="internal|v")], "internal")[0])
    one = World(CONTRACTS, {"internal": internal, "exchange": exchange}, True, horizon_s * SECOND_US)
    for order in every_order((len(internal), len(exchange))):
        kafka = Kafka(one)
        worker = Worker(kafka)
        for origin in order:
            worker.read(origin, 1)
        worker.write()
        check(kafka, worker)
