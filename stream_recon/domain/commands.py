"""What a person (or a program in their name) asks to be done about one alert, and why it is not done."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Action = Literal["acknowledge", "resolve", "reopen", "comment", "assign", "suppress"]


class AlertCommand(Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="type", tag="alert_command"):
    """One action on one alert. A comment, an assignee and a suppression may come along with any action."""

    action: Action
    alert_id: str
    by: str
    """Who asks."""
    command_id: str = ""
    comment: str | None = None
    assignee: str | None = None
    """Empty: nobody any more."""
    until_us: int | None = None
    """Nobody is notified of what a record before this time (Kafka's) makes of it; a time that has passed ends that."""


class Refused(Struct, frozen=True):
    """Why a command changed nothing."""

    reason: Literal["unknown_alert", "incomplete", "not_allowed", "nothing_new"]
    detail: str
    """One sentence."""


_NEEDS: dict[Action, str] = {"comment": "comment", "assign": "assignee", "suppress": "until_us"}


def lacks(command: AlertCommand) -> str | None:
    """The field without which the command says nothing; None: it is complete."""
    if not command.by:
        return "by"
    needed = _NEEDS.get(command.action)
    return needed if needed is not None and getattr(command, needed) is None else None
