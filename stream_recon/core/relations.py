"""What follows from what: discrepancies name their causes (`explained_by`), and from that come chains and trees.

States may lack a cause (it was filtered out, or its retention is over) and, should two ever name each other, may hold
a circle; neither is an error here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stream_recon.domain.discrepancies import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from stream_recon.domain.discrepancies import Alert


class Link(NamedTuple):
    """One step of a chain: `effect` follows from `cause`; ids, for a state need not be known."""

    effect: str
    cause: str


def causes(alert: Discrepancy) -> list[str]:
    """Ids of what it follows from, also in part; each once."""
    split = (cause for part in alert.split for cause in part.causes)
    return [cause for cause in dict.fromkeys([*alert.explained_by, *split]) if cause != alert.alert_id]


def chain(alert: Alert, states: Mapping[str, Alert]) -> Iterator[Link]:
    """What it follows from, what that follows from, and so on; nearest first, each cause once."""
    known = {**states, alert.alert_id: alert}
    for effect, cause in _walk(alert.alert_id, lambda each: _causes_of(each, known)):
        yield Link(effect, cause)


def effects(alert_id: str, states: Mapping[str, Alert]) -> list[Discrepancy]:
    """All whose newest state names it as a cause, oldest event first."""
    found = [
        state
        for state in states.values()
        if isinstance(state, Discrepancy) and state.alert_id != alert_id and alert_id in causes(state)
    ]
    return sorted(found, key=lambda state: (state.event_us, state.alert_id))


def consequences(alert_id: str, states: Mapping[str, Alert]) -> list[Link]:
    """What follows from it, what follows from that, and so on; nearest first, each effect once."""
    by_cause: dict[str, list[str]] = {}
    ordered = (state for state in states.values() if isinstance(state, Discrepancy))
    for state in sorted(ordered, key=lambda state: (state.event_us, state.alert_id)):
        for cause in causes(state):
            by_cause.setdefault(cause, []).append(state.alert_id)
    return [Link(effect, cause) for cause, effect in _walk(alert_id, lambda each: by_cause.get(each, []))]


def _causes_of(alert_id: str, states: Mapping[str, Alert]) -> list[str]:
    state = states.get(alert_id)
    return causes(state) if isinstance(state, Discrepancy) else []


def _walk(start: str, onward: Callable[[str], Iterable[str]]) -> Iterator[tuple[str, str]]:
    seen, ahead = {start}, [start]
    for known in ahead:
        for further in onward(known):
            if further not in seen:
                seen.add(further)
                ahead.append(further)
                yield known, further


def below_causes(alerts: Sequence[Alert]) -> list[tuple[int, Alert]]:
    """The same alerts, each effect right below the first of its causes that is among them, with its depth."""
    present = {alert.alert_id: alert for alert in alerts}
    below: dict[str | None, list[Alert]] = {}
    for alert in alerts:
        above = next((c for c in _causes_of(alert.alert_id, present) if c in present), None)
        below.setdefault(above, []).append(alert)
    placed: dict[str, tuple[int, Alert]] = {}

    def put(alert: Alert) -> None:
        waiting = [(0, alert)]
        while waiting:
            depth, each = waiting.pop()
            if each.alert_id not in placed:
                placed[each.alert_id] = (depth, each)
                waiting += [(depth + 1, effect) for effect in reversed(below.get(each.alert_id, []))]

    for alert in [*below.get(None, []), *alerts]:  # the others only where they stand in a circle
        put(alert)
    return list(placed.values())
