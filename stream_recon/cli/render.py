"""How discrepancies and feed conditions look in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from stream_recon.domain.discrepancies import Alert, Evidence

SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
TRANSITION_STYLE = {
    "OPENED": "bold red", "REOPENED": "bold red", "UPDATED": "yellow", "SUPERSEDED": "yellow", "CLEARED": "green",
    "RESOLVED": "green", "ACKNOWLEDGED": "cyan", "ANNOTATED": "cyan",
}  # fmt: skip
_LONGEST_ACCOUNT = 28
_ID_SHOWN = 10
NOTHING = "nothing"


def clock(time_us: int, *, date: bool = False) -> str:
    """A time for people, UTC, to the millisecond."""
    if time_us < 0:
        return "never"
    time = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return (
        f"{time:%Y-%m-%d %H:%M:%S}.{time_us // 1000 % 1000:03d}"
        if date
        else (f"{time:%H:%M:%S}.{time_us // 1000 % 1000:03d}")
    )


def short_account(account: str) -> str:
    """An account with the middle of a long id left out."""
    venue, _, account_id = account.partition("|")
    if len(account) <= _LONGEST_ACCOUNT or len(account_id) <= len("0x1234…5678"):
        return account
    return f"{venue}|{account_id[:6]}…{account_id[-4:]}"


def short_id(alert_id: str) -> str:
    """As much of an id as tells it from the others; `break` takes it."""
    return alert_id[:_ID_SHOWN]


def both_values(alert: Discrepancy) -> tuple[str, str]:
    """What the internal and the exchange side say, as far as they differ; "nothing" for a side that says nothing.

    Of conflicting copies it is what their sender said first, and then.
    """
    if alert.kind in {"missing_internal", "missing_exchange"}:
        said = {f.field: f.internal if f.internal is not None else f.exchange for f in alert.fields}
        text = f"{said.get('qty')} at {said.get('price')}"
        if said.get("fee"):
            text += f", fee {said['fee']} {said.get('fee_asset') or ''}".rstrip()
        return (NOTHING, text) if alert.kind == "missing_internal" else (text, NOTHING)
    return (
        ", ".join(f"{f.field} {f.internal or NOTHING}" for f in alert.fields),
        ", ".join(f"{f.field} {f.exchange or NOTHING}" for f in alert.fields),
    )


def headline(alert: Alert) -> str:
    """What is wrong, in two or three words."""
    if isinstance(alert, FeedCondition):
        return {"STALE": "feed silent", "NEVER_SENT": "feed never heard", "SEQ_GAP": "feed has a hole",
                "SCHEMA_ERROR": "unreadable records", "CLOCK_SKEW": "clock ahead"}.get(
                    alert.reason, alert.reason.lower().replace("_", " "))  # fmt: skip
    if alert.kind == "fill_mismatch":
        return f"{' and '.join(f.field for f in alert.fields)} differs" if alert.fields else "fill differs"
    return {
        "missing_internal": "not in our books",
        "missing_exchange": "not at the exchange",
        "duplicate_conflict": "copies conflict",
    }.get(alert.kind, alert.kind.replace("_", " "))


def about(alert: Alert) -> str:
    """What it is about: the trade, or the feed."""
    if isinstance(alert, FeedCondition):
        return f"{alert.origin} {alert.stream} of {alert.source}, partition {alert.partition}"
    return " ".join(filter(None, [alert.instrument, alert.side, alert.trade_id]))


def show(out: Console, alert: Alert, time_us: int, *, indent: int = 0) -> None:
    """Print one transition so that it can be read without knowing the program: one line, or what a terminal needs."""
    head = Text(" " * indent).append(f"{clock(time_us)} ", "dim")
    head.append(f"{alert.transition:<8} ", TRANSITION_STYLE[alert.transition])
    head.append(f"{alert.severity:<8} ", SEVERITY_STYLE[alert.severity])
    if out.is_terminal:
        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_column()
        grid.add_row(head, _statement(alert))
        out.print(grid, soft_wrap=False)
    else:
        out.print(head.append_text(_statement(alert)))


def _statement(alert: Alert) -> Text:
    """What it is about, what is wrong, and the values."""
    before = "" if alert.status in STANDING else "no longer so: "
    if isinstance(alert, FeedCondition):
        return Text(f"{about(alert)}: {before}{alert.cause}")
    text = Text(f"{short_account(alert.account)} {about(alert)}: {before}{alert.cause}")
    text.append(" [", "dim").append_text(_values(alert)).append("]", "dim")
    if alert.late:
        text.append(" (a record came late)", "yellow")
    return text


def _values(alert: Discrepancy) -> Text:
    """Both values, or the one there is."""
    internal, exchange = both_values(alert)
    if alert.kind in {"missing_internal", "missing_exchange"}:
        return Text(exchange if internal == NOTHING else internal, "bold")
    return _said(alert)


def listing(alerts: Sequence[Alert]) -> Iterator[Text]:
    """Two lines for each: what is wrong and where, then when and what both sides say. Fits 80 columns mostly."""
    wide = max((len(headline(alert)) for alert in alerts), default=0)
    for alert in alerts:
        closed = "" if alert.status == "OPEN" else f" ({alert.status.lower()})"
        first = Text(f"{short_id(alert.alert_id)}  ")
        first.append(f"{alert.severity:<8}  ", SEVERITY_STYLE[alert.severity])
        first.append(f"{headline(alert):<{wide}}  ", "bold")
        second = Text(" " * (_ID_SHOWN + 2))
        if isinstance(alert, Discrepancy):
            first.append(f"{short_account(alert.account)}  {about(alert)}{closed}")
            second.append(f"{clock(alert.event_us, date=True)}  ", "dim").append_text(_said(alert))
        else:
            first.append(f"{about(alert)}{closed}")
            second.append(f"{clock(alert.since_us, date=True)}  ", "dim").append(alert.cause)
        yield first
        yield second


def _said(alert: Discrepancy) -> Text:
    """What both sides say, or both copies."""
    internal, exchange = both_values(alert)
    names = ("first", "then") if alert.kind == "duplicate_conflict" else ("internal", "exchange")
    text = Text()
    text.append(f"{names[0]} ", "dim").append(internal, "bold").append(" | ", "dim")
    return text.append(f"{names[1]} ", "dim").append(exchange, "bold")


def place(evidence: Evidence) -> str:
    """Where a record lies: topic-partition-offset, or file and line."""
    if evidence.topic is None:
        return "not kept"
    if evidence.offset is None:
        return evidence.topic
    if evidence.partition is None:
        return f"{evidence.topic}:{evidence.offset}"
    return f"{evidence.topic}-{evidence.partition}-{evidence.offset}"


_FIRST = ("type", "exec", "instrument", "trade_id", "ref_trade_id", "side", "qty", "price", "fee", "fee_asset",
          "order_id", "client_order_id", "ts_us")  # fmt: skip


def sides_table(alert: Discrepancy) -> Table:
    """All records it rests on, field by field, side by side; what differs is marked."""
    differing = {f.field for f in alert.fields}
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("field")
    columns: list[dict[str, object]] = []
    for origin in ("internal", "exchange"):
        found = [e for e in alert.evidence if e.origin == origin]
        for evidence in found:
            table.add_column(Text(f"{origin}\n{place(evidence)}"), overflow="fold")
            columns.append(evidence.record)
        if not found:
            table.add_column(Text(f"{origin}\nnothing"))
            columns.append({})
    names = {name: None for column in columns for name in column}
    ordered = [name for name in _FIRST if name in names] + sorted(set(names) - set(_FIRST))
    for name in ordered:
        values = [str(column[name]) if name in column else "" for column in columns]
        marked = name in differing
        table.add_row(
            Text("≠" if marked else " ", "bold red"),
            Text(name, "bold" if marked else "dim"),
            *(Text(value, "bold red" if marked else "") for value in values),
        )
    return table
