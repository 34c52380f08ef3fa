"""What the audit commands show to people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table

from stream_recon.audit import reading
from stream_recon.audit.chain import Place
from stream_recon.audit.verify import Chain
from stream_recon.cli.answer import print_json
from stream_recon.cli.options import console
from stream_recon.core.wording import done
from stream_recon.domain.discrepancies import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.audit.rebuild import Compared
    from stream_recon.audit.verify import Finding
    from stream_recon.audit.view import View
    from stream_recon.domain.discrepancies import Alert

_WHOLE = frozenset({"version", "transition", "status", "type", "outcome"})
"""Columns that are not broken, however narrow the terminal is."""
_WIDE = 120
"""In a narrower terminal a run is shown by what matters: how it ended, and why."""
_HEAD_SHOWN = 16
_CONTENT_SHOWN = 160


def show_checked(
    chains: Sequence[Chain], gaps: Sequence[reading.Gap], findings: Sequence[Finding], compared: Compared | None
) -> None:
    """What a verification came to."""
    console().print(_chains(chains))
    _show_gaps(gaps)
    if compared is not None:
        show_compared(compared)
        findings = [each for each in findings if each not in compared.findings]
    _show_findings(findings)


def show_compared(compared: Compared) -> None:
    """How each chain stands to its topic."""
    if compared.agreements:
        table = _table("chain", "compared with the topic", "records there", "not kept yet", "head", "head made anew")
        for each in compared.agreements:
            table.add_row(
                f"{each.topic}-{each.partition}", each.verdict, f"{each.records:,}", f"{each.behind:,}",
                each.kept[:_HEAD_SHOWN], each.rebuilt[:_HEAD_SHOWN],
            )  # fmt: skip
        console().print(table)
    _show_findings(compared.findings)


def show_chains(name: str, view: View, *, as_json: bool) -> None:
    """Each chain with its head, and what it holds."""
    counts, gaps = reading.counts(view), reading.gaps(view)
    missing: dict[Place, int] = {}
    for each in gaps:
        place = Place(each.topic, each.partition)
        missing[place] = missing.get(place, 0) + each.last_offset - each.first_offset + 1
    chains = [
        Chain(*place, head.entries, head.next_offset, head.hash.hex(), missing.get(place, 0))
        for place, head in sorted(view.heads().items())
    ]
    if as_json:
        held = {str(place): counts[place] for place in sorted(counts)}
        print_json({"store": name, "chains": chains, "holds": held, "gaps": gaps})
        return
    out = console()
    out.print(_chains(chains))
    totals: dict[str, int] = {}
    for kinds in counts.values():
        for kind, count in kinds.items():
            totals[kind] = totals.get(kind, 0) + count
    if totals:
        out.print("It holds " + ", ".join(f"{count:,} × {kind}" for kind, count in sorted(totals.items())) + ".")
    _show_gaps(gaps)


def show_history(
    alert_id: str, transitions: Sequence[reading.Transition], corrected: Sequence[reading.Corrected]
) -> None:
    """The transitions of an alert, and what was corrected for it."""
    table = _table("time", "version", "transition", "status", "what", "where")
    before: Alert | None = None
    for each in transitions:
        alert, where = each.alert, _where(each.source)
        if isinstance(alert, bytes):
            table.add_row(_time(each.source.time_us), "", "", "", _shown(alert), where)
            continue
        what = alert.kind if isinstance(alert, Discrepancy) else alert.reason
        table.add_row(
            _time(each.source.time_us), str(alert.version), alert.transition, alert.status,
            "; ".join(filter(None, [done(alert, before), f"{what}: {alert.cause}"])), where,
        )  # fmt: skip
        before = alert
    console().print(f"alert {alert_id}", markup=False)
    console().print(table)
    show_corrections(corrected)


def show_runs(runs: Iterable[reading.Run]) -> None:
    """What was published about runs."""
    out = console()
    columns = ("run", "time", "type", "status", "records", "discrepancies", "asked by", "why", "where")
    shown = columns if out.width >= _WIDE else ("run", "type", "status", "why")
    table = _table(*shown)
    for run in runs:
        for each in run.results:
            result, when, where = each.result, _time(each.source.time_us), _where(each.source)
            if isinstance(result, bytes):
                cells: tuple[Any, ...] = (run.run_id, when, "", "", "", "", "", _shown(result), where)
            else:
                cells = (
                    run.run_id, when, result.type, result.status, f"{result.total_records_processed:,}",
                    f"{result.discrepancies_found:,}", result.issued_by or "", "; ".join(result.errors), where,
                )  # fmt: skip
            table.add_row(*(cell for name, cell in zip(columns, cells, strict=True) if name in shown))
    out.print(table)


def show_corrections(corrected: Sequence[reading.Corrected]) -> None:
    """What was corrected, and what took it back; nothing where nothing was."""
    if not corrected:
        return
    table = _table("time", "correction", "account", "field", "amount", "of", "run", "by", "", "where")
    for each in corrected:
        one, when, where = each.correction, _time(each.source.time_us), _where(each.source)
        if isinstance(one, bytes):
            table.add_row(when, _shown(one), *[""] * 7, where)
            continue
        remark = f"takes back {one.reverses}" if one.reverses else "dry run" if one.dry_run else ""
        table.add_row(
            when, one.correction_id, one.account, one.field, one.amount, one.asset or one.instrument or "", one.run_id,
            one.by, remark, where,
        )  # fmt: skip
    console().print(table)


def show_listed(view: View, what: str, *, as_json: bool) -> None:
    """Everything of one sort."""
    if what == "runs":
        runs = reading.runs(view)
        print_json({"runs": runs}) if as_json else show_runs(runs)
    elif what == "commands":
        commands = reading.commands(view)
        print_json({what: commands}) if as_json else _show_commands(commands)
    elif what == "config":
        commands = reading.configurations(view)
        print_json({what: commands}) if as_json else _show_commands(commands)
    else:
        corrected = reading.corrections(view)
        print_json({what: corrected}) if as_json else show_corrections(corrected)


def _show_commands(commands: Iterable[reading.Command]) -> None:
    table = _table("time", "command", "outcome", "why", "runs", "config", "content", "where")
    for each in commands:
        table.add_row(
            _time(each.source.time_us), each.command_id or "", each.outcome, each.reason, ", ".join(each.run_ids),
            "" if each.config_version is None else str(each.config_version),
            _shown(bytes(each.content)), _where(each.source),
        )  # fmt: skip
    console().print(table)


def _show_gaps(gaps: Sequence[reading.Gap]) -> None:
    out = console()
    for each in gaps:
        out.print(
            f"Gap: {each.topic}-{each.partition} offsets {each.first_offset} to {each.last_offset} were gone before "
            f"they could be kept ({each.reason}).", style="yellow",
        )  # fmt: skip


def _show_findings(findings: Sequence[Finding]) -> None:
    for each in findings:
        console().print(str(each), style="red", markup=False)


def _chains(chains: Sequence[Chain]) -> Table:
    table = _table("chain", "entries", "up to offset", "head", "gone unread")
    for each in chains:
        table.add_row(
            f"{each.topic}-{each.partition}", f"{each.entries:,}", str(each.next_offset - 1) if each.entries else "-",
            each.head[:_HEAD_SHOWN], f"{each.gap_records:,}",
        )  # fmt: skip
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    return table


def _time(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}"


def _where(source: reading.Source) -> str:
    return f"{source.topic}-{source.partition}-{source.offset}"


def _shown(content: bytes) -> Any:  # noqa: ANN401 - rich has no type for what it shows
    """What somebody wrote, cut, and not taken for markup."""
    from rich.text import Text

    text = content.decode(errors="replace")
    shown = text if len(text) <= _CONTENT_SHOWN else f"{text[:_CONTENT_SHOWN]}…"
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown))
