"""What auditors ask a store: runs and what they came to, the history of an alert, commands and their answers.

Each answer says where its record lies. What cannot be read as what it is labelled is given as its bytes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from stream_recon.domain.corrections import Correction
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.results import ReconciliationResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.audit.chain import Place
    from stream_recon.audit.labels import Kind
    from stream_recon.audit.view import Row, View
    from stream_recon.domain.discrepancies import Alert

_alert = msgspec.json.Decoder(Discrepancy | FeedCondition).decode
_result = msgspec.json.Decoder(ReconciliationResult).decode
_raw = msgspec.json.Decoder(Raw).decode
_correction = msgspec.json.Decoder(Correction).decode
T = TypeVar("T")
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


class Corrected(NamedTuple):
    """A correction, or what takes one back."""

    source: Source
    correction: Correction | bytes


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


class _Answer(Struct):
    """Of a result what tells what came of its command; the whole is large, and there are many."""

    reconciliation_id: str
    status: str
    config_version: int = 0
    errors: list[str] = []
    command_id: str | None = None
    command_offset: int | None = None


_answer = msgspec.json.Decoder(_Answer).decode


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
        found[row.labels.run_id or ""].append(Result(_source(row), _read(_result, row.entry.value or b"")))
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
        found.append(Transition(_source(row), _read(_alert, value)))
    return sorted(found, key=lambda each: -1 if isinstance(each.alert, bytes) else each.alert.version)


def commands(view: View) -> list[Command]:
    """The commands, changes of the configuration among them, by time; accepted and refused."""
    return _commands(view, "command", "config")


def configurations(view: View) -> list[Command]:
    """The changes of the configuration, by time; accepted and refused."""
    return _commands(view, "config")


def corrections(view: View, **ids: str) -> list[Corrected]:
    """The corrections, by time; `run_id` or `alert_id` choose."""
    return [
        Corrected(_source(row), _read(_correction, row.entry.value or b"")) for row in view.find("correction", **ids)
    ]


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
    answers: defaultdict[str | int | None, list[_Answer]] = defaultdict(list)
    for row in view.find("result"):
        told = _read(_answer, row.entry.value or b"")
        if isinstance(told, bytes):
            continue
        answers[told.command_id if told.command_offset is None else told.command_offset].append(told)
    found = []
    for row in view.find(*kinds):
        # One that was sent twice has two answers, which are told apart by where it lay.
        command_id = row.labels.command_id
        given = answers.get(row.entry.first_offset) or (answers.get(command_id, []) if command_id is not None else [])
        outcome, reason = _outcome(given)
        run_ids = sorted({each.reconciliation_id for each in given})
        version = given[-1].config_version if given else None
        found.append(
            Command(_source(row), command_id, _read(_raw, row.entry.value or b""), outcome, reason, run_ids, version)
        )
    return found


def _outcome(told: list[_Answer]) -> tuple[Outcome, str]:
    if not told:
        return "unanswered", ""
    if all(each.status == "failed" for each in told):
        return "refused", "; ".join(told[0].errors)
    return "accepted", ""


def _source(row: Row) -> Source:
    return Source(*row.place, row.entry.first_offset, row.entry.time_us)


def _read(decode: Callable[[bytes], T], value: bytes) -> T | bytes:
    try:
        return decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return value
