"""Both hosts drive the same lanes alike, on a real broker, whatever happens to their processes."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from stream_recon.shell.topics import create
from tests.lanes import fill
from tests.workers import ACCOUNT, alerts, closing, disagreements, read, send, until, worker

if TYPE_CHECKING:
    from pathlib import Path

    from stream_recon.broker import Broker
    from stream_recon.domain.topics import TopicPlan

QUICK = {"session_timeout_s": 6.0, "heartbeat_s": 1.0}


@pytest.fixture(params=["faust", "plain"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def topics(broker: Broker, topic_plan: TopicPlan) -> TopicPlan:
    asyncio.run(create(broker.bootstrap_servers, topic_plan))
    return topic_plan


def mismatches(count: int) -> list[tuple[str, str, int]]:
    return sorted((str(number), "OPENED", 1) for number in range(0, count, 10))


def committed(bootstrap: str, group: str) -> dict[TopicPartition, Any]:
    async def ask() -> dict[TopicPartition, Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            return dict(await admin.list_consumer_group_offsets(group))
        finally:
            await admin.close()

    return asyncio.run(ask())


def test_what_disagrees_is_published_once_and_the_offsets_are_committed(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    send(bootstrap, topics, [*disagreements(3000), *closing(100)])
    with worker(bootstrap, topics, tmp_path, host=host, group_id=topics.prefix, http_port=0) as w:
        until(lambda: alerts(bootstrap, topics) == mismatches(3000), w)
        url = w.lines("serving")[0]["url"]
        metrics = urllib.request.urlopen(url).read().decode()  # noqa: S310 - our own
        packs = float(metrics.split("stream_recon_pack_records_count ")[1].split()[0])
        assert packs < 100, "packs, not records"
        assert urllib.request.urlopen(url.replace("metrics", "readyz")).status == 200  # noqa: S310
        assert w.leave() == 0
        assert w.lines("left")
    newest = {record.key: record for record in read(bootstrap, topics.name("breaks"), topics.partitions)}
    assert len(newest) == 300
    assert {int(dict(r.headers)["recon.trigger_us"]) > 0 for r in newest.values()} == {True}
    offsets = committed(bootstrap, topics.prefix)
    assert sum(told.offset for tp, told in offsets.items() if tp.topic == topics.source("internal", "fills")) == 3004


def test_a_killed_worker_is_followed_by_one_that_goes_on_where_it_was(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, told = broker.bootstrap_servers, {"host": host, "group_id": topics.prefix, **QUICK}
    send(bootstrap, topics, disagreements(2000))
    with worker(bootstrap, topics, tmp_path, snapshot_bytes=20_000, **told) as first:
        until(lambda: bool(first.lines("snapshot")), first)
        first.kill()
    send(bootstrap, topics, [*disagreements(2000, first=2000), *closing(100)])
    with worker(bootstrap, topics, tmp_path, snapshot_bytes=20_000, **told) as second:
        until(lambda: alerts(bootstrap, topics) == mismatches(4000), second)
        assert sum(line["records"] for line in second.lines("restored")) > 0


def test_two_workers_share_the_partitions_and_one_takes_over_from_the_other(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, told = broker.bootstrap_servers, {"host": host, "group_id": topics.prefix, **QUICK}
    with worker(bootstrap, topics, tmp_path, **told) as one, worker(bootstrap, topics, tmp_path, **told) as two:

        def shared() -> bool:
            last = [w.lines("owns")[-1]["partitions"] if w.lines("owns") else [] for w in (one, two)]
            return sorted([*last[0], *last[1]]) == [0, 1, 2, 3] and len(last[0]) == len(last[1]) == 2

        until(shared, one, two)
        send(bootstrap, topics, disagreements(1000))
        assert one.leave() == 0
        send(bootstrap, topics, [*disagreements(1000, first=1000), *closing(100)])
        until(lambda: alerts(bootstrap, topics) == mismatches(2000), two)


def test_a_worker_that_slept_past_its_session_ends_itself_and_disturbs_nothing(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, told = broker.bootstrap_servers, {"host": host, "group_id": topics.prefix, **QUICK}
    with worker(bootstrap, topics, tmp_path, **told) as sleeper:
        until(lambda: bool(sleeper.lines("owns")), sleeper)
        send(bootstrap, topics, disagreements(1000))
        sleeper.process.send_signal(signal.SIGSTOP)
        with worker(bootstrap, topics, tmp_path, **told) as other:
            send(bootstrap, topics, [*disagreements(1000, first=1000), *closing(100)])
            until(lambda: alerts(bootstrap, topics) == mismatches(2000), other)
            time.sleep(2)  # the watchdog asks whether the sleep was longer than the session, not than the takeover
            sleeper.process.send_signal(signal.SIGCONT)
            assert sleeper.process.wait(30) == 3
            assert alerts(bootstrap, topics) == mismatches(2000)


def test_a_bad_record_goes_to_the_dlq_untouched_and_holds_up_nothing(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    bad = [b"\xff\xfe{", b"", None, b"[1]", b'{"type":"fill"' + b" " * 990_000]
    good = [fill("internal", "1"), fill("exchange", "1", price="2")]
    send(bootstrap, topics, [good[0], *[("internal", value) for value in bad], good[1], *closing(100)])
    with worker(bootstrap, topics, tmp_path, host=host, group_id=topics.prefix) as w:
        until(lambda: ("1", "OPENED", 1) in alerts(bootstrap, topics), w)
        until(lambda: len(read(bootstrap, topics.name("dlq"), 1)) == len(bad), w)
    dead = read(bootstrap, topics.name("dlq"), 1)
    assert [record.value for record in dead] == bad
    assert {record.key for record in dead} == {ACCOUNT.encode()}
    told = [dict(record.headers) for record in dead]
    assert {one["recon.error.topic"].decode() for one in told} == {topics.source("internal", "fills")}
    assert [int(one["recon.error.offset"]) for one in told] == [1, 2, 3, 4, 5]


def test_a_trusted_silence_is_written_into_the_log_as_heartbeats(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    trusting = [
        {"origin": origin, "silence": "trust", "idle_after_us": 1_000_000} for origin in ("internal", "exchange")
    ]
    told = {"contracts": trusting, "host": host, "group_id": topics.prefix}
    exchange = [fill("exchange", "1"), fill("exchange", "2", 1), fill("exchange", "3", 60)]
    send(bootstrap, topics, [fill("internal", "1"), *exchange])
    with worker(bootstrap, topics, tmp_path, **told) as w:
        until(lambda: ("2", "OPENED", 1) in alerts(bootstrap, topics), w)
    written = [
        msgspec.json.decode(r.value) for r in read(bootstrap, topics.source("internal", "fills"), topics.partitions)
    ]
    assert "heartbeat" in {event["type"] for event in written}


def test_a_worker_refuses_to_start_without_its_topics(broker: Broker, topic_plan: TopicPlan, tmp_path: Path) -> None:
    with worker(broker.bootstrap_servers, topic_plan, tmp_path) as w:
        assert w.process.wait(60) == 3
        [line] = w.lines("the worker failed")
        assert topic_plan.name("state") in line["reason"]
        assert "stream-recon topics create" in line["reason"]


def test_records_deleted_unread_stop_the_worker_until_the_loss_is_accepted(
    broker: Broker, topics: TopicPlan, host: str, tmp_path: Path
) -> None:
    bootstrap, told = broker.bootstrap_servers, {"host": host, "group_id": topics.prefix}
    send(bootstrap, topics, disagreements(100))
    with worker(bootstrap, topics, tmp_path, **told) as w:
        until(lambda: bool(w.lines("owns")), w)
        assert w.leave() == 0
    send(bootstrap, topics, disagreements(100, first=100))
    cut_off(bootstrap, topics)
    with worker(bootstrap, topics, tmp_path, **told) as w:
        assert w.process.wait(60) == 3
        [line] = w.lines("partitions could not be taken over")
        assert "deleted unread" in line["reason"]
    with worker(bootstrap, topics, tmp_path, accept_loss=True, **told) as w:
        until(lambda: bool(w.lines("owns")), w)
        assert w.lines("records lost")


def cut_off(bootstrap: str, topics: TopicPlan) -> None:
    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        tps = [TopicPartition(topics.source("internal", "fills"), p) for p in range(topics.partitions)]
        await admin.delete_records({tp: RecordsToDelete(before_offset=-1) for tp in tps})
        await admin.close()

    asyncio.run(delete())


def test_faust_calls_every_hook_that_the_worker_relies_on(broker: Broker, topics: TopicPlan, tmp_path: Path) -> None:
    bootstrap = broker.bootstrap_servers
    hooks = {
        "Scheduler.iterate", "Thread._create_worker_consumer", "Thread._fetch_records", "Thread._commit",
        "Consumer._new_consumer_thread", "Consumer._to_message", "Consumer.seek_to_committed", "Consumer.ack",
        "Consumer._filter_tps_with_pending_acks", "Consumer._new_offset", "Producer._settings_extra",
        "PackSchema.compile", "Tables.on_start", "App._new_transport", "Consumer._add_gap",
    }  # fmt: skip
    with worker(bootstrap, topics, tmp_path, host="faust", group_id=topics.prefix, note=sorted(hooks)) as w:
        until(lambda: bool(w.lines("owns")), w)
        for number in range(3):  # each a fetch of its own, so that offsets jump and buffers are used
            send(bootstrap, topics, disagreements(100, first=100 * number))
        until(lambda: {line["name"] for line in w.lines("called")} == hooks, w)
