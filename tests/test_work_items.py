"""What the owner of a partition makes of work items: the pure part, and that restarts change nothing of it."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from stream_recon.core import errands
from stream_recon.core.runs import find
from stream_recon.core.taking import answers, take
from stream_recon.domain.commands import Action
from stream_recon.domain.discrepancies import Discrepancy, SplitPart
from stream_recon.domain.events import STREAMS
from stream_recon.domain.work import AlertAnswer, FindingsAnswer, Partial
from tests.account_worlds import THEMES, schedule, world
from tests.items import AGES_AGO_US, EVER_US, ask, configure, findings, ids, live, of_run, scope
from tests.lanes import NOW, SECOND, Book, T, fill, heartbeat
from tests.oracles.argument import LONG_US, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.core.taking import LaneItem
    from stream_recon.domain.contracts import FeedContract
    from stream_recon.domain.events import Origin, Stream
    from stream_recon.domain.work import Answer
    from tests.account_worlds import Turn, World

TOPICS: dict[str, tuple[Origin, Stream]] = {
    "recon.internal.fills.v1": ("internal", "fills"),
    "recon.exchange.fills.v1": ("exchange", "fills"),
}
HOUR_S = 3600.0


class Desk(Book):
    """A lane that takes items, and what it answers."""

    def __init__(self, *contracts: FeedContract, **more: Any) -> None:
        super().__init__(*contracts, **more)
        self.answers: list[Answer] = []
        self.disagreements: list[tuple[str, str]] = []

    @property
    def reached(self) -> dict[str, int]:
        """All topics share the offsets of the book."""
        return dict.fromkeys(TOPICS, self.offset)

    def take(self, *items: LaneItem, now_us: int | None = None) -> None:
        """Take items one by one, and answer what can be answered."""
        for item in items:
            taken = take(self.lane, item, NOW, self.reached)
            self.answers += taken.answers
            self.disagreements += [(each.direction, each.alert_id) for each in taken.disagreements]
        self.answers += answers(self.lane, TOPICS, self.reached, now_us)
        self.drain()

    def restart(self) -> None:
        """Go on from what was written."""
        self.lane = self.restored()

    @property
    def answer(self) -> Any:
        """The last one."""
        return self.answers[-1]

    def of(self, trade_id: str) -> Discrepancy:
        """The newest state of what was said of a trade."""
        return [a for a in self.published if isinstance(a, Discrepancy) and a.trade_id == trade_id][-1]


def lonely() -> Desk:
    """A fill that the exchange never sent, which is said."""
    desk = Desk()
    desk.hear(fill("internal", "1"), heartbeat("exchange", 10), heartbeat("internal", 10))
    return desk


def much_later(*, hours: float = 9) -> Desk:
    """The same, hours after it: both sides have gone on, and agree."""
    desk = lonely()
    at_s = hours * HOUR_S
    desk.hear(fill("internal", "2", at_s), fill("exchange", "2", at_s))
    desk.hear(heartbeat("exchange", at_s + 10), heartbeat("internal", at_s + 10), time_us=NOW + 2 * int(at_s) * SECOND)
    return desk


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_is_done_and_the_answer_holds_the_alert() -> None:
    desk = lonely()
    desk.take(ask("acknowledge", desk.of("1").alert_id, comment="looking"))
    assert isinstance(desk.answer, AlertAnswer)
    assert desk.answer.done == desk.of("1")
    assert (desk.answer.done.status, desk.answer.reason) == ("ACKNOWLEDGED", "")


def test_a_command_that_cannot_be_done_is_answered_with_the_reason() -> None:
    desk = lonely()
    desk.take(ask("acknowledge", "unheard of"), ask("reopen", desk.of("1").alert_id))
    assert [(a.reason, bool(a.detail), a.done) for a in desk.answers if isinstance(a, AlertAnswer)] == [
        ("unknown_alert", True, None),
        ("not_allowed", True, None),
    ]


# -- the live state ---------------------------------------------------------------------------------------------------


def test_what_stands_is_told_as_soon_as_the_ends_are_reached_and_not_before() -> None:
    desk = lonely()
    ends = dict.fromkeys(TOPICS, desk.offset + 1)
    desk.take(live(ends=ends))
    assert desk.answers == []
    desk.restart()
    desk.hear(fill("internal", "2", 20))
    desk.take()
    [answer] = desk.answers
    assert isinstance(answer, Partial)
    assert ids(answer.discrepancies) == [desk.of("1").alert_id]
    assert (answer.part, answer.parts, answer.unsettled, answer.notes, answer.errors) == (1, 1, [], [], [])
    assert answer.pending == answer.counts["waiting"] == 1
    assert {cut.topic: cut.end_offset for cut in answer.topics} == ends
    assert answer.topics[0].watermarks == {"internal|venue": T + 18 * SECOND}
    desk.restart()
    desk.take()
    assert len(desk.answers) == 1


def test_at_the_deadline_it_is_told_what_was_not_reached() -> None:
    desk = lonely()
    desk.take(live(ends={"recon.internal.fills.v1": desk.offset + 7}, deadline_us=NOW), now_us=NOW - 1)
    assert desk.answers == []
    desk.take(now_us=NOW)
    [late] = desk.answer.unsettled
    assert (late.origin, late.stream, late.source, late.waiting) == ("internal", "fills", "internal|venue", 7)
    assert desk.answer.notes == [
        "recon.internal.fills.v1 partition 0: 7 records before the cut were not applied by the deadline"
    ]
    assert ids(desk.answer.discrepancies) == [desk.of("1").alert_id]


@pytest.mark.parametrize(
    ("of", "found"),
    [
        ({}, 1),
        ({"identities": ("order", "position", "balance")}, 0),
        ({"identities": ("net_change",)}, 0),
        ({"accounts": ("venue|alice",)}, 1),
        ({"accounts": ("venue|bob",)}, 0),
        ({"from_us": T, "to_us": T}, 1),
        ({"from_us": T + 1}, 0),
        ({"to_us": T - 1}, 0),
    ],
)
def test_only_what_lies_in_the_scope_is_told(of: dict[str, Any], found: int) -> None:
    desk = lonely()
    desk.take(live(scope=scope(**of)))
    assert len(desk.answer.discrepancies) == found


def test_what_is_acknowledged_stands_and_what_is_resolved_or_cleared_does_not() -> None:
    desk = lonely()
    desk.take(ask("acknowledge", desk.of("1").alert_id), live("a"))
    assert [alert.status for alert in desk.answer.discrepancies] == ["ACKNOWLEDGED"]
    desk.take(ask("resolve", desk.of("1").alert_id), live("b"))
    assert desk.answer.discrepancies == []


def test_nothing_is_settled_for_an_answer_what_is_inside_grace_is_pending() -> None:
    desk = Desk()
    desk.hear(fill("internal", "1"), fill("internal", "2", price="2"), fill("exchange", "2"), heartbeat("internal", 9))
    before = desk.said
    desk.take(live())
    assert (desk.answer.discrepancies, desk.answer.pending) == ([], 2)
    assert desk.said == before == []


def test_feed_conditions_that_stand_are_told_with_it() -> None:
    desk = Desk()
    desk.hear(fill("internal", "1"), fill("exchange", "1"), fill("internal", "2", 30))
    desk.tick(3600)
    desk.take(live())
    assert [condition.reason for condition in desk.answer.conditions] == ["STALE"]
    assert desk.answer.discrepancies == []


def test_delta_tells_drifts_and_nothing_else() -> None:
    desk = Desk(rules=Desk().rules._replace(window_us=300 * SECOND))
    desk.hear(fill("internal", "1"), heartbeat("exchange", 1200), heartbeat("internal", 1200))
    desk.take(live(type="delta", scope=scope(identities=("net_change",))))
    assert {alert.kind for alert in desk.answer.discrepancies} == {"net_change_mismatch"}


def test_what_no_record_can_hold_is_told_in_parts() -> None:
    desk = Desk()
    for number in range(60):
        desk.hear(fill("internal", str(number), comment="x" * 50_000))
    desk.hear(heartbeat("exchange", 10))
    desk.take(live())
    parts = [answer for answer in desk.answers if isinstance(answer, Partial)]
    assert len(parts) > 2
    assert [(each.part, each.parts, each.attempt) for each in parts] == [
        (number, len(parts), parts[0].attempt) for number in range(1, len(parts) + 1)
    ]
    assert max(len(msgspec.json.encode(each)) for each in parts) < 900_000
    assert len({name for each in parts for name in ids(each.discrepancies)}) == 60
    assert [bool(each.topics) for each in parts] == [True] + [False] * (len(parts) - 1)


def test_too_many_questions_at_once_are_refused_in_words() -> None:
    desk = Desk()
    for number in range(errands.MOST_LIVE + 1):
        desk.take(live(str(number), ends={"recon.internal.fills.v1": 99}))
    [refused] = desk.answers
    assert isinstance(refused, Partial)
    assert "ask again later" in refused.errors[0]
    assert len(desk.restored().errands.live) == errands.MOST_LIVE


# -- what a run found -------------------------------------------------------------------------------------------------


def test_what_the_stream_says_itself_stays_its_own() -> None:
    desk = lonely()
    said = len(desk.published)
    desk.take(findings(of_run(desk.of("1"), severity="info")))
    assert len(desk.published) == said
    assert (desk.answer.agreed, desk.answer.adopted, desk.answer.disagreed) == (1, 0, 0)


def test_what_the_stream_cannot_judge_any_more_is_adopted_under_the_name_of_the_run() -> None:
    desk = much_later()
    desk.take(findings(of_run(desk.of("1")), of_run(desk.of("1"), "old", trade_id="0", event_us=AGES_AGO_US)))
    adopted = desk.of("0")
    assert (adopted.transition, adopted.version, adopted.strategy, adopted.notify) == ("OPENED", 1, "full", True)
    assert (desk.answer.adopted, desk.answer.disagreed) == (1, 0)
    desk.restart()
    desk.take(findings(of_run(desk.of("1")), of_run(adopted), run_id="again"))
    assert (desk.answer.adopted, desk.of("0").version) == (1, 1)


def test_what_the_stream_has_judged_otherwise_is_published_nowhere_and_counted() -> None:
    desk = much_later()
    said = len(desk.published)
    agreed = of_run(desk.of("1"), "wrong", trade_id="2", event_us=T + int(9 * HOUR_S) * SECOND)
    desk.take(findings(of_run(desk.of("1")), agreed))
    assert desk.disagreements == [("run_only", "wrong")]
    assert (desk.answer.disagreed, desk.answer.disagreements, desk.answer.adopted) == (1, ["wrong"], 0)
    assert len(desk.published) == said


def test_what_is_not_due_in_the_stream_is_left_to_it() -> None:
    desk = lonely()
    desk.hear(fill("internal", "2", 20))
    waits = of_run(desk.of("1"), "2", trade_id="2", event_us=T + 20 * SECOND, due_us=T + 25 * SECOND)
    desk.take(findings(of_run(desk.of("1")), waits))
    assert (desk.answer.awaited, desk.answer.disagreed, desk.disagreements) == (1, 0, [])


def test_a_stream_that_has_not_read_as_far_as_the_run_disagrees_with_nothing() -> None:
    desk = lonely()
    ahead = {"recon.exchange.fills.v1": desk.offset + 1}
    desk.take(findings(of_run(desk.of("1"), "other", trade_id="3"), ends=ahead))
    assert (desk.answer.awaited, desk.answer.disagreed, desk.disagreements) == (1, 0, [])


def test_what_the_stream_holds_open_and_the_run_did_not_find_is_a_disagreement_and_stays() -> None:
    desk = lonely()
    name = desk.of("1").alert_id
    desk.take(findings())
    assert desk.disagreements == [("stream_only", name)]
    assert desk.lane.register.stands(name)


@pytest.mark.parametrize(
    "more",
    [
        {"scope": scope(identities=("position",))},
        {"scope": scope(accounts=("venue|bob",))},
        {"scope": scope(from_us=T + 1)},
        {"scope": scope(to_us=T - 1)},
        {"ends": {"recon.internal.fills.v1": 0}},
        {"settled": False},
    ],
)
def test_it_is_none_where_the_run_has_not_looked(more: dict[str, Any]) -> None:
    desk = lonely()
    desk.take(findings(**more))
    assert (desk.disagreements, desk.answer.disagreed) == ([], 0)


def test_what_a_late_record_has_cleared_is_over_and_no_disagreement() -> None:
    desk = lonely()
    found = of_run(desk.of("1"))
    desk.hear(fill("exchange", "1"))
    said = len(desk.published)
    desk.take(findings(found))
    assert (desk.answer.adopted, desk.answer.disagreed, len(desk.published)) == (0, 0, said)


@pytest.mark.parametrize(("further", "disagreed"), [(0, 1), (1, 0)])
def test_what_the_stream_has_closed_is_a_disagreement_unless_it_has_read_on(further: int, disagreed: int) -> None:
    desk = lonely()
    found = of_run(desk.of("1"))
    desk.lane.register.clear(found.alert_id)
    desk.drain()
    desk.take(findings(found, ends=dict.fromkeys(TOPICS, desk.offset - further)))
    assert (desk.answer.disagreed, desk.answer.adopted, desk.of("1").status) == (disagreed, 0, "CLEARED")


def adopted() -> Desk:
    """A run's finding stands."""
    desk = much_later()
    desk.take(findings(of_run(desk.of("1")), of_run(desk.of("1"), "old", trade_id="0", event_us=AGES_AGO_US)))
    return desk


