"""Giving commands on the control topic: the options of all that do, and how one is completed and signed."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from uuid import uuid4

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    PREFIX,
    Bootstrap,
    Failure,
    Format,
    Output,
    Prefix,
    Quiet,
    plan_of,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.control import Command
    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.domain.work import Partial, Progress


class Giving(NamedTuple):
    """Who gives a command, where, and how it is answered."""

    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the result.")] = True
    key: Annotated[
        Path | None, typer.Option("--key", envvar="STREAM_RECON_KEY", help="The private key to sign the command with.")
    ] = None
    by: Annotated[str, typer.Option("--by", envvar=["STREAM_RECON_USER", "USER"], help="Who asks.")] = "operator"
    bootstrap: Bootstrap = BOOTSTRAP
    prefix: Prefix = PREFIX
    output: Output = Format.table
    quiet: Quiet = False


def complete(fields: dict[str, Any], giving: Giving) -> Command:
    """The command of those fields, as it is given: with an id, a time, and a signature if there is a key.

    Raises:
        Failure: it would be refused, or the key is none.
    """
    import msgspec

    from stream_recon.domain.control import RefusedCommand, read_command
    from stream_recon.shell.signing import KeyUnusable, load_private_key, sign_command

    whole = {name: value for name, value in fields.items() if value is not None}
    whole |= {"command_id": uuid4().hex, "issued_by": giving.by, "issued_us": time.time_ns() // 1000}
    command = read_command(msgspec.json.encode(whole))
    if isinstance(command, RefusedCommand):
        raise Failure(command.detail)
    if giving.key is None:
        return command
    try:
        return sign_command(command, load_private_key(giving.key))
    except KeyUnusable as error:
        raise Failure(f"--key: {error}") from error


def give(
    command: Command, giving: Giving, patience_s: float, *, partitions: int = 1,
    tell: Callable[[Progress | Partial], None] | None = None,
) -> ReconciliationResult | None:  # fmt: skip
    """Send a command, and give its result; None if nobody waits for it. `partitions`: of whose progress is told.

    Raises:
        Failure: nobody answered.
    """
    from stream_recon.shell.commanding import NoAnswerError, send

    plan = plan_of(giving.prefix, partitions)
    try:
        return wait_for(
            send(giving.bootstrap, plan, command, patience_s=patience_s if giving.wait else None, tell=tell)
        )
    except NoAnswerError as error:
        raise Failure(str(error), code=3) from error
