"""One discrepancy or feed condition in a terminal: at a glance (`break`), and the reasoning behind it (`explain`)."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stream_recon.cli.render import SEVERITY_STYLE, TRANSITION_STYLE, hanging
from stream_recon.core.relations import causes, effects
from stream_recon.core.wording import (
    PARTS,
    about,
    against,
    between,
    clock,
    counted,
    done,
    handling_of,
    headline,
    lacking,
    place,
    record_words,
    short_id,
    sides,
    signed,
    unit,
)
from stream_recon.domain.amounts import EXACT, to_decimal
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType

    from stream_recon.core.explain import Passage
    from stream_recon.domain.discrepancies import Alert, SplitName

PART_STYLE: dict[SplitName, str] = {
    "known_causes": "cyan", "fees": "magenta", "pending": "yellow", "rounding": "bright_black",
    "unexplained": "red",
}  # fmt: skip
PART_MARK: dict[SplitName, str] = {
    "known_causes": "▓", "fees": "▒", "pending": "░", "rounding": "·", "unexplained": "█",
}  # fmt: skip
_WIDEST_BAR = 60
_SIDE_BY_SIDE = 3
_READABLE = 100


def show_detail(out: Console, history: Sequence[tuple[int, Alert]], states: Mapping[str, Alert]) -> None:
    """All there is about one: `history` holds its transitions with the time at which each was published."""
    newest = history[-1][1]
    severity = (f"{newest.severity} ", SEVERITY_STYLE[newest.severity])
    out.print(Text.assemble(severity, (f"{headline(newest)}, {newest.status}", "bold")))
    out.print(Text(f"{newest.cause}."), width=_width(out), soft_wrap=not out.is_terminal)
    out.print()
    for name, value in _facts(newest, history):
        hanging(out, Text(f"{name:<10}", "dim"), Text(value))
    if isinstance(newest, Discrepancy):
        for title_, shown in _sections(newest, states, out):
            out.print(f"\n{title_}", style="bold")
            for each in shown:
                out.print(each, soft_wrap=not out.is_terminal and isinstance(each, Text))
    out.print("\nHistory", style="bold")
    before: Alert | None = None
    for time_us, alert in history:
        head = Text(f"{clock(time_us, date=True)}  {alert.version:>3}  ")
        head.append(f"{alert.transition:<12}", TRANSITION_STYLE[alert.transition])
        cause = alert.cause if before is None or alert.cause != before.cause else None
        told = "; ".join(filter(None, [done(alert, before), cause]))
        hanging(out, head, Text(f" {alert.severity:<8} {told}".rstrip()))
        before = alert


def _width(out: Console) -> int:
    """Not wider than people like to read."""
    return min(out.width, _READABLE)


def _facts(alert: Alert, history: Sequence[tuple[int, Alert]]) -> Iterator[tuple[str, str]]:
    """What it is about, since when, and whose it is."""
    handling = handling_of(alert)
    if handling is not None and handling.assignee:
        yield "assigned", f"to {handling.assignee}"
    opened = [time_us for time_us, each in history if each.transition in {"OPENED", "REOPENED"}]
    since = f"; published {clock(opened[-1], date=True)}" if opened else ""
    if isinstance(alert, FeedCondition):
        yield "feed", about(alert)
        if alert.account is not None:
            yield "account", alert.account
        far = f"up to {clock(alert.since_us, date=True)}" if alert.since_us >= 0 else "not how far it is"
        yield "known", f"{far}{since}"
        yield "waiting", counted(alert.waiting, "record")
        return
    yield "account", alert.account
    yield "about", about(alert)
    compared = "its copies" if against(alert) == "copies" else " with ".join(sides(alert))
    yield "identity", f"{alert.identity.replace('_', ' ')}: {compared}"
    if alert.interval is not None:
        yield "moved", f"{between(alert.interval)} UTC"
    yield "since", f"{clock(alert.event_us, date=True)} UTC{since}"
    if alert.due_us > alert.event_us:
        yield "due", f"{clock(alert.due_us, date=True)} UTC, once the feeds were known that far"
    if alert.late:
        yield "late", "a record came later than its contract allows"
    if alert.reopened:
        yield "reopened", str(alert.reopened)


def _sections(
    alert: Discrepancy, states: Mapping[str, Alert], out: Console
) -> Iterator[tuple[str, Iterable[RenderableType]]]:
    of_records = alert.identity in {"trade", "order"} or alert.ledger_id is not None
    side_by_side = of_records and len(alert.evidence) <= _SIDE_BY_SIDE
    if alert.fields and not (side_by_side and against(alert) in {"exchange", "copies"}):
        yield "Both sides", [fields_table(alert)]
    elif any(field.difference for field in alert.fields):
        told = ", ".join(f"{field.field} {signed(field.difference)}" for field in alert.fields if field.difference)
        yield "Difference", [Text(f"{' - '.join(sides(alert))}: {told}")]
    if alert.residual is not None:
        yield "Residual", residual_bar(alert, min(_width(out), _WIDEST_BAR))
    if above := causes(alert):
        yield "Follows from", [_brief(each, states) for each in above]
    if below := effects(alert.alert_id, states):
        yield "What follows from it", [_brief(each.alert_id, states) for each in below]
    if alert.evidence:
        yield "Records", [sides_table(alert) if side_by_side else records_table(alert)]


def _brief(alert_id: str, states: Mapping[str, Alert]) -> Text:
    alert = states.get(alert_id)
    if alert is None:
        return Text(f"{short_id(alert_id)}  not kept here")
    text = Text(f"{short_id(alert_id)}  ").append(f"{alert.severity:<8}  ", SEVERITY_STYLE[alert.severity])
    residual = alert.residual if isinstance(alert, Discrepancy) else None
    values = f", residual {signed(residual)}{unit(alert)}" if residual and isinstance(alert, Discrepancy) else ""
    status = "" if alert.status == "OPEN" else f" ({alert.status.lower()})"
    return text.append(headline(alert), "bold").append(f"  {about(alert)}{values}{status}")


def fields_table(alert: Discrepancy) -> Table:
    """The fields that differ, one a row."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("field")
    for name in sides(alert):
        table.add_column(Text(name), justify="right", overflow="fold")
    has_difference = any(field.difference is not None for field in alert.fields)
    if has_difference:
        table.add_column("difference", justify="right", overflow="fold")
    for field in alert.fields:
        values = [
            Text(value if value is not None else "nothing", "bold red") for value in (field.internal, field.exchange)
        ]
        difference = [Text(signed(field.difference) if field.difference is not None else "")] if has_difference else []
        table.add_row(Text("≠", "bold red"), Text(field.field, "bold"), *values, *difference)
    return table


