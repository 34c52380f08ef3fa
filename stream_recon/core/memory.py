"""What a lane remembers, as records: the changes of one pack, and the whole as a few large ones.

Restoring is a fold, so it does not matter how the log was cut: puts overwrite, removals of what is not there are
nothing, and what follows from other state (accounts, deadlines, who is owed what) is made again.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field

from stream_recon.core import keeping, window_memory
from stream_recon.core.accounts import MINUTE_US
from stream_recon.core.cases import Seen
from stream_recon.core.conditions import Numbering, Unread
from stream_recon.core.describe import split_key
from stream_recon.core.errands import ErrandChanges
from stream_recon.core.keeping import BookState
from stream_recon.core.names import names_of
from stream_recon.core.newest import Packed
from stream_recon.core.promises import Class
from stream_recon.core.register import Forgotten
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.core.window_memory import WindowChanges
from stream_recon.domain.discrepancies import FeedCondition
from stream_recon.domain.events import ORIGINS, Origin, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.core.lane import Lane
    from stream_recon.core.register import Published


class SourceState(Struct, array_like=True):
    """One source of one topic."""

    origin: Origin
    stream: Stream
    name: str
    venues: list[str]
    watermark_us: int
    heard_us: int
    ahead_until_us: int


class ClockState(Struct, array_like=True):
    """One clock; it may stand higher than its slowest source, if that one was heard of later."""

    origin: Origin
    stream: Stream
    venue: str
    account_id: str
    """Any account of its contract."""
    watermark_us: int
    silent: bool
    owed_since_us: int


class Waiting(Struct, array_like=True):
    """A record that waits for its counterpart."""

    origin: int
    key: str
    content: str
    ts_us: int
    arrived_us: int
    offset: int | None
    value: bytes
    seq: int
    realized_pnl: str | None


class Changes(Struct, array_like=True):
    """What changed in a lane: the unit of its durable state (encoded with msgspec's msgpack)."""

    sources: list[SourceState] = []
    clocks: list[ClockState] = []
    matched: list[tuple[int, str, str]] = []
    """(event time or its minute's start, key, content)."""
    gone: tuple[list[str], list[str]] = ([], [])
    dropped: list[str] = []
    waiting: list[Waiting] = []
    cases: list[bytes] = []
    """Packed (core.shelf)."""
    discrepancies: list[Packed] = []
    feed_conditions: list[FeedCondition] = []
    forgotten: list[Forgotten] = []
    retired_hour: int = 0
    numberings: list[tuple[int, str, str, Numbering]] = []
    unread: list[tuple[int, Stream, str, Unread, bool]] = []
    beyond: list[tuple[int, str, int]] = []
    tallies: dict[str, int] = {}
    newest_us: list[tuple[Origin, Stream, int]] = []
    topics: list[tuple[int, Stream, str | None]] = []
    books: list[BookState] = []
    heard: list[tuple[str, int, Class]] = []
    """(venue, origin, class) of what has been heard."""
    windows: WindowChanges = field(default_factory=WindowChanges)
    let_go: list[str] = []
    """Alerts that were published since, and of which the register already knows nothing any more."""
    errands: ErrandChanges = field(default_factory=ErrandChanges)


def take_changes(lane: Lane, published: list[Published]) -> Changes:
    """Gather what changed since the last call, and start anew."""
    book, conditions, register = lane.book, lane.conditions, lane.register
    kept = [register.newest.kept(alert_id) for alert_id in {entry.alert.alert_id: None for entry in published}]
    changes = _common(lane)
    changes.matched = book.paired
    changes.gone = book.gone
    changes.dropped = list(book.dropped)
    changes.waiting = [_waiting(o, key, book.waiting[o][key]) for o in (0, 1) for key in book.fresh[o]]
    book.cases.settle()
    changes.cases = [book.cases.packed(key) for key in book.touched]
    changes.discrepancies = [each for each in kept if isinstance(each, Packed)]
    changes.feed_conditions = [each for each in kept if isinstance(each, FeedCondition)]
    changes.forgotten = register.forgotten
    changes.let_go = [entry.alert.alert_id for entry in published if entry.alert.alert_id not in register.newest]
    changes.unread = [_unread(lane, key) for key in sorted(conditions.touched_unread)]
    changes.windows = window_memory.take(lane.windows)
    changes.numberings = [(*key, conditions.numberings[key]) for key in sorted(conditions.touched_numberings)]
    changes.books = lane.books.take_changes()
    changes.errands = lane.errands.take_changes()
    changes.heard, lane.books.fresh_heard = lane.books.fresh_heard, []
    book.paired, book.gone, book.dropped = [], ([], []), {}
    book.fresh, book.touched = ({}, {}), {}
    register.forgotten = []
    conditions.touched_numberings, conditions.touched_unread = set(), set()
    return changes


def _unread(lane: Lane, key: tuple[int, Stream, str]) -> tuple[int, Stream, str, Unread, bool]:
    return (*key, lane.conditions.unread[key], key in lane.conditions.unread_open)


def _common(lane: Lane) -> Changes:
    """The small state that is written whole each time."""
    directory, conditions = lane.directory, lane.conditions
    return Changes(
        sources=[
            SourceState(
                origin, stream, s.name, sorted(s.venues), s.watermark_us, s.heard_us, s.ahead_until_us
            )
            for (origin, stream), sources in directory.sources.items()
            for s in sources.values()
        ],
        clocks=[
            ClockState(c.origin, c.stream, c.venue, c.account_id, c.watermark_us, c.silent, c.owed_since_us)
            for c in directory.clocks.values()
        ],
        retired_hour=lane.register.retired_hour,
        beyond=[(*key, count) for key, count in conditions.beyond.items()],
        tallies=dict(lane.tallies),
        newest_us=[(*topic, time_us) for topic, time_us in lane.newest_us.items()],
        topics=[(*carried, topic) for carried, topic in lane.books.topics.items()],
    )  # fmt: skip


def _waiting(o: int, key: str, seen: Seen) -> Waiting:
    return Waiting(o, key, seen.content, seen.ts_us, seen.arrived_us, seen.offset, seen.value or b"", seen.seq,
        seen.realized_pnl)  # fmt: skip


def snapshot(lane: Lane, limit: int) -> Iterator[Changes]:
    """The whole state; nothing may be left undrained."""
    book, retiring = lane.book, lane.register.retiring
    parts: list[tuple[str, Iterator[object]]] = [
        (
            "matched",
            (
                (minute * MINUTE_US, key, book.matched[key])
                for feeds in lane.directory.feeds.values()
                for minute, keys in feeds.expiry.items()
                for key in keys
                if key in book.matched
            ),
        ),
        ("waiting", (_waiting(o, key, seen) for o in (0, 1) for key, seen in book.waiting[o].items())),
        (
            "forgotten",
            (Forgotten(hour, name, remembered=True) for hour, names in retiring.items() for name in names),
        ),  # before what is known of them
        ("discrepancies", lane.register.newest.discrepancies()),
        ("feed_conditions", lane.register.newest.feed_conditions()),
        ("unread", (_unread(lane, key) for key in lane.conditions.unread)),
        ("numberings", ((*key, numbering) for key, numbering in lane.conditions.numberings.items())),
        ("cases", (book.cases.packed(key) for key in book.cases)),  # after what stands of them, and what parks them
    ]
    common = _common(lane)
    common.heard = [(venue, o, kind) for venue, heard in lane.directory.heard.items() for o in (0, 1)
                    for kind in sorted(heard[o])]  # fmt: skip
    common.errands = lane.errands.snapshot()
    yield common
    for name, entries in parts:
        while chunk := list(islice(entries, limit)):
            changes = Changes(tallies=dict(lane.tallies))
            setattr(changes, name, chunk)
            yield changes
    for states in keeping.snapshot(lane, limit):
        yield Changes(tallies=dict(lane.tallies), books=states)
    for windows in window_memory.snapshot(lane.windows, limit):
        yield Changes(tallies=dict(lane.tallies), windows=windows)


def restore(lane: Lane, changes: Changes) -> None:
    """Fold one `Changes` into a lane."""
    book, register = lane.book, lane.register
    for who, carried, topic in changes.topics:
        lane.books.topics[who, carried] = topic
        if carried == "fills":
            book.topics[who] = topic
    for venue, who, what in changes.heard:
        lane.directory.heard.setdefault(venue, (set(), set()))[who].add(what)
    _restore_clocks(lane, changes)  # with what was heard, it says what accounts wait for
    _restore_removals(lane, changes)
    for waiting in changes.waiting:
        _restore_waiting(lane, waiting)
    register.restore_forgotten(changes.forgotten)
    for packed in changes.discrepancies:
        register.newest.put(packed)
    for condition in changes.feed_conditions:
        register.newest.put(condition)
    for alert_id in changes.let_go:
        register.newest.pop(alert_id, None)
    register.restore_retired(changes.retired_hour)
    _restore_conditions(lane, changes)
    window_memory.restore(lane.windows, changes.windows)
    _restore_cases(lane, changes)
    keeping.restore(lane, changes.books)
    lane.tallies.clear()
    lane.tallies.update(changes.tallies)
    for origin, of_stream, time_us in changes.newest_us:
        lane.newest_us[origin, of_stream] = time_us
    lane.errands.restore(changes.errands)
    tuned = changes.errands.tuned
    if tuned is not None:
        lane.restore_tuned(Decimal(tuned.critical), Decimal(tuned.warning), enable_alerts=tuned.enable_alerts)


def _restore_cases(lane: Lane, changes: Changes) -> None:
    book = lane.book
    for text in changes.cases:
        case, before = book.cases.put(text)
        book.names.update(dict.fromkeys(names_of(case), case.key))
        account = lane.directory.of_key(case.key)
        if before is not None:
            book.take_cause(account, before)
        for seen in (*case.sides[0], *case.sides[1]):
            account.feeds.remember(seen.ts_us, case.key)
        book.schedule(account, case)
        book.give_cause(account, case)
    book.cases.settle()


def _restore_removals(lane: Lane, changes: Changes) -> None:
    """What left a place: waiting records, and matched keys or cases; with what was matched between."""
    book, directory = lane.book, lane.directory
    for o in (0, 1):
        for key in changes.gone[o]:
            seen = book.waiting[o].pop(key, None)
            account = directory.of_key(key)
            if seen is not None and account.promised[1 - o]:
                account.clocks[1 - o].owed -= 1
    matched, accounts, cases = book.matched, directory.by_name, book.cases or ()
    for ts_us, key, content in changes.matched:  # of all that is restored there are most of these
        if key in cases:
            book.take_cause(directory.of_key(key), book.cases.pop(key))
        matched[key] = content
        account = accounts.get(key[: key.index("\x1f")]) or directory.of_key(key)
        account.feeds.remember(ts_us, key)
    for key in changes.dropped:
        book.matched.pop(key, None)
        case = book.cases.pop(key, None)
        if case is not None:
            for name in names_of(case):
                book.names.pop(name, None)
            directory.of_key(key).parked.discard(key)
            book.take_cause(directory.of_key(key), case)


def _restore_waiting(lane: Lane, waiting: Waiting) -> None:
    book, key, o = lane.book, waiting.key, waiting.origin
    account = lane.directory.of_key(key)
    again = key in book.waiting[o]
    trade_id = split_key(key)[2]
    book.waiting[o][key] = Seen(
        waiting.content, "trade", trade_id, waiting.ts_us, waiting.arrived_us, waiting.offset, waiting.value,
        waiting.seq, waiting.realized_pnl,
    )  # fmt: skip
    if again:
        return
    if account.promised[1 - o]:
        account.clocks[1 - o].owed += 1
        account.clocks[1 - o].deadlines.add(waiting.ts_us + account.grace_us[1 - o], key)
    else:
        account.feeds.remember(waiting.ts_us, key)


def _restore_clocks(lane: Lane, changes: Changes) -> None:
    directory = lane.directory
    for state in changes.sources:
        source = directory.sources[state.origin, state.stream].get(state.name)
        if source is None:
            source = directory.source(state.origin, state.stream, state.name, None)
        for venue in state.venues:
            directory.source(state.origin, state.stream, state.name, venue)
        source.watermark_us, source.heard_us = state.watermark_us, state.heard_us
        source.ahead_until_us = state.ahead_until_us
    for held in changes.clocks:
        contract = directory.contracts.of(held.origin, held.venue, held.account_id)
        clock = directory.clock(held.stream, held.venue, held.account_id, contract)
        clock.watermark_us = max(held.watermark_us, UNKNOWN_US)
        clock.silent, clock.owed_since_us = held.silent, held.owed_since_us


def _restore_conditions(lane: Lane, changes: Changes) -> None:
    conditions = lane.conditions
    for o, account, source, numbering in changes.numberings:
        conditions.numberings[o, account, source] = numbering
        if numbering.holes:
            conditions.gaps.setdefault((o, account), set()).add(source)
            conditions.unconfirmed.setdefault((ORIGINS[o], source), set()).add(account)
        else:
            conditions.gaps.get((o, account), set()).discard(source)
    for number, stream, name, unread, is_open in changes.unread:
        conditions.unread[number, stream, name] = unread
        (conditions.unread_open.add if is_open else conditions.unread_open.discard)((number, stream, name))
    for number, name, count in changes.beyond:
        conditions.beyond[number, name] = count
