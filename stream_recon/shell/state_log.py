"""The state log: recon.state.v1, of which partition p holds everything that is known under partition number p.

Its owner alone writes it. An owner begins with a `Claim`, whose offset is its epoch; then come an `Entry` for each pack
and now and then a snapshot (`SnapshotPart`). `Fold` reads all that back. Who has lost the partition without knowing it
still writes under its old epoch, after the claim of the next owner: the fold skips that, and the writer finds out:
where the offset that its record gets does not follow the one before, it looks for a claim between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from stream_recon.core.compress import UnreadableError
from stream_recon.core.memory import Changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.core.lane import Lane

PART_BYTES = 900_000
"""Kafka refuses messages over a million bytes by default; what is larger is written in parts."""
SNAPSHOT_ENTRIES = 20_000


class Output(Struct, array_like=True, gc=False):
    """One record that follows from an entry, to be published once the entry is safe."""

    role: Literal["alerts", "breaks", "dlq", "partials"]
    """Alerts go to the newest states too; what goes to those alone is a tombstone. Partials answer work items."""
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Position(Struct, array_like=True):
    """What an owner has done; the newest one counts."""

    next: dict[str, int]
    """By source topic, and of the work items, the first offset that has not been applied."""
    delivered: int
    """Offset of the newest entry (its last part) of which all outputs are known to be published."""
    alerts_next: int
    """Where in the alerts topic's partition, in the DLQ, and among the answers to work items (both are written to by
    others too) what follows `delivered` can only be."""
    dlq_next: int
    partials_next: int = 0


class Claim(Struct, tag="claim", array_like=True):
    """Whoever wrote this owns the partition from here on."""

    owner: str


class Entry(Struct, tag="entry", array_like=True):
    """What one pack changed, and what is to be published because of it."""

    position: Position
    changes: Changes
    outputs: list[Output]


class SnapshotPart(Struct, tag="snapshot", array_like=True):
    """One part of the whole state; the parts follow each other without anything between them."""

    number: int
    last: bool
    position: Position
    changes: Changes


Record = Claim | Entry | SnapshotPart
Header = tuple[str, bytes]

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record, epoch: int) -> list[tuple[bytes, list[Header]]]:
    """The messages (value, headers) that a record is written as."""
    data = _ENCODER.encode(record)
    kind = type(record).__name__.encode()
    parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    return [
        (part, [("epoch", b"%d" % epoch), ("kind", kind), ("part", b"%d/%d" % (number, len(parts)))])
        for number, part in enumerate(parts, 1)
    ]


def is_claim(headers: list[Header]) -> bool:
    """Whether a message with these headers is a claim."""
    return ("kind", b"Claim") in headers


class Unpublished(Struct):
    """An entry whose outputs may not have been published, and where it lies."""

    offset: int
    outputs: list[Output]


class Fold:
    """The state that a log amounts to, record by record."""

    def __init__(self, new_lane: Callable[[], Lane]) -> None:
        self._new_lane = new_lane
        self.lane: Lane = new_lane()
        self.position: Position | None = None
        self.unpublished: list[Unpublished] = []
        self.pointer: int | None = None
        """Where the newest complete snapshot starts."""
        self.records = 0
        self.ignored = 0
        """Messages of owners that had lost the partition."""
        self._epoch: int | None = None
        self._parts: list[bytes] = []
        self._first = 0
        self._building: tuple[int, Lane] | None = None

    def add(self, offset: int, value: bytes, headers: list[Header]) -> None:
        """Apply one message.

        Raises:
            ValueError: it is none that this program wrote.
        """
        try:
            told = dict(headers)
            epoch, kind = int(told["epoch"]), told["kind"]
            number, of = map(int, told["part"].split(b"/"))
        except (KeyError, ValueError) as error:
            raise ValueError(f"the message at offset {offset} is no record of state") from error
        if kind == b"Claim":
            # What an earlier owner left unfinished never counted: it publishes nothing before the last part is safe.
            self._epoch, self._parts, self._building = offset, [], None
            return
        if self._epoch is None:
            self._epoch = epoch  # reading starts after the claim
        if epoch != self._epoch:
            self.ignored += 1
            return
        if number == 1:
            self._parts, self._first = [], offset
        self._parts.append(value)
        if number == of and len(self._parts) == of:
            try:
                self._apply(offset, self._first, _DECODER.decode(b"".join(self._parts)))
            except (msgspec.DecodeError, UnreadableError) as error:
                raise ValueError(f"the state up to offset {offset} was written by another version: {error}") from error
            self._parts = []

    def _apply(self, offset: int, first: int, record: Record) -> None:
        self.records += 1
        if isinstance(record, Entry):
            self.lane.restore(record.changes)
            self._stand(record.position)
            if record.outputs:
                self.unpublished.append(Unpublished(offset, record.outputs))
        elif isinstance(record, SnapshotPart):
            if record.number == 1:
                self._building = (first, self._new_lane())
            if self._building is None:
                return  # its beginning lies before what was read
            start, lane = self._building
            lane.restore(record.changes)
            if record.last:
                self.lane, self.pointer, self._building = lane, start, None
                self._stand(record.position)

    def _stand(self, position: Position) -> None:
        self.position = position
        self.unpublished = [entry for entry in self.unpublished if entry.offset > position.delivered]
