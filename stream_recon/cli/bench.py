"""`bench`: how fast it is, beside the plainest program for the same job."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stream_recon.cli.options import Failure, Format, Output, Quiet

bench = typer.Typer(help="Measure, beside the plainest program that does the same.", no_args_is_help=True)
_PROGRAMS = Path(__file__).parents[2] / "bench"


class Host(StrEnum):
    """What a worker runs on."""

    faust = "faust"
    plain = "plain"


@bench.command("match")
def match(
    fills: Annotated[int, typer.Option(min=1000, help="Fills on each side.")] = 400_000,
    runs: Annotated[int, typer.Option(min=1, help="How often each program runs; the median counts.")] = 5,
    seed: Annotated[int, typer.Option(help="Which fills are faulty.")] = 1,
    host: Annotated[Host, typer.Option(help="What our worker runs on.")] = Host.faust,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Match two fill feeds: our worker, durable state included, and aiokafka with msgspec and a dict, in turn.

    Prints CPU microseconds per event, the ratio, and whether all alerts were as they must be. Linux, source checkout.
    """
    program = _PROGRAMS / "match.py"
    if not program.exists():
        raise Failure(f"{program} is not there: the benchmark and its peers come with the source, not with the package")
    command = [sys.executable, str(program), "--fills", str(fills), "--runs", str(runs), "--seed", str(seed)]
    command += ["--host", host.value, "--output", output.value]
    done = subprocess.run(command, check=False, stderr=subprocess.DEVNULL if quiet else None)  # noqa: S603 - our own
    raise typer.Exit(done.returncode)


@bench.command("runs")
def runs(
    fills: Annotated[int, typer.Option(min=1000, help="Fills on each side of the first step on Kafka.")] = 100_000,
    file_fills: Annotated[int, typer.Option(min=1000, help="Fills on each side of the files.")] = 1_000_000,
    accounts: Annotated[int, typer.Option(min=1, help="Accounts on Kafka.")] = 10_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions on Kafka.")] = 64,
) -> None:
    """Measure runs: a full run over files beside DuckDB's bare join; on Kafka emergencies, full and incremental runs.

    Also what a full run does to the stream's detection latency. Linux, source checkout.
    """
    for words in (
        ["full_files.py", "--fills", file_fills],
        ["runs.py", "--fills", fills, "--accounts", accounts, "--partitions", partitions],
    ):
        program = _PROGRAMS / str(words[0])
        if not program.exists():
            raise Failure(f"{program} is not there: the benchmarks come with the source, not with the package")
        command = [sys.executable, str(program), *map(str, words[1:])]
        done = subprocess.run(command, check=False)  # noqa: S603 - our own
        if done.returncode:
            raise typer.Exit(done.returncode)
