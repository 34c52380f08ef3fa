"""What is kept held against what the topics say: entry by entry where both have it, and head by head."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from stream_recon.audit.chain import Head, after
from stream_recon.audit.verify import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_recon.audit.chain import Entry, Place
    from stream_recon.audit.view import View

Verdict = Literal["equal", "behind", "retained", "differs"]


class Agreement(Struct, frozen=True):
    """How one chain of a store stands to its topic."""

    topic: str
    partition: int
    verdict: Verdict
    """equal: one head. behind: one head as far as the store goes. retained: each record that the topic still has is
    the same; what is gone from there it cannot prove. differs: the findings say where."""
    kept: str
    """The head of the store, in hexadecimal."""
    rebuilt: str
    """That of a chain made from the topic alone."""
    records: int
    """How many the topic has."""
    behind: int
    """How many of them the store does not have yet."""


class Comparison:
    """One chain of a store, compared with its topic as that is read from the start."""

    def __init__(self, place: Place, kept: Head) -> None:
        self.findings: list[Finding] = []
        self.told = Head()
        """Of a chain made from the topic alone."""
        self._place = place
        self._kept = kept
        self._told_there = Head().hash
        """The same, where the store's chain ends."""
        self._records = 0
        self._behind = 0

    def feed(self, view: View, entries: Sequence[Entry]) -> None:
        """Compare the next entries of the topic."""
        end = entries[-1].last_offset
        kept = list(view.entries(self._place, self.told.next_offset, end))
        self.findings += differences(self._place, kept, entries, self._kept.next_offset)
        for each in entries:
            self.told = after(self.told, self._place, each)
            if each.last_offset < self._kept.next_offset:
                self._told_there = self.told.hash
            self._records += each.form == "record"
            self._behind += each.form == "record" and each.first_offset >= self._kept.next_offset

    def end(self, topic_end: int, committed: int) -> None:
        """Compare where both end; `committed`: up to where the audit's group says that all is kept."""
        next_offset = self._kept.next_offset
        if topic_end < next_offset:
            self._add(
                topic_end, f"a topic that goes on to offset {next_offset - 1}, as kept", f"its end at {topic_end}"
            )
        if committed > next_offset and self._behind:
            self._add(
                next_offset, f"entries up to offset {committed - 1}: they had been written, says the audit's group",
                f"none from {next_offset} on",
            )  # fmt: skip

    def _add(self, offset: int, expected: str, found: str) -> None:
        problem: Literal["truncated", "topic"] = "truncated" if offset == self._kept.next_offset else "topic"
        self.findings.append(Finding(*self._place, offset, problem, expected, found))

    def agreement(self) -> Agreement:
        """What it came to."""
        if self.findings:
            verdict: Verdict = "differs"
        elif self._kept.hash == self.told.hash:
            verdict = "equal"
        elif self._kept.hash == self._told_there:
            verdict = "behind"
        else:
            verdict = "retained"
        return Agreement(
            *self._place, verdict, self._kept.hash.hex(), self.told.hash.hex(), self._records, self._behind
        )


def differences(place: Place, kept: Sequence[Entry], told: Sequence[Entry], next_offset: int) -> Iterator[Finding]:
    """Where the entries kept are not those that the topic tells, over the same offsets.

    What the topic no longer has (a gap in what it tells) may well be kept. `next_offset`: where the chain kept ends;
    what is told beyond is not kept yet.
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
    for offset, ours in records.items():
        if not _within(offset, gone):
            yield Finding(*place, offset, "topic", "nothing, as in the topic", _shown(ours))


def _within(offset: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(first <= offset <= last for first, last in spans)


def _shown(entry: Entry) -> str:
    """What a record holds, in a few words that tell two apart."""
    value = "null" if entry.value is None else f"{len(entry.value)} bytes ({sha256(entry.value).hexdigest()[:12]})"
    key = "null" if entry.key is None else repr(entry.key[:60])[1:]
    return f"time {entry.time_us}, key {key}, value {value}"
