"""From the bytes of a record of recon.control.v1 to a command, or to why it is none. It never raises.

Stricter than the reading of events: a field that is not known is refused, for a typo in a command must not be ignored.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

from stream_recon.domain import checks
from stream_recon.domain.control_commands import (
    COMMANDS,
    MAX_TEXT_BYTES,
    Accounts,
    Assignee,
    Base64,
    Command,
    Parameters,
    Reconcile,
    RefusedCommand,
    Settings,
    Text,
)
from stream_recon.domain.control_params import UnknownField, check_parameters
from stream_recon.domain.events import Identifier, Sequence, TimeUs
from stream_recon.domain.nearest import instead
from stream_recon.domain.strict_json import Integer, Real, Refusal, object_of, shown, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.control_commands import RefusalReason
    from stream_recon.domain.strict_json import Reason

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]").search
_BASE64 = re.compile("[A-Za-z0-9+/]{86}==").fullmatch
_NUMBER = re.compile(r"-?[0-9]{1,38}(?:\.[0-9]{1,38})?").fullmatch

# What is not here is a bad value.
_REASONS: dict[Reason, RefusalReason] = {
    "too_large": "oversized",
    **dict.fromkeys(
        ("empty", "schema_registry", "bad_encoding", "not_json", "too_deep", "duplicate_field", "not_an_object"),
        "malformed",
    ),
    "unknown_type": "unknown_command",
    "missing_field": "incomplete",
}


class _Field(NamedTuple):
    name: str
    required: bool
    read: Callable[[str, object], object]
    """(name, JSON value) -> what the struct holds."""


def read_command(value: bytes | None, key: bytes | None = None) -> Command | RefusedCommand:
    """The command that a record holds, or why it holds none; whether it may take effect is `screen`'s to say.

    The key is the command's id, or nothing.
    """
    found: dict[str, object] = {}
    try:
        found = object_of(text_of(value))
        command = _command(found)
        _check_key(command.command_id, key)
    except UnknownField as refusal:
        return _refused("unknown_field", refusal.detail, found, key)
    except Refusal as refusal:
        reason = _REASONS.get(refusal.reason, "bad_value")
        hint = "; a command is one JSON object, docs/control.md shows each" if reason == "malformed" else ""
        return _refused(reason, refusal.detail + hint, found, key)
    return command


def _refused(reason: RefusalReason, detail: str, found: dict[str, object], key: bytes | None) -> RefusedCommand:
    name = found.get("command")
    return RefusedCommand(
        command_id=_identifier_in(found.get("command_id")) or _identifier_in((key or b"").decode(errors="replace")),
        reason=reason,
        detail=detail,
        command=name if isinstance(name, str) and name in COMMANDS else None,
        issued_by=_identifier_in(found.get("issued_by")),
    )


def _identifier_in(value: object) -> str | None:
    try:
        return checks.identifier("", value)
    except Refusal:
        return None


def _command(found: dict[str, object]) -> Command:
    name = found.get("command")
    kind = COMMANDS.get(name) if type(name) is str else None
    if kind is None:
        if name is None:
            raise Refusal("missing_field", f"command is missing; it is one of {', '.join(COMMANDS)}")
        raise Refusal("unknown_type", f"there is no command {shown(name)}{instead(str(name), COMMANDS)}")
    fields = _FIELDS[kind]
    for other in found:
        if other != "command" and other not in fields:
            raise UnknownField(f"{name} has no field {shown(other)}{instead(other, fields)}")
    read: dict[str, Any] = {}
    for field in fields.values():
        given = found.get(field.name)
        if given is not None:
            read[field.name] = field.read(field.name, given)
        elif field.required:
            needed = ", ".join(each.name for each in fields.values() if each.required)
            raise Refusal("missing_field", f"{field.name} is missing; {name} needs {needed}")
    command = kind(**read)
    _check_together(command)
    return command


def _check_together(command: Command) -> None:
    """What must hold between fields."""
    if command.expires_us is not None and command.expires_us <= command.issued_us:
        raise Refusal("bad_value", "expires_us is not after issued_us: it could never take effect")
    for one, other in (("key_id", "signature"), ("signature", "key_id")):
        if getattr(command, one) is not None and getattr(command, other) is None:
            raise Refusal("missing_field", f"{one} is there, but {other} is missing; give both, or none")
    if not isinstance(command, Reconcile):
        return
    if command.cut_us is not None and command.cut_us > command.issued_us:
        raise Refusal("bad_value", "cut_us is after issued_us: what is to come cannot be looked at; leave it out")
    if command.type is not None and command.params is not None:
        said = command.params.get("reconciliation_type", command.type)
        if said != command.type:
            raise Refusal(
                "bad_value",
                f"type is {shown(command.type)}, but params.reconciliation_type {shown(said)}; leave one of them out",
            )


def _check_key(command_id: str, key: bytes | None) -> None:
    if key and key != command_id.encode():
        raise Refusal("key_mismatch", f"the record's key must be the command_id {shown(command_id)}, not {shown(key)}")


# -- what a field may hold --------------------------------------------------------------------------------------------


def _bounded(name: str, value: object, most: int) -> str:
    if type(value) is not str:
        raise Refusal("wrong_type", f"{name} must be a string, not {shown(value)}")
    if len(value.encode()) > most:
        raise Refusal("bad_value", f"{name} has {len(value.encode())} bytes; at most {most}")
    return value


def _free_text(name: str, value: object) -> str:
    text = _bounded(name, value, MAX_TEXT_BYTES)
    if _CONTROL(text):
        raise Refusal("bad_value", f"{name} holds a control character other than tab and line feed: {shown(text)}")
    return text


def _assignee(name: str, value: object) -> str:
    return "" if value == "" else checks.identifier(name, value)


def _base64(name: str, value: object) -> str:
    if type(value) is not str or not _BASE64(value):
        raise Refusal("bad_value", f"{name} must be the base64 of an Ed25519 signature's 64 bytes, not {shown(value)}")
    return value


def _accounts(name: str, value: object) -> list[str]:
    if not isinstance(value, list):
        raise Refusal("wrong_type", f"{name} must be a list of accounts, or left out for all, not {shown(value)}")
    if not value:
        raise Refusal(
            "bad_value", f"{name} is empty: that would look at nothing; name accounts, or leave it out for all"
        )
    accounts = [_account(f"{name}[{i}]", each) for i, each in enumerate(value)]
    if len(set(accounts)) < len(accounts):
        twice = next(each for each in accounts if accounts.count(each) > 1)
        raise Refusal("bad_value", f"{name} names {shown(twice)} more than once")
    return accounts


def _account(name: str, value: object) -> str:
    if type(value) is not str:
        raise Refusal("wrong_type", f"{name} must be a string, not {shown(value)}")
    venue, divider, account_id = value.partition("|")
    if not divider:
        raise Refusal("bad_value", f"{name} must be venue|account_id, such as binance|desk-1, not {shown(value)}")
    return f"{checks.venue(name, venue)}|{checks.identifier(name, account_id)}"


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal("wrong_type", f"{name} must be an object, not {shown(value)}")
    if not value:
        raise Refusal("bad_value", f"{name} is empty; say something in it, or leave it out")
    plain: dict[str, Any] = _plain(name, value)
    return plain


def _parameters(name: str, value: object) -> dict[str, Any]:
    params = _object(name, value)
    check_parameters(name, params)
    return params


def _settings(name: str, value: object) -> dict[str, Any]:
    settings = _object(name, value)
    for key in settings:
        checks.identifier(f"a key of {name}", key)
    return settings


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """A JSON value with its numbers as int or Decimal, by just the digits they were written with."""
    if isinstance(value, dict):
        return {key: _plain(f"{name}.{shown(key)[1:-1]}", each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(f"{name}[{i}]", each) for i, each in enumerate(value)]
    if not isinstance(value, Integer | Real):
        return value
    if not _NUMBER(value):
        raise Refusal("bad_value", f"{name} must be written without exponent, in at most 38 digits: {shown(value)}")
    return int(value) if isinstance(value, Integer) and value != "-0" else Decimal(value)


_CHECKS: tuple[tuple[Any, Callable[[str, object], object]], ...] = (
    (Identifier, checks.identifier),
    (TimeUs, checks.time_us),
    (Sequence, checks.integer),
    (Text, _free_text),
    (Assignee, _assignee),
    (Base64, _base64),
    (Accounts, _accounts),
    (Parameters, _parameters),
    (Settings, _settings),
)


def _field(name: str, hint: Any) -> _Field:  # noqa: ANN401 - an annotation may be anything
    read = next(check for meaning, check in _CHECKS if hint in (meaning, meaning | None))
    return _Field(name, type(None) not in get_args(hint), read)


_FIELDS: dict[type[Command], dict[str, _Field]] = {
    kind: {name: _field(name, hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    for kind in COMMANDS.values()
}
"""The fields of each command, in order."""
