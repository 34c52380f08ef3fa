"""The worker on Faust: one agent over all topics that are read, whose events are packs.

Faust schedules, assigns, rebalances and shuts down; what it does once per record (250 us) is done here once per pack:
its scheduler is given whole fetches and hands out packs, its transport commits what the keeper has finished instead of
counting acknowledged offsets, and seeks to what the keeper has applied instead of to what was committed. Faust logs and
forgets some errors; any that reaches one of these hooks ends the process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
import structlog
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import SchedulingStrategyT
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import notify

from stream_recon.shell.clients import COMMIT_INTERVAL_S, PRODUCER, new_consumer
from stream_recon.shell.fetching import Chunk, Pack, fetch, packs
from stream_recon.shell.watchdog import end_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    from stream_recon.shell.keeper import Keeper
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()


class Scheduler(SchedulingStrategyT):  # type: ignore[misc]  # Faust's types do not hold
    """Gives out what was fetched as packs."""

    def iterate(self, records: Mapping[TP, list[Chunk]]) -> Iterator[tuple[TP, Pack]]:
        """Each pack, under the topic-partition of its first chunk."""
        for pack in packs(chunk for chunks in records.values() for chunk in chunks):
            yield TP(pack.chunks[0].topic, pack.partition), pack


class Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, around a consumer of ours."""

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        del transport
        self._assignor = self.app.assignor
        return new_consumer(self.app.settings, self._assignor, self.thread_loop)

    async def _fetch_records(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], timeout: float | None = None,  # noqa: ASYNC109
        max_records: int | None = None,
    ) -> dict[TP, list[Chunk]]:  # fmt: skip
        del max_records
        if not self.consumer.flow_active:
            return {}
        try:
            with consumer._fetcher._subscriptions.fetch_context():
                chunks = await fetch(consumer._fetcher, active_partitions, timeout or 0)
        except Exception as error:  # noqa: BLE001 - Faust would only stop fetching
            if self.app.leaving:
                return {}
            end_process("fetching failed", error)
        return {TP(chunk.topic, chunk.partition): [chunk] for chunk in chunks}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit, with where to find the newest snapshot."""
        keeper: Keeper = self.app.keeper
        told = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, keeper.metadata(tp.partition))
            for tp, offset in offsets.items()
            if tp in self.assignment()
        }
        try:
            await self._ensure_consumer().commit(told)
        except (CommitFailedError, IllegalStateError):
            return False  # a hint only, and its partitions are gone
        return True


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, whose unit is the pack."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.done: dict[TP, int] = {}
        """What may be committed."""

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, pack: Pack) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic, tp.partition, max(pack.chunks[0].next - 1, 0), 0.0, 0, [], None, pack, None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def seek_to_committed(self) -> dict[TP, int]:
        """Seek to what has been applied, which beats what was committed."""
        keeper: Keeper = self.app.keeper
        positions = {tp: keeper.position(tp.topic, tp.partition) for tp in self.assignment()}
        await self.seek_wait(positions)
        self.done |= {tp: offset for tp, offset in positions.items() if offset}  # else it seems to lag until more comes
        return positions

    def ack(self, message: ConsumerMessage) -> bool:
        """Forget a pack that is finished (or was dropped); what may be committed is known from the keeper."""
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self.done) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.done.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Packs have no gaps that concern the commit."""

    def on_buffer_full(self, tp: TP) -> None:
        """A full buffer already blocks; to stop fetching as well would cost a second each time."""

    def on_buffer_drop(self, tp: TP) -> None:
        """As above."""


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust's producer, made safe."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return PRODUCER


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with these."""

    Consumer = Consumer
    Producer = Producer


class PackSchema(faust.Schema):  # type: ignore[misc]
    """A pack is not bytes to be decoded."""

    def compile(self, app: faust.App, **_: Any) -> Any:
        """How a message becomes an event."""

        async def decode(message: ConsumerMessage, *, propagate: bool = False) -> Any:
            del propagate
            return app.create_event(None, message.value, None, message)

        return decode


class Tables(TableManager):  # type: ignore[misc]
    """Faust's tables, of which there are none: nothing to wait a second for at start."""

    async def on_start(self) -> None:
        """Start what resumes the streams after a rebalance."""
        await self._update_channels()
        await self.recovery.start()


class App(faust.App):  # type: ignore[misc]
    """The Faust app."""

    settings: WorkerSettings
    keeper: Keeper
    leaving = False

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _crash(self, reason: BaseException) -> None:
        if not self.leaving:
            end_process("Faust crashed", reason)


class FaustHost:
    """Drives a keeper by Faust."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.app = self._new_app(settings)

    async def start_producer(self) -> AIOKafkaProducer:
        """The producer for everything that is written."""
        await self.app.maybe_start_producer()
        return self.app.producer._ensure_producer()

    async def run(self, keeper: Keeper) -> None:
        """Let Faust work until `leave`."""
        app = self.app
        app.keeper = keeper
        app.on_partitions_revoked.connect(self._revoked)
        app.on_rebalance_complete.connect(self._restore)
        self._topics = app.topic(*self._settings.plan.consumed(), schema=PackSchema())
        app.agent(self._topics, name="lane")(self._apply)
        app.finalize()
        await app.start()
        await app.wait_until_stopped()
        if not app.leaving:
            end_process("Faust stopped")

    async def leave(self) -> None:
        """Finish what is begun, commit, and tell the group."""
        app = self.app
        app.leaving = True
        consumer = app.consumer
        consumer.stop_flow()
        await app.keeper.finished()
        await consumer.force_commit()
        await consumer._thread.call_thread(consumer._thread._ensure_consumer().stop)

    async def _apply(self, stream: faust.StreamT[Pack]) -> None:
        keeper = self.app.keeper
        async for event in stream.noack().events():
            try:
                await keeper.apply(event.value, keeper.generation, self._acknowledger(event))
            except Exception as error:  # noqa: BLE001 - Faust would restart the agent and go on with the next one
                end_process("a pack could not be applied", error)

    def _acknowledger(self, event: faust.EventT) -> Any:
        consumer, pack = self.app.consumer, event.value

        def acknowledge(reached: dict[str, int]) -> None:
            for topic, offset in reached.items():
                consumer.done[TP(topic, pack.partition)] = offset
            event.ack()

        return acknowledge

    async def _revoked(self, *_: Any, **__: Any) -> None:
        self.app.keeper.revoked()
        self.app.consumer.done.clear()

    async def _restore(self, *_: Any, **__: Any) -> None:
        """Restore what has been assigned, before Faust seeks and reads on."""
        try:
            await self.app.keeper.assigned(self.app.consumer.assignment())
        except Exception as error:  # noqa: BLE001 - Faust would log it and go on
            end_process("partitions could not be taken over", error)

    @staticmethod
    def _new_app(settings: WorkerSettings) -> App:
        app = App(
            settings.group_id,
            broker=";".join(f"kafka://{server}" for server in settings.bootstrap.split(",")),
            store="memory://",
            datadir=str(Path(tempfile.gettempdir()) / "stream-recon"),  # for tables, of which there are none
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=1,  # 0 selects an assignor that gives a member other numbers of each topic
            stream_wait_empty=True,
            stream_buffer_maxsize=2,
            broker_commit_interval=COMMIT_INTERVAL_S,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.heartbeat_s,
            consumer_auto_offset_reset="earliest",
            ConsumerScheduler=Scheduler,
            TableManager=Tables,
        )
        app.settings = settings
        return app
