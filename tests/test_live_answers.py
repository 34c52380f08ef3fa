"""Work items through a real broker: taken once, answered once, on both hosts, whatever happens to the worker."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from stream_recon.core.memory import Changes
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.work import AlertAnswer, Answer, FindingsAnswer, Partial, WorkItem
from stream_recon.produce import partition_of
from stream_recon.shell.fetching import Chunk, Pack
from stream_recon.shell.state_log import Claim, Entry, Position, encode
from tests.items import AGES_AGO_US, ask, configure, findings, ids, live, of_run, scope
from tests.lanes import fill, heartbeat
from tests.test_worker_hosts import QUICK, committed, host, topics
from tests.test_worker_state import fill_topics, keeping, one_partition, pack, tps
from tests.workers import ACCOUNT, closing, read, send, until, worker

if TYPE_CHECKING:
    from pathlib import Path

    from stream_recon.broker import Broker
    from stream_recon.domain.topics import TopicPlan

__all__ = ["host", "topics"]

P = partition_of(ACCOUNT, 4)


def hand(bootstrap: str, plan: TopicPlan, *items: WorkItem | bytes | None) -> None:
    """Hand items to the owner of the account's partition; bytes go as they are."""

    async def _hand() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for item in items:
                value = item if item is None or isinstance(item, bytes) else msgspec.json.encode(item)
                partition = min(P, plan.partitions - 1)
                await producer.send_and_wait(plan.name("work"), value, key=b"p", partition=partition)

    asyncio.run(_hand())


def answered(bootstrap: str, plan: TopicPlan) -> list[Any]:
    """All that was answered, in order."""
    records = read(bootstrap, plan.name("partials"), plan.partitions)
    found = [msgspec.json.decode(record.value, type=Answer) for record in records]
    assert [record.key.decode() for record in records] == [answer.run_id for answer in found]
    return found


def of(bootstrap: str, plan: TopicPlan, run_id: str) -> Any:
    """The one answer to a run; none yet: None."""
    found = [answer for answer in answered(bootstrap, plan) if answer.run_id == run_id]
    assert len(found) < 2
    return found[0] if found else None


def newest(bootstrap: str, plan: TopicPlan) -> dict[str, Discrepancy | FeedCondition]:
    """What the topic of newest states says, by id."""
    last = {record.key.decode(): record.value for record in read(bootstrap, plan.name("breaks"), plan.partitions)}
    return {
        name: msgspec.json.decode(value, type=Discrepancy | FeedCondition)
        for name, value in last.items()
        if value is not None
    }


def ends(bootstrap: str, plan: TopicPlan, more: int = 0) -> dict[str, int]:
    """Where the fills of the account's partition end, and so many records further."""
    found = {}
    for origin in ("internal", "exchange"):
        topic = plan.source(origin, "fills")
        found[topic] = sum(record.partition == P for record in read(bootstrap, topic, plan.partitions)) + more
    return found


def in_s(seconds: float) -> int:
    return time.time_ns() // 1000 + int(seconds * 1e6)


