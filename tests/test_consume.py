"""Following the alerts: brokers that go away, and topics that are made anew meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaProducer

from stream_recon.broker import open_broker
from stream_recon.consume import read
from stream_recon.domain.topics import TopicPlan
from stream_recon.shell.topics import create
from tests.findings import BREAKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.discrepancies import Alert

PLAN = TopicPlan(prefix="anew.", partitions=1)
PATIENCE_S = 60.0


def until(so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def publish(servers: str, *alerts: Alert) -> None:
    await create(servers, PLAN)
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for alert in alerts:
            await producer.send_and_wait(PLAN.name("alerts"), msgspec.json.encode(alert))


def test_who_follows_hears_that_the_broker_is_away_and_misses_nothing_of_a_new_one() -> None:
    told: list[str] = []
    heard: list[str] = []
    stop = threading.Event()

    async def follow(servers: str) -> None:
        following = read(servers, PLAN.name("alerts"), follow=True, tell=told.append)
        task = asyncio.ensure_future(anext(following))
        while not stop.is_set():
            done, _ = await asyncio.wait([task], timeout=0.1)
            if done:
                heard.append(task.result().alert.alert_id)
                task = asyncio.ensure_future(anext(following))
        task.cancel()

    with open_broker("embedded") as first:
        servers = first.bootstrap_servers
        asyncio.run(publish(servers, BREAKS[0], BREAKS[1]))
        follower = threading.Thread(target=lambda: asyncio.run(follow(servers)), daemon=True)
        follower.start()
        until(lambda: len(heard) == 2)
    topic = PLAN.name("alerts")
    until(lambda: told == [f"{servers} no longer answers for {topic}; waiting for it."])
    with open_broker("embedded", port=int(servers.rpartition(":")[2])) as second:
        assert second.bootstrap_servers == servers
        # As many as were there before, and more: that the log is another one shows by none of its offsets.
        asyncio.run(publish(servers, *BREAKS[2:6]))
        until(lambda: len(heard) == 6)
        stop.set()
        follower.join(PATIENCE_S)
    assert heard == [alert.alert_id for alert in BREAKS[:6]]
    assert told[1:] == [f"{servers} answers again.", f"{topic}-0 was made anew: it is read from its beginning."]
