"""The fault plan: its known truth against the oracles, and against the core in virtual time."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.core.trades import Rules
from stream_recon.data import hyperliquid_fills, hyperliquid_instruments
from stream_recon.domain.decode import Rejected, decode_pack
from stream_recon.domain.discrepancies import Discrepancy, Interval
from stream_recon.domain.events import ORIGINS, STREAMS
from stream_recon.faults.books import with_profits
from stream_recon.faults.changes import CHANGES, FAULTS, Timing
from stream_recon.faults.plan import Plan, faults_of, plan
from stream_recon.faults.score import score
from tests.oracle import truth
from tests.oracles import accounts
from tests.oracles.worlds import known_instruments

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Alert
    from stream_recon.domain.events import Origin, Stream
    from stream_recon.faults.changes import Event, Fault
    from stream_recon.faults.injected import Finding, Injected
    from tests.oracle import LogEntry
    from tests.oracles.book import Break
    from tests.oracles.book import Truth as AccountTruth

    Logs = dict[tuple[Origin, Stream], list[LogEntry]]

FILLS = hyperliquid_fills()
START_US = 1_760_000_000_000_000
ALL = faults_of("all")
SOME: dict[Fault, int] = {"drop_internal": 1, "price": 1}
RULES = Rules(instruments=hyperliquid_instruments())
BRISK = Timing(speed_per_s=50)
TICK_US = 100_000


def some_fills(seed: int, number: int = 600) -> list[dict[str, object]]:
    """A stretch of the recording."""
    first = random.Random(seed).randrange(len(FILLS) - number)
    return FILLS[first : first + number]


def partitions(one: Plan) -> dict[int, Logs]:
    """What a plan writes to each of three partitions: (Kafka's time, event)."""
    owners = sorted({fill["account_id"] for fill in FILLS})
    found: dict[int, Logs] = {
        number: {(origin, stream): [] for origin in ORIGINS for stream in STREAMS} for number in range(len(owners))
    }
    for step in one.steps:
        is_beat = step.event["type"] == "heartbeat"
        for number in found if is_beat else [owners.index(step.event["account_id"])]:
            found[number][step.origin, step.stream].append((START_US + step.at_us, step.event))
    return found


def fills_of(logs: Logs) -> dict[Origin, list[LogEntry]]:
    """The fills topics."""
    return {origin: logs[origin, "fills"] for origin in ORIGINS}


def take(lane: Lane, topic: tuple[Origin, Stream], log: list[LogEntry], first: int, last: int) -> None:
    """Let a lane read some records of a topic."""
    (origin, stream), entries = topic, log[first:last]
    times_us = [time_us for time_us, _ in entries]
    values = [json.dumps(event).encode() for _, event in entries]
    events = decode_pack(values, None, times_us, origin, stream)
    offsets = list(range(first, last))
    lane.step(Batch(origin, stream, f"recon.{origin}.{stream}.v1", offsets, times_us, values, events))


def play(one: Plan, timing: Timing, seed: int, rules: Rules = RULES) -> list[Alert]:
    """Let lanes read a plan as time goes by, all topics in random turns, and return all they publish."""
    rng = random.Random(seed)
    alerts: list[Alert] = []
    for number, logs in partitions(one).items():
        lane = Lane(number, timing.contracts(), rules)
        read = dict.fromkeys(logs, 0)
        for now_us in range(START_US, START_US + one.steps[-1].at_us + TICK_US, TICK_US):
            for topic in rng.sample(list(logs), len(logs)):
                first, log = read[topic], logs[topic]
                while read[topic] < len(log) and log[read[topic]][0] <= now_us:
                    read[topic] += 1
                take(lane, topic, log, first, read[topic])
            lane.tick({topic: now_us - log[max(read[topic], 1) - 1][0] for topic, log in logs.items()})
        alerts += [entry.alert for entry in lane.drain().published]
    return alerts


def catch_up(one: Plan, timing: Timing, seed: int, rules: Rules = RULES) -> list[Alert]:
    """Let lanes read what has piled up: any topic may be far ahead of another, and a lane ends and is restored."""
    rng = random.Random(seed)
    alerts: list[Alert] = []
    for number, logs in partitions(one).items():
        lane, written = Lane(number, timing.contracts(), rules), []
        read = dict.fromkeys(logs, 0)
        while unread := [topic for topic, log in logs.items() if read[topic] < len(log)]:
            topic = rng.choice(unread)
            first, log = read[topic], logs[topic]
            read[topic] = min(first + rng.choice((1, 5, 50, 500)), len(log))
            take(lane, topic, log, first, read[topic])
            if rng.random() < 0.3:
                drained = lane.drain()
                alerts += [entry.alert for entry in drained.published]
                written.append(msgspec.msgpack.encode(drained.changes))
                if rng.random() < 0.1:
                    lane = Lane(number, timing.contracts(), rules)
                    for changes in written:
                        lane.restore(msgspec.msgpack.decode(changes, type=Changes))
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
        judged = truth(fills_of(logs), Timing().contracts())
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
        assert len(plan(some_fills(seed, 300), seed, ALL, timing=timing).injected) == sum(ALL.values())


def test_no_two_faults_concern_one_fill_or_one_order_that_lost_its_end() -> None:
    one = plan(FILLS, 4, dict.fromkeys(FAULTS, 2))
    keys = [each.key for each in one.injected if each.fault in CHANGES]
    assert len(keys) == len(set(keys)) == 2 * len(CHANGES)
    orders: dict[tuple[str, ...], str] = {
        (f["venue"] + "|" + f["account_id"], f["instrument"], f["trade_id"]): f["order_id"] for f in FILLS
    }
    hit = {(*key[:2], orders[key[:3]]) for key in keys}
    assert not hit & {each.key for each in one.injected if each.fault == "order_update_lost"}


def test_a_plan_says_why_it_has_no_room_for_what_is_asked() -> None:
    with pytest.raises(ValueError, match="5 times price was asked for, but only 3 fills are left"):
        plan(FILLS[:3], 1, {"price": 5})
    with pytest.raises(ValueError, match="9 times order_update_lost was asked for, but there are only 1 orders"):
        plan(FILLS[:1], 1, {"order_update_lost": 9})
    with pytest.raises(ValueError, match="9 times ledger_amount was asked for, but there are only 6 ledger entries"):
        plan(FILLS[:3], 1, {"ledger_amount": 9})
    for fault in ("position_gap", "balance_off", "unseen_deposit"):
        with pytest.raises(ValueError, match=f"{fault} was asked for, but there is nothing"):
            plan([], 1, {fault: 1})


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
    judged = [truth(fills_of(logs), Timing().contracts()) for logs in partitions(one).values()]
    expected: dict[str | None, set[tuple[str, ...]]] = defaultdict(set)
    for each in one.injected:
        if each.fault in CHANGES:
            expected[each.final] |= set(each.expects)
    assert set().union(*(each.open for each in judged)) == expected["OPEN"]
    assert set().union(*(each.cleared for each in judged)) == expected["CLEARED"]
    assert sum(each.duplicates for each in judged) == 1


@pytest.mark.parametrize("seed", range(12))
def test_the_core_finds_every_fault_and_says_nothing_else(seed: int) -> None:
    one = plan(some_fills(seed), seed, ALL, timing=BRISK, start_us=START_US)
    judged = score(one.injected, play(one, BRISK, seed))
    assert judged.injected == judged.detected == ALL
    assert (set(judged.missed.values()), judged.unnamed, judged.false) == ({0}, {}, {})


@pytest.mark.parametrize("window_us", [2_000_000, RULES.window_us])
@pytest.mark.parametrize("seed", range(6))
def test_the_core_finds_the_same_in_what_has_piled_up_and_after_restarts(seed: int, window_us: int) -> None:
    faults: dict[Fault, int] = ALL | {"silent_feed": 0}  # silence is known by the time at which it lasts
    timing = replace(BRISK, stale_after_us=600_000_000)
    one = plan(some_fills(seed), seed, faults, timing=timing, start_us=START_US)
    judged = score(one.injected, catch_up(one, timing, seed, RULES._replace(window_us=window_us)))
    assert judged.detected == {fault: number for fault, number in faults.items() if number}
    assert (set(judged.missed.values()), judged.unnamed, judged.false) == ({0}, {}, {})


@pytest.mark.parametrize("seed", range(12))
def test_net_changes_in_short_windows_are_effects_of_the_faults_and_name_them(seed: int) -> None:
    one = plan(some_fills(seed), seed, ALL, timing=BRISK, start_us=START_US)
    alerts = play(one, BRISK, seed, RULES._replace(window_us=2_000_000))
    judged = score(one.injected, alerts)
    assert judged.detected == ALL
    assert (judged.unnamed, judged.false) == ({}, {})
    assert any(isinstance(alert, Discrepancy) and alert.identity == "net_change" for alert in alerts)


def test_what_was_not_said_is_missed_and_what_nobody_asked_for_is_false() -> None:
    one = plan(some_fills(0), 0, SOME, timing=BRISK, start_us=START_US)
    alerts = play(one, BRISK, 0)
    dropped = next(each for each in one.injected if each.fault == "drop_internal")
    false = score([each for each in one.injected if each is not dropped], alerts).false
    assert false["missing_internal"] == 1
    assert sum(false.values()) == 1 + score(one.injected, alerts).caused["drop_internal"] > 1
    key = dropped.key
    kept = [
        a for a in alerts if not (isinstance(a, Discrepancy) and (a.account, a.instrument, a.trade_id, a.side) == key)
    ]
    assert score(one.injected, kept).missed["drop_internal"] == 1
    assert score(one.injected, kept).false == {}


def test_an_opening_that_cleared_later_is_false_all_the_same() -> None:
    alerts = play(plan(some_fills(5), 5, {"delay_beyond_grace": 2}, timing=BRISK, start_us=START_US), BRISK, 5)
    false = score([], alerts).false
    assert sum(n for kind, n in false.items() if kind.startswith("missing")) == 2
    assert sum(false.values()) == sum(alert.transition == "OPENED" for alert in alerts) > 2
    assert {alert.status for alert in {alert.alert_id: alert for alert in alerts}.values()} == {"CLEARED"}


def test_an_effect_is_told_apart_from_a_false_alert_by_what_it_is_of_and_when() -> None:
    one = plan(FILLS, 1, {"drop_internal": 1}, start_us=START_US)
    (fault,) = one.injected
    found = [said_of(finding) for finding in fault.expects]
    effects = [effect.finding for effect in fault.effects]
    assert {finding[0] for finding in effects} >= {"order_mismatch", "position_mismatch", "net_change_mismatch"}
    after = Interval(fault.span_us[1], fault.span_us[1] + 10**6, "", "")
    before = Interval(fault.span_us[0] - 2 * 10**6, fault.span_us[0] - 10**6, "", "")
    for finding in effects:
        when = None if finding[0] == "order_mismatch" else after
        judged = score(one.injected, [*found, said_of(finding, when)])
        assert (judged.detected, judged.caused) == ({"drop_internal": 1}, {"drop_internal": 1})
        assert (judged.unnamed, judged.false) == ({finding[0]: 1}, {})
        named = score(one.injected, [*found, said_of(finding, when, found[0].alert_id)])
        assert (named.caused, named.unnamed, named.false) == ({"drop_internal": 1}, {}, {})
        if when is not None:
            assert score(one.injected, [*found, said_of(finding, before)]).false == {finding[0]: 1}
        wrong = (finding[0], finding[1], "internal:own", *finding[3:])
        assert score(one.injected, [*found, said_of(wrong, when)]).false == {finding[0]: 1}


def test_what_is_explained_by_what_a_fault_explains_is_an_effect_and_nothing_else_is() -> None:
    one = plan(FILLS, 1, {"unseen_deposit": 1}, start_us=START_US)
    (fault,) = one.injected
    (missing,) = [said_of(finding) for finding in fault.expects]
    odd = ("position_mismatch", fault.key[0], "exchange:own", "NOWHERE")
    first = said_of(odd, None, missing.alert_id)
    second = said_of((*odd[:3], "ELSEWHERE"), None, first.alert_id)
    judged = score(one.injected, [second, missing, first])
    assert (judged.caused, judged.unnamed, judged.false) == ({"unseen_deposit": 2}, {}, {})
    loose = said_of((*odd[:3], "ELSEWHERE"), None, first.alert_id, "unknown")
    assert score(one.injected, [loose, missing, first]).false == {"position_mismatch": 1}


def test_a_gap_is_found_only_where_and_when_it_befell_or_by_its_amount() -> None:
    one = plan(FILLS, 2, {"position_gap": 1}, start_us=START_US)
    (fault,) = one.injected
    there = Interval(fault.span_us[0] + 1, fault.span_us[1] - 1, "", "")
    later = Interval(fault.span_us[1] + 1, fault.span_us[1] + 2, "", "")
    amounts = {effect.finding: str(effect.residual) for effect in fault.effects}
    assert [finding[2] for finding in fault.expects] == ["exchange:own", "exchange:cross", "internal:exchange"]
    for when, amount, detected in ((there, "1", 1), (later, "1", 0), (later, None, 1)):
        said = [said_of(finding, when, residual=amount or amounts[finding]) for finding in fault.expects]
        judged = score(one.injected, said)
        assert judged.detected == {"position_gap": detected}
        assert not judged.false
    assert score(one.injected, said[:2]).missed == {"position_gap": 1}


NAMES: dict[str, tuple[str, ...]] = {
    "trade": ("instrument", "trade_id", "side"),
    "order": ("compared", "instrument", "order_id"),
    "position": ("compared", "instrument"),
    "net_change": ("compared", "instrument"),
    "balance": ("compared", "asset"),
    "ledger": ("compared", "ledger_id"),
}
"""By the first word of a kind, after the kind and the account."""


def said_of(
    finding: Finding, interval: Interval | None = None, *explained_by: str, residual: str | None = None
) -> Discrepancy:
    """An alert as it was opened."""
    kind, account, *what = finding
    venue, account_id = account.split("|")
    subject = next((name for name in NAMES if kind.startswith(name)), "trade")
    facts: dict[str, Any] = {
        "compared": "internal:exchange",
        **dict(zip(NAMES[subject], what, strict=True)),
        "kind": kind,
        "identity": "balance" if subject == "ledger" else subject,
    }
    return Discrepancy(
        alert_id="/".join(finding), version=1, transition="OPENED", status="OPEN", severity="critical",
        account=account, venue=venue, account_id=account_id, event_us=0, due_us=0, cause="", fields=[], evidence=[],
        size="1", interval=interval, explained_by=list(explained_by), residual=residual, **facts,
    )  # fmt: skip


# -- orders, positions, balances, ledgers -----------------------------------------------------------------------------


def judge(one: Plan, timing: Timing = BRISK) -> AccountTruth:
    """What the oracle says of all but the trades."""
    logs: Logs = defaultdict(list)
    for step in one.steps:
        logs[step.origin, step.stream].append((START_US + step.at_us, step.event))
    return accounts.truth(logs, timing.contracts(), known_instruments())


Words = tuple[str, str, str, tuple[str, ...]]
"""Kind, account, what is compared and of what, in the oracle's words, which tell `own` of both origins alike."""


def in_its_words(finding: Finding) -> Words:
    """A finding of the plan as the oracle puts it."""
    kind, account, compared, *what = finding
    if kind == "order_mismatch":
        about = {"internal:exchange": "equal", "internal:fills": "internal", "exchange:fills": "exchange"}[compared]
        return kind, account, about, tuple(what)
    if kind == "ledger_missing":
        return kind, account, "internal", tuple(what)
    if kind == "position_mismatch":
        what = [*what, "net"]
    elif what[0] not in {"USDC", "@107"}:
        return kind, account, "ledger", tuple(what)
    return kind, account, {"internal:exchange": "equal"}.get(compared, compared.partition(":")[2]), tuple(what)


def told_by(injected: list[Injected]) -> tuple[set[Words], dict[Words, Decimal]]:
    """What the oracle must find at the end: all of it, and what each residual adds up to."""
    found, residuals = set(), defaultdict[Words, Decimal](Decimal)
    for each in injected:
        found |= {in_its_words(finding) for finding in each.expects if finding[0] in OF_STATES}
        for finding, residual in each.effects if each.final == "OPEN" else ():
            if finding[0] in OF_STATES:
                residuals[in_its_words(finding)] += residual
    return found | set(residuals), residuals


OF_STATES = {"order_mismatch", "position_mismatch", "balance_mismatch", "ledger_missing"}


def key_of(found: Break) -> Words:
    return found.kind, found.account, found.compared, found.subject


def of_states(judged: AccountTruth) -> list[Break]:
    """What it found, but for what identity 1 says of copies."""
    return [found for found in judged.breaks if found.kind in OF_STATES]


def test_without_faults_orders_positions_balances_and_ledgers_agree_and_all_is_known() -> None:
    judged = judge(plan(FILLS, 1, {}, timing=Timing(), start_us=START_US), Timing())
    assert (judged.breaks, judged.unknown, judged.unverified) == ([], [], set())
    assert set(judged.matched) == {"order", "position", "balance", "ledger"}
    assert judged.matched["order"] == 3 * 252


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(4))
def test_of_one_fault_the_oracle_finds_what_the_plan_says_and_what_follows_from_it(fault: Fault, seed: int) -> None:
    one = plan(some_fills(seed), seed, {fault: 1}, timing=BRISK, start_us=START_US)
    judged = judge(one)
    found, residuals = told_by(one.injected)
    assert Counter(map(key_of, of_states(judged))) == dict.fromkeys(found, 1)
    assert not judged.unknown
    for each in of_states(judged):
        if each.residual is not None:
            assert each.residual == residuals[key_of(each)]


