"""The books of accounts as records: what one pack added to each, or all that is kept of it.

A book is restored from what was put into it; its conclusions are drawn anew, and say nothing that was not said. Only
when old records have been summed up is a book written whole again, for the sums do not follow from what is left.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from msgspec import Struct

from stream_recon.core.findings import OF_BOTH, Told
from stream_recon.core.ledger import Entry
from stream_recon.core.movements import Move
from stream_recon.core.orders import Known
from stream_recon.core.sights import Axis, Mark, Run, Sight
from stream_recon.core.tracks import End, KeyState, Snapshot, Sources, Track
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.amounts import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_recon.core.account_book import AccountBook
    from stream_recon.core.accounts import Account
    from stream_recon.core.lane import Lane


class AxisState(Struct, array_like=True):
    """The movements of one key: of fills (kind position or balance) or of ledger entries."""

    kind: str
    origin: int
    key: list[str]
    base: Decimal
    since_us: int
    marks: list[Mark]
    deltas: list[Decimal]


class SightState(Struct, array_like=True):
    """One end of a run."""

    label: str
    ts_us: int
    drifts: list[Decimal]
    tolerance: Decimal
    likely: Decimal
    snapshot: Snapshot | None


class BaseState(Struct, array_like=True):
    """What the snapshots that are no longer kept came to."""

    kind: str
    key: list[str]
    origin: int
    about: str
    fills: int | None
    ledger: int | None
    first: SightState
    last: SightState
    drifts: list[tuple[Decimal, Decimal]]
    summed_up_us: int


class PartsState(Struct, array_like=True, gc=False):
    """The newest balance of an asset that tells its parts."""

    origin: int
    asset: str
    ts_us: int
    seq: int
    free: str
    locked: str
    total: str
    told: Told


class BookState(Struct, array_like=True):
    """What is to be put into one account's book."""

    account: str
    seqs: tuple[int, int]
    counted: tuple[int, int] = (0, 0)
    """By origin, the place of the newest record whose fill is in `orders`."""
    whole: bool = False
    """In place of what it held."""
    trimmed_us: int = UNKNOWN_US
    since_us: int = UNKNOWN_US
    """What moved before that time is not known."""
    idle_since_us: int = UNKNOWN_US
    """The same, for whoever was not there: fills that were only remembered, not written down."""
    moves: list[tuple[int, Move]] = []
    axes: list[AxisState] = []
    doubts: list[tuple[int, str, list[int]]] = []
    """(origin, asset, times) of fills that tell too little; of an unmapped instrument the asset is empty."""
    anchors: list[tuple[int, str, str, str, int, int]] = []
    bases: list[BaseState] = []
    snapshots: list[tuple[int, str, list[str], Snapshot, str | None]] = []
    """(origin, kind, key, snapshot, snapshot_id)"""
    ends: list[tuple[int, str, End]] = []
    parts: list[PartsState] = []
    entries: list[tuple[int, Entry]] = []
    paired: list[tuple[str, int, str]] = []
    copies: list[tuple[int, Entry]] = []
    orders: list[tuple[str, str, Known]] = []
    gone_orders: list[tuple[str, str]] = []
    names: list[tuple[str, str, str]] = []


def take(account: Account) -> BookState | None:
    """What was put into a book since this was last asked for."""
    book = account.book
    if book is None or not book.touched:
        return None
    book.touched = False
    book.gather()
    if book.rewrite:
        book.rewrite = False
        book.begin_changes()
        return whole(account)
    state = book.changes
    state.since_us, state.idle_since_us = book.states.since_us, book.idle_until_us()
    state.seqs, state.counted = (book.seqs[0], book.seqs[1]), (book.counted[0], book.counted[1])
    state.orders = [(*key, book.orders.known[key]) for key in book.touched_orders if key in book.orders.known]
    state.gone_orders = [key for key in book.touched_orders if key not in book.orders.known]
    state.names, book.orders.fresh_names = book.orders.fresh_names, []
    book.begin_changes()
    return state


