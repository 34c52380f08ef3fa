"""`trigger`, `runs`, `run`, `verify`, `ack` and `resolve`: what is asked of the coordinator, and what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_recon.cli.giving import Giving, complete, give
from stream_recon.cli.options import (
    BOOTSTRAP,
    PREFIX,
    Bootstrap,
    ContractsFile,
    Failure,
    Format,
    InstrumentsFile,
    Output,
    PartitionsThere,
    Prefix,
    Quiet,
    check_account,
    console,
    load_contracts,
    load_instruments,
    perhaps,
    plan_of,
    plan_there,
    say,
    spread,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_recon.core.corrections import History
    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.domain.topics import TopicPlan
    from stream_recon.domain.work import Partial, Progress
    from stream_recon.shell.verifying import Verified
    from stream_recon.strategies.registry import Strategy

NOTES = {"comment": "comment", "assign": "assignee", "suppress": "until_us"}
"""Commands that leave something with an alert, by the field that each must have."""
SECOND_US = 1_000_000
_RECORDS_A_SECOND = 60_000
"""About what a replay does on one core; for the preview alone."""
_SHOWN = 20
PATIENCE_S = 45.0
"""How long an answer may take, beside what a run does."""

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or how that begins.")]


@spread
def trigger(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="full, emergency, ...; `default`: as configured.")],
    account: Annotated[
        list[str] | None, typer.Option("--account", help="Only this account (`venue|id`); may be given again.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="A field of the configuration, as `batch_size=500`; again."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="The time of the cut: ISO 8601, or `end` for the newest time that has settled. Default: now."
        ),
    ] = None,
    contracts: ContractsFile = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    partitions: PartitionsThere = None,
    giving: Giving = Giving(),
) -> None:
    """Start a reconciliation: shows what it would read, asks, waits, and prints what it came to.

    Exit code 0: both sides agree; 1: discrepancies, or something cannot be known; 3: it failed.
    """
    from stream_recon.strategies.registry import FULL, choose, registry

    params = _params(param or [])
    for name in account or ():
        check_account(name)
    config = _config(params)
    choice = choose(None if kind == "default" else kind, "full", fall_back=True, known=registry())
    strategy = FULL if choice.strategy.outer else choice.strategy
    cut_us = _moment(f"--at {at}", at, ", or `end`") if at is not None and at != "end" else None
    fields = {
        "command": "reconcile", "type": None if kind == "default" else kind, "accounts": account,
        "params": params or None, "cut_us": cut_us,
    }  # fmt: skip
    complete(fields, giving)  # what would be refused is refused before anything is asked or shown
    bootstrap, plan = giving.bootstrap, plan_there(giving.bootstrap, giving.prefix, partitions)
    if at == "end":
        fields["cut_us"] = cut_us = _settled_us(bootstrap, plan, contracts)
    scope = strategy.scope(config, cut_us if cut_us is not None else _now_us(), account)
    talks = not giving.quiet and giving.output is Format.table
    if talks:
        if choice.fallback_reason is not None and kind != "default":
            say(
                f"{choice.fallback_reason}{perhaps(kind)} Unless the workers know it, the configured type is run"
                " instead.",
                quiet=False,
            )
        if at == "end" and contracts is None:
            say("The end is reckoned by the default contracts: where the workers have others, give them by --contracts,"
                " else the run may wait for what nobody sends.", quiet=False)  # fmt: skip
        _preview(bootstrap, plan, strategy, scope.from_us, scope.to_us, account)
    if not yes:
        import sys

        if not sys.stdin.isatty():
            raise Failure("nobody can be asked here: give --yes to start the run without a question")
        typer.confirm("Start it?", abort=True)
    command = complete(fields, giving)
    with _bars(shown=talks and giving.wait) as tell:
        result = give(command, giving, config.timeout_seconds + PATIENCE_S, partitions=plan.partitions, tell=tell)
    if result is None:
        say("Sent. `stream-recon runs` shows what comes of it.", quiet=giving.quiet)
        return
    _answer(result, giving.output, bootstrap, giving.prefix)


def _params(given: list[str]) -> dict[str, Any]:
    """Fields of the configuration, as they were typed.

    Raises:
        Failure: there is no such field.
    """
    import yaml

    from stream_recon.domain.config import ReconciliationConfig

    params: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in ReconciliationConfig.model_fields:
            known = ", ".join(ReconciliationConfig.model_fields)
            raise Failure(f"--param {each}: give FIELD=VALUE, with one of the fields {known}")
        read = yaml.safe_load(value)
        params[name] = value if isinstance(read, float) else read
    return params


def _config(params: dict[str, Any]) -> Any:  # noqa: ANN401 - a ReconciliationConfig
    from pydantic import ValidationError

    from stream_recon.domain.config import ReconciliationConfig
    from stream_recon.domain.wording import told

    try:
        return ReconciliationConfig(**params)
    except ValidationError as error:
        raise Failure(f"--param: {'; '.join(told(error, ReconciliationConfig))}") from error


def _settled_us(bootstrap: str, plan: TopicPlan, contracts: Path | None) -> int:
    """The last time that has settled (us)."""
    from stream_recon.domain.contracts import DEFAULT
    from stream_recon.shell.commanding import newest_settled

    known = load_contracts(contracts).contracts or tuple(DEFAULT.values())
    wait_us = max(each.grace_us for each in known) + max(each.order_within_us for each in known)
    found = wait_for(newest_settled(bootstrap, plan, wait_us))
    if found is None:
        raise Failure("no time has settled yet: the source topics hold no heartbeats that say how far they are", 3)
    return found


def _moment(option: str, text: str, otherwise: str = "") -> int:
    """A time that was given, UTC where it does not say."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(f"{option}: give a time such as 2026-01-31T17:00:00Z{otherwise}") from error
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * SECOND_US)


