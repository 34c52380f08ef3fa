"""Everything that is published is audited once, whatever happens to writer, store and topics meanwhile."""

# ruff: noqa: S608 - whoever tampers writes statements as it suits them

from __future__ import annotations

import asyncio
import signal
import urllib.request
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_recon.audit.chain import Place, record
from stream_recon.audit.store import AuditStore
from stream_recon.audit.topics import AUDITED
from stream_recon.domain.corrections import Correction
from stream_recon.shell.topics import create, delete
from tests.audits import auditor, chained, cut_off, heads, kept, publish, rebuilt, words
from tests.commands import run
from tests.databases import Postgres, locked, unguarded
from tests.workers import alerts, closing, disagreements, read, send, until, worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_recon.broker import Broker
    from stream_recon.domain.topics import TopicPlan
    from tests.audits import Said
    from tests.workers import Worker


@pytest.fixture
def topics(broker: Broker, topic_plan: TopicPlan) -> TopicPlan:
    asyncio.run(create(broker.bootstrap_servers, topic_plan))
    return topic_plan


def told(first: int, count: int) -> Iterator[Said]:
    """Records of all audited topics in turn, some odd."""
    for number in range(first, first + count):
        role = AUDITED[number % 4]
        partition = number // 4 % 4 if role in {"alerts", "corrections"} else 0
        value = msgspec.json.encode({"record": "discrepancy", "alert_id": f"a{number % 50}", "version": number})
        odd: dict[int, bytes | None] = {3: None, 17: b"", 29: b"\xff\x00", 31: b"x" * 1_000_000}
        yield role, partition, b"%d" % number, odd.get(number % 101, value)


def metric(w: Worker, name: str) -> float:
    page = urllib.request.urlopen(w.lines("serving")[0]["url"]).read().decode()  # noqa: S310 - our own
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


def ready(w: Worker) -> bool:
    return bool(w.lines("the audit writes"))


def test_all_that_is_published_is_kept_and_a_store_made_anew_has_the_same_heads(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    publish(bootstrap, topics, told(0, 2_000))
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 2_000, w)
        publish(bootstrap, topics, told(2_000, 500))
        until(lambda: kept(store_url) == 2_500, w)
        until(lambda: metric(w, "stream_recon_audit_lag_records") == 0, w)
        assert metric(w, "stream_recon_audit_up") == 1
        assert metric(w, "stream_recon_audit_records_total") == 2_500
        assert w.leave() == 0
    place = Place(topics.name("alerts"), 1)
    published = [each for each in read(bootstrap, place.topic, topics.partitions) if each.partition == 1]
    entries = [record(each.offset, each.timestamp * 1000, each.key, each.value) for each in published]
    assert heads(store_url)[place] == chained(place, entries)
    assert heads(store_url) == rebuilt(bootstrap, topics, tmp_path / "rebuilt")
    done = run("audit", "verify", *words(bootstrap, topics, store_url), "-o", "json")
    assert done.code == 0, done.err
    assert done.json["whole"] is True
    assert {each["verdict"] for each in done.json["topics"]} == {"equal"}
    assert sum(each["records"] for each in done.json["topics"]) == 2_500


