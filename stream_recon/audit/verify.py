"""Whether the chains are whole: each hash is computed again from what is kept, and each end held against its head.

A chain that was changed shows where. One that was computed anew from there on, with its head, is consistent in itself:
only the topics (`compare`), or a head that was written down elsewhere (an anchor), tell it from the true one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from stream_recon.audit.chain import GENESIS, Head, Place, hash_of
from stream_recon.audit.labels import labels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stream_recon.audit.view import Row, View

Problem = Literal["changed", "missing", "reordered", "truncated", "head", "anchor", "topic"]
_EXCHANGES_TRIED = 200
"""So many changed rows of a chain are tried against each other, to see whether they have changed places."""


class Finding(Struct, frozen=True):
    """Something that is not as it was written."""

    topic: str
    partition: int
    offset: int
    """Of the row; of a chain's end the first offset that is not in it."""
    problem: Problem
    expected: str
    found: str

    def __str__(self) -> str:
        """In one line."""
        return (
            f"{self.topic}-{self.partition} offset {self.offset}: {self.problem}: expected {self.expected}, "
            f"found {self.found}"
        )


class Chain(Struct, frozen=True):
    """A chain as it was found."""

    topic: str
    partition: int
    entries: int
    next_offset: int
    head: str
    """In hexadecimal."""
    gap_records: int
    """How many offsets were gone before they could be kept."""


class Written(Struct):
    """What `audit show` and `audit verify` print of the chains, to be kept elsewhere."""

    chains: list[Chain]


class Checked(NamedTuple):
    """What looking at all chains came to."""

    chains: list[Chain]
    findings: list[Finding]


Anchors = dict[Place, list[tuple[int, bytes]]]
"""Heads that were written down elsewhere: what a chain's hash was when it ended before that offset."""


def check(view: View, anchors: Mapping[Place, Sequence[tuple[int, bytes]]]) -> Checked:
    """Look at every chain of a store."""
    heads = view.heads()
    chains: list[Chain] = []
    findings: list[Finding] = []
    for place in sorted({*view.places(), *anchors}):
        reading = _Reading(place, dict(anchors.get(place, ())))
        findings += reading.check(view.rows(place), heads.get(place))
        chains.append(reading.chain())
    return Checked(chains, findings)


class _Reading:
    """One chain, read once from its start to its end."""

    def __init__(self, place: Place, anchors: dict[int, bytes]) -> None:
        self._place = place
        self._anchors = {at: digest for at, digest in anchors.items() if at}
        self._hash = GENESIS
        """As the row before says it: so that one changed row is one finding."""
        self._next = 0
        self._entries = 0
        self._gaps = 0
        self._changed: list[Row] = []

    def chain(self) -> Chain:
        return Chain(*self._place, self._entries, self._next, self._hash.hex(), self._gaps)

    def check(self, rows: Iterable[Row], head: Head | None) -> Iterator[Finding]:
        found: list[Finding] = []
        for row in rows:
            found += self._row(row)
            self._hash, self._next = row.hash, row.entry.last_offset + 1
            self._entries += 1
            if row.entry.form == "gap":
                self._gaps += row.entry.last_offset - row.entry.first_offset + 1
            found += self._anchor(self._next)
        yield from self._exchanged(found)
        yield from self._end(head)
        for at in sorted(self._anchors):
            yield self._finding(at, "anchor", f"an entry that ends the chain at {at}, as was written down", "none")

    def _finding(self, offset: int, problem: Problem, expected: str, found: str) -> Finding:
        return Finding(*self._place, offset, problem, expected, found)

    def _row(self, row: Row) -> Iterator[Finding]:
        entry, offset = row.entry, row.entry.first_offset
        computed = hash_of(row.previous, self._place, entry)
        if computed != row.hash:
            self._changed.append(row)
            yield self._finding(offset, "changed", f"content with the hash {row.hash.hex()}", computed.hex())
        elif row.labels != (labels := labels_of(entry)):
            said, read = (_said(each._asdict()) for each in (row.labels, labels))
            yield self._finding(offset, "changed", f"the labels of its content, {read}", said)
        if offset < self._next:
            yield self._finding(offset, "changed", f"an offset from {self._next} on", str(offset))
        if row.previous != self._hash:
            where = f"the entry before it, which ends at {self._next - 1}" if self._entries else "a chain's start"
            yield self._finding(
                offset, "missing", f"to follow {where}, with the hash {self._hash.hex()}",
                f"that it follows one with the hash {row.previous.hex()}",
            )  # fmt: skip

    def _anchor(self, at: int) -> Iterator[Finding]:
        written = self._anchors.pop(at, None)
        if written is not None and written != self._hash:
            yield self._finding(at, "anchor", f"the head that was written down, {written.hex()}", self._hash.hex())

    def _exchanged(self, findings: list[Finding]) -> Iterator[Finding]:
        """The findings, those of rows told as such that have only changed places."""
        tried = self._changed[:_EXCHANGES_TRIED]
        others = {
            row.entry.first_offset: other.entry.first_offset
            for row in tried
            for other in tried
            if row is not other and _is_of(row, other, self._place)
        }
        for each in findings:
            if each.problem == "changed" and each.offset in others:
                found = f"what belongs at offset {others[each.offset]}"
                yield self._finding(each.offset, "reordered", "the entry that was written there", found)
            else:
                yield each

    def _end(self, head: Head | None) -> Iterator[Finding]:
        ends = Head(self._next, self._hash, self._entries)
        if head == ends:
            return
        if head is None:
            found = f"none, but {self._entries} entries" if self._entries else "neither a head nor entries"
            yield self._finding(self._next, "head", "a head for this chain", found)
        elif head.next_offset > ends.next_offset:
            expected = f"entries up to offset {head.next_offset - 1}, as its head says"
            yield self._finding(self._next, "truncated", expected, f"none from {self._next} on")
        else:
            yield self._finding(self._next, "head", _said(_shown(ends)) + ", as its entries say", _said(_shown(head)))


def _is_of(row: Row, other: Row, place: Place) -> bool:
    """Whether `row` holds what was written at the offset of `other`: with its hashes, or under those of `other`."""
    there = row.entry._replace(first_offset=other.entry.first_offset, last_offset=other.entry.last_offset)
    return hash_of(row.previous, place, there) == row.hash or hash_of(other.previous, place, there) == other.hash


def _shown(head: Head) -> dict[str, object]:
    return {"next_offset": head.next_offset, "hash": head.hash.hex(), "entries": head.entries}


def _said(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)


def anchors_of(chains: Iterable[Chain]) -> Anchors:
    """Heads as they were written down.

    Raises:
        ValueError: a head is no hexadecimal number.
    """
    return {Place(c.topic, c.partition): [(c.next_offset, bytes.fromhex(c.head))] for c in chains}
