"""What several commands have in common: their options, how they end, and what a file of contracts looks like."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from pydantic import BaseModel, ValidationError
    from rich.console import Console

    from stream_recon.broker import Broker
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.instruments import Instruments
    from stream_recon.domain.topics import TopicPlan


class Failure(Exception):  # noqa: N818 - it ends a command, and says why
    """A command cannot do what was asked: what happened, where, and what to do."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class Format(StrEnum):
    """How a command answers."""

    table = "table"
    json = "json"


class Ladder(StrEnum):
    """Where a broker comes from."""

    auto = "auto"
    external = "external"
    docker = "docker"
    embedded = "embedded"


BOOTSTRAP = "localhost:9092"
PROBLEMS_SHOWN = 20
Output = Annotated[Format, typer.Option("--output", "-o", help="For people, or for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what was asked for.")]
PORTS = 65_535


def servers(said: str) -> str:
    """Where Kafka is, if it can be read as that."""
    for server in said.split(","):
        host, colon, port = server.strip().rpartition(":")
        is_port = port.isascii() and port.isdecimal() and 0 < int(port) <= PORTS
        if not (colon and host and is_port) or "/" in host:
            raise typer.BadParameter(f"{server!r} is not host:port, such as {BOOTSTRAP}")
    return said


Bootstrap = Annotated[
    str,
    typer.Option(
        "--bootstrap", "-b", envvar="KAFKA_BOOTSTRAP_SERVERS", callback=servers,
        help="Where Kafka is: host:port[,...].",
    ),
]  # fmt: skip
Prefix = Annotated[str, typer.Option(envvar="STREAM_RECON_TOPIC_PREFIX", help="What all topic names begin with.")]
Partitions = Annotated[
    int, typer.Option(envvar="STREAM_RECON_PARTITIONS", min=1, help="How many partitions each account topic has.")
]
Group = Annotated[str, typer.Option(envvar="STREAM_RECON_GROUP", help="Workers of one group share the partitions.")]
BrokerChoice = Annotated[
    Ladder,
    typer.Option("--broker", help="Kafka: the one at KAFKA_BOOTSTRAP_SERVERS, in Docker, or our own; auto: the first."),
]
ContractsFile = Annotated[
    Path | None,
    typer.Option(
        "--contracts", "-c", envvar="STREAM_RECON_CONTRACTS",
        help="What each origin promises to send: a TOML, YAML or JSON file. Default: all fills and orders.",
    ),
]  # fmt: skip
InstrumentsFile = Annotated[
    Path | None,
    typer.Option(
        "--instruments", envvar="STREAM_RECON_INSTRUMENTS",
        help="The kind of each instrument (spot, linear_perpetual, future, inverse) and its assets, by venue: "
        "a TOML, YAML or JSON file. Balances are derived from fills by it.",
    ),
]  # fmt: skip

Result = TypeVar("Result")
DEBUG = "STREAM_RECON_DEBUG"
PREFIX = "recon."
GROUP = "stream-recon"
PARTITIONS = 4


def plan_of(prefix: str, partitions: int) -> TopicPlan:
    """The topics of this deployment."""
    from stream_recon.domain.topics import TopicPlan

    return TopicPlan(prefix=prefix, partitions=partitions)


def load(path: Path) -> object:
    """The content of a TOML, YAML or JSON file, by its suffix.

    Raises:
        Failure: it cannot be read, or is not what its suffix says.
    """
    from stream_recon.shell.documents import DocumentError, read_document

    try:
        return read_document(path)
    except DocumentError as error:
        raise Failure(str(error)) from error


def load_contracts(path: Path | None) -> Contracts:
    """The contracts in a file: a list, or an object with `contracts`.

    Raises:
        Failure: the file cannot be read, or says something a contract does not know.
    """
    from pydantic import ValidationError

    from stream_recon.domain.contracts import Contracts

    if path is None:
        return Contracts()
    content = load(path)
    try:
        return Contracts.model_validate({"contracts": content} if isinstance(content, list) else content)
    except ValidationError as error:
        raise _problems(path, error, Contracts) from error


def load_instruments(path: Path | None) -> Instruments:
    """The instruments in a file: by venue, by name or pattern.

    Raises:
        Failure: the file cannot be read, or says something an instrument does not know.
    """
    from pydantic import ValidationError

    from stream_recon.domain.instruments import Instruments

    if path is None:
        return Instruments()
    try:
        return Instruments.model_validate(load(path))
    except ValidationError as error:
        raise _problems(path, error, Instruments) from error


def _problems(path: Path, error: ValidationError, model: type[BaseModel]) -> Failure:
    """What is wrong in a file, and where."""
    from stream_recon.domain.wording import told

    return listed(f"{path} is not as it must be", told(error, model))


def listed(what: str, problems: Sequence[str]) -> Failure:
    """A failure with one thing that is wrong, or several, a line each."""
    if len(problems) == 1:
        return Failure(f"{what}: {problems[0]}")
    lines = [f"  {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    more = [f"  and {len(problems) - PROBLEMS_SHOWN} more"] if len(problems) > PROBLEMS_SHOWN else []
    return Failure("\n".join([f"{what}:", *lines, *more]))


def console(*, err: bool = False) -> Console:
    """Where people read."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, soft_wrap=True)


@contextmanager
def opening(choice: Ladder, *, port: int | None = None, quiet: bool) -> Iterator[Broker]:
    """A broker for as long as the block lasts; what is waited for meanwhile is shown.

    Raises:
        Failure: none can be had.
    """
    from stream_recon.broker import BrokerError, open_broker
    from stream_recon.broker.progress import shown

    with ExitStack() as stack:
        try:
            if quiet:
                kafka = stack.enter_context(open_broker(choice.value, port=port))
            else:
                with shown(console(err=True)) as progress:
                    kafka = stack.enter_context(open_broker(choice.value, port=port, progress=progress))
        except BrokerError as error:
            raise Failure(str(error), code=3) from error
        say(f"Broker: {kafka.why}.", quiet=quiet)
        yield kafka


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end."""
    import asyncio
    import logging

    if not os.environ.get(DEBUG):  # what a client says on the way is not for whoever typed the command
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return asyncio.run(work)


def say(message: str, *, quiet: bool) -> None:
    """A remark to whoever waits, beside the answer; wrapped between words where it goes to a terminal."""
    if quiet:
        return
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        lines = (textwrap.fill(line, width, break_long_words=False) for line in message.splitlines())
        message = "\n".join(lines)
    typer.echo(message, err=True)