def test_every_kind_of_item_is_answered_once(broker: Broker, topics: TopicPlan, host: str, tmp_path: Path) -> None:
    bootstrap, plan = broker.bootstrap_servers, topics
    send(bootstrap, plan, [fill("internal", "1"), *closing(10)])
    with worker(bootstrap, plan, tmp_path, host=host, group_id=plan.prefix, http_port=0) as w:
        hand(bootstrap, plan, live("first", ends(bootstrap, plan)))
        until(lambda: of(bootstrap, plan, "first") is not None, w)
        told = of(bootstrap, plan, "first")
        assert isinstance(told, Partial)
        [found] = told.discrepancies
        assert (told.unsettled, told.errors, {cut.partition for cut in told.topics}) == ([], [], {P})
        assert len(told.topics) == 6

        hand(bootstrap, plan, ask("acknowledge", found.alert_id), ask("resolve", "unheard of", "other"))
        until(lambda: of(bootstrap, plan, "other") is not None, w)
        done, refused = of(bootstrap, plan, "asked"), of(bootstrap, plan, "other")
        assert isinstance(done, AlertAnswer)
        assert isinstance(refused, AlertAnswer)
        assert (done.done.status if done.done else "", refused.reason) == ("ACKNOWLEDGED", "unknown_alert")
        assert newest(bootstrap, plan)[found.alert_id].status == "ACKNOWLEDGED"

        hand(bootstrap, plan, configure(enable_alerts=False))
        old = of_run(found, "old", trade_id="0", event_us=AGES_AGO_US)
        hand(bootstrap, plan, findings(of_run(found), old), live("second"))
        until(lambda: of(bootstrap, plan, "second") is not None, w)
        adopted = of(bootstrap, plan, "run")
        assert isinstance(adopted, FindingsAnswer)
        assert (adopted.adopted, adopted.agreed, adopted.disagreed) == (1, 1, 0)
        assert set(ids(of(bootstrap, plan, "second").discrepancies)) == {found.alert_id, "old"}
        assert (newest(bootstrap, plan)["old"].status, newest(bootstrap, plan)["old"].notify) == ("OPEN", False)

        hand(bootstrap, plan, findings(run_id="clears"), live("third", scope=scope(identities=("order",))))
        until(lambda: of(bootstrap, plan, "third") is not None, w)
        assert (of(bootstrap, plan, "clears").cleared, of(bootstrap, plan, "clears").disagreements) == (
            1, [found.alert_id],
        )  # fmt: skip
        assert newest(bootstrap, plan)["old"].status == "CLEARED"
        assert newest(bootstrap, plan)[found.alert_id].status == "ACKNOWLEDGED"
        assert of(bootstrap, plan, "third").discrepancies == []
        [line] = w.lines("a run and the stream disagree")
        assert line["stream_only"] == [found.alert_id]
        assert w.leave() == 0
    work = TopicPartition(plan.name("work"), P)
    assert committed(bootstrap, plan.prefix)[work].offset == 8


