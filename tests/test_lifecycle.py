"""The life of an alert: a naive model walks every way that records, people, time and restarts can take with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_recon.core.lane import Lane
from stream_recon.core.memory import Changes
from stream_recon.core.register import CLOSED_KEPT_US, HOUR_US
from stream_recon.core.trades import Rules
from stream_recon.domain.commands import Action, AlertCommand, Refused
from stream_recon.domain.contracts import Contracts
from stream_recon.domain.discrepancies import (
    AbsoluteLimits,
    Alert,
    Discrepancy,
    Evidence,
    FeedCondition,
    FieldDifference,
    Handling,
    Interval,
    Kind,
    Severity,
    SplitPart,
    Status,
    Thresholds,
    Transition,
    age_us,
    auto_resolvable,
    overdue,
    severity_of,
    worst,
)
from stream_recon.domain.lifecycle import BY_COMMAND, LIFECYCLE, after, may
from tests.lanes import NOW, SECOND, Book, fill, heartbeat
from tests.simulation import LAST_S, START_US, Kafka, Worker, world
from tests.test_core_against_oracle import published, read, turns

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from stream_recon.domain.events import Origin
    from tests.simulation import World

DAY_US = 24 * HOUR_US
LIMITS: dict[Severity, int] = {"critical": HOUR_US}


def found(name: str = "1", **more: Any) -> Discrepancy:
    """A mismatch of the price, as it is found."""
    facts: dict[str, Any] = {
        "alert_id": name, "version": 0, "transition": "OPENED", "status": "OPEN", "kind": "fill_mismatch",
        "identity": "trade", "severity": "critical", "account": "v|a", "venue": "v", "account_id": "a",
        "compared": "internal:exchange", "event_us": 10, "due_us": 20, "cause": "they differ", "size": "0.5",
        "fields": [FieldDifference("price", "1", "2", "-1")],
        "evidence": [Evidence("internal", "t", 0, 7, {"price": "1"}), Evidence("exchange", "t", 0, 8, {"price": "2"})],
    }  # fmt: skip
    return Discrepancy(**(facts | more))


def condition(since_us: int = 5, waiting: int = 4) -> FeedCondition:
    """A feed that is silent."""
    return FeedCondition(
        alert_id="c", version=0, transition="OPENED", status="OPEN", reason="STALE", severity="critical",
        origin="exchange", source="gw", stream="fills", partition=0, account=None, since_us=since_us, waiting=waiting,
        cause="gw is silent",
    )  # fmt: skip


def ask(action: Action, name: str = "1", **more: Any) -> AlertCommand:
    """A command of Ann's."""
    return AlertCommand(**({"action": action, "alert_id": name, "by": "ann"} | more))


class Desk:
    """A lane's register as records and people see it, and the log it is restored from."""

    def __init__(self) -> None:
        self.lane = self.new_lane()
        self.said: list[Alert] = []
        self.log: list[bytes] = []

    @staticmethod
    def new_lane() -> Lane:
        """Nothing is known."""
        return Lane(0, Contracts(), Rules(age_limit_us=LIMITS))

    def find(self, alert: Alert, time_us: int = 0) -> None:
        """A record of that time (Kafka's) says that it is so."""
        self.lane.register.trigger_us = time_us
        self.lane.register.assert_open(alert)
        self.drain()

    def clear(self, name: str = "1", time_us: int = 0) -> None:
        """A record says that it is no longer so."""
        self.lane.register.trigger_us = time_us
        self.lane.register.clear(name)
        self.drain()

    def ask(self, action: Action, name: str = "1", time_us: int = 0, **more: Any) -> Alert | Refused:
        """Ann asks for something."""
        answer = self.lane.command(ask(action, name, **more), time_us)
        self.drain()
        return answer

    def drain(self) -> None:
        """Write down what changed, and publish."""
        drained = self.lane.drain()
        self.said += [entry.alert for entry in drained.published]
        self.log.append(msgspec.msgpack.encode(drained.changes))

    def restart(self) -> None:
        """Go on from what was written."""
        self.lane = self.new_lane()
        for changes in self.log:
            self.lane.restore(msgspec.msgpack.decode(changes, type=Changes))

    @property
    def newest(self) -> Alert:
        """What was published last."""
        return self.said[-1]

    @property
    def transitions(self) -> list[str]:
        """All that were published."""
        return [alert.transition for alert in self.said]


