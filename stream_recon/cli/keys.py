"""`keys`: make the keys that commands are signed with, and sign one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from stream_recon.cli.options import (
    ConfigFile,
    Environment,
    Failure,
    Format,
    Output,
    Quiet,
    load_configuration,
    say,
)

keys = typer.Typer(help="Sign commands: make a key, sign a command with it.", no_args_is_help=True)

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}").fullmatch


@keys.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The key's id, and the beginning of its file's name.")],
    issuer: Annotated[str | None, typer.Option(help="Whose commands it signs (issued_by). Default: NAME.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="What may be asked with it; may be repeated.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to write NAME.pem, the private half.")] = Path(),
    config: ConfigFile = None,
    environment: Environment = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Make an Ed25519 key: a private file that only you can read, and the public half for the configuration.

    Roles are viewer, operator (the default), controller, admin, and those that the configuration adds.
    """
    from stream_recon.cli.answer import print_json
    from stream_recon.shell import signing

    if not _NAME(name):
        raise Failure(
            f"{name!r} cannot be the name of a key: 1 to 100 of a-z A-Z 0-9 _ - . and no dot at the beginning"
        )
    whose, roles = issuer or name, role or ["operator"]
    _check_roles(roles, config, environment)
    path = folder / f"{name}.pem"
    try:
        key = signing.write_new(path)
    except FileExistsError as error:
        raise Failure(f"{path} is there already, and a key is never written over; choose another name") from error
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}; give a --folder that can be written to") from error
    public = signing.public_text(key)
    if output is Format.json:
        print_json({"key_id": name, "issuer": whose, "roles": roles, "public_key": public, "private_file": str(path)})
        return
    typer.echo(_snippet(name, whose, roles, public))
    say(
        f"Put that into the configuration file of the workers (YAML). The private half is {path}; keep it secret.",
        quiet=quiet,
    )


def _check_roles(roles: list[str], config: Path | None, environment: str | None) -> None:
    """See that there are these roles, among those that there always are and those that the configuration adds.

    Raises:
        Failure: there is none of that name.
    """
    from stream_recon.domain.control_policy import ROLES

    if ROLES.keys() >= set(roles):
        return
    known = [*ROLES, *load_configuration(config, environment).sections.security.roles]
    for role in roles:
        if role not in known:
            raise Failure(
                f"there is no role {role!r}; there are {', '.join(known)}; those of your own are in the configuration"
                " that --config names"
            )


def _snippet(name: str, issuer: str, roles: list[str], public: str) -> str:
    """The key as the configuration holds it, in YAML."""
    import yaml

    fields = {"issuer": issuer, "roles": roles, "public_key": public}
    told = {"security": {"keys": {name: fields}}}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=None).rstrip()


@keys.command("sign")
def sign(
    key: Annotated[Path, typer.Option("--key", "-k", help="The file of the private key.")],
    key_id: Annotated[str | None, typer.Option(help="Its id in the configuration. Default: the file's name.")] = None,
) -> None:
    """Sign the command on standard input, one JSON object, and write it in one line to standard output."""
    import sys

    from stream_recon.domain.control import RefusedCommand, canonical_json, read_command
    from stream_recon.shell import signing

    try:
        signer = signing.load_private_key(key)
    except signing.KeyUnusable as error:
        raise Failure(str(error)) from error
    command = read_command(sys.stdin.buffer.read())
    if isinstance(command, RefusedCommand):
        raise Failure(f"that is no command ({command.reason}): {command.detail}")
    signed = signing.sign_command(command, signer._replace(key_id=key_id or signer.key_id))
    sys.stdout.buffer.write(canonical_json(signed) + b"\n")