def _preview(
    bootstrap: str, plan: TopicPlan, strategy: Strategy, from_us: int, to_us: int, accounts: list[str] | None
) -> None:  # fmt: skip
    """What a run would look at, and about what it costs."""
    from stream_recon.core.wording import counted
    from stream_recon.shell.commanding import cost

    out = console(err=True)
    what = ", ".join(strategy.identities)
    out.print(f"[bold]{strategy.type}[/]: {strategy.purpose}")
    out.print(f"  compares   {what}; {'all accounts' if not accounts else ', '.join(accounts)}")
    if strategy.cut == "live":
        out.print("  looks at   the live state of the workers, once it has reached the present ends of the topics")
        return
    out.print(f"  looks at   {_time(from_us)} to {_time(to_us)}")
    costs = wait_for(cost(bootstrap, plan, strategy.streams, from_us))
    records = sum(each.records for each in costs)
    largest = max((each.records for each in costs), default=0)
    took = f"about {records / _RECORDS_A_SECOND:.1f} s of one core, " if records else ""
    settled = "less where a checkpoint is gone on from" if strategy.goes_on else "and until the feeds have settled"
    out.print(
        f"  reads      {counted(records, 'record')} in {counted(len(costs), 'partition')} (at most {largest:,} in one):"
        f" {took}{settled}"
    )


