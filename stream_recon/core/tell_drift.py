"""What is said of a drift: its id, the nets that came apart, its size and severity, and a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core.nets import ZERO, Net, minus
from stream_recon.domain.amounts import plain, relative_size
from stream_recon.domain.discrepancies import Discrepancy, FieldDifference, Interval, alert_id, severity_of

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Kind, Thresholds

KIND: Kind = "net_change_mismatch"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """One account, instrument and window, [from, to)."""

    account: str
    instrument: str
    from_us: int
    to_us: int


class Findings(NamedTuple):
    """What is known of a drift."""

    nets: tuple[Net, Net]
    """What moved in its window, by origin."""
    drift: Net
    """exchange - internal, without what is tolerated."""
    due_us: int
    causes: list[str]
    """Ids of the discrepancies of single trades in it."""


def drift_alert_id(span: Span) -> str:
    """The id of a drift: account, identity, the origins compared, instrument, and the window by start and length."""
    start, length = str(span.from_us), str(span.to_us - span.from_us)
    return alert_id(span.account, "net_change", KIND, "internal:exchange", span.instrument, start, length)


def drift_of(span: Span, findings: Findings, thresholds: Thresholds) -> Discrepancy:
    """The published form of a drift. Its version, transition and status are the register's."""
    venue, account_id = span.account.split("|", 1)
    drift = findings.drift
    measures = sorted(drift, key=_rank)
    fields = [_difference(measure, *findings.nets) for measure in measures]
    size = max(relative_size(field.internal or "0", field.exchange or "0") for field in fields)
    first = drift[measures[0]]
    begin, end = _label(span.from_us), _label(span.to_us)
    return Discrepancy(
        alert_id=drift_alert_id(span),
        version=0,
        transition="OPENED",
        status="OPEN",
        kind=KIND,
        identity="net_change",
        severity=severity_of(KIND, size, thresholds),
        account=span.account,
        venue=venue,
        account_id=account_id,
        compared="internal:exchange",
        instrument=span.instrument,
        event_us=span.to_us,
        due_us=findings.due_us,
        cause=(
            f"between {begin} and {end} the exchange's net {measures[0]} changed by {plain(first.copy_abs())} "
            f"{'more' if first > 0 else 'less'} than ours"
        ),
        fields=fields,
        evidence=[],
        size=plain(size),
        interval=Interval(span.from_us, span.to_us, begin, end),
        residual=plain(first),
        explained_by=findings.causes,
        strategy="delta",
    )


def _rank(measure: str) -> tuple[int, str]:
    """Quantity, then notional, then fees by asset."""
    order = ("qty", "notional")
    return (order.index(measure) if measure in order else len(order), measure)


def _difference(measure: str, internal: Net, exchange: Net) -> FieldDifference:
    ours, theirs = internal.get(measure, ZERO), exchange.get(measure, ZERO)
    gap = minus({measure: ours}, {measure: theirs}).get(measure, ZERO)
    return FieldDifference(measure, plain(ours), plain(theirs), plain(gap))


def _label(time_us: int) -> str:
    """A time for people, UTC."""
    time = _EPOCH + timedelta(microseconds=time_us)
    return time.isoformat(timespec="microseconds" if time_us % 1_000_000 else "seconds").replace("+00:00", "Z")
