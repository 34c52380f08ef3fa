"""What the coordinator decides: from commands and answers to what is to be written, as a pure state machine.

The shell gives it each command with its place in the log, each answer of a partition, and the time now and then; it
gives back what to write, in order. Every command ends in exactly one final result:

- a run is published as `running` before any work is handed out, with all that is needed to go on (`Plan`): whoever
  takes the coordinator's place hands the work out again, which does no harm, since the first complete answer of each
  partition counts and the result follows from these alone;
- whatever already has a final result is not touched again;
- at its deadline a run ends with what has been answered, and says what has not.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct, structs

from stream_recon.core.corrections import History, NotUndone, Terms, absolved, day_of, undo
from stream_recon.core.corrections import choose as choose_corrections
from stream_recon.core.results import Rules, conclude, gather, published_form
from stream_recon.domain.commands import AlertCommand
from stream_recon.domain.corrections import corrector, remark
from stream_recon.domain.results import FINAL, CheckpointAt, ReconciliationResult, Scope, run_id_of
from stream_recon.domain.work import (
    AlertAnswer,
    AlertItem,
    CancelItem,
    ConfigItem,
    FindingsItem,
    LiveItem,
    Partial,
    ReplayItem,
    WorkItem,
    in_parts,
)
from stream_recon.strategies.registry import FULL, Choice, NotSupportedError, Registry, Strategy, choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from stream_recon.domain.commands import Action
    from stream_recon.domain.config import ReconciliationConfig
    from stream_recon.domain.control_policy import Policy, Verify
    from stream_recon.domain.corrections import Correction
    from stream_recon.domain.work import Answer
    from stream_recon.strategies.schedules import Schedule

SECOND_US = 1_000_000
_CHANGES = frozenset({"set_config", "config_file"})
Limits = tuple[str | None, str | None]
"""Dust and critical, as amounts."""
OVERTIME_US = 15 * SECOND_US
"""How long after its deadline a partition may answer."""
ALERT_US = 30 * SECOND_US
"""How long the owners of the partitions may take over a person's command."""


class Configured(Protocol):
    """The configuration that holds now."""

    version: int
    digest: str

    def config_for(
        self, kind: str, params: Mapping[str, Any] | None = None, inner: str | None = None
    ) -> ReconciliationConfig:
        """What a run of that type is tuned by; `inner`: by what it is done, where it stands for another type."""

    def changed(self, values: Mapping[str, Any], version: int | None = None) -> Configured:
        """Another configuration, by default the next version; raises ValueError where it would not be valid."""

    def at(self, version: int) -> Configured:
        """The same under another number."""

    def window_us(self, kind: str) -> int | None:
        """How far back the live window of a type reaches, where that is configured."""

    @property
    def default_type(self) -> str:
        """What is run where nothing is asked for."""

    @property
    def falls_back(self) -> bool:
        """Whether another type may be run than was asked for."""

    @property
    def corrects(self) -> bool:
        """Whether corrections are made; else they are only told."""

    @property
    def budget(self) -> Mapping[str, Decimal]:
        """How much of each asset or instrument may be corrected on one day."""

    @property
    def absolute(self) -> dict[str, Limits]:
        """Amounts that decide over severity whatever the relative size."""

    @property
    def emergency_us(self) -> int:
        """How long a question to the live state may take."""

    @property
    def policy(self) -> Policy:
        """Who may command what."""

    @property
    def verify(self) -> Verify:
        """What checks signatures by the keys of that policy."""

    @property
    def schedules(self) -> Sequence[Schedule]:
        """Runs at set times."""


class Plan(Struct, kw_only=True):
    """What a run that has begun needs to be gone on with."""

    strategy: str
    scope: Scope
    partitions: list[int]
    deadline_us: int
    config: dict[str, Any]
    config_digest: str
    absolute: dict[str, Limits] = {}
    ends: dict[str, dict[str, int]] = {}
    """By partition and topic, where the logs ended when the command was taken; of live runs alone."""
    checkpoint: str | None = None
    checkpoints: dict[str, CheckpointAt] = {}
    keep_checkpoint: bool = False
    alert: AlertCommand | None = None
    """Of a person's command about an alert."""