@contextmanager
def _bars(*, shown: bool) -> Iterator[Callable[[Progress | Partial], None] | None]:
    """A bar for each partition that says how far it is."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    from stream_recon.domain.work import Partial

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[stage]}"))
    with Bars(*columns, console=console(err=True), transient=True) as bars:
        tasks: dict[int, Any] = {}

        def tell(answer: Progress | Partial) -> None:
            task = tasks.get(answer.partition)
            if task is None:
                task = tasks[answer.partition] = bars.add_task(f"partition {answer.partition}", stage="")
            if isinstance(answer, Partial):
                records = answer.counts.get("consumed", 0)
                bars.update(task, total=max(records, 1), completed=max(records, 1), stage="done")
            else:
                bars.update(task, total=answer.of, completed=answer.records, stage=answer.stage)

        yield tell


def runs(
    everything: Annotated[bool, typer.Option("--all", help="All of them, not only the newest.")] = False,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """List runs and what they came to, the newest first; and commands that were refused."""
    from stream_recon.cli.answer import print_json

    found = sorted(results_of(bootstrap, prefix).values(), key=lambda each: -each.start_time_us)
    shown = found if everything else found[:_SHOWN]
    if output is Format.json:
        print_json(shown)
        return
    from stream_recon.cli.run_view import table_of_runs

    out = console()
    out.print(table_of_runs(shown, out.width), soft_wrap=False)
    if len(shown) < len(found):
        say(f"{len(found) - len(shown)} older ones: `stream-recon runs --all`.", quiet=quiet)


def run(
    run_id: RunId,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
) -> None:
    """Show one run: what was asked, what it came to, and its certificate.

    Exit code 0: both sides agree; 1: discrepancies, or something cannot be known, or it still runs; 3: it failed.
    """
    _answer(_only(results_of(bootstrap, prefix), run_id), output, bootstrap, prefix, certificate=True)


def verify(
    run_id: RunId,
    contracts: ContractsFile = None,
    instruments: InstrumentsFile = None,
    file: Annotated[
        Path | None, typer.Option("--result", help="The result to check, as JSON, instead of the published one.")
    ] = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    partitions: PartitionsThere = None,
    output: Output = Format.table,
) -> None:
    """Check a result without trusting whoever made it: read the log again, and see that the same comes of it.

    Exit code 0: every record, offset and verdict is what the certificate says; 1: something is not, or not there any
    more.
    """
    import msgspec

    from stream_recon.cli.answer import print_json
    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.shell.settings import WorkerSettings
    from stream_recon.shell.verifying import verify as check

    plan = plan_there(bootstrap, prefix, partitions)
    known = results_of(bootstrap, prefix)
    if file is not None:
        try:
            result = msgspec.json.decode(file.read_bytes(), type=ReconciliationResult)
        except msgspec.MsgspecError as error:
            raise Failure(
                f"{file}: it is no result as `stream-recon run ID --output json` gives it ({error})"
            ) from error
    else:
        result = _only(known, run_id)
    settings = WorkerSettings(
        bootstrap=bootstrap, plan=plan, contracts=load_contracts(contracts),
        instruments=load_instruments(instruments),
    )  # fmt: skip
    done: Verified = wait_for(check(settings, result, known.get, lambda *_: None))
    if output is Format.json:
        print_json({"run": result.reconciliation_id, **done._asdict(), "holds": not done.wrong and not done.unchecked})
    else:
        out = console()
        for each in done.wrong:
            out.print(f"✗ {each}", style="red")
        for each in done.unchecked:
            out.print(f"? {each}", style="yellow")
        if not done.wrong and not done.unchecked:
            topics = len(result.certificate.topics) if result.certificate is not None else 0
            out.print(
                f"✓ {done.records:,} records in {topics} logs read again: every record, offset and verdict is what the "
                "certificate says.", style="green",
            )  # fmt: skip
    if done.wrong or done.unchecked:
        raise typer.Exit(1)


AlertId = Annotated[str, typer.Argument(metavar="ID", help="Its id, or how that begins.")]
Comment = Annotated[str | None, typer.Option("--comment", "-m", help="Why; it stays with the alert.")]


@spread
def ack(
    alert_id: AlertId,
    comment: Comment = None,
    assignee: Annotated[str | None, typer.Option(help="Whose it is now.")] = None,
    giving: Giving = Giving(),
) -> None:
    """Acknowledge a discrepancy or feed condition: somebody looks at it."""
    whole = _whole(alert_id, giving)
    _told({"command": "acknowledge", "alert_id": whole, "comment": comment, "assignee": assignee}, giving)


@spread
def resolve(
    alert_id: AlertId,
    comment: Comment = None,
    giving: Giving = Giving(),
) -> None:
    """Resolve a discrepancy or feed condition: it is settled, until what is found differs in substance."""
    _told({"command": "resolve", "alert_id": _whole(alert_id, giving), "comment": comment}, giving)


@spread
def reopen(
    alert_id: AlertId,
    comment: Comment = None,
    giving: Giving = Giving(),
) -> None:
    """Reopen what was resolved or acknowledged: it is not settled after all."""
    _told({"command": "reopen", "alert_id": _whole(alert_id, giving), "comment": comment}, giving)


@spread
def leave(
    alert_id: AlertId,
    comment: Comment = None,
    assignee: Annotated[str | None, typer.Option(help="Whose it is now.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Notify nobody until then; a time that has passed ends that.")
    ] = None,
    giving: Giving = Giving(),
) -> None:
    """Leave a comment with an alert, make it somebody's, or have it silent for a while; its status stays."""
    until_us = _moment(f"--until {until}", until) if until is not None else None
    given = {"comment": comment, "assignee": assignee, "until_us": until_us}
    name = next((name for name, field in NOTES.items() if given[field] is not None), None)
    if name is None:
        raise Failure("give -m TEXT, --assignee NAME or --until TIME")
    _told({"command": name, "alert_id": _whole(alert_id, giving), **given}, giving)


