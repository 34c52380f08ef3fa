"""Records of two topics laid down while they are fetched, so that what agrees can be taken out of them as of files.

The core judges what is left in the order in which a run reads topics.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from stream_recon.columnar.replay import RestReader
from stream_recon.columnar.sift import MOST_LEFT, PlainFile, Sifter, opened, promises_more
from stream_recon.columnar.spool import Spool, Unfit
from stream_recon.core.lane import Batch
from stream_recon.domain.events import ORIGINS, Fill, Heartbeat
from stream_recon.domain.record import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from stream_recon.columnar.sift import Rest, Sifted
    from stream_recon.core.lane import Lane
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.events import Event, Origin, Stream
    from stream_recon.files import Line

MEMORY_LIMIT = "256MB"
"""For DuckDB: a run lane does one replay at a time."""


class Judge:
    """Hands what is left of a topic to a lane (`replay.Judge`)."""

    def __init__(self, lane: Lane, origin: Origin, topic: str, spool: Spool) -> None:
        self.lane, self._origin, self._topic, self._spool = lane, origin, topic, spool

    def step(self, _: str, lines: list[Line]) -> None:
        """Consecutive records that are left."""
        numbers = [line.number - 1 for line in lines]
        self.lane.step(Batch(
            self._origin, "fills", self._topic, [self._spool.offsets[at] for at in numbers],
            [self._spool.times_us[at] for at in numbers], [line.value for line in lines],
            [line.event for line in lines],
        ))  # fmt: skip

    def take(self) -> None:
        """Nothing that is published meanwhile is told by a run."""
        self.lane.drain()


class Remainder:
    """One topic's records, without what was taken out."""

    def __init__(self, rest: Rest, judge: Judge, spool: Spool) -> None:
        self._reader = RestReader(rest)
        self._judge, self._spool = judge, spool
        self._ends = iter(spool.ends)
        self._origin = rest.file.origin
        self.position = 0
        self.lines = rest.lines

    @property
    def newest_us(self) -> int:
        """The newest event time so far."""
        return self._reader.newest_us

    def step(self) -> int:
        """Have the next pack judged; how many records it has."""
        self._reader.compare(self._judge)
        before, self.position = self.position, next(self._ends)
        assert self._origin is not None
        self._judge.lane.newest_us[self._origin, "fills"] = self._spool.times_us[self.position - 1]
        return self.position - before


class Pass:
    """The fills of one partition number, spooled, sifted, and judged where that is needed."""

    def __init__(
        self, topics: dict[Origin, str], contracts: Contracts, carried_us: int | None, *, beside: bool
    ) -> None:
        """`carried_us`: how far back a checkpoint remembers what agreed; None: there is none.

        `beside`: whether topics of anything but fills have records.
        """
        self.strictly = beside or carried_us is not None
        """Fills are counted where anything else may be heard of; a checkpoint has these counts."""
        self._topics, self._contracts, self._carried_us = topics, contracts, carried_us
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-recon-")))
        self.spools = {origin: Spool(folder / origin) for origin in ORIGINS}
        self._used: Sifter | None = None
        self._sifted: Sifted | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for spool in self.spools.values():
            spool.end()
        self._stack.close()

    def is_promising(self, events: Iterable[Event | Rejected]) -> bool:
        """Whether, by the first records of a topic, most may agree and be taken out."""
        fills = [event for event in events if isinstance(event, Fill)]
        plain = [
            fill
            for fill in fills
            if fill.exec in {None, "trade"}
            and fill.feed_seq is None
            and not any(self._counts(origin, fill) for origin in ORIGINS)
        ]
        return len(plain) >= (1 - MOST_LEFT) * len(fills) and bool(plain)

    def _counts(self, origin: Origin, fill: Fill) -> bool:
        """Whether fills of an account may be held against anything else."""
        return promises_more(self._contracts.of(origin, fill.venue, fill.account_id), strictly=self.strictly)

    def add(  # noqa: PLR0913, PLR0917 - the parts of records
        self, origin: Origin, offsets: Sequence[int], times_us: Sequence[int], keys: Sequence[bytes | None],
        values: Sequence[bytes | None], header_counts: Sequence[int],
    ) -> bool:  # fmt: skip
        """Lay down consecutive records of an origin; False: they cannot be."""
        try:
            self.spools[origin].add(offsets, times_us, keys, values, header_counts)
        except (Unfit, OSError):
            return False
        return True

    def sift(self) -> bool:
        """Take out what agrees; False: the core should take all. It takes long."""
        for spool in self.spools.values():
            spool.end()
        files = [PlainFile(spool.path, self._topics[origin], origin, spool) for origin, spool in self.spools.items()]
        try:
            self._used = self._stack.enter_context(opened(files, self._contracts, MOST_LEFT, Sifter, MEMORY_LIMIT))
            self._used.carried_us, self._used.strictly = self._carried_us, self.strictly
            self._sifted = self._used.sift()
        except (Unfit, duckdb.Error, OSError):
            return False
        return True

    def interrupt(self) -> None:
        """Let `sift` end soon."""
        if self._used is not None:
            self._used.base.interrupt()

    @property
    def taken_out(self) -> int:
        """Records."""
        return self._sifted.taken_out if self._sifted is not None else 0

    def remainders(self, lane: Lane) -> dict[str, Remainder]:
        """By topic, what the core has to judge, in packs as they were fetched."""
        assert self._sifted is not None
        found = {}
        for rest, (origin, spool) in zip(self._sifted.rests, self.spools.items(), strict=True):
            topic = self._topics[origin]
            found[topic] = Remainder(rest, Judge(lane, origin, topic, spool), spool)
        return found

    def concerns(self, stream: Stream, events: Iterable[Event | Rejected]) -> bool:
        """Whether later records may be about what was taken out."""
        if stream != "fills" and not self.strictly:
            return True
        assert self._used is not None
        keys = []
        for event in events:
            if isinstance(event, Heartbeat | Rejected):
                continue
            if not isinstance(event, Fill) or event.exec not in {None, "trade"} or event.feed_seq is not None:
                return True
            keys.append((event.venue, event.account_id, event.instrument, event.trade_id, event.side))
        return self._used.takes_out(keys)

    def is_forgotten(self, lane: Lane) -> bool:
        """Whether a lane that is about to be shortened would have forgotten all that was taken out."""
        if self._used is None or self._carried_us is None or not self.taken_out:
            return True
        limit_us = self._used.forgotten_us + self._carried_us
        return all(lane.directory.named(name).feeds.known_us() >= limit_us for name in self._used.accounts)
