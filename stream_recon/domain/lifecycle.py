"""The life of a discrepancy or feed condition, as one table: what a transition makes of a status.

None is the status of what has never been published. What the table does not hold must not happen. Records make it
OPENED, UPDATED, SUPERSEDED (it is now said of another interval or window), CLEARED and REOPENED; people make it
ACKNOWLEDGED, RESOLVED, ANNOTATED (a comment, an assignee, a suppression) and, resolved too early, REOPENED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_recon.domain.commands import Action
    from stream_recon.domain.discrepancies import Status, Transition

LIFECYCLE: dict[tuple[Status | None, Transition], Status] = {
    (None, "OPENED"): "OPEN",
    ("OPEN", "UPDATED"): "OPEN",
    ("OPEN", "SUPERSEDED"): "OPEN",
    ("OPEN", "ANNOTATED"): "OPEN",
    ("OPEN", "ACKNOWLEDGED"): "ACKNOWLEDGED",
    ("OPEN", "RESOLVED"): "RESOLVED",
    ("OPEN", "CLEARED"): "CLEARED",
    ("ACKNOWLEDGED", "UPDATED"): "ACKNOWLEDGED",
    ("ACKNOWLEDGED", "SUPERSEDED"): "ACKNOWLEDGED",
    ("ACKNOWLEDGED", "ANNOTATED"): "ACKNOWLEDGED",
    ("ACKNOWLEDGED", "RESOLVED"): "RESOLVED",
    ("ACKNOWLEDGED", "CLEARED"): "CLEARED",
    ("RESOLVED", "UPDATED"): "RESOLVED",
    ("RESOLVED", "SUPERSEDED"): "RESOLVED",
    ("RESOLVED", "ANNOTATED"): "RESOLVED",
    ("RESOLVED", "REOPENED"): "OPEN",
    ("RESOLVED", "CLEARED"): "CLEARED",
    ("CLEARED", "ANNOTATED"): "CLEARED",
    ("CLEARED", "REOPENED"): "OPEN",
}

BY_COMMAND: dict[Action, Transition] = {
    "acknowledge": "ACKNOWLEDGED",
    "resolve": "RESOLVED",
    "reopen": "REOPENED",
    "comment": "ANNOTATED",
    "assign": "ANNOTATED",
    "suppress": "ANNOTATED",
}
"""The transition that each action of a person is."""

STANDING: frozenset[Status] = frozenset({"OPEN", "ACKNOWLEDGED"})
"""The statuses of what is wrong now and not settled."""


def after(status: Status | None, transition: Transition) -> Status:
    """The status after a transition.

    Raises:
        ValueError: the table does not allow it.
    """
    try:
        return LIFECYCLE[status, transition]
    except KeyError:
        message = f"{transition} cannot follow {status}"
        raise ValueError(message) from None


def may(status: Status, action: Action) -> bool:
    """Whether a person may do that: the table says it, but what records closed only records open again."""
    return (status, BY_COMMAND[action]) in LIFECYCLE and (status, action) != ("CLEARED", "reopen")
