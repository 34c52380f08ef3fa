"""`topics` and `schema`: what has to be there."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import Annotated

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    PARTITIONS,
    PREFIX,
    Bootstrap,
    Failure,
    Format,
    Output,
    Partitions,
    Prefix,
    Quiet,
    console,
    plan_of,
    say,
    wait_for,
)

topics = typer.Typer(help="The topics: show what they should be, make them, check them.", no_args_is_help=True)
schema = typer.Typer(help="The schemas of what is read and written.", no_args_is_help=True)


@topics.command("plan")
def plan(
    prefix: Prefix = PREFIX,
    partitions: Partitions = PARTITIONS,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show all topics as they are to be; no broker is asked."""
    planned = plan_of(prefix, partitions).topics()
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json(
            [
                {"name": t.name, "partitions": t.partitions, "key": t.shape.key, "config": t.config,
                 "written_by": t.shape.written_by}
                for t in planned
            ]
        )  # fmt: skip
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("topic", "partitions", "key", "cleanup", "kept", "written by"):
        table.add_column(column, justify="right" if column == "partitions" else "left", no_wrap=column == "topic")
    for t in planned:
        kept = "for ever" if t.shape.retention_ms < 0 else f"{t.shape.retention_ms // 86_400_000} days"
        table.add_row(t.name, str(t.partitions), t.shape.key, t.shape.cleanup, kept, t.shape.written_by)
    console().print(table)
    say("`stream-recon topics create` makes those that are missing.", quiet=quiet)


@topics.command("create")
def create(
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    partitions: Partitions = PARTITIONS,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Make the topics that are missing; those that are there are left as they are."""
    from stream_recon.shell import topics as shell

    planned = plan_of(prefix, partitions)
    try:
        made = wait_for(shell.create(bootstrap, planned))
    except shell.TopicsError as error:
        raise Failure(str(error), code=3) from error
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({"made": made})
    else:
        for name in made:
            typer.echo(name)
        say(f"{len(made)} topics made, {len(planned.topics()) - len(made)} were there.", quiet=quiet)


@topics.command("verify")
def verify(
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    partitions: Partitions = PARTITIONS,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Check that all topics are as they are to be. Exit code 3: a worker would refuse to run with them."""
    from stream_recon.shell import topics as shell

    findings = wait_for(shell.verify(bootstrap, plan_of(prefix, partitions)))
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({"findings": findings})
    else:
        for finding in findings:
            typer.echo(f"{finding.topic}: {finding.problem}\n  to mend it: {finding.mend}")
        if not findings:
            say("All topics are as they should be.", quiet=quiet)
    if any(finding.fatal for finding in findings):
        raise typer.Exit(3)


@schema.command("export")
def export(
    folder: Annotated[Path | None, typer.Argument(help="Where to write the files; without it their names.")] = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Write the JSON Schemas of all records, and an AsyncAPI document of all topics."""
    from stream_recon.domain.schemas import schema_files

    files = schema_files()
    if folder is not None:
        try:
            for name, text in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}; give a folder that can be written to") from error
    if output is Format.json:
        import json

        from stream_recon.cli.answer import print_json

        print_json({name: json.loads(text) if folder is None else str(folder / name) for name, text in files.items()})
    elif folder is None:
        for name in files:
            typer.echo(name)
    else:
        say(f"{len(files)} files written to {folder}.", quiet=quiet)
