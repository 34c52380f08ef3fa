"""The words for what was found, the same on a terminal, in a file and on a page: short ones, for one line each.

`core.explain` makes whole sentences of them. Two values always stand in one order: internal before exchange, what
movements explain before what was reported, the first copy before the next.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import UnsetType

from stream_recon.domain.corrections import corrected_by, is_corrector
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition, same_in_substance
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Alert, Evidence, Handling, Interval, Reason, SplitName
    from stream_recon.domain.events import Origin

_LONGEST_ACCOUNT = 28
_ID_SHOWN = 10
NOTHING = "nothing"
MISSING = frozenset({"missing_internal", "missing_exchange"})

REASONS: dict[Reason, str] = {
    "STALE": "feed silent",
    "NEVER_SENT": "feed never heard",
    "SEQ_GAP": "feed has a hole",
    "CLOCK_SKEW": "clock ahead",
    "SCHEMA_ERROR": "unreadable records",
    "UNMAPPED_INSTRUMENT": "instrument of unknown kind",
    "LOOKBACK_TRUNCATED": "begins before the log",
    "LATE_BEYOND_HORIZON": "unknown or too late",
    "SOURCE_FAILED": "source failed",
    "PARTIAL": "records only partly sent",
    "ANCHOR_MISSING": "snapshot's fill missing",
    "AMBIGUOUS_OPENING": "opening ambiguous",
    "INCOMPLETE_SNAPSHOT": "snapshot incomplete",
}
PARTS: dict[SplitName, str] = {
    "known_causes": "known causes",
    "fees": "fees",
    "pending": "pending",
    "rounding": "rounding",
    "unexplained": "unexplained",
}


def clock(time_us: int, *, date: bool = False) -> str:
    """A time for people, UTC, to the millisecond."""
    if time_us < 0:
        return "never"
    time = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    text = f"{time:%H:%M:%S}.{time_us // 1000 % 1000:03d}"
    return f"{time:%Y-%m-%d} {text}" if date else text


def counted(number: int, what: str) -> str:
    """So many of something: 1 record, 1,000 records."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def waiting_for_it(number: int) -> str:
    """How many records wait for a feed."""
    return f"{counted(number, 'record')} {'waits' if number == 1 else 'wait'} for it"


def handling_of(alert: Alert) -> Handling | None:
    """What people did about it; None: nothing."""
    return None if isinstance(alert.handling, UnsetType) else alert.handling


_DONE = {"ACKNOWLEDGED": "acknowledged", "RESOLVED": "resolved", "ANNOTATED": "noted", "REOPENED": "reopened"}


def done(alert: Alert, before: Alert | None = None) -> str | None:
    """Who did what in this transition, and what they left with it; None: it is records that made it.

    Records and people both make REOPENED: which of them it was shows only beside the state `before`.
    """
    handling = handling_of(alert)
    if handling is None or alert.transition not in _DONE:
        return None
    if alert.transition == "REOPENED" and not (
        before is not None and before.status == "RESOLVED" and same_in_substance(before, alert)
    ):
        return None
    if alert.transition == "RESOLVED" and (corrected := corrected_by(handling)) is not None:
        return f"resolved by a correcting entry; `stream-recon undo {corrected}` takes it back"
    if alert.transition == "REOPENED" and is_corrector(handling.by):
        return "its correcting entry was taken back"
    return f"{_DONE[alert.transition]} by {handling.by}{_left(handling)}"


def _left(handling: Handling) -> str:
    """What people left with an alert."""
    told = f", assigned to {handling.assignee}" if handling.assignee else ""
    if handling.suppressed_until_us is not None:
        told += f", silent until {clock(handling.suppressed_until_us, date=True)} UTC"
    return told + (f' ("{_one_line(handling.comment)}")' if handling.comment else "")


def _one_line(text: str) -> str:
    """What somebody wrote, as one line that can be shown."""
    return "".join(c if c.isprintable() else " " for c in text)


def standing(alert: Alert) -> str:
    """Its status and whose it is, in brackets, for a listing; empty where it is open and nobody's."""
    handling = handling_of(alert)
    told = [] if alert.status == "OPEN" else [alert.status.lower()]
    if handling is not None and alert.status == "RESOLVED" and handling.resolved_by:
        corrected = corrected_by(handling) is not None
        told = [f"resolved by {'a correcting entry' if corrected else handling.resolved_by}"]
    if handling is not None and handling.assignee:
        told.append(f"assigned to {handling.assignee}")
    return f" ({', '.join(told)})" if told else ""


def duration(span_us: int) -> str:
    """A span for people, exact: 250 ms, 5 s, 1.5 s, 2 min."""
    seconds, rest_us = divmod(span_us, 1_000_000)
    if not seconds:
        return f"{span_us // 1000} ms" if span_us % 1000 == 0 else f"{span_us} µs"
    if rest_us or seconds % 60:
        return f"{seconds}.{rest_us:06d}".rstrip("0").rstrip(".") + " s"
    return f"{seconds // 60} min"


