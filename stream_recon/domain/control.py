"""Control by Kafka: from the bytes of a record of recon.control.v1 to a command that may take effect, or to why not.

`read_command` understands a record, `screen` decides whether it may take effect; neither ever raises. What is refused
is told (`RefusedCommand`), so that it can be written down and answered.
"""

from __future__ import annotations

from stream_recon.domain.control_commands import (
    Acknowledge,
    Assign,
    Cancel,
    Command,
    Comment,
    Dismiss,
    Reconcile,
    RefusedCommand,
    Reopen,
    Resolve,
    SetConfig,
    Suppress,
    Undo,
    alert_command,
    name_of,
)
from stream_recon.domain.control_policy import Key, Policy, expires_us, screen
from stream_recon.domain.control_reading import read_command
from stream_recon.domain.control_text import canonical_json, signed_text

__all__ = [
    "Acknowledge", "Assign", "Cancel", "Command", "Comment", "Dismiss", "Key", "Policy", "Reconcile",
    "RefusedCommand", "Reopen", "Resolve", "SetConfig", "Suppress", "Undo", "alert_command", "canonical_json",
    "expires_us", "name_of", "read_command", "screen", "signed_text",
]  # fmt: skip
