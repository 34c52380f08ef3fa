"""The chain that binds what is kept: each entry carries a hash over itself and the hash of the entry before it.

There is one chain per partition of a topic, in the order of its offsets, so that the same log always makes the same
chain, however its records came in batches and however often. An entry is a record as Kafka holds it, or a gap: offsets
that were gone before they could be read. The hash is SHA-256 over the previous hash (32 zero bytes at the start) and
these fields in turn, each as `length:bytes,` and what is null as `-,`:

    record or gap, topic, partition, first offset, last offset, time (us), key, value

numbers in decimal. So anybody can compute it again with nothing of ours.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

GENESIS = bytes(32)
"""What the first entry of a chain has before it."""
Form = Literal["record", "gap"]
GapReason = Literal["expired", "compacted"]


class Place(NamedTuple):
    """What a chain is of."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.topic}-{self.partition}"


class Entry(NamedTuple):
    """One record, or one gap; its offsets, both included. A gap has its reason as value."""

    form: Form
    first_offset: int
    last_offset: int
    time_us: int
    """Kafka's; 0 of a gap."""
    key: bytes | None
    value: bytes | None


class Head(NamedTuple):
    """Where a chain ends."""

    next_offset: int = 0
    """The first offset that is not in it."""
    hash: bytes = GENESIS
    entries: int = 0


def record(offset: int, time_us: int, key: bytes | None, value: bytes | None) -> Entry:
    """The entry of a record."""
    return Entry("record", offset, offset, time_us, key, value)


def gap(first_offset: int, last_offset: int, reason: GapReason) -> Entry:
    """The entry of offsets that nobody can read any more."""
    return Entry("gap", first_offset, last_offset, 0, None, reason.encode())


def hash_of(previous: bytes, place: Place, entry: Entry) -> bytes:
    """The hash of an entry that follows the one with hash `previous`."""
    fields: tuple[bytes | None, ...] = (
        entry.form.encode(),
        place.topic.encode(),
        b"%d" % place.partition,
        b"%d" % entry.first_offset,
        b"%d" % entry.last_offset,
        b"%d" % entry.time_us,
        entry.key,
        entry.value,
    )
    framed = (b"-," if each is None else b"%d:%b," % (len(each), each) for each in fields)
    return sha256(previous + b"".join(framed)).digest()


def after(head: Head, place: Place, entry: Entry) -> Head:
    """The head once `entry` is appended."""
    assert head.next_offset <= entry.first_offset <= entry.last_offset, f"{place}: {entry.first_offset} is behind"
    return Head(entry.last_offset + 1, hash_of(head.hash, place, entry), head.entries + 1)


def chained(place: Place, entries: Iterable[Entry]) -> Head:
    """The head of a chain of these entries, in their order."""
    head = Head()
    for entry in entries:
        head = after(head, place, entry)
    return head


def continued(next_offset: int, records: Iterable[Entry], log_start: int, *, compacted: bool) -> list[Entry]:
    """The records of a log from `next_offset` on, with a gap wherever records are gone.

    Offsets below `log_start` have expired. What is missing above it was compacted away, where the topic is compacted;
    elsewhere it never was a record (Kafka's own marks of transactions take offsets too). Records below `next_offset`
    are passed on as they are.
    """
    entries: list[Entry] = []
    for each in records:
        if next_offset < min(log_start, each.first_offset):
            last = min(log_start, each.first_offset) - 1
            entries.append(gap(next_offset, last, "expired"))
            next_offset = last + 1
        if compacted and next_offset < each.first_offset:
            entries.append(gap(next_offset, each.first_offset - 1, "compacted"))
        entries.append(each)
        next_offset = max(next_offset, each.last_offset + 1)
    if next_offset < log_start:
        entries.append(gap(next_offset, log_start - 1, "expired"))
    return entries
