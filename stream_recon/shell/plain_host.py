"""The worker on aiokafka alone: a group member that fetches, applies and commits, in one loop."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_recon.shell.clients import COMMIT_INTERVAL_S, new_consumer, new_producer
from stream_recon.shell.fetching import fetch, packs
from stream_recon.shell.watchdog import end_process

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka import AIOKafkaProducer

    from stream_recon.shell.keeper import Keeper
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()


class PlainHost(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Drives a keeper."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._topics = list(settings.plan.consumed())
        # Range assigns each topic alike, so that a member has the same partition numbers of all of them.
        self._consumer = new_consumer(settings, RangePartitionAssignor)
        self._producer = new_producer(settings)
        self._keeper: Keeper
        self._done: dict[TopicPartition, int] = {}
        self._leaving = False

    async def start_producer(self) -> AIOKafkaProducer:
        """The producer for everything that is written."""
        await self._producer.start()
        return self._producer

    async def run(self, keeper: Keeper) -> None:
        """Fetch, apply and commit until `leave`."""
        self._keeper = keeper
        await self._consumer.start()
        self._consumer.subscribe(self._topics, listener=self)
        fetcher = self._consumer._fetcher
        committing = asyncio.create_task(self._commit_now_and_then())
        try:
            while not self._leaving:
                with fetcher._subscriptions.fetch_context():
                    chunks = await fetch(fetcher, self._consumer.assignment(), 0.5)
                generation = keeper.generation
                for pack in packs(chunks):
                    if self._leaving:
                        break
                    await keeper.apply(pack, generation, partial(self._acknowledge, pack.partition))
                    await asyncio.sleep(0)
        finally:
            committing.cancel()

    def _acknowledge(self, partition: int, reached: dict[str, int]) -> None:
        for topic, offset in reached.items():
            self._done[TopicPartition(topic, partition)] = offset

    async def leave(self) -> None:
        """Finish what is begun, commit, and tell the group."""
        self._leaving = True
        await self._keeper.finished()
        await self._commit()
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what is begun; somebody else may go on from here."""
        try:
            if any(revoked):
                await self._keeper.finished()
                await self._commit()
            self._keeper.revoked()
            self._done.clear()
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
            end_process("partitions could not be given up", error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Restore, and read on from what has been applied."""
        try:
            tps = set(assigned)
            await self._keeper.assigned(tps)
            for tp in tps:
                offset = self._keeper.position(tp.topic, tp.partition)
                self._consumer.seek(tp, offset)
                if offset:
                    self._done[tp] = offset  # else it seems to lag until more comes
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
            end_process("partitions could not be taken over", error)

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S)
            await self._commit()

    async def _commit(self) -> None:
        done, self._done = self._done, {}
        told: dict[TopicPartition, Any] = {
            tp: OffsetAndMetadata(offset, self._keeper.metadata(tp.partition)) for tp, offset in done.items()
        }
        with contextlib.suppress(CommitFailedError, IllegalStateError):  # a hint only, and its partitions are gone
            if told:
                await self._consumer.commit(told)