@pytest.mark.parametrize("seed", range(6))
def test_of_all_faults_together_the_oracle_finds_what_the_plan_says_and_nothing_else(seed: int) -> None:
    one = plan(FILLS, seed, ALL, start_us=START_US)
    judged = judge(one, Timing())
    found, residuals = told_by(one.injected)
    open_at_the_end = {
        words for words in found if residuals.get(words, 1)
    }  # two that make up for each other may not be
    assert open_at_the_end <= set(map(key_of, of_states(judged))) <= found
    assert not judged.unknown


def test_each_new_fault_must_be_found_and_has_effects_that_are_no_false_alerts() -> None:
    one = plan(FILLS, 3, {fault: 1 for fault in FAULTS if fault not in {*CHANGES, "silent_feed"}}, start_us=START_US)
    expects = {each.fault: {finding[0] for finding in each.expects} for each in one.injected}
    assert expects == {
        "order_update_lost": {"order_mismatch"},
        "position_gap": {"position_mismatch"},
        "unseen_deposit": {"ledger_missing"},
        "balance_off": {"balance_mismatch"},
        "ledger_amount": {"balance_mismatch"},
    }
    assert all(each.final == "OPEN" and each.effects for each in one.injected)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_can_be_read_and_no_balance_is_below_zero(seed: int) -> None:
    one = plan(FILLS, seed, ALL, start_us=START_US)
    for step in one.steps:
        (event,) = decode_pack([json.dumps(step.event).encode()], None, None, step.origin, step.stream)
        assert not isinstance(event, Rejected), event
        assert Decimal(step.event.get("total", 0)) >= 0
    assert len(one.steps) < 20_000


