"""Canonical events in files: what `publish` sends and `reconcile` compares, one JSON object a line.

A file is a log like a topic: its order counts, and what its end proves is said by closing heartbeats (`Heard`), the
same for both commands. A line says itself which origin speaks and what of, so a file may hold both origins and all
types.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import ExitStack, contextmanager
from errno import EINVAL
from heapq import heappop, heappush
from io import BufferedReader, FileIO
from itertools import groupby
from operator import attrgetter
from os import fstat
from os.path import samestat
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeGuard

import msgspec
from msgspec import Struct

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.rules import rules_of
from stream_recon.domain.config import Sections
from stream_recon.domain.decode import Rejected, decode_pack
from stream_recon.domain.events import ORIGINS, STREAM_OF, STREAMS, Heartbeat, Origin, Stream, default_source
from stream_recon.domain.instruments import Instruments
from stream_recon.domain.types import ReconciliationType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from stream_recon.domain.contracts import Contracts, FeedContract
    from stream_recon.domain.discrepancies import Alert
    from stream_recon.domain.events import Event

PACK_LINES = 1000
ANY_TIME_US = 1 << 62
"""Kafka's time of a line: no event is ahead of it."""
LONG_BYTES = 8_000_000
"""Files of less are compared sooner than DuckDB is loaded."""
_GZIP = b"\x1f\x8b"
_LONGEST = 1_000_000  # bytes: what a broker takes, unless told otherwise
_NO_NEWS = (Rejected, Heartbeat)
"""What says nothing of an account, as far as time is concerned."""
_STREAM_OF_TYPE = {kind.__struct_config__.tag: stream for kind, stream in STREAM_OF.items()}


class _Peek(Struct):
    type: str = ""
    origin: str = ""
    venue: str = ""
    source: str | None = None


_peek = msgspec.json.Decoder(_Peek).decode


class Line(NamedTuple):
    """One line of a file, and where it goes."""

    number: int
    value: bytes
    origin: Origin
    stream: Stream
    event: Event | Rejected