def residual_bar(alert: Discrepancy, width: int) -> Iterator[Text]:
    """The residual, a bar of its parts by size, and what each mark stands for."""
    count = unit(alert)
    of = "exchange - internal" if against(alert) == "exchange" else "reported - explained"
    yield Text.assemble((f"{signed(alert.residual or '0')}{count}", "bold"), (f"  ({of})", "dim"))
    parts = [part for part in alert.split if to_decimal(part.amount)]
    if not parts:
        return
    bar = Text()
    for part, cells in zip(parts, shares([to_decimal(part.amount) for part in parts], width), strict=True):
        bar.append(PART_MARK[part.name] * cells, PART_STYLE[part.name])
    yield bar
    wide = max(len(signed(part.amount)) for part in parts)
    for part in parts:
        amount = f"{PARTS[part.name]:<12}  {signed(part.amount):>{wide}}{count}"
        legend = Text.assemble((f"{PART_MARK[part.name]} ", PART_STYLE[part.name]), amount)
        if part.causes:
            legend.append(f"  from {', '.join(map(short_id, part.causes))}", "dim")
        yield legend
    if len({part.amount.startswith("-") for part in parts}) > 1:
        yield Text("Parts of opposite signs offset each other; the bar shows their sizes.", "dim")


def shares(amounts: Sequence[Decimal], width: int) -> list[int]:
    """How many cells of `width` each amount gets by its size; none gets less than one."""
    sizes = [amount.copy_abs() for amount in amounts]
    whole = reduce(EXACT.add, sizes, Decimal(0))
    cells = [max(1, int(size * width // whole)) for size in sizes]
    largest = sizes.index(max(sizes))
    cells[largest] = max(1, cells[largest] + width - sum(cells))
    return cells


_FIRST = ("type", "exec", "instrument", "asset", "trade_id", "ref_trade_id", "ledger_id", "ref_id", "side", "status",
          "qty", "cum_qty", "price", "fee", "fee_asset", "delta", "reason", "order_id", "client_order_id",
          "ts_us")  # fmt: skip


def sides_table(alert: Discrepancy) -> Table:
    """All records it rests on, field by field, side by side; what differs is marked."""
    differing = {f.field for f in alert.fields} if lacking(alert) is None else set()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("field")
    columns: list[dict[str, object]] = []
    for origin in ORIGINS:
        found = [e for e in alert.evidence if e.origin == origin]
        for evidence in found:
            table.add_column(Text(f"{origin}\n{place(evidence)}"), overflow="fold")
            columns.append(evidence.record)
        if not found and against(alert) == "exchange":
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


def records_table(alert: Discrepancy) -> Table:
    """All records it rests on, one below the other: who, when, what, and where it lies."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for evidence in alert.evidence:
        ts_us = evidence.record.get("ts_us")
        what = str(evidence.record.get("type") or "").replace("_", " ")
        text = Text(f"{what} {record_words(evidence.record)}".strip()).append(f"\n{place(evidence)}", "dim")
        table.add_row(Text(evidence.origin), Text(clock(ts_us, date=True) if isinstance(ts_us, int) else ""), text)
    return table


def show_explanation(out: Console, passages: Sequence[Passage], *, indent: int = 0) -> None:
    """The reasoning, each passage under its name."""
    for passage in passages:
        out.print(Text(" " * indent + passage.about[:1].upper() + passage.about[1:], "bold"))
        for sentence in passage.sentences:
            if out.is_terminal:
                out.print(Padding(Text(sentence), (0, 0, 0, indent + 2)), width=_width(out), soft_wrap=False)
            else:
                out.print(Text(f"{' ' * (indent + 2)}{sentence}"))
