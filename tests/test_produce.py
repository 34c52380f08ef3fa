from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_recon.domain.control import Reconcile, read_command
from stream_recon.domain.events import Fill, Heartbeat
from stream_recon.domain.topics import PartitionsError
from stream_recon.produce import Producer, headers_of, partition_of
from stream_recon.shell.topics import create

if TYPE_CHECKING:
    from stream_recon.broker import Broker
    from stream_recon.domain.topics import TopicPlan

# From the tests of Kafka's own Java client (org.apache.kafka.common.utils.Utils.murmur2).
JAVA_HASHES = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA_HASHES)
def test_an_account_goes_where_the_java_client_would_send_it(key: str) -> None:
    for partitions in (1, 4, 7, 64):
        assert partition_of(key, partitions) == (JAVA_HASHES[key] & 0x7FFFFFFF) % partitions


def test_headers_are_cloud_events() -> None:
    event = Fill(
        origin="exchange", venue="simex", account_id="a", event_id="e-1", ts_us=1_764_000_000_000_042,
        instrument="X", trade_id="1", order_id="1", side="buy", qty="1", price="1",
    )  # fmt: skip
    assert dict(headers_of(event, b"{}")) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_type": b"stream_recon.fill.v1",
        "ce_source": b"exchange|simex",
        "ce_time": b"2025-11-24T16:00:00.000042Z",
        "content-type": b"application/json",
    }


def test_a_heartbeat_without_an_id_gets_one_from_its_content() -> None:
    beat = Heartbeat(origin="internal", source="gateway", through_us=1_764_000_000_000_000)
    first, again = dict(headers_of(beat, b"one")), dict(headers_of(beat, b"one"))
    assert first["ce_id"] == again["ce_id"] != dict(headers_of(beat, b"two"))["ce_id"]


def test_what_takes_topics_to_have_another_number_of_partitions_sends_nothing(
    broker: Broker, topic_plan: TopicPlan
) -> None:
    wrong = msgspec.structs.replace(topic_plan, partitions=topic_plan.partitions + 3)
    event = Fill(
        origin="internal", venue="simex", account_id="desk", event_id="e-1", ts_us=1, instrument="BTC-USD",
        trade_id="T1", order_id="O1", side="buy", qty="1", price="2",
    )  # fmt: skip

    async def scenario() -> None:
        await create(broker.bootstrap_servers, topic_plan)
        async with Producer(broker.bootstrap_servers, wrong) as producer:
            await producer.send(event)

    with pytest.raises(PartitionsError, match=f"has {topic_plan.partitions} partitions, not {wrong.partitions}: set"):
        asyncio.run(scenario())


def test_a_command_arrives_under_its_id_and_is_read_as_it_was_meant(broker: Broker, topic_plan: TopicPlan) -> None:
    command = Reconcile(
        command_id="run-1", issued_by="renee", issued_us=1_764_000_000_000_000, accounts=["binance|desk-1"],
        params={"max_discrepancy_threshold": "0.02"},
    )  # fmt: skip

    async def scenario() -> tuple[bytes, bytes]:
        await create(broker.bootstrap_servers, topic_plan)
        async with Producer(broker.bootstrap_servers, topic_plan) as producer:
            await producer.command(command)
        async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers) as consumer:
            control = TopicPartition(topic_plan.name("control"), 0)
            consumer.assign([control])
            consumer.seek(control, 0)
            record = await consumer.getone()
            return record.value, record.key

    assert read_command(*asyncio.run(scenario())) == command
