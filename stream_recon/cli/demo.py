"""`demo`: the whole product at work on real fills with faults, in a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_recon.cli.options import BrokerChoice, Failure, Format, Ladder, Output, Quiet, console, opening, wait_for

if TYPE_CHECKING:
    from rich.console import Console

    from stream_recon.cli.play import Play, Report
    from stream_recon.consume import Received


def demo(
    seed: Annotated[int, typer.Option(help="Which fills get which fault; the same seed, the same demo.")] = 1,
    speed: Annotated[float, typer.Option(min=1, help="Fills a second.")] = 200,
    faults: Annotated[
        str, typer.Option(help="What goes wrong: `all`, `none`, or a list such as `price=3,drop_internal=2`.")
    ] = "all",
    broker: BrokerChoice = Ladder.auto,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards, to look around.")] = False,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Replay 3,393 real fills as both sides tell them, put faults into them, and see which are found.

    Starts a real Kafka broker and a worker, shows the alerts as they come, and ends in a scorecard. Exit code 0: every
    fault was found and nothing else was said.
    """
    from stream_recon.app import WorkerError
    from stream_recon.cli.play import Play, perform
    from stream_recon.shell.topics import TopicsError

    try:
        play = Play.of(seed, speed, faults)
    except ValueError as error:
        raise Failure(f"--faults: {error}") from error
    shown = output is Format.table
    screen = _Terminal(play, keep=keep) if shown and not quiet else _Silent()
    screen.say(_opening(play))
    try:
        with opening(broker, quiet=quiet or not shown) as kafka:
            report = wait_for(perform(play, kafka, screen, keep=keep))
    except (TopicsError, WorkerError) as error:
        raise Failure(str(error), code=3) from error
    finally:
        screen.close()
    if not shown:
        from stream_recon.cli.answer import print_json

        print_json(report.summary())
    elif quiet:
        _scorecard(report, console())
    if not report.perfect:
        raise typer.Exit(1)


class _Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def sent(self, number: int, of: int) -> None:
        """Nothing."""

    def alert(self, received: Received) -> None:
        """Nothing."""

    def done(self, report: Report) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Terminal(_Silent):
    """Shows each alert in a line, and below them how far the replay is."""

    def __init__(self, play: Play, *, keep: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._out = console()
        self._play = play
        self._keep = keep
        self._alerts = 0
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events,"),
            TextColumn("{task.fields[alerts]} alerts,"), TimeRemainingColumn(), console=self._out, transient=True,
            disable=not self._out.is_terminal,
        )  # fmt: skip
        self._task: Any = None

    def say(self, text: str) -> None:
        self._out.print(text, markup=False)

    def sent(self, number: int, of: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("replaying", total=of, alerts=0)
        self._progress.update(self._task, completed=number, alerts=self._alerts)

    def alert(self, received: Received) -> None:
        from stream_recon.cli.render import line

        self._alerts += 1
        self._out.print(line(received.alert, received.time_us))

    def done(self, report: Report) -> None:
        self._progress.stop()
        _scorecard(report, self._out)
        _examples(report, self._out)
        _next_steps(report, self._out, keep=self._keep)

    def close(self) -> None:
        self._progress.stop()


def _opening(play: Play) -> str:
    faults = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in play.faults.items()) or "none"
    return (
        f"{len(play.fills):,} real fills, told once by our own books (internal) and once by the exchange,"
        f" {play.timing.speed_per_s:g} a second.\nFaults put into them (seed {play.seed}): {faults}.\n"
        f"What one side has and the other has not is an alert {play.timing.grace_us / 1e6:g} s after the fill.\n"
    )


def _scorecard(report: Report, out: Console) -> None:
    from rich.table import Table

    from stream_recon.cli.play import by_fault, latencies_ms, percentiles

    score = report.score
    table = Table(title="Injected against detected", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("fault", "injected", "detected", "missed", "latency p50", "p99"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    groups = by_fault(report)
    for fault, count in score.injected.items():
        waits = percentiles(latencies_ms(groups[fault]))
        missed = score.missed[fault]
        table.add_row(
            fault.replace("_", " "), str(count), str(score.detected[fault]),
            f"[bold red]{missed}[/]" if missed else "0", *(f"{wait:.0f} ms" if wait is not None else "" for wait in waits.values()),
        )  # fmt: skip
    waits = percentiles(latencies_ms(report.alerts))
    table.add_row(
        "all", str(sum(score.injected.values())), str(sum(score.detected.values())), str(sum(score.missed.values())),
        *(f"{wait:.0f} ms" if wait is not None else "" for wait in waits.values()), style="bold",
    )  # fmt: skip
    out.print()
    out.print(table)
    false = ", ".join(f"{count} {kind}" for kind, count in score.false.items())
    out.print(f"False alerts: {false or 'none'}.", style="bold red" if false else "bold green")
    out.print(
        f"{report.events:,} events in {report.seconds:.0f} s. Latency: from the record that made it due to its alert."
    )


def _examples(report: Report, out: Console) -> None:
    """For each fault, what was done to one fill and what was said of it."""
    from rich.text import Text

    from stream_recon.cli.play import explaining
    from stream_recon.cli.render import line

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
            out.print(Text("  ").append_text(line(received.alert, received.time_us)))
        if not said:
            out.print("  nothing was said, as it should be" if not injected.expects else "  nothing was said")


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
        if opened is not None:
            out.print(f"  stream-recon break {opened[:10]}       both sides of one of them, field by field")
        return
    out.print("  stream-recon demo --seed 2          other fills, the same result")
    out.print("  stream-recon demo --faults price=5,drop_internal=2 --keep")
    out.print("                                      leave it running, and look at `breaks` and `break ID`")
    out.print("  stream-recon reconcile --internal A.jsonl --exchange B.jsonl")
    out.print("                                      your own two files, no broker")
    out.print("  stream-recon up                     a broker and a worker for your own events")
