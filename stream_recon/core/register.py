"""The register: the newest state of everything published, and the one place where versions grow.

It is told what is wrong now (`assert_open`), what no longer is (`clear`) and what people do about it (`command`), and
publishes only what that changes. What comes of each is in the table of `domain.lifecycle`; beside it these rules hold:

- What a person has resolved stays so however often it is found again, until what is found differs in substance. What
  else changes of a discrepancy (where its records lie, how severe it is taken to be) is UPDATED and notifies nobody.
- What closed and comes back is REOPENED, and counted. That it was acknowledged or resolved no longer counts; assignee,
  comment and suppression stay. Its age starts anew, unless it was a person who took a resolution back.
- What a run found and the stream lane then finds too is the lane's from there on: UPDATED, which notifies nobody unless
  it says something else.
- A transition notifies unless the record or command that makes it comes before the end of a suppression (by Kafka's
  time), or others explain all of it, or alerts are switched off. The end of a suppression is no transition: the next
  one notifies again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, Struct, UnsetType, structs

from stream_recon.core.newest import Newest
from stream_recon.domain.commands import Refused, lacks
from stream_recon.domain.discrepancies import (
    Alert,
    Discrepancy,
    FeedCondition,
    Handling,
    by_run,
    explained_in_full,
    same_in_substance,
    suppressed,
)
from stream_recon.domain.lifecycle import BY_COMMAND, STANDING, after, may

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_recon.domain.commands import AlertCommand
    from stream_recon.domain.discrepancies import Severity, Transition


HOUR_US = 3_600_000_000
CLOSED_KEPT_US = 3 * 24 * HOUR_US
"""How long, in event time, the newest state of what is closed can still be read."""


class Published(Struct):
    """One transition to publish, with Kafka's time of the record or command that made it due."""

    alert: Alert
    trigger_us: int


class Forgotten(NamedTuple):
    """What those whose finding it was let go of."""

    hour: int
    """Of event time, at which to retire it."""
    alert_id: str
    remembered: bool
    """Until then the register still knows it."""


