"""`reconcile`: compare files, with no broker."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_recon.cli.options import ContractsFile, Failure, Quiet, load, load_contracts, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
    from stream_recon.files import Outcome

_STDIN = Path("-")
_CSV_COLUMNS = (
    "alert_id", "status", "kind", "severity", "account", "instrument", "trade_id", "side", "event_us", "fields",
    "internal", "exchange", "size", "cause",
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
    contracts: ContractsFile = None,
    instruments: Annotated[
        Path | None, typer.Option(help="The kind of each instrument (spot, linear_perpetual, ...), by venue: JSON.")
    ] = None,
    output: Annotated[TableFormat, typer.Option("--output", "-o", help="For people, or for programs.")] = (
        TableFormat.table
    ),
    quiet: Quiet = False,
) -> None:
    """Compare two files (or one that holds both sides) and print what does not agree.

    Files may be packed with gzip. Exit code 0: everything agrees; 1: it does not, or something cannot be known.
    """
    from stream_recon.files import open_lines
    from stream_recon.files import reconcile as compare

    given = _given(file, internal, exchange)
    promises = load_contracts(contracts)
    if instruments is not None and not isinstance(load(instruments), dict):
        raise Failure(f"{instruments}: not an object of venues")
    started = time.perf_counter()
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
        outcome = compare(files, promises)
    _answer(outcome, output, time.perf_counter() - started, quiet=quiet)


def _given(file: Path | None, internal: Path | None, exchange: Path | None) -> list[tuple[Path, Any]]:
    if file is not None and internal is None and exchange is None:
        return [(file, None)]
    if file is None and internal is not None and exchange is not None:
        if internal == exchange == _STDIN:
            raise Failure("standard input cannot be both sides: give `stream-recon reconcile -` lines of both origins")
        return [(internal, "internal"), (exchange, "exchange")]
    raise Failure("give either one FILE that holds both origins, or both --internal A and --exchange B")


def _answer(outcome: Outcome, output: TableFormat, seconds: float, *, quiet: bool) -> None:
    from stream_recon.cli.answer import split_standing

    breaks, conditions = split_standing(outcome.newest)
    summary = _summary(outcome, breaks, conditions, seconds)
    if output is TableFormat.json:
        from stream_recon.cli.answer import print_json

        rejected = [bad._asdict() for bad in outcome.rejected]
        print_json({"breaks": breaks, "conditions": conditions, "rejected": rejected, "summary": summary})
    elif output is TableFormat.csv:
        _print_csv(breaks)
    else:
        from stream_recon.cli.answer import print_listing

        print_listing(breaks, conditions)
    if output is not TableFormat.json:
        for bad in outcome.rejected:
            say(f"{bad.file}, line {bad.line}: {bad.reason}: {bad.detail}", quiet=False)
        say(_sentence(summary), quiet=quiet)
    if breaks or conditions or outcome.rejected:
        raise typer.Exit(1)


def _summary(
    outcome: Outcome, breaks: list[Discrepancy], conditions: list[FeedCondition], seconds: float
) -> dict[str, Any]:
    counts = outcome.counts
    return {
        "records": outcome.lines,
        "rejected": len(outcome.rejected),
        "duplicates": counts.get("duplicate", 0),
        "kinds": dict(Counter(alert.kind for alert in breaks)),
        "severities": dict(Counter(alert.severity for alert in breaks)),
        "verdicts": counts,
        "conditions": dict(Counter(condition.reason for condition in conditions)),
        "cleared": sum(alert.status == "CLEARED" for alert in outcome.newest),
        "seconds": round(seconds, 3),
    }


def _sentence(summary: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary["kinds"].items())) or "none"
    unknown = sum(summary["conditions"].values())
    return (
        f"{summary['records']:,} records compared in {summary['seconds']:.2f} s. Breaks: {kinds}."
        f" Duplicates: {summary['duplicates']}. Not readable: {summary['rejected']}. Feed conditions: {unknown}."
    )


def _print_csv(breaks: Iterable[Discrepancy]) -> None:
    import csv

    writer = csv.writer(sys.stdout)
    writer.writerow(_CSV_COLUMNS)
    for alert in breaks:
        names = " ".join(field.field for field in alert.fields)
        ours = " ".join(field.internal or "" for field in alert.fields)
        theirs = " ".join(field.exchange or "" for field in alert.fields)
        values: dict[str, object] = {"fields": names, "internal": ours, "exchange": theirs}
        writer.writerow([values[name] if name in values else getattr(alert, name) for name in _CSV_COLUMNS])
