"""`tail`, `breaks`, `break` and `explain`: what was found, and why."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    PREFIX,
    Bootstrap,
    ContractsFile,
    Failure,
    Format,
    Output,
    Prefix,
    Quiet,
    check_account,
    console,
    load_contracts,
    say,
    spread,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from stream_recon.consume import Received
    from stream_recon.domain.discrepancies import Alert


_IDS_SHOWN = 10


class Question(NamedTuple):
    """Which alerts are asked for, where they are, and how to answer: the options of `tail` and `breaks`."""

    account: Annotated[str | None, typer.Option(help="Only this account (`venue|id`); * stands for anything.")] = None
    kind: Annotated[
        str | None, typer.Option(help="Only this kind: missing_exchange, position_mismatch, STALE, ...")
    ] = None
    severity: Annotated[str | None, typer.Option(help="Only this severity: critical, warning, info.")] = None
    bootstrap: Bootstrap = BOOTSTRAP
    prefix: Prefix = PREFIX
    output: Output = Format.table
    quiet: Quiet = False

    def wants(self, alert: Alert) -> bool:
        """Whether an alert is among them."""
        from stream_recon.domain.discrepancies import Discrepancy

        name = alert.kind if isinstance(alert, Discrepancy) else alert.reason
        return (
            # What holds up a whole feed may hold up any account.
            (self.account is None or alert.account is None or fnmatchcase(alert.account, self.account))
            and (self.kind is None or name == self.kind)
            and (self.severity is None or alert.severity == self.severity)
        )


@spread
def tail(
    question: Question,
    from_start: Annotated[bool, typer.Option("--from-start", help="Everything there is, then what comes.")] = False,
) -> None:
    """Show alerts as they happen, one a line, until Ctrl-C."""
    from stream_recon.cli.answer import print_json
    from stream_recon.cli.options import plan_of
    from stream_recon.cli.render import show
    from stream_recon.consume import read

    _check_filters(question)
    topic = plan_of(question.prefix, 1).name("alerts")
    out = console()

    def tell(news: str) -> None:
        say(news, quiet=False)

    async def follow() -> None:
        async for received in read(question.bootstrap, topic, follow=True, from_start=from_start, tell=tell):
            if not question.wants(received.alert):
                continue
            if question.output is Format.json:
                print_json(received.alert)
            else:
                show(out, received.alert, received.time_us)

    say(f"Alerts of {topic}; Ctrl-C ends.", quiet=question.quiet or question.output is Format.json)
    try:
        wait_for(follow())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@spread
def breaks(
    question: Question,
    everything: Annotated[bool, typer.Option("--all", help="Those too that are resolved or cleared.")] = False,
) -> None:
    """List what is wrong now, effects below what they follow from. Exit code 0: nothing; 1: something."""
    from stream_recon.cli.answer import print_json, print_listing, split, split_standing, summary_of

    _check_filters(question)
    newest = list(states(question.bootstrap, question.prefix).values())
    alerts = [alert for alert in newest if question.wants(alert)]
    found, conditions = split(alerts) if everything else split_standing(alerts)
    if question.output is Format.json:
        print_json({"breaks": found, "conditions": conditions, "summary": summary_of(found, conditions)})
    else:
        print_listing(found, conditions)
        others = len(split_standing(newest)[0]) - len(split_standing(alerts)[0])
        if not found and others:
            console().print(f"--account, --kind and --severity leave out {others:,} that are open.", style="yellow")
        if found or conditions:
            say("`stream-recon break ID` shows one of them, `stream-recon explain ID` says why.", quiet=question.quiet)
    if any(split_standing(alerts)):
        raise typer.Exit(1)


Id = Annotated[str, typer.Argument(metavar="ID", help="Its id, or how that begins.")]


def break_(
    alert_id: Id,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show one discrepancy: both sides field by field, its residual, what it hangs together with, its history."""
    from stream_recon.cli.answer import print_json
    from stream_recon.cli.options import plan_of
    from stream_recon.core.relations import effects

    history = wait_for(_history(bootstrap, plan_of(prefix, 1).name("alerts"), alert_id))
    whole = only(history, alert_id)
    transitions = sorted(history[whole].values(), key=lambda received: received.alert.version)
    known = states(bootstrap, prefix)
    if output is Format.json:
        print_json(
            {
                "newest": transitions[-1].alert,
                "history": [received.alert for received in transitions],
                "effects": [effect.alert_id for effect in effects(whole, known)],
            }
        )
        return
    from stream_recon.cli.detail import show_detail

    show_detail(console(), [(received.time_us, received.alert) for received in transitions], known)
    say(f"\nid {whole}; `stream-recon explain {whole[:10]}` says why.", quiet=quiet)


def explain(
    alert_id: Id,
    contracts: ContractsFile = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Say in sentences why something is a break, or cannot be known: what was compared, what follows, what ends it.

    With the contracts that the workers have, their promises are told in numbers.
    """
    from stream_recon.cli.answer import print_json
    from stream_recon.core.explain import explain as reasoning

    promises = load_contracts(contracts) if contracts is not None else None
    known = states(bootstrap, prefix)
    whole = only(known, alert_id)
    passages = reasoning(known[whole], known, promises)
    if output is Format.json:
        print_json({"alert": known[whole], "explanation": [passage._asdict() for passage in passages]})
        return
    from stream_recon.cli.detail import show_explanation

    show_explanation(console(), passages)
    say(f"\nid {whole}; `stream-recon break {whole[:10]}` shows its records and its history.", quiet=quiet)


def states(bootstrap: str, prefix: str) -> dict[str, Alert]:
    """The newest state of every alert, by id."""
    from stream_recon.cli.options import plan_of
    from stream_recon.consume import newest

    found = wait_for(newest(bootstrap, plan_of(prefix, 1).name("breaks")))
    return {alert_id: received.alert for alert_id, received in found.items()}


def only(ids: Collection[str], beginning: str) -> str:
    """The one id that begins so.

    Raises:
        Failure: there is none, or more than one.
    """
    if not beginning:
        raise Failure("an ID is empty; `stream-recon breaks --all` lists them")
    found = sorted(each for each in ids if each.startswith(beginning))
    if not found:
        raise Failure(f"there is no discrepancy {beginning}; `stream-recon breaks --all` lists their ids")
    if len(found) > 1:
        shown = ", ".join(found[:_IDS_SHOWN]) + (", ..." if len(found) > _IDS_SHOWN else "")
        raise Failure(f"{beginning} is the beginning of {len(found)} ids: {shown}; give more of it")
    return found[0]


async def _history(bootstrap: str, topic: str, beginning: str) -> dict[str, dict[int, Received]]:
    """By alert id that begins so: its transitions by version."""
    from stream_recon.consume import read

    found: dict[str, dict[int, Received]] = {}
    async for received in read(bootstrap, topic, follow=False):
        alert = received.alert
        if alert.alert_id.startswith(beginning):
            found.setdefault(alert.alert_id, {}).setdefault(alert.version, received)
    return found


def _check_filters(question: Question) -> None:
    """A filter that can match nothing is a mistake, not an answer.

    Raises:
        Failure: there is no such kind or severity, or the account cannot be one.
    """
    from typing import get_args

    from stream_recon.domain.discrepancies import Kind, Reason, Severity

    if question.account is not None:
        check_account(question.account, pattern=True)
    for name, given, known in (
        ("kind", question.kind, (*get_args(Kind), *get_args(Reason))),
        ("severity", question.severity, get_args(Severity)),
    ):
        if given is not None and given not in known:
            raise Failure(f"there is no {name} {given!r}; there are {', '.join(known)}")
