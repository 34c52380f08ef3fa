"""What is kept held against what the topics say: entry by entry where both have it, and head by head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from stream_recon.audit.verify import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_recon.audit.chain import Entry, Head, Place
    from stream_recon.audit.view import View

Verdict = Literal["equal", "behind", "ahead", "as far as kept", "differs"]


class Agreement(Struct, frozen=True):
    """How one chain of a store stands to its topic."""

    topic: str
    partition: int
    verdict: Verdict
    """equal: one head. behind, ahead: one head as far as both go, and the store or the other has more. As far as kept:
    each record that is still in the topic is the same; what is gone from there can be proved no more."""
    kept: str
    """The head of the store, in hexadecimal."""
    rebuilt: str
    """That of a chain made from the topic alone."""
    records: int
    """How many the topic still has."""
    detail: str


def differences(place: Place, kept: Sequence[Entry], told: Sequence[Entry], next_offset: int) -> Iterator[Finding]:
    """Where the entries kept are not those that the topic tells, over the same offsets.

    What the topic no longer has (a gap in what it tells) may well be kept. `next_offset`: where the chain kept ends;
    what is told beyond is not yet kept.
    """
    records = {each.first_offset: each for each in kept if each.form == "record"}
    gaps = [(each.first_offset, each.last_offset) for each in kept if each.form == "gap"]
    gone = [(each.first_offset, each.last_offset) for each in told if each.form == "gap"]
    for each in told:
        if each.form == "gap" or each.first_offset >= next_offset:
            continue
        offset = each.first_offset
        ours = records.pop(offset, None)
        if ours is None:
            what = "the gap that was noted there" if _within(offset, gaps) else "nothing"
            yield Finding(*place, offset, "topic", "the record that the topic has", what)
        elif ours != each:
            yield Finding(*place, offset, "topic", f"as the topic has it, {_shown(each)}", _shown(ours))
    for offset in records:
        if not _within(offset, gone):
            yield Finding(*place, offset, "topic", "nothing, as in the topic", _shown(records[offset]))


def agreement(view: View, place: Place, kept: Head, told: Head, records: int, *, differs: bool) -> Agreement:
    """How the chain that is kept stands to the one made from the topic, whose entries have been compared."""

    def judged(verdict: Verdict, detail: str) -> Agreement:
        return Agreement(*place, verdict, kept.hash.hex(), told.hash.hex(), records, detail)

    if differs:
        return judged("differs", "see what was found")
    if kept.hash == told.hash:
        return judged("equal", "the same head")
    if kept.next_offset < told.next_offset:
        return judged("behind", f"{told.next_offset - kept.next_offset} offsets of the topic are not kept yet")
    if view.hash_at(place, told.next_offset) == told.hash:
        return judged("ahead", f"{kept.next_offset - told.next_offset} offsets more than were read of the topic")
    return judged("as far as kept", f"the {records} records that the topic still has are the same; others are gone")


def _within(offset: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(first <= offset <= last for first, last in spans)


def _shown(entry: Entry) -> str:
    value = "null" if entry.value is None else f"{len(entry.value)} bytes"
    return f"time {entry.time_us}, key {entry.key!r}, value of {value} ({digest(entry)})"


def digest(entry: Entry) -> str:
    """A short hash of what a record holds, to tell two apart."""
    from hashlib import sha256

    return sha256(entry.value or b"").hexdigest()[:12]
