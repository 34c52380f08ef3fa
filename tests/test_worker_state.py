"""The state log: what is written there is what is known, whoever else writes to it and wherever it was broken off."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.core.lane import Lane
from stream_recon.core.memory import Changes
from stream_recon.domain.contracts import Contracts
from stream_recon.shell.clients import new_admin, new_producer, new_reader
from stream_recon.shell.fetching import PACK_RECORDS, Chunk, Pack, packs
from stream_recon.shell.keeper import Keeper
from stream_recon.shell.publishing import Publisher
from stream_recon.shell.restoring import Restorer
from stream_recon.shell.settings import FencedError, RefusedError, WorkerSettings
from stream_recon.shell.state_log import Claim, Entry, Fold, Output, Position, SnapshotPart, encode
from stream_recon.shell.topics import create
from tests.lanes import fill, heartbeat
from tests.workers import ACCOUNT, alerts, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from stream_recon.broker import Broker
    from stream_recon.domain.topics import TopicPlan
    from stream_recon.shell.state_log import Record


def tally(number: int) -> Changes:
    return Changes(tallies={"matched": number})


def entry(number: int, *outputs: Output, delivered: int = -1) -> Entry:
    return Entry(Position({"topic": number}, delivered, 0, 0), tally(number), list(outputs))


def part(number: int, *, last: bool, tallied: int) -> SnapshotPart:
    return SnapshotPart(number, last, Position({"topic": tallied}, -1, 0, 0), tally(tallied))


def folded(log: Iterable[tuple[Record, int]], start: int = 0) -> Fold:
    """Fold records, each with the epoch of its writer."""
    fold = Fold(lambda: Lane(0, Contracts()))
    offset = start
    for record, epoch in log:
        for value, headers in encode(record, epoch):
            fold.add(offset, value, headers)
            offset += 1
    return fold


@pytest.mark.parametrize(
    "value",
    [msgspec.msgpack.encode({"of": "another version"}), b"\xc1"],
    ids=["other fields", "no record"],
)
def test_a_record_of_another_version_is_refused(value: bytes) -> None:
    _, headers = next(iter(encode(entry(1), 1)))
    with pytest.raises(ValueError, match="up to offset 0 was written by another version"):
        Fold(lambda: Lane(0, Contracts())).add(0, value, headers)


def test_a_record_whose_texts_another_version_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="up to offset 0 was written by another version"):
        folded([(Entry(Position({}, -1, 0, 0), Changes(cases=[zlib.compress(b"a case")]), []), 1)])


def tallied(fold: Fold) -> int:
    return fold.lane.tallies["matched"]


def test_entries_are_folded_in_their_order() -> None:
    fold = folded([(Claim("a"), 0), (entry(1), 0), (entry(2), 0)])
    assert tallied(fold) == 2
    assert fold.position is not None
    assert fold.position.next == {"topic": 2}


def test_what_an_owner_writes_after_the_next_claim_is_ignored() -> None:
    fold = folded([(Claim("a"), 0), (entry(1), 0), (Claim("b"), 0), (entry(2), 2), (entry(9), 0), (entry(9), 0)])
    assert tallied(fold) == 2
    assert fold.ignored == 2


def test_an_entry_in_many_parts_counts_once_it_is_whole() -> None:
    large = entry(1, Output("dlq", None, b"x" * 3_000_000, []))
    messages = encode(large, 0)
    assert len(messages) == 4
    fold = folded([(Claim("a"), 0)])
    for number, (value, headers) in enumerate(messages[:-1], 1):
        fold.add(number, value, headers)
    assert fold.position is None
    fold.add(4, *messages[-1])
    assert tallied(fold) == 1
    assert [unpublished.offset for unpublished in fold.unpublished] == [4]


def test_an_entry_that_its_owner_could_not_finish_never_counts() -> None:
    messages = encode(entry(1, Output("dlq", None, b"x" * 1_000_000, [])), 0)
    fold = folded([(Claim("a"), 0)])
    fold.add(1, *messages[0])
    for value, headers in encode(Claim("b"), 0):
        fold.add(2, value, headers)
    fold.add(3, *messages[1])
    assert fold.position is None
    assert fold.ignored == 1


def test_a_snapshot_replaces_what_was_before_it_once_it_is_whole() -> None:
    log: list[tuple[Record, int]] = [(Claim("a"), 0), (entry(1), 0), (part(1, last=False, tallied=7), 0)]
    assert tallied(folded(log)) == 1
    assert tallied(folded([*log, (Claim("b"), 0)])) == 1
    whole = folded([*log, (part(2, last=True, tallied=8), 0), (entry(9), 0)])
    assert (tallied(whole), whole.pointer) == (9, 2)


def test_a_snapshot_is_found_where_it_starts_whoever_writes_between() -> None:
    large = SnapshotPart(
        number=1, last=True, position=Position({}, -1, 0, 0), changes=Changes(dropped=["x" * 2_000_000])
    )
    fold = folded([(Claim("a"), 0), (Claim("b"), 0)])
    log = [*encode(large, 1), *encode(entry(9), 0)]
    for offset, message in enumerate([log[0], log[-1], *log[1:-1]], 2):
        fold.add(offset, *message)
    assert (fold.pointer, fold.ignored) == (2, 1)


def test_reading_may_start_at_a_snapshot() -> None:
    fold = folded([(part(1, last=True, tallied=7), 3), (entry(8), 3), (entry(9), 1)], start=100)
    assert (tallied(fold), fold.pointer, fold.ignored) == (8, 100, 1)


def test_what_is_known_to_be_published_is_not_published_again() -> None:
    alert = Output("alerts", b"id", b"{}", [])
    fold = folded([(Claim("a"), 0), (entry(1, alert), 0), (entry(2, alert, delivered=1), 0)])
    assert [unpublished.offset for unpublished in fold.unpublished] == [2]


def test_a_record_from_before_there_were_work_items_is_still_read() -> None:
    fold = folded([(Claim("a"), 0)])
    value = msgspec.msgpack.encode(["entry", [{"topic": 3}, -1, 5, 6], [], []])
    fold.add(1, value, [("epoch", b"0"), ("kind", b"Entry"), ("part", b"1/1")])
    assert fold.position == Position({"topic": 3}, -1, 5, 6, 0)


def test_a_message_that_is_no_state_is_refused_by_its_offset() -> None:
    with pytest.raises(ValueError, match="offset 5"):
        folded([]).add(5, b"", [])


def chunk(partition: int, topic: str, start: int, count: int) -> Chunk:
    """Records at every second offset."""
    offsets = list(range(start, start + 2 * count, 2))
    none: list[Any] = [None] * count
    return Chunk(topic, partition, start, start + 2 * count, offsets, [0] * count, none, none, [0] * count)


def test_packs_are_bounded_and_hold_every_record_once_in_order() -> None:
    fetched = [chunk(0, "a", 7, 9000), chunk(0, "b", 0, 10), chunk(1, "a", 0, 1), chunk(0, "c", 4, 0)]
    found = list(packs(fetched))
    assert max(len(pack) for pack in found) <= PACK_RECORDS
    for whole in fetched:
        parts = [c for pack in found for c in pack.chunks if (c.topic, c.partition) == (whole.topic, whole.partition)]
        assert [offset for c in parts for offset in c.offsets] == whole.offsets
        assert [c.start for c in parts] == [whole.start, *[c.next for c in parts[:-1]]]
        assert parts[-1].next == whole.next


def test_what_was_applied_already_is_left_out_of_a_chunk() -> None:
    rest = chunk(0, "a", 0, 10).beyond(5)
    assert (rest.start, rest.offsets[0], rest.next) == (5, 6, 20)


@asynccontextmanager
async def keeping(bootstrap: str, plan: TopicPlan, **more: Any) -> AsyncIterator[tuple[Keeper, Publisher]]:
    """A keeper without a host."""
    settings = WorkerSettings(bootstrap=bootstrap, plan=plan, group_id=plan.prefix, **more)
    async with new_producer(settings) as producer, new_reader(settings) as reader:
        admin = new_admin(settings)
        await admin.start()
        try:
            publisher = Publisher(settings, producer)
            yield (
                Keeper(settings, publisher, Restorer(settings, publisher, reader, admin, "test"), reader, admin),
                publisher,
            )
        finally:
            await admin.close()


def tps(plan: TopicPlan) -> list[Any]:
    return [Place(topic, 0) for topic in plan.consumed()]


class Place(msgspec.Struct, frozen=True):
    """A topic-partition, as a host names it."""

    topic: str
    partition: int


def pack(plan: TopicPlan, origin: Any, start: int, *events: dict[str, Any]) -> Pack:
    values: list[bytes | None] = [msgspec.json.encode(event) for event in events]
    n = len(values)
    now_us = max(event.get("ts_us", event.get("through_us", 0)) for event in events)
    keys: list[bytes | None] = [ACCOUNT.encode()] * n
    offsets = list(range(start, start + n))
    topic = plan.source(origin, "fills")
    return Pack(0, [Chunk(topic, 0, start, start + n, offsets, [now_us] * n, keys, values, [0] * n)])


def lonely(plan: TopicPlan, trade_id: str, start: int) -> list[Pack]:
    """A fill of which the other side, by its heartbeat, has nothing."""
    return [
        pack(plan, "internal", start, fill("internal", trade_id), heartbeat("internal", 100)),
        pack(plan, "exchange", start, fill("exchange", f"{trade_id}x"), heartbeat("exchange", 100)),
    ]


async def ready(broker: Broker, plan: TopicPlan) -> None:
    await create(broker.bootstrap_servers, plan)


def fill_topics(broker: Broker, plan: TopicPlan) -> None:
    """Make the topics, long enough for the offsets used here."""
    asyncio.run(ready(broker, plan))
    send(broker.bootstrap_servers, plan, [fill("internal", "0"), fill("exchange", "0")] * 10)


def one_partition(plan: TopicPlan) -> TopicPlan:
    return msgspec.structs.replace(plan, partitions=1)


def test_who_has_lost_a_partition_without_knowing_publishes_nothing_more(broker: Broker, topic_plan: TopicPlan) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)

    async def play() -> None:
        async with (
            keeping(broker.bootstrap_servers, plan) as (old, old_publisher),
            keeping(broker.bootstrap_servers, plan) as (new, new_publisher),
        ):
            await old.assigned(tps(plan))
            await new.assigned(tps(plan))
            running = asyncio.create_task(new_publisher.run())
            for each in lonely(plan, "stale", 0):
                await old.apply(each, old.generation, lambda _: None)
            with pytest.raises(FencedError, match="another worker"):
                await old_publisher.run()
            for each in lonely(plan, "fresh", 0):
                await new.apply(each, new.generation, lambda _: None)
            await new.finished()
            running.cancel()

    asyncio.run(play())
    assert alerts(broker.bootstrap_servers, plan) == [("fresh", "OPENED", 1), ("freshx", "OPENED", 1)]


def test_what_was_concluded_but_not_published_is_published_once_by_the_next_owner(
    broker: Broker, topic_plan: TopicPlan
) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)

    async def die_before_publishing() -> None:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, publisher):
            await keeper.assigned(tps(plan))
            for each in lonely(plan, "1", 0):
                await keeper.apply(each, keeper.generation, lambda _: None)
            await publisher.producer.flush()

    async def take_over() -> None:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, _):
            await keeper.assigned(tps(plan))

    asyncio.run(die_before_publishing())
    assert alerts(broker.bootstrap_servers, plan) == []
    asyncio.run(take_over())
    asyncio.run(take_over())
    assert alerts(broker.bootstrap_servers, plan) == [("1", "OPENED", 1), ("1x", "OPENED", 1)]


def test_nothing_is_acknowledged_before_what_follows_from_it_is_published(
    broker: Broker, topic_plan: TopicPlan
) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)
    acknowledged: list[dict[str, int]] = []

    async def play() -> None:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, publisher):
            await keeper.assigned(tps(plan))
            for each in lonely(plan, "1", 0):
                await keeper.apply(each, keeper.generation, acknowledged.append)
            await publisher.producer.flush()
            assert acknowledged == []
            running = asyncio.create_task(publisher.run())
            await keeper.finished()
            running.cancel()

    asyncio.run(play())
    assert acknowledged == [{plan.source("internal", "fills"): 2}, {plan.source("exchange", "fills"): 2}]
    assert len(alerts(broker.bootstrap_servers, plan)) == 2


def test_the_same_records_again_change_nothing_and_a_hole_stops(broker: Broker, topic_plan: TopicPlan) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)

    async def play() -> None:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, publisher):
            running = asyncio.create_task(publisher.run())
            await keeper.assigned(tps(plan))
            for each in [*lonely(plan, "1", 0), *lonely(plan, "1", 0)]:
                await keeper.apply(each, keeper.generation, lambda _: None)
            await keeper.finished()
            with pytest.raises(RefusedError, match="records 2 to 2 are missing"):
                await keeper.apply(lonely(plan, "2", 3)[0], keeper.generation, lambda _: None)
            running.cancel()

    asyncio.run(play())
    assert len(alerts(broker.bootstrap_servers, plan)) == 2


def test_a_partition_that_comes_back_untouched_is_not_restored(broker: Broker, topic_plan: TopicPlan) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)

    async def play() -> list[int]:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, publisher):
            running = asyncio.create_task(publisher.run())
            await keeper.assigned(tps(plan))
            lanes = [id(keeper._held[0].lane)]
            keeper.revoked()
            await keeper.assigned(tps(plan))
            lanes.append(id(keeper._held[0].lane))
            async with keeping(broker.bootstrap_servers, plan) as (other, _):
                await other.assigned(tps(plan))
            await keeper.assigned(tps(plan))
            lanes.append(id(keeper._held[0].lane))
            running.cancel()
            return lanes

    first, second, third = asyncio.run(play())
    assert first == second != third