def handling(alert: Alert) -> Handling:
    assert isinstance(alert.handling, Handling)
    return alert.handling


# -- the table ---------------------------------------------------------------------------------------------------------


REACH: dict[Status, list[Callable[[Desk], object]]] = {
    "OPEN": [],
    "ACKNOWLEDGED": [lambda desk: desk.ask("acknowledge")],
    "RESOLVED": [lambda desk: desk.ask("resolve")],
    "CLEARED": [lambda desk: desk.clear()],
}
MAKE: dict[Transition, Callable[[Desk], object]] = {
    "UPDATED": lambda desk: desk.find(found(severity="info")),
    "SUPERSEDED": lambda desk: desk.find(found(interval=Interval(1, 2, "a", "b"))),
    "CLEARED": lambda desk: desk.clear(),
    "REOPENED": lambda desk: desk.find(found(residual="3")),
    "ACKNOWLEDGED": lambda desk: desk.ask("acknowledge"),
    "RESOLVED": lambda desk: desk.ask("resolve"),
    "ANNOTATED": lambda desk: desk.ask("comment", comment="looked at"),
}


@pytest.mark.parametrize("status", REACH)
@pytest.mark.parametrize("transition", MAKE)
def test_each_transition_happens_exactly_where_the_table_allows_it(status: Status, transition: Transition) -> None:
    desk = Desk()
    desk.find(found())
    for step in REACH[status]:
        step(desk)
    desk.restart()
    assert desk.newest.status == status
    version = desk.newest.version
    MAKE[transition](desk)
    happened = desk.newest.version == version + 1 and desk.newest.transition == transition
    assert happened == ((status, transition) in LIFECYCLE)
    if happened:
        assert desk.newest.status == LIFECYCLE[status, transition]


def test_the_table_knows_every_status_and_transition() -> None:
    assert {status for status, _ in LIFECYCLE} == {None, *get_args(Status)} == {None, *LIFECYCLE.values()}
    assert {transition for _, transition in LIFECYCLE} == set(get_args(Transition)) == {"OPENED", *MAKE}
    assert set(BY_COMMAND) == set(get_args(Action))
    with pytest.raises(ValueError, match="UPDATED cannot follow CLEARED"):
        after("CLEARED", "UPDATED")


# -- what records make of it -------------------------------------------------------------------------------------------


def test_finding_the_same_again_says_nothing_whoever_finds_it() -> None:
    desk = Desk()
    desk.find(found())
    desk.find(found())
    desk.find(found(strategy="full", notify=False))
    assert desk.transitions == ["OPENED"]


@pytest.mark.parametrize(
    "change",
    [
        {"residual": "1"},
        {"fields": [FieldDifference("price", "1", "3", "-2")]},
        {"fields": [FieldDifference("qty", "1", "2", "-1")]},
        {"evidence": [Evidence("internal", "t", 0, 7, {"exec": "correction"}), Evidence("exchange", "t", 0, 8, {})]},
        {"evidence": [Evidence("internal", "t", 0, 7, {"price": "1"})]},
    ],
)
def test_what_was_resolved_comes_back_only_when_its_substance_changes(change: dict[str, Any]) -> None:
    desk = Desk()
    desk.find(found())
    desk.ask("resolve")
    moved = [Evidence("internal", "t", 0, 99, {"price": "1"}), Evidence("exchange", "t", 0, 98, {"price": "2"})]
    desk.find(found(evidence=moved, severity="info", event_us=11, interval=Interval(1, 2, "a", "b")))
    desk.restart()
    desk.find(found())
    assert desk.transitions == ["OPENED", "RESOLVED", "SUPERSEDED", "SUPERSEDED"]
    assert {(alert.status, alert.notify) for alert in desk.said[2:]} == {("RESOLVED", False)}
    desk.find(found(**change))
    assert desk.transitions[4:] == ["REOPENED"]
    assert desk.newest.reopened == 1


