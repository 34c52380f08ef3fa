"""The fault plan: its known truth against the oracle, and against the core in virtual time."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stream_recon.core.lane import Batch, Lane
from stream_recon.data import hyperliquid_fills
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.events import ORIGINS
from stream_recon.faults.changes import FAULTS, Timing
from stream_recon.faults.plan import Plan, faults_of, plan
from stream_recon.faults.score import score
from tests.oracle import truth

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Alert
    from stream_recon.domain.events import Origin
    from tests.oracle import LogEntry

FILLS = hyperliquid_fills()
START_US = 1_760_000_000_000_000
ALL = faults_of("all")
BRISK = Timing(speed_per_s=50)
TICK_US = 100_000


def some_fills(seed: int, number: int = 600) -> list[dict[str, object]]:
    """A stretch of the recording."""
    first = random.Random(seed).randrange(len(FILLS) - number)
    return FILLS[first : first + number]


def partitions(one: Plan) -> dict[int, dict[Origin, list[LogEntry]]]:
    """What a plan writes to each of three partitions: (Kafka's time, event)."""
    accounts = sorted({fill["account_id"] for fill in FILLS})
    found: dict[int, dict[Origin, list[LogEntry]]] = {
        number: {origin: [] for origin in ORIGINS} for number in range(len(accounts))
    }
    for step in one.steps:
        is_beat = step.event["type"] == "heartbeat"
        for number in found if is_beat else [accounts.index(step.event["account_id"])]:
            found[number][step.origin].append((START_US + step.at_us, step.event))
    return found


def play(one: Plan, timing: Timing, seed: int) -> list[Alert]:
    """Let lanes read a plan as time goes by, both topics in random turns, and return all they publish."""
    rng = random.Random(seed)
    alerts: list[Alert] = []
    for number, logs in partitions(one).items():
        lane = Lane(number, timing.contracts())
        read = dict.fromkeys(ORIGINS, 0)
        for now_us in range(START_US, START_US + one.steps[-1].at_us + TICK_US, TICK_US):
            for origin in rng.sample(ORIGINS, len(ORIGINS)):
                first, log = read[origin], logs[origin]
                while read[origin] < len(log) and log[read[origin]][0] <= now_us:
                    read[origin] += 1
                entries = log[first : read[origin]]
                times_us = [time_us for time_us, _ in entries]
                values = [json.dumps(event).encode() for _, event in entries]
                offsets = list(range(first, read[origin]))
                events = decode_pack(values, None, times_us, origin, "fills")
                lane.step(Batch(origin, "fills", f"recon.{origin}.fills.v1", offsets, times_us, values, events))
            lane.tick({(origin, "fills"): now_us - logs[origin][max(read[origin], 1) - 1][0] for origin in ORIGINS})
        alerts += [entry.alert for entry in lane.drain().published]
    return alerts


def test_the_recording_holds_the_fills_of_three_accounts_in_the_order_of_their_execution() -> None:
    assert len(FILLS) == 3393
    assert len({fill["account_id"] for fill in FILLS}) == 3
    assert [fill["ts_us"] for fill in FILLS] == sorted(fill["ts_us"] for fill in FILLS)
    assert {fill["origin"] for fill in FILLS} == {"internal"}


def test_a_plan_repeats_itself_from_its_seed_and_differs_from_another() -> None:
    assert plan(FILLS, 1, ALL) == plan(FILLS, 1, ALL)
    assert plan(FILLS, 1, ALL).injected != plan(FILLS, 2, ALL).injected


def test_a_plan_without_faults_tells_every_fill_twice_and_nothing_is_wrong() -> None:
    one = plan(FILLS, 1, faults_of("none"), start_us=START_US)
    assert sum(step.event["type"] == "fill" for step in one.steps) == 2 * len(FILLS)
    for logs in partitions(one).values():
        judged = truth(logs, Timing().contracts())
        assert not judged.open | judged.cleared | judged.maybe | judged.pending
        assert not judged.late


def test_steps_come_in_order_and_no_event_before_its_time() -> None:
    one = plan(FILLS, 3, ALL, start_us=START_US)
    times_us = [step.at_us for step in one.steps]
    assert times_us == sorted(times_us)
    for step in one.steps:
        happened_us = step.event["through_us" if step.event["type"] == "heartbeat" else "ts_us"]
        assert happened_us <= START_US + step.at_us


def test_silences_do_not_touch_and_the_heartbeats_go_on_until_all_are_over() -> None:
    one = plan(FILLS, 1, {"silent_feed": 4}, start_us=START_US)
    assert [each.fault for each in one.injected] == ["silent_feed"] * 4
    assert score(one.injected, play(one, Timing(), 1)).missed == {"silent_feed": 0}


@pytest.mark.parametrize("speed_per_s", [1.0, 20.0, 3000.0])
def test_a_plan_has_room_at_any_speed(speed_per_s: float) -> None:
    timing = replace(Timing(), speed_per_s=speed_per_s)
    for seed in range(20):
        assert len(plan(some_fills(seed, 300), seed, ALL, timing=timing).injected) == len(FAULTS) * 3 - 2


def test_no_two_faults_concern_one_fill() -> None:
    one = plan(FILLS, 4, dict.fromkeys(FAULTS, 2))
    keys = [each.key for each in one.injected if each.fault != "silent_feed"]
    assert len(keys) == len(set(keys)) == 2 * (len(FAULTS) - 1)


def test_a_plan_says_why_it_has_no_room_for_what_is_asked() -> None:
    with pytest.raises(ValueError, match="5 times price was asked for, but only 3 fills are left"):
        plan(FILLS[:3], 1, {"price": 5})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("price=3,drop_internal=2", {"price": 3, "drop_internal": 2}),
        ("price, fee=0", {"price": 1, "fee": 0}),
        ("none", {}),
    ],
)
def test_faults_are_asked_for_by_name_and_number(text: str, wanted: dict[str, int]) -> None:
    assert faults_of(text) == wanted


