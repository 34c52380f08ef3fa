"""The audit writer: what is published on the audited topics goes into the store, in batches, one transaction each.

Where to read on is what the store says, not what the group has committed: a batch is in the store with the head that
ends it, or not at all, so nothing is written twice and nothing is left out, whenever the process ends. Offsets are
committed after the transaction, as a promise of what the store holds (`audit verify --bootstrap` takes us at it) and
for those who watch the group's lag.

A store or a broker that is down delays the audit and nothing else: the writer says so, waits, and asks the store anew
where to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_recon.audit import metrics
from stream_recon.audit.chain import Place, continued
from stream_recon.audit.errors import ConflictError, StoreError
from stream_recon.audit.store import AuditStore
from stream_recon.audit.topics import READ, audit_group, audited, entries_of, require

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.audit.chain import Entry, Head
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_AT_ONCE = 1000
_POLL_MS = 500
_MEASURE_S = 2.0
_PATIENCE_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait after each failure in a row."""
_CLIENT: dict[str, Any] = {
    **READ,
    "client_id": "stream-recon-audit",
    "max_poll_interval_ms": 3_600_000,  # a store may be down for long
    "metadata_max_age_ms": 60_000,
}


class Writer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Writes the partitions that the group gives it."""

    def __init__(self, settings: WorkerSettings, url: str) -> None:
        """Nothing is connected yet.

        Raises:
            StoreRefusedError: `url` is of no use.
        """
        self._settings = settings
        self._store = AuditStore(url)
        self._compacted = audited(settings.plan)
        self._consumer: AIOKafkaConsumer
        self._next: dict[TopicPartition, int] = {}
        """By partition that stands where the store ends: the next offset."""
        self._last: dict[TopicPartition, int] = {}
        """The same, as last known, while the store cannot be asked."""
        self._failures = 0
        self._measured_at = 0.0
        self.ready = False
        """The store takes what is written."""
        self.progress_at = time.monotonic()
        """When the writer last went round, whatever came of it (monotonic, s)."""

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop`, whatever happens to the store or the broker meanwhile."""
        metrics.UP.set(0)
        try:
            while not stop.is_set():
                try:
                    await self._connected(stop)
                except (KafkaError, OSError) as error:
                    await self._wait("the audit cannot read Kafka, and waits", error, stop)
        finally:
            await asyncio.to_thread(self._store.close)

    async def _connected(self, stop: asyncio.Event) -> None:
        """Be a member of the group, until `stop`."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap, group_id=audit_group(self._settings), **_CLIENT
        )
        try:
            await self._consumer.start()
            await require(self._consumer, self._settings.plan)
            self._consumer.subscribe(list(self._compacted), listener=self)
            while not stop.is_set():
                try:
                    await self._once()
                except StoreError as error:
                    self._next.clear()
                    await self._measure()
                    what = "the audit store does not match" if isinstance(error, ConflictError) else "the audit waits"
                    await self._wait(what, error, stop)
                else:
                    self._well()
                    await self._measure_now_and_then()
        finally:
            self._next.clear()
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Somebody else goes on from what the store says."""
        del revoked
        self._next.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The next round asks the store where to go on: a store that is down must hold up no rebalance."""
        del assigned
        self._next.clear()

    async def _once(self) -> None:
        """Fetch, write, commit."""
        unplaced = self._consumer.assignment() - self._next.keys()
        if unplaced or not self.ready:
            await self._place(unplaced)
        elif time.monotonic() - self._measured_at > _MEASURE_S:
            await asyncio.to_thread(self._store.check_writable)
        found = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        batch: dict[TopicPartition, list[Entry]] = {}
        for tp, records in found.items():
            # What was fetched before the partition was placed is fetched again.
            following = self._next.get(tp)
            fresh = [each for each in records if following is not None and each.offset >= following]
            if following is not None and fresh:
                compacted = self._compacted[tp.topic]
                batch[tp] = await entries_of(self._consumer, tp, following, fresh, compacted=compacted)
        if batch:
            await self._write(batch)

    async def _place(self, unplaced: Iterable[TopicPartition]) -> None:
        """Stand where the store ends; note what has expired unread.

        Raises:
            StoreError: the store cannot be asked, or is of other topics.
        """
        await asyncio.to_thread(self._store.create)
        heads = await asyncio.to_thread(self._store.heads)
        tps = sorted(unplaced)
        if not tps:
            return
        starts, ends = await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)
        gone: dict[TopicPartition, list[Entry]] = {}
        for tp in tps:
            head = heads.get(Place(tp.topic, tp.partition))
            following = head.next_offset if head is not None else 0
            if following > ends[tp]:
                raise ConflictError(
                    f"{tp.topic}-{tp.partition} ends at offset {ends[tp]}, and the audit store {self._store.name} goes "
                    f"on to {following}: the topic was made anew, or the store is of another Kafka; name a new store"
                )
            if following < starts[tp]:
                gone[tp] = continued(following, [], starts[tp], compacted=False)
            await self._warn_of_less_than_promised(tp, following)
        if gone:
            await self._write(gone)
        for tp in set(tps) & self._consumer.assignment():
            head = heads.get(Place(tp.topic, tp.partition))
            self._next[tp] = self._last[tp] = max(head.next_offset if head is not None else 0, starts[tp])
            self._consumer.seek(tp, self._next[tp])

    async def _warn_of_less_than_promised(self, tp: TopicPartition, following: int) -> None:
        promised = await self._consumer.committed(tp)
        if promised is not None and promised > following:
            _log.warning(
                "the audit store has less than it had: it is new, was restored from a copy, or lost its end; what the "
                "topics still hold is read again",
                topic=tp.topic, partition=tp.partition, had=promised, has=following,
            )  # fmt: skip

    async def _write(self, batch: dict[TopicPartition, list[Entry]]) -> None:
        """Append and commit.

        Raises:
            StoreError: nothing was appended.
        """
        named = {Place(tp.topic, tp.partition): entries for tp, entries in batch.items()}
        heads: dict[Place, Head] = await asyncio.to_thread(self._store.append, named)
        done: dict[TopicPartition, int] = {}
        for tp, entries in batch.items():
            done[tp] = heads[Place(tp.topic, tp.partition)].next_offset
            if tp in self._next:
                self._next[tp] = self._last[tp] = done[tp]
            for each in entries:
                if each.form == "record":
                    metrics.KEPT.labels(tp.topic).inc()
                    continue
                lost = each.last_offset - each.first_offset + 1
                metrics.GAPS.labels(tp.topic).inc(lost)
                _log.error(
                    "audit gap: records were gone before they could be audited; keep topics for longer than the audit "
                    "may be down",
                    topic=tp.topic, partition=tp.partition, first_offset=each.first_offset,
                    last_offset=each.last_offset, reason=(each.value or b"").decode(),
                )  # fmt: skip
        await self._commit(done)

    async def _commit(self, done: dict[TopicPartition, int]) -> None:
        offsets = {tp: OffsetAndMetadata(offset, "") for tp, offset in done.items()}
        with contextlib.suppress(CommitFailedError, IllegalStateError):  # a promise only, and others make it now
            await self._consumer.commit(offsets)

    async def _measure_now_and_then(self) -> None:
        if time.monotonic() - self._measured_at > _MEASURE_S:
            await self._measure()

    async def _measure(self) -> None:
        """Say how far the store is behind, also while it cannot be asked."""
        tps = sorted(self._consumer.assignment())
        starts = await self._consumer.beginning_offsets(tps) if tps else {}
        ends = await self._consumer.end_offsets(tps) if tps else {}
        lag = dict.fromkeys(self._compacted, 0)
        for tp in tps:
            if tp not in self._last:
                self._last[tp] = await self._consumer.committed(tp) or starts[tp]
            lag[tp.topic] += max(0, ends[tp] - self._last[tp])
        for topic, records in lag.items():
            metrics.LAG.labels(topic).set(records)
        self._measured_at = self.progress_at = time.monotonic()

    def _well(self) -> None:
        self.progress_at = time.monotonic()
        if not self.ready:
            self.ready, self._failures = True, 0
            metrics.UP.set(1)
            _log.info("the audit writes", store=self._store.name)

    async def _wait(self, what: str, error: Exception, stop: asyncio.Event) -> None:
        """Say what is wrong, and wait a while."""
        self.ready = False
        metrics.UP.set(0)
        patience_s = _PATIENCE_S[min(self._failures, len(_PATIENCE_S) - 1)]
        self._failures += 1
        self.progress_at = time.monotonic() + patience_s
        _log.error(what, reason=str(error) or repr(error), again_in_s=patience_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), patience_s)


async def run(settings: WorkerSettings, url: str, stop: asyncio.Event) -> None:
    """Keep what is published in the store at `url` until `stop`.

    Neither a store nor a broker that is down ends it, nor a store that does not match: they show in the log and in
    the metrics `stream_recon_audit_up` and `stream_recon_audit_lag_records`, and it tries again.

    Raises:
        StoreRefusedError: `url` is of no use.
    """
    await Writer(settings, url).run(stop)
