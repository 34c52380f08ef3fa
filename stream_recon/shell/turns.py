"""Several replays at once, of which one reads at a time.

Whoever begins sits down at the *desk* and reads to the ends of the logs; there is one desk, so that no two begin
together. Who has read all there is and waits for feeds to settle leaves the desk to the next, and comes back only to
read what has come since. Who reads holds the *turn*, and passes it on after each batch to whoever waits for it. What
waits keeps in memory what it has compared, so there is a bound: `MOST` replays, and no new one where those that are
there have read `MOST_RECORDS` together.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.shell.clients import new_reader
from stream_recon.shell.replaying import Cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiokafka import AIOKafkaConsumer

    from stream_recon.domain.work import ReplayItem
    from stream_recon.shell.settings import WorkerSettings

MOST = 256
"""Each has a connection of its own, and 50 kB for it."""
MOST_RECORDS = 1_000_000
"""Some 0.3 kB each."""
IDLE_READERS = 4
"""Kept for who comes next; to start one takes some 30 ms."""
_PROGRESS_S = 0.5
_PAUSE_S = 0.05
_OFTEN = 20
"""So many look for what has come as often as they like; if there are more, each looks less often."""


class Taken(NamedTuple):
    """A work item, and where it lay."""

    partition: int
    offset: int
    item: ReplayItem


class Emergencies:
    """Emergency runs that have not been answered yet: while there are any, replays wait."""

    def __init__(self) -> None:
        self._until_us: dict[str, int] = {}

    def add(self, run_id: str, deadline_us: int) -> None:
        """One has begun."""
        self._until_us[run_id] = deadline_us

    def over(self, run_id: str) -> None:
        """One has been answered."""
        self._until_us.pop(run_id, None)

    def any(self) -> bool:
        """Whether one is waited for still."""
        now_us = time.time_ns() // 1000
        self._until_us = {run_id: until for run_id, until in self._until_us.items() if until > now_us}
        return bool(self._until_us)


class Readers:
    """Clients for replays: each has one of its own for as long as it lives."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._idle: list[AIOKafkaConsumer] = []
        self._all: set[AIOKafkaConsumer] = set()

    async def take(self) -> AIOKafkaConsumer:
        """One that is started.

        Raises:
            KafkaError: no broker answers.
        """
        if self._idle:
            return self._idle.pop()
        reader = new_reader(self._settings, fetch_max_wait_ms=10)
        self._all.add(reader)
        try:
            await reader.start()
        except BaseException:
            await self._stop(reader)
            raise
        return reader

    async def give_back(self, reader: AIOKafkaConsumer) -> None:
        """Nobody needs it any more."""
        if len(self._idle) < IDLE_READERS:
            reader.pause(*reader.assignment())  # else it goes on asking for more
            self._idle.append(reader)
        else:
            await self._stop(reader)

    async def stop(self) -> None:
        """Stop them all."""
        self._idle = []
        await asyncio.gather(*(self._stop(reader) for reader in list(self._all)))

    async def _stop(self, reader: AIOKafkaConsumer) -> None:
        self._all.discard(reader)
        await reader.stop()


class Turns:
    """Who sits at the desk, whose turn it is, and who is under way at all."""

    def __init__(self, emergencies: Emergencies) -> None:
        self.desk, self.turn = asyncio.Lock(), asyncio.Lock()
        self.emergencies = emergencies
        self.under_way: list[Doing] = []
        self.changed = asyncio.Event()
        """Somebody has come or gone."""

    @property
    def has_room(self) -> bool:
        """Whether another may begin."""
        records = sum(doing.records for doing in self.under_way)
        return not self.under_way or (len(self.under_way) < MOST and records < MOST_RECORDS)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once that is so."""
        while not holds():
            self.changed.clear()
            await self.changed.wait()


class Doing:
    """One replay that is under way (`replaying.Oversight`)."""

    def __init__(self, taken: Taken, turns: Turns, tell: Callable[[Taken, str, int, int], Awaitable[None]]) -> None:
        """Whoever makes one has the desk for it."""
        self.taken, self._turns, self._tell = taken, turns, tell
        self.reader: AIOKafkaConsumer | None = None
        self.over = False
        """Nobody wants it any more, or it is somebody else's."""
        self.records = 0
        """What it keeps in memory rests on so many."""
        self._has_desk, self._has_turn = True, False
        self._told_at = 0.0

    @asynccontextmanager
    async def at_desk(self) -> AsyncIterator[None]:
        """Read from the beginning; nobody else does meanwhile."""
        try:
            if not self._has_desk:
                self._pass_turn()  # whoever has the desk may wait for it
                await self._turns.desk.acquire()
                self._has_desk = True
            await self._take_turn()
            yield
        finally:
            self.leave()

    async def _take_turn(self) -> None:
        if not self._has_turn:
            await self._turns.turn.acquire()
            self._has_turn = True

    def _pass_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turns.turn.release()

    def leave(self) -> None:
        """Let others read."""
        self._pass_turn()
        if self._has_desk:
            self._has_desk = False
            self._turns.desk.release()
            self._turns.changed.set()

    async def step(self, stage: str, records: int, of: int) -> None:
        """Let emergencies and others pass, and tell how far it is."""
        self.records = records
        await asyncio.sleep(0)
        while not self.over and self._turns.emergencies.any():  # noqa: ASYNC110 - they end by the clock too
            await asyncio.sleep(_PAUSE_S)
        self._pass_turn()
        await self._take_turn()  # of whoever waits, the first is first
        if self.over:
            raise Cancelled
        if time.monotonic() > self._told_at + _PROGRESS_S:
            self._told_at = time.monotonic()
            await self._tell(self.taken, stage, records, of)

    async def aside(self, seconds: float) -> None:
        """Let others read for so long; there is nothing to do here."""
        self.leave()
        assert self.reader is not None
        self.reader.pause(*self.reader.assignment())  # what comes meanwhile is not to lie in memory
        left_s = self.taken.item.deadline_us / 1e6 - time.time()
        await self.nap(min(seconds * max(1, len(self._turns.under_way) / _OFTEN), max(left_s, _PAUSE_S)))
        await self._take_turn()
        self.reader.resume(*self.reader.assignment())

    async def nap(self, seconds: float) -> None:
        """Wait.

        Raises:
            Cancelled: nobody wants it any more.
        """
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            if self.over:
                raise Cancelled
            await asyncio.sleep(min(left_s, _PAUSE_S))
