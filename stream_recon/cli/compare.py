"""`reconcile`: compare files, with no broker."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_recon.cli.options import (
    ConfigFile,
    ContractsFile,
    Environment,
    Failure,
    InstrumentsFile,
    Quiet,
    check_account,
    load_configuration,
    load_contracts,
    load_instruments,
    perhaps,
    say,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stream_recon.core.explain import Passage
    from stream_recon.domain.config import Sections
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Alert, Discrepancy, FeedCondition
    from stream_recon.domain.instruments import Instruments
    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.files import Outcome

_STDIN = Path("-")
_CSV_COLUMNS = (
    "record", "alert_id", "status", "kind", "severity", "identity", "compared", "account", "instrument", "trade_id",
    "side", "position_side", "asset", "order_id", "ledger_id", "event_us", "due_us", "from_us", "to_us", "fields",
    "size", "residual", "split", "explained_by", "late", "origin", "source", "stream", "waiting", "cause",
)  # fmt: skip


class TableFormat(StrEnum):
    """How `reconcile` answers."""

    table = "table"
    csv = "csv"
    json = "json"


def reconcile(
    file: Annotated[
        Path | None, typer.Argument(help="One JSONL file that holds both origins, or - for standard input.")
    ] = None,
    internal: Annotated[Path | None, typer.Option(help="What our own books say: canonical JSONL, or -.")] = None,
    exchange: Annotated[Path | None, typer.Option(help="What the venue says: canonical JSONL, or -.")] = None,
    config: ConfigFile = None,
    environment: Environment = None,
    contracts: ContractsFile = None,
    instruments: InstrumentsFile = None,
    output: Annotated[TableFormat, typer.Option("--output", "-o", help="For people, or for programs.")] = (
        TableFormat.table
    ),
    kind: Annotated[
        str | None, typer.Option("--type", help="full, trade_only, ...; a type that is not supported is run as full.")
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option("--account", help="Only this account (`venue|id`); may be given again.")
    ] = None,
    lookback_hours: Annotated[
        int | None, typer.Option(min=1, help="Only what is that old at most, from the newest event on. Default: all.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each in sentences why.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare two files (or one that holds both sides) and print what does not agree.

    With `--type`, `--account` or `--lookback-hours` by a reconciliation type, whose result and certificate JSON then
    holds. Files may be packed with gzip. Exit code 0: everything agrees; 1: it does not, or something cannot be known,
    as where there are no records. In CSV, `fields` and `split` are JSON.
    """
    from stream_recon.files import open_lines
    from stream_recon.files import reconcile as compare

    given = _given(file, internal, exchange)
    promises = load_contracts(contracts)
    kinds = load_instruments(instruments)
    sections = load_configuration(config, environment).sections
    started = time.perf_counter()
    if kind is not None or account or lookback_hours is not None:
        outcome, result = _by_type(given, kind or "full", account, lookback_hours, promises, kinds, sections)
        explained = _explaining(outcome, promises) if explain else None
        _answer(outcome, output, time.perf_counter() - started, explained, quiet=quiet, result=result)
        return
    with ExitStack() as stack:
        files = []
        for path, origin in given:
            try:
                lines = stack.enter_context(open_lines(None if path == _STDIN else path))
            except OSError as error:
                raise Failure(
                    f"{path}: {error.strerror}; give a readable JSONL file, or - for standard input"
                ) from error
            files.append((lines, "stdin" if path == _STDIN else path.name, origin))
        outcome = compare(files, promises, kinds, sections)
    explained = _explaining(outcome, promises) if explain else None
    _answer(outcome, output, time.perf_counter() - started, explained, quiet=quiet)


def _given(file: Path | None, internal: Path | None, exchange: Path | None) -> list[tuple[Path, Any]]:
    if file is not None and internal is None and exchange is None:
        return [(file, None)]
    if file is None and internal is not None and exchange is not None:
        if internal == exchange == _STDIN:
            raise Failure("standard input cannot be both sides: give `stream-recon reconcile -` lines of both origins")
        return [(internal, "internal"), (exchange, "exchange")]
    raise Failure("give either one FILE that holds both origins, or both --internal A and --exchange B")