def test_what_was_resolved_and_is_taken_back_shows_what_was_found_meanwhile() -> None:
    desk = Desk()
    desk.find(found())
    desk.ask("resolve")
    moved = [Evidence("internal", "t", 0, 99, {"price": "1"}), Evidence("exchange", "t", 0, 98, {"price": "2"})]
    desk.find(found(evidence=moved))
    desk.ask("reopen")
    assert desk.transitions == ["OPENED", "RESOLVED", "UPDATED", "REOPENED"]
    assert isinstance(desk.newest, Discrepancy)
    assert (desk.newest.evidence, desk.newest.notify) == (moved, True)
    desk.find(found(evidence=moved))
    assert len(desk.said) == 4


def test_what_was_resolved_clears_and_from_there_comes_back_as_it_was() -> None:
    desk = Desk()
    desk.find(found())
    desk.ask("resolve")
    desk.clear()
    desk.find(found())
    assert desk.transitions == ["OPENED", "RESOLVED", "CLEARED", "REOPENED"]


def test_a_cleared_record_is_published_whole() -> None:
    desk = Desk()
    desk.find(found(cause="ü \U0001f600", evidence=[Evidence("internal", "t", 0, 7, {"extra": 2**70, "list": [None]})]))
    desk.restart()
    desk.clear()
    [opened, cleared] = desk.said
    assert msgspec.structs.replace(cleared, version=1, transition="OPENED", status="OPEN") == opened


def test_another_interval_supersedes_the_one_before_it() -> None:
    desk = Desk()
    desk.find(found(interval=Interval(1, 2, "a", "b"), residual="1"))
    desk.find(found(interval=Interval(1, 3, "a", "c"), residual="1"))
    desk.find(found(interval=Interval(1, 3, "a", "c"), residual="2"))
    assert desk.transitions == ["OPENED", "SUPERSEDED", "UPDATED"]


def test_age_counts_from_what_opened_it_and_anew_from_what_opened_it_again() -> None:
    desk = Desk()
    desk.find(found(due_us=20))
    desk.find(found(due_us=30, severity="warning"))
    assert age_us(desk.newest, 100) == 80
    desk.clear()
    desk.find(found(due_us=50))
    assert age_us(desk.newest, 100) == 50
    desk.ask("resolve")
    desk.ask("reopen")
    assert age_us(desk.newest, 100) == 50


def test_what_stands_longer_than_its_severity_allows_is_overdue() -> None:
    desk = Desk()
    desk.find(found(due_us=DAY_US))
    assert not overdue(desk.newest, DAY_US + HOUR_US)
    assert overdue(desk.newest, DAY_US + HOUR_US + 1)
    desk.find(found(due_us=DAY_US, severity="warning"))
    assert not overdue(desk.newest, 9 * DAY_US)
    desk.find(found(due_us=DAY_US))
    desk.ask("resolve")
    assert not overdue(desk.newest, 9 * DAY_US)


# -- what people make of it --------------------------------------------------------------------------------------------


def test_people_leave_their_names_and_words_with_it() -> None:
    desk = Desk()
    desk.find(found())
    desk.ask("acknowledge", comment="looking", assignee="bob")
    desk.ask("comment", by="bob", comment="the venue is asked")
    desk.ask("resolve", by="bob")
    assert desk.newest.handling == Handling(
        by="bob", acknowledged_by="ann", resolved_by="bob", assignee="bob", comment="the venue is asked"
    )
    desk.find(found(residual="9"))
    assert desk.newest.handling == Handling(by="bob", assignee="bob", comment="the venue is asked")
    desk.ask("assign", assignee="")
    assert handling(desk.newest).assignee is None