class Publish(NamedTuple):
    """Write a result."""

    result: ReconciliationResult


class Hand(NamedTuple):
    """Hand a work item to the owner of a partition."""

    partition: int
    item: WorkItem


class Correct(NamedTuple):
    """Write a correcting entry."""

    correction: Correction


Effect = Publish | Hand | Correct


class Static(NamedTuple):
    """What does not change while a coordinator lives."""

    partitions: int
    contracts_digest: str
    instruments_digest: str
    code_version: str
    partition_of: Callable[[str], int]


class Active:
    """A run that is not over."""

    def __init__(self, result: ReconciliationResult, plan: Plan) -> None:
        self.result, self.plan = result, plan
        self.parts: dict[tuple[int, str], dict[int, Partial]] = defaultdict(dict)
        self.answered: dict[int, Partial] = {}
        self.said: dict[int, AlertAnswer] = {}

    @property
    def missing(self) -> list[int]:
        """The partitions that have not answered."""
        done = self.said if self.plan.alert is not None else self.answered
        return [partition for partition in self.plan.partitions if partition not in done]

    def hear(self, answer: Answer) -> None:
        """Take an answer; the first complete one of a partition counts."""
        if isinstance(answer, AlertAnswer):
            known = self.said.get(answer.partition)
            if known is None or known.done is None:
                self.said[answer.partition] = answer
        elif isinstance(answer, Partial) and answer.partition not in self.answered:
            parts = self.parts[answer.partition, answer.attempt]
            parts[answer.part] = answer
            if len(parts) == answer.parts:
                self.answered[answer.partition] = gather(parts.values())


