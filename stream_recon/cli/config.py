"""`config`: what holds and where it comes from, whether a file is right, what another would change, and changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from stream_recon.cli.giving import Giving, complete, give
from stream_recon.cli.options import (
    BOOTSTRAP,
    PREFIX,
    Bootstrap,
    ConfigFile,
    Environment,
    Failure,
    Format,
    Output,
    Prefix,
    Quiet,
    console,
    listed,
    load_configuration,
    say,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.shell.configuration import Configuration, Row

config = typer.Typer(
    help="The configuration: what holds and why, whether a file is right, changes.", no_args_is_help=True
)
_NOTHING = "not set"


class Difference(NamedTuple):
    """One value that two configurations have otherwise."""

    key: str
    now: object
    then: object
    now_from: str | None
    then_from: str | None


class Change(NamedTuple):
    """One value that was set while workers run; or that their file was changed, which has no key."""

    version: int
    at_us: int
    by: str | None
    key: str | None
    value: object
    holds: bool | None
    """Whether nothing set it otherwise since; of a file it is not known here."""


@config.command("show")
def show(
    file: ConfigFile = None,
    environment: Environment = None,
    type_name: Annotated[
        str | None, typer.Option("--type", help="Only what a run of this type has, such as full.")
    ] = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show every value and where it comes from: what a worker that is started here and now would have.

    What was set while workers run (`config set`) is theirs, and shown by `config changes`.
    """
    configuration = load_configuration(file, environment)
    if type_name is not None:
        _check_type(type_name)
    rows = configuration.rows(type_name)
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({
            "environment": environment, "digest": configuration.digest, "values": [row._asdict() for row in rows],
        })  # fmt: skip
    else:
        _print_rows(rows)
    _say_doubts(configuration, quiet=quiet)


@config.command("validate")
def validate(
    file: Annotated[Path, typer.Argument(help="A configuration: a YAML, TOML or JSON file.")],
    environment: Environment = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Check a file by itself, in each of its environments, without using it. Exit code 2: it is not as it must be."""
    from stream_recon.domain.layers import ConfigurationError
    from stream_recon.shell.config_sources import environments_of
    from stream_recon.shell.configuration import load

    problems: Sequence[str] = ()
    environments: list[str] = []
    try:
        configuration = load(file, environment, {})
        environments = environments_of(file)
    except ConfigurationError as error:
        problems = error.problems
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({"valid": not problems, "problems": problems, "environments": environments})
    if problems:
        raise listed(f"{file} is not as it must be", problems)
    _say_doubts(configuration, quiet=quiet)
    in_each = f" in each environment ({', '.join(environments)})" if environments else ""
    say(f"{file} is as it should be{in_each}.", quiet=quiet)


@config.command("diff")
def diff(
    other: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Another file; without it the same one in --against.")
    ] = None,
    file: ConfigFile = None,
    environment: Environment = None,
    against: Annotated[str | None, typer.Option(help="The environment on the other side, if another one.")] = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show which values another file, or another environment, would have otherwise. Exit code 1: there are some."""
    if other is None and against is None:
        raise Failure("give a FILE to compare with, or two environments: --environment a --against b")
    now = load_configuration(file, environment)
    then = load_configuration(other or file, against if against is not None else environment)
    found = _differences(now, then)
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json([difference._asdict() for difference in found])
    elif found:
        _print_differences(found)
    if not found:
        say("They come to the same.", quiet=quiet)
        return
    raise typer.Exit(1)


@config.command("set")
@spread
def set_(
    values: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="Such as reconciliation.batch_size=500; =null takes it back."),
    ],
    file: ConfigFile = None,
    environment: Environment = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the result.")] = 30,
    giving: Giving = Giving(),
) -> None:
    """Set values while workers run, by a command on the control topic; they hold for all of them, from there on.

    They are checked here first, beside the configuration that --config and --environment name. A value that begins as
    JSON does ({ or [) is read as that.
    """
    from stream_recon.domain.layers import ConfigurationError

    given = _given(values)
    try:
        load_configuration(file, environment).changed(given)
    except ConfigurationError as error:
        raise listed("nothing was sent", error.problems) from error
    command = complete({"command": "set_config", "values": given}, giving)
    result = give(command, giving, timeout)
    if giving.output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({"command": command, "result": result})
    if result is None:
        say(f"Sent as command {command.command_id}.", quiet=giving.quiet)
    elif result.status != "completed":
        raise listed("it was refused, and what held before still does", result.errors or ["no reason was given"], 3)
    else:
        say(f"It holds as version {result.config_version}.", quiet=giving.quiet)