def test_what_nobody_has_touched_says_nothing_of_people() -> None:
    desk = Desk()
    desk.find(found())
    desk.find(condition())
    assert all(b"handling" not in msgspec.json.encode(alert) for alert in desk.said)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (ask("acknowledge", "unheard of"), "unknown_alert"),
        (ask("acknowledge"), "not_allowed"),
        (ask("comment"), "incomplete"),
        (ask("assign"), "incomplete"),
        (ask("suppress"), "incomplete"),
        (ask("resolve", by=""), "incomplete"),
        (ask("reopen"), "not_allowed"),
        (ask("comment", by="bob", comment="seen"), "nothing_new"),
        (ask("suppress", until_us=0), "nothing_new"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_and_changes_nothing(command: AlertCommand, reason: str) -> None:
    desk = Desk()
    desk.find(found())
    desk.ask("acknowledge", comment="seen")
    before = dict(desk.lane.register.newest)
    answer = desk.lane.command(command, 1)
    assert isinstance(answer, Refused)
    assert answer.reason == reason
    assert answer.detail
    assert desk.lane.drain().published == []
    assert dict(desk.lane.register.newest) == before


def test_the_same_command_twice_takes_effect_once() -> None:
    actions: list[tuple[Action, dict[str, Any]]] = [
        ("acknowledge", {}), ("comment", {"comment": "x"}), ("assign", {"assignee": "bob"}),
        ("suppress", {"until_us": 9}), ("resolve", {}), ("reopen", {}),
    ]  # fmt: skip
    desk = Desk()
    desk.find(found())
    for action, more in actions:
        assert not isinstance(desk.ask(action, **more), Refused)
        desk.restart()
        assert isinstance(desk.ask(action, **more), Refused)
    assert [alert.version for alert in desk.said] == list(range(1, 8))


def test_a_person_takes_back_a_resolution_but_not_what_records_have_cleared() -> None:
    desk = Desk()
    desk.find(found())
    desk.ask("resolve")
    desk.ask("reopen")
    assert (desk.newest.status, desk.newest.reopened, handling(desk.newest).resolved_by) == ("OPEN", 1, None)
    desk.clear()
    assert isinstance(desk.ask("reopen"), Refused)


def test_nobody_is_notified_of_what_is_suppressed_until_a_later_transition() -> None:
    desk = Desk()
    desk.find(found())
    assert desk.newest.notify
    desk.ask("suppress", until_us=100, time_us=10)
    assert not desk.newest.notify
    desk.find(found(residual="1"), time_us=99)
    assert not desk.newest.notify
    desk.restart()
    desk.find(found(residual="1"), time_us=100)
    assert not desk.newest.notify  # nothing is said only because time has passed
    desk.find(found(residual="2"), time_us=100)
    assert desk.newest.notify
    desk.ask("suppress", until_us=300, time_us=200)
    desk.ask("suppress", until_us=200, time_us=200)
    assert desk.newest.notify
    assert handling(desk.newest).suppressed_until_us is None


@pytest.mark.parametrize(
    ("split", "notify"),
    [
        ([], False),
        ([SplitPart("known_causes", "3", ["x"])], False),
        ([SplitPart("known_causes", "3", ["x"]), SplitPart("unexplained", "0.00")], False),
        ([SplitPart("known_causes", "3", ["x"]), SplitPart("unexplained", "-0.01")], True),
    ],
)
def test_nobody_is_notified_of_what_others_explain_in_full(split: list[SplitPart], *, notify: bool) -> None:
    desk = Desk()
    desk.find(found(explained_by=["x"], split=split))
    assert desk.newest.notify == notify
    desk.find(found())
    assert desk.newest.notify


def test_a_feed_condition_is_handled_like_a_discrepancy() -> None:
    desk = Desk()
    desk.find(condition())
    desk.ask("acknowledge", "c", comment="maintenance until six")
    desk.ask("resolve", "c")
    desk.restart()
    desk.find(condition(waiting=7))
    assert desk.transitions == ["OPENED", "ACKNOWLEDGED", "RESOLVED"]
    desk.find(condition(waiting=8))
    desk.ask("resolve", "c")
    desk.find(condition(since_us=6))
    assert desk.transitions[3:] == ["REOPENED", "RESOLVED", "REOPENED"]
    assert handling(desk.newest).comment == "maintenance until six"


def test_a_missing_fill_that_a_person_resolved_stays_settled_until_it_comes() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("exchange", 10))
    name = book.published[0].alert_id
    assert book.lane.counts["discrepant"] == 1
    book.lane.command(ask("resolve", name), NOW)
    book.drain()
    assert "discrepant" not in book.lane.counts
    assert book.restored().counts == book.lane.counts
    book.lane = book.restored()
    book.hear(fill("internal", "1", event_id="again"), heartbeat("exchange", 20), heartbeat("internal", 20))
    assert book.standing == set()
    book.hear(fill("exchange", "1"))
    assert [transition for transition, *_ in book.said] == ["OPENED", "RESOLVED", "CLEARED"]
    assert book.restored().register.newest == book.lane.register.newest


