"""What a run comes to: its result, and the certificate that says what it looked at.

A run is one execution of one reconciliation type. Its result is published on recon.results.v1 under the run's id, first
as `running`, and once as what it came to. All times are microseconds since the epoch.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Literal

from msgspec import Struct, field

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition, Identity
from stream_recon.domain.events import Origin, Stream

RunStatus = Literal["running", "completed", "partial", "failed"]
FINAL: frozenset[RunStatus] = frozenset({"completed", "partial", "failed"})
LISTED = 100
"""So many discrepancies a published result lists; all of them are alerts."""
NAMED = 10_000
"""Of so many it gives the ids."""


class CheckpointAt(Struct, frozen=True):
    """Where the closing state of a run lies in one partition of recon.partials.v1."""

    run_id: str
    first_offset: int
    end_offset: int


class Scope(Struct, frozen=True, kw_only=True):
    """What a run looks at."""

    identities: tuple[Identity, ...]
    accounts: tuple[str, ...] | None = None
    """`venue|account_id`; None: all."""
    from_us: int
    """Conclusions about an earlier time are left out."""
    to_us: int
    """The time of the cut; later ones are left out too."""


class TopicCut(Struct, frozen=True, kw_only=True):
    """What was read of one partition of a topic, or of one file."""

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    """The first offset that was not read."""
    records: int
    digest: str
    """A hash over offset, time, key and value of each record, in order."""
    watermarks: dict[str, int]
    """By source, up to when it had delivered everything."""


class Unsettled(Struct, frozen=True, kw_only=True):
    """A feed that had not passed the cut when the time was up."""

    origin: Origin
    stream: Stream
    partition: int
    source: str
    watermark_us: int
    """-1: it was never heard of."""
    waiting: int
    """How many records wait for it."""


class Certificate(Struct, kw_only=True):
    """What a run looked at, and under which rules: enough to do it again and see whether the same comes of it."""

    scope: Scope
    topics: list[TopicCut]
    unsettled: list[Unsettled] = []
    records: int
    duplicates: int
    rejected: int
    """Records that could not be understood."""
    strategy: str
    """The type by which it was done."""
    config: dict[str, Any]
    """The `ReconciliationConfig` it ran under."""
    absolute: dict[str, tuple[str | None, str | None]] = {}
    """By asset, the amounts (dust, critical) that decided over severity whatever the relative size."""
    config_version: int
    config_digest: str
    contracts_digest: str
    instruments_digest: str
    code_version: str
    verdicts_digest: str
    """A hash over every verdict, in the order of partitions and ids."""
    digest: str = ""
    """A hash over the result as a whole, but for its times."""
    absolved: list[str] = []
    """Ids of discrepancies that were corrected before and are the same since: they follow from the records, and are not
    found again."""
    checkpoint: str | None = None
    """The run on whose closing state this one was built."""
    anew: list[int] = []
    """Partitions that were read from the beginning all the same: something was older than that state remembers, or the
    state or what came after it has expired."""


class Summary(Struct, kw_only=True):
    """What a result amounts to."""

    not_reported: list[Identity] = []
    """Identities that nobody sent a record for: nothing was compared there."""
    by_kind: dict[str, int] = {}
    by_severity: dict[str, int] = {}
    by_identity: dict[str, int] = {}
    by_verdict: dict[str, int] = {}
    """MATCHED: fills, those of both sides, that agree; BREAK: discrepancies; INDETERMINATE: what waits, or could not be
    understood or placed; UNVERIFIED: fills of which the other side, by its contract, sends none."""
    indeterminate: dict[str, int] = {}
    """Feed conditions by reason."""
    critical_issues: int = 0
    pending: int = 0
    """Inside grace at the cut."""
    explained: int = 0
    """Discrepancies that follow from others."""
    net_amounts: dict[str, str] = {}
    """By asset or instrument, the residuals that nothing explains added up."""
    top_accounts: list[tuple[str, int]] = []
    seconds: dict[str, float] = {}
    """By stage."""


class ReconciliationResult(Struct, kw_only=True):
    """What one run came to."""

    @property
    def is_clean(self) -> bool:
        """Whether both sides agree: it was completed, nothing stands, and nothing waits to be decided."""
        undecided = self.summary.by_verdict.get("INDETERMINATE", 0)
        return self.status == "completed" and not (self.discrepancies_found or self.conditions or undecided)

    reconciliation_id: str
    type: str
    status: RunStatus
    start_time_us: int
    end_time_us: int | None = None
    total_records_processed: int = 0
    discrepancies_found: int = 0
    auto_resolved_count: int = 0
    manual_resolution_required: int = 0
    summary: Summary = field(default_factory=Summary)
    errors: list[str] = []
    requested_type: str | None = None
    """Where another type was run than was asked for."""
    fallback_reason: str | None = None
    config_version: int = 0
    certificate: Certificate | None = None
    alert_ids: list[str] = []
    """The ids of all discrepancies, by severity and id; at most `NAMED` where the result was published."""
    discrepancies: list[Discrepancy] = []
    """The first of them by severity and id, at most `LISTED` where the result was published."""
    conditions: list[FeedCondition] = []
    command_id: str | None = None
    issued_by: str | None = None
    command_offset: int | None = None
    """Where the command lies on recon.control.v1."""
    plan: dict[str, Any] | None = None
    """While it runs: what its coordinator needs to go on after a restart. Of a set_config: what it set."""
    checkpoints: dict[str, CheckpointAt] = {}
    """By partition, where its closing state lies, for an incremental run to go on from."""
    notes: list[str] = []
    """What the reader has to know: that a missed run was caught up, that there was no checkpoint, and the like."""


def run_id_of(command_id: str) -> str:
    """The id of the run that a command starts: a function of the command, so that it can start only one."""
    return blake2b(f"run\x1f{command_id}".encode(), digest_size=12).hexdigest()
