"""What the windows of a lane remember, as records: the changes of one pack, and the whole in parts.

Restoring is a fold, as in `core.memory`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from stream_recon.core.drift import Chain, Window
from stream_recon.core.watermarks import NEVER_US
from stream_recon.core.window_books import Half, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.core.window_books import Book
    from stream_recon.core.windows import Windows


class BookState(Struct, array_like=True):
    """Of one account, how far its windows are settled, and when to look again."""

    account: str
    settled_us: int
    due_us: int
    ends: list[int]


class TrackState(Struct, array_like=True):
    """Of one account and instrument, what will not change any more."""

    account: str
    instrument: str
    base: Chain
    said: list[int]


class WindowChanges(Struct, array_like=True):
    """What changed in the windows of a lane."""

    length_us: int = 0
    books: list[BookState] = []
    tracks: list[TrackState] = []
    windows: list[tuple[str, str, int, Window | None]] = []
    """None: let go of."""
    halves: list[tuple[str, str, list[Half]]] = []
    """Account, unit, and what waits; none: it does no longer."""


def take(windows: Windows) -> WindowChanges:
    """Gather what changed since the last call."""
    changes = WindowChanges(windows.length_us)
    for name, book in windows.busy.items():
        windows.take_in(book)
        changes.halves += [(name, unit, book.halves.get(unit, [])) for unit in book.fresh]
        book.fresh = {}
        for instrument, track in book.tracks.items():
            if track.touched:
                changes.windows += [
                    (name, instrument, number, track.windows.get(number)) for number in sorted(track.touched)
                ]
                track.touched = set()
            if track.moved:
                base = Chain() if track.empty else track.base
                changes.tracks.append(TrackState(name, instrument, base, sorted(track.said)))
                track.moved = False
        if book.changed:
            changes.books.append(_state_of(book))
            book.changed = False
        _tidy(windows, book)
    windows.busy = {}
    return changes


def _tidy(windows: Windows, book: Book) -> None:
    """Let go of what holds nothing."""
    for instrument in [i for i, track in book.tracks.items() if track.empty]:
        del book.tracks[instrument]
    if not (book.tracks or book.halves or book.ends):
        del windows.books[book.account.name]


def snapshot(windows: Windows, limit: int) -> Iterator[WindowChanges]:
    """The whole, in parts of at most about `limit` entries."""
    books = windows.books
    tracks = [(name, i, track) for name, book in books.items() for i, track in book.tracks.items()]
    parts: dict[str, Iterator[object]] = {
        "books": map(_state_of, books.values()),
        "tracks": (TrackState(name, i, track.base, sorted(track.said)) for name, i, track in tracks),
        "windows": ((name, i, number, w) for name, i, track in tracks for number, w in track.windows.items()),
        "halves": ((name, unit, w) for name, book in books.items() for unit, w in book.halves.items()),
    }
    for part, entries in parts.items():
        while chunk := list(islice(entries, limit)):
            changes = WindowChanges(windows.length_us)
            setattr(changes, part, chunk)
            yield changes


def restore(windows: Windows, changes: WindowChanges) -> None:
    """Fold what changed into these windows. Of windows of another length, only what waits for its twin is kept."""
    _restore_halves(windows, changes)
    if changes.length_us != windows.length_us:
        return
    for name, instrument, number, window in changes.windows:
        known = windows.remembered(name).track(instrument).windows
        if window is not None:
            known[number] = window
            windows.expire(windows.books[name], number)
        else:
            known.pop(number, None)
    for held in changes.tracks:
        track = windows.remembered(held.account).track(held.instrument)
        track.base, track.said = held.base, set(held.said)
    for state in changes.books:
        book = windows.remembered(state.account)
        book.settled_us, book.due_us, book.ends = state.settled_us, state.due_us, set(state.ends)
        book.from_us = book.to_us = 0
        book.owed = {key_of(unit) for unit, held in book.halves.items() if held[0][1].ts_us <= book.settled_us}
        if book.due_us != NEVER_US:
            windows.wake(book)


def _restore_halves(windows: Windows, changes: WindowChanges) -> None:
    for name, unit, waiting in changes.halves:
        book = windows.remembered(name)
        if waiting:
            book.halves[unit] = waiting
        else:
            book.halves.pop(unit, None)
        for _, move in waiting:
            if changes.length_us != windows.length_us:
                windows.enter(book, key_of(unit), move.ts_us)
            elif move.ts_us <= book.settled_us:
                book.owed.add(key_of(unit))
            windows.expire(book, move.ts_us // windows.length_us)


def _state_of(book: Book) -> BookState:
    return BookState(book.account.name, book.settled_us, book.due_us, sorted(book.ends))
