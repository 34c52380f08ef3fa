"""The lane: everything that is known of one partition number, and what follows from each further record.

A lane is fed batches of decoded records in log order (`step`), and what the shell sees of silence (`tick`); it never
reads a clock. What it concluded and what changed in it since the last time is taken out by `drain`: the transitions to
publish, and one `Changes` to write to recon.state.v1. Folding all `Changes` ever drained, in order, into a new lane
(`restore`) gives the same lane; `snapshot` gives the same in few, large `Changes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.decode import Rejected
    from stream_recon.domain.discrepancies import Alert
    from stream_recon.domain.events import Event, Origin, Stream


class Batch(Struct):
    """Consecutive records of one topic-partition; the lists are parallel."""

    origin: Origin
    stream: Stream
    topic: str | None
    offsets: list[int]
    times_us: list[int]
    """Kafka's time of each record; for files a time no event is ahead of."""
    values: list[bytes]
    events: list[Event | Rejected]


class Published(Struct):
    """One transition to publish, with Kafka's time of the record that made it due."""

    alert: Alert
    trigger_us: int


class Changes(Struct):
    """What changed in a lane: the unit of its durable state (encoded with msgspec's msgpack)."""


class Drained(Struct):
    """What `drain` takes out."""

    published: list[Published]
    changes: Changes


class Lane:
    """The state of one partition number."""

    def __init__(self, partition: int, contracts: Contracts) -> None: ...

    def step(self, batch: Batch) -> None:
        """Apply the records of a batch, one by one."""

    def tick(self, at_end_us: dict[tuple[Origin, Stream], int]) -> None:
        """Say for how long (us, by the shell's clock) each topic has had nothing new while read to its very end."""

    def drain(self) -> Drained:
        """Take out what has been concluded and changed since the last call."""
        raise RuntimeError

    def restore(self, changes: Changes) -> None:
        """Fold one drained `Changes` into this lane."""

    def snapshot(self, limit: int) -> Iterator[Changes]:
        """The whole state as `Changes` of at most `limit` entries each."""
        raise RuntimeError
