"""The command line. Exit codes: 0 agrees, 1 breaks found or not known, 2 usage, 3 infrastructure.

Every command imports what it needs when it runs, so that the small ones start at once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from stream_recon import __version__
from stream_recon.cli import audit, bench, compare, config, demo, doctor, keys, live, read, runs, send, setup
from stream_recon.cli.options import DEBUG, Failure

app = typer.Typer(
    name="stream-recon",
    help="Reconcile a trading firm's own books with what the exchange says, as events flow through Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 both sides agree, 1 breaks found or something cannot be known, 2 usage, 3 infrastructure.",
)
app.command()(demo.demo)
app.command()(live.up)
app.command()(live.worker)
app.command()(send.publish)
app.command()(compare.reconcile)
app.command("tail")(read.tail)
app.command("breaks")(read.breaks)
app.command("break")(read.break_)
app.command()(read.explain)
app.command()(runs.trigger)
app.command("runs")(runs.runs)
app.command("run")(runs.run)
app.command()(runs.verify)
app.command()(runs.ack)
app.command()(runs.resolve)
app.command()(runs.reopen)
app.command("comment")(runs.leave)
app.command()(runs.cancel)
app.command()(runs.undo)
app.add_typer(config.config, name="config")
app.add_typer(setup.topics, name="topics")
app.add_typer(setup.schema, name="schema")
app.add_typer(keys.keys, name="keys")
app.command()(doctor.doctor)
app.add_typer(audit.audit, name="audit")
app.add_typer(bench.bench, name="bench")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", envvar=DEBUG, help="Show tracebacks and library logs.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if debug:
        os.environ[DEBUG] = "1"


def run() -> None:
    """Run the command in sys.argv; errors become one message and an exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has us ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # what was started is to stop too
    try:
        app()
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        failure = _explained(error)
        typer.secho(f"stream-recon: {failure}", err=True, fg="red")
        sys.exit(failure.code)


def _explained(error: Exception) -> Failure:
    """What an error means to whoever typed the command."""
    if isinstance(error, Failure):
        return error
    if "aiokafka" in sys.modules:
        from aiokafka.errors import KafkaError

        if isinstance(error, KafkaError):
            said = str(error).removeprefix(f"[Error {getattr(error, 'errno', '')}] ")
            return Failure(f"{said}. `stream-recon doctor` says what is wrong and how to mend it.", code=3)
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        sys.exit(0)
    if isinstance(error, OSError) and error.filename:
        return Failure(f"{error.filename}: {error.strerror}", code=2)
    return Failure(
        f"{type(error).__name__}: {error}. This is a defect; `stream-recon --debug COMMAND` shows where it comes from.",
        code=3,
    )


if __name__ == "__main__":
    run()
