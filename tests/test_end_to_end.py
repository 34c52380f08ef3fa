"""The main job by the public commands on a real broker, with workers that die, leave, join and sleep.

The truth is that of the fault plan: recorded fills told by both origins, with faults whose consequence is known.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import pytest

from stream_recon.data import hyperliquid_fills
from stream_recon.faults.changes import CHANGES, FAULTS, Timing
from stream_recon.faults.plan import Plan, faults_of, plan
from tests.deployment import Truth, sleep, wake
from tests.oracles import accounts
from tests.oracles.worlds import LATER, known_instruments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from stream_recon.domain.events import Origin, Stream
    from stream_recon.faults.changes import Event, Fault
    from tests.deployment import Deployment, Worker

TIMING = Timing(stale_after_us=600_000_000)
# A silent feed is silent by the wall clock: the demo's matter, whose replay is live.
MANY: dict[Fault, int] = {fault: 12 if fault in CHANGES else 4 for fault in FAULTS if fault != "silent_feed"}
RATE = 500
"""Lines a second, where something happens meanwhile: half a minute for all of them."""


def told(seed: int, faults: Mapping[Fault, int], timing: Timing = TIMING) -> Plan:
    """The recording, its orders given to twelve accounts instead of three, ending a while ago."""
    fills = [
        fill | {"account_id": f"{fill['account_id']}-{crc32(fill['order_id'].encode()) % 4}"}
        for fill in hyperliquid_fills()
    ]
    took_us = round(len(fills) / timing.speed_per_s * 1e6) + 4 * timing.late_us
    return plan(fills, seed, faults, timing=timing, start_us=time.time_ns() // 1000 - took_us)


def lines_of(one: Plan) -> list[Event]:
    """What a plan tells, in its order; a heartbeat of a file speaks for all streams, so it is told once."""
    return [s.event for s in one.steps if s.event["type"] != "heartbeat" or s.stream == "fills"]


def write(path: Path, one: Plan) -> Path:
    """What a plan tells, as a file."""
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in lines_of(one)))
    return path


def truth(one: Plan, timing: Timing = TIMING) -> Truth:
    """What must be said of a plan."""
    logs: dict[tuple[Origin, Stream], list[tuple[int, Event]]] = defaultdict(list)
    for step in one.steps:
        logs[step.origin, step.stream].append((LATER, step.event))
    judged = accounts.truth(logs, timing.contracts(), known_instruments())
    return Truth(one.injected, [each for each in judged.breaks if each.kind != "duplicate_conflict"])


def fills_in(one: Plan) -> int:
    return sum(step.event["type"] == "fill" for step in one.steps)


def test_when_nothing_is_wrong_everything_is_read_and_nothing_said(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    one, place = told(1, faults_of("none")), deploy(TIMING.contracts())
    worker = place.worker()
    place.publish(write(tmp_path / "both", one))
    place.settle()
    assert place.wrong(Truth()) == []
    assert not place.records("dlq")
    assert worker.metric("stream_recon_events_total", kind="fill") == fills_in(one)
    assert worker.metric("stream_recon_records", verdict="matched") == fills_in(one)
    place.stop(worker)


@pytest.mark.parametrize("host", ["faust", "plain"])
def test_every_fault_is_found_and_nothing_else_on_either_host(
    deploy: Callable[..., Deployment], tmp_path: Path, host: str
) -> None:
    one, place = told(2, MANY), deploy(TIMING.contracts())
    worker = place.worker(host)
    place.publish(write(tmp_path / "both", one))
    place.settle()
    assert place.wrong(truth(one)) == []
    assert worker.metric("stream_recon_events_total", kind="fill") == fills_in(one)
    place.stop(worker)


def test_a_worker_that_is_killed_twice_loses_nothing_and_says_nothing_else(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    rng = random.Random(3)
    one, place = told(3, MANY), deploy(TIMING.contracts())
    publishing = place.start_publishing(write(tmp_path / "both", one), "--rate", RATE)
    killed_at = sorted(rng.sample(range(10, 90), 2))
    for number in killed_at:
        worker = place.worker()
        place.until(lambda: place.published_alerts() >= number)  # noqa: B023 - called before the next
        worker.kill()
    place.worker()
    place.finish(publishing)
    place.settle()
    assert place.wrong(truth(one)) == []


def test_workers_may_join_and_leave_in_the_middle(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    one, place = told(4, MANY), deploy(TIMING.contracts())
    first = place.worker()
    place.until(lambda: first.owns == 4)
    publishing = place.start_publishing(write(tmp_path / "both", one), "--rate", RATE)
    place.until(lambda: place.published_alerts() >= 20)
    second = place.worker()
    place.until(lambda: first.owns == second.owns == 2)
    seen = place.published_alerts()
    place.until(lambda: place.published_alerts() >= seen + 10)
    assert publishing.poll() is None
    place.stop(first)
    place.finish(publishing)
    place.settle()
    assert place.wrong(truth(one)) == []
    assert second.owns == 4


def test_a_worker_that_sleeps_past_its_session_changes_nothing_when_it_wakes(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    one, place = told(5, MANY), deploy(TIMING.contracts())
    workers: list[Worker] = [place.worker(), place.worker()]
    sleeper, other = workers
    place.until(lambda: [worker.owns for worker in workers] == [2, 2])
    publishing = place.start_publishing(write(tmp_path / "both", one), "--rate", RATE)
    place.until(lambda: place.published_alerts() >= 20)
    sleep(sleeper)
    place.until(lambda: other.owns == 4)
    seen = place.published_alerts()
    place.until(lambda: place.published_alerts() > seen + 10)
    wake(sleeper)
    place.until(lambda: sleeper.process.poll() == 3)
    place.finish(publishing)
    place.settle()
    assert place.wrong(truth(one)) == []