def test_what_a_later_run_does_not_find_any_more_is_cleared_and_comes_back_with_the_next_version() -> None:
    desk = adopted()
    found, stays = of_run(desk.of("0")), of_run(desk.of("1"))
    desk.take(findings(stays, run_id="second", type="trade_only"))
    assert (desk.of("0").transition, desk.of("0").version, desk.answer.cleared) == ("CLEARED", 2, 1)
    desk.restart()
    desk.take(findings(stays, found, run_id="third"))
    assert (desk.of("0").transition, desk.of("0").version) == ("REOPENED", 3)


@pytest.mark.parametrize(
    "more",
    [
        {"scope": scope(identities=("order", "position", "balance"))},
        {"scope": scope(accounts=("venue|bob",))},
        {"scope": scope(from_us=T)},
        {"settled": False},
        {"type": "real_time"},
    ],
)
def test_a_run_clears_nothing_that_it_has_not_looked_at(more: dict[str, Any]) -> None:
    desk = adopted()
    desk.take(findings(run_id="second", **more))
    assert desk.answer.cleared == 0
    assert desk.lane.register.stands("old")


def test_clearing_waits_for_the_last_part_whatever_their_order_and_restarts_between() -> None:
    desk = adopted()
    one, other = of_run(desk.of("1")), of_run(desk.of("0"))
    desk.take(findings(one, run_id="second", part=3, parts=3))
    desk.restart()
    desk.take(findings(run_id="second", part=1, parts=3), findings(run_id="second", part=1, parts=3))
    assert len(desk.answers) == 1
    desk.restart()
    desk.take(findings(other, run_id="second", part=2, parts=3))
    assert (desk.answer.run_id, desk.answer.agreed, desk.answer.adopted, desk.answer.cleared) == ("second", 1, 1, 0)
    assert desk.restored().errands.gathered == {}


