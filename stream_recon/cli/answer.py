"""Answers that several commands give in the same form."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream_recon.core.explain import Passage
    from stream_recon.domain.discrepancies import Alert


def print_json(answer: Any) -> None:  # noqa: ANN401 - whatever msgspec can write
    """One JSON value in one line on standard output, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def split_standing(newest: Iterable[Alert]) -> tuple[list[Discrepancy], list[FeedCondition]]:
    """What is wrong now: discrepancies and feed conditions, oldest event first."""
    standing = [alert for alert in newest if alert.status in STANDING]
    return split(standing)


def split(alerts: Iterable[Alert]) -> tuple[list[Discrepancy], list[FeedCondition]]:
    """Discrepancies and feed conditions, oldest event first."""
    breaks: list[Discrepancy] = []
    conditions: list[FeedCondition] = []
    for alert in alerts:
        if isinstance(alert, Discrepancy):
            breaks.append(alert)
        else:
            conditions.append(alert)
    breaks.sort(key=lambda alert: (alert.event_us, alert.alert_id))
    conditions.sort(key=lambda alert: (alert.since_us, alert.alert_id))
    return breaks, conditions


def summary_of(breaks: Sequence[Discrepancy], conditions: Sequence[FeedCondition]) -> dict[str, Any]:
    """How many there are of what; `effects`: breaks that follow from others."""
    return {
        "kinds": dict(Counter(alert.kind for alert in breaks)),
        "identities": dict(Counter(alert.identity for alert in breaks)),
        "severities": dict(Counter(alert.severity for alert in breaks)),
        "effects": sum(bool(alert.explained_by) for alert in breaks),
        "conditions": dict(Counter(condition.reason for condition in conditions)),
    }


def print_listing(
    breaks: list[Discrepancy],
    conditions: list[FeedCondition],
    explained: Callable[[Alert], Sequence[Passage]] | None = None,
) -> None:
    """Both for people, or a word that there are none; each with its explanation below it where one can be given."""
    from stream_recon.cli.detail import show_explanation
    from stream_recon.cli.options import console
    from stream_recon.cli.render import print_alerts

    out = console()
    if not breaks:
        out.print("No open breaks.", style="green")
    for alerts in (breaks, conditions):
        if alerts is conditions and conditions:
            out.print("Not everything can be known:", style="yellow")
        for alert in print_alerts(out, alerts):
            if explained is not None:
                show_explanation(out, explained(alert), indent=2)
                out.print()