def short_account(account: str) -> str:
    """An account with the middle of a long id left out."""
    venue, _, account_id = account.partition("|")
    if len(account) <= _LONGEST_ACCOUNT or len(account_id) <= len("0x1234…5678"):
        return account
    return f"{venue}|{account_id[:6]}…{account_id[-4:]}"


def short_id(alert_id: str) -> str:
    """As much of an id as tells it from the others; `break` takes it."""
    return alert_id[:_ID_SHOWN]


def place(evidence: Evidence) -> str:
    """Where a record lies: topic-partition-offset, or file and line."""
    if evidence.topic is None:
        return "not kept"
    if evidence.offset is None:
        return evidence.topic
    if evidence.partition is None:
        return f"{evidence.topic}:{evidence.offset}"
    return f"{evidence.topic}-{evidence.partition}-{evidence.offset}"


def against(alert: Discrepancy) -> str:
    """What a side is held against: exchange, fills, own, cross, parts; of conflicting copies themselves."""
    return alert.compared.partition(":")[2] or "copies"


def lacking(alert: Discrepancy) -> Origin | None:
    """The origin that says nothing where the other says something."""
    if alert.kind in MISSING:
        return "internal" if alert.kind == "missing_internal" else "exchange"
    if against(alert) == "exchange":
        said = [any(getattr(field, origin) is not None for field in alert.fields) for origin in ORIGINS]
        if alert.kind == "ledger_missing" and said[0] == said[1]:
            said = [any(evidence.origin == origin for evidence in alert.evidence) for origin in ORIGINS]
        if said[0] != said[1]:
            return ORIGINS[said.index(False)]
    return None


def sides(alert: Discrepancy) -> tuple[str, str]:
    """Who says the first and who the second value of each field."""
    who = alert.compared.partition(":")[0]
    moved = "fills" if alert.identity == "position" else "movements"
    return {
        "copies": ("first", "then"),
        "fills": ("fills", f"{who} order"),
        "own": (f"{who} {moved}", f"{who} snapshot"),
        "cross": (f"internal {moved}", "exchange snapshot"),
        "parts": ("free + locked", "total"),
    }.get(against(alert), ORIGINS)


def both_values(alert: Discrepancy) -> tuple[str, str]:
    """What both sides say, as far as they differ; "nothing" for a side that says nothing."""
    absent = lacking(alert)
    if absent is not None:
        text = _whole(alert)
        return (NOTHING, text) if absent == "internal" else (text, NOTHING)
    if len(alert.fields) == 1 and against(alert) in {"fills", "own", "cross", "parts"}:
        (field,) = alert.fields
        return field.internal or NOTHING, field.exchange or NOTHING
    return (
        ", ".join(f"{f.field} {f.internal or NOTHING}" for f in alert.fields),
        ", ".join(f"{f.field} {f.exchange or NOTHING}" for f in alert.fields),
    )


def _whole(alert: Discrepancy) -> str:
    """All that the only side says."""
    said = {f.field: f.internal if f.internal is not None else f.exchange for f in alert.fields}
    if alert.kind in MISSING:
        return record_words({"type": "fill", **{name: said.get(name) for name in ("qty", "price", "fee", "fee_asset")}})
    if alert.kind == "ledger_missing":
        kept = next((evidence.record for evidence in alert.evidence), {})
        return record_words({**kept, **said, "type": "ledger", "asset": alert.asset or kept.get("asset")})
    if alert.kind == "order_mismatch":
        kept = next((e.record for e in reversed(alert.evidence) if e.record.get("status")), {})
        return record_words({**kept, **{k: v for k, v in said.items() if k != "order"}, "type": "order"}) or "reported"
    return ", ".join(f"{name} {value}" for name, value in said.items())


def headline(alert: Alert) -> str:
    """What is wrong, in two or three words."""
    if isinstance(alert, FeedCondition):
        return REASONS[alert.reason]
    if alert.kind in {"fill_mismatch", "order_mismatch"}:
        return _disagreement(alert)
    return {
        "missing_internal": "not in our books",
        "missing_exchange": "not at the exchange",
        "duplicate_conflict": "copies conflict",
        "position_mismatch": _state(alert),
        "balance_mismatch": _state(alert),
        "ledger_missing": f"entry {_where_not(lacking(alert))}",
        "net_change_mismatch": "net change differs",
    }[alert.kind]


