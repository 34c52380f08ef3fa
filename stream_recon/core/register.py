"""The register: the newest state of everything published, and the one place where versions grow.

It is told what is wrong now (`assert_open`) and what no longer is (`clear`), and publishes only what that changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

from stream_recon.domain.discrepancies import Alert
from stream_recon.domain.lifecycle import STANDING, after

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Transition


HOUR_US = 3_600_000_000
CLOSED_KEPT_US = 3 * 24 * HOUR_US
"""How long, in event time, the newest state of what is closed can still be read."""


class Published(Struct):
    """One transition to publish, with Kafka's time of the record that made it due."""

    alert: Alert
    trigger_us: int


class Register:
    """Everything published by one partition number and not yet forgotten, by alert id."""

    def __init__(self) -> None:
        self.newest: dict[str, Alert] = {}
        self.published: list[Published] = []
        """Since the shell last took them."""
        self.forgotten: list[tuple[int, str]] = []
        """Since the shell last took them: (hour of event time at which to retire it, alert id)."""
        self.retiring: dict[int, list[str]] = {}
        """Forgotten here, but not yet by those who read the newest states."""
        self.retired_hour = 0
        self.trigger_us = 0
        """Kafka's time of the record being applied."""

    def stands(self, alert_id: str) -> bool:
        """Whether it is open, acknowledged or not."""
        known = self.newest.get(alert_id)
        return known is not None and known.status in STANDING

    def assert_open(self, alert: Alert) -> None:
        """Publish that `alert` (its version and transition are not looked at) is so, if that says anything new."""
        known = self.newest.get(alert.alert_id)
        if known is None:
            self._publish(None, alert, "OPENED")
        elif known.status in STANDING:
            if _facts(known) != _facts(alert):
                self._publish(known, alert, "UPDATED")
        else:
            alert.reopened = known.reopened + 1
            self._publish(known, alert, "REOPENED")

    def clear(self, alert_id: str, *, late: bool = False) -> None:
        """Publish that it is no longer so, if it was ever said."""
        known = self.newest.get(alert_id)
        if known is None or known.status == "CLEARED":
            return
        alert = structs.replace(known)
        if late and hasattr(alert, "late"):
            alert.late = True
        self._publish(known, alert, "CLEARED")

    def forget(self, alert_id: str, now_us: int) -> None:
        """Let go of what is closed and can never come back; readers keep it for some days more."""
        if alert_id in self.newest:
            del self.newest[alert_id]
            hour = (now_us + CLOSED_KEPT_US) // HOUR_US
            self.forgotten.append((hour, alert_id))
            self.retiring.setdefault(hour, []).append(alert_id)

    def retire(self, now_us: int) -> list[str]:
        """The ids of which the newest state, closed some days ago, need not be kept any more."""
        due = [hour for hour in self.retiring if hour <= now_us // HOUR_US]
        self.retired_hour = max([self.retired_hour, *due])
        return [alert_id for hour in sorted(due) for alert_id in self.retiring.pop(hour)]

    def _publish(self, known: Alert | None, alert: Alert, transition: Transition) -> None:
        alert.transition = transition
        alert.status = after(known.status if known is not None else None, transition)
        if known is not None:
            alert.version = known.version + 1
            alert.reopened = max(alert.reopened, known.reopened)
        else:
            alert.version = 1
        self.newest[alert.alert_id] = alert
        self.published.append(Published(alert, self.trigger_us))


def _facts(alert: Alert) -> Alert:
    """An alert without what a transition adds to it."""
    return structs.replace(alert, version=0, transition="OPENED", status="OPEN", reopened=0)