@spread
def undo(
    correction_id: Annotated[str, typer.Argument(metavar="CORRECTION", help="The id of a correcting entry.")],
    giving: Giving = Giving(),
) -> None:
    """Take a correcting entry back: what it settled counts again."""
    _told({"command": "undo", "correction_id": correction_id}, giving)


@spread
def cancel(
    run_id: RunId,
    giving: Giving = Giving(),
) -> None:
    """End a run that nobody wants any more: it has then failed, and says who ended it."""
    whole = _only(results_of(giving.bootstrap, giving.prefix), run_id).reconciliation_id
    _told({"command": "cancel", "run_id": whole}, giving)


def _whole(alert_id: str, giving: Giving) -> str:
    """The id of the alert whose id begins so."""
    from stream_recon.cli.read import only, states

    return only(states(giving.bootstrap, giving.prefix), alert_id)


def _told(fields: dict[str, Any], giving: Giving) -> None:
    """Give a command, and say what came of it."""
    from stream_recon.cli.answer import print_json

    result = give(complete(fields, giving), giving, PATIENCE_S)
    if result is None:
        say("Sent.", quiet=giving.quiet)
        return
    if giving.output is Format.json:
        print_json(result)
    elif result.status == "completed":
        console().print(f"{'; '.join(result.notes) or 'Done'}.", style="green")
    if result.status != "completed":
        raise Failure("; ".join(result.errors), code=3)


def results_of(bootstrap: str, prefix: str) -> dict[str, ReconciliationResult]:
    """All runs and what they came to, by id."""
    from stream_recon.shell.settings import WorkerSettings
    from stream_recon.shell.verifying import read_results

    return wait_for(read_results(WorkerSettings(bootstrap=bootstrap, plan=plan_of(prefix, 1))))


def _corrections(bootstrap: str, prefix: str) -> History:
    from stream_recon.shell.settings import WorkerSettings
    from stream_recon.shell.verifying import read_corrections

    return wait_for(read_corrections(WorkerSettings(bootstrap=bootstrap, plan=plan_of(prefix, 1))))


def _only(known: dict[str, ReconciliationResult], beginning: str) -> ReconciliationResult:
    """The one run whose id begins so.

    Raises:
        Failure: there is none, or more than one.
    """
    if not beginning:
        raise Failure("a run's id is empty; `stream-recon runs --all` lists them")
    found = [result for run_id, result in known.items() if run_id.startswith(beginning)]
    if len(found) != 1:
        what = "there is no run" if not found else f"{len(found)} runs begin with"
        raise Failure(f"{what} {beginning}; `stream-recon runs --all` lists their ids")
    return found[0]


def _answer(
    result: ReconciliationResult, output: Format, bootstrap: str, prefix: str, *, certificate: bool = False
) -> None:  # fmt: skip
    """Print a result, and leave with what it comes to."""
    from stream_recon.cli.answer import print_json

    if output is Format.json:
        print_json(result)
    else:
        from stream_recon.cli.run_view import show_run

        covered = result.certificate is not None and result.certificate.absolved
        history = _corrections(bootstrap, prefix) if covered or result.auto_resolved_count else None
        show_run(console(), _as_people_left(result, bootstrap, prefix), certificate=certificate, history=history)
    if result.status == "failed":
        raise typer.Exit(3)
    if not result.is_clean:
        raise typer.Exit(1)


def _as_people_left(result: ReconciliationResult, bootstrap: str, prefix: str) -> ReconciliationResult:
    """A result whose discrepancies say what people have done about them; a run finds them all the same."""
    from msgspec.structs import replace

    from stream_recon.cli.read import states
    from stream_recon.domain.discrepancies import Discrepancy

    if not result.discrepancies:
        return result
    known = states(bootstrap, prefix)
    shown = [
        replace(each, status=now.status, handling=now.handling)
        if isinstance(now := known.get(each.alert_id), Discrepancy) and now.status != "CLEARED"
        else each
        for each in result.discrepancies
    ]
    return replace(result, discrepancies=shown)


def _now_us() -> int:
    import time

    return time.time_ns() // 1000


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / SECOND_US, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