def _disagreement(alert: Discrepancy) -> str:
    if against(alert) == "fills":
        return "order unlike its fills"
    absent = lacking(alert)
    if absent is not None:
        return f"order {_where_not(absent)}"
    names = " and ".join(field.field for field in alert.fields)
    of = {"fill_mismatch": "" if names else "fill", "order_mismatch": "order"}[alert.kind]
    return " ".join(filter(None, [of, names, "differ" if len(alert.fields) > 1 else "differs"]))


def _where_not(origin: Origin | None) -> str:
    return {"internal": "not in our books", "exchange": "not at the exchange", None: "has no twin"}[origin]


def _state(alert: Discrepancy) -> str:
    if alert.ledger_id is not None:
        return "ledger entry differs"
    return {"exchange": f"{alert.identity}s differ", "parts": "parts unlike total"}.get(
        against(alert), f"{alert.identity} not explained"
    )


def about(alert: Alert) -> str:
    """What it is about: the trade, the order, the position, the asset or entry; or the feed."""
    if isinstance(alert, FeedCondition):
        return f"{alert.origin} {alert.stream} of {alert.source}, partition {alert.partition}"
    if alert.identity == "order":
        return " ".join(filter(None, [alert.instrument, "order", alert.order_id]))
    if alert.ledger_id is not None:
        return " ".join(filter(None, [alert.asset, "entry", alert.ledger_id]))
    side = alert.position_side if alert.position_side != "net" else None
    if alert.identity == "trade":
        return " ".join(filter(None, [alert.instrument, alert.side, alert.trade_id]))
    return " ".join(filter(None, [alert.instrument, side, alert.asset]))


def unit(alert: Discrepancy) -> str:
    """What a residual counts: the asset of a balance, else nothing that needs a name."""
    return f" {alert.asset}" if alert.asset is not None else ""


def signed(amount: str) -> str:
    """An amount with its sign, also where it is above zero."""
    return amount if amount.startswith("-") or not amount.strip("0.") else f"+{amount}"


def between(interval: Interval) -> str:
    """The time in which something moved unseen."""
    same_day = interval.from_us // 86_400_000_000 == interval.to_us // 86_400_000_000
    start = _moment(interval.from_us, interval.from_label, date=True)
    return f"between {start} and {_moment(interval.to_us, interval.to_label, date=not same_day)}"


def _moment(time_us: int, label: str, *, date: bool) -> str:
    if time_us <= 0 or label == "opening":
        return "the opening"
    at = clock(time_us, date=date)
    is_time = not label or ":" in label or label == str(time_us)
    return at if is_time else f"{at} (trade {label})"


def adds(alert: Discrepancy) -> bool:
    """Whether the cause says more than headline and values do."""
    if alert.kind in MISSING:
        return not alert.cause.endswith("never sent it")
    if alert.kind == "fill_mismatch":
        return not alert.cause.startswith("both sides have this fill")
    return True


def record_words(record: dict[str, object]) -> str:
    """What one record says, without its account and time; what it lacks is left out."""

    def told(text: str, *names: str) -> str | None:
        values = [record.get(name) for name in names]
        return text.format(*values) if all(value not in {None, ""} for value in values) else None

    kind = record.get("type") or ("fill" if "trade_id" in record else "")
    if kind == "fill":
        amended = record.get("exec") if record.get("exec") != "trade" else None
        head = " ".join(filter(None, [told("{}", "side"), told("{} at {}", "qty", "price")]))
        parts = [
            f"{amended} of {record.get('ref_trade_id')}: {head}" if amended else head,
            told("fee {} {}", "fee", "fee_asset") or told("fee {}", "fee"),
            told("{}", "position_side"),
        ]
    elif kind == "order":
        parts = [told("{}", "status"), told("{} of {} filled", "cum_qty", "qty")]
    elif kind == "position":
        parts = [told("{}", "qty"), told("{}", "position_side"), _anchor(record)]
    elif kind == "balance":
        parts = [
            told("{} {}", "total", "asset"), told("free {}", "free"), told("locked {}", "locked"), _anchor(record),
        ]  # fmt: skip
    elif kind == "ledger":
        reason, delta = told("{}", "reason"), signed(str(record.get("delta") or ""))
        parts = [" ".join(filter(None, [reason, delta, told("{}", "asset")])), told("for {}", "ref_id")]
    elif kind == "snapshot_end":
        parts = [told("snapshot {} of {} records is complete", "snapshot_id", "count")]
    else:
        parts = [f"{name} {value}" for name, value in record.items()]
    return ", ".join(filter(None, parts))


def _anchor(record: dict[str, object]) -> str | None:
    anchor = record.get("anchor")
    return f"{anchor.get('when')} trade {anchor.get('trade_id')}" if isinstance(anchor, dict) else None


def age(alert: Alert) -> int:
    """The time that a listing goes by: of the newest event, or up to which the feed is known."""
    return alert.event_us if isinstance(alert, Discrepancy) else alert.since_us
