"""What is published: discrepancies, feed conditions, and their identity.

An id is a hash of facts alone (account, identity, the origins compared, business key), never of offsets or times of
processing, so the same discrepancy found again, after a restart or by another strategy, is the same one.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.events import Origin, Stream
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal[
    "missing_internal", "missing_exchange", "fill_mismatch", "order_mismatch", "position_mismatch",
    "balance_mismatch", "ledger_missing", "duplicate_conflict", "net_change_mismatch",
]  # fmt: skip
Identity = Literal["trade", "order", "position", "balance", "net_change"]
Status = Literal["OPEN", "ACKNOWLEDGED", "RESOLVED", "CLEARED"]
Transition = Literal[
    "OPENED", "UPDATED", "CLEARED", "REOPENED", "ACKNOWLEDGED", "RESOLVED", "SUPERSEDED", "ANNOTATED",
]  # fmt: skip
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


class Handling(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What people did about an alert, and what they left with it."""

    by: str
    """Who did the newest of it."""
    acknowledged_by: str | None = None
    resolved_by: str | None = None
    assignee: str | None = None
    comment: str | None = None
    """The newest; those before are in earlier versions."""
    suppressed_until_us: int | None = None
    """Nobody is notified of what a record before this time (Kafka's) makes of it."""


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
    opened_us: int = 0
    """The time of events from which on it stands: the `due_us` of what opened it, or opened it again."""
    age_limit_us: int | None = None
    """How old it may get at its severity; None: no limit is set."""
    reopened: int = 0
    late: bool = False
    """A record arrived later than its contract allows."""
    notify: bool = True
    """False where it is suppressed, or explained in full by others."""
    handling: Handling | UnsetType = UNSET
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
    """False where it is suppressed."""
    handling: Handling | UnsetType = UNSET


Alert = Discrepancy | FeedCondition
STREAMED = frozenset({"real_time", "delta"})
"""The strategies whose findings the stream lane makes itself; those of all others are a run's."""


def by_run(alert: Alert) -> bool:
    """Whether it is said because a run found it, and the stream lane does not say so itself."""
    return isinstance(alert, Discrepancy) and alert.strategy not in STREAMED


def alert_id(*facts: str) -> str:
    """32 hex digits over the facts, in order; a unit separator cannot occur inside an identifier."""
    return blake2b("\x1f".join(facts).encode(), digest_size=16).hexdigest()


# -- severity ---------------------------------------------------------------------------------------------------------


class AbsoluteLimits(NamedTuple):
    """Amounts of one asset that decide whatever the relative size."""

    dust: Decimal | None = None
    """A difference of at most so much is info."""
    critical: Decimal | None = None
    """A difference of at least so much is critical."""


class Thresholds(NamedTuple):
    """Above which size a numeric difference is critical, and a person's to resolve."""

    critical: Decimal = Decimal("0.01")
    warning: Decimal = Decimal("0.001")
    absolute: Mapping[str, AbsoluteLimits] = {}
    """By asset; for the quantity of a fill or an order by instrument."""


_AT_LEAST: dict[Kind, Severity] = {
    "missing_internal": "critical",
    "missing_exchange": "critical",
    "duplicate_conflict": "warning",
    "ledger_missing": "critical",
}
_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


def severity_of(
    kind: Kind, size: Decimal, thresholds: Thresholds, *, asset: str | None = None, amount: Decimal | None = None
) -> Severity:
    """Severity by kind and size (a fraction); `amount` is the difference itself, where it is one of an asset.

    Of the absolute limits the critical one holds before dust. What the kind alone makes of it is never undercut.
    """
    return worst([_AT_LEAST.get(kind, "info"), _by_amount(asset, amount, thresholds) or _by_size(size, thresholds)])


def worst(severities: Iterable[Severity]) -> Severity:
    """The highest of them; info of none."""
    return max(severities, key=_RANK.__getitem__, default="info")


def _by_size(size: Decimal, thresholds: Thresholds) -> Severity:
    if size > thresholds.critical:
        return "critical"
    return "warning" if size > thresholds.warning else "info"


def _by_amount(asset: str | None, amount: Decimal | None, thresholds: Thresholds) -> Severity | None:
    limits = thresholds.absolute.get(asset) if asset is not None else None
    if limits is None or amount is None:
        return None
    if limits.critical is not None and abs(amount) >= limits.critical:
        return "critical"
    return "info" if limits.dust is not None and abs(amount) <= limits.dust else None


_NEVER_AUTOMATIC: frozenset[Kind] = frozenset({
    "missing_internal", "missing_exchange", "ledger_missing", "duplicate_conflict",
})  # fmt: skip


def auto_resolvable(alert: Discrepancy) -> bool:
    """Whether it is small enough to be corrected without a person: never where one side has nothing to correct."""
    return (
        alert.status in STANDING
        and alert.severity == "info"
        and alert.kind not in _NEVER_AUTOMATIC
        and all(field.internal is not None and field.exchange is not None for field in alert.fields)
    )


# -- age, notification, and what counts as new ------------------------------------------------------------------------


def age_us(alert: Alert, now_us: int) -> int:
    """For how long it has stood; 0 where that cannot be said."""
    since_us = alert.opened_us if isinstance(alert, Discrepancy) else alert.since_us
    return max(now_us - since_us, 0) if since_us > 0 else 0


def overdue(alert: Alert, now_us: int) -> bool:
    """Whether it stands for longer than is allowed at its severity."""
    limit_us = alert.age_limit_us if isinstance(alert, Discrepancy) else None
    return alert.status in STANDING and limit_us is not None and age_us(alert, now_us) > limit_us


def explained_in_full(alert: Alert) -> bool:
    """Whether other discrepancies account for all of it."""
    return (
        isinstance(alert, Discrepancy)
        and bool(alert.explained_by)
        and not any(part.name == "unexplained" and to_decimal(part.amount) for part in alert.split)
    )


def suppressed(alert: Alert, now_us: int) -> bool:
    """Whether nobody is to be notified of what a record of that time (Kafka's) makes of it."""
    until_us = None if isinstance(alert.handling, UnsetType) else alert.handling.suppressed_until_us
    return until_us is not None and now_us < until_us


def same_in_substance(known: Alert, alert: Alert) -> bool:
    """Whether what a person has settled is what is found again: then it stays settled.

    Of a discrepancy the substance is its kind, the fields that differ and their values, the residual, and which origins
    spoke of it in which way (a trade, a correction, a bust); not where the records lie, nor how severe it is taken to
    be. Of a feed condition it is since when the feed is not known, and how much that holds up, by powers of two.
    """
    if isinstance(known, FeedCondition) or isinstance(alert, FeedCondition):
        return (
            isinstance(known, FeedCondition)
            and isinstance(alert, FeedCondition)
            and known.since_us == alert.since_us
            and alert.waiting < 2 * max(known.waiting, 1)
        )
    return _substance(known) == _substance(alert)


def substance_digest(alert: Discrepancy) -> str:
    """32 hex digits over what `same_in_substance` compares of a discrepancy."""
    kind, fields, residual, spoke = _substance(alert)
    assert isinstance(spoke, set)
    return blake2b(msgspec.json.encode((kind, fields, residual, sorted(spoke))), digest_size=16).hexdigest()


def _substance(alert: Discrepancy) -> tuple[object, ...]:
    spoke = {(evidence.origin, evidence.record.get("exec") or "trade") for evidence in alert.evidence}
    return alert.kind, alert.fields, alert.residual, spoke
