"""`worker` and `up`: what runs until it is told to stop."""

from __future__ import annotations

from enum import StrEnum
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from stream_recon.cli.options import (
    BOOTSTRAP,
    GROUP,
    PARTITIONS,
    PORTS,
    PREFIX,
    Bootstrap,
    BrokerChoice,
    ConfigFile,
    ContractsFile,
    Environment,
    Failure,
    Format,
    Group,
    InstrumentsFile,
    Ladder,
    Output,
    Partitions,
    Prefix,
    Quiet,
    load_configuration,
    load_contracts,
    load_instruments,
    opening,
    plan_of,
    say,
)  # fmt: skip

if TYPE_CHECKING:
    from pathlib import Path

    from stream_recon.app import Deployment


_LOOK_S = 0.2


class Host(StrEnum):
    """What a worker runs on."""

    faust = "faust"
    plain = "plain"


def worker(
    config: ConfigFile = None,
    environment: Environment = None,
    contracts: ContractsFile = None,
    instruments: InstrumentsFile = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    partitions: Partitions = PARTITIONS,
    group: Group = GROUP,
    host: Annotated[Host, typer.Option(envvar="STREAM_RECON_HOST", help="Faust, or aiokafka alone.")] = Host.faust,
    http_port: Annotated[
        int,
        typer.Option(
            envvar="STREAM_RECON_HTTP_PORT", min=0, max=PORTS, help="Of /metrics, /livez, /readyz, on loopback."
        ),
    ] = 9464,
    delta_window: Annotated[
        int | None,
        typer.Option(
            envvar="STREAM_RECON_DELTA_WINDOW_S",
            min=0,
            help="Seconds by which net changes are compared; 0: not at all. Default: as is configured, 300.",
        ),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on where the log was cut off above what was read.")
    ] = False,
    session_timeout: Annotated[
        float,
        typer.Option(envvar="STREAM_RECON_SESSION_TIMEOUT_S", min=6, help="Seconds of silence, and others take over."),
    ] = 10,
    output: Output = Format.json,
    quiet: Quiet = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Run one worker, until it is told to stop; as many as there are partitions may run.

    Its log goes to standard error, as JSON lines or (`--output table`) for people; `--quiet` leaves warnings. It ends
    by itself on any error: whoever runs it starts it again.
    """
    from stream_recon.shell import worker as running
    from stream_recon.shell.settings import RefusedError, WorkerSettings

    if with_parent:
        from stream_recon.app import end_with_parent

        end_with_parent()
    settings = WorkerSettings(
        bootstrap=bootstrap,
        group_id=group,
        plan=plan_of(prefix, partitions),
        contracts=load_contracts(contracts),
        instruments=load_instruments(instruments),
        configuration=load_configuration(config, environment),
        delta_window_s=delta_window,
        host=host.value,
        http_port=http_port,
        session_timeout_s=session_timeout,
        heartbeat_s=session_timeout * 0.3,
        accept_loss=accept_loss,
        log_json=output is Format.json,
        log_quiet=quiet,
    )
    try:
        code: int = running.run(settings)
    except RefusedError as error:
        raise Failure(str(error), code=3) from error
    raise typer.Exit(code)


def up(
    config: ConfigFile = None,
    environment: Environment = None,
    contracts: ContractsFile = None,
    instruments: InstrumentsFile = None,
    broker: BrokerChoice = Ladder.auto,
    port: Annotated[int, typer.Option(min=0, max=PORTS, help="Of a broker started here; 0: any free one.")] = 9092,
    prefix: Prefix = PREFIX,
    partitions: Partitions = PARTITIONS,
    group: Group = GROUP,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Run a broker, its topics and a worker until Ctrl-C: for development, and to try things out.

    What its worker warns of is shown, and a worker that ends by itself is started again. What a broker started here
    holds is gone when it ends.
    """
    from stream_recon.app import Deployment, WorkerError
    from stream_recon.shell.topics import TopicsError

    topics = plan_of(prefix, partitions)
    promises, kinds = load_contracts(contracts), load_instruments(instruments)
    load_configuration(config, environment)
    try:
        with opening(broker, port=port or None, quiet=quiet) as kafka:
            deployment = Deployment(kafka.bootstrap_servers, topics, promises, group, kinds, None, config, environment)
            _run(deployment, _exports(deployment, contracts, instruments), output, quiet=quiet)
    except (TopicsError, WorkerError) as error:
        raise Failure(str(error), code=3) from error
    except KeyboardInterrupt:
        say("Stopped.", quiet=quiet)
        raise typer.Exit(0) from None


def _exports(deployment: Deployment, contracts: Path | None, instruments: Path | None) -> dict[str, str]:
    """What other commands have to be told so that they speak of the same."""
    exports = {
        "KAFKA_BOOTSTRAP_SERVERS": deployment.bootstrap_servers, "STREAM_RECON_TOPIC_PREFIX": deployment.plan.prefix,
        "STREAM_RECON_PARTITIONS": str(deployment.plan.partitions),
    }  # fmt: skip
    files = {"STREAM_RECON_CONTRACTS": contracts, "STREAM_RECON_INSTRUMENTS": instruments}
    return exports | {name: str(path.absolute()) for name, path in files.items() if path is not None}


def _run(deployment: Deployment, exports: dict[str, str], output: Format, *, quiet: bool) -> None:
    """Make the topics, and keep a worker running."""
    import time

    from stream_recon.app import make_topics, running_worker
    from stream_recon.cli.answer import print_json
    from stream_recon.cli.remarks import Remarks

    make_topics(deployment)
    while True:
        with running_worker(deployment) as running:
            if output is Format.json:
                print_json({"bootstrap_servers": deployment.bootstrap_servers, "prefix": deployment.plan.prefix,
                            "partitions": deployment.plan.partitions,
                            "metrics": f"http://127.0.0.1:{running.http_port}/metrics"})  # fmt: skip
            else:
                said = " ".join(f"{name}={quote(value)}" for name, value in exports.items())
                typer.echo(
                    f"Ready. In another terminal:\n  export {said}\n"
                    "  stream-recon publish FILE.jsonl     events of both sides into the topics\n"
                    "  stream-recon tail                   alerts as they happen\n"
                    "  stream-recon breaks                 what is wrong now\n"
                    f"Metrics: http://127.0.0.1:{running.http_port}/metrics. Ctrl-C ends everything."
                )
            remarks, lives = Remarks(running.log), True
            while lives:
                lives = running.process.poll() is None
                for remark in remarks.more():
                    say(remark, quiet=False)
                time.sleep(_LOOK_S if lives else 0)
            say(f"The worker ended with exit code {running.process.returncode}; starting another.", quiet=quiet)