def test_what_was_resolved_is_remembered_some_days_longer_than_its_records() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("exchange", 10))
    name = book.published[0].alert_id
    book.lane.command(ask("resolve", name), NOW)
    for hours in (2, 4):
        book.hear(heartbeat("internal", hours * 3600), heartbeat("exchange", hours * 3600), time_us=NOW * 2)
    assert book.lane.book.cases == {}
    assert book.lane.register.newest.status(name) == "RESOLVED"
    assert list(book.restored().snapshot(9)) == list(book.lane.snapshot(9))
    book.hear(heartbeat("internal", 90 * 3600), heartbeat("exchange", 90 * 3600), time_us=NOW * 2)
    assert book.retired == [name]
    assert len(book.lane.register.newest) == len(book.restored().register.newest) == 0


# -- severity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "amount", "severity"),
    [
        ("0.5", "0.01", "info"),  # dust
        ("0.5", "-0.01", "info"),
        ("0.5", "0.02", "critical"),  # by size
        ("0.005", "0.02", "warning"),
        ("0.0001", "0.02", "info"),
        ("0.0001", "99.99", "info"),
        ("0.0001", "100", "critical"),  # too much, however small a part
        ("0.0001", "-100", "critical"),
    ],
)
def test_absolute_limits_of_an_asset_override_the_relative_size(size: str, amount: str, severity: Severity) -> None:
    thresholds = Thresholds(absolute={"USD": AbsoluteLimits(Decimal("0.01"), Decimal(100))})
    told: dict[str, Any] = {"asset": "USD", "amount": Decimal(amount)}
    assert severity_of("balance_mismatch", Decimal(size), thresholds, **told) == severity
    assert severity_of("missing_exchange", Decimal(size), thresholds, **told) == "critical"
    other = severity_of("balance_mismatch", Decimal(size), thresholds, asset="EUR", amount=Decimal(amount))
    assert other == severity_of("balance_mismatch", Decimal(size), thresholds)


