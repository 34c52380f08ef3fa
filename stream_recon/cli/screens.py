"""What the demo shows: alerts as they come, an example of each fault, the scorecard, and what to try next."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stream_recon.cli.options import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from stream_recon.cli.checking import Check
    from stream_recon.cli.play import Play, Report
    from stream_recon.consume import Received

_SHOWN = 5
"""So many differences of a run are shown; in JSON all are."""


class Silent:
    """Shows nothing but, in the end, the scorecard."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self._out = console()

    def say(self, text: str) -> None:
        """Nothing."""

    def sent(self, number: int, of: int) -> None:
        """Nothing."""

    def alert(self, received: Received) -> None:
        """Nothing."""

    def done(self, report: Report) -> None:
        """The scorecard."""
        self.report = report
        _scorecard(report, self._out)
        _checks(report, self._out)

    def close(self) -> None:
        """Nothing."""


class Json(Silent):
    """Shows nothing but, in the end, one JSON object."""

    def done(self, report: Report) -> None:
        """The object."""
        from stream_recon.cli.answer import print_json

        self.report = report
        print_json(report.summary())


class Terminal(Silent):
    """Shows each alert in a line, and below them how far the replay is."""

    def __init__(self, *, keep: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__()
        self._keep = keep
        self._alerts = 0
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events,"),
            TextColumn("{task.fields[alerts]} alerts,"), TimeRemainingColumn(), console=self._out, transient=True,
            disable=not self._out.is_terminal,
        )  # fmt: skip
        self._task: Any = None

    def say(self, text: str) -> None:
        """A line."""
        self._out.print(text, markup=False, soft_wrap=False)

    def sent(self, number: int, of: int) -> None:
        """The progress bar."""
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("replaying", total=of, alerts=0)
        self._progress.update(self._task, completed=number, alerts=self._alerts)

    def alert(self, received: Received) -> None:
        """A line."""
        from stream_recon.cli.render import show

        self._alerts += 1
        show(self._out, received.alert, received.time_us)

    def done(self, report: Report) -> None:
        """An example of each fault, the scorecard, and what to try next."""
        self._progress.stop()
        _examples(report, self._out)
        super().done(report)
        _next_steps(report, self._out, keep=self._keep)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()


def opening_words(play: Play) -> str:
    """What is about to be seen."""
    faults = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in play.faults.items()) or "none"
    return (
        f"{len(play.fills):,} real fills, {play.timing.speed_per_s:g} a second, with their orders, positions, balances"
        " and ledgers: told once by our own books (internal), once by the exchange.\n"
        f"Faults put into them (seed {play.seed}): {faults}.\n"
        f"What one side has and the other has not is an alert {play.timing.grace_us / 1e6:g} s after the fill.\n"
    )