@config.command("changes")
def changes(
    bootstrap: Bootstrap = BOOTSTRAP, prefix: Prefix = PREFIX, output: Output = Format.table, quiet: Quiet = False
) -> None:
    """List what was set while workers run, the newest first: which values, by whom, and what of it still holds."""
    from stream_recon.cli.runs import results_of

    found = changes_in(list(results_of(bootstrap, prefix).values()))
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json([change._asdict() for change in found])
    elif found:
        _print_changes(found)
    if not found:
        say("Nothing was set while workers run: what `config show` shows holds.", quiet=quiet)


def changes_in(results: list[ReconciliationResult]) -> list[Change]:
    """What some results say was set, the newest first."""
    found: list[Change] = []
    set_since: set[str] = set()
    made = [each for each in results if each.type in {"set_config", "config_file"} and each.status == "completed"]
    for each in sorted(made, key=lambda one: -one.config_version):
        values = each.plan["values"] if each.plan is not None else {}
        told = each.config_version, each.start_time_us, each.issued_by
        if each.type == "config_file":
            found.append(Change(*told, None, None, None))
        found += [Change(*told, key, values[key], key not in set_since) for key in sorted(values)]
        set_since |= values.keys()
    return found


@config.command("reference")
def reference(output: Output = Format.table, quiet: Quiet = False) -> None:
    """Print every key there is: its default, what is allowed, what it does. As Markdown, or JSON."""
    from stream_recon.cli.answer import print_json
    from stream_recon.domain.reference import entries, table

    if output is Format.json:
        print_json([entry._asdict() for entry in entries()])
    else:
        typer.echo(table(), nl=False)
    say(
        "docs/configuration.md has this table, and which of several values holds.", quiet=quiet or output is Format.json
    )


def _given(said: list[str]) -> dict[str, object]:
    """Values by key, as they were written."""
    found: dict[str, object] = {}
    for one in said:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise Failure(f"{one!r} is not KEY=VALUE, such as reconciliation.batch_size=500")
        if key in found:
            raise Failure(f"{key} is given twice")
        found[key] = None if value == "null" else _json(key, value) if value[:1] in {"[", "{"} else value
    return found


def _json(key: str, value: str) -> object:
    try:
        return json.loads(value)
    except ValueError as error:
        raise Failure(f"{key}: begins as JSON does, but is none: {error}") from error


def _check_type(name: str) -> None:
    from stream_recon.strategies.registry import registry

    try:
        registry().of(name)
    except ValueError as error:
        raise Failure(f"--type: {error}") from error


def _say_doubts(configuration: Configuration, *, quiet: bool) -> None:
    from stream_recon.shell.configuration import doubts

    for doubt in doubts(configuration.sections):
        say(f"Note: {doubt}{'' if doubt.endswith('?') else '.'}", quiet=quiet)


def _differences(now: Configuration, then: Configuration) -> list[Difference]:
    """The values that they have otherwise, in the order of the sections."""
    ours, theirs = ({row.key: row for row in of.rows()} for of in (now, then))
    found = []
    for key in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(key), theirs.get(key)
        value, value_then = (row.value if row is not None else None for row in (one, other))
        if value != value_then:
            source, source_then = (row.source if row is not None else None for row in (one, other))
            found.append(Difference(key, value, value_then, source, source_then))
    return found


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    return table


def _print_rows(rows: list[Row]) -> None:
    table = _table("key", "value", "where from")
    for row in rows:
        style = "dim" if row.source == "default" else None
        table.add_row(row.key, _text(row.value), row.source, style=style)
    console().print(table)


def _print_differences(found: list[Difference]) -> None:
    table = _table("key", "now", "then", "where from")
    for one in found:
        table.add_row(one.key, _text(one.now), _text(one.then), f"{one.now_from or '-'} | {one.then_from or '-'}")
    console().print(table)


def _print_changes(found: list[Change]) -> None:
    table = _table("version", "when (UTC)", "by", "key", "value", "")
    for one in found:
        when = datetime.fromtimestamp(one.at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if one.key is None:
            table.add_row(str(one.version), when, "-", "(the workers' file)", "changed", "")
            continue
        state = "holds" if one.holds else "replaced"
        value = "taken back" if one.value is None else _text(one.value)
        table.add_row(str(one.version), when, one.by or "-", one.key, value, state, style=None if one.holds else "dim")
    console().print(table)


def _text(value: object) -> str:
    """A value as it would be written."""
    if value is None:
        return _NOTHING
    return value if isinstance(value, str) else json.dumps(value)