class Board:
    """All runs that are known."""

    def __init__(self, static: Static, configuration: Configured, known: Registry) -> None:
        self.static, self.configuration, self.known = static, configuration, known
        self.history = History()
        """All corrections."""
        self.active: dict[str, Active] = {}
        self.final: dict[str, ReconciliationResult] = {}
        """By run id; without what they found."""
        self.commands: dict[str, int | None] = {}
        """By command id, where it lay."""
        self.checkpoint: ReconciliationResult | None = None
        """The newest completed run that left its closing state."""

    # -- what was before ----------------------------------------------------------------------------------------------

    def restore(self, results: Iterable[ReconciliationResult]) -> list[Effect]:
        """Take over what an earlier coordinator left, in the order in which it was written; gives what to do again."""
        newest: dict[str, ReconciliationResult] = {}
        for result in results:
            known = newest.get(result.reconciliation_id)
            if known is None or known.status not in FINAL:
                newest[result.reconciliation_id] = result
        effects: list[Effect] = []
        changes = [each for each in newest.values() if each.type in _CHANGES and each.status == "completed"]
        for change in sorted(changes, key=lambda each: each.config_version):
            values = (change.plan or {}).get("values")
            if values is not None:
                self.configuration = self.configuration.changed(values, change.config_version)
            else:
                self.configuration = self.configuration.at(change.config_version)
        for result in newest.values():
            self._use_up(result)
            if result.status in FINAL:
                self._settle(result)
            elif result.plan is not None:
                active = Active(result, msgspec.convert(result.plan, Plan))
                self.active[result.reconciliation_id] = active
                effects += self._hand_out(active)
        return effects

    def _use_up(self, result: ReconciliationResult) -> None:
        """Remember that a command took effect under its id; one that was refused did not."""
        if result.command_id is not None and result.reconciliation_id == run_id_of(result.command_id):
            self.commands[result.command_id] = result.command_offset

    def _settle(self, result: ReconciliationResult) -> None:
        """Remember a final result."""
        self.final[result.reconciliation_id] = structs.replace(result, alert_ids=[], discrepancies=[], conditions=[])
        ends_later = self.checkpoint is None or (result.end_time_us or 0) >= (self.checkpoint.end_time_us or 0)
        if result.checkpoints and ends_later:
            self.checkpoint = self.final[result.reconciliation_id]

    # -- commands -----------------------------------------------------------------------------------------------------

    def is_repeated(self, command_id: str, offset: int) -> bool:
        """Whether another record has had that id before."""
        return command_id in self.commands and self.commands[command_id] != offset

    def is_done(self, command_id: str, offset: int) -> bool:
        """Whether this very record has been taken up before."""
        return command_id in self.commands and self.commands[command_id] == offset

    def refuse(  # noqa: PLR0913 - all that is known of it
        self, *, command_id: str | None, kind: str, reason: str, issued_by: str | None, offset: int, time_us: int
    ) -> list[Effect]:
        """Answer a command that takes no effect."""
        run_id = run_id_of(f"{command_id}\x1f{offset}")  # its own id is left to whoever takes effect under it
        if run_id in self.final:
            return []  # only its acknowledgement was not written
        result = ReconciliationResult(
            reconciliation_id=run_id, type=kind, status="failed", start_time_us=time_us, end_time_us=time_us,
            errors=[reason], command_id=command_id, issued_by=issued_by, command_offset=offset,
            config_version=self.configuration.version,
        )  # fmt: skip
        return self._finish(result)

    def choose(self, requested: str | None) -> Choice:
        """What is run where that is asked for.

        Raises:
            NotSupportedError: nothing, by configuration.
        """
        default = self.configuration.default_type
        return choose(requested, default, fall_back=self.configuration.falls_back, known=self.known)

    def begin(  # noqa: PLR0913 - all that a command says, and where it lay
        self, *, command_id: str, requested: str | None, accounts: Sequence[str] | None,
        params: Mapping[str, Any] | None, cut_us: int | None, issued_by: str | None, offset: int | None,
        time_us: int, ends: dict[str, dict[str, int]],
        inner: str | None = None, notes: Sequence[str] = (), now_us: int,
    ) -> list[Effect]:  # fmt: skip
        """Begin a run. `ends`: where the source logs end now, by partition and topic."""
        try:
            choice = self.choose(requested)
        except NotSupportedError as error:
            return self.refuse(
                command_id=command_id, kind=requested or "reconcile", reason=f"unsupported_type: {error}",
                issued_by=issued_by, offset=offset if offset is not None else -1, time_us=time_us,
            )  # fmt: skip
        strategy, by = choice.strategy, self._by(choice.strategy, inner)
        config = self.configuration.config_for(strategy.type, params, by.type if strategy.outer else None)
        scope = by.scope(config, cut_us if cut_us is not None else time_us, accounts)
        numbers = sorted({self.static.partition_of(name) for name in accounts}) if accounts is not None else None
        goes_on = by.goes_on and accounts is None and self.checkpoint is not None
        lasts_us = self.configuration.emergency_us if by.cut == "live" else config.timeout_seconds * SECOND_US
        plan = Plan(
            strategy=by.type, scope=scope,
            partitions=numbers if numbers is not None else list(range(self.static.partitions)),
            deadline_us=now_us + lasts_us, config=config.model_dump(mode="json"),
            config_digest=self.configuration.digest, absolute=self.configuration.absolute,
            ends=ends if by.cut == "live" else {},
            checkpoint=self.checkpoint.reconciliation_id if goes_on and self.checkpoint is not None else None,
            checkpoints=self.checkpoint.checkpoints if goes_on and self.checkpoint is not None else {},
            keep_checkpoint=by.cut == "settled" and accounts is None and by.identities == FULL.identities,
        )  # fmt: skip
        said = list(notes)
        if strategy.outer:
            said.append(f"done by the type {by.type}")
        if by.goes_on and not goes_on:
            said.append("there is no checkpoint of that scope yet: it ran as full")
        result = ReconciliationResult(
            reconciliation_id=run_id_of(command_id), type=strategy.type, status="running", start_time_us=now_us,
            requested_type=choice.requested_type, fallback_reason=choice.fallback_reason, notes=said,
            config_version=self.configuration.version, command_id=command_id, issued_by=issued_by,
            command_offset=offset, plan=msgspec.to_builtins(plan),
        )  # fmt: skip
        return self._start(result, plan)

    def _by(self, strategy: Strategy, inner: str | None) -> Strategy:
        """What a run is done by: of a type that stands for another, that other."""
        if strategy.outer:
            strategy = self.known.known.get(inner or self.configuration.default_type, FULL)
        strategy = FULL if strategy.outer else strategy
        window_us = self.configuration.window_us(strategy.type)
        return strategy if window_us is None else strategy._replace(window_us=window_us)

    def ask(self, command: AlertCommand, *, kind: str, offset: int, now_us: int) -> list[Effect]:
        """Hand a person's command about an alert to the owners of the partitions: one of them knows it."""
        plan = Plan(
            strategy=kind, scope=Scope(identities=(), from_us=0, to_us=0),
            partitions=list(range(self.static.partitions)), deadline_us=now_us + ALERT_US, config={},
            config_digest=self.configuration.digest, alert=command,
        )  # fmt: skip
        result = ReconciliationResult(
            reconciliation_id=run_id_of(command.command_id), type=kind, status="running", start_time_us=now_us,
            command_id=command.command_id, issued_by=command.by, command_offset=offset,
            config_version=self.configuration.version, plan=msgspec.to_builtins(plan),
        )  # fmt: skip
        return self._start(result, plan)

    def set_config(
        self, values: Mapping[str, Any], *, command_id: str, issued_by: str | None, offset: int, now_us: int
    ) -> list[Effect]:
        """Let another configuration hold from here on.

        Raises:
            ValueError: it would not be valid; the one before goes on to hold.
        """
        self.configuration = self.configuration.changed(values)
        version = self.configuration.version
        result = ReconciliationResult(
            reconciliation_id=run_id_of(command_id), type="set_config", status="completed", start_time_us=now_us,
            end_time_us=now_us, command_id=command_id, issued_by=issued_by, command_offset=offset,
            config_version=version, plan={"values": dict(values)}, notes=[f"configuration version {version} holds now"],
        )  # fmt: skip
        return [*self._tell_all(self.configuration), *self._finish(result)]

    def adopt(self, configuration: Configured, now_us: int) -> list[Effect]:
        """Let a configuration hold whose file was changed."""
        self.configuration = configuration
        result = ReconciliationResult(
            reconciliation_id=run_id_of(f"config_file\x1f{configuration.version}\x1f{configuration.digest}"),
            type="config_file", status="completed", start_time_us=now_us, end_time_us=now_us,
            config_version=configuration.version,
            notes=[f"the configuration file was changed: version {configuration.version} holds now"],
        )  # fmt: skip
        return [*self._tell_all(configuration), *self._finish(result)]

    def _tell_all(self, configuration: Configured) -> list[Effect]:
        config = configuration.config_for("real_time").model_dump(mode="json")
        item = ConfigItem(version=configuration.version, config=config)
        return [Hand(partition, item) for partition in range(self.static.partitions)]

    def cancel(
        self, run_id: str, *, command_id: str, issued_by: str | None, offset: int, now_us: int
    ) -> list[Effect]:  # fmt: skip
        """End a run that nobody wants any more: it has failed, and says who ended it."""
        answer = ReconciliationResult(
            reconciliation_id=run_id_of(command_id), type="cancel", status="completed", start_time_us=now_us,
            end_time_us=now_us, command_id=command_id, issued_by=issued_by, command_offset=offset,
            config_version=self.configuration.version,
        )  # fmt: skip
        active = self.active.get(run_id)
        if active is None:
            answer.status = "failed"
            known = self.final.get(run_id)
            over = f"not_allowed: run {run_id} is over: {known.status}" if known is not None else ""
            answer.errors = [over or f"unknown_run: there is no run {run_id}"]
            return self._finish(answer)
        ended = structs.replace(
            active.result, status="failed", end_time_us=now_us, plan=None,
            errors=[*active.result.errors, f"cancelled by {issued_by}"],
        )  # fmt: skip
        return [*self._finish(ended, active), *self._finish(answer)]

    # -- answers ------------------------------------------------------------------------------------------------------

    def hear(self, answer: Answer, now_us: int) -> list[Effect]:
        """Take an answer of a partition; once it is the last one that was missing, the run is over."""
        active = self.active.get(answer.run_id)
        if active is None:
            return []
        active.hear(answer)
        return self._conclude(active, now_us) if not active.missing else []

    def tick(self, now_us: int) -> list[Effect]:
        """End what has not been answered in time."""
        late = [active for active in self.active.values() if active.plan.deadline_us + OVERTIME_US < now_us]
        return [effect for active in late for effect in self._conclude(active, now_us)]

    def _conclude(self, active: Active, now_us: int) -> list[Effect]:
        if active.plan.alert is not None:
            return self._conclude_alert(active, now_us)
        plan, result = active.plan, active.result
        rules = Rules(
            strategy=plan.strategy, config=plan.config, absolute=plan.absolute, config_version=result.config_version,
            config_digest=plan.config_digest,
            contracts_digest=self.static.contracts_digest, instruments_digest=self.static.instruments_digest,
            code_version=self.static.code_version,
        )  # fmt: skip
        partials = [active.answered[partition] for partition in sorted(active.answered)]
        partials = self._with_unknown_accounts(plan.scope, partials)
        by = self.known.known.get(plan.strategy, FULL)
        gone, corrections = self._corrections(active, by, partials)
        ended = conclude(
            structs.replace(result, plan=None), plan.scope, rules, partials, end_us=now_us, missing=active.missing,
            checkpoint=plan.checkpoint, absolved=gone,
            corrected={each.alert_id for each in corrections if not each.dry_run},
        )  # fmt: skip
        if would := sum(each.dry_run for each in corrections):
            ended.notes = [*ended.notes, f"{would} would be corrected without a person (auto_resolution.dry_run)"]
        if ended.status == "completed" and all(partial.checkpoint is not None for partial in partials):
            ended.checkpoints = {
                str(partial.partition): partial.checkpoint for partial in partials if partial.checkpoint is not None
            }
        effects: list[Effect] = []
        for correction in corrections:
            self.history.add(correction)
            effects += self._correct(correction, "resolve")
        if by.cut == "settled" and ended.status != "failed":
            for partial in partials:
                if not partial.errors:
                    effects += _findings(ended, plan, partial)
        return [*effects, *self._finish(ended, active)]

    def _corrections(
        self, active: Active, by: Strategy, partials: Sequence[Partial]
    ) -> tuple[set[str], list[Correction]]:  # fmt: skip
        """The discrepancies that earlier runs corrected, and the corrections that this one makes."""
        run_id, found = active.result.reconciliation_id, [each for p in partials for each in p.discrepancies]
        standing = self.history.standing()
        mine = [each for each in self.history.made.values() if each.run_id == run_id]  # written before a restart
        own = {each.alert_id for each in mine}
        gone = {each.alert_id for each in found if absolved(each, standing) and each.alert_id not in own}
        if not by.resolves or any(partial.errors for partial in partials) or active.missing:
            return gone, mine
        terms = Terms(
            run_id=run_id, day=day_of(active.plan.scope.to_us), by=active.result.issued_by or "",
            dry_run=not self.configuration.corrects,
        )  # fmt: skip
        return gone, [*mine, *choose_corrections(found, self.configuration.budget, self.history, terms)]

    def _correct(self, correction: Correction, action: Action) -> list[Effect]:
        """Write a correcting entry, and let the owner of the alert know."""
        if correction.dry_run:
            return [Correct(correction)]
        command = AlertCommand(
            action=action, alert_id=correction.alert_id, by=corrector(correction.by),
            command_id=correction.correction_id, comment=remark(correction.correction_id),
        )  # fmt: skip
        partition = self.static.partition_of(correction.account)
        return [Correct(correction), Hand(partition, AlertItem(run_id=correction.correction_id, command=command))]

    def undo(
        self, corrected: str, *, command_id: str, issued_by: str | None, offset: int, now_us: int
    ) -> list[Effect]:  # fmt: skip
        """Take a correction back.

        Raises:
            ValueError: there is none, or it was taken back before.
        """
        back = undo(corrected, self.history, issued_by or "")
        if isinstance(back, NotUndone):
            raise ValueError(back.detail)  # noqa: TRY004 - it is the command's value that is wrong
        self.history.add(back)
        result = ReconciliationResult(
            reconciliation_id=run_id_of(command_id), type="undo", status="completed", start_time_us=now_us,
            end_time_us=now_us, command_id=command_id, issued_by=issued_by, command_offset=offset,
            config_version=self.configuration.version, notes=[f"correction {corrected} is taken back"],
        )  # fmt: skip
        return [*self._correct(back, "reopen"), *self._finish(result)]

    @staticmethod
    def _with_unknown_accounts(scope: Scope, partials: list[Partial]) -> list[Partial]:
        known = {name for partial in partials for name in partial.accounts}
        unknown = [name for name in scope.accounts or () if name not in known]
        if not unknown or not partials:
            return partials
        errors = [f"account {name} is not known: nothing of it was compared" for name in unknown]
        return [structs.replace(partials[0], errors=[*partials[0].errors, *errors]), *partials[1:]]

    def _conclude_alert(self, active: Active, now_us: int) -> list[Effect]:
        done = next((answer.done for answer in active.said.values() if answer.done is not None), None)
        ended = structs.replace(active.result, end_time_us=now_us, plan=None)
        if done is not None:
            ended.status = "completed"
            ended.notes = [*ended.notes, f"alert {done.alert_id} is {done.status}"]
        else:
            ended.status = "failed"
            told = sorted(active.said.values(), key=lambda answer: (answer.reason == "unknown_alert", answer.partition))
            missing = active.missing
            if missing:
                ended.errors = [f"no worker answered for partitions {missing}: is one running for each of them?"]
            else:
                ended.errors = [f"{told[0].reason}: {told[0].detail}"]
        return self._finish(ended, active)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _start(self, result: ReconciliationResult, plan: Plan) -> list[Effect]:
        active = Active(result, plan)
        self.active[result.reconciliation_id] = active
        self._use_up(result)
        return [Publish(result), *self._hand_out(active)]

    def _hand_out(self, active: Active) -> list[Effect]:
        """The work of a run, of the partitions that have not answered."""
        plan, run_id = active.plan, active.result.reconciliation_id
        if plan.alert is not None:
            return [Hand(p, AlertItem(run_id=run_id, command=plan.alert)) for p in active.missing]
        if plan.ends:
            return [
                Hand(p, LiveItem(
                    run_id=run_id, type=active.result.type, scope=plan.scope, deadline_us=plan.deadline_us,
                    ends=plan.ends.get(str(p), {}),
                ))
                for p in active.missing
            ]  # fmt: skip
        return [
            Hand(p, ReplayItem(
                run_id=run_id, type=active.result.type, strategy=plan.strategy, scope=plan.scope,
                deadline_us=plan.deadline_us, config=plan.config, absolute=plan.absolute,
                checkpoint=plan.checkpoints.get(str(p)),
                keep_checkpoint=plan.keep_checkpoint,
            ))
            for p in active.missing
        ]  # fmt: skip

    def _finish(self, result: ReconciliationResult, active: Active | None = None) -> list[Effect]:
        """Publish a final result; whoever still works for it may stop."""
        self.active.pop(result.reconciliation_id, None)
        self._use_up(result)
        self._settle(result)
        over: list[Effect] = []
        if active is not None and active.plan.alert is None and (active.plan.ends or active.missing):
            over = [Hand(p, CancelItem(run_id=result.reconciliation_id)) for p in active.plan.partitions]
        return [Publish(published_form(result)), *over]


def _findings(result: ReconciliationResult, plan: Plan, partial: Partial) -> Iterable[Effect]:
    """What a partition's owner is to take into the life of its alerts."""
    pages = list(in_parts(partial.discrepancies))
    notify = bool(plan.config.get("enable_alerts", True))
    for number, page in enumerate(pages, 1):
        yield Hand(
            partial.partition,
            FindingsItem(
                run_id=result.reconciliation_id, type=result.type, scope=plan.scope, findings=page, part=number,
                parts=len(pages), notify=notify, settled=not (partial.unsettled or partial.conditions),
                ends={cut.topic: cut.end_offset for cut in partial.topics},
            ),
        )  # fmt: skip
