"""What auditors ask a store: runs and what they came to, the history of an alert, commands and their answers.

Each answer says where its record lies. What cannot be read as what it is labelled is given as its bytes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.results import ReconciliationResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_recon.audit.chain import Place
    from stream_recon.audit.labels import Kind
    from stream_recon.audit.view import Row, View
    from stream_recon.domain.discrepancies import Alert

_alert = msgspec.json.Decoder(Discrepancy | FeedCondition).decode
_result = msgspec.json.Decoder(ReconciliationResult).decode
_raw = msgspec.json.Decoder(Raw).decode
Outcome = Literal["accepted", "refused", "unanswered"]


class Source(NamedTuple):
    """Where a record lies, and when Kafka got it."""

    topic: str
    partition: int
    offset: int
    time_us: int


class Result(NamedTuple):
    """A result as it was published."""

    source: Source
    result: ReconciliationResult | bytes


class Run(NamedTuple):
    """A run: what was published about it, in that order."""

    run_id: str
    results: list[Result]


class Transition(NamedTuple):
    """A transition of an alert; the newest version is its state."""

    source: Source
    alert: Alert | bytes


class Said(NamedTuple):
    """A command, a configuration or a correction, as it was written."""

    source: Source
    subject: str | None
    content: Raw | bytes


class Command(NamedTuple):
    """A command, and what came of it."""

    source: Source
    command_id: str | None
    content: Raw | bytes
    outcome: Outcome
    """Refused: its only result is that it failed; who takes a command publishes first that its run is running."""
    reason: str
    run_ids: list[str]
    config_version: int | None
    """The version of the configuration that it was answered under."""


class Gap(Struct, frozen=True):
    """Offsets that were gone before they could be kept, both included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    reason: str


def runs(view: View, **ids: str) -> list[Run]:
    """The runs, in the order of their first results; `run_id` or `command_id` choose."""
    found: defaultdict[str, list[Result]] = defaultdict(list)
    for row in view.find("result", **ids):
        value = row.entry.value or b""
        try:
            result: ReconciliationResult | bytes = _result(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            result = value
        found[row.labels.run_id or ""].append(Result(_source(row), result))
    return [Run(run_id, results) for run_id, results in found.items()]


def history(view: View, alert_id: str) -> list[Transition]:
    """The transitions of an alert by version, each once: a worker that was killed may have published one twice."""
    found: list[Transition] = []
    seen: set[bytes] = set()
    for row in view.find("discrepancy", "feed_condition", alert_id=alert_id):
        value = row.entry.value or b""
        if value in seen:
            continue
        seen.add(value)
        try:
            alert: Alert | bytes = _alert(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            alert = value
        found.append(Transition(_source(row), alert))
    return sorted(found, key=lambda each: -1 if isinstance(each.alert, bytes) else each.alert.version)


def commands(view: View) -> list[Command]:
    """The commands, changes of the configuration among them, by time; accepted and refused."""
    return _commands(view, "command", "config")


def configurations(view: View) -> list[Command]:
    """The changes of the configuration, by time; accepted and refused."""
    return _commands(view, "config")


def corrections(view: View, **ids: str) -> Iterator[Said]:
    """The corrections, by time; `run_id` or `alert_id` choose."""
    return _said(view.find("correction", **ids))


def gaps(view: View) -> list[Gap]:
    """What was gone before it could be kept."""
    return [
        Gap(
            *row.place, row.entry.first_offset, row.entry.last_offset, (row.entry.value or b"").decode(errors="replace")
        )
        for row in view.gaps()
    ]


def counts(view: View) -> dict[Place, dict[str, int]]:
    """How many entries of each kind a chain has."""
    found: dict[Place, dict[str, int]] = {}
    for place, kind, count in view.counts():
        found.setdefault(place, {})[kind] = count
    return found


def _commands(view: View, *kinds: Kind) -> list[Command]:
    answers: defaultdict[str | int, list[ReconciliationResult]] = defaultdict(list)
    for run in runs(view):
        for each in run.results:
            if not isinstance(each.result, bytes):
                at = each.result.command_offset
                answers[each.result.command_id or "" if at is None else at].append(each.result)
    found = []
    for row in view.find(*kinds):
        # One that was sent twice has two answers, which are told apart by where it lay.
        told = answers[row.entry.first_offset] or answers[row.labels.command_id or " "]
        outcome, reason = _outcome(told)
        run_ids = sorted({each.reconciliation_id for each in told})
        version = told[-1].config_version if told else None
        found.append(Command(_source(row), row.labels.command_id, _content(row), outcome, reason, run_ids, version))
    return found


def _outcome(told: list[ReconciliationResult]) -> tuple[Outcome, str]:
    if not told:
        return "unanswered", ""
    if all(each.status == "failed" for each in told):
        return "refused", "; ".join(told[0].errors)
    return "accepted", ""


def _said(rows: Iterable[Row]) -> Iterator[Said]:
    return (Said(_source(row), row.labels.subject, _content(row)) for row in rows)


def _source(row: Row) -> Source:
    return Source(*row.place, row.entry.first_offset, row.entry.time_us)


def _content(row: Row) -> Raw | bytes:
    value = row.entry.value or b""
    try:
        return _raw(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return value