def _scorecard(report: Report, out: Console) -> None:
    from rich.table import Table

    from stream_recon.cli.play import by_fault

    score = report.score
    table = Table(title="Injected against detected", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("fault", "injected", "detected", "missed", "effects", "latency p50", "p99"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    groups = by_fault(report)
    for fault, count in score.injected.items():
        missed = score.missed[fault]
        shown = f"[bold red]{missed}[/]" if missed else "0"
        counts = (str(count), str(score.detected[fault]), shown, str(score.caused[fault]))
        table.add_row(fault.replace("_", " "), *counts, *_waits(groups[fault]))
    totals = (str(sum(counts.values())) for counts in (score.injected, score.detected, score.missed, score.caused))
    table.add_row("all", *totals, *_waits(report.alerts), style="bold")
    out.print()
    out.print(table)
    if any(score.caused.values()):
        out.print(f"Effects: what shows in orders, positions, balances and net changes because of a fault"
                  f" ({_counted(score.unnamed) or 'none'} without naming what it follows from).")  # fmt: skip
    false = _counted(score.false)
    out.print(f"False alerts: {false or 'none'}.", style="bold red" if false else "bold green")
    out.print(
        f"{report.events:,} events in {report.seconds:.0f} s. Latency: from the record that made it due to its alert."
    )


def _checks(report: Report, out: Console) -> None:
    """What runs found, beside what the stream said."""
    from rich.table import Table

    table = Table(
        title="Runs over the same records, against the stream", title_justify="left", title_style="bold", box=None,
        pad_edge=False,
    )  # fmt: skip
    for column in ("run", "status", "records", "found", "only run", "only stream", "seconds"):
        table.add_column(column, justify="left" if column in {"run", "status"} else "right")
    for check in report.checks:
        table.add_row(
            check.type, check.status, f"{check.records:,}", str(check.found), str(len(check.only_run)),
            str(len(check.only_stream)), f"{check.seconds:.1f}",
        )  # fmt: skip
    out.print()
    out.print(table)
    for check in report.checks:
        differences(check, out)
    agree = all(check.agrees for check in report.checks)
    out.print("They agree with the stream." if agree else "They do not agree with the stream.",
              style="bold green" if agree else "bold red")  # fmt: skip


def differences(check: Check, out: Console) -> None:
    """The first of what a run and the stream do not both say, or why the run says less."""
    from stream_recon.cli.render import show

    for remark in check.remarks[:_SHOWN]:
        out.print(f"{check.type}: {remark}", markup=False)
    for discrepancy in check.differing[:_SHOWN]:
        out.print(f"only {check.type if discrepancy.alert_id in check.only_run else 'the stream'} says:")
        show(out, discrepancy, discrepancy.due_us, indent=2)


def _counted(kinds: Mapping[str, int]) -> str:
    """So many of each kind."""
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())


def _waits(alerts: list[Received]) -> list[str]:
    """Latency at the middle and at the end, of those that have one."""
    from stream_recon.cli.play import latencies_ms, percentiles

    return [f"{wait:.0f} ms" if wait is not None else "" for wait in percentiles(latencies_ms(alerts)).values()]


def _examples(report: Report, out: Console) -> None:
    """For each fault, what was done to one record, what was said of it, and what of its effects."""
    from rich.text import Text

    from stream_recon.cli.play import effects_of, explaining
    from stream_recon.cli.render import show

    out.print("\nOne of each", style="bold")
    seen = set()
    for injected in report.plan.injected:
        if injected.fault in seen:
            continue
        seen.add(injected.fault)
        where = " ".join(injected.key[1:])
        out.print(
            Text.assemble(
                (f"{injected.fault.replace('_', ' ')}: ", "bold"),
                f"{injected.done} ({where})" if where else injected.done,
            )
        )
        said = explaining(injected, report.alerts)
        for received in _first_of_each(said):
            show(out, received.alert, received.time_us, indent=2)
        if not said:
            out.print("  nothing was said, as it should be" if not injected.expects else "  nothing was said")
        follows = effects_of(injected, report)
        if follows:
            out.print(f"  from it follow: {_counted(Counter(alert.kind for alert in follows))}")


def _first_of_each(said: list[Received]) -> list[Received]:
    """The opening and the end, where there is one, of the first alert of each kind."""
    from stream_recon.faults.score import finding_of

    chosen: dict[str, str] = {}
    for received in said:
        chosen.setdefault(finding_of(received.alert)[0], received.alert.alert_id)
    return [r for r in said if r.alert.alert_id in chosen.values() and r.alert.transition in {"OPENED", "CLEARED"}]


def _next_steps(report: Report, out: Console, *, keep: bool) -> None:
    out.print("\nWhat to try next", style="bold")
    if keep:
        out.print("  It goes on running; Ctrl-C ends it. In another terminal:")
        out.print(f"  export KAFKA_BOOTSTRAP_SERVERS={report.broker.bootstrap_servers}"
                  f" STREAM_RECON_TOPIC_PREFIX={report.deployment.plan.prefix}")  # fmt: skip
        opened = next((r.alert.alert_id for r in report.alerts if r.alert.status == "OPEN"), None)
        out.print("  stream-recon breaks                 what is wrong now")
        out.print("  stream-recon trigger emergency --yes")
        out.print("                                      the same, asked of the workers; `runs` lists what was asked")
        if opened is not None:
            out.print(f"  stream-recon break {opened[:10]}       both sides of one of them, field by field")
        return
    out.print("  stream-recon demo --seed 2          other fills, the same result")
    out.print("  stream-recon demo --faults price=5,drop_internal=2 --keep")
    out.print("                                      leave it running, and look at `breaks` and `break ID`")
    out.print("  stream-recon reconcile --internal A.jsonl --exchange B.jsonl")
    out.print("                                      your own two files, no broker")
    out.print("  stream-recon up                     a broker and a worker for your own events")