def whole(account: Account) -> BookState:
    """All that is kept in a book."""
    book = account.book
    assert book is not None
    book.gather()
    if not book.is_idle:
        with localcontext(EXACT):
            book.fold()
    states, entries = book.states, book.entries
    return BookState(
        account.name,
        (book.seqs[0], book.seqs[1]),
        (book.counted[0], book.counted[1]),
        whole=True,
        since_us=states.since_us,
        idle_since_us=book.idle_until_us(),
        trimmed_us=account.trimmed_us,
        axes=[
            AxisState(kind, o, list(key), axis.base, axis.since_us, axis.marks, axis.deltas)
            for (kind, o), axes in states.axes.items()
            for key, axis in axes.items()
        ],
        doubts=[
            (o, asset, partly.times_us)
            for o in (0, 1)
            for asset, partly in [("", states.unmapped[o]), *((key[0], p) for key, p in states.partly_told[o].items())]
            if partly.times_us
        ],
        anchors=[(o, *anchor, *mark) for o in (0, 1) for anchor, mark in states.places(o)],
        bases=[
            _base(track, state.summed_up_us)
            for state in states.keys.values()
            for track in state.tracks
            if track.base is not None
        ]
        + [
            _base_of_both(kind, key, state.equal_base, state.equal_base_us)
            for (kind, *key), state in states.keys.items()
            if state.equal_base is not None
        ],
        snapshots=[
            (o, kind, list(key), snapshot, None)
            for (kind, *key), state in states.keys.items()
            for o in (0, 1)
            for snapshot in sorted(state.snapshots[o], key=_place)  # what repeats another is known by what came between
        ],
        ends=[(o, name, end) for o in (0, 1) for name, end in states.ends[o].items()],
        parts=[each for told in book.parts.values() for each in told],
        entries=[(o, entry) for o in (0, 1) for entry in entries.left[o].values()],
        paired=[(name, *said) for name, said in entries.paired.items()],
        copies=[(o, entry) for o in (0, 1) for entry in entries.copies[o].values()],
        orders=[(*key, known) for key, known in book.orders.known.items()],
        names=[(*name, order_id) for name, order_id in book.orders.names.items()],
    )


def _place(one: Snapshot) -> int:
    return one.seq


def snapshot(lane: Lane, limit: int) -> Iterator[list[BookState]]:
    """All books, so many accounts at a time that each part holds some `limit` entries."""
    part: list[BookState] = []
    size = 0
    for account in lane.directory.accounts.values():
        book = account.book
        if book is not None and (any(book.seqs) or any(book.states.ends)):  # an empty snapshot is something too
            state = whole(account)
            part.append(state)
            size += 1 + len(state.snapshots) + len(state.orders) + sum(len(axis.marks) for axis in state.axes)
            if size >= limit:
                yield part
                part, size = [], 0
    if part:
        yield part


def restore(lane: Lane, states: Iterable[BookState]) -> None:
    """Put back into books what was written."""
    with localcontext(EXACT):
        for state in states:
            account = lane.directory.named(state.account)
            if account.book is None:
                continue  # by the contracts of now there is nothing to keep books by
            if state.whole:
                causes = account.book.causes
                lane.books.open(account)
                account.book.causes = causes
            _put_sums(account.book, state)
            _put_states(account.book, state)
            _put_entries(account.book, state)
            _put_orders(account.book, state)
            account.book.counted[:] = state.counted
            account.book.know_since(state.since_us)
            account.book.idle_since_us = state.idle_since_us
            for o, move in state.moves:
                account.book.restore_move(o, move)
            account.book.seqs[:] = state.seqs
            account.trimmed_us = max(account.trimmed_us, state.trimmed_us)
            lane.books.restored = True


