"""The end of the demo: an emergency and a full run over what was replayed, held against what the stream said."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from stream_recon.domain.control import Reconcile
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.lifecycle import STANDING
from stream_recon.shell.commanding import send

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.app import Deployment
    from stream_recon.consume import Received
    from stream_recon.domain.results import ReconciliationResult
    from stream_recon.faults.plan import Plan

PATIENCE_S = 60
TYPES = ("emergency", "full")


class Check(NamedTuple):
    """What a run found, beside what the stream says."""

    type: str
    status: str
    found: int
    only_run: list[str]
    """Ids of what the run found and the stream does not say."""
    only_stream: list[str]
    """Ids of what the stream says and the run did not find."""
    records: int
    seconds: float
    """From the command to the result."""
    differing: list[Discrepancy]
    """What is said by one alone, as far as it is known: a result lists no more than the first hundred."""
    remarks: list[str]
    """Why it failed, or what could not be known."""

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.status != "failed" and not self.only_run and not self.only_stream


async def check(deployment: Deployment, made: Plan, alerts: Iterable[Received]) -> list[Check]:
    """Run an emergency and a full, and compare them with the alerts.

    Raises:
        NoAnswerError: a run did not come to its end.
    """
    newest = {received.alert.alert_id: received.alert for received in alerts}
    stream = {
        alert_id: alert
        for alert_id, alert in newest.items()
        if isinstance(alert, Discrepancy) and alert.identity != "net_change" and alert.status in STANDING
    }
    cut_us = max(int(step.event["ts_us"]) for step in made.steps if step.event["type"] != "heartbeat")
    return [compared(*await _run(deployment, kind, cut_us), stream) for kind in TYPES]


async def _run(deployment: Deployment, kind: str, cut_us: int) -> tuple[ReconciliationResult, float]:
    command = Reconcile(
        command_id=uuid4().hex, issued_by="demo", issued_us=time.time_ns() // 1000, type=kind, cut_us=cut_us
    )
    started = time.monotonic()
    result = await send(deployment.bootstrap_servers, deployment.plan, command, patience_s=PATIENCE_S)
    assert result is not None
    return result, time.monotonic() - started


def compared(result: ReconciliationResult, seconds: float, stream: dict[str, Discrepancy]) -> Check:
    """A run's result beside what the stream says, by id."""
    late = result.certificate.unsettled if result.certificate is not None else []
    unsettled = [f"not settled: {each.origin} {each.stream} of {each.source}" for each in late]
    found = set(result.alert_ids)
    said = {each.alert_id: each for each in result.discrepancies} | stream
    only_run, only_stream = sorted(found - stream.keys()), sorted(stream.keys() - found)
    return Check(
        result.type, result.status, len(found), only_run, only_stream, result.total_records_processed,
        round(seconds, 2), [said[alert_id] for alert_id in (*only_run, *only_stream) if alert_id in said],
        [*result.errors, *result.notes, *dict.fromkeys(unsettled)],
    )  # fmt: skip
