"""The coordinator's decisions, amid crashes at every step: every command ends in exactly one final result."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_recon.domain.commands import AlertCommand
from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.control_policy import Policy, nobody
from stream_recon.domain.results import FINAL, CheckpointAt, ReconciliationResult, TopicCut, run_id_of
from stream_recon.domain.work import AlertAnswer, AlertItem, CancelItem, FindingsItem, LiveItem, Partial, ReplayItem
from stream_recon.shell.configuration import load
from stream_recon.shell.governing import Governing
from stream_recon.strategies.coordination import OVERTIME_US, SECOND_US, Board, Correct, Hand, Publish, Static
from stream_recon.strategies.registry import NINE, Registry
from tests.findings import AT_US, DIFFERS, MISSING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from stream_recon.domain.corrections import Correction
    from stream_recon.domain.work import Answer, WorkItem
    from stream_recon.strategies.coordination import Effect
    from stream_recon.strategies.schedules import Schedule

PARTITIONS = 3
ENDS = {str(p): {"fills": 7} for p in range(PARTITIONS)}
KNOWN = Registry({strategy.type: strategy for strategy in NINE}, {})


class Settled:
    """A configuration of the nine fields alone."""

    def __init__(self, version: int = 0, **values: Any) -> None:
        self.version, self.values = version, values
        self.digest = f"config {version}"
        self.corrects, self.falls_back = True, True
        self.budget: Mapping[str, Decimal] = {}
        self.policy = Policy()
        self.verify = nobody
        self.schedules: Sequence[Schedule] = ()

        self.emergency_us = 30 * SECOND_US
        self.absolute: dict[str, tuple[str | None, str | None]] = {}

    def window_us(self, kind: str) -> int | None:
        """As the type has it."""
        del kind
        return None

    @property
    def default_type(self) -> str:
        """The configured one."""
        return self.config_for("").reconciliation_type

    def config_for(
        self, kind: str, params: Mapping[str, Any] | None = None, inner: str | None = None
    ) -> ReconciliationConfig:
        """The same for all types."""
        del kind, inner
        return ReconciliationConfig(**{**self.values, **(params or {})})

    def at(self, version: int) -> Settled:
        """The same under another number."""
        return Settled(version, **self.values)

    def changed(self, values: Mapping[str, Any], version: int | None = None) -> Settled:
        """The next version."""
        changed = Settled(self.version + 1 if version is None else version, **{**self.values, **values})
        changed.config_for("")
        return changed


def board(configuration: Any = None, results: Sequence[ReconciliationResult] = ()) -> Board:
    static = Static(PARTITIONS, "contracts", "instruments", "1", lambda account: len(account) % PARTITIONS)
    one = Board(static, configuration or Settled(), KNOWN)
    one.restore(results)
    return one


def begin(one: Board, requested: str | None, command_id: str = "c1", **more: Any) -> list[Effect]:
    said: dict[str, Any] = {
        "accounts": None, "params": None, "cut_us": None, "issued_by": "ann", "offset": 0, "time_us": AT_US,
        "ends": ENDS, "now_us": AT_US,
    }  # fmt: skip
    return one.begin(command_id=command_id, requested=requested, **{**said, **more})


def answer_of(run_id: str, partition: int, **more: Any) -> Partial:
    cut = TopicCut(
        topic="fills", partition=partition, first_offset=0, end_offset=7, records=7, digest="d", watermarks={}
    )
    counts = {"consumed": 7, "matched": 3}
    return Partial(run_id=run_id, partition=partition, topics=[cut], counts=counts, reported=["fill"], **more)


def handed(effects: Sequence[Effect]) -> list[WorkItem]:
    return [each.item for each in effects if isinstance(each, Hand)]


def results(effects: Sequence[Effect]) -> list[ReconciliationResult]:
    return [each.result for each in effects if isinstance(each, Publish)]


def finish(one: Board, command_id: str = "c1", **more: Any) -> tuple[ReconciliationResult, list[Effect]]:
    """Let all partitions answer."""
    effects: list[Effect] = []
    for partition in range(PARTITIONS):
        effects = one.hear(answer_of(run_id_of(command_id), partition, **(more if partition == 1 else {})), AT_US)
    [result] = results(effects)
    return result, effects


@pytest.mark.parametrize("strategy", NINE, ids=lambda each: each.type)
def test_every_type_begins_with_its_scope_and_work_for_each_partition(strategy: Any) -> None:
    effects = begin(board(), strategy.type)
    [begun] = results(effects)
    assert isinstance(effects[0], Publish)
    assert (begun.type, begun.status) == (strategy.type, "running")
    items = handed(effects)
    kinds = {type(item) for item in items}
    assert kinds == ({LiveItem} if strategy.cut == "live" else {ReplayItem})
    assert len(items) == PARTITIONS
    identities = NINE[0].identities if strategy.outer else strategy.identities
    assert all(item.scope.identities == identities for item in items if isinstance(item, LiveItem | ReplayItem))


def test_a_run_is_over_when_all_partitions_have_answered() -> None:
    one = board()
    begin(one, "full")
    assert one.hear(answer_of(run_id_of("c1"), 0), AT_US) == []
    assert one.hear(answer_of(run_id_of("c1"), 0, errors=["too late"]), AT_US) == []
    assert one.hear(answer_of(run_id_of("c1"), 2), AT_US) == []
    effects = one.hear(answer_of(run_id_of("c1"), 1, discrepancies=[MISSING]), AT_US)
    [result] = results(effects)
    assert (result.status, result.discrepancies_found, result.total_records_processed) == ("completed", 1, 21)
    findings = [item for item in handed(effects) if isinstance(item, FindingsItem)]
    assert [len(item.findings) for item in findings] == [0, 1, 0]
    assert one.hear(answer_of(run_id_of("c1"), 1), AT_US) == []


def test_parts_count_only_with_the_parts_of_the_same_attempt() -> None:
    one = board()
    begin(one, "full", accounts=["vv|a"])
    assert one.active[run_id_of("c1")].missing == [1]
    run_id = run_id_of("c1")
    assert one.hear(answer_of(run_id, 1, attempt="a", part=1, parts=2, accounts=["vv|a"]), AT_US) == []
    assert one.hear(answer_of(run_id, 1, attempt="b", part=2, parts=2, discrepancies=[MISSING]), AT_US) == []
    [result] = results(
        one.hear(answer_of(run_id, 1, attempt="b", part=1, parts=2, discrepancies=[DIFFERS], accounts=["vv|a"]), AT_US)
    )
    assert {each.alert_id for each in result.discrepancies} == {MISSING.alert_id, DIFFERS.alert_id}


def test_what_does_not_answer_in_time_is_named_and_the_run_is_partial_or_failed() -> None:
    one = board()
    begin(one, "full", params={"timeout_seconds": 10})
    one.hear(answer_of(run_id_of("c1"), 0), AT_US)
    late_us = AT_US + 10 * SECOND_US + OVERTIME_US
    assert one.tick(late_us) == []
    effects = one.tick(late_us + 1)
    [result] = results(effects)
    assert result.status == "partial"
    assert result.errors == [f"partition {p}: it did not answer in time" for p in (1, 2)]
    assert [type(item) for item in handed(effects)].count(CancelItem) == PARTITIONS
    begin(one, "full", "c2")
    [result] = results(one.tick(late_us * 2))
    assert result.status == "failed"


def test_a_partition_that_failed_makes_the_run_partial_and_all_of_them_failed() -> None:
    one = board()
    begin(one, "full")
    assert finish(one, errors=["the log is gone"])[0].status == "partial"
    begin(one, "full", "c2")
    for partition in range(PARTITIONS):
        effects = one.hear(answer_of(run_id_of("c2"), partition, errors=["no"]), AT_US)
    assert results(effects)[0].status == "failed"
    assert handed(effects) == []


def test_an_account_that_nobody_knows_is_told_and_nothing_is_called_agreed() -> None:
    one = board()
    begin(one, "full", accounts=["v|x"])
    [result] = results(one.hear(answer_of(run_id_of("c1"), 0), AT_US))
    assert result.status == "failed"
    assert "account v|x is not known" in result.errors[0]


def test_an_unsupported_type_falls_back_and_says_so_or_is_refused() -> None:
    [begun] = results(begin(board(), "hourly"))
    assert (begun.type, begun.requested_type) == ("full", "hourly")
    configuration = Settled()
    configuration.falls_back = False
    [refused] = results(begin(board(configuration), "hourly"))
    assert (refused.status, refused.type) == ("failed", "hourly")
    assert "supported: full" in refused.errors[0]


def test_an_incremental_run_goes_on_from_the_newest_completed_one() -> None:
    one = board()
    [begun] = results(begin(one, "incremental"))
    assert begun.notes == ["there is no checkpoint of that scope yet: it ran as full"]
    for partition in range(PARTITIONS):
        at = CheckpointAt(run_id_of("c1"), partition, partition + 1)
        effects = one.hear(answer_of(run_id_of("c1"), partition, checkpoint=at), AT_US)
    [result] = results(effects)
    again = board(results=[result])
    items = handed(begin(again, "incremental", "c2"))
    assert [item.checkpoint for item in items if isinstance(item, ReplayItem)] == list(result.checkpoints.values())
    only = handed(begin(again, "incremental", "c3", accounts=["v|a"]))
    assert all(item.checkpoint is None for item in only if isinstance(item, ReplayItem))


def test_a_command_that_was_refused_leaves_its_id_to_one_that_is_not_even_after_a_restart() -> None:
    one = board()
    refused = one.refuse(command_id="c1", kind="full", reason="unsigned", issued_by="eve", offset=0, time_us=AT_US)
    assert one.refuse(command_id="c1", kind="full", reason="unsigned", issued_by="eve", offset=0, time_us=AT_US) == []
    for again in (one, board(results=results(refused))):
        assert not again.is_repeated("c1", 1)
        [begun] = results(begin(again, "full", offset=1))
        assert begun.status == "running"
        assert again.is_repeated("c1", 2)


def test_a_run_can_be_cancelled_once() -> None:
    one = board()
    begin(one, "full")
    run_id = run_id_of("c1")
    effects = one.cancel(run_id, command_id="c2", issued_by="bob", offset=1, now_us=AT_US)
    ended, answer = results(effects)
    assert (ended.reconciliation_id, ended.status, ended.errors) == (run_id, "failed", ["cancelled by bob"])
    assert answer.status == "completed"
    assert [type(item) for item in handed(effects)] == [CancelItem] * PARTITIONS
    [again] = results(one.cancel(run_id, command_id="c3", issued_by="bob", offset=2, now_us=AT_US))
    assert again.errors == [f"not_allowed: run {run_id} is over: failed"]
    [none] = results(one.cancel("x", command_id="c4", issued_by="bob", offset=3, now_us=AT_US))
    assert none.errors == ["unknown_run: there is no run x"]


def test_a_configuration_that_is_not_valid_leaves_the_one_before() -> None:
    one = board()
    with pytest.raises(ValueError, match="max_discrepancy_threshold"):
        one.set_config({"max_discrepancy_threshold": 3}, command_id="c1", issued_by="ann", offset=0, now_us=AT_US)
    assert one.configuration.version == 0
    effects = one.set_config({"batch_size": 5}, command_id="c2", issued_by="ann", offset=1, now_us=AT_US)
    assert len(handed(effects)) == PARTITIONS
    again = board(results=results(effects))
    assert (again.configuration.version, again.configuration.config_for("").batch_size) == (1, 5)


@pytest.mark.parametrize("kind", [strategy.type for strategy in NINE if not strategy.outer])
def test_a_scheduled_run_is_tuned_as_the_type_that_it_runs(kind: str) -> None:
    section = {"timeout_seconds": 5, "historical_lookback_hours": 3}
    own = {"real_time": {"window_minutes": 2}, "emergency": {"deadline_seconds": 7}}.get(kind, {})
    governing = Governing(load(environ={}).changed({f"strategies.{kind}.{k}": v for k, v in (section | own).items()}))

    def plan(configuration: Any, requested: str, **more: Any) -> Any:
        [begun] = results(begin(board(configuration), requested, **more))
        return begun.plan

    assert plan(governing, "scheduled", inner=kind) == plan(governing, kind)
    again = governing.changed({"strategies.scheduled.timeout_seconds": 6, "strategies.scheduled.batch_size": 8})
    config = plan(again, "scheduled", inner=kind, params={"batch_size": 9})["config"]
    assert [config[name] for name in ("historical_lookback_hours", "timeout_seconds", "batch_size")] == [3, 6, 9]


def test_what_is_run_as_scheduled_without_a_schedule_is_tuned_as_the_default_type() -> None:
    given = {"reconciliation.default_type": "trade_only", "strategies.trade_only.timeout_seconds": 5}
    [begun] = results(begin(board(Governing(load(environ={}).changed(given))), "scheduled"))
    assert begun.plan is not None
    assert (begun.plan["strategy"], begun.plan["config"]["timeout_seconds"]) == ("trade_only", 5)


def test_small_differences_are_corrected_within_the_budget_once_and_taken_back() -> None:
    configuration = Settled()
    field = msgspec.structs.replace(DIFFERS.fields[0], field="qty", internal="1", exchange="1.1", difference="-0.1")
    small = msgspec.structs.replace(DIFFERS, severity="info", size="0.0001", fields=[field])
    configuration.budget = {"BTCUSDT": Decimal("0.1")}
    one = board(configuration)
    begin(one, "full")
    result, effects = finish(one, discrepancies=[small])
    [correction] = corrections(effects)
    assert (correction.amount, correction.run_id, result.auto_resolved_count) == ("0.1", run_id_of("c1"), 1)
    assert any(isinstance(item, AlertItem) and item.command.action == "resolve" for item in handed(effects))
    begin(one, "full", "c2")
    result, effects = finish(one, "c2", discrepancies=[small])
    assert (result.discrepancies_found, result.certificate and result.certificate.absolved) == (0, [small.alert_id])
    assert corrections(effects) == []
    back = one.undo(correction.correction_id, command_id="c3", issued_by="ann", offset=3, now_us=AT_US)
    assert corrections(back)[0].amount == "-0.1"
    begin(one, "full", "c4")
    assert finish(one, "c4", discrepancies=[small])[0].discrepancies_found == 1
    with pytest.raises(ValueError, match="taken back before"):
        one.undo(correction.correction_id, command_id="c5", issued_by="ann", offset=4, now_us=AT_US)


def corrections(effects: Sequence[Effect]) -> list[Correction]:
    return [each.correction for each in effects if isinstance(each, Correct)]


class World:
    """The logs that outlive a coordinator, and the owners of the partitions, who answer when they like."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.control = [
            (f"c{number}", rng.choice(["full", "emergency", "trade_only", "alert", "set_config", "cancel", "nonsense"]))
            for number in range(rng.randint(1, 5))
        ]
        if rng.random() < 0.5:
            self.control.append(rng.choice(self.control))  # replayed
        self.committed = 0
        self.results: list[ReconciliationResult] = []
        self.work: list[tuple[int, WorkItem]] = []
        self.answers: list[Answer] = []
        self.now_us = AT_US
        self.effects = Counter[str]()
        self.board, self.heard = self.restored()

    def restored(self) -> tuple[Board, int]:
        """A new coordinator; it hears all answers there are again."""
        one = board()
        decoded = [msgspec.json.decode(msgspec.json.encode(each), type=ReconciliationResult) for each in self.results]
        self.write(one.restore(decoded), crash=False)
        return one, 0

    def write(self, effects: Sequence[Effect], *, crash: bool) -> bool:
        """Write effects, perhaps only the first of them."""
        upto = self.rng.randint(0, len(effects)) if crash and self.rng.random() < 0.4 else len(effects)
        for effect in effects[:upto]:
            if isinstance(effect, Publish):
                self.results.append(effect.result)
            elif isinstance(effect, Hand):
                self.work.append((effect.partition, effect.item))
        if crash and (upto < len(effects) or self.rng.random() < 0.1):
            self.board, self.heard = self.restored()
            return False
        return True

    def take(self, *, crash: bool) -> None:
        """Let the coordinator take the next command."""
        if self.committed == len(self.control):
            return
        offset = self.committed
        command_id, kind = self.control[offset]
        if not self.board.is_done(command_id, offset) and not self.write(
            self.decide(command_id, kind, offset), crash=crash
        ):
            return
        self.committed += 1

    def decide(self, command_id: str, kind: str, offset: int) -> list[Effect]:
        """What the shell would do."""
        one, who = self.board, {"command_id": command_id, "issued_by": "ann", "offset": offset}
        if one.is_repeated(command_id, offset):
            return one.refuse(kind=kind, reason="replayed", time_us=self.now_us, **who)  # type: ignore[arg-type]
        if kind == "alert":
            command = AlertCommand(action="acknowledge", alert_id="1", by="ann", command_id=command_id)
            return one.ask(command, kind=kind, offset=offset, now_us=self.now_us)
        if kind == "set_config":
            return one.set_config({"batch_size": offset + 1}, now_us=self.now_us, **who)  # type: ignore[arg-type]
        if kind == "cancel":
            return one.cancel(run_id_of("c0"), now_us=self.now_us, **who)  # type: ignore[arg-type]
        return begin(one, kind, command_id, offset=offset, now_us=self.now_us)

    def answer(self) -> None:
        """Let some owner answer, in parts, perhaps not all of them."""
        if not self.work:
            return
        partition, item = self.rng.choice(self.work)
        if isinstance(item, AlertItem):
            self.answers.append(
                AlertAnswer(
                    run_id=item.run_id, partition=partition, done=MISSING if partition == 1 else None, reason="no"
                )
            )
        elif isinstance(item, ReplayItem | LiveItem):
            parts = self.rng.randint(1, 3)
            attempt = str(self.rng.random())
            told = [
                answer_of(item.run_id, partition, attempt=attempt, part=part, parts=parts)
                for part in range(1, parts + 1)
            ]
            self.answers += told[: self.rng.randint(1, parts)]

    def hear(self, *, crash: bool) -> None:
        """Let the coordinator hear the next answer."""
        if self.heard < len(self.answers):
            answer = self.answers[self.heard]
            self.heard += 1
            self.write(self.board.hear(answer, self.now_us), crash=crash)


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whenever_it_dies_every_command_ends_in_exactly_one_final_result(rng: random.Random) -> None:
    world = World(rng)
    for _ in range(rng.randint(10, 120)):
        what = rng.random()
        if what < 0.2:
            world.take(crash=True)
        elif what < 0.5:
            world.answer()
        elif what < 0.9:
            world.hear(crash=True)
        else:
            world.now_us += rng.choice((1, 20)) * SECOND_US
            world.write(world.board.tick(world.now_us), crash=True)
    while world.committed < len(world.control):
        world.take(crash=False)
    while world.heard < len(world.answers):
        world.hear(crash=False)
    world.now_us += 3600 * SECOND_US
    world.write(world.board.tick(world.now_us), crash=False)
    final = Counter(result.reconciliation_id for result in world.results if result.status in FINAL)
    assert set(final.values()) == {1}
    assert len(final) == len(world.control)
    assert not world.board.active
    assert all(final[run_id_of(command_id)] == 1 for command_id, _ in world.control)