def test_orders_are_open_before_they_are_filled_and_filled_in_the_end() -> None:
    told: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for step in plan(FILLS, 1, {}).steps:
        if step.stream == "orders" and step.event["type"] == "order":
            told[step.origin, step.event["order_id"]].append(step.event)
    for updates in told.values():
        updates.sort(key=lambda update: int(update["ts_us"]))
        assert (updates[0]["status"], updates[0]["cum_qty"]) == ("open", "0")
        assert {update["status"] for update in updates[1:-1]} <= {"partially_filled"}
        assert (updates[-1]["status"], updates[-1]["cum_qty"]) == ("filled", updates[-1]["qty"])


def test_profits_are_by_average_cost_and_a_turn_closes_before_it_opens() -> None:
    def trade(side: str, qty: str, price: str) -> Event:
        return {**FILLS[0], "side": side, "qty": qty, "price": price}

    trades = [("buy", "10", "1"), ("buy", "10", "2"), ("sell", "15", "3"), ("sell", "15", "1"), ("buy", "3", "4")]
    told = with_profits([trade(*each) for each in trades], hyperliquid_instruments())
    # 15 of 20 that cost 1.5 each are sold at 3; then the last 5 at 1, and 10 are sold short, of which 3 come back at 4.
    assert [fill["realized_pnl"] for fill in told] == ["0", "0", "22.5", "-2.5", "-9"]


def test_a_profit_is_rounded_and_what_that_leaves_over_is_not_lost() -> None:
    thirds = [("buy", "3", "1.000001"), ("sell", "1", "2"), ("sell", "1", "2"), ("sell", "1", "2")]
    thirds[0:0] = [("buy", "4", "1")]
    thirds += [("sell", "4", "2")]
    fills = [{**FILLS[0], "side": side, "qty": qty, "price": price} for side, qty, price in thirds]
    told = with_profits(fills, hyperliquid_instruments())
    assert all(Decimal(fill["realized_pnl"]).as_tuple().exponent >= -6 for fill in told)  # type: ignore[operator]  # finite
    assert sum(Decimal(fill["realized_pnl"]) for fill in told) == 14 - 4 - 3 * Decimal("1.000001")


def test_the_instruments_that_ship_with_the_package_are_those_of_the_example() -> None:
    shipped, example = hyperliquid_instruments().model_dump(exclude_none=True), known_instruments()
    assert shipped == {"hyperliquid": example["hyperliquid"]}