def _by_type(
    given: list[tuple[Path, Any]], kind: str, accounts: list[str] | None, lookback_hours: int | None,
    contracts: Contracts, instruments: Instruments, sections: Sections,
) -> tuple[Outcome, ReconciliationResult]:  # fmt: skip
    """Run a reconciliation type over files.

    Raises:
        Failure: a file cannot be read, or an account is none.
    """
    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.files import Outcome
    from stream_recon.service import ReconciliationRun
    from stream_recon.sources import JsonLines, SourceError
    from stream_recon.strategies.registry import FULL, choose, registry

    for name in accounts or ():
        check_account(name)
    for path, _ in given:
        if path != _STDIN and not path.is_file():
            raise Failure(f"{path}: No such file; give a readable JSONL file, or - for standard input")
    choice = choose(kind, "full", fall_back=True, known=registry())
    if choice.fallback_reason is not None:
        say(f"{choice.fallback_reason}{perhaps(kind)} {choice.strategy.type} is run instead.", quiet=False)
    strategy = FULL if choice.strategy.outer else choice.strategy
    limits = {"historical_lookback_hours": lookback_hours} if lookback_hours is not None else {}
    sides = {origin: JsonLines(None if path == _STDIN else path, origin) for path, origin in given}
    run = ReconciliationRun(
        strategy._replace(type=choice.strategy.type),
        sections.config_for(choice.strategy.type, limits, strategy.type if choice.strategy.outer else None),
        contracts=contracts,
        instruments=instruments, internal=sides.get("internal"), exchange=sides.get("exchange"), both=sides.get(None),
    )  # fmt: skip
    begun = ReconciliationResult(
        reconciliation_id="file", type=choice.strategy.type, status="running", start_time_us=0,
        requested_type=choice.requested_type, fallback_reason=choice.fallback_reason,
        notes=["there is no checkpoint in files: it ran as full"] if strategy.goes_on else [],
    )  # fmt: skip
    try:
        result = wait_for(run.execute_reconciliation(accounts, None, begun))
    except SourceError as error:
        raise Failure(str(error)) from error
    assert run.comparison is not None
    outcome = Outcome(
        newest=[*result.discrepancies, *result.conditions], rejected=run.comparison.rejected,
        lines=run.comparison.lines, counts=run.comparison.counts, unused=run.comparison.heard.unused(),
        unconfirmed=run.comparison.unconfirmed,
    )  # fmt: skip
    return outcome, result


def _explaining(outcome: Outcome, contracts: Contracts) -> Callable[[Alert], list[Passage]]:
    from stream_recon.core.explain import explain

    states = {alert.alert_id: alert for alert in outcome.newest}
    return lambda alert: explain(alert, states, contracts, files=True)


def _answer(
    outcome: Outcome,
    output: TableFormat,
    seconds: float,
    explained: Callable[[Alert], list[Passage]] | None,
    *,
    quiet: bool,
    result: ReconciliationResult | None = None,
) -> None:
    from stream_recon.cli.answer import print_json, print_listing, split_standing

    breaks, conditions = split_standing(outcome.newest)
    summary = _summary(outcome, breaks, conditions, seconds)
    if output is TableFormat.json:
        rejected = [bad._asdict() for bad in outcome.rejected]
        answer: dict[str, Any] = {"breaks": breaks, "conditions": conditions, "rejected": rejected, "summary": summary}
        if result is not None:
            answer["result"] = result
        if explained is not None:
            alerts: list[Alert] = [*breaks, *conditions]
            answer["explanations"] = {a.alert_id: [p._asdict() for p in explained(a)] for a in alerts}
        print_json(answer)
    elif output is TableFormat.csv:
        _print_csv(breaks, conditions)
    elif outcome.lines:
        print_listing(breaks, conditions, explained)
    if output is not TableFormat.json:
        for remark in _remarks(outcome, result):
            say(remark, quiet=quiet and remark.startswith("No record"))
        say(_sentence(summary), quiet=quiet and outcome.lines > 0)
    if result is not None and not result.is_clean:
        raise typer.Exit(1)
    if breaks or conditions or outcome.rejected or not outcome.lines:
        raise typer.Exit(1)