def test_runs_whose_parts_never_come_are_given_up_in_the_order_of_their_beginning() -> None:
    desk = lonely()
    for number in range(errands.MOST_GATHERED + 1):
        desk.take(findings(run_id=str(number), part=2, parts=2))
    [answer] = desk.answers
    assert isinstance(answer, FindingsAnswer)
    assert answer.run_id == "0"
    assert "nothing was cleared" in answer.reason
    assert len(desk.restored().errands.gathered) == errands.MOST_GATHERED


def test_what_the_stream_finds_too_is_its_own_from_then_on() -> None:
    desk = Desk()
    desk.hear(fill("internal", "1"), heartbeat("internal", 10))
    name = lonely().of("1").alert_id
    desk.lane.register.assert_open(of_run(lonely().of("1")))
    desk.drain()
    assert desk.of("1").strategy == "full"
    desk.restart()
    desk.hear(heartbeat("exchange", 10))
    assert (desk.of("1").strategy, desk.of("1").notify, desk.of("1").version) == ("real_time", False, 2)
    desk.take(findings(run_id="second"))
    assert desk.disagreements == [("stream_only", name)]
    desk.restart()
    desk.hear(fill("exchange", "1"))
    assert desk.of("1").transition == "CLEARED"


def test_findings_that_are_to_wake_nobody_wake_nobody() -> None:
    desk = much_later()
    found = of_run(desk.of("1"), "old", trade_id="0", event_us=AGES_AGO_US)
    desk.take(findings(found, notify=False))
    assert not desk.of("0").notify
    desk.take(findings(run_id="second"))
    assert desk.of("0").notify


