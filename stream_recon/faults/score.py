"""The score: what was injected against what was published, transition by transition.

Theory. Every published opening is one of three: *expected*, as a fault says what must be found; *caused*, as it follows
from a fault elsewhere (a lost fill is lacking in a position), which the alert itself should say by naming the
discrepancy it is explained by; or *false*.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.discrepancies import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.domain.discrepancies import Alert, Interval
    from stream_recon.faults.injected import Finding, Injected


_STATES = {"position_mismatch", "balance_mismatch"}
"""Of these there may be another one beside it, of the same state: what follows from another fault just then."""


class Score(Struct):
    """Counts by fault; `false` by what was said (the kind of a discrepancy, the reason of a feed condition)."""

    injected: dict[str, int]
    detected: dict[str, int]
    """Faults of which all was said that must be, and nothing where nothing must be."""
    missed: dict[str, int]
    caused: dict[str, int]
    """Published openings that follow from a fault, beside those that it must open."""
    unnamed: dict[str, int]
    """Of these, by kind, those that in the end name no discrepancy that they follow from."""
    false: dict[str, int]
    """Published openings that no injected fault explains, also those that cleared later."""


class _Said(NamedTuple):
    """An alert as it is in the end, and how often it was opened."""

    alert: Alert
    finding: Finding
    openings: int


def finding_of(alert: Alert) -> Finding:
    """What an alert is about, in the words of `Injected.expects`."""
    if not isinstance(alert, Discrepancy):
        return (alert.reason, alert.origin, alert.source)
    if alert.identity == "trade":
        return (alert.kind, alert.account, alert.instrument or "", alert.trade_id or "", alert.side or "")
    if alert.identity == "order":
        return (alert.kind, alert.account, alert.compared, alert.instrument or "", alert.order_id or "")
    name = alert.ledger_id or alert.asset if alert.identity == "balance" else alert.instrument or alert.asset
    return (alert.kind, alert.account, alert.compared, name or "")


def is_expected_of(injected: Injected, alert: Alert) -> bool:
    """Whether an alert is what must be said of a fault.

    A state can be off more than once: there it must be the interval in which the fault befell, or just its amount.
    """
    finding = finding_of(alert)
    if finding not in injected.expects:
        return False
    if not isinstance(alert, Discrepancy) or alert.interval is None:
        return True
    return _overlaps(injected, alert.interval) or any(
        effect.finding == finding and alert.residual is not None and to_decimal(alert.residual) == effect.residual
        for effect in injected.effects
    )


def follows_from(injected: Injected, alert: Alert) -> bool:
    """Whether an alert can follow from a fault: it is of what the fault changed, and of no earlier time.

    A state may be seen to be off later than it was: there were moments at which it could have been right. A window that
    nets is off only if the fault lies in it.
    """
    finding = finding_of(alert)
    if not isinstance(alert, Discrepancy) or all(effect.finding != finding for effect in injected.effects):
        return False
    if alert.interval is None:
        return True
    if alert.identity == "net_change":
        return _overlaps(injected, alert.interval)
    return alert.interval.to_us >= injected.span_us[0]


def _overlaps(injected: Injected, interval: Interval) -> bool:
    return interval.from_us <= injected.span_us[1] and injected.span_us[0] <= interval.to_us


def score(injected: Iterable[Injected], alerts: Iterable[Alert]) -> Score:
    """Judge every transition ever published (in any order; the same one may come twice)."""
    injected = list(injected)
    said = _newest(alerts)
    causes = causes_of(injected, [each.alert for each in said.values()])
    caused: Counter[str] = Counter()
    unnamed: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for alert_id, each in said.items():
        rest = each.openings - sum(is_expected_of(fault, each.alert) for fault in injected)
        if rest <= 0:
            continue
        if alert_id not in causes:
            false[each.finding[0]] += rest
            continue
        caused[causes[alert_id].fault] += rest
        if isinstance(each.alert, Discrepancy) and not each.alert.explained_by:
            unnamed[each.finding[0]] += rest

    total = Counter[str](each.fault for each in injected)
    detected = Counter[str](each.fault for each in injected if _rightly_judged(each, said.values()))
    return Score(
        injected=dict(total),
        detected={fault: detected[fault] for fault in total},
        missed={fault: total[fault] - detected[fault] for fault in total},
        caused={fault: caused[fault] for fault in total},
        unnamed=dict(unnamed),
        false=dict(false),
    )


def _newest(alerts: Iterable[Alert]) -> dict[str, _Said]:
    """Each alert as it is in the end."""
    newest: dict[str, Alert] = {}
    openings: dict[str, set[int]] = defaultdict(set)
    for alert in alerts:
        if alert.alert_id not in newest or newest[alert.alert_id].version < alert.version:
            newest[alert.alert_id] = alert
        if alert.transition in {"OPENED", "REOPENED"}:
            openings[alert.alert_id].add(alert.version)
    return {alert_id: _Said(alert, finding_of(alert), len(openings[alert_id])) for alert_id, alert in newest.items()}


def causes_of(injected: Sequence[Injected], alerts: Iterable[Alert]) -> dict[str, Injected]:
    """For each alert (in its newest state) that follows from a fault, by its id: that fault.

    An alert follows from the fault whose discrepancy it names; from several it is the last. Where it names none, it
    follows from the last fault that changed what it is about; of faults that befell later it cannot.
    """
    discrepancies = [alert for alert in alerts if isinstance(alert, Discrepancy)]
    found = {alert.alert_id: each for alert in discrepancies for each in injected if is_expected_of(each, alert)}
    effects: dict[str, Injected] = {}
    left = [alert for alert in discrepancies if alert.alert_id not in found]
    while left:
        named = {
            alert.alert_id: _last(found[name] for name in alert.explained_by)
            for alert in left
            if alert.explained_by and all(name in found for name in alert.explained_by)
        }
        if not named:
            break
        effects |= named
        found |= named
        left = [alert for alert in left if alert.alert_id not in named]
    for alert in left:
        possible = [each for each in injected if follows_from(each, alert)]
        if possible:
            effects[alert.alert_id] = _last(possible)
    return effects


def _last(faults: Iterable[Injected]) -> Injected:
    return max(faults, key=lambda each: each.span_us)


def _rightly_judged(fault: Injected, said: Iterable[_Said]) -> bool:
    """Whether all was said that must be, and nothing of a fill of which nothing may be."""
    if not fault.expects:
        return all(each.finding[1:] != fault.key for each in said)
    statuses: dict[Finding, set[str]] = defaultdict(set)
    for each in said:
        if is_expected_of(fault, each.alert):
            statuses[each.finding].add(each.alert.status)
    return all(
        fault.final in statuses[finding] if finding[0] in _STATES else {fault.final} == statuses[finding]
        for finding in fault.expects
    )
