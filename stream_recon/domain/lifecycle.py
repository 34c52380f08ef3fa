"""The life of a discrepancy or feed condition, as one table: what a transition makes of a status.

None is the status of what has never been published. What the table does not hold must not happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Status, Transition

LIFECYCLE: dict[tuple[Status | None, Transition], Status] = {
    (None, "OPENED"): "OPEN",
    ("OPEN", "UPDATED"): "OPEN",
    ("OPEN", "ACKNOWLEDGED"): "ACKNOWLEDGED",
    ("OPEN", "RESOLVED"): "RESOLVED",
    ("OPEN", "CLEARED"): "CLEARED",
    ("OPEN", "SUPERSEDED"): "OPEN",
    ("ACKNOWLEDGED", "UPDATED"): "ACKNOWLEDGED",
    ("ACKNOWLEDGED", "RESOLVED"): "RESOLVED",
    ("ACKNOWLEDGED", "CLEARED"): "CLEARED",
    ("ACKNOWLEDGED", "SUPERSEDED"): "ACKNOWLEDGED",
    ("RESOLVED", "REOPENED"): "OPEN",
    ("RESOLVED", "CLEARED"): "CLEARED",
    ("CLEARED", "REOPENED"): "OPEN",
}

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