@contextmanager
def open_lines(path: Path | None) -> Iterator[BinaryIO]:
    """The file's bytes; standard input for None; unpacked if they begin as gzip does, whatever the name.

    Raises:
        OSError: it cannot be read, or what is packed is damaged.
    """
    with ExitStack() as stack:
        file = sys.stdin.buffer if path is None else stack.enter_context(path.open("rb"))
        if file.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:  # type: ignore[union-attr]  # what we open is buffered
            yield file
            return
        try:
            yield stack.enter_context(gzip.open(file))  # type: ignore[misc]  # it reads bytes like any other
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            name = "standard input" if path is None else str(path)
            raise OSError(
                EINVAL, f"its gzip data is damaged or ends too early ({error}); pack it again", name
            ) from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines, without their end; of one that is longer than any record can be only the beginning."""
    rest = b""
    while chunk := file.read1(1 << 18):  # type: ignore[attr-defined]  # what we open is buffered
        first, *others = chunk.split(b"\n")
        if len(rest) <= _LONGEST:
            rest += first
        if others:
            yield rest
            yield from others[:-1]
            rest = others[-1]
    if rest:
        yield rest


def _is_origin(text: str) -> TypeGuard[Origin]:
    return text in ORIGINS


class Places:
    """Where each line of a file belongs, from what the lines before it say. `origin`: whose file it is, if one's."""

    def __init__(self, origin: Origin | None) -> None:
        self._origin = origin
        self._streams: dict[tuple[str, str], dict[Stream, None]] = {}
        """Of what each source has spoken so far."""
        self._last: tuple[Origin, Stream] = (origin or "internal", "fills")

    def of(self, value: bytes) -> list[tuple[Origin, Stream]]:
        """The origin and the streams of a line; of one that does not say, those of the line before it."""
        try:
            peek = _peek(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return [self._last]
        origin = self._origin or (peek.origin if _is_origin(peek.origin) else None)
        if origin is None or peek.type not in _STREAM_OF_TYPE:
            return [(origin or self._last[0], self._last[1])]
        stream = _STREAM_OF_TYPE[peek.type]
        source = peek.source or default_source(origin, peek.venue)
        if stream is None:
            return [(origin, known) for known in self._streams.get((origin, source), {"fills": None})]
        self._streams.setdefault((origin, source), {})[stream] = None
        self._last = (origin, stream)
        return [self._last]


class Reader:
    """Reads a file pack by pack. `origin`: whose file it is; None: the lines say it."""

    def __init__(
        self, file: BinaryIO | None, name: str, origin: Origin | None, clock_us: Callable[[], int] | None = None
    ) -> None:
        """`clock_us`: what time it is, where no event may be ahead of the moment at which it is read.

        Without a file, lines are given to `take` as they come.
        """
        self.name = name
        self.origin = origin
        self._clock_us = clock_us
        self.lines = 0
        """Read so far, blank ones not counted."""
        self.bytes = 0
        self.newest_us = -1
        """The newest event time read so far."""
        self._places = Places(origin)
        self._numbered = enumerate(_lines(file) if file is not None else (), start=1)

    def packs(self) -> Iterator[list[Line]]:
        """Up to `PACK_LINES` lines at a time, in order. A heartbeat comes once for each stream it vouches for."""
        taken: list[tuple[int, bytes]] = []
        for number, line in self._numbered:
            if not line.strip():
                self.bytes += len(line) + 1
                continue
            taken.append((number, line))
            if len(taken) == PACK_LINES:
                yield self.take(taken)
                taken = []
        if taken:
            yield self.take(taken)

    def take(self, numbered: Iterable[tuple[int, bytes]]) -> list[Line]:
        """Understand some lines; blank ones are passed over."""
        groups: dict[tuple[Origin, Stream], list[tuple[int, bytes]]] = {}
        for number, line in numbered:
            self.bytes += len(line) + 1
            value = line.removesuffix(b"\r")
            if not value.strip():
                continue
            self.lines += 1
            for place in self._places.of(value):
                groups.setdefault(place, []).append((number, value))
        pack: list[Line] = []
        for (origin, stream), found in groups.items():
            values = [value for _, value in found]
            times_us = [self._clock_us()] * len(values) if self._clock_us is not None else None
            for (number, value), event in zip(found, decode_pack(values, None, times_us, origin, stream), strict=True):
                if not isinstance(event, _NO_NEWS) and event.ts_us > self.newest_us:
                    self.newest_us = event.ts_us
                pack.append(Line(number, value, origin, stream, event))
        return pack


class Heard:
    """Who has spoken in some files, of what, and up to when: what the end of the files proves."""

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self._streams: dict[tuple[Origin, str, str], set[Stream]] = {}
        """By origin, source and venue."""
        self._spoken: set[tuple[Origin, str, str, str | None, Stream]] = set()
        self._wait_us = 0
        self.patience_us = 0
        """How long to wait for what nobody may have told."""
        self.newest_us = -1

    def add(self, line: Line) -> None:
        """Take note of one line."""
        event = line.event
        if isinstance(event, _NO_NEWS):
            return
        if event.ts_us > self.newest_us:  # noqa: PLR1730 - for every line; max() takes twice as long
            self.newest_us = event.ts_us
        spoken = (event.origin, event.venue, event.account_id, event.source, line.stream)
        if spoken in self._spoken:
            return
        self._spoken.add(spoken)
        source = event.source or default_source(event.origin, event.venue)
        contracts = {origin: self._contracts.of(origin, event.venue, event.account_id) for origin in ORIGINS}
        streams = self._streams.setdefault((event.origin, source, event.venue), set())
        streams |= {line.stream, *_promised(contracts[event.origin])}
        # Snapshots near each other are compared one order_within after both could be judged.
        self._wait_us = max(
            self._wait_us,
            max(each.grace_us for each in contracts.values())
            + 2 * max(each.order_within_us for each in contracts.values()),
        )
        self.patience_us = max(self.patience_us, *(each.stale_after_us for each in contracts.values()))

    def unused(self) -> list[str]:
        """The contracts that hold for nothing of what was heard."""
        accounts = {(venue, account_id) for _, venue, account_id, _, _ in self._spoken}
        used = {id(self._contracts.of(origin, *account)) for account in accounts for origin in ORIGINS}
        return [
            f"{number}. {each.origin} {each.venue}|{each.account}"
            for number, each in enumerate(self._contracts.contracts, start=1)
            if id(each) not in used
        ]

    @property
    def through_us(self) -> int:
        """Up to when the files are complete, so that everything in them falls due."""
        return self.newest_us + self._wait_us

    def closing(self, beyond_us: int = 0) -> list[tuple[Stream, Heartbeat]]:
        """The heartbeats that end the files: each source for each stream it spoke of or has promised.

        `beyond_us`: how much further they vouch than is needed to judge all that the files hold.
        """
        through_us = self.through_us + beyond_us
        return [
            (stream, Heartbeat(origin=origin, source=source, venue=venue, through_us=through_us))
            for (origin, source, venue), streams in sorted(self._streams.items())
            for stream in sorted(streams)
        ]


def _promised(contract: FeedContract) -> Iterator[Stream]:
    """The streams of which a contract says that they are sent."""
    sent = {"complete", "partial"}
    if contract.fills in sent:
        yield "fills"
    if contract.orders in sent:
        yield "orders"
    if {contract.positions, contract.balances, contract.ledger} & sent:
        yield "balances"


class BadLine(NamedTuple):
    """A line that could not be understood."""

    file: str
    line: int
    reason: str
    detail: str


class Outcome(NamedTuple):
    """What a comparison of files came to."""

    newest: list[Alert]
    """The newest state of everything that was ever said, in the order of its event time."""
    rejected: list[BadLine]
    lines: int
    counts: dict[str, int]
    unused: list[str]
    """Contracts that no record was under, as they are told apart."""
    unconfirmed: dict[str, int]
    """How many positions and balances moved after the last snapshot of them."""


class FileComparison:
    """What is found of files whose lines are handed over pack by pack."""

    def __init__(
        self, contracts: Contracts, instruments: Instruments | None = None, sections: Sections | None = None
    ) -> None:
        """`sections`: the configuration, by which sizes and amounts are critical or not."""
        # A file is read as a whole, in whatever order: nothing in it is too old to be known.
        rules = rules_of(
            sections or Sections(), instruments or Instruments(), window_s=0, type_name=ReconciliationType.FULL
        )._replace(horizon_us=ANY_TIME_US, idle_fills_kept=None)
        self.lane = Lane(None, contracts, rules)
        self.heard = Heard(contracts)
        self._rejected: list[BadLine] = []
        self._newest: dict[str, Alert] = {}
        self._names: dict[Origin, str] = {}

    def step(self, name: str, lines: list[Line]) -> None:
        """Compare further lines of a file."""
        for line in lines:
            self.heard.add(line)
            self._names[line.origin] = name
            if isinstance(line.event, Rejected):
                self._rejected.append(BadLine(name, line.number, line.event.reason, line.event.detail))
        for batch in batches_of(name, lines):
            self.lane.step(batch)

    def take(self) -> None:
        """Take out what has been concluded, after each pack."""
        for published in self.lane.drain().published:
            self._newest[published.alert.alert_id] = published.alert

    def close(self, lines: int) -> Outcome:
        """What it came to, there being so many lines in all."""
        for stream, beat in self.heard.closing(self.heard.patience_us):
            self.lane.step(beat_batch(stream, beat, self._names))
        ended = {(origin, stream): ANY_TIME_US for origin in ORIGINS for stream in STREAMS}
        for _, stream, beat in self.lane.trusted_heartbeats(ended):
            self.lane.step(beat_batch(stream, beat, self._names))
        self.lane.tick(ended)
        self.lane.conditions.say_exactly()
        self.take()
        return Outcome(
            list(self._newest.values()), self._rejected, lines, dict(self.lane.counts), self.heard.unused(),
            dict(self.lane.books.unconfirmed()),
        )  # fmt: skip


class Packs(Protocol):
    """Who reads a file pack by pack, and says how far it has come."""

    @property
    def newest_us(self) -> int:
        """The newest event time read so far."""

    def compare(self, comparison: FileComparison) -> bool:
        """Have the next pack compared. False: there is none."""


class _InTurn(NamedTuple):
    """A file that is read line by line."""

    reader: Reader
    packs: Iterator[list[Line]]

    @property
    def newest_us(self) -> int:
        return self.reader.newest_us

    def compare(self, comparison: FileComparison) -> bool:
        pack = next(self.packs, None)
        if pack is None:
            return False
        comparison.step(self.reader.name, pack)
        comparison.take()
        return True


def reconcile(
    files: Iterable[tuple[BinaryIO, str, Origin | None]],
    contracts: Contracts,
    instruments: Instruments | None = None,
    sections: Sections | None = None,
    *,
    columnar: bool | None = None,
) -> Outcome:
    """Compare what both origins say in some files (bytes, name, whose it is), read side by side in order of time.

    `sections`: the configuration, by which sizes and amounts are critical or not.
    `columnar`: whether fills that agree are sorted out in columns first, which changes nothing but the time it takes;
    None: where the files are long enough for that to be worth it. What is packed or no file is read line by line.
    """
    given = list(files)
    comparison = FileComparison(contracts, instruments, sections)
    if columnar or (columnar is None and _is_long(given)):
        from stream_recon.columnar.replay import compare_rest  # noqa: PLC0415 - DuckDB takes long to load

        outcome = compare_rest(given, contracts, comparison)
        if outcome is not None:
            return outcome
    readers = [Reader(file, name, origin) for file, name, origin in given]
    compare_in_turn([_InTurn(reader, reader.packs()) for reader in readers], comparison)
    return comparison.close(sum(reader.lines for reader in readers))


def compare_in_turn(readers: Sequence[Packs], comparison: FileComparison) -> None:
    """Have the packs of all files compared, the file that is furthest behind first."""
    turns = [(-1, number) for number in range(len(readers))]
    while turns:
        _, number = heappop(turns)
        if readers[number].compare(comparison):
            heappush(turns, (readers[number].newest_us, number))


def path_of(file: BinaryIO) -> Path | None:
    """Where the bytes of a file lie as they are; None: they are packed, or it is no file."""
    raw = getattr(file, "raw", None)
    if not isinstance(file, BufferedReader) or not isinstance(raw, FileIO) or not isinstance(raw.name, str):
        return None
    path = Path(raw.name)
    known = fstat(raw.fileno())
    if not S_ISREG(known.st_mode) or not path.is_file() or not samestat(known, path.stat()) or file.tell():
        return None
    return path


def _is_long(given: list[tuple[BinaryIO, str, Origin | None]]) -> bool:
    paths = [path_of(file) for file, _, _ in given]
    return all(path is not None for path in paths) and sum(path.stat().st_size for path in paths if path) >= LONG_BYTES


def beat_batch(stream: Stream, beat: Heartbeat, names: dict[Origin, str]) -> Batch:
    """A heartbeat that stands in no file; `names`: the file that each origin speaks in."""
    value = msgspec.json.encode(beat)
    return Batch(beat.origin, stream, names.get(beat.origin), [0], [ANY_TIME_US], [value], [beat])


def batches_of(name: str, lines: list[Line]) -> Iterator[Batch]:
    """Consecutive lines of a file as a lane takes them: what one origin says of one stream at a time."""
    for (origin, stream), run in groupby(lines, attrgetter("origin", "stream")):
        numbers, values, _, _, events = zip(*run, strict=True)
        times_us = [ANY_TIME_US] * len(numbers)
        yield Batch(origin, stream, name, list(numbers), times_us, list(values), list(events))