def test_a_person_handles_what_a_run_found_and_no_run_opens_it_again() -> None:
    desk = adopted()
    desk.take(ask("resolve", "old"))
    desk.restart()
    desk.take(findings(of_run(desk.of("0")), run_id="second"))
    assert desk.of("0").status == "RESOLVED"


@pytest.mark.parametrize(
    "more",
    [{"part": 0}, {"part": 2, "parts": 1}, {"parts": 10**9}],
)
def test_parts_that_cannot_be_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        take(Desk().lane, findings(**more), NOW, {})


def test_findings_that_contradict_themselves_are_refused_whole() -> None:
    desk = much_later()
    said = len(desk.published)
    for wrong in ({"account": "elsewhere|x"}, {"split": [SplitPart("fees", "much")]}):
        good = of_run(desk.of("1"), "old", event_us=AGES_AGO_US)
        with pytest.raises(ValueError, match="finding"):
            desk.take(findings(good, of_run(desk.of("1"), **wrong)))
    desk.drain()
    assert len(desk.published) == said


# -- configuration ----------------------------------------------------------------------------------------------------


def differing(desk: Desk, trade_id: str, price: str) -> Discrepancy:
    """What is said where both sides tell another price."""
    at_s = float(trade_id) * 100
    desk.hear(fill("internal", trade_id, at_s), fill("exchange", trade_id, at_s, price=price))
    desk.hear(heartbeat("internal", at_s + 50), heartbeat("exchange", at_s + 50))
    return desk.of(trade_id)


