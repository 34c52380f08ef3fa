"""`tail`, `breaks` and `break`: what was found."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    PREFIX,
    Bootstrap,
    Failure,
    Format,
    Output,
    Prefix,
    Quiet,
    console,
    say,
    wait_for,
)

if TYPE_CHECKING:
    from stream_recon.consume import Received
    from stream_recon.domain.discrepancies import Alert

AccountFilter = Annotated[str | None, typer.Option(help="Only this account (`venue|id`); * stands for anything.")]
KindFilter = Annotated[str | None, typer.Option(help="Only this kind: missing_exchange, fill_mismatch, STALE, ...")]
SeverityFilter = Annotated[str | None, typer.Option(help="Only this severity: critical, warning, info.")]


def tail(
    account: AccountFilter = None,
    kind: KindFilter = None,
    severity: SeverityFilter = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Everything there is, then what comes.")] = False,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show alerts as they happen, one a line, until Ctrl-C."""
    from stream_recon.cli.answer import print_json
    from stream_recon.cli.options import plan_of
    from stream_recon.cli.render import show
    from stream_recon.consume import read

    _check_filters(kind, severity)
    topic = plan_of(prefix, 1).name("alerts")
    out = console()

    async def follow() -> None:
        async for received in read(bootstrap, topic, follow=True, from_start=from_start):
            if not _wanted(received.alert, account, kind, severity):
                continue
            if output is Format.json:
                print_json(received.alert)
            else:
                show(out, received.alert, received.time_us)

    say(f"Alerts of {topic}; Ctrl-C ends.", quiet=quiet or output is Format.json)
    try:
        wait_for(follow())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def breaks(
    account: AccountFilter = None,
    kind: KindFilter = None,
    severity: SeverityFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="Those too that are resolved or cleared.")] = False,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """List what is wrong now. Exit code 0: nothing; 1: something."""
    from collections import Counter

    from stream_recon.cli.answer import print_json, print_listing, split, split_standing
    from stream_recon.cli.options import plan_of
    from stream_recon.consume import newest

    _check_filters(kind, severity)
    states = wait_for(newest(bootstrap, plan_of(prefix, 1).name("breaks")))
    alerts = [r.alert for r in states.values() if _wanted(r.alert, account, kind, severity)]
    found, conditions = split(alerts) if everything else split_standing(alerts)
    kinds = Counter[str](alert.kind for alert in found)
    if output is Format.json:
        summary = {"kinds": dict(kinds), "severities": dict(Counter(a.severity for a in found)),
                   "conditions": dict(Counter(c.reason for c in conditions))}  # fmt: skip
        print_json({"breaks": found, "conditions": conditions, "summary": summary})
    else:
        print_listing(found, conditions)
        if found or conditions:
            say("`stream-recon break ID` shows one of them, both sides field by field.", quiet=quiet)
    standing = split_standing(alerts)
    if standing[0] or standing[1]:
        raise typer.Exit(1)


def break_(
    alert_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or how that begins.")],
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show one discrepancy: both sides field by field, where the records are, and its history."""
    from stream_recon.cli.options import plan_of

    history = wait_for(_history(bootstrap, plan_of(prefix, 1).name("alerts"), alert_id))
    if not history:
        raise Failure(f"there is no discrepancy {alert_id}; `stream-recon breaks --all` lists their ids")
    if len(history) > 1:
        raise Failure(
            f"{alert_id} is the beginning of {len(history)} ids: {', '.join(sorted(history))}; give more of it"
        )
    transitions = sorted(next(iter(history.values())).values(), key=lambda received: received.alert.version)
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({"newest": transitions[-1].alert, "history": [received.alert for received in transitions]})
    else:
        _show(transitions, quiet=quiet)


async def _history(bootstrap: str, topic: str, beginning: str) -> dict[str, dict[int, Received]]:
    """By alert id that begins so: its transitions by version."""
    from stream_recon.consume import read

    found: dict[str, dict[int, Received]] = {}
    async for received in read(bootstrap, topic, follow=False):
        alert = received.alert
        if alert.alert_id.startswith(beginning):
            found.setdefault(alert.alert_id, {}).setdefault(alert.version, received)
    return found


def _show(transitions: list[Received], *, quiet: bool) -> None:
    from rich.text import Text

    from stream_recon.cli import render
    from stream_recon.domain.discrepancies import Discrepancy

    out = console()
    newest = transitions[-1].alert
    title = Text(f"{newest.severity} ", render.SEVERITY_STYLE[newest.severity])
    title.append(f"{render.headline(newest)}, {newest.status}", "bold")
    out.print(title)
    out.print(Text(f"{newest.cause}."))
    if isinstance(newest, Discrepancy):
        out.print(
            Text(f"account {newest.account}, {render.about(newest)}, {render.clock(newest.event_us, date=True)} UTC")
        )
        if any(field.difference for field in newest.fields):
            out.print(Text("internal - exchange: " + ", ".join(
                f"{field.field} {field.difference}" for field in newest.fields if field.difference)))  # fmt: skip
        out.print()
        out.print(render.sides_table(newest))
    else:
        out.print(Text(f"{render.about(newest)}; known up to {render.clock(newest.since_us, date=True)} UTC"))
    out.print("\nHistory", style="bold")
    for received in transitions:
        moment = render.clock(received.time_us, date=True)
        text = Text(f"{moment}  {received.alert.version:>3}  ")
        text.append(f"{received.alert.transition:<12}", render.TRANSITION_STYLE[received.alert.transition])
        text.append(f" {received.alert.severity:<8} {received.alert.cause}")
        out.print(text)
    say(f"\nid {newest.alert_id}", quiet=quiet)


def _check_filters(kind: str | None, severity: str | None) -> None:
    """A filter that can match nothing is a mistake, not an answer.

    Raises:
        Failure: there is no such kind or severity.
    """
    from typing import get_args

    from stream_recon.domain.discrepancies import Kind, Reason, Severity

    for name, given, known in (
        ("kind", kind, (*get_args(Kind), *get_args(Reason))),
        ("severity", severity, get_args(Severity)),
    ):
        if given is not None and given not in known:
            raise Failure(f"there is no {name} {given!r}; there are {', '.join(known)}")


def _wanted(alert: Alert, account: str | None, kind: str | None, severity: str | None) -> bool:
    from stream_recon.domain.discrepancies import Discrepancy

    name = alert.kind if isinstance(alert, Discrepancy) else alert.reason
    return (
        # What holds up a whole feed may hold up any account.
        (account is None or alert.account is None or fnmatchcase(alert.account, account))
        and (kind is None or name == kind)
        and (severity is None or alert.severity == severity)
    )
