"""`audit`: keep what was published, prove that it is what was kept, look at it, make it anew."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads it at run time
from typing import TYPE_CHECKING, Annotated

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    GROUP,
    PORTS,
    PREFIX,
    Bootstrap,
    Failure,
    Format,
    Group,
    Output,
    Prefix,
    Quiet,
    plan_of,
    say,
    servers,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.audit.rebuild import Compared
    from stream_recon.audit.store import AuditStore
    from stream_recon.audit.verify import Anchors
    from stream_recon.shell.settings import WorkerSettings

audit = typer.Typer(
    help="The audit store: keep what was published, and prove that it is what was kept.", no_args_is_help=True
)


class Listed(StrEnum):
    """What can be listed."""

    runs = "runs"
    commands = "commands"
    corrections = "corrections"
    config = "config"


_EMPTY = "The store holds no entries: there is nothing to prove. `stream-recon audit run` fills it."

Store = Annotated[
    str | None,
    typer.Option(
        "--store", "-s", envvar="STREAM_RECON_AUDIT_URL",
        help="A database URL: sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE. "
        "Default: audit.db in the user's data folder.",
    ),
]  # fmt: skip


@audit.command("run")
def run(
    store: Store = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    group: Group = GROUP,
    http_port: Annotated[
        int,
        typer.Option(
            envvar="STREAM_RECON_AUDIT_HTTP_PORT", min=0, max=PORTS, help="Of /metrics, /livez, /readyz, on loopback."
        ),
    ] = 9465,
    output: Output = Format.json,
    quiet: Quiet = False,
) -> None:
    """Write results, alerts, corrections and commands into the store, until it is told to stop.

    A store or a broker that is down is waited for. The log goes to standard error, as JSON lines or (`--output table`)
    for people; `--quiet` leaves warnings. Several may run on one PostgreSQL: they share the partitions.
    """
    from dataclasses import replace

    from stream_recon.audit.service import serve
    from stream_recon.audit.urls import default_url

    settings = replace(
        _settings(bootstrap, prefix, group), http_port=http_port, log_json=output is Format.json, log_quiet=quiet
    )
    with _failures():
        serve(settings, store or default_url())


@audit.command("verify")
def verify(
    store: Store = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="Heads that were kept elsewhere: a file with the JSON that `audit show` once printed."),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            "--bootstrap",
            "-b",
            callback=lambda said: said and servers(said),
            help="Compare with the topics too; where Kafka is: host:port[,...].",
        ),
    ] = None,
    prefix: Prefix = PREFIX,
    group: Group = GROUP,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Compute all chains again and say which row was changed, moved or taken away. Exit code 0: none; 1: some.

    Whoever can write to the store can compute a chain anew from a row on, with its head: that shows only against the
    topics, as far as they go back, or against heads that were kept elsewhere.
    """
    from stream_recon.audit import reading
    from stream_recon.audit.verify import check
    from stream_recon.cli.answer import print_json

    with _failures(), _opened(store) as kept:
        with kept.reading() as view:
            checked, gaps = check(view, _anchors(heads)), reading.gaps(view)
        compared = _compared(_settings(bootstrap, prefix, group), None, kept) if bootstrap is not None else None
        findings = [*checked.findings, *(compared.findings if compared is not None else [])]
        if output is Format.json:
            print_json({
                "store": kept.name, "whole": bool(checked.chains) and not findings, "chains": checked.chains,
                "gaps": gaps, "findings": findings, "topics": compared.agreements if compared is not None else None,
            })  # fmt: skip
        else:
            from stream_recon.cli import audit_screens as screens

            screens.show_checked(checked.chains, gaps, findings, compared)
            if not findings:
                say(_proved(heads, compared) if checked.chains else _EMPTY, quiet=quiet and bool(checked.chains))
    if findings or not checked.chains:
        raise typer.Exit(1)


