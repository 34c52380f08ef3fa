"""`publish`: canonical JSONL into the topics."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    PREFIX,
    Bootstrap,
    ContractsFile,
    Failure,
    Format,
    Output,
    PartitionsThere,
    Prefix,
    Quiet,
    console,
    load_contracts,
    plan_there,
    say,
    wait_for,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.topics import TopicPlan
    from stream_recon.files import BadLine, Line
    from stream_recon.produce import Producer

_STDIN = Path("-")
_WAIT_LIMIT_S = 60
_SHOWN = 20


def publish(
    files: Annotated[list[Path], typer.Argument(help="JSONL files (.gz too), or - for standard input.")],
    contracts: ContractsFile = None,
    heartbeats: Annotated[
        bool, typer.Option("--heartbeats/--no-heartbeats", help="End with heartbeats: all there is has been sent.")
    ] = True,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many lines a second.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Send also what cannot be read, untouched, after the line before it.")
    ] = False,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    partitions: PartitionsThere = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Send canonical events to their topics, by origin and type, under their account.

    What cannot be read is reported with its line number and not sent; the exit code is then 2. The heartbeats at the
    end say of every source that nothing older will come, so that what is missing falls due; if that is in the future,
    they wait for it.
    """
    missing = next((path for path in files if path != _STDIN and not path.is_file()), None)
    if missing is not None:
        raise Failure(f"{missing}: no such file; give JSONL files, or - for standard input")
    job = _Job(files, load_contracts(contracts), heartbeats, rate, raw)
    plan = plan_there(bootstrap, prefix, partitions)
    sent = wait_for(_publish(job, bootstrap, plan, show=output is Format.table and not quiet))
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({**sent._asdict(), "rejected": [bad._asdict() for bad in sent.rejected]})
    else:
        for bad in sent.rejected[:_SHOWN]:
            say(f"{bad.file}, line {bad.line}: {bad.reason}: {bad.detail}", quiet=False)
        if len(sent.rejected) > _SHOWN:
            say(f"... and {len(sent.rejected) - _SHOWN} more; `--output json` lists them all", quiet=False)
        say(
            f"{sent.lines:,} lines read, {sent.sent:,} events sent in {sent.seconds:.1f} s,"
            f" {sent.heartbeats} heartbeats,"
            f" {len(sent.rejected)} lines not readable{' (sent as they are)' if raw and sent.rejected else ''}",
            quiet=quiet,
        )
    if sent.rejected and not raw:
        raise typer.Exit(2)


class _Job(NamedTuple):
    files: list[Path]
    contracts: Contracts
    heartbeats: bool
    rate: float | None
    raw: bool


class _Sent(NamedTuple):
    lines: int
    sent: int
    heartbeats: int
    rejected: list[BadLine]
    seconds: float


async def _publish(job: _Job, bootstrap: str, plan: TopicPlan, *, show: bool) -> _Sent:
    from stream_recon.files import BadLine, Heard, Reader, open_lines
    from stream_recon.produce import Producer

    started = time.monotonic()
    heard = Heard(job.contracts)
    rejected: list[BadLine] = []
    lines = sent = beats = 0
    async with Producer(bootstrap, plan) as producer:
        with _bar(job.files, show=show) as advance:
            for path in job.files:
                name = "stdin" if path == _STDIN else path.name
                with open_lines(None if path == _STDIN else path) as file:
                    reader = Reader(file, name, None, lambda: time.time_ns() // 1000)
                    sender = _Sender(producer, raw=job.raw)
                    before = 0
                    for pack in reader.packs():
                        for line in pack:
                            heard.add(line)
                            if bad := await sender.send(line):
                                rejected.append(BadLine(name, line.number, bad.reason, bad.detail))
                            if job.rate is not None:
                                await _keep_to(job.rate, started, lines + sender.sent)
                        advance(reader.bytes - before)
                        before = reader.bytes
                    lines += reader.lines
                    sent += sender.sent
        await producer.flush()
        if job.heartbeats and heard.newest_us >= 0:
            await _until(heard.through_us, quiet=not show)
            for stream, beat in heard.closing():
                await producer.heartbeat(beat.origin, beat.source, stream, beat.through_us, beat.venue)
                beats += plan.partitions
    return _Sent(lines, sent, beats, rejected, round(time.monotonic() - started, 3))


class _Sender:
    """Sends the lines of one file."""

    def __init__(self, producer: Producer, *, raw: bool) -> None:
        self.sent = 0
        self._producer = producer
        self._raw = raw
        self._account = "unknown|unknown"

    async def send(self, line: Line) -> Any:  # noqa: ANN401 - decode's Rejected, which is imported only when needed
        """Send a line, or say why not."""
        from stream_recon.domain.decode import Rejected
        from stream_recon.domain.events import Heartbeat, account_of

        event = line.event
        if isinstance(event, Rejected):
            if self._raw:
                await self._producer.send_raw(line.origin, line.stream, event.account or self._account, line.value)
                self.sent += 1
            return event
        if isinstance(event, Heartbeat):
            await self._producer.heartbeat(event.origin, event.source, line.stream, event.through_us, event.venue)
        else:
            self._account = account_of(event.venue, event.account_id)
            await self._producer.send(event, line.value, line.stream)
        self.sent += 1
        return None


async def _keep_to(rate: float, started: float, lines: int) -> None:
    import asyncio

    ahead_s = lines / rate - (time.monotonic() - started)
    if ahead_s > 0:
        await asyncio.sleep(ahead_s)


async def _until(through_us: int, *, quiet: bool) -> None:
    """Wait for a time that lies a little ahead: a heartbeat counts only up to the time when Kafka receives it."""
    import asyncio

    wait_s = through_us / 1e6 - time.time()
    if wait_s > _WAIT_LIMIT_S:
        say(
            f"The newest event is {wait_s:.0f} s ahead: what is missing falls due only then. Is its clock right?",
            quiet=False,
        )
    elif wait_s > 0:
        say(f"Waiting {wait_s:.1f} s, until the last event's grace is over.", quiet=quiet)
        await asyncio.sleep(wait_s + 0.002)


class _bar:  # noqa: N801 - a context manager that is used like a function
    """A progress bar by bytes, where somebody watches; what it gives is told how many more were read."""

    def __init__(self, files: list[Path], *, show: bool) -> None:
        self._total = None if _STDIN in files else sum(p.stat().st_size for p in files if p.suffix != ".gz") or None
        self._console = console(err=True)
        self._progress: Any = None
        self._show = show and self._console.is_terminal

    def __enter__(self) -> Callable[[int], None]:
        if not self._show:
            return lambda _: None
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("sending"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=self._console
        )
        self._progress.start()
        task = self._progress.add_task("", total=self._total)
        return lambda more: self._progress.update(task, advance=more)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