@pytest.mark.parametrize("text", ["", "prise", "price=-1", "price=many", "price=3;fee=2"])
def test_faults_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown fault|is no count"):
        faults_of(text)


@pytest.mark.parametrize("seed", range(4))
def test_the_oracle_finds_what_the_plan_says_and_nothing_else(seed: int) -> None:
    one = plan(FILLS, seed, dict.fromkeys(FAULTS, 1) | {"price": 20, "drop_internal": 20}, start_us=START_US)
    judged = [truth(logs, Timing().contracts()) for logs in partitions(one).values()]
    expected: dict[str | None, set[tuple[str, ...]]] = defaultdict(set)
    for each in one.injected:
        if each.fault != "silent_feed":
            expected[each.final] |= set(each.expects)
    assert set().union(*(each.open for each in judged)) == expected["OPEN"]
    assert set().union(*(each.cleared for each in judged)) == expected["CLEARED"]
    assert sum(each.duplicates for each in judged) == 1


@pytest.mark.parametrize("seed", range(12))
def test_the_core_finds_every_fault_and_says_nothing_else(seed: int) -> None:
    one = plan(some_fills(seed), seed, ALL, timing=BRISK, start_us=START_US)
    judged = score(one.injected, play(one, BRISK, seed))
    assert judged.injected == ALL
    assert (judged.detected, set(judged.missed.values()), judged.false) == (ALL, {0}, {})


def test_what_was_not_said_is_missed_and_what_nobody_asked_for_is_false() -> None:
    one = plan(some_fills(0), 0, ALL, timing=BRISK, start_us=START_US)
    alerts = play(one, BRISK, 0)
    dropped = next(each for each in one.injected if each.fault == "drop_internal")
    without = replace(one, injected=[each for each in one.injected if each is not dropped]).injected
    assert score(without, alerts).false == {"missing_internal": 1}
    key = dropped.key
    kept = [
        a for a in alerts if not (isinstance(a, Discrepancy) and (a.account, a.instrument, a.trade_id, a.side) == key)
    ]
    assert score(one.injected, kept).missed["drop_internal"] == 1
    assert score(one.injected, kept).false == {}


def test_an_opening_that_cleared_later_is_false_all_the_same() -> None:
    alerts = play(plan(some_fills(5), 5, {"delay_beyond_grace": 2}, timing=BRISK, start_us=START_US), BRISK, 5)
    assert sum(score([], alerts).false.values()) == 2
