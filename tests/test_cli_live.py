from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_recon.domain.topics import TopicPlan
from tests.commands import PATIENCE_S, Done, command, environment, fill, run, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream_recon.broker import Broker

GONE = "127.0.0.1:1"


class Place:
    """Topics of our own on the shared broker, with a worker."""

    def __init__(self, servers: str, prefix: str | None = None) -> None:
        self.plan = TopicPlan(prefix=prefix or f"cli-{uuid4().hex[:10]}.")
        self.env = {"KAFKA_BOOTSTRAP_SERVERS": servers, "STREAM_RECON_TOPIC_PREFIX": self.plan.prefix}

    def run(self, *words: object, stdin: str = "") -> Done:
        """Run a command here."""
        return run(*words, stdin=stdin, env=self.env)

    def start(self, *words: object, **more: Any) -> subprocess.Popen[str]:
        """Start a command here."""
        return subprocess.Popen(command(*words), env=environment(self.env), text=True, **more)

    def breaks(self, account: str, number: int) -> list[dict[str, Any]]:
        """What `breaks` says of an account, once there are so many."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            done = self.run("breaks", "--account", account, "--output", "json")
            if len(done.json["breaks"]) >= number:
                assert done.code == 1
                return list(done.json["breaks"])
        raise AssertionError(f"{number} breaks of {account} were not found: {done}")


@pytest.fixture(scope="module")
def place(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    here = Place(broker.bootstrap_servers)
    assert here.run("topics", "verify").code == 3
    assert len(here.run("topics", "create", "--output", "json").json["made"]) == 15
    assert here.run("topics", "create", "--output", "json").json["made"] == []
    assert here.run("topics", "verify").code == 0
    log = tmp_path_factory.mktemp("worker") / "log"
    with log.open("w") as out:
        worker = here.start("worker", "--http-port", 0, "--group", here.plan.prefix, stdout=out, stderr=out)
    yield here
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0, log.read_text()[-3000:]


def test_commands_take_the_number_of_partitions_from_the_topics_and_refuse_another(
    broker: Broker, tmp_path: Path
) -> None:
    here = Place(broker.bootstrap_servers)
    file = write(tmp_path / "both", [now_fill(o, n, f"desk-{n}") for n in range(9) for o in ("internal", "exchange")])
    assert "there is no topic" in here.run("publish", file).err
    assert here.run("topics", "create", "--partitions", 7, "-q").code == 0
    for words in (("publish", file), ("trigger", "full", "--yes", "--no-wait"), ("verify", "some")):
        for more, env in ((("--partitions", 4), {}), ((), {"STREAM_RECON_PARTITIONS": "4"})):
            done = run(*words, *more, env={**here.env, **env})
            assert done.code == 2, done
            assert (
                f"{here.plan.prefix}internal.fills.v1 has 7 partitions, not 4: set STREAM_RECON_PARTITIONS=7"
                in done.err
            )
    assert here.run("publish", file).code == 0
    held = asyncio.run(_accounts_by_partition(here))
    assert held["internal"] == held["exchange"]
    assert len(held["internal"]) > 4
    assert here.run("trigger", "full", "--yes", "--no-wait").code == 0


async def _accounts_by_partition(place: Place) -> dict[str, dict[int, set[bytes]]]:
    held: dict[str, dict[int, set[bytes]]] = {}
    for origin in ("internal", "exchange"):
        topic = place.plan.source(origin, "fills")
        async with AIOKafkaConsumer(topic, bootstrap_servers=place.env["KAFKA_BOOTSTRAP_SERVERS"],
                                    auto_offset_reset="earliest") as consumer:  # fmt: skip
            ends = await consumer.end_offsets(consumer.assignment())
            by_partition: dict[int, set[bytes]] = {}
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    by_partition.setdefault(tp.partition, set()).update(
                        record.key for record in records if record.key.startswith(b"simex")
                    )
            held[origin] = {partition: keys for partition, keys in by_partition.items() if keys}
    return held


def now_fill(origin: str, number: int, account: str, **fields: object) -> dict[str, object]:
    """A fill of ten seconds ago."""
    ts_us = time.time_ns() // 1000 - 10_000_000
    return fill(origin, number, account_id=account, ts_us=ts_us + number, **fields)


def test_what_is_published_is_compared_and_can_be_looked_at(place: Place, tmp_path: Path) -> None:
    ours = [now_fill("internal", n, "alice") for n in range(20) if n != 5]
    theirs = [now_fill("exchange", n, "alice", **({"price": "60100.25"} if n == 7 else {})) for n in range(20)]
    files = [write(tmp_path / "ours", ours), write(tmp_path / "theirs", theirs)]
    done = place.run("publish", *files, "--output", "json")
    assert (done.code, done.json["sent"], done.json["heartbeats"], done.json["rejected"]) == (0, 39, 8, [])

    found = {alert["kind"]: alert for alert in place.breaks("simex|alice", 2)}
    assert {kind: alert["trade_id"] for kind, alert in found.items()} == {
        "missing_internal": "T5",
        "fill_mismatch": "T7",
    }

    shown = place.run("break", found["fill_mismatch"]["alert_id"][:12])
    assert shown.code == 0
    assert "≠  price" in shown.out
    assert "60000.25" in shown.out
    assert "60100.25" in shown.out
    assert f"{place.plan.prefix}exchange.fills.v1-" in shown.out
    assert "OPENED" in shown.out
    whole = place.run("break", found["fill_mismatch"]["alert_id"], "--output", "json").json
    assert whole["newest"] == found["fill_mismatch"]
    assert [alert["version"] for alert in whole["history"]] == list(range(1, whole["newest"]["version"] + 1))

    assert whole["effects"] == []

    told = place.run("explain", found["missing_internal"]["alert_id"][:12])
    assert told.code == 0
    assert "fill T5, buy 1.5 at 60000.25, fee 0.1 USD (in the log at " in told.out
    assert f"{place.plan.prefix}exchange.fills.v1-" in told.out
    answer = place.run("explain", found["missing_internal"]["alert_id"], "--output", "json").json
    assert answer["alert"] == found["missing_internal"]
    assert answer["explanation"][-1]["about"] == "what ends it"
    assert place.run("explain", "nobody").code == 2

    table = place.run("breaks", "--kind", "fill_mismatch", "--account", "simex|al*")
    assert "price differs" in table.out
    assert "not in our books" not in table.out
    nobody = place.run("breaks", "--account", "simex|nobody")
    assert nobody.out.startswith("No open breaks.")
    assert "that are open" in nobody.out


def test_a_break_that_is_gone_is_listed_only_when_asked_for(place: Place) -> None:
    late = now_fill("internal", 1, "bob")
    place.run("publish", "-", stdin="\n".join(json.dumps(now_fill("exchange", n, "bob")) for n in (1, 2)))
    place.run("publish", "-", stdin=json.dumps(now_fill("internal", 2, "bob")))
    # What was published for alice may speak for this time already: then more than one is missing for a moment.
    missing = next(each for each in place.breaks("simex|bob", 1) if each.get("trade_id") == "T1")
    place.run("publish", "-", stdin=json.dumps(late))
    deadline = time.monotonic() + PATIENCE_S
    while place.run("breaks", "--account", "simex|bob").code == 1:
        assert time.monotonic() < deadline
    found = place.run("breaks", "--account", "simex|bob", "--all", "--output", "json").json["breaks"]
    assert {each["alert_id"]: each["status"] for each in found}[missing["alert_id"]] == "CLEARED"


def test_tail_shows_each_alert_in_a_line_until_it_is_stopped(place: Place) -> None:
    events = [now_fill("internal", n, "carol") for n in (1, 2)] + [now_fill("exchange", 2, "carol")]
    place.run("publish", "-", stdin="\n".join(map(json.dumps, events)))
    place.breaks("simex|carol", 1)
    words = ("tail", "--from-start", "--account", "simex|carol")
    for output in ("json", "table"):
        tail = place.start(*words, "--output", output, stdout=subprocess.PIPE)
        assert tail.stdout is not None
        # On a busy machine the counterpart of the other one may be late, and is then told of too.
        line = next(each for each in tail.stdout if "T1" in each)
        tail.send_signal(signal.SIGINT)
        assert tail.wait(PATIENCE_S) == 0
        if output == "json":
            assert json.loads(line)["trade_id"] == "T1"
        else:
            told = r"OPENED   critical [0-9a-f]{10} simex\|carol BTC-USD buy T1: internal has this fill"
            assert re.search(told, line)


def test_lines_that_cannot_be_read_are_not_sent_unless_asked_for(place: Place, tmp_path: Path) -> None:
    file = write(tmp_path / "events", [now_fill("internal", 1, "dora"), "nonsense", now_fill("exchange", 1, "dora")])
    done = place.run("publish", file, "--output", "json")
    assert done.code == 2
    assert (done.json["sent"], [bad["line"] for bad in done.json["rejected"]]) == (2, [2])
    assert "line 2: not_json" in place.run("publish", file).err

    assert dead_letters(place) == []
    done = place.run("publish", file, "--raw", "--output", "json")
    assert (done.code, done.json["sent"]) == (0, 3)
    deadline = time.monotonic() + PATIENCE_S
    while dead_letters(place) != [b"nonsense"]:
        assert time.monotonic() < deadline


def dead_letters(place: Place) -> list[bytes]:
    async def read() -> list[bytes]:
        consumer = AIOKafkaConsumer(
            place.plan.name("dlq"), bootstrap_servers=place.env["KAFKA_BOOTSTRAP_SERVERS"], auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            (tp,) = consumer.assignment()
            end = (await consumer.end_offsets([tp]))[tp]
            values = []
            while await consumer.position(tp) < end:
                values += [record.value for record in (await consumer.getmany(timeout_ms=200)).get(tp, [])]
            return values
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_a_source_vouches_also_where_it_has_no_account(place: Place) -> None:
    events = [
        *(now_fill("internal", n, f"desk-{n}", venue="namedex", source="books") for n in range(12)),
        now_fill("exchange", 0, "desk-0", venue="namedex", source="gateway"),
    ]
    done = place.run("publish", "-", "--output", "json", stdin="\n".join(map(json.dumps, events)))
    assert done.code == 0
    assert {alert["trade_id"] for alert in place.breaks("namedex|*", 11)} == {f"T{n}" for n in range(1, 12)}


def test_publishing_keeps_to_a_rate(place: Place) -> None:
    lines = "\n".join(json.dumps(now_fill("internal", n, "erin")) for n in range(20))
    done = place.run("publish", "-", "--rate", 20, "--no-heartbeats", "--output", "json", stdin=lines)
    assert (done.json["sent"], done.json["heartbeats"]) == (20, 0)
    assert done.json["seconds"] >= 0.9  # the least it takes, whatever the machine


def test_doctor_finds_nothing_wrong_here(place: Place) -> None:
    done = place.run("doctor", "--output", "json", "--group", place.plan.prefix)
    checks = {check["what"]: check["state"] for check in done.json["checks"]}
    assert checks["workers"] == "fine"
    assert done.code == 0, done.out
    assert checks["topics"] == checks["broker"] == checks["reading"] == checks["clock and writing"] == "fine"
    names = {topic["name"] for topic in place.run("topics", "plan", "--output", "json").json}
    assert names == {topic.name for topic in place.plan.topics()}


def test_doctor_sees_a_group_that_does_not_read(place: Place) -> None:
    done = place.run("doctor", "--output", "json", "--group", "nobody")
    (check,) = [check for check in done.json["checks"] if check["what"] == "workers"]
    assert check["state"] == "warning"
    assert "none of group nobody" in check["found"]

    async def stand_still() -> None:
        names = place.plan.sources()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=place.env["KAFKA_BOOTSTRAP_SERVERS"], group_id=f"{place.plan.prefix}idle",
            enable_auto_commit=False,
        )  # fmt: skip
        await consumer.start()
        try:
            places = [TopicPartition(name, n) for name in names for n in range(place.plan.partitions)]
            consumer.assign(places)
            await consumer.commit(dict.fromkeys(places, 0))
        finally:
            await consumer.stop()

    asyncio.run(stand_still())
    done = place.run("doctor", "--output", "json", "--group", f"{place.plan.prefix}idle")
    (check,) = [check for check in done.json["checks"] if check["what"] == "workers"]
    assert "records behind, and has finished none in" in check["found"]


def test_doctor_says_what_is_wrong_and_what_mends_it(broker: Broker) -> None:
    done = run("doctor", "--bootstrap", GONE)
    assert done.code == 3
    assert f"nothing listens on {GONE}" in done.out
    assert "to mend it: start it" in done.out
    done = run("doctor", "--bootstrap", broker.bootstrap_servers, "--prefix", "nobody-made.")
    assert done.code == 3
    assert "stream-recon topics create" in done.out


@pytest.mark.parametrize(
    "words", [("breaks",), ("tail",), ("break", "abc"), ("explain", "abc"), ("publish", "-"), ("topics", "create")]
)
def test_without_a_broker_commands_end_with_3_and_one_message(words: tuple[str, ...]) -> None:
    done = run(*words, "--bootstrap", GONE)
    assert done.code == 3
    assert "stream-recon doctor" in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 2


@pytest.mark.parametrize("words", [("breaks",), ("publish", "-")])
def test_without_topics_commands_say_which_command_makes_them(broker: Broker, words: tuple[str, ...]) -> None:
    stdin = json.dumps(now_fill("internal", 1, "nobody"))
    done = run(*words, "--bootstrap", broker.bootstrap_servers, "--prefix", "nobody-made.", stdin=stdin)
    assert done.code == 3
    assert "`stream-recon topics create` makes it" in done.err


def test_schemas_are_written_to_a_folder(tmp_path: Path) -> None:
    assert run("schema", "export", tmp_path / "schemas").code == 0
    assert json.loads((tmp_path / "schemas" / "fill.json").read_text())
    assert (tmp_path / "schemas" / "asyncapi.json").exists()


def test_up_runs_all_there_is_with_the_files_given_and_takes_it_down_again(tmp_path: Path) -> None:
    of_exchange = {"balances": "complete", "ledger": "complete", "ledger_covers": "non_trade"}
    promises = [
        {"origin": "internal", "fills": "complete", "balances": "absent", "ledger": "absent", "order_within_us": 0},
        {"origin": "exchange", "fills": "absent", **of_exchange, "order_within_us": 0},
    ]
    kinds = {"simex": {"BTC-USD": {"kind": "spot", "base": "BTC", "quote": "USD"}}}
    contracts = write(tmp_path / "contracts.json", [json.dumps(promises)])
    instruments = write(tmp_path / "instruments.json", [json.dumps(kinds)])
    prefix = f"cli-{uuid4().hex[:10]}."
    config = write(tmp_path / "recon.yaml", ["reconciliation: {batch_size: 50}"])
    words = (
        "--prefix", prefix, "--group", prefix, "--contracts", contracts, "--instruments", instruments,
        "--partitions", 6, "--config", config,
    )  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        up = subprocess.Popen(
            command("up", "--port", 0, *words, "--output", "json"), stdout=subprocess.PIPE, stderr=log, text=True,
            env=environment({"KAFKA_BOOTSTRAP_SERVERS": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")}),
        )  # fmt: skip
    assert up.stdout is not None
    line = up.stdout.readline()
    assert line, (tmp_path / "log").read_text()
    told = json.loads(line)
    place = Place(told["bootstrap_servers"], told["prefix"])
    assert (told["prefix"], told["partitions"]) == (prefix, 6)
    assert place.run("topics", "verify", "--partitions", 6).code == 0
    bought = now_fill("internal", 1, "alice", qty="2", price="10", fee="1", fee_asset="USD")
    before, after = (
        {
            "type": "balance", "origin": "exchange", "venue": "simex", "account_id": "alice", "event_id": total,
            "ts_us": int(str(bought["ts_us"])) + later_us, "asset": "USD", "total": total,
        }
        for later_us, total in ((-1_000_000, "100"), (1_000_000, "75"))
    )  # fmt: skip
    lines = "\n".join(map(json.dumps, (before, bought, after)))
    assert place.run("publish", "-", "--contracts", contracts, stdin=lines).code == 0
    (found,) = place.breaks("simex|alice", 1)
    assert (found["kind"], found["asset"], found["residual"]) == ("balance_mismatch", "USD", "-4")
    config.write_text("reconciliation: {batch_size: \n")
    deadline = time.monotonic() + PATIENCE_S
    while "worker error: the configuration file is not valid" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.1)
    up.send_signal(signal.SIGTERM)
    assert up.wait(PATIENCE_S) == 0
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        host, port = told["bootstrap_servers"].rsplit(":", 1)
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


def test_the_demo_finds_every_fault_and_says_nothing_else(broker: Broker) -> None:
    done = run("demo", "--seed", 11, "--output", "json", env={"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})
    answer = done.json
    assert done.code == 0, answer
    assert len(answer["injected"]) == 18
    assert answer["detected"] == answer["injected"]
    assert sum(answer["missed"].values()) == sum(answer["false"].values()) == 0
    assert answer["unnamed"] == {}
    assert answer["events"] > 14_000
    assert sum(answer["caused"].values()) > 0
    assert answer["latency_ms"]["p50"] >= 0
    assert [(each["type"], each["agrees"]) for each in answer["runs"]] == [("emergency", True), ("full", True)]


def test_the_demo_refuses_faults_that_there_are_not(broker: Broker) -> None:
    done = run("demo", "--faults", "gremlins=3", env={"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})
    assert done.code == 2
    assert "unknown fault 'gremlins'" in done.err
