"""How runs look in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from stream_recon.cli.answer import print_listing
from stream_recon.core.corrections import unit_of
from stream_recon.core.results import words_of
from stream_recon.core.wording import counted, short_id, signed, waiting_for_it

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from stream_recon.core.corrections import History
    from stream_recon.domain.results import Certificate, ReconciliationResult

_CORRECTIONS_SHOWN = 20
_RUN_COLUMNS = ("run", "started", "type", "status", "seconds", "records", "breaks", "by", "what else")
_ONLY_WIDE = frozenset({"started", "seconds", "records", "by"})
_WIDE = 120
STATUS_STYLE = {"completed": "green", "partial": "yellow", "failed": "bold red", "running": "cyan"}


def table_of_runs(results: Iterable[ReconciliationResult], width: int) -> Table:
    """One line a run; where that is too wide, what matters: how it ended, and why."""
    shown = _RUN_COLUMNS if width >= _WIDE else [name for name in _RUN_COLUMNS if name not in _ONLY_WIDE]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in shown:
        right = name in {"seconds", "records", "breaks"}
        wraps = name == "what else"
        table.add_column(name, justify="right" if right else "left", no_wrap=not wraps, overflow="fold")
    for result in results:
        ended = result.end_time_us
        told = [*result.errors, *([result.fallback_reason] if result.fallback_reason else []), *result.notes]
        cells = (
            Text(short_id(result.reconciliation_id)), Text(_time(result.start_time_us)), Text(result.type),
            Text(result.status, STATUS_STYLE[result.status]),
            Text(f"{(ended - result.start_time_us) / 1e6:.1f}" if ended is not None else ""),
            Text(f"{result.total_records_processed:,}"), Text(f"{result.discrepancies_found:,}"),
            Text(result.issued_by or ""), Text(told[0] if told else "", "dim"),
        )  # fmt: skip
        table.add_row(*(cell for name, cell in zip(_RUN_COLUMNS, cells, strict=True) if name in shown))
    return table


def show_run(
    out: Console, result: ReconciliationResult, *, certificate: bool = False, history: History | None = None
) -> None:
    """One run in full; `history` names the corrections that it made or relied on."""
    head = Text.assemble((result.type, "bold"), " ", (result.status, STATUS_STYLE[result.status]))
    head.append(f"  run {result.reconciliation_id}", "dim")
    out.print(head)
    for error in result.errors:
        out.print(f"  {error}", style="red")
    fell_back = [f"{result.requested_type!r} was asked for: {result.fallback_reason}"] if result.fallback_reason else []
    for note in (*fell_back, *result.notes):
        out.print(f"  {note}", style="yellow")
    for line in _facts(result):
        out.print(f"  {line}")
    for late in result.certificate.unsettled if result.certificate is not None else ():
        far = "was never heard of" if late.watermark_us < 0 else f"is known up to {_time(late.watermark_us)} only"
        feed = f"{late.origin} {late.stream} of {late.source}, partition {late.partition}"
        out.print(f"  not settled: {feed}, {far} ({waiting_for_it(late.waiting)})", style="yellow")
    _show_corrections(out, result, history)
    if result.discrepancies or result.conditions:
        out.print()
        print_listing(result.discrepancies, result.conditions)
        left = result.discrepancies_found - len(result.discrepancies)
        if left > 0:
            out.print(f"and {left:,} more: `stream-recon breaks` lists them all", style="dim")
    elif result.is_clean and result.certificate is not None:
        out.print(f"  {_agreement(result.certificate)}", style="yellow" if result.certificate.absolved else "green")
    elif result.status == "completed" and result.certificate is not None:
        undecided = counted(result.summary.by_verdict["INDETERMINATE"], "record")
        out.print(f"  Nothing stands, but of {undecided} nothing is decided yet: look again later.", style="yellow")
    if certificate and result.certificate is not None:
        out.print()
        _show_certificate(out, result.certificate)


def _agreement(certificate: Certificate) -> str:
    """That nothing was found, and what stands between the records all the same."""
    covered = len(certificate.absolved)
    but = f" but for {counted(covered, 'difference')} that corrections cover" if covered else ""
    return f"Both sides agree{but}."


def _show_corrections(out: Console, result: ReconciliationResult, history: History | None) -> None:
    """What this run corrected, and what it did not find because earlier ones had."""
    made = history.made.values() if history is not None else ()
    undone = history.undone if history is not None else set()
    mine = [each for each in made if each.run_id == result.reconciliation_id]
    covered = set(result.certificate.absolved) if result.certificate is not None else set()
    earlier = {each.alert_id: each for each in made if each.alert_id in covered and each not in mine}
    for title, number, corrections in (
        ("corrected by this run", result.auto_resolved_count, mine),
        ("corrected before, and the same since", len(covered), list(earlier.values())),
    ):
        if not number:
            continue
        out.print(f"  {title}: {number:,}")
        for each in corrections[:_CORRECTIONS_SHOWN]:
            back = "  (taken back since)" if each.correction_id in undone else ""
            moved = f"{each.field} {signed(each.amount)} {unit_of(each)}"
            out.print(Text(f"    {each.correction_id}  {moved}  {each.account}  for {short_id(each.alert_id)}{back}"))
        if number > _CORRECTIONS_SHOWN:
            out.print("    and more: `stream-recon audit show --list corrections` lists them all", style="dim")
    if mine or earlier:
        out.print("  `stream-recon undo ID` takes one back.", style="dim")


def _facts(result: ReconciliationResult) -> Iterable[str]:
    if result.certificate is None:
        return
    scope = result.certificate.scope
    took = f" in {(result.end_time_us - result.start_time_us) / 1e6:.2f} s" if result.end_time_us is not None else ""
    since = "everything" if scope.from_us == 0 else f"{_time(scope.from_us)}"
    accounts = ", ".join(scope.accounts or ("all accounts",))
    yield f"{since} to {_time(scope.to_us)}; {', '.join(scope.identities)}; {accounts}"
    yield f"{counted(result.total_records_processed, 'record')}{took}; configuration version {result.config_version}"
    summary = result.summary
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary.by_kind.items()) or "none"
    follow = f" ({summary.explained:,} follow from others)" if summary.explained else ""
    yield f"breaks: {kinds}{follow}"
    yield f"critical: {summary.critical_issues:,}; for a person: {result.manual_resolution_required:,}"
    if summary.not_reported and len(summary.not_reported) < len(scope.identities):
        yield f"not compared, for nobody has reported any: {words_of(summary.not_reported)}"
    if summary.pending:
        yield f"pending at the cut: {summary.pending:,}"
    if summary.net_amounts:
        yield "unexplained: " + ", ".join(f"{amount} {name}" for name, amount in summary.net_amounts.items())


def _show_certificate(out: Console, certificate: Certificate) -> None:
    out.print("Certificate", style="bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("log", "offsets", "records", "hash", "known up to"):
        table.add_column(name, justify="right" if name == "records" else "left")
    for cut in certificate.topics:
        far = [us for us in cut.watermarks.values() if us >= 0]
        table.add_row(
            f"{cut.topic} {cut.partition}", f"{cut.first_offset:,} to {cut.end_offset:,}", f"{cut.records:,}",
            cut.digest[:12] or "live", _time(min(far)) if far else "",
        )  # fmt: skip
    out.print(table)
    out.print(
        f"duplicates {certificate.duplicates:,}, not understood {certificate.rejected:,}; "
        f"code {certificate.code_version}, contracts {certificate.contracts_digest[:12]}, "
        f"configuration {certificate.config_digest[:12]}"
    )
    out.print(f"verdicts {certificate.verdicts_digest}\nresult   {certificate.digest}", style="dim")


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