def test_the_worst_field_decides() -> None:
    assert worst([]) == "info"
    assert worst(["info", "critical", "warning"]) == "critical"
    book = Book(rules=Rules(thresholds=Thresholds(absolute={"USD": AbsoluteLimits(dust=Decimal("0.01"))})))
    for name, price in (("1", "1.5"), ("2", "1.51")):
        book.hear(
            fill("internal", name, fee="0.01", fee_asset="USD", price=price),
            fill("exchange", name, fee="0.02", fee_asset="USD"),
        )
    book.hear(heartbeat("internal", 5), heartbeat("exchange", 5))
    assert [alert.severity for alert in book.published] == ["info", "warning"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_one_side_does_not_have_is_never_resolved_without_a_person(kind: Kind) -> None:
    never = {"missing_internal", "missing_exchange", "ledger_missing", "duplicate_conflict"}
    assert auto_resolvable(found(kind=kind, severity="info")) == (kind not in never)
    assert not auto_resolvable(found(kind=kind, severity="info", fields=[FieldDifference("order", "1", None)]))
    assert not auto_resolvable(found(kind=kind, severity="warning"))
    assert not auto_resolvable(found(kind=kind, severity="info", status="RESOLVED"))


def test_what_clears_and_is_retired_at_once_is_not_open_after_a_restart() -> None:
    desk = Desk()
    register = desk.lane.register
    desk.find(found())
    desk.clear()
    register.forget("1", 0)
    desk.drain()
    desk.find(found())
    register.clear("1")
    assert register.retire(CLOSED_KEPT_US + HOUR_US) == ["1"]
    desk.drain()
    desk.restart()
    assert dict(desk.lane.register.newest) == {}


# -- every way, walked -------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What is to be known of one alert, by the plainest means."""

    status: str = ""
    version: int = 0
    reopened: int = 0
    residual: str = ""
    offset: int = 0
    window: int = 0
    opened_us: int = 0
    people: dict[str, Any] = field(default_factory=dict)
    retire_at: list[int] = field(default_factory=list)


ids = st.sampled_from(["1", "2"])
people = st.sampled_from(["ann", "bob"])


class Lives(RuleBasedStateMachine):
    """Two alerts, whatever happens to them."""

    @initialize()
    def begin(self) -> None:
        """Nothing is known."""
        self.desk = Desk()
        self.now_us = 1000 * HOUR_US
        self.models: dict[str, Model] = {"1": Model(), "2": Model()}
        self.expected: list[tuple[Any, ...]] = []

    def happens(self, name: str, transition: str, status: str) -> None:
        """Note that the model moves."""
        model = self.models[name]
        model.version += 1
        model.status = status
        model.reopened += transition == "REOPENED"
        until_us = model.people.get("suppressed_until_us")
        quiet = until_us is not None and self.now_us < until_us
        quiet = quiet or (status == "RESOLVED" and transition in {"UPDATED", "SUPERSEDED"})
        kept = {key: value for key, value in model.people.items() if value is not None}
        self.expected.append((
            name, transition, status, model.version, model.reopened, model.residual, model.offset, model.opened_us,
            not quiet, kept,
        ))  # fmt: skip

    @rule(name=ids, residual=st.sampled_from(["1", "2"]), offset=st.integers(0, 1), window=st.integers(1, 2))
    def find(self, name: str, residual: str, offset: int, window: int) -> None:
        """It is found, the same or different."""
        evidence = [Evidence("internal", "t", 0, offset, {"price": "1"})]
        interval = Interval(1, window, "a", "b")
        due_us = 1 + int(residual) * 4 + offset * 2 + window
        alert = found(name, residual=residual, evidence=evidence, interval=interval, due_us=due_us)
        model = self.models[name]
        same = (model.residual, model.offset, model.window) == (residual, offset, window)
        before = model.residual, model.window
        was = model.status
        self.desk.lane.register.trigger_us = self.now_us
        self.desk.lane.register.assert_open(alert)
        if was in {"OPEN", "ACKNOWLEDGED"} or (was == "RESOLVED" and residual == before[0]):
            if same:
                return
            model.residual, model.offset, model.window = residual, offset, window
            self.happens(name, "UPDATED" if window == before[1] else "SUPERSEDED", was)
            return
        model.residual, model.offset, model.window = residual, offset, window
        model.opened_us = due_us
        model.people.update(dict.fromkeys({"acknowledged_by", "resolved_by"} & set(model.people)))
        self.happens(name, "REOPENED" if was else "OPENED", "OPEN")

    @rule(name=ids)
    def clear(self, name: str) -> None:
        """It is no longer so."""
        self.desk.lane.register.trigger_us = self.now_us
        self.desk.lane.register.clear(name)
        if self.models[name].status not in {"", "CLEARED"}:
            self.happens(name, "CLEARED", "CLEARED")

    @rule(
        name=ids,
        action=st.sampled_from(get_args(Action)),
        by=people,
        comment=st.sampled_from([None, "x", "y"]),
        assignee=st.sampled_from([None, "bob", ""]),
        hours=st.sampled_from([None, -1, 1, 200]),
    )
    def ask(  # noqa: PLR0913, PLR0917 - all that a command may say
        self, name: str, action: Action, by: str, comment: str | None, assignee: str | None, hours: int | None
    ) -> None:
        """A person asks for something."""
        until_us = None if hours is None else self.now_us + hours * HOUR_US
        answer = self.desk.lane.command(
            ask(action, name, by=by, comment=comment, assignee=assignee, until_us=until_us), self.now_us
        )
        model = self.models[name]
        changed = dict(model.people)
        if comment is not None:
            changed["comment"] = comment
        if assignee is not None:
            changed["assignee"] = assignee or None
        if hours is not None:
            changed["suppressed_until_us"] = until_us if hours > 0 else None
        told = {"comment": comment, "assign": assignee, "suppress": hours}
        moves = {
            "acknowledge": {"OPEN": "ACKNOWLEDGED"},
            "resolve": {"OPEN": "RESOLVED", "ACKNOWLEDGED": "RESOLVED"},
            "reopen": {"RESOLVED": "OPEN"},
        }
        if not model.status or (action in told and told[action] is None):
            allowed = False
        elif action in moves:
            allowed = model.status in moves[action]
        else:
            allowed = any(changed.get(key) != model.people.get(key) for key in changed)
        assert isinstance(answer, Refused) != allowed
        if not allowed:
            return
        if action == "acknowledge":
            changed["acknowledged_by"] = by
        if action == "resolve":
            changed["resolved_by"] = by
        if action == "reopen":
            changed["acknowledged_by"] = changed["resolved_by"] = None
        model.people = changed | {"by": by}
        transition = {"acknowledge": "ACKNOWLEDGED", "resolve": "RESOLVED", "reopen": "REOPENED"}
        status = moves[action][model.status] if action in moves else model.status
        self.happens(name, transition.get(action, "ANNOTATED"), status)

    @precondition(lambda self: any(m.status in {"RESOLVED", "CLEARED"} and not m.retire_at for m in self.lives()))
    @rule()
    def forget(self) -> None:
        """The book lets go of what is closed; what a person settled is remembered."""
        for name, model in self.models.items():
            if model.status in {"RESOLVED", "CLEARED"} and not model.retire_at:
                self.desk.lane.register.forget(name, self.now_us)
                self.retire_later(model)
                if model.status == "CLEARED":
                    self.models[name] = Model(retire_at=model.retire_at)

    def lives(self) -> list[Model]:
        """Both models."""
        return list(self.models.values())

    def retire_later(self, model: Model) -> None:
        """Note when readers may forget it too."""
        model.retire_at.append((self.now_us + CLOSED_KEPT_US) // HOUR_US)

    @rule(hours=st.sampled_from([1, 30, 100]))
    def wait(self, hours: int) -> None:
        """Time passes, and what closed long ago is retired unless it stands again."""
        self.now_us += hours * HOUR_US
        retired = self.desk.lane.register.retire(self.now_us)
        expected = []
        for name, model in self.models.items():
            due = [hour for hour in model.retire_at if hour <= self.now_us // HOUR_US]
            model.retire_at = [hour for hour in model.retire_at if hour not in due]
            if due and model.status in {"OPEN", "ACKNOWLEDGED"}:
                self.retire_later(model)
            elif due:
                expected.append(name)
                self.models[name] = Model()
        assert sorted(retired) == expected
        self.write()  # as a lane does

    @rule()
    def write(self) -> None:
        """What changed is written down."""
        before = len(self.desk.said)
        self.desk.drain()
        self.check(self.desk.said[before:])

    def check(self, said: list[Alert]) -> None:
        """What was published is what the model expects."""
        heard = []
        for alert in said:
            assert isinstance(alert, Discrepancy)
            kept = msgspec.to_builtins(alert.handling) if isinstance(alert.handling, Handling) else {}
            heard.append((
                alert.alert_id, alert.transition, alert.status, alert.version, alert.reopened, alert.residual,
                alert.evidence[0].offset, alert.opened_us, alert.notify, kept,
            ))  # fmt: skip
        assert heard == self.expected
        self.expected = []

    @rule(limit=st.sampled_from([None, 1, 100]))
    def restart(self, limit: int | None) -> None:
        """The worker is started again, from its log or from a snapshot."""
        self.write()
        if limit is not None:
            self.desk.log = [msgspec.msgpack.encode(part) for part in self.desk.lane.snapshot(limit)]
        self.desk.restart()

    @invariant()
    def knows_what_the_model_knows(self) -> None:
        """At any time."""
        newest = self.desk.lane.register.newest
        assert {name: newest[name].status for name in newest} == {
            name: model.status for name, model in self.models.items() if model.status
        }
        standing = sum(model.status in {"OPEN", "ACKNOWLEDGED"} for model in self.models.values())
        assert newest.standing.total() == standing
        for name, alert in newest.items():
            assert alert.version == self.models[name].version


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def meddled(one: World, order: list[Origin], cuts: set[int], seed: int, *, restarts: bool) -> Kafka:
    """A world read while people do at random what they can to everything that is known."""
    rng = Random(seed)

    def meddle(worker: Worker) -> Worker:
        for name in sorted(worker.lane.register.newest):
            if rng.random() < 0.6:
                command = AlertCommand(
                    action=rng.choice(get_args(Action)),
                    alert_id=name,
                    by=rng.choice(("ann", "bob")),
                    comment=rng.choice((None, "x", "y")),
                    until_us=rng.choice((None, START_US + rng.randint(0, 20) * SECOND)),
                )
                worker.lane.command(command, START_US + rng.randint(0, 20) * SECOND)
        worker.write()
        return Worker(worker.kafka) if restarts else worker

    return read(one, order, cuts, meddle)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_people_and_restarts_amid_the_records_leave_one_history(rng: random.Random, seed: int) -> None:
    one = world(rng)
    assume(one.horizon_us > LAST_S * SECOND)  # a restarted lane may forget up to an hour sooner what closed beyond it
    order = turns(rng, one)
    cuts = set(rng.sample(range(len(order)), len(order) // 3))
    kafka, unharmed = (meddled(one, order, cuts, seed, restarts=restarts) for restarts in (True, False))
    assert published(kafka) == published(unharmed)
    assert Worker(kafka).lane.counts == Worker(unharmed).lane.counts
    history: dict[str, dict[int, Alert]] = {}
    for _, alert in kafka.alerts:
        history.setdefault(alert.alert_id, {})[alert.version] = alert
    for name, versions in history.items():
        assert sorted(versions) == list(range(1, len(versions) + 1)), name
        status: Status | None = None
        for version in sorted(versions):
            assert versions[version].status == after(status, versions[version].transition)
            status = versions[version].status


def test_what_people_may_do_follows_from_the_table() -> None:
    assert {(status, action) for status in get_args(Status) for action in get_args(Action) if may(status, action)} == {
        ("OPEN", "acknowledge"), ("OPEN", "resolve"), ("ACKNOWLEDGED", "resolve"), ("RESOLVED", "reopen"),
        *((status, action) for status in get_args(Status) for action in ("comment", "assign", "suppress")),
    }  # fmt: skip


def test_commands_have_one_text_form() -> None:
    command = ask("suppress", until_us=SECOND)
    text = msgspec.json.encode(command)
    assert text == b'{"type":"alert_command","action":"suppress","alert_id":"1","by":"ann","until_us":1000000}'
    assert msgspec.json.decode(text, type=AlertCommand) == command
