"""How discrepancies and feed conditions look in a terminal, many at a time; `detail` shows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from stream_recon.core.relations import below_causes, causes
from stream_recon.core.wording import (
    NOTHING,
    about,
    adds,
    age,
    between,
    both_values,
    clock,
    done,
    headline,
    lacking,
    short_account,
    short_id,
    sides,
    signed,
    standing,
    unit,
)
from stream_recon.domain.discrepancies import FeedCondition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from stream_recon.domain.discrepancies import Alert, Discrepancy

SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
TRANSITION_STYLE = {
    "OPENED": "bold red", "REOPENED": "bold red", "UPDATED": "yellow", "SUPERSEDED": "yellow", "CLEARED": "green",
    "RESOLVED": "green", "ACKNOWLEDGED": "cyan", "ANNOTATED": "cyan",
}  # fmt: skip
_WIDEST_HEADLINE = 22
_NAMED = 3


def hanging(out: Console, head: Text, *lines: Text) -> None:
    """Lines behind a head; where a terminal is too narrow they go on beside it, elsewhere each stays one line."""
    if out.is_terminal:
        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for number, line in enumerate(lines):
            grid.add_row(head if number == 0 else "", line)
        out.print(grid, soft_wrap=False)
        return
    for number, line in enumerate(lines):
        before = head.copy() if number == 0 else Text(" " * head.cell_len)
        out.print(before.append_text(line))


def show(out: Console, alert: Alert, time_us: int, *, indent: int = 0) -> None:
    """Print one transition so that it can be read without knowing the program: one line, or what a terminal needs."""
    head = Text(" " * indent).append(f"{clock(time_us)} ", "dim")
    head.append(f"{alert.transition:<8} ", TRANSITION_STYLE[alert.transition])
    if alert.notify:
        head.append(f"{alert.severity:<8} ", SEVERITY_STYLE[alert.severity])
    else:
        head.append("no page  ", "dim")
    head.append(f"{short_id(alert.alert_id)} ", "dim")
    hanging(out, head, _statement(alert))


def _statement(alert: Alert) -> Text:
    """What it is about, what is wrong, and the values."""
    before = _before(alert)
    if isinstance(alert, FeedCondition):
        return Text(f"{about(alert)}: {before}{alert.cause}")
    text = Text(f"{short_account(alert.account)} {about(alert)}: {before}{alert.cause}")
    values = said(alert, short=True)
    if values:
        text.append(" [", "dim").append_text(values).append("]", "dim")
    if alert.late:
        text.append(" (a record came late)", "yellow")
    return text.append_text(follows(alert))


def _before(alert: Alert) -> str:
    """What has to be known before the cause: what a person did, or that it is over."""
    if (told := done(alert)) is not None:
        return f"{told}: "
    if alert.status == "RESOLVED":
        return f"{standing(alert).strip(' ()')}: "
    return "no longer so: " if alert.status == "CLEARED" else ""


def follows(alert: Discrepancy) -> Text:
    """What it follows from, by ids; empty where it stands by itself."""
    ids = causes(alert)
    if not ids:
        return Text()
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return Text(f" (follows from {', '.join(map(short_id, ids[:_NAMED]))}{more})", "cyan")


def said(alert: Discrepancy, *, short: bool = False) -> Text:
    """What both sides say, or both copies, and the residual. `short`: where one side says nothing, only the other."""
    values = both_values(alert)
    if short and lacking(alert) is not None:
        return Text(values[values[0] == NOTHING], "bold")
    text = Text()
    for name, value in zip(sides(alert), values, strict=True):
        if value:
            text.append(" | " if text else "", "dim").append(f"{name} ", "dim").append(value, "bold")
    if alert.residual is not None:
        text.append(" | residual " if text else "residual ", "dim")
        text.append(f"{signed(alert.residual)}{unit(alert)}", "bold")
    return text


def print_alerts(out: Console, alerts: Sequence[Alert]) -> Iterator[Alert]:
    """Print them one after the other, each effect below its cause; gives each one that was printed."""
    wide = min(max((len(headline(alert)) for alert in alerts), default=0), _WIDEST_HEADLINE)
    for depth, alert in below_causes(alerts):
        branch = "  " * (depth - 1) + "└ " if depth else ""
        hanging(out, Text.assemble((branch, "dim"), f"{short_id(alert.alert_id)}  "), *_lines(alert, wide))
        yield alert


def _lines(alert: Alert, wide: int) -> Iterator[Text]:
    """What is wrong and where; when, and what both sides say; the cause, where it says more."""
    first = Text.assemble(
        (f"{alert.severity:<8}  ", SEVERITY_STYLE[alert.severity]), (f"{headline(alert):<{wide}}  ", "bold")
    )
    if isinstance(alert, FeedCondition):
        yield first.append(f"{about(alert)}{standing(alert)}")
        when = "" if alert.reason == "SCHEMA_ERROR" and alert.since_us < 0 else f"{clock(age(alert), date=True)}  "
        yield Text.assemble((when, "dim"), alert.cause)
        return
    yield first.append(f"{short_account(alert.account)}  {about(alert)}{standing(alert)}").append_text(follows(alert))
    when = clock(age(alert), date=True) if alert.interval is None else between(alert.interval)
    yield Text.assemble((f"{when}  ", "dim"), said(alert))
    if adds(alert):
        yield Text(alert.cause)