def _remarks(outcome: Outcome, result: ReconciliationResult | None) -> Iterator[str]:
    """What has to be said beside the answer."""
    from stream_recon.core.wording import counted

    for bad in outcome.rejected:
        yield f"{bad.file}, line {bad.line}: {bad.reason}: {bad.detail}"
    if outcome.unused and outcome.lines:
        yield f"No record is under these contracts: {', '.join(outcome.unused)}. Are venue and account right?"
    if outcome.rejected and all(bad.reason == "wrong_origin" for bad in outcome.rejected):
        yield "Are --internal and --exchange swapped?"
    if outcome.unconfirmed:
        moved = " and ".join(counted(count, kind) for kind, count in sorted(outcome.unconfirmed.items()))
        yield f"{moved} moved after the last snapshot: nothing is held against what moved since."
    if result is not None:
        yield from (f"{note}." for note in [*result.notes, *_unsettled(result)])


def _unsettled(result: ReconciliationResult) -> list[str]:
    """The feeds that have not passed the newest events, in words."""
    from stream_recon.core.wording import waiting_for_it

    late = result.certificate.unsettled if result.certificate is not None else []
    return [
        f"not settled: {each.origin} {each.stream} of {each.source} ({waiting_for_it(each.waiting)})" for each in late
    ]


def _summary(
    outcome: Outcome, breaks: list[Discrepancy], conditions: list[FeedCondition], seconds: float
) -> dict[str, Any]:
    from stream_recon.cli.answer import summary_of

    return {
        "records": outcome.lines,
        "rejected": len(outcome.rejected),
        "duplicates": outcome.counts.get("duplicate", 0),
        **summary_of(breaks, conditions),
        "verdicts": outcome.counts,
        "unconfirmed": outcome.unconfirmed,
        "cleared": sum(alert.status == "CLEARED" for alert in outcome.newest),
        "seconds": round(seconds, 3),
    }


def _sentence(summary: dict[str, Any]) -> str:
    from stream_recon.core.wording import counted

    if not summary["records"]:
        return "Nothing was compared: there are no records. Are these the right files?"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary["kinds"].items())) or "none"
    effects = f" ({summary['effects']} follow from others)" if summary["effects"] else ""
    unknown = sum(summary["conditions"].values())
    return (
        f"{counted(summary['records'], 'record')} compared in {summary['seconds']:.2f} s. Breaks: {kinds}{effects}."
        f" Duplicates: {summary['duplicates']}. Not readable: {summary['rejected']}. Feed conditions: {unknown}."
    )


def _print_csv(breaks: Iterable[Discrepancy], conditions: Iterable[FeedCondition]) -> None:
    import csv

    writer = csv.DictWriter(sys.stdout, _CSV_COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for row in (*map(_row, breaks), *map(_row, conditions)):
        writer.writerow(row)


def _row(alert: Alert) -> dict[str, object]:
    """A cell for each column that an alert has something to say to; lists as JSON, ids divided by blanks."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(alert)
    if told["record"] == "feed_condition":
        return {**told, "kind": told["reason"], "event_us": told["since_us"]}
    interval = told["interval"] or {}
    return {
        **told,
        "from_us": interval.get("from_us"),
        "to_us": interval.get("to_us"),
        "fields": json.dumps(told["fields"], ensure_ascii=False),
        "split": json.dumps(told["split"]) if told["split"] else "",
        "explained_by": " ".join(told["explained_by"]),
        "late": str(told["late"]).lower(),
    }
