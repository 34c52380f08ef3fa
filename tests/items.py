"""Work items by hand, and what a run would have found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from stream_recon.domain.commands import AlertCommand
from stream_recon.domain.results import Scope
from stream_recon.domain.work import AlertItem, ConfigItem, FindingsItem, LiveItem
from tests.lanes import SECOND, T

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.commands import Action
    from stream_recon.domain.discrepancies import Discrepancy

EVER_US = 2**60
FOUR = ("trade", "order", "position", "balance")


def scope(**more: Any) -> Scope:
    """All four identities, all accounts and times, unless said otherwise."""
    told: dict[str, Any] = {"identities": FOUR, "from_us": 0, "to_us": EVER_US}
    return Scope(**(told | more))


def live(run_id: str = "live", ends: dict[str, int] | None = None, **more: Any) -> LiveItem:
    """A question what stands, once the ends are reached."""
    told: dict[str, Any] = {"type": "emergency", "scope": scope(), "deadline_us": EVER_US, "ends": ends or {}}
    return LiveItem(run_id=run_id, **(told | more))


def findings(*found: Discrepancy, run_id: str = "run", **more: Any) -> FindingsItem:
    """What a full run found."""
    told: dict[str, Any] = {"type": "full", "scope": scope()}
    return FindingsItem(run_id=run_id, findings=list(found), **(told | more))


def ask(action: Action, alert_id: str, run_id: str = "asked", **more: Any) -> AlertItem:
    """A command of Ann's."""
    return AlertItem(run_id=run_id, command=AlertCommand(action=action, alert_id=alert_id, by="ann", **more))


def configure(version: int = 1, **config: Any) -> ConfigItem:
    """What holds from here on."""
    return ConfigItem(version=version, config=config)


def of_run(alert: Discrepancy, alert_id: str | None = None, **more: Any) -> Discrepancy:
    """An alert as a run would find it; by another id another one."""
    told: dict[str, Any] = {"alert_id": alert_id or alert.alert_id, "strategy": "full"}
    return structs.replace(alert, version=1, transition="OPENED", status="OPEN", **(told | more))


def ids(alerts: Iterable[Discrepancy]) -> list[str]:
    """Of alerts, in their order."""
    return [alert.alert_id for alert in alerts]


AGES_AGO_US = T - 24 * 3600 * SECOND
"""Beyond every horizon."""
