"""What is said of a drift: its id, the nets that came apart, size and severity, a sentence, and what explains it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core.nets import ZERO, Net, minus, total
from stream_recon.domain.amounts import plain, relative_size, to_decimal
from stream_recon.domain.discrepancies import (
    Discrepancy,
    FieldDifference,
    Interval,
    SplitPart,
    alert_id,
    severity_of,
    worst,
)

if TYPE_CHECKING:
    from stream_recon.core.window_books import Matter
    from stream_recon.domain.discrepancies import Kind, Severity, Thresholds

KIND: Kind = "net_change_mismatch"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """One account, instrument or asset, and window, [from, to)."""

    account: str
    subject: str
    """The instrument; of ledgers the asset."""
    from_us: int
    to_us: int
    matter: Matter = "fills"


class Contribution(NamedTuple):
    """A discrepancy of a single trade or entry."""

    alert_id: str
    residual: Net
    """What it leaves residual in a window."""


class Findings(NamedTuple):
    """What is known of a drift."""

    nets: tuple[Net, Net]
    """What moved in its window, by origin."""
    drift: Net
    """exchange - internal, without what is tolerated."""
    due_us: int
    causes: list[Contribution]
    """The discrepancies of single trades or entries in it."""


def drift_alert_id(span: Span) -> str:
    """The id of a drift: account, identity, the origins compared, instrument, and the window by start and length.

    An asset may be called as an instrument is (a share, say), so that it is one is part of the id.
    """
    subject = (span.subject,) if span.matter == "fills" else ("asset", span.subject)
    start, length = str(span.from_us), str(span.to_us - span.from_us)
    return alert_id(span.account, "net_change", KIND, "internal:exchange", *subject, start, length)


def drift_of(span: Span, findings: Findings, thresholds: Thresholds) -> Discrepancy:
    """The published form of a drift. Its version, transition and status are the register's."""
    venue, account_id = span.account.split("|", 1)
    drift = findings.drift
    measures = sorted(drift, key=_rank)
    fields = [_difference(measure, *findings.nets) for measure in measures]
    size = max(relative_size(field.internal or "0", field.exchange or "0") for field in fields)
    first = drift[measures[0]]
    begin, end = _label(span.from_us), _label(span.to_us)
    asset = span.subject if span.matter == "ledger" else None
    what = f"net {measures[0]}" if asset is None else f"ledger of {asset}"
    split, explained_by = _explained(drift, findings.causes)
    return Discrepancy(
        alert_id=drift_alert_id(span),
        version=0,
        transition="OPENED",
        status="OPEN",
        kind=KIND,
        identity="net_change",
        severity=worst(_severity(field, asset, thresholds) for field in fields),
        account=span.account,
        venue=venue,
        account_id=account_id,
        compared="internal:exchange",
        instrument=span.subject if asset is None else None,
        asset=asset,
        event_us=span.to_us,
        due_us=findings.due_us,
        cause=(
            f"between {begin} and {end} the exchange's {what} changed by {plain(first.copy_abs())} "
            f"{'more' if first > 0 else 'less'} than ours"
        ),
        fields=fields,
        evidence=[],
        size=plain(size),
        interval=Interval(span.from_us, span.to_us, begin, end),
        residual=plain(first),
        split=split,
        explained_by=explained_by,
        strategy="delta",
    )


def _rank(measure: str) -> tuple[int, str]:
    """Quantity, then notional, then fees by asset."""
    order = ("qty", "notional")
    return (order.index(measure) if measure in order else len(order), measure)


def _severity(field: FieldDifference, asset: str | None, thresholds: Thresholds) -> Severity:
    size = relative_size(field.internal or "0", field.exchange or "0")
    return severity_of(KIND, size, thresholds, asset=asset, amount=to_decimal(field.difference or "0"))


def _explained(drift: Net, causes: list[Contribution]) -> tuple[list[SplitPart], list[str]]:
    """The parts of the first measure's residual, and the ids of all that the drift follows from.

    Where the causes account for that measure but not for all others, the drift must not pass for explained: then the
    split alone names them.
    """
    measure = min(drift, key=_rank)
    known = total(cause.residual for cause in causes)
    rest = minus(drift, known)
    ids = sorted(cause.alert_id for cause in causes if measure in cause.residual)
    parts = [
        SplitPart("known_causes", plain(known.get(measure, ZERO)), ids),
        SplitPart("unexplained", plain(rest.get(measure, ZERO))),
    ]
    all_ids = sorted(cause.alert_id for cause in causes if cause.residual)
    return [part for part in parts if part.amount != "0"], all_ids if measure in rest or not rest else []


def _difference(measure: str, internal: Net, exchange: Net) -> FieldDifference:
    ours, theirs = internal.get(measure, ZERO), exchange.get(measure, ZERO)
    gap = minus({measure: ours}, {measure: theirs}).get(measure, ZERO)
    return FieldDifference(measure, plain(ours), plain(theirs), plain(gap))


def _label(time_us: int) -> str:
    """A time for people, UTC."""
    time = _EPOCH + timedelta(microseconds=time_us)
    return time.isoformat(timespec="microseconds" if time_us % 1_000_000 else "seconds").replace("+00:00", "Z")
