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

NOTHING_SAID = -1


class BookState(Struct, array_like=True):
    """Of one book, how far its windows are settled, and when to look again."""

    book: str
    """Its name: of an account and a matter."""
    settled_us: int
    due_us: int
    ends: list[int]
    late: bool
    """Something came late, and has not been looked at."""


class TrackState(Struct, array_like=True):
    """Of one book and instrument or asset, what will not change any more."""

    book: str
    subject: str
    base: Chain
    said: list[int]


class WindowChanges(Struct, array_like=True):
    """What changed in the windows of a lane."""

    length_us: int = NOTHING_SAID
    """Of the windows; 0: there are none."""
    books: list[BookState] = []
    tracks: list[TrackState] = []
    windows: list[tuple[str, str, int, Window | None]] = []
    """None: let go of."""
    halves: list[tuple[str, str, list[Half]]] = []
    """Book, unit, and what waits; none: it does no longer."""


def take(windows: Windows) -> WindowChanges:
    """Gather what changed since the last call."""
    changes = WindowChanges(windows.length_us)
    for name, book in windows.busy.items():
        windows.take_in(book)
        changes.halves += [(name, unit, book.halves.get(unit)) for unit in book.fresh]
        book.halves.pack(book.fresh, book.settled_us)
        book.fresh = {}
        for subject, track in book.tracks.items():
            if track.touched:
                changes.windows += [
                    (name, subject, number, track.windows.get(number)) for number in sorted(track.touched)
                ]
                track.touched = set()
            if track.moved:
                base = Chain() if track.empty else track.base
                changes.tracks.append(TrackState(name, subject, base, sorted(track.said)))
                track.moved = False
        if book.changed:
            changes.books.append(_state_of(windows, book))
            book.changed = False
        _tidy(windows, book)
    windows.busy = {}
    return changes


def _tidy(windows: Windows, book: Book) -> None:
    """Let go of what holds nothing."""
    for subject in [subject for subject, track in book.tracks.items() if track.empty]:
        del book.tracks[subject]
    if not (book.tracks or book.halves or book.ends):
        del windows.books[book.name]


def snapshot(windows: Windows, limit: int) -> Iterator[WindowChanges]:
    """The whole, in parts of at most about `limit` entries."""
    books = windows.books
    tracks = [(name, i, track) for name, book in books.items() for i, track in book.tracks.items()]
    parts: dict[str, Iterator[object]] = {
        "books": (_state_of(windows, book) for book in books.values()),
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
    if changes.length_us == NOTHING_SAID:
        return
    if changes.length_us != windows.restored_us:
        _begin_anew(windows, changes.length_us)
    if not windows.length_us:
        return
    _restore_halves(windows, changes)
    if changes.length_us != windows.length_us:
        return
    for name, subject, number, window in changes.windows:
        known = windows.remembered(name).track(subject).windows
        if window is not None:
            known[number] = window
            windows.expire(windows.books[name], number)
        else:
            known.pop(number, None)
    for held in changes.tracks:
        track = windows.remembered(held.book).track(held.subject)
        track.base, track.said = held.base, set(held.said)
    for state in changes.books:
        book = windows.remembered(state.book)
        book.settled_us, book.due_us, book.ends = state.settled_us, state.due_us, set(state.ends)
        book.from_us = book.to_us = 0
        book.halves.pack(list(book.halves.loose), book.settled_us)
        if book.due_us != NEVER_US:
            windows.wake(book)
        (windows.late.add if state.late else windows.late.discard)(book.name)


def _begin_anew(windows: Windows, length_us: int) -> None:
    """From here on it is windows of another length that were written: what waits for its twin goes on in these."""
    windows.restored_us = length_us
    books, windows.books, windows.expiry = windows.books, {}, {}
    if length_us:  # else nobody looked any more for who came
        for name, book in books.items():
            _put_halves(windows, name, dict(book.halves.items()))


def _put_halves(windows: Windows, name: str, halves: dict[str, list[Half]]) -> None:
    book = windows.remembered(name)
    for unit, waiting in halves.items():
        book.halves.put(unit, waiting)
        for _, move in waiting:
            windows.enter(book, key_of(unit), move.ts_us)
            windows.expire(book, move.ts_us // windows.length_us)


def _restore_halves(windows: Windows, changes: WindowChanges) -> None:
    for name, unit, waiting in changes.halves:
        book = windows.remembered(name)
        if not waiting:
            book.halves.drop(unit)
        elif changes.length_us != windows.length_us:
            _put_halves(windows, name, {unit: waiting})
        else:
            book.halves.put(unit, waiting)
            book.halves.pack((unit,), book.settled_us)
            for _, move in waiting:
                windows.expire(book, move.ts_us // windows.length_us)


def _state_of(windows: Windows, book: Book) -> BookState:
    return BookState(book.name, book.settled_us, book.due_us, sorted(book.ends), book.name in windows.late)
