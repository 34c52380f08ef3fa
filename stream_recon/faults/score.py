"""The score: what was injected against what was published, transition by transition."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from stream_recon.domain.discrepancies import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_recon.domain.discrepancies import Alert
    from stream_recon.faults.plan import Finding, Injected


class Score(Struct):
    """Counts by fault; `false` by what was said (the kind of a discrepancy, the reason of a feed condition)."""

    injected: dict[str, int]
    detected: dict[str, int]
    """Faults of which all was said that must be, and nothing where nothing must be."""
    missed: dict[str, int]
    false: dict[str, int]
    """Published openings that no injected fault explains, also those that cleared later."""


def finding_of(alert: Alert) -> Finding:
    """What an alert is about, in the words of `Injected.expects`."""
    if isinstance(alert, Discrepancy):
        return (alert.kind, alert.account, alert.instrument or "", alert.trade_id or "", alert.side or "")
    return (alert.reason, alert.origin, alert.source)


def score(injected: Iterable[Injected], alerts: Iterable[Alert]) -> Score:
    """Judge every transition ever published (in any order; the same one may come twice)."""
    injected = list(injected)
    newest: dict[str, Alert] = {}
    openings: dict[str, set[int]] = defaultdict(set)
    for alert in alerts:
        if alert.alert_id not in newest or newest[alert.alert_id].version < alert.version:
            newest[alert.alert_id] = alert
        if alert.transition in {"OPENED", "REOPENED"}:
            openings[alert.alert_id].add(alert.version)
    said: dict[Finding, set[str]] = defaultdict(set)
    false: Counter[str] = Counter()
    explained = Counter(finding for each in injected for finding in each.expects)
    moved = {each.key[:2] for each in injected}
    for alert_id, alert in newest.items():
        finding = finding_of(alert)
        said[finding].add(alert.status)
        if isinstance(alert, Discrepancy) and alert.identity == "net_change" and (finding[1:3] in moved):
            continue  # the same faults, seen by windows
        unexplained = len(openings[alert_id]) - explained[finding]
        if unexplained > 0:
            false[finding[0]] += unexplained

    total = Counter[str](each.fault for each in injected)
    detected = Counter[str](each.fault for each in injected if _rightly_judged(each, said))
    return Score(
        injected=dict(total),
        detected={fault: detected[fault] for fault in total},
        missed={fault: total[fault] - detected[fault] for fault in total},
        false=dict(false),
    )


def _rightly_judged(fault: Injected, said: Mapping[Finding, set[str]]) -> bool:
    """Whether all was said that must be, and nothing of a fill of which nothing may be."""
    if fault.expects:
        return all(said.get(finding) == {fault.final} for finding in fault.expects)
    return all(finding[1:] != fault.key for finding in said)