def test_a_configuration_holds_from_its_record_on_and_after_restarts() -> None:
    desk = Desk()
    assert differing(desk, "1", "1.51").severity == "warning"
    desk.take(configure(3, max_discrepancy_threshold="0.005", enable_alerts=False))
    assert (differing(desk, "2", "1.51").severity, desk.of("2").notify) == ("critical", False)
    desk.restart()
    assert (differing(desk, "3", "1.51").severity, desk.of("3").notify) == ("critical", False)
    desk.take(configure(2, enable_alerts=True))
    assert not differing(desk, "4", "1.51").notify
    desk.take(configure(4))
    assert (differing(desk, "5", "1.51").severity, desk.of("5").notify) == ("warning", True)


def test_what_is_no_configuration_is_refused_and_the_one_before_holds() -> None:
    desk = Desk()
    desk.take(configure(1, max_discrepancy_threshold="0.005"))
    for wrong in ({"max_discrepancy_threshold": "two"}, {"unheard": 1}, {"auto_resolve_threshold": "0.5"}):
        with pytest.raises(ValueError, match="validation error"):
            desk.take(configure(2, **wrong))
    assert differing(desk, "1", "1.51").severity == "critical"


# -- restarts ---------------------------------------------------------------------------------------------------------


class Asked(Reader):
    """A reader that is asked things between what it reads, and what it answered."""

    answered: list[bytes]

    def take(self, items: Iterable[LaneItem]) -> None:
        """Take items, and answer."""
        for item in items:
            taken = take(self.lane, item, T, self.reached)
            self.answered += [msgspec.json.encode(each) for each in (*taken.answers, *taken.disagreements)]

    def answer(self, now_us: int | None = None) -> None:
        """Answer what can be answered."""
        topics = {name_of(topic): topic for topic in self.logs}
        for each in answers(self.lane, topics, self.reached, now_us):
            if isinstance(each, Partial):
                each.conditions = []  # what cannot be known is said sooner after a restart
            self.answered.append(msgspec.json.encode(each))

    @property
    def reached(self) -> dict[str, int]:
        """By topic, what is read."""
        return {name_of(topic): count for topic, count in self.next.items()}


def name_of(topic: tuple[Origin, Stream]) -> str:
    return f"recon.{topic[0]}.{topic[1]}.v1"


