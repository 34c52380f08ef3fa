"""What the coordinator hands to the owners of partitions (recon.work.v1), and what they answer (recon.partials.v1).

A work item is for one partition number and lies in it; an answer names the run and the partition it is of. Both lanes
of a worker read the same partition of recon.work.v1 and take what is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from stream_recon.domain.commands import AlertCommand
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.results import CheckpointAt, Scope, TopicCut, Unsettled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PART_BYTES = 700_000
"""Of discrepancies in one item or answer, as JSON; what is more goes in parts. Kafka takes a million bytes."""
Said = TypeVar("Said", bound=Struct)


class ReplayItem(Struct, kw_only=True, frozen=True, tag_field="work", tag="replay"):
    """For the run lane: read the log of this partition up to a settled cut, and say what follows from it."""

    run_id: str
    type: str
    """What the run is called."""
    strategy: str
    """By what it is done: another type only where a schedule names one."""
    scope: Scope
    deadline_us: int
    """By the clock: what has not settled by then is told as such."""
    config: dict[str, Any]
    """The `ReconciliationConfig` it runs under."""
    absolute: dict[str, tuple[str | None, str | None]] = {}
    """By asset, the amounts (dust, critical) that decide over severity whatever the relative size."""
    starts: dict[str, int] | None = None
    """By topic, where to begin; None: where the scope's time does."""
    ends: dict[str, int] | None = None
    """By topic, where to stop; None: where it has settled."""
    checkpoint: CheckpointAt | None = None
    keep_checkpoint: bool = False
    """Write down the closing state for a later run."""


class LiveItem(Struct, kw_only=True, frozen=True, tag_field="work", tag="live"):
    """For the stream lane: once the captured ends are reached, say what stands in the live state."""

    run_id: str
    type: str
    scope: Scope
    deadline_us: int
    ends: dict[str, int]
    """By source topic, the end offset of this partition when the command was taken."""


class AlertItem(Struct, kw_only=True, frozen=True, tag_field="work", tag="alert"):
    """For the stream lane: a person's command about one alert, which may be of this partition."""

    run_id: str
    command: AlertCommand


class FindingsItem(Struct, kw_only=True, frozen=True, tag_field="work", tag="findings"):
    """For the stream lane: what a run found; whatever of its scope is not among it is no longer so."""

    run_id: str
    type: str
    scope: Scope
    findings: list[Discrepancy]
    part: int = 1
    parts: int = 1
    notify: bool = True
    settled: bool = True
    """False: some feeds had not passed the cut, so what was not found may still be so, and nothing is cleared."""
    ends: dict[str, int] = {}
    """By source topic, the first offset that the run did not read; empty: not told. What rests on later records is no
    disagreement."""


class ConfigItem(Struct, kw_only=True, frozen=True, tag_field="work", tag="config"):
    """For the stream lane: a configuration that holds from here on."""

    version: int
    config: dict[str, Any]


class CancelItem(Struct, kw_only=True, frozen=True, tag_field="work", tag="cancel"):
    """For the run lane: a run that is over, answered or not wanted any more."""

    run_id: str


WorkItem = ReplayItem | LiveItem | AlertItem | FindingsItem | ConfigItem | CancelItem


class Partial(Struct, kw_only=True, tag_field="answer", tag="partial"):
    """What one partition came to; in parts where one record cannot hold it, of which the first has the facts."""

    run_id: str
    partition: int
    attempt: str = ""
    """Parts belong together that have this in common."""
    part: int = 1
    parts: int = 1
    discrepancies: list[Discrepancy] = []
    conditions: list[FeedCondition] = []
    unsettled: list[Unsettled] = []
    topics: list[TopicCut] = []
    counts: dict[str, int] = {}
    """Records by what became of them (`Lane.counts`)."""
    pending: int = 0
    errors: list[str] = []
    """Why it failed; empty: it did not."""
    notes: list[str] = []
    seconds: dict[str, float] = {}
    checkpoint: CheckpointAt | None = None
    """Where its closing state lies."""
    checkpoint_of: str | None = None
    """The run on whose closing state it was built."""
    accounts: list[str] = []
    """Of the accounts that were asked for, those it knows."""
    reported: list[str] = []
    """The classes of records (fill, order, position, balance, ledger) that either side has sent."""


class Progress(Struct, kw_only=True, tag_field="answer", tag="progress"):
    """How far one partition is."""

    run_id: str
    partition: int
    stage: str
    records: int
    of: int


class AlertAnswer(Struct, kw_only=True, tag_field="answer", tag="alert"):
    """What came of a person's command in one partition."""

    run_id: str
    partition: int
    done: Discrepancy | FeedCondition | None = None
    reason: str = ""
    """Why nothing was changed; `unknown_alert` from all but one partition."""
    detail: str = ""


class FindingsAnswer(Struct, kw_only=True, tag_field="answer", tag="findings"):
    """What came of a run's findings in one partition, once all parts of them are there."""

    run_id: str
    partition: int
    adopted: int = 0
    """Findings that the stream could not judge itself, which stand now because of the run."""
    cleared: int = 0
    """What an earlier run found, and this one did not."""
    agreed: int = 0
    """Findings that the stream says itself."""
    awaited: int = 0
    """Findings that the stream has not come to yet: it says them itself, if they are so."""
    disagreed: int = 0
    """How often the run and the stream disagree: incidents of ours, published as no discrepancy."""
    disagreements: list[str] = []
    """The ids of the first of these."""
    reason: str = ""
    """Why nothing was done; empty: it was."""


class CheckpointPart(Struct, kw_only=True, tag_field="answer", tag="checkpoint"):
    """One part of a run's closing state."""

    run_id: str
    partition: int
    number: int
    last: bool
    next: dict[str, int]
    """By topic, the first offset that is not in it."""
    changes: bytes
    """`core.memory.Changes`, packed."""


Answer = Partial | Progress | AlertAnswer | FindingsAnswer | CheckpointPart


def in_parts(said: Iterable[Said]) -> Iterator[list[Said]]:
    """In their order, none larger than `PART_BYTES` but by one that is itself; at least one, be it empty."""
    part: list[Said] = []
    size = 0
    for each in said:
        length = len(msgspec.json.encode(each)) + 1
        if part and size + length > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(each)
        size += length
    yield part
