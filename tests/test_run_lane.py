"""The run lane on a real broker: who waits lets others go on, and each item is answered once."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.topics import TopicPlan
from stream_recon.domain.work import Answer, CancelItem, Partial, Progress, ReplayItem
from stream_recon.shell import turns
from stream_recon.shell.clients import PRODUCER
from stream_recon.shell.run_lane import RunLane
from stream_recon.shell.settings import WorkerSettings
from stream_recon.shell.topics import create
from stream_recon.strategies.registry import registry
from tests.runs import now_us

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

    from stream_recon.broker import Broker

SECOND_US = 1_000_000
PATIENCE_S = 30
PROMPT = Contracts(contracts=tuple(FeedContract(origin=o, grace_us=SECOND_US, order_within_us=0) for o in ORIGINS))
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


class Lane:
    """A run lane without a worker or a coordinator, over two fills that agree."""

    def __init__(self, servers: str) -> None:
        self.settings = WorkerSettings(
            bootstrap=servers, plan=TopicPlan(prefix=f"lane-{uuid4().hex[:10]}.", partitions=2),
            group_id=f"lane-{uuid4().hex[:10]}", contracts=PROMPT, session_timeout_s=6, heartbeat_s=1,
        )  # fmt: skip
        self.plan = self.settings.plan
        self.told_us = now_us() - 60 * SECOND_US
        self.producer = AIOKafkaProducer(bootstrap_servers=servers, **PRODUCER)
        self.answers: list[Any] = []

    async def tell(self) -> None:
        """Both sides tell of two fills in each partition."""
        await create(self.settings.bootstrap, self.plan)
        for number in range(4):
            for origin in ORIGINS:
                fill = {
                    "type": "fill", "origin": origin, "venue": "simex", "account_id": "desk",
                    "event_id": f"{origin}-{number}", "ts_us": self.told_us + (number // 2) * 10 * SECOND_US,
                    "instrument": "BTC-USD", "trade_id": f"T{number}", "order_id": "O1", "side": "buy", "qty": "1",
                    "price": "2",
                }  # fmt: skip
                name = self.plan.source(origin, "fills")
                await self.producer.send_and_wait(name, msgspec.json.encode(fill), b"simex|desk", number % 2)

    async def ask(self, run_id: str, *, settled: bool, timeout_s: float = 60, partition: int = 0) -> int:
        """Hand out an item whose cut has settled, or never will; gives its offset."""
        strategy = registry().of("trade_only" if settled else "full")
        config = ReconciliationConfig()
        cut_us = self.told_us + SECOND_US if settled else now_us()
        item = ReplayItem(
            run_id=run_id, type=strategy.type, strategy=strategy.type, scope=strategy.scope(config, cut_us),
            deadline_us=now_us() + int(timeout_s * SECOND_US), config=config.model_dump(mode="json"),
        )  # fmt: skip
        return await self.hand(item, partition)

    async def hand(self, item: ReplayItem | CancelItem, partition: int = 0) -> int:
        """Write a work item."""
        done = await self.producer.send_and_wait(self.plan.name("work"), msgspec.json.encode(item), None, partition)
        return int(done.offset)

    async def until(self, holds: Callable[[], bool]) -> float:
        """Wait for something that is so; gives how long."""
        started = time.monotonic()
        while not holds():
            assert time.monotonic() < started + PATIENCE_S, self.answers
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    def said(self, run_id: str) -> list[Partial]:
        """The answers of a run."""
        return [each for each in self.answers if isinstance(each, Partial) and each.run_id == run_id]

    async def answered(self, run_id: str, partitions: int = 1) -> float:
        """Wait for all answers of a run; gives how long."""
        return await self.until(lambda: len(self.said(run_id)) == partitions)

    def stages(self, run_id: str) -> set[str]:
        """What was told of a run on the way."""
        return {each.stage for each in self.answers if isinstance(each, Progress) and each.run_id == run_id}

    def told(self, run_id: str, stage: str) -> list[Progress]:
        """What was told of a stage of a run."""
        progress = [each for each in self.answers if isinstance(each, Progress)]
        return [each for each in progress if (each.run_id, each.stage) == (run_id, stage)]

    async def committed(self, partition: int = 0) -> int:
        """Up to where items need not be read again."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(f"{self.settings.group_id}-runs")
            at = found.get(TopicPartition(self.plan.name("work"), partition))
            return int(at.offset) if at is not None else -1
        finally:
            await admin.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The lane takes work, until it is ended in the middle of whatever it does."""
        task = asyncio.create_task(RunLane(self.settings, self.producer).run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def lane(broker: Broker) -> AsyncIterator[Lane]:
    """Its topics, and somebody who listens to the answers."""
    one = Lane(broker.bootstrap_servers)
    await one.producer.start()
    await one.tell()
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(one.plan.name("partials"), p) for p in range(2)])

    async def listen() -> None:
        async for record in consumer:
            one.answers.append(_ANSWER.decode(record.value))

    listening = asyncio.create_task(listen())
    try:
        yield one
    finally:
        listening.cancel()
        await asyncio.gather(consumer.stop(), one.producer.stop())


def test_what_waits_for_feeds_to_settle_lets_others_go_on(broker: Broker) -> None:
    async def go() -> None:
        async with lane(broker) as one, one.running():
            for number in range(3):
                await one.ask(f"waits {number}", settled=False)
            await one.until(lambda: all("settle" in one.stages(f"waits {number}") for number in range(3)))
            for number in range(3):
                for partition in range(2):
                    await one.ask(f"quick {number}", settled=True, partition=partition)
                assert await one.answered(f"quick {number}", partitions=2) < 3
            for number in range(3):
                assert not one.said(f"waits {number}")
                for partial in one.said(f"quick {number}"):
                    assert (partial.errors, partial.counts["consumed"], partial.unsettled) == ([], 4, [])

    asyncio.run(go())


def test_who_waits_concludes_at_its_deadline_and_is_answered_once_whatever_others_do(broker: Broker) -> None:
    async def go() -> None:
        async with lane(broker) as one, one.running():
            await one.ask("short", settled=False, timeout_s=3)
            await one.ask("long", settled=False, timeout_s=40)
            await one.ask("quick", settled=True)
            await one.until(lambda: bool(one.said("short")))
            await asyncio.sleep(0.5)
            assert [len(one.said(each)) for each in ("short", "long", "quick")] == [1, 0, 1]
            assert {each.origin for each in one.said("short")[0].unsettled} == set(ORIGINS)

    asyncio.run(go())


def test_an_item_whose_time_is_over_while_it_is_queued_is_answered_with_what_it_waited_for(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MOST", 1)

    async def go() -> None:
        async with lane(broker) as one, one.running():
            await one.ask("a", settled=False)
            await one.ask("b", settled=True, timeout_s=1)
            await one.until(lambda: bool(one.said("b")))
            assert one.said("b")[0].errors == [
                "it was queued behind run a (full) until its time was over: nothing was compared"
            ]
            assert one.stages("b") == {"queued behind run a (full)"}
            assert not one.said("a")
            await one.ask("c", settled=True)
            await one.hand(CancelItem(run_id="a"))
            await one.until(lambda: bool(one.said("c")))
            assert one.said("c")[0].errors == []

    asyncio.run(go())


def test_what_waited_is_done_again_by_whoever_comes_after_and_what_was_answered_is_not(broker: Broker) -> None:
    async def go() -> None:
        async with lane(broker) as one:
            async with one.running():
                first = await one.ask("waits", settled=False)
                await one.until(lambda: "settle" in one.stages("waits"))
                await one.ask("quick", settled=True)
                await one.until(lambda: bool(one.said("quick")))
                await asyncio.sleep(0.6)
                assert await one.committed() == first
            one.answers.clear()
            async with one.running():
                await one.until(lambda: "settle" in one.stages("waits"))
                assert not one.said("waits")
                last = await one.hand(CancelItem(run_id="waits"))
                started = time.monotonic()
                while await one.committed() != last + 1:
                    assert time.monotonic() < started + PATIENCE_S
                assert not one.said("waits")

    asyncio.run(go())


def test_what_waits_is_answered_once_when_its_partition_moves_to_somebody_else(broker: Broker) -> None:
    async def go() -> None:
        async with lane(broker) as one, one.running():
            for partition in range(2):
                await one.ask("waits", settled=False, timeout_s=15, partition=partition)
            await one.until(lambda: {each.partition for each in one.told("waits", "settle")} == {0, 1})
            before = len(one.told("waits", "read"))
            async with one.running():
                await one.until(lambda: len(one.told("waits", "read")) >= before + 2)  # each was begun anew
                await one.ask("quick", settled=True, partition=0)
                await one.ask("quick", settled=True, partition=1)
                assert await one.answered("quick", partitions=2) < 5
                await one.answered("waits", partitions=2)
                await asyncio.sleep(0.5)
                assert sorted(each.partition for each in one.said("waits")) == [0, 1]
                assert not [each.errors for each in one.said("waits") if each.errors]

    asyncio.run(go())


def test_readers_of_what_is_over_are_used_again_and_no_more_are_kept_than_a_few(broker: Broker) -> None:
    async def go() -> None:
        async with lane(broker) as one:
            readers = turns.Readers(one.settings)
            taken = [await readers.take() for _ in range(turns.IDLE_READERS + 2)]
            for reader in taken:
                await readers.give_back(reader)
            again = [await readers.take() for _ in range(turns.IDLE_READERS)]
            assert set(again) == set(taken[: turns.IDLE_READERS])
            await readers.stop()

    asyncio.run(go())