class Register:
    """Everything published by one partition number and not yet forgotten, by alert id."""

    def __init__(self, age_limit_us: Mapping[Severity, int] | None = None, *, enable_alerts: bool = True) -> None:
        self.age_limit_us = age_limit_us or {}
        """How old a discrepancy may get, by severity."""
        self.enable_alerts = enable_alerts
        """False: transitions are recorded, and notify nobody."""
        self.newest = Newest()
        self.published: list[Published] = []
        """Since the shell last took them."""
        self.forgotten: list[Forgotten] = []
        """Since the shell last took them."""
        self.retiring: dict[int, list[str]] = {}
        """Forgotten by those whose finding it was, but not yet by those who read the newest states."""
        self.retired_hour = 0
        self.trigger_us = 0
        """Kafka's time of the record or command being applied."""
        self.quiet = False
        """Nobody is to be notified of what is published meanwhile."""

    def stands(self, alert_id: str) -> bool:
        """Whether it is open, acknowledged or not."""
        return self.newest.status(alert_id) in STANDING

    def holds(self, alert_id: str) -> bool:
        """Whether the stream lane says that it is so, whatever people made of it: then it explains what follows."""
        return self.newest.is_held(alert_id)

    # -- what records make of it --------------------------------------------------------------------------------------

    def assert_open(self, alert: Alert) -> None:
        """Publish that `alert` is so, if that says anything new.

        What the register itself knows better is not looked at: version, transition, status, counts, age, notify.
        """
        known = self.newest.get(alert.alert_id)
        if known is None:
            self._publish(None, _found(None, alert), "OPENED")
        elif known.status == "CLEARED" or (known.status == "RESOLVED" and not same_in_substance(known, alert)):
            self._publish(known, _found(known, alert), "REOPENED")
        elif known.status == "RESOLVED" and isinstance(known, FeedCondition):
            pass  # how much it holds up is measured against what was resolved
        elif _facts(known) != _facts(alert):
            self._publish(known, _same_found(known, alert), "SUPERSEDED" if _moved(known, alert) else "UPDATED")
        elif by_run(known) and not by_run(alert):
            self._publish(known, _same_found(known, alert), "UPDATED", quiet=True)

    def clear(self, alert_id: str, *, late: bool = False) -> None:
        """Publish that it is no longer so, if it was ever said."""
        if self.newest.status(alert_id) in {None, "CLEARED"}:
            return
        known = self.newest[alert_id]
        alert = structs.replace(known)
        if late and isinstance(alert, Discrepancy):
            alert.late = True
        self._publish(known, alert, "CLEARED")

    # -- what people make of it ---------------------------------------------------------------------------------------

    def command(self, command: AlertCommand) -> Alert | Refused:
        """Do what a person asks, and publish it; or say why not. Asked for again, the same is refused."""
        known = self.newest.get(command.alert_id)
        if known is None:
            return Refused("unknown_alert", f"there is no alert {command.alert_id}, or it closed long ago")
        missing = lacks(command)
        if missing is not None:
            return Refused("incomplete", f"to {command.action} needs {missing}")
        if not may(known.status, command.action):
            return Refused("not_allowed", f"it is {known.status}: {command.action} is not possible")
        handling = _handled(known.handling, command, self.trigger_us)
        transition = BY_COMMAND[command.action]
        if transition == "ANNOTATED" and _says_the_same(known.handling, handling):
            return Refused("nothing_new", "it says so already")
        alert = structs.replace(known, handling=handling)
        self._publish(known, alert, transition)
        return alert

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, alert_id: str, now_us: int) -> None:
        """Let go of what is closed and will not come back by itself; readers keep it for some days more.

        What a person resolved is remembered as long: a run may find it again.
        """
        status = self.newest.status(alert_id)
        if status is None:
            return
        if status == "CLEARED":
            del self.newest[alert_id]
        self.retire_later(alert_id, now_us)

    def retire(self, now_us: int) -> list[str]:
        """The ids of which the newest state, closed some days ago, need not be kept any more."""
        due = sorted(hour for hour in self.retiring if hour <= now_us // HOUR_US)
        self.retired_hour = max([self.retired_hour, *due])
        retired = []
        for alert_id in [alert_id for hour in due for alert_id in self.retiring.pop(hour)]:
            if self.stands(alert_id):
                self.retire_later(alert_id, now_us)
            else:
                self.newest.pop(alert_id, None)
                retired.append(alert_id)
        return retired

    def retire_later(self, alert_id: str, now_us: int) -> None:
        """Keep for some days what is closed and may come back, unless it stands again by then."""
        hour = (now_us + CLOSED_KEPT_US) // HOUR_US
        self.forgotten.append(Forgotten(hour, alert_id, alert_id in self.newest))
        self.retiring.setdefault(hour, []).append(alert_id)

    def restore_forgotten(self, forgotten: list[Forgotten]) -> None:
        """Fold what was forgotten once; whatever came of it since comes after."""
        for hour, alert_id, remembered in forgotten:
            if not remembered:
                self.newest.pop(alert_id, None)
            self.retiring.setdefault(hour, []).append(alert_id)

    def restore_retired(self, retired_hour: int) -> None:
        """Fold what was retired once: it comes last, as `retire` does."""
        self.retired_hour = max(self.retired_hour, retired_hour)
        for hour in [hour for hour in self.retiring if hour <= self.retired_hour]:
            for alert_id in self.retiring.pop(hour):
                if not self.stands(alert_id):
                    self.newest.pop(alert_id, None)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def _publish(
        self, known: Alert | None, alert: Alert, transition: Transition, *, quiet: bool = False
    ) -> None:  # fmt: skip
        alert.transition = transition
        alert.status = after(known.status if known is not None else None, transition)
        alert.version = known.version + 1 if known is not None else 1
        alert.reopened = (known.reopened if known is not None else 0) + (transition == "REOPENED")
        if isinstance(alert, Discrepancy):
            alert.age_limit_us = self.age_limit_us.get(alert.severity)
        found_again = alert.status == "RESOLVED" and transition in {"UPDATED", "SUPERSEDED"}
        quiet = quiet or found_again or self.quiet or not self.enable_alerts
        alert.notify = not (quiet or suppressed(alert, self.trigger_us) or explained_in_full(alert))
        self.newest[alert.alert_id] = alert
        self.published.append(Published(alert, self.trigger_us))


def _found(known: Alert | None, alert: Alert) -> Alert:
    """What is found anew, with what people did about it before: its age and its settlement start again."""
    if isinstance(alert, Discrepancy):
        alert.opened_us = alert.due_us
    alert.handling = known.handling if known is not None else UNSET
    if not isinstance(alert.handling, UnsetType):
        alert.handling = structs.replace(alert.handling, acknowledged_by=None, resolved_by=None)
    return alert


def _same_found(known: Alert, alert: Alert) -> Alert:
    """What is found otherwise while it goes on: its age and what people did stay."""
    if isinstance(alert, Discrepancy) and isinstance(known, Discrepancy):
        alert.opened_us = known.opened_us
    alert.handling = known.handling
    return alert


def _handled(handling: Handling | UnsetType, command: AlertCommand, now_us: int) -> Handling:
    """What people did, with what one more command does."""
    changes: dict[str, str | int | None] = {"by": command.by}
    if command.comment is not None:
        changes["comment"] = command.comment or None
    if command.assignee is not None:
        changes["assignee"] = command.assignee or None
    if command.until_us is not None:
        changes["suppressed_until_us"] = command.until_us if command.until_us > now_us else None
    if command.action == "acknowledge":
        changes["acknowledged_by"] = command.by
    elif command.action == "resolve":
        changes["resolved_by"] = command.by
    elif command.action == "reopen":
        changes["acknowledged_by"] = changes["resolved_by"] = None
    return structs.replace(Handling(by="") if isinstance(handling, UnsetType) else handling, **changes)


def _says_the_same(before: Handling | UnsetType, handling: Handling) -> bool:
    """Whether a command left all as it was, whoever asked."""
    return structs.replace(Handling(by="") if isinstance(before, UnsetType) else before, by=handling.by) == handling


def _moved(known: Alert, alert: Alert) -> bool:
    """Whether it is said of another interval or window than before."""
    return isinstance(known, Discrepancy) and isinstance(alert, Discrepancy) and known.interval != alert.interval


def _facts(alert: Alert) -> Alert:
    """An alert without what the register and people add to it, and who found it."""
    same = structs.replace(
        alert, version=0, transition="OPENED", status="OPEN", reopened=0, notify=True, handling=UNSET
    )  # fmt: skip
    if isinstance(same, Discrepancy):
        same.opened_us, same.age_limit_us, same.strategy = 0, None, ""
    return same
