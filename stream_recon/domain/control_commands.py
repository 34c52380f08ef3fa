"""The commands of recon.control.v1: one tagged union on `command`, one JSON object per record.

The structs say what is true of a *valid* command; `domain.control_reading` is the only way from bytes to one of them,
and `domain.control_policy` says whether it may take effect.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from stream_recon.domain.commands import AlertCommand
from stream_recon.domain.events import Identifier, Sequence, TimeUs

CommandName = Literal[
    "reconcile", "cancel", "set_config", "acknowledge", "resolve", "reopen", "comment", "assign", "suppress", "undo",
    "dismiss",
]  # fmt: skip

MAX_TEXT_BYTES = 4096
SIGNATURE_CHARACTERS = 88  # of the base64 of 64 bytes

Text = Annotated[
    str,
    Meta(
        max_length=MAX_TEXT_BYTES,
        extra_json_schema={"pattern": r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"},
        description=f"up to {MAX_TEXT_BYTES} bytes, of control characters only tab and line feed; empty: none any more",
    ),
]
Assignee = Annotated[
    str,
    Meta(
        max_length=128,
        extra_json_schema={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"},
        description="up to 128 bytes, no control characters; empty: nobody any more",
    ),
]
AccountName = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=257,
        extra_json_schema={"pattern": r"^[^|\u0000-\u001f\u007f-\u009f]+\|[^\u0000-\u001f\u007f-\u009f]+$"},
        description="venue|account_id",
    ),
]
Accounts = Annotated[
    list[AccountName],
    Meta(min_length=1, extra_json_schema={"uniqueItems": True}, description="each once; left out or null: all"),
]
Parameters = Annotated[
    dict[str, Any],
    Meta(min_length=1, description="fields of the reconciliation's configuration, for this run alone"),
]
Settings = Annotated[
    dict[str, Any],
    Meta(
        min_length=1,
        extra_json_schema={"propertyNames": {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]{1,128}$"}},
        description="by dotted key; numbers are kept as they are written",
    ),
]
Base64 = Annotated[
    str,
    Meta(
        min_length=SIGNATURE_CHARACTERS,
        max_length=SIGNATURE_CHARACTERS,
        extra_json_schema={"pattern": r"^[A-Za-z0-9+/]{86}==$"},
        description="an Ed25519 signature in base64",
    ),
]


class Issued(Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="command"):
    """What every command carries."""

    command_id: Identifier
    """A command takes effect once under its id; also the record's key."""
    issued_by: Identifier
    issued_us: TimeUs
    expires_us: TimeUs | None = None
    """From that time on (Kafka's, of the record) it has no effect any more."""
    key_id: Identifier | None = None
    """Whose key it is signed with."""
    signature: Base64 | None = None


class Reconcile(Issued, kw_only=True, frozen=True, tag="reconcile"):
    """Make a run."""

    type: Identifier | None = None
    """Of which type; left out or null: the configured default."""
    accounts: Accounts | None = None
    cut_us: TimeUs | None = None
    """Up to which time it looks; left out: Kafka's of the command."""
    params: Parameters | None = None


class Cancel(Issued, kw_only=True, frozen=True, tag="cancel"):
    """Stop a run that nobody wants any more."""

    run_id: Identifier


class SetConfig(Issued, kw_only=True, frozen=True, tag="set_config"):
    """Change the configuration from here on."""

    values: Settings


class AboutAlert(Issued, kw_only=True, frozen=True):
    """What is common to all that people do about an alert: any of it may bring the other fields along."""

    alert_id: Identifier
    comment: Text | None = None
    assignee: Assignee | None = None
    until_us: TimeUs | None = None
    """Until then (Kafka's time) nobody is notified; a time that has passed ends that."""


class Acknowledge(AboutAlert, kw_only=True, frozen=True, tag="acknowledge"):
    """Somebody looks into it."""


class Resolve(AboutAlert, kw_only=True, frozen=True, tag="resolve"):
    """It is settled; it stays so until its substance changes."""


class Reopen(AboutAlert, kw_only=True, frozen=True, tag="reopen"):
    """It is not settled after all."""


class Comment(AboutAlert, kw_only=True, frozen=True, tag="comment"):
    """Say something about it."""

    comment: Text


class Assign(AboutAlert, kw_only=True, frozen=True, tag="assign"):
    """Make it somebody's."""

    assignee: Assignee


class Suppress(AboutAlert, kw_only=True, frozen=True, tag="suppress"):
    """Notify nobody of it until a time."""

    until_us: TimeUs


class Undo(Issued, kw_only=True, frozen=True, tag="undo"):
    """Take a correction back."""

    correction_id: Identifier


class Dismiss(Issued, kw_only=True, frozen=True, tag="dismiss"):
    """A record that could not be read needs nobody any more."""

    topic: Identifier
    partition: Sequence
    offset: Sequence


AlertAction = Acknowledge | Resolve | Reopen | Comment | Assign | Suppress
Command = Reconcile | Cancel | SetConfig | AlertAction | Undo | Dismiss
COMMANDS: dict[str, type[Command]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Command)}
"""By name."""

RefusalReason = Literal[
    "malformed", "oversized", "unknown_command", "unknown_field", "incomplete", "bad_value",
    "unsigned", "unknown_key", "bad_signature", "wrong_issuer", "wrong_role", "not_yet", "replayed", "expired",
]  # fmt: skip


class RefusedCommand(Struct, frozen=True, kw_only=True):
    """A command that has no effect, and why. What of it can be known for certain is told."""

    command_id: str | None
    """Its own; where that cannot be read, the record's key. It is not used up by the refusal."""
    reason: RefusalReason
    detail: str
    """One sentence, and what to do; what it quotes of the command is ASCII and short."""
    command: str | None = None
    issued_by: str | None = None
    """Who it says has issued it."""


def name_of(command: Command) -> str:
    """What the command is called."""
    return str(command.__struct_config__.tag)


def alert_command(command: Command) -> AlertCommand | None:
    """What it asks to be done about an alert, for the owner of that one's partition; None: it is about none."""
    if not isinstance(command, AboutAlert):
        return None
    return AlertCommand(
        action=name_of(command),  # type: ignore[arg-type]  # the names of these are the actions: a test says so
        alert_id=command.alert_id,
        by=command.issued_by,
        command_id=command.command_id,
        comment=command.comment,
        assignee=command.assignee,
        until_us=command.until_us,
    )