@audit.command("show")
def show(
    store: Store = None,
    alert: Annotated[str | None, typer.Option(help="The history of this alert: its id, or how that begins.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", help="What is kept of this run: its id, or how that begins.")
    ] = None,
    listed: Annotated[Listed | None, typer.Option("--list", help="Everything of that sort, by time.")] = None,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Show the chains, their heads and gaps; or an alert's history, a run, or all of one sort.

    The JSON of the chains is what `audit verify --heads` reads: keep it where whoever can write to the store cannot.
    """
    from stream_recon.audit import reading
    from stream_recon.cli import audit_screens as screens
    from stream_recon.cli.answer import print_json

    if sum(each is not None for each in (alert, run_id, listed)) > 1:
        raise Failure("--alert, --run and --list are three questions: ask one at a time")
    as_json = output is Format.json
    with _failures(), _opened(store) as kept, kept.reading() as view:
        if alert is not None:
            whole = _only(view.ids("alert_id", alert, 2), "alert", alert)
            transitions = reading.history(view, whole)
            corrected = reading.corrections(view, alert_id=whole)
            if as_json:
                print_json({"alert_id": whole, "history": transitions, "corrections": corrected})
            else:
                screens.show_history(whole, transitions, corrected)
        elif run_id is not None:
            whole = _only(view.ids("run_id", run_id, 2), "run", run_id)
            [*ran] = reading.runs(view, run_id=whole)
            corrected = reading.corrections(view, run_id=whole)
            if as_json:
                print_json({"run_id": whole, "results": ran[0].results if ran else [], "corrections": corrected})
            else:
                screens.show_runs(ran)
                screens.show_corrections(corrected)
        elif listed is not None:
            screens.show_listed(view, listed.value, as_json=as_json)
        else:
            screens.show_chains(kept.name, view, as_json=as_json)
            say("`stream-recon audit verify` says whether they are whole.", quiet=quiet or as_json)


@audit.command("rebuild")
def rebuild(
    into: Annotated[str, typer.Argument(metavar="URL", help="The new store: a database URL, as of --store.")],
    store: Store = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    group: Group = GROUP,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Make a new store from the topics, as far as they go back, and say whether its heads are those of the present one.

    Exit code 0: the present store is right, as far as the topics can tell, or there is none; 1: it differs.
    """
    from stream_recon.audit.errors import StoreRefusedError
    from stream_recon.audit.store import AuditStore
    from stream_recon.cli import audit_screens as screens
    from stream_recon.cli.answer import print_json

    with _failures(), _opened(store) as kept:
        made = AuditStore(into)
        try:
            if made.name == kept.name:
                raise Failure(f"{made.name} is the store to compare with; name another for the new one")
            made.create()
            if made.heads():
                raise Failure(f"{made.name} holds an audit store already; name one that is not there yet")
            try:
                kept.heads()
            except StoreRefusedError as error:
                say(f"Nothing to compare with: {error}.", quiet=quiet)
                there = None
            else:
                there = kept
            compared = _compared(_settings(bootstrap, prefix, group), made, there)
            entries = sum(head.entries for head in made.heads().values())
        finally:
            made.close()
    if output is Format.json:
        print_json({"store": made.name, "entries": entries, "compared": there is not None,
                    "agrees": not compared.findings if there is not None else None,
                    "chains": compared.agreements, "findings": compared.findings})  # fmt: skip
    else:
        screens.show_compared(compared)
        say(f"{entries:,} entries written to {made.name}.", quiet=quiet)
    if compared.findings:
        raise typer.Exit(1)


def _settings(bootstrap: str, prefix: str, group: str) -> WorkerSettings:
    from stream_recon.shell.settings import WorkerSettings

    return WorkerSettings(bootstrap=bootstrap, group_id=group, plan=plan_of(prefix, 1))


@contextmanager
def _failures() -> Iterator[None]:
    """What can be wrong with a store, as the end of a command."""
    from stream_recon.audit.errors import StoreError, StoreRefusedError
    from stream_recon.shell.settings import RefusedError

    try:
        yield
    except (StoreError, RefusedError) as error:
        raise Failure(str(error), code=2 if isinstance(error, StoreRefusedError) else 3) from error


@contextmanager
def _opened(url: str | None) -> Iterator[AuditStore]:
    from stream_recon.audit.store import AuditStore
    from stream_recon.audit.urls import default_url

    store = AuditStore(url or default_url())
    try:
        yield store
    finally:
        store.close()


def _compared(settings: WorkerSettings, into: AuditStore | None, against: AuditStore | None) -> Compared:
    from stream_recon.audit.rebuild import read_topics

    return wait_for(read_topics(settings, into=into, against=against))


def _anchors(path: Path | None) -> Anchors:
    """The heads in a file.

    Raises:
        Failure: it cannot be read, or holds none.
    """
    import msgspec

    from stream_recon.audit.verify import Written, anchors_of

    if path is None:
        return {}
    try:
        return anchors_of(msgspec.json.decode(path.read_bytes(), type=Written).chains)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise Failure(f"{path}: not what `stream-recon audit show --output json` prints: {error}") from error


def _only(ids: list[str], what: str, beginning: str) -> str:
    """The one id that begins so.

    Raises:
        Failure: there is none, or more than one.
    """
    if not beginning:
        raise Failure(f"the id of the {what} is empty; give how it begins")
    if not ids:
        raise Failure(f"the audit store has no {what} {beginning}")
    if len(ids) > 1 and beginning not in ids:
        raise Failure(f"{beginning} is the beginning of several ids, such as {ids[0]} and {ids[1]}; give more of it")
    return beginning if beginning in ids else ids[0]


def _proved(heads: Path | None, compared: Compared | None) -> str:
    """What it means that nothing was found."""
    if compared is not None:
        return "All chains are whole, and hold what the topics still have."
    if heads is not None:
        return "All chains are whole, and go through the heads that were kept elsewhere."
    return (
        "All chains are whole. Whether one was computed anew from some row on, `--bootstrap` or `--heads` would show."
    )