def _put_sums(book: AccountBook, state: BookState) -> None:
    """Movements, and what is known of them."""
    states = book.states
    for axis in state.axes:
        key = tuple(axis.key)
        kept = states.axes[axis.kind, axis.origin][key] = Axis(
            "balance" if axis.kind == "ledger" else axis.kind, key, axis.base
        )
        kept.since_us, kept.marks, kept.deltas = axis.since_us, axis.marks, axis.deltas
        if kept.marks:
            states.fresh.add((kept.kind, *key))
            kept.watched_us = book.moved(kept.kind, key, kept.marks[0][0])
    for o, asset, times_us in state.doubts:
        partly = states.partly(o, (asset,)) if asset else states.unmapped[o]
        partly.times_us = list(times_us)
    for o, instrument, trade_id, side, ts_us, seq in state.anchors:
        states.anchors[o].setdefault((instrument, trade_id, side), (ts_us, seq))  # of copies the first counts
    for base in state.bases:
        _restore_base(book, base)


def _put_states(book: AccountBook, state: BookState) -> None:
    """Snapshots; what complete ones prove follows again."""
    for o, name, end in state.ends:
        end.applied = False
        named = book.states.ends[o].get(name, End()).named
        end.named += [subject for subject in named if subject not in end.named]
        book.states.ends[o][name] = end
        if end.count >= 0:
            book.end_due(o, end.ts_us)
    for o, kind, key, one, snapshot_id in state.snapshots:
        if one.told is not None:
            book.put_snapshot(o, kind, tuple(key), one, snapshot_id)
    for parts in state.parts:
        book.put_parts(parts)


def _put_entries(book: AccountBook, state: BookState) -> None:
    """The ledger."""
    for name, ts_us, said in state.paired:
        book.entries.paired[name] = (ts_us, said)
    for o, entry in state.copies:
        book.entries.copies[o][entry.ledger_id] = entry
        book.push("ledger", entry.ts_us + book.promises.wait_us, ("ledger",))  # what it contradicts may have gone
    for o, entry in state.entries:
        if state.whole:
            book.entries.left[o][entry.ledger_id] = entry
            book.push("ledger", entry.ts_us + book.promises.wait_us, ("ledger",))
        else:
            book.put_entry(o, entry)


def _put_orders(book: AccountBook, state: BookState) -> None:
    """Orders, and by which names they are known."""
    orders = book.orders
    for instrument, client_id, order_id in state.names:
        orders.names[instrument, client_id] = order_id
    for gone in state.gone_orders:
        orders.known.pop((gone[0], gone[1]), None)
    for instrument, order_id, known in state.orders:
        orders.known[instrument, order_id] = known
        book.order_due((instrument, order_id))


def _base(track: Track, summed_up_us: int) -> BaseState:
    base = track.base
    assert base is not None
    return BaseState(
        track.kind, list(track.key), track.origin, track.about, track.sources.fills, track.sources.ledger,
        _sight(base.first), _sight(base.last), base.drifts, summed_up_us,
    )  # fmt: skip


def _base_of_both(kind: str, key: list[str], base: Run, until_us: int) -> BaseState:
    return BaseState(kind, key, 0, OF_BOTH, None, None, _sight(base.first), _sight(base.last), base.drifts, until_us)


def _sight(sight: Sight) -> SightState:
    one = sight.snapshot
    return SightState(
        sight.label, sight.ts_us, sorted(sight.drifts), sight.tolerance, sight.likely,
        one if isinstance(one, Snapshot) else None,
    )  # fmt: skip


def _restore_base(book: AccountBook, base: BaseState) -> None:
    key = tuple(base.key)
    state = book.states.keys.setdefault((base.kind, *key), KeyState())
    first, last = (
        Sight(s.label, s.ts_us, set(s.drifts), s.tolerance, s.likely, s.snapshot) for s in (base.first, base.last)
    )
    run = Run(first, base.drifts)
    run.last = last
    state.stale = True
    if base.about == OF_BOTH:
        state.equal_base, state.equal_base_us = run, base.summed_up_us
        return
    track = Track(base.kind, key, base.origin, base.about, Sources(base.fills, base.ledger))
    track.base = run
    state.tracks.append(track)
    state.summed_up_us = max(state.summed_up_us, base.summed_up_us)
