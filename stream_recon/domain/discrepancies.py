"""What is published: discrepancies, feed conditions, and their identity.

An id is a hash of facts alone (account, identity, the origins compared, business key), never of offsets or times of
processing, so the same discrepancy found again, after a restart or by another strategy, is the same one.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import Literal, NamedTuple

from msgspec import Struct

from stream_recon.domain.events import Origin, Stream

Kind = Literal[
    "missing_internal", "missing_exchange", "fill_mismatch", "order_mismatch", "position_mismatch",
    "balance_mismatch", "ledger_missing", "duplicate_conflict", "net_change_mismatch",
]  # fmt: skip
Identity = Literal["trade", "order", "position", "balance", "net_change"]
Status = Literal["OPEN", "ACKNOWLEDGED", "RESOLVED", "CLEARED"]
Transition = Literal["OPENED", "UPDATED", "CLEARED", "REOPENED", "ACKNOWLEDGED", "RESOLVED", "SUPERSEDED"]
Severity = Literal["critical", "warning", "info"]
Reason = Literal[
    "STALE", "NEVER_SENT", "SEQ_GAP", "CLOCK_SKEW", "SCHEMA_ERROR", "UNMAPPED_INSTRUMENT", "LOOKBACK_TRUNCATED",
    "LATE_BEYOND_HORIZON", "SOURCE_FAILED", "PARTIAL", "ANCHOR_MISSING", "AMBIGUOUS_OPENING", "INCOMPLETE_SNAPSHOT",
]  # fmt: skip


class FieldDifference(Struct, frozen=True, omit_defaults=True):
    """One field on both sides; `difference` (internal - exchange) where it is a number."""

    field: str
    internal: str | None
    exchange: str | None
    difference: str | None = None


class Interval(Struct, frozen=True):
    """Between two snapshots, or one window: the time in which something moved unseen."""

    from_us: int
    to_us: int
    from_label: str
    """The snapshot's time, or the trade it is anchored to."""
    to_label: str


SplitName = Literal["known_causes", "fees", "pending", "rounding", "unexplained"]


class SplitPart(Struct, frozen=True, omit_defaults=True):
    """One part of a residual; the parts add up to it to the last digit."""

    name: SplitName
    amount: str
    causes: list[str] = []
    """Ids of the discrepancies that account for it."""


class Evidence(Struct, frozen=True, omit_defaults=True):
    """One record that was looked at, and where it lies in the log or the file."""

    origin: Origin
    topic: str | None
    partition: int | None
    offset: int | None
    record: dict[str, object]


class Discrepancy(Struct, kw_only=True, tag_field="record", tag="discrepancy"):
    """The state of one discrepancy after one transition; on recon.alerts.v1 each, on recon.breaks.v1 the newest."""

    alert_id: str
    version: int
    transition: Transition
    status: Status
    kind: Kind
    identity: Identity
    severity: Severity
    account: str
    venue: str
    account_id: str
    compared: str
    """What is held against what: internal:exchange, or a side's snapshots or orders against movements or fills."""
    instrument: str | None = None
    trade_id: str | None = None
    side: str | None = None
    position_side: str | None = None
    asset: str | None = None
    order_id: str | None = None
    """The venue's; where it never gave one, the client's."""
    ledger_id: str | None = None
    event_us: int
    """Time of the newest event it rests on."""
    due_us: int
    """The time that the watermarks had to pass before it could be said."""
    cause: str
    """One sentence: what is wrong."""
    fields: list[FieldDifference]
    evidence: list[Evidence]
    size: str
    """|difference| / max(|internal|, |exchange|) of the field that differs most; 1 where one side has none."""
    interval: Interval | None = None
    residual: str | None = None
    """What was reported minus what movements explain; of two origins' states exchange minus internal."""
    split: list[SplitPart] = []
    explained_by: list[str] = []
    """Ids of the discrepancies that this one follows from; one that is explained in full is not paged."""
    reopened: int = 0
    late: bool = False
    """A record arrived later than its contract allows."""
    notify: bool = True
    strategy: str = "real_time"


class FeedCondition(Struct, kw_only=True, tag_field="record", tag="feed_condition"):
    """Why something cannot be known yet, one per source, stream, partition and reason, opened and cleared alike."""

    alert_id: str
    version: int
    transition: Transition
    status: Status
    reason: Reason
    severity: Severity
    origin: Origin
    source: str
    stream: Stream
    partition: int
    account: str | None
    since_us: int
    """The time up to which the feed is known."""
    waiting: int
    """How many records cannot be judged because of it."""
    cause: str
    reopened: int = 0
    notify: bool = True


Alert = Discrepancy | FeedCondition


def alert_id(*facts: str) -> str:
    """32 hex digits over the facts, in order; a unit separator cannot occur inside an identifier."""
    return blake2b("\x1f".join(facts).encode(), digest_size=16).hexdigest()


class Thresholds(NamedTuple):
    """Above which size a numeric difference is critical, and a person's to resolve."""

    critical: Decimal = Decimal("0.01")
    warning: Decimal = Decimal("0.001")


_AT_LEAST: dict[Kind, Severity] = {
    "missing_internal": "critical",
    "missing_exchange": "critical",
    "duplicate_conflict": "warning",
    "ledger_missing": "critical",
}


def severity_of(kind: Kind, size: Decimal, thresholds: Thresholds) -> Severity:
    """Severity by kind and size (a fraction)."""
    floor = _AT_LEAST.get(kind, "info")
    if floor == "critical" or size > thresholds.critical:
        return "critical"
    return "warning" if floor == "warning" or size > thresholds.warning else "info"
