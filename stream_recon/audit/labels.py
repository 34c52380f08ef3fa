"""What a kept record is, and by which ids it is found: read from its JSON alone, so that anybody can check it.

Labels are for look-up. What they cannot be read from is kept all the same, as `unknown`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from stream_recon.audit.chain import Entry

Kind = Literal["result", "discrepancy", "feed_condition", "command", "config", "correction", "empty", "unknown", "gap"]
_LONGEST = 200
"""Characters of an id: longer ones are of no use in an index."""


class Labels(NamedTuple):
    """What an entry is found by."""

    kind: Kind
    subject: str | None = None
    """Its own id: that of the run, the alert, the command or the correction."""
    run_id: str | None = None
    alert_id: str | None = None
    command_id: str | None = None


class _Peek(Struct):
    """The fields that tell records apart, of whatever type they are."""

    record: object = None
    type: object = None
    command: object = None
    reconciliation_id: object = None
    correction_id: object = None
    run_id: object = None
    alert_id: object = None
    command_id: object = None


_peek = msgspec.json.Decoder(_Peek).decode
_RECORDS: dict[object, Kind] = {"discrepancy": "discrepancy", "feed_condition": "feed_condition"}


def labels_of(entry: Entry) -> Labels:
    """The labels of an entry."""
    if entry.form == "gap":
        return Labels("gap")
    if not entry.value:
        return Labels("empty")
    try:
        peek = _peek(entry.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Labels("unknown")
    run_id, alert_id, command_id = _id(peek.run_id), _id(peek.alert_id), _id(peek.command_id)
    kind, subject = _kind(peek, alert_id, command_id)
    if kind == "result":
        run_id = subject
    return Labels(kind, subject, run_id, alert_id, command_id)


def _kind(peek: _Peek, alert_id: str | None, command_id: str | None) -> tuple[Kind, str | None]:
    if isinstance(peek.record, str) and peek.record in _RECORDS:
        return _RECORDS[peek.record], alert_id
    if peek.reconciliation_id is not None:
        return "result", _id(peek.reconciliation_id)
    if peek.correction_id is not None:
        return "correction", _id(peek.correction_id)
    if peek.command is not None or peek.type == "alert_command":
        return ("config" if peek.command == "set_config" else "command"), command_id
    return "unknown", None


def _id(said: object) -> str | None:
    """An id that any database can hold in an index; None: it is none."""
    return said if isinstance(said, str) and len(said) <= _LONGEST and said.isascii() and said.isprintable() else None