def test_what_is_no_item_is_skipped_and_stops_nothing(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, plan = broker.bootstrap_servers, topics
    garbage = [
        b"\xff\xfe{", b"", None, b"[1]", b"{}", b'{"work":"unheard of","run_id":"x"}', b'{"work":"live"}',
        msgspec.json.encode(configure(max_discrepancy_threshold="two")),
        msgspec.json.encode(findings(part=7)),
        msgspec.json.encode(live("x" * 950_000)),
    ]  # fmt: skip
    for_others = [b'{"work":"cancel","run_id":"x"}']
    hand(bootstrap, plan, *garbage, *for_others, live())
    with worker(bootstrap, plan, tmp_path, host=host, group_id=plan.prefix, http_port=0) as w:
        until(lambda: of(bootstrap, plan, "live") is not None, w)
        assert [line["offset"] for line in w.lines("no work item")] == list(range(len(garbage)))
        assert len(answered(bootstrap, plan)) == 1
        assert w.leave() == 0


def test_a_worker_that_is_behind_answers_at_the_deadline_with_what_it_has_not_reached(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, plan = broker.bootstrap_servers, topics
    send(bootstrap, plan, [fill("internal", "1"), *closing(10)])
    with worker(bootstrap, plan, tmp_path, host=host, group_id=plan.prefix) as w:
        deadline_us = in_s(4)
        hand(bootstrap, plan, live("behind", ends(bootstrap, plan, 7), deadline_us=deadline_us))
        until(lambda: of(bootstrap, plan, "behind") is not None, w)
        assert time.time_ns() // 1000 >= deadline_us
        told = of(bootstrap, plan, "behind")
        assert {(late.origin, late.stream): late.waiting for late in told.unsettled} == {
            ("internal", "fills"): 7, ("exchange", "fills"): 7,
        }  # fmt: skip
        assert len(told.notes) == 2
        assert [alert.trade_id for alert in told.discrepancies] == ["1"]


def test_a_question_outlives_the_worker_that_took_it(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, plan, told = broker.bootstrap_servers, topics, {"host": host, "group_id": topics.prefix, **QUICK}
    send(bootstrap, plan, [fill("internal", "1"), *closing(10)])
    awaited = ends(bootstrap, plan, 2)
    with worker(bootstrap, plan, tmp_path, snapshot_bytes=1, **told) as first:
        until(lambda: bool(first.lines("owns")), first)
        hand(bootstrap, plan, live("question", awaited), ask("acknowledge", "x"), findings(part=2, parts=2))
        until(lambda: of(bootstrap, plan, "asked") is not None, first)
        first.kill()
    assert of(bootstrap, plan, "question") is None
    send(bootstrap, plan, [fill("internal", "2", 20), fill("exchange", "2", 20), *closing(30)])
    hand(bootstrap, plan, findings(part=1, parts=2))
    with worker(bootstrap, plan, tmp_path, **told) as second:
        until(lambda: of(bootstrap, plan, "question") is not None and of(bootstrap, plan, "run") is not None, second)
        assert [alert.trade_id for alert in of(bootstrap, plan, "question").discrepancies] == ["1"]
        assert second.leave() == 0
    counted = [(answer.run_id, answer.partition) for answer in answered(bootstrap, plan)]
    assert sorted(counted) == [("asked", P), ("question", P), ("run", P)]


# -- between taking and answering -------------------------------------------------------------------------------------


def handed(plan: TopicPlan, start: int, *items: WorkItem) -> Pack:
    """Items as a host would give them to a keeper."""
    n = len(items)
    values: list[bytes | None] = [msgspec.json.encode(item) for item in items]
    offsets = list(range(start, start + n))
    return Pack(0, [Chunk(plan.name("work"), 0, start, start + n, offsets, [0] * n, [b"p"] * n, values, [0] * n)])


def test_what_was_taken_and_not_answered_is_answered_once_by_the_next_owner(
    broker: Broker, topic_plan: TopicPlan
) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)
    large = [fill("internal", f"large-{number}", comment="x" * 50_000) for number in range(40)]
    send(broker.bootstrap_servers, plan, large)
    questions: list[WorkItem] = [live("one"), ask("acknowledge", "x"), findings(run_id="none")]
    hand(broker.bootstrap_servers, plan, *questions)

    async def die_after_answering(count: int) -> int:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, publisher):
            await keeper.assigned(tps(plan))
            running = asyncio.create_task(publisher.run())
            for told in (pack(plan, "internal", 0, *large), pack(plan, "exchange", 0, heartbeat("exchange", 100))):
                await keeper.apply(told, keeper.generation, lambda _: None)
            await keeper.finished()
            running.cancel()
            await keeper.apply(handed(plan, 0, *questions), keeper.generation, lambda _: None)
            held, unfinished = keeper._held[0], publisher._queue.get_nowait()
            await publisher.follow(held, unfinished.sent)
            await publisher.publish(held, held.tail, list(enumerate(unfinished.outputs))[:count])
            return len(unfinished.outputs)

    async def take_over() -> None:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, _):
            await keeper.assigned(tps(plan))

    count = asyncio.run(die_after_answering(2))
    assert count > 4
    assert [answer.part for answer in answered(broker.bootstrap_servers, plan)] == [1, 2]
    asyncio.run(take_over())
    asyncio.run(take_over())
    found = answered(broker.bootstrap_servers, plan)
    assert len({(answer.run_id, getattr(answer, "part", 1)) for answer in found}) == len(found) == count
    parts = [answer for answer in found if isinstance(answer, Partial)]
    assert {part.attempt for part in parts} == {parts[0].attempt}
    assert sorted(name for part in parts for name in (a.trade_id or "" for a in part.discrepancies)) == sorted(
        event["trade_id"] for event in large
    )


def test_a_state_from_before_there_were_items_begins_with_the_first_of_them(
    broker: Broker, topic_plan: TopicPlan
) -> None:
    plan = one_partition(topic_plan)
    fill_topics(broker, plan)
    hand(broker.bootstrap_servers, plan, live())

    async def play() -> None:
        async with keeping(broker.bootstrap_servers, plan) as (keeper, publisher):
            before = Entry(Position(dict.fromkeys(plan.sources(), 0), -1, 0, 0), Changes(), [])
            for record in (Claim("before"), before):
                [(value, headers)] = encode(record, 0)
                await publisher.producer.send_and_wait(plan.name("state"), value, b"0", 0, headers=headers)
            await keeper.assigned(tps(plan))
            assert keeper.position(plan.name("work"), 0) == 0
            running = asyncio.create_task(publisher.run())
            await keeper.apply(handed(plan, 0, live()), keeper.generation, lambda _: None)
            await keeper.finished()
            running.cancel()

    asyncio.run(play())
    assert [answer.run_id for answer in answered(broker.bootstrap_servers, plan)] == ["live"]
