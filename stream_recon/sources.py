"""Where records come from when there is no worker: a small protocol, and what follows it.

A source is anything with `is_connected()` and `read(scope, cut)`. What is read are canonical events (docs/events.md),
as dicts, as lines of JSON, or as lists of either; the method may be async, and give an iterator or an async one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable, Mapping
from inspect import getattr_static
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream_recon.domain.events import STREAMS
from stream_recon.domain.topics import TopicPlan
from stream_recon.files import open_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream_recon.domain.events import Origin
    from stream_recon.domain.results import Scope
    from stream_recon.files import Line, Reader


_SHOWN = 60


class Source(Protocol):
    """One origin's records."""

    def is_connected(self) -> Any:  # noqa: ANN401 - a bool, or an awaitable of one
        """Whether it can be read now."""

    def read(self, scope: Scope | None, cut: int | None) -> Any:  # noqa: ANN401 - see the module
        """Its records in the order of its log; `cut`: the time (us) after which nothing is asked for; None: all."""


class SourceError(Exception):
    """A source could not be read; says which, and why."""


class NoEventError(ValueError):
    """A source gave something that cannot be an event; says which source, the number of the record, what is wanted."""


_WANTED = "give events as dicts, as lines of JSON (text or bytes), or as lists of either"
_HAS = {"is_connected": "is_connected", "read": "read(scope, cut)"}


def require_source(whose: str, source: object) -> None:
    """See that something is a source.

    Raises:
        TypeError: it is not; says whose, and what it lacks.
    """
    lacks = [
        said for name, said in _HAS.items()
        if getattr_static(source, name, None) is None and not hasattr(source, name)
    ]  # fmt: skip
    if source is None or lacks:
        what = "None" if source is None else f"a {type(source).__name__} without {' and '.join(lacks)}"
        raise TypeError(
            f"{whose}={what} is no source: it has to have is_connected() and read(scope, cut), "
            "as JsonLines and Records have"
        )


class JsonLines:
    """A file of canonical events, one a line (gzip or plain); None: standard input."""

    def __init__(self, path: str | Path | None, origin: Origin | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self.origin = origin
        self.name = self.path.name if self.path is not None else "stdin"

    def is_connected(self) -> bool:
        """Whether the file is there."""
        return self.path is None or self.path.is_file()

    def read(self, scope: Scope | None = None, cut: int | None = None) -> Iterable[list[bytes]]:
        """The lines, a thousand at a time."""
        del scope, cut  # a file is read as a whole
        with open_lines(self.path) as file:
            while lines := list(islice(file, 1000)):
                yield lines


class Records:
    """Events that are already there, as dicts or lines of JSON."""

    def __init__(self, records: Iterable[Mapping[str, Any] | bytes | str], name: str = "records") -> None:
        self.records = list(records)
        self.name = name

    def is_connected(self) -> bool:
        """It always is."""
        return True

    def read(self, scope: Scope | None = None, cut: int | None = None) -> Iterable[Any]:
        """All of them."""
        del scope, cut
        return iter(self.records)


class KafkaTopics:
    """All that one origin's topics hold now."""

    def __init__(self, bootstrap_servers: str, origin: Origin, plan: TopicPlan | None = None) -> None:
        self.name = f"{origin} topics at {bootstrap_servers}"
        self._servers = bootstrap_servers
        self._topics = [(plan or TopicPlan()).source(origin, stream) for stream in STREAMS]

    async def is_connected(self) -> bool:
        """Whether the broker answers and has the topics."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._servers)
        try:
            await consumer.start()
            return set(self._topics) <= set(await consumer.topics())
        except KafkaError:
            return False
        finally:
            await consumer.stop()

    async def read(self, scope: Scope | None = None, cut: int | None = None) -> AsyncIterator[list[bytes]]:
        """The values, up to the ends as they are when it begins; partitions come in no order among each other."""
        del scope, cut
        consumer = AIOKafkaConsumer(
            *self._topics, bootstrap_servers=self._servers, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            ends = await consumer.end_offsets(sorted(consumer.assignment()))
            left: set[TopicPartition] = set(ends)
            while left := {tp for tp in left if await consumer.position(tp) < ends[tp]}:
                for tp, records in (await consumer.getmany(*left, timeout_ms=200, max_records=2000)).items():
                    yield [record.value or b"" for record in records if record.offset < ends[tp]]
        finally:
            await consumer.stop()


async def packs(
    reader: Reader, source: Source, scope: Scope | None, cut_us: int | None, size: int
) -> AsyncIterator[list[Line]]:
    """The lines of a source, understood, so many at a time."""
    number = 0
    waiting: list[tuple[int, bytes]] = []
    try:
        async for item in _items(source.read(scope, cut_us), reader.name):
            try:
                for line in _lines(item, reader.origin):
                    number += 1
                    waiting.append((number, line))
            except NoEventError as error:
                raise NoEventError(f"{reader.name}, record {number + 1:,}: {error}; {_WANTED}") from error
            if len(waiting) >= size:
                yield reader.take(waiting)
                waiting = []
    except (GeneratorExit, NoEventError):
        raise
    except Exception as error:
        raise SourceError(f"{reader.name} failed after {number:,} records: {said(error)}") from error
    if waiting:
        yield reader.take(waiting)


async def _items(given: Any, name: str) -> AsyncIterator[Any]:  # noqa: ANN401 - whatever a source gives
    if inspect.isawaitable(given):
        given = await given
    if isinstance(given, AsyncIterable):
        async for item in given:
            yield item
        return
    if not isinstance(given, Iterable):
        raise NoEventError(f"{name}: read() gave {_a(given)}, not something with records in it; {_WANTED}")
    for item in given:
        yield item


def _lines(item: Any, origin: Origin | None) -> Iterable[bytes]:  # noqa: ANN401 - whatever a source gives
    """The lines of JSON in what a source gave."""
    if isinstance(item, bytes):
        yield item.rstrip(b"\r\n")
    elif isinstance(item, str):
        yield item.rstrip("\r\n").encode(errors="surrogatepass")
    elif isinstance(item, Mapping):
        try:
            yield msgspec.json.encode({"origin": origin, **item} if origin is not None else item)
        except (TypeError, ValueError) as error:
            raise NoEventError(f"it holds what JSON does not have ({error})") from error
    elif isinstance(item, msgspec.Struct):
        yield from _lines(msgspec.to_builtins(item), origin)
    elif isinstance(item, Iterable):
        for each in item:
            yield from _lines(each, origin)
    else:
        raise NoEventError(f"{_a(item)} is no event")


def _a(thing: object) -> str:
    """A thing, as it may be quoted."""
    return "None" if thing is None else f"{type(thing).__name__} {repr(thing)[:_SHOWN]}"


def said(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