def drawn(rng: random.Random, known: list[Discrepancy], one: World) -> LaneItem:
    """Something that may be asked, about what will be known at the end or something like it."""
    run_id = rng.choice("abcd")
    what = rng.random()
    if what < 0.2:
        action = rng.choice(get_args(Action))
        return ask(action, rng.choice(known).alert_id, comment=rng.choice((None, "x")))
    if what < 0.3:
        ends = {name_of(topic): rng.randint(0, len(log)) for topic, log in one.logs.items()}
        return live(run_id, ends, deadline_us=rng.choice((0, EVER_US)))
    if what < 0.4:
        return configure(
            rng.randint(0, 9), max_discrepancy_threshold=rng.choice(("0.5", "0.05")), enable_alerts=rng.random() < 0.8
        )
    found = []
    for alert in rng.sample(known, rng.randint(0, min(5, len(known)))):
        other = {"event_us": alert.event_us - rng.choice((0, 2 * LONG_US)), "severity": rng.choice(("info", "warning"))}
        found.append(of_run(alert, rng.choice((None, alert.alert_id[::-1])), **other))
    parts = rng.choice((1, 1, 2))
    identities = rng.choice((scope().identities, ("trade",), ("position", "balance")))
    about = scope(identities=identities, from_us=rng.choice((-EVER_US, T)))
    return findings(
        *found, run_id=run_id, type=rng.choice(("full", "trade_only", "scheduled")), scope=about,
        part=rng.randint(1, parts), parts=parts, notify=rng.random() < 0.8, settled=rng.random() < 0.9,
    )  # fmt: skip


def lived(one: World, turns: list[Turn], items: list[list[LaneItem]], *, restarts: bool) -> Asked:
    """A world read with items between, by one lane or by many."""
    reader = Asked(one.logs, one.contracts, one.instruments, LONG_US, None)
    reader.answered = []
    for turn, asked in zip(turns, items or [[]] * len(turns), strict=True):
        reader.read(turn.topic, turn.count)
        reader.answer()
        if turn.then:
            reader.take(asked)
            reader.answer(now_us=1)
            reader.drain()
        if restarts and turn.then == "snapshot":
            reader.snapshot()
        if restarts and turn.then:
            reader.restart()
    reader.lane.tick({})
    reader.drain()
    return reader


def hold(seed: int, theme: str | None = None) -> tuple[int, int]:
    """Restarts between change nothing of what is published or answered; gives how much of both there was."""
    rng = random.Random(seed)
    one = world(rng, theme)
    turns = schedule(rng, one)
    found = lived(one, turns, [[] for _ in turns], restarts=False).published
    known = [alert for alert in found if isinstance(alert, Discrepancy)]
    if not known:
        return 0, 0

    def asked() -> list[list[LaneItem]]:  # what is adopted is changed, so each lane is asked in words of its own
        again = random.Random(seed)
        return [[drawn(again, known, one) for _ in range(again.randint(0, 3)) if turn.then] for turn in turns]

    calm, harmed = (lived(one, turns, asked(), restarts=restarts) for restarts in (False, True))
    assert Counter(map(repr, harmed.published)) == Counter(map(repr, calm.published))
    assert harmed.answered == calm.answered
    said = len(harmed.published)
    harmed.restart()
    harmed.drain()
    assert len(harmed.published) == said, "a restored lane says more"
    return said, len(harmed.answered)


@pytest.mark.parametrize("theme", THEMES)
def test_restarts_amid_items_and_records_leave_one_history(theme: str) -> None:
    held = [hold(seed, theme) for seed in range(60)]
    assert all(sum(amounts) > 30 for amounts in zip(*held, strict=True)), "there is something to hold"


@pytest.mark.parametrize("theme", THEMES)
def test_a_run_over_the_same_records_disagrees_with_nothing(theme: str) -> None:
    agreed = 0
    for seed in range(60):
        rng = random.Random(seed)
        one = world(rng, theme)
        stream, run = (lived(one, schedule(rng, one), [], restarts=False) for _ in range(2))
        found = find(run.lane, scope(), STREAMS, "full").discrepancies
        taken = take(stream.lane, findings(*found, ends=run.reached), T, stream.reached)
        [answer] = taken.answers
        assert isinstance(answer, FindingsAnswer)
        assert (answer.disagreements, answer.adopted, answer.cleared) == ([], 0, 0), seed
        agreed += answer.agreed
    assert agreed > 20


@pytest.mark.parametrize(
    ("theme", "seed"),
    [
        (None, 1168),  # a zero that a snapshot proves, and the other side's snapshots near by
        ("ledger", 1004),  # contradicting copies that are not due yet
        ("orders", 1156),  # fills that tell that two names are of one order, not counted yet
    ],
)
def test_what_restarts_changed_once_they_change_no_more(theme: str | None, seed: int) -> None:
    hold(seed, theme)
