"""The windows of one account: its instruments or assets, what waits for its twin, and when to look again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from stream_recon.core.compress import compress, decompress
from stream_recon.core.drift import Chain, Window
from stream_recon.core.movements import Move
from stream_recon.core.watermarks import NEVER_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_recon.core.accounts import Account, Feeds
    from stream_recon.core.ledger import Entry
    from stream_recon.core.nets import Net
    from stream_recon.domain.events import Fill

Matter = Literal["fills", "ledger"]
"""What is summed: fills by instrument, or the entries of ledgers by asset."""
Half = tuple[int, Move]
"""Origin and move of what waits for its twin."""


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(list[Half]).decode


class Halves:
    """What waits for its twin, by unit: of one origin only, in the order of its log.

    What is residual may wait as long as the horizon, so it is kept packed until its twin comes.
    """

    __slots__ = ("amended", "loose", "packed")

    def __init__(self) -> None:
        self.loose: dict[str, list[Half]] = {}
        """What is not residual yet, or was looked at since it was packed."""
        self.packed: dict[str, bytes] = {}
        self.amended: dict[str, set[str]] = {}
        """By key, units that are called otherwise."""

    def __len__(self) -> int:
        return len(self.loose) + len(self.packed)

    def get(self, unit: str) -> list[Half]:
        """What waits, to be read; empty: nothing does."""
        waiting = self.loose.get(unit)
        if waiting is None:
            packed = self.packed.get(unit)
            waiting = _DECODE(decompress(packed)) if packed is not None else []
        return waiting

    def take(self, unit: str) -> list[Half]:
        """What waits, to be changed; empty: nothing does."""
        packed = self.packed.pop(unit, None)
        if packed is not None:
            self.loose[unit] = _DECODE(decompress(packed))
        return self.loose.get(unit, [])

    def put(self, unit: str, waiting: list[Half]) -> None:
        """Let these wait, and no others of that unit."""
        self.packed.pop(unit, None)
        self.loose[unit] = waiting
        key = key_of(unit)
        if key != unit:
            self.amended.setdefault(key, set()).add(unit)

    def drop(self, unit: str) -> None:
        """Nothing waits any more."""
        self.packed.pop(unit, None)
        self.loose.pop(unit, None)
        key = key_of(unit)
        if key in self.amended:
            self.amended[key].discard(unit)
            if not self.amended[key]:
                del self.amended[key]

    def items(self) -> Iterator[tuple[str, list[Half]]]:
        """All that waits, to be read."""
        yield from self.loose.items()
        for unit, packed in self.packed.items():
            yield unit, _DECODE(decompress(packed))

    def pack(self, units: Iterable[str], settled_us: int) -> None:
        """Pack those of some units of which all is residual."""
        for unit in units:
            waiting = self.loose.get(unit)
            if waiting is not None and all(move.ts_us <= settled_us for _, move in waiting):
                # Windows know no orders.
                bare = [(o, replace(move, order_id=None, client_order_id=None)) for o, move in waiting]
                self.packed[unit] = compress(_ENCODE(bare))
                del self.loose[unit]


class Track:
    """One account and instrument, or asset."""

    __slots__ = ("base", "moved", "said", "shown", "touched", "windows")

    def __init__(self) -> None:
        self.windows: dict[int, Window] = {}
        self.base = Chain()
        """What no record will change any more."""
        self.said: set[int] = set()
        """Windows of which a drift has ever been published, as far back as that may be asked again."""
        self.shown: dict[int, Net] = {}
        """Drifts as they were published, of windows of which nothing else has become known since."""
        self.touched: set[int] = set()
        """Windows changed since the last drain."""
        self.moved = False
        """`base` or `said` changed since."""

    @property
    def empty(self) -> bool:
        """Whether it holds nothing."""
        return not (self.windows or self.said or self.base.told or self.base.open)

    def window(self, number: int) -> Window:
        """The window, known or new, to be changed."""
        self.touched.add(number)
        self.shown.pop(number, None)
        window = self.windows.get(number)
        if window is None:
            window = self.windows[number] = Window()
        return window


class Book:
    """The fills, or the ledgers, of one account."""

    __slots__ = (
        "account",
        "agreeing",
        "changed",
        "due_us",
        "ends",
        "feeds",
        "fresh",
        "from_us",
        "halves",
        "matter",
        "name",
        "paired",
        "paired_us",
        "pending",
        "promised",
        "settled_us",
        "to_us",
        "tracks",
    )  # fmt: skip

    def __init__(self, account: Account, matter: Matter, feeds: Feeds) -> None:
        self.account = account
        self.matter = matter
        self.feeds = feeds
        self.name = book_name(account.name, matter)
        self.promised = feeds.promised(0) and feeds.promised(1)
        """What either side leaves out is a fault; else nothing is compared."""
        self.tracks: dict[str, Track] = {}
        self.pending: list[tuple[int, str, Move]] = []
        """Not taken in yet: origin, key, move."""
        self.paired: list[Fill | Move] = []
        """Of twins that the trade book has paired one, to be summed; and the earlier time of each."""
        self.paired_us: list[int] = []
        self.agreeing: list[tuple[int, int, Move]] = []
        """Of other twins that say the same the earlier time, the sign, and one of them."""
        self.halves = Halves()
        self.settled_us = -1
        """A half up to this time is residual."""
        self.from_us = self.to_us = 0
        """A move in between needs no further thought: its window is open and will be looked at."""
        self.ends: set[int] = set()
        """Windows in which something moved, and that are not closed."""
        self.due_us = NEVER_US
        """When both feeds have passed this, look at it again."""
        self.fresh: dict[str, bool] = {}
        """Units changed since the last drain; True: it knows nothing of them."""
        self.changed = False

    def owes(self, key: str) -> bool:
        """Whether anything of a key is residual."""
        halves = self.halves
        if key in halves.packed:
            return True
        units = (key, *halves.amended.get(key, ()))
        return any(move.ts_us <= self.settled_us for unit in units for _, move in halves.get(unit))

    def track(self, subject: str) -> Track:
        """The instrument or asset, known or new."""
        track = self.tracks.get(subject)
        if track is None:
            track = self.tracks[subject] = Track()
        return track

    def known_us(self) -> int:
        """The time that both feeds have passed."""
        clocks = self.feeds.clocks
        return min(clocks[0].watermark_us, clocks[1].watermark_us)


def book_name(account: str, matter: Matter) -> str:
    """What a book is known by: its account, and where it is not of fills, its matter."""
    return account if matter == "fills" else f"{account}\x1f{matter}"


def entry_key(account: str, entry: Entry) -> str:
    """What the entries of both origins share that are twins, in the shape of a trade key."""
    return f"{account}\x1f{entry.asset}\x1f{entry.ledger_id}\x1f"


def same(one: Move, other: Move) -> bool:
    """Whether two moves of one sign say the same in the same digits."""
    return (
        one.qty == other.qty
        and one.price == other.price
        and one.fee == other.fee
        and one.fee_asset == other.fee_asset
        and one.side == other.side
    )


def unit_of(key: str, move: Move) -> str:
    """What twins share: what amends a trade has an id of its own, and two moves that are told apart by their sign."""
    plain = move.sign > 0 and f"\x1f{move.trade_id}\x1f" in key
    return key if plain else f"{key}\x1f{move.trade_id}\x1f{move.sign}"


def key_of(unit: str) -> str:
    """The key of a trade or an entry that a unit belongs to."""
    return "\x1f".join(unit.split("\x1f", 4)[:4])