def test_a_writer_killed_between_store_and_kafka_writes_nothing_twice_and_leaves_nothing_out(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    publish(bootstrap, topics, told(0, 3_000))
    before = 0
    for _ in range(2):
        with auditor(bootstrap, topics, store_url, tmp_path / "logs", dies=True) as w:
            assert w.process.wait(90) == -signal.SIGKILL, w.log.read_text()
        assert kept(store_url) > before, "it was in the store when the process was killed"
        before = kept(store_url)
    assert before < 3_000
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 3_000, w)
        w.kill()
    assert heads(store_url) == rebuilt(bootstrap, topics, tmp_path / "rebuilt")
    assert run("audit", "verify", "--store", store_url).code == 0


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own."""
    own = Postgres()
    yield own
    own.close()


def test_a_postgresql_that_is_down_delays_the_audit_and_loses_nothing(
    broker: Broker, topics: TopicPlan, tmp_path: Path, server: Postgres
) -> None:
    bootstrap, url = broker.bootstrap_servers, server.database()
    with auditor(bootstrap, topics, url, tmp_path / "logs") as w:
        publish(bootstrap, topics, told(0, 500))
        until(lambda: kept(url) == 500, w)
        server.stop()
        until(lambda: metric(w, "stream_recon_audit_up") == 0, w)
        publish(bootstrap, topics, told(500, 500))
        until(lambda: metric(w, "stream_recon_audit_lag_records") == 500, w)
        down = w.lines("the audit waits")[-1]["reason"]
        assert "does not answer" in down
        assert "see that PostgreSQL runs" in down
        server.start()
        until(lambda: kept(url) == 1_000, w)
        until(lambda: metric(w, "stream_recon_audit_up") == 1, w)
        assert w.leave() == 0
    assert heads(url) == rebuilt(bootstrap, topics, tmp_path / "rebuilt")


def test_a_lock_that_somebody_keeps_on_postgresql_delays_the_audit_and_is_shown(
    broker: Broker, topics: TopicPlan, tmp_path: Path, server: Postgres
) -> None:
    bootstrap, url = broker.bootstrap_servers, server.database()
    with auditor(bootstrap, topics, url, tmp_path / "logs") as w:
        publish(bootstrap, topics, told(0, 100))
        until(lambda: kept(url) == 100, w)
        with locked(url, "recon_audit_heads"):
            publish(bootstrap, topics, told(100, 100))
            until(lambda: metric(w, "stream_recon_audit_up") == 0, w)
            why = w.lines("the audit waits")[-1]["reason"]
            assert "lock timeout" in why
            assert "no other session keeps a lock" in why
        until(lambda: kept(url) == 200, w)
        until(lambda: metric(w, "stream_recon_audit_up") == 1, w)
    assert heads(url) == rebuilt(bootstrap, topics, tmp_path / "rebuilt")


def test_a_sqlite_file_that_cannot_be_made_delays_the_audit_and_loses_nothing(
    broker: Broker, topics: TopicPlan, tmp_path: Path
) -> None:
    bootstrap, folder = broker.bootstrap_servers, tmp_path / "data"
    folder.write_text("a file where the folder should be")
    url = f"sqlite:///{folder / 'audit.db'}"
    with auditor(bootstrap, topics, url, tmp_path / "logs") as w:
        publish(bootstrap, topics, told(0, 500))
        until(lambda: bool(w.lines("the audit waits")), w)
        until(lambda: metric(w, "stream_recon_audit_lag_records") == 500, w)
        assert metric(w, "stream_recon_audit_up") == 0
        folder.unlink()
        until(lambda: kept(url) == 500, w)
        (folder / "audit.db").unlink()
        until(lambda: kept(url) == 500, w)
        publish(bootstrap, topics, told(500, 100))
        until(lambda: kept(url) == 600, w)
    assert heads(url) == rebuilt(bootstrap, topics, tmp_path / "rebuilt")


def test_a_store_that_is_down_stops_no_alert(broker: Broker, topics: TopicPlan, tmp_path: Path) -> None:
    bootstrap, server = broker.bootstrap_servers, Postgres()
    try:
        url = server.database()
        server.stop()
        with (
            auditor(bootstrap, topics, url, tmp_path / "logs") as w,
            worker(bootstrap, topics, tmp_path, group_id=topics.prefix) as working,
        ):
            until(lambda: bool(w.lines("the audit waits")), w)
            send(bootstrap, topics, [*disagreements(200), *closing(100)])
            until(lambda: len(alerts(bootstrap, topics)) == 20, w, working)
            server.start()
            until(lambda: kept(url) == 20, w, working)
        shown = run("audit", "show", "--store", url, "-o", "json").json
        assert sum(each.get("discrepancy", 0) for each in shown["holds"].values()) == 20
    finally:
        server.close()


def test_what_expired_before_it_was_audited_is_a_gap_that_is_kept_and_shown(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap, control = broker.bootstrap_servers, topics.name("control")
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        publish(bootstrap, topics, [("control", 0, None, b"%d" % n) for n in range(10)])
        until(lambda: kept(store_url) == 10, w)
        assert w.leave() == 0
    publish(bootstrap, topics, [("control", 0, None, b"%d" % n) for n in range(10, 30)])
    cut_off(bootstrap, topics, "control", 25)
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 16, w)
        until(lambda: metric(w, "stream_recon_audit_gap_records_total") == 15, w)
        [line] = w.lines("audit gap: records were gone before they could be audited; keep topics for longer than the "
                         "audit may be down")  # fmt: skip
        assert (line["first_offset"], line["last_offset"], line["reason"]) == (10, 24, "expired")
    expected = {"topic": control, "partition": 0, "first_offset": 10, "last_offset": 24, "reason": "expired"}
    for command in ("show", "verify"):
        done = run("audit", command, "--store", store_url, "-o", "json")
        assert done.code == 0
        assert done.json["gaps"] == [expected]
        assert "offsets 10 to 24 were gone before they could be kept" in " ".join(
            run("audit", command, "--store", store_url).out.split()
        )
    done = run("audit", "verify", *words(bootstrap, topics, store_url), "-o", "json")
    assert done.code == 0, done.out
    assert {e["verdict"] for e in done.json["topics"] if e["topic"] == control} == {"retained"}


def test_the_topics_show_what_the_chain_itself_cannot(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap, place = broker.bootstrap_servers, Place(topics.name("control"), 0)
    publish(bootstrap, topics, [("control", 0, None, b"%d" % n) for n in range(20)])
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 20, w)
        until(lambda: w.leave() == 0)
    whole = words(bootstrap, topics, store_url)
    assert run("audit", "verify", *whole).code == 0
    written = tmp_path / "heads.json"
    written.write_text(run("audit", "show", "--store", store_url, "-o", "json").out)

    store = AuditStore(store_url)
    with store.reading() as view:
        entries = list(view.entries(place, 0, 100))
    here = f"topic = '{place.topic}'"
    head = chained(place, entries[:15])
    unguarded(
        store_url,
        f"DELETE FROM recon_audit_entries WHERE {here} AND first_offset >= 15",
        (
            f"UPDATE recon_audit_heads SET next_offset = 15, hash = :hash, entries = 15 WHERE {here}",
            {"hash": head.hash},
        ),
    )
    assert run("audit", "verify", "--store", store_url).code == 0, "in itself it is whole"
    done = run("audit", "verify", *whole, "-o", "json")
    assert done.code == 1
    assert [(each["problem"], each["offset"]) for each in done.json["findings"]] == [("truncated", 15)]
    anchored = run("audit", "verify", "--store", store_url, "--heads", written)
    assert anchored.code == 1
    assert "anchor" in anchored.out

    store.append({place: [entries[15]._replace(value=b"another past"), *entries[16:18]]})
    store.append({place: [record(50, 0, None, b"invented")]})
    assert run("audit", "verify", "--store", store_url).code == 0
    done = run("audit", "verify", *whole, "-o", "json")
    assert {(each["problem"], each["offset"]) for each in done.json["findings"]} == {
        ("topic", 15), ("topic", 18), ("topic", 19), ("topic", 20),
    }  # fmt: skip
    store.close()


def test_rebuild_makes_a_store_and_proves_that_the_heads_are_the_same(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    publish(bootstrap, topics, told(0, 200))
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 200, w)
        until(lambda: w.leave() == 0)
    publish(bootstrap, topics, told(200, 8))
    anew = [f"sqlite:///{tmp_path / f'anew-{number}.db'}" for number in range(3)]
    whole = words(bootstrap, topics, store_url)
    done = run("audit", "rebuild", anew[0], *whole, "-o", "json")
    assert done.code == 0, done.err
    assert done.json["agrees"] is True
    assert done.json["entries"] == 208
    assert {each["verdict"] for each in done.json["chains"]} == {"behind", "equal"}
    assert sum(each["behind"] for each in done.json["chains"]) == 8

    again = run("audit", "rebuild", anew[1], *words(bootstrap, topics, anew[0]))
    assert again.code == 0, again.err
    assert again.out.count(" equal ") == 10
    assert heads(anew[0]) == heads(anew[1])
    assert run("audit", "rebuild", anew[1], *whole).code == 2, "it is there already"
    assert "holds an audit store already" in run("audit", "rebuild", anew[1], *whole).err
    assert run("audit", "rebuild", store_url, *whole).code == 2

    alone = run(
        "audit", "rebuild", anew[2], *words(bootstrap, topics, f"sqlite:///{tmp_path / 'none.db'}"), "-o", "json"
    )
    assert alone.code == 0
    assert alone.json["agrees"] is None
    assert "Nothing to compare with" in alone.err
    unguarded(store_url, "UPDATE recon_audit_entries SET time_us = 7 WHERE first_offset = 3")
    differs = run("audit", "rebuild", f"sqlite:///{tmp_path / 'last.db'}", *whole)
    assert differs.code == 1
    assert "expected as the topic has it" in " ".join(differs.out.split())


def test_two_writers_share_the_partitions_and_one_goes_on_for_the_other(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap, logs = broker.bootstrap_servers, tmp_path / "logs"
    with (
        auditor(bootstrap, topics, store_url, logs) as one,
        auditor(bootstrap, topics, store_url, logs) as two,
    ):
        until(lambda: ready(one) and ready(two), one, two)
        publish(bootstrap, topics, told(0, 1_000))
        until(lambda: kept(store_url) == 1_000, one, two)
        assert (
            metric(one, "stream_recon_audit_records_total") + metric(two, "stream_recon_audit_records_total") == 1_000
        )
        one.kill()
        publish(bootstrap, topics, told(1_000, 500))
        until(lambda: kept(store_url) == 1_500, two)
    assert heads(store_url) == rebuilt(bootstrap, topics, tmp_path / "rebuilt")


def test_a_store_of_other_topics_is_not_written_to_and_that_is_shown(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    publish(bootstrap, topics, told(0, 100))
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 100, w)
        assert w.leave() == 0
    before = heads(store_url)
    asyncio.run(delete(bootstrap, topics))
    asyncio.run(create(bootstrap, topics))
    publish(bootstrap, topics, told(500, 20))
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: bool(w.lines("the audit store does not match")), w)
        assert "name a new store" in w.lines("the audit store does not match")[0]["reason"]
        assert metric(w, "stream_recon_audit_up") == 0
    assert heads(store_url) == before


def test_a_store_that_lost_its_end_is_filled_from_the_topics_again_and_that_is_said(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    publish(bootstrap, topics, told(0, 100))
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 100, w)
        until(lambda: w.leave() == 0)
    before = heads(store_url)
    unguarded(store_url, "DELETE FROM recon_audit_entries", "DELETE FROM recon_audit_heads")
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 100, w)
        said = [line for line in w.log.read_text().splitlines() if "the audit store has less than it had" in line]
        assert said
    assert heads(store_url) == before


def test_without_topics_the_writer_waits_and_says_which_command_makes_them(
    broker: Broker, topic_plan: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    with auditor(bootstrap, topic_plan, store_url, tmp_path / "logs") as w:
        until(lambda: bool(w.lines("the audit cannot read Kafka, and waits")), w)
        assert "stream-recon topics create" in w.lines("the audit cannot read Kafka, and waits")[0]["reason"]
        asyncio.run(create(bootstrap, topic_plan))
        publish(bootstrap, topic_plan, told(0, 40))
        until(lambda: kept(store_url) == 40, w)


def test_the_history_of_an_alert_and_a_run_are_shown(
    broker: Broker, topics: TopicPlan, store_url: str, tmp_path: Path
) -> None:
    bootstrap = broker.bootstrap_servers
    ran = {"reconciliation_id": "run-1", "type": "full", "start_time_us": 1, "command_id": "c1", "issued_by": "ann"}
    correction = Correction(
        correction_id="x1", alert_id="a", account="venue|alice", field="total", amount="-1.50", substance="s",
        run_id="run-1", day="2026-01-31", by="ann",
    )  # fmt: skip
    with worker(bootstrap, topics, tmp_path, group_id=topics.prefix) as working:
        send(bootstrap, topics, [*disagreements(10), *closing(100)])
        until(lambda: len(alerts(bootstrap, topics)) == 1, working)
    publish(
        bootstrap, topics,
        [
            ("control", 0, b"c1", msgspec.json.encode({"command": "reconcile", "command_id": "c1"})),
            ("results", 0, b"run-1", msgspec.json.encode({**ran, "status": "running"})),
            ("results", 0, b"run-1", msgspec.json.encode({**ran, "status": "completed"})),
            ("corrections", 2, b"a", msgspec.json.encode(correction)),
        ],
    )  # fmt: skip
    with auditor(bootstrap, topics, store_url, tmp_path / "logs") as w:
        until(lambda: kept(store_url) == 5, w)
    [published] = [msgspec.json.decode(each.value) for each in read(bootstrap, topics.name("alerts"), 4)]
    for question, said in (
        (("--alert", published["alert_id"][:9]), ("OPENED", "fill_mismatch")),
        (("--run", "run-1"), ("running", "completed", "-1.50")),
        (("--list", "runs"), ("run-1", "ann")),
        (("--list", "commands"), ("c1", "accepted")),
        (("--list", "corrections"), ("x1",)),
        (("--list", "config"), ()),
        ((), ("1 × discrepancy", "2 × result", "1 × command", "1 × correction")),
    ):
        shown = run("audit", "show", *question, "--store", store_url, env={"COLUMNS": "300"})
        assert shown.code == 0, shown.err
        assert [each for each in said if each not in shown.out] == []
        assert run("audit", "show", *question, "--store", store_url, "-o", "json").json
    history = run("audit", "show", "--alert", published["alert_id"], "--store", store_url, "-o", "json").json["history"]
    assert [transition[1] for transition in history] == [published]
    missing = run("audit", "show", "--alert", "zzz", "--store", store_url)
    assert (missing.code, "has no alert zzz" in missing.err) == (2, True)
