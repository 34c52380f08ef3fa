"""What several commands have in common: their options, how they end, and what a file of contracts looks like."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from pydantic import BaseModel
    from rich.console import Console

    from stream_recon.broker import Broker
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.instruments import Instruments
    from stream_recon.domain.topics import TopicPlan
    from stream_recon.shell.configuration import Configuration


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
PartitionsThere = Annotated[
    int | None,
    typer.Option(
        envvar="STREAM_RECON_PARTITIONS", min=1,
        help="How many partitions each account topic has. Default: as many as there are; another number is refused.",
    ),
]  # fmt: skip
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
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="STREAM_RECON_CONFIG",
        help="The configuration (docs/configuration.md): a YAML, TOML or JSON file.",
    ),
]  # fmt: skip
Environment = Annotated[
    str | None,
    typer.Option(
        "--environment", envvar="STREAM_RECON_ENVIRONMENT",
        help="Which of the file's `environments` holds, such as production.",
    ),
]  # fmt: skip

Result = TypeVar("Result")
Model = TypeVar("Model", bound="BaseModel")
_UNWRAPPED = 10_000
DEBUG = "STREAM_RECON_DEBUG"
PREFIX = "recon."
GROUP = "stream-recon"
PARTITIONS = 4


def plan_of(prefix: str, partitions: int) -> TopicPlan:
    """The topics of this deployment."""
    from stream_recon.domain.topics import TopicPlan

    return TopicPlan(prefix=prefix, partitions=partitions)


def plan_there(bootstrap: str, prefix: str, said: int | None) -> TopicPlan:
    """The topics of this deployment, with as many partitions as they have.

    Raises:
        Failure: that is not what was said.
        KafkaError: the broker does not answer, or has no such topics.
    """
    from stream_recon.domain.topics import PartitionsError
    from stream_recon.shell.topics import counted

    try:
        return plan_of(prefix, wait_for(counted(bootstrap, plan_of(prefix, PARTITIONS), said)))
    except PartitionsError as error:
        raise Failure(str(error)) from error


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the fields of each parameter that is a NamedTuple of options as options of its own."""
    hints = get_type_hints(command, include_extras=True)
    bundles = {name: of for name, of in hints.items() if hasattr(of, "_fields")}

    def spreading(**given: Any) -> None:  # noqa: ANN401 - what typer has made of the options below
        for name, of in bundles.items():
            given[name] = of(**{field: given.pop(field) for field in of._fields})
        command(**given)

    options: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in bundles:
            of = bundles[name]
            options += [
                Parameter(field, Parameter.KEYWORD_ONLY, default=of._field_defaults[field], annotation=hint)
                for field, hint in get_type_hints(of, include_extras=True).items()
            ]
        else:
            options.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name]))
    spreading.__name__, spreading.__doc__ = command.__name__, command.__doc__
    spreading.__signature__ = Signature(options)  # type: ignore[attr-defined]  # what inspect reads
    return spreading


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
    from stream_recon.domain.contracts import Contracts

    if path is None:
        return Contracts()
    content = load(path)
    return _validated(path, Contracts, {"contracts": content} if isinstance(content, list) else content)


def load_instruments(path: Path | None) -> Instruments:
    """The instruments in a file: by venue, by name or pattern.

    Raises:
        Failure: the file cannot be read, or says something an instrument does not know.
    """
    from stream_recon.domain.instruments import Instruments

    return Instruments() if path is None else _validated(path, Instruments, load(path))


def load_configuration(path: Path | None, environment: str | None) -> Configuration:
    """What holds by the defaults, a file and the environment variables.

    Raises:
        Failure: one of them says what is not allowed, or the file cannot be read.
    """
    from stream_recon.domain.layers import ConfigurationError
    from stream_recon.shell.configuration import load as load_layers

    try:
        return load_layers(path, environment)
    except ConfigurationError as error:
        raise listed("the configuration is not as it must be", error.problems) from error


def _validated(path: Path, model: type[Model], content: object) -> Model:
    """What a file says, as a model.

    Raises:
        Failure: it says something that the model does not know.
    """
    from pydantic import ValidationError

    from stream_recon.domain.wording import told

    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise listed(f"{path} is not as it must be", told(error, model)) from error


def check_account(said: str, *, pattern: bool = False) -> None:
    """See that an account can be one; of a pattern, that it can be one of accounts.

    Raises:
        Failure: it cannot.
    """
    venue, _, account_id = said.partition("|")
    if not (venue and account_id) and not (pattern and set(said) & set("*?[")):
        raise Failure(f"--account {said!r}: an account is venue|account_id, such as binance|desk-1")


def perhaps(kind: str) -> str:
    """The end of a sentence that says there is no such type: which one was probably meant."""
    from stream_recon.domain.nearest import nearest
    from stream_recon.strategies.registry import registry

    meant = nearest(kind, registry().known)
    return f"; did you mean {meant}?" if meant is not None else "."


def listed(what: str, problems: Sequence[str], code: int = 2) -> Failure:
    """A failure with one thing that is wrong, or several, a line each."""
    if len(problems) == 1:
        return Failure(f"{what}: {problems[0]}", code)
    lines = [f"  {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    more = [f"  and {len(problems) - PROBLEMS_SHOWN} more"] if len(problems) > PROBLEMS_SHOWN else []
    return Failure("\n".join([f"{what}:", *lines, *more]), code)


def console(*, err: bool = False) -> Console:
    """Where people read; what goes to a file or a pipe is neither wrapped nor cut, so that it can be searched."""
    from rich.console import Console

    out = Console(stderr=err, highlight=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = _UNWRAPPED
    return out


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
