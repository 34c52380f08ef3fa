"""From Kafka to packs: what one fetch brought, in columns, without an object of ours per record.

aiokafka makes a ConsumerRecord of each record, which costs more than decoding it. Its own fetcher does all the rest
here (positions, aborted transactions, checksums); only the last step, from the record that the C parser made to a
ConsumerRecord, is left out, and whole fetch results are taken instead of counted ones.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import CorruptRecordException
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

PACK_RECORDS = 2000
"""At most so many records are stepped through at once: the unit of durable state."""


class Chunk(Struct, gc=False):
    """Consecutive records of one topic-partition; the lists are parallel.

    `start` and `next` are positions, not offsets of records: between them the log holds these records and nothing
    else, whatever offsets control records or compaction took out.
    """

    topic: str
    partition: int
    start: int
    next: int
    offsets: list[int]
    times_us: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    header_counts: list[int]

    def part(self, first: int, last: int) -> Chunk:
        """The records `first` to `last` (exclusive) by their place in the chunk."""
        return Chunk(
            self.topic,
            self.partition,
            self.start if first == 0 else self.offsets[first - 1] + 1,
            self.next if last >= len(self.offsets) else self.offsets[last - 1] + 1,
            self.offsets[first:last],
            self.times_us[first:last],
            self.keys[first:last],
            self.values[first:last],
            self.header_counts[first:last],
        )

    def beyond(self, position: int) -> Chunk:
        """What of it lies at or after `position`, which is above its start."""
        rest = self.part(bisect_left(self.offsets, position), len(self.offsets))
        rest.start = position
        return rest


class Pack(Struct, gc=False):
    """Chunks of one partition number, together at most PACK_RECORDS records."""

    partition: int
    chunks: list[Chunk]

    def __len__(self) -> int:
        return sum(len(chunk.offsets) for chunk in self.chunks)


def packs(fetched: Iterable[Chunk]) -> Iterator[Pack]:
    """Cut what was fetched into packs by partition number, its topics taking turns so that none runs far ahead."""
    numbers: dict[int, list[Chunk]] = {}
    for chunk in fetched:
        numbers.setdefault(chunk.partition, []).append(chunk)
    for partition, chunks in numbers.items():
        share = max(1, PACK_RECORDS // len(chunks))
        first = 0
        while True:
            parts = [chunk.part(first, first + share) for chunk in chunks if first == 0 or first < len(chunk.offsets)]
            if not parts:
                break
            yield Pack(partition, parts)
            first += share


async def fetch(fetcher: Any, wanted: Collection[Any], timeout_s: float) -> list[Chunk]:  # noqa: C901 - as aiokafka's
    """Take all that aiokafka's `fetcher` has read of the `wanted` topic-partitions, waiting for it if need be.

    Raises:
        KafkaError: what the broker refused, or a record that its checksum does not fit.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while True:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        chunks: list[Chunk] = []
        for tp in list(fetcher._records):
            if tp not in wanted:
                if not fetcher._subscriptions.is_assigned(tp):
                    del fetcher._records[tp]
                continue
            result = fetcher._records[tp]
            if isinstance(result, FetchError) and chunks:
                return chunks  # the error is raised when it is met again, first
            del fetcher._records[tp]
            fetcher._notify(fetcher._wait_consume_future)
            if isinstance(result, FetchError):
                result.check_raise()
            chunk = _take(tp, result)
            if chunk is not None:
                chunks.append(chunk)
        left_s = until - loop.time()
        if chunks or left_s <= 0:
            return chunks
        waiter = fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=left_s)
        if not done or fetcher._closed:
            waiter.cancel()
            return []
        waiter.result()


def _take(tp: Any, result: Any) -> Chunk | None:
    if not result.has_more() or not result.check_assignment(tp):
        return None  # a rebalance or a seek came between
    unpacked = result._partition_records
    start = unpacked.next_fetch_offset
    if unpacked._aborted_transactions:
        unpacked._consumer_record = _as_it_is
        records = result.getall()
    else:
        records = _records(tp, unpacked)
        unpacked._records_iterator = None  # refers back to it, and would keep a megabyte until the next collection
        result._update_position()
        result._partition_records = None
    return Chunk(
        tp.topic,
        tp.partition,
        start,
        unpacked.next_fetch_offset,
        [record.offset for record in records],
        [record.timestamp * 1000 for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [len(record.headers) for record in records],
    )


def _records(tp: Any, unpacked: Any) -> list[Any]:
    """What aiokafka's own loop gives where no transaction was aborted, at a third of its cost."""
    records: list[Any] = []
    start = unpacked.next_fetch_offset
    batches = unpacked._records
    while batches.has_next():
        batch = batches.next_batch()
        if unpacked._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"a batch of {tp.topic} partition {tp.partition} does not fit its checksum")
        if not batch.is_control_batch:
            records += batch
        unpacked.next_fetch_offset = batch.next_offset
    if records and records[0].offset < start:  # a batch is sent whole, even if its middle was asked for
        return records[bisect_left(records, start, key=attrgetter("offset")) :]
    return records


def _as_it_is(_tp: object, record: object) -> object:
    return record
