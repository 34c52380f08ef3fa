"""How far each feed is known, and what falls due as that grows.

A *source* (a gateway) speaks on one topic-partition; its watermark is the time up to which it has, by its contract,
delivered everything there. A *clock* is the feed that a conclusion waits for: the sources of one origin, stream and
venue. It stands at the lowest of them, and never goes back: a source heard of for the first time holds it, but does not
undo it.

Whoever waits for a clock leaves a key and the time it is due. Most are answered long before, so due times are kept in
coarse buckets that are looked at only once, when the clock reaches them.
"""

from __future__ import annotations

from array import array
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_recon.domain.contracts import FeedContract
    from stream_recon.domain.events import Stream

UNKNOWN_US = -1
"""The watermark of a feed that has said nothing."""
NEVER_US = 1 << 62
_BUCKET_SHIFT = 18  # 0.26 s


class Deadlines:
    """Keys by the time they are due, given out in order of (due time, key)."""

    __slots__ = ("_bucket_starts", "_buckets", "_near", "_reached", "next_us")

    def __init__(self) -> None:
        self._buckets: dict[int, tuple[array[int], list[str]]] = {}
        self._bucket_starts: list[int] = []
        self._near: list[tuple[int, str]] = []
        self._reached = -1
        self.next_us = NEVER_US
        """Nothing is due before this time."""

    def add(self, due_us: int, key: str) -> None:
        """Let `key` be due at `due_us`; the same key may be due several times."""
        number = due_us >> _BUCKET_SHIFT
        if number <= self._reached:
            heappush(self._near, (due_us, key))
            self.next_us = min(self.next_us, due_us)
            return
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = (array("q", (due_us,)), [key])
            heappush(self._bucket_starts, number)
            start_us = number << _BUCKET_SHIFT
            self.next_us = min(self.next_us, start_us)
        else:
            bucket[0].append(due_us)
            bucket[1].append(key)

    def pop_due(self, until_us: int, waits: Callable[[str], bool]) -> Iterator[str]:
        """Take out, one by one, the keys due at or before `until_us` that still wait."""
        while self.next_us <= until_us:
            while self._bucket_starts and self._bucket_starts[0] << _BUCKET_SHIFT <= until_us:
                number = heappop(self._bucket_starts)
                self._reached = max(self._reached, number)
                for due_us, key in zip(*self._buckets.pop(number), strict=True):
                    if waits(key):
                        heappush(self._near, (due_us, key))
            if self._near and self._near[0][0] <= until_us:
                first = heappop(self._near)
                while self._near and self._near[0] == first:  # asked for more than once
                    heappop(self._near)
                key = first[1]
                self._set_next()
                if waits(key):
                    yield key
            else:
                self._set_next()

    def _set_next(self) -> None:
        self.next_us = self._near[0][0] if self._near else NEVER_US
        if self._bucket_starts:
            self.next_us = min(self.next_us, self._bucket_starts[0] << _BUCKET_SHIFT)


class Source:
    """Who speaks on one topic-partition, and up to when it has delivered everything."""

    __slots__ = ("ahead_until_us", "clocks", "heard_us", "name", "venues", "watermark_us")

    def __init__(self, name: str) -> None:
        self.name = name
        self.venues: set[str] = set()
        self.clocks: list[Clock] = []
        self.watermark_us = UNKNOWN_US
        self.heard_us = UNKNOWN_US
        """Kafka's time of its newest record."""
        self.ahead_until_us = 0
        """Its clock was ahead of Kafka's up to this time; 0 if it is not known to be."""


class Clock:
    """The watermark of the feed of one origin, stream and venue."""

    __slots__ = (
        "account_id", "contract", "deadlines", "ends", "evaluations", "origin", "owed", "owed_since_us", "silent",
        "sources", "stream", "venue", "watermark_us",
    )  # fmt: skip

    def __init__(self, stream: Stream, venue: str, account_id: str, contract: FeedContract) -> None:
        self.origin = contract.origin
        self.stream = stream
        self.venue = venue
        self.account_id = account_id
        self.contract = contract
        """Of the account it was made for; accounts that share a clock share its sources."""
        self.sources: list[Source] = []
        self.watermark_us = UNKNOWN_US
        self.deadlines = Deadlines()
        self.evaluations = Deadlines()
        """Names of accounts whose books wait for this feed."""
        self.ends = Deadlines()
        """Of windows, by account."""
        self.owed = 0
        """How many records of the other origin wait for their counterpart on this feed."""
        self.owed_since_us = UNKNOWN_US
        """Kafka's time when this feed, never heard so far, first owed something."""
        self.silent = False
        """Its topic was read to the end, and nothing came from it: absence there is all there is to know."""

    def join(self, source: Source) -> None:
        """Let `source` vouch too."""
        if source not in self.sources:
            self.sources.append(source)
            source.clocks.append(self)

    @property
    def heard(self) -> bool:
        """Whether any of its sources has spoken."""
        return any(source.heard_us != UNKNOWN_US for source in self.sources)

    def refresh(self) -> bool:
        """Follow the slowest source. True where that lifted the watermark."""
        sources = self.sources
        if len(sources) == 1:  # the common case, on the hot path
            lowest_us = sources[0].watermark_us
        else:
            lowest_us = min((source.watermark_us for source in sources), default=UNKNOWN_US)
        if lowest_us <= self.watermark_us:
            return False
        self.watermark_us = lowest_us
        return True

    def slowest(self) -> Source | None:
        """The source that holds the watermark."""
        return min(self.sources, key=lambda source: source.watermark_us, default=None)
