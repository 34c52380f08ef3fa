"""The topics as planned, made, and found wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_recon.domain.topics import DAY_MS, SHAPES, TopicPlan
from stream_recon.shell.topics import Found, TopicsError, create, delete, judge, verify

if TYPE_CHECKING:
    from stream_recon.broker import Broker


def test_every_stream_of_every_origin_has_its_topic_under_the_prefix() -> None:
    plan = TopicPlan(prefix="eu.", partitions=7)
    assert plan.source("internal", "fills") == "eu.internal.fills.v1"
    assert plan.sources()["eu.exchange.balances.v1"] == ("exchange", "balances")
    assert len(plan.sources()) == 6
    assert {topic.partitions for topic in plan.topics() if topic.shape.divided} == {7}
    assert {topic.role for topic in plan.topics() if topic.partitions == 1} == {"control", "results", "dlq"}


def test_one_name_can_be_another_while_the_rest_keep_the_prefix() -> None:
    plan = TopicPlan(names={"exchange.fills": "venue-executions"})
    assert plan.source("exchange", "fills") == "venue-executions"
    assert plan.name("alerts") == "recon.alerts.v1"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"names": {"alerts": "recon.dlq.v1"}}, "one name for two topics: recon.dlq.v1"),
        ({"names": {"alarms": "x"}}, "no such topic: alarms"),
        ({"names": {"alerts": "al erts"}}, "not a name for a topic"),
        ({"prefix": "a/b"}, "not a name for a topic"),
        ({"partitions": 0}, "at least 1"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TopicPlan(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_what_is_wrong_with_a_topic_is_named_with_the_command_that_mends_it() -> None:
    topic = TopicPlan().topic("internal.fills")

    def findings(found: Found | None) -> list[str]:
        return [str(finding) for finding in judge(topic, found, "kafka:9092")]

    right = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "message.timestamp.type": "LogAppendTime"}
    alter = (
        "kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics "
        "--entity-name recon.internal.fills.v1 --add-config"
    )
    assert findings(Found(4, right)) == []
    assert findings(Found(4, right | {"retention.ms": "-1"})) == []
    assert findings(None) == ["recon.internal.fills.v1: does not exist; to mend it: stream-recon topics create"]
    (finding,) = findings(Found(6, right))
    assert finding == (
        "recon.internal.fills.v1: has 6 partitions, not 4; to mend it: "
        "run with --partitions 6, if every such topic has that many"
    )
    (finding,) = findings(Found(2, right))
    assert finding == (
        "recon.internal.fills.v1: has 2 partitions, not 4; to mend it: while it is empty: "
        "kafka-topics.sh --bootstrap-server kafka:9092 --alter --topic recon.internal.fills.v1 --partitions 4"
    )
    (finding,) = findings(Found(4, right | {"cleanup.policy": "compact", "retention.bytes": "1000"}))
    assert finding == (
        "recon.internal.fills.v1: cleanup.policy is compact, not delete, retention.bytes is 1000, not -1; "
        f"to mend it: {alter} cleanup.policy=delete,retention.bytes=-1"
    )
    (finding,) = findings(Found(4, right | {"retention.ms": "3600000"}))
    assert finding == (
        f"recon.internal.fills.v1: retention.ms is 3600000, not 604800000; to mend it: {alter} retention.ms=604800000"
    )


def test_records_stamped_by_their_producer_are_a_warning_only() -> None:
    found = Found(4, {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "CreateTime"})
    (finding,) = judge(TopicPlan().topic("exchange.fills"), found, "kafka:9092")
    assert not finding.fatal
    assert "message.timestamp.type is CreateTime" in finding.problem


def test_the_state_must_never_expire() -> None:
    found = Found(4, {"cleanup.policy": "delete", "retention.ms": str(400 * DAY_MS)})
    (finding, _) = judge(TopicPlan().topic("state"), found, "kafka:9092")
    assert finding.fatal
    assert "retention.ms=-1" in finding.mend


def test_topics_are_made_once_verify_clean_and_go(broker: Broker, topic_plan: TopicPlan) -> None:
    servers = broker.bootstrap_servers

    async def scenario() -> None:
        missing = await verify(servers, topic_plan)
        assert [finding.problem for finding in missing] == ["does not exist"] * len(SHAPES)
        assert await create(servers, topic_plan) == [topic.name for topic in topic_plan.topics()]
        assert await create(servers, topic_plan) == []
        assert await verify(servers, topic_plan) == []
        other = TopicPlan(prefix=topic_plan.prefix, partitions=3)
        assert all("has 4 partitions, not 3" in finding.problem for finding in await verify(servers, other))
        await delete(servers, topic_plan)
        assert len(await verify(servers, topic_plan)) == len(SHAPES)

    asyncio.run(scenario())


def test_a_topic_made_by_somebody_else_is_found_wrong_and_left_alone(broker: Broker, topic_plan: TopicPlan) -> None:
    servers = broker.bootstrap_servers
    name = topic_plan.source("internal", "fills")

    async def scenario() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        await admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "60000"})])
        await admin.close()
        assert name not in await create(servers, topic_plan)
        problems = {finding.problem: finding.fatal for finding in await verify(servers, topic_plan)}
        assert problems == {
            "has 2 partitions, not 4": True,
            "retention.ms is 60000, not 604800000": True,
            "message.timestamp.type is CreateTime, not LogAppendTime": False,
        }

    asyncio.run(scenario())


def test_what_the_broker_refuses_is_said(broker: Broker) -> None:
    plan = TopicPlan(prefix="refused.", replication=99)
    with pytest.raises(TopicsError, match=r"refuses to create refused\.internal\.fills\.v1: .*replication factor"):
        asyncio.run(create(broker.bootstrap_servers, plan))


def test_old_events_survive_because_the_broker_stamps_them(broker: Broker, topic_plan: TopicPlan) -> None:
    async def scenario() -> int:
        await create(broker.bootstrap_servers, topic_plan)
        name = topic_plan.source("exchange", "fills")
        async with (
            AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer,
            AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers) as consumer,
        ):
            written = await producer.send_and_wait(name, b"{}", partition=0, timestamp_ms=1_230_768_000_000)
            consumer.assign([TopicPartition(name, 0)])
            consumer.seek(TopicPartition(name, 0), 0)
            record = await consumer.getone()
            assert record.timestamp == written.timestamp
            return int(record.timestamp)

    assert asyncio.run(scenario()) > 1_700_000_000_000
