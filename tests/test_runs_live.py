"""Runs on a real broker: every type from the control topic, each against the oracle, and what can go wrong."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from stream_recon.core.results import result_digest
from stream_recon.data import hyperliquid_instruments
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.results import FINAL, ReconciliationResult, run_id_of
from stream_recon.domain.work import Answer, Progress
from stream_recon.produce import partition_of
from stream_recon.strategies.registry import NINE
from tests.commands import run
from tests.deployment import Deployment
from tests.oracles.worlds import ROOT, written
from tests.runs import answer_at, ask, now_us, perform, produce, result_of, results_of
from tests.told import identities_told, recorded, stated, wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stream_recon.broker import Broker

SECOND_US = 1_000_000
RECORDINGS = ("hyperliquid", "binance_usdm")
LONG_AGO = {"historical_lookback_hours": 24 * 366}


def accounts_of(name: str) -> list[str]:
    """The accounts that a recording is about."""
    events = [json.loads(line) for line in recorded(name).lines]
    return sorted({f"{each['venue']}|{each['account_id']}" for each in events if "account_id" in each})


def newest_us(name: str) -> int:
    """When a recording ends."""
    return max(int(json.loads(line).get("ts_us", 0)) for line in recorded(name).lines)


@pytest.fixture(scope="module")
def recordings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both recordings, published and read by a worker."""
    folder = tmp_path_factory.mktemp("recordings")
    place = Deployment(broker.bootstrap_servers, folder, written(*RECORDINGS), ROOT / "examples" / "instruments.json")
    place.worker()
    for name in RECORDINGS:
        place.publish(ROOT / "tests" / "data" / name / "events.jsonl")
    place.settle()
    yield place
    place.close()


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("kind", [strategy.type for strategy in NINE])
def test_every_type_started_from_the_control_topic_says_what_the_oracle_says(
    recordings: Deployment, kind: str, name: str
) -> None:
    command_id = ask(
        recordings, type=kind, accounts=accounts_of(name), cut_us=newest_us(name), params=LONG_AGO, issued_by="ann"
    )
    result = result_of(recordings, command_id)
    strategy = next(each for each in NINE if each.type == kind)
    status = "completed" if {*strategy.identities} & identities_told(recorded(name)) else "partial"
    assert (result.type, result.status, result.errors) == (kind, status, [])
    assert [each.status for each in results_of(recordings, command_id)] == ["running", status]
    expected = wanted(recorded(name), strategy.identities)
    if kind == "real_time":  # its window holds the last minutes of the recording only
        assert not stated(result.discrepancies) - expected
    else:
        assert stated(result.discrepancies) == expected
    assert result.total_records_processed > 0
    assert result.certificate is not None
    assert (result.issued_by, result.certificate.scope.to_us) == ("ann", newest_us(name))


BREAK_INSIDE_US = 1_737_756_250_000_000
"""Hyperliquid's one break lies within the five minutes before it, which is what the live window holds."""


def test_real_time_on_demand_says_all_that_the_oracle_says_of_its_window(recordings: Deployment) -> None:
    result = perform(recordings, "real_time", accounts=accounts_of("hyperliquid"), cut_us=BREAK_INSIDE_US)
    assert result.status == "completed"
    assert result.certificate is not None
    scope = result.certificate.scope
    [found] = result.discrepancies
    assert scope.from_us <= found.event_us <= scope.to_us
    assert stated([found]) == wanted(recorded("hyperliquid"), ("position",))
    after = perform(recordings, "real_time", accounts=accounts_of("hyperliquid"), cut_us=scope.from_us)
    assert (after.status, after.discrepancies) == ("completed", [])


def test_verify_holds_for_a_full_run_of_a_recording(recordings: Deployment) -> None:
    result = perform(
        recordings, "full", accounts=accounts_of("hyperliquid"), cut_us=newest_us("hyperliquid"), params=LONG_AGO
    )
    done = run("verify", result.reconciliation_id, "-o", "json", env=recordings.env)
    assert (done.code, done.json["holds"]) == (0, True), done.err
    assert done.json["records"] == result.total_records_processed


def test_a_side_that_never_spoke_is_not_settled_and_nothing_is_agreed(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("silent")
    place = Small(broker.bootstrap_servers, folder, Contracts(), hyperliquid_instruments())
    place.start_us = now_us() - 120 * SECOND_US
    place.worker()
    try:
        cut_us = place.tell(folder, 20, 20)
        for kind in ("full", "incremental", "trade_only"):
            result = perform(place, kind, cut_us=cut_us, params={"timeout_seconds": 2})
            assert result.status == "partial"
            assert result.certificate is not None
            never = [each for each in result.certificate.unsettled if each.origin == "exchange"]
            assert {(each.stream, each.watermark_us) for each in never} == {("fills", -1)}
            assert sum(each.waiting for each in never) == result.summary.by_verdict["INDETERMINATE"] == 20
        emergency = perform(place, "emergency", cut_us=cut_us)
        assert emergency.summary.by_verdict["INDETERMINATE"] == 20
        assert not emergency.is_clean
        done = run("run", emergency.reconciliation_id, env=place.env)
        assert done.code == 1
        assert "agree" not in done.out
        assert "of 20 records nothing is decided yet" in done.out
        for kind, lacking in (("balance_only", "balances"), ("position_only", "positions")):
            result = perform(place, kind, cut_us=cut_us, params={"timeout_seconds": 2})
            assert (result.status, result.notes) == (
                "partial", [f"nothing was compared: nobody has reported any {lacking}"],
            )  # fmt: skip
    finally:
        place.close()


def test_partitions_that_cannot_go_on_from_a_checkpoint_are_read_anew_and_verify_knows_which(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("anew")
    place = Small(broker.bootstrap_servers, folder, PROMPT, hyperliquid_instruments())
    place.start_us = now_us() - 120 * SECOND_US
    place.worker()
    try:
        first = perform(place, "full", cut_us=place.tell(folder, 90, 2))
        assert first.status == "completed"
        late = partition_of("simex|desk-3", place.plan.partitions)
        for origin in ORIGINS:
            old = {
                "type": "fill", "origin": origin, "venue": "simex", "account_id": "desk-3", "event_id": f"{origin}-old",
                "ts_us": place.start_us - 7200 * SECOND_US, "instrument": "BTC-USD", "trade_id": "OLD",
                "order_id": "O1", "side": "buy", "qty": "1" if origin == "internal" else "2", "price": "1",
            }  # fmt: skip
            value = msgspec.json.encode(old)
            produce(place, f"{origin}.fills", value, key=b"simex|desk-3", partition=late)
        cut_us = place.tell(folder, 30, 1)
        expired = partition_of("simex|desk-1", place.plan.partitions)
        assert expired != late
        topic = place.plan.source("exchange", "fills")
        ends = first.certificate.topics if first.certificate is not None else []
        [end] = [cut.end_offset for cut in ends if (cut.topic, cut.partition) == (topic, expired)]
        asyncio.run(_cut_off(place.servers, TopicPartition(topic, expired), end + 1))
        result = perform(place, "incremental", cut_us=cut_us)
        assert result.certificate is not None
        assert (result.certificate.checkpoint, result.certificate.anew) == (
            first.reconciliation_id, sorted([late, expired]),
        )  # fmt: skip
        assert any("older than the checkpoint remembers" in note for note in result.notes)
        assert any("are no longer there: it ran as full" in note for note in result.notes)
        assert "OLD" in {each.trade_id for each in result.discrepancies}
        done = run("verify", result.reconciliation_id, "-o", "json", env=place.env)
        assert (done.code, done.json["holds"]) == (0, True), (done.out, done.err)
    finally:
        place.close()


# -- a small deployment, whose feeds end now ---------------------------------------------------------------------------

PROMPT = Contracts(contracts=tuple(FeedContract(origin=o, grace_us=SECOND_US, order_within_us=0) for o in ORIGINS))


CONFIG = """
audit: {{url: "sqlite:///{folder}/audit.db"}}
auto_resolution: {{dry_run: false, budget: {{USD: "1"}}}}
strategies:
  scheduled:
    runs: [{{cron: "* * * * *", type: balance_only, params: {{timeout_seconds: 1}}}}]
"""
"""What fires each minute concludes over balances, so that it corrects no fill before the run that a test looks at."""


class Small(Deployment):
    """Fills that both sides tell; some are missing on one."""

    start_us = 0
    told = 0

    def tell(self, folder: Path, count: int, missing: int) -> int:
        """Tell more fills, the last of which the exchange does not know; gives the time of the newest."""
        lines = []
        for number in range(self.told, self.told + count):
            for origin in ORIGINS:
                if origin == "exchange" and number >= self.told + count - missing:
                    continue
                lines.append({
                    "type": "fill", "origin": origin, "venue": "simex", "account_id": f"desk-{number % 5}",
                    "event_id": f"{origin}-{number}", "ts_us": self.start_us + number * 10_000,
                    "instrument": "BTC-USD", "trade_id": f"T{number}", "order_id": "O1", "side": "buy",
                    "qty": "1.5", "price": "60000.25", "fee_asset": "USD",
                    "fee": "100.05" if (origin, number) == ("exchange", self.told + 1) else "100",
                })  # fmt: skip
        self.told += count
        path = folder / f"{self.told}.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        self.publish(path)
        self.settle()
        return self.start_us + (self.told - 1) * 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files of this module go."""
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def small(broker: Broker, folder: Path) -> Iterator[Small]:
    """Ninety fills, two of which the exchange never told."""
    place = Small(broker.bootstrap_servers, folder, PROMPT, hyperliquid_instruments())
    place.start_us = now_us() - 120 * SECOND_US
    config = folder / "recon.yaml"
    config.write_text(CONFIG.format(folder=folder))
    place.env["STREAM_RECON_CONFIG"] = str(config)
    place.worker()
    place.tell(folder, 90, 2)
    yield place
    place.close()


@pytest.fixture(scope="module")
def first_full(small: Small) -> ReconciliationResult:
    """The first full run, on which others go on."""
    return perform(small, "full", cut_us=small.start_us + 89 * 10_000)


def progress_of(place: Deployment, command_id: str) -> list[Progress]:
    """What was told of a run on the way."""
    decoded = [msgspec.json.decode(record.value, type=Answer) for record in place.records("partials")]
    return [each for each in decoded if isinstance(each, Progress) and each.run_id == run_id_of(command_id)]


def kinds(result: ReconciliationResult) -> dict[str, int]:
    return result.summary.by_kind


def test_an_incremental_run_reads_what_came_since_and_says_what_full_says(
    small: Small, folder: Path, first_full: ReconciliationResult
) -> None:
    first = first_full
    assert (first.status, kinds(first)) == ("completed", {"fill_mismatch": 1, "missing_exchange": 2})
    assert len(first.checkpoints) == small.plan.partitions
    more_us = small.tell(folder, 30, 1)
    incremental, full = perform(small, "incremental", cut_us=more_us), perform(small, "full", cut_us=more_us)
    assert kinds(incremental) == {"fill_mismatch": 1, "missing_exchange": 3}
    assert kinds(full) == {"missing_exchange": 3}  # the fees have been corrected
    assert full.certificate is not None
    assert incremental.certificate is not None
    assert {*incremental.alert_ids, *incremental.certificate.absolved} == {*full.alert_ids, *full.certificate.absolved}
    assert incremental.total_records_processed < full.total_records_processed / 2
    assert incremental.certificate.checkpoint == first.reconciliation_id
    for result in (incremental, full):
        done = run("verify", result.reconciliation_id, "-o", "json", env=small.env)
        assert (done.code, done.json["holds"]) == (0, True), (done.out, done.err)


def largest(result: dict[str, Any]) -> dict[str, Any]:
    """The log of which most was read."""
    cut: dict[str, Any] = max(result["certificate"]["topics"], key=lambda each: each["records"])
    return cut


SPOILT: dict[str, Callable[[dict[str, Any]], object]] = {
    "verdict": lambda result: result.update(discrepancies_found=result["discrepancies_found"] - 1),
    "status": lambda result: result.update(status="partial"),
    "discrepancy": lambda result: result["discrepancies"][0].update(severity="info"),
    "left out": lambda result: result["discrepancies"].pop(),
    "kinds": lambda result: result["summary"]["by_kind"].clear(),
    "offset": lambda result: largest(result).update(end_offset=largest(result)["end_offset"] - 1),
    "records": lambda result: largest(result).update(records=largest(result)["records"] - 1),
    "log digest": lambda result: largest(result).update(digest="0" * 32),
    "watermark": lambda result: largest(result).update(watermarks={"internal|simex": 1}),
    "verdicts digest": lambda result: result["certificate"].update(verdicts_digest="0" * 32),
}


@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("forged", [False, True], ids=["as it is", "with a digest that fits"])
def test_verify_fails_where_anything_was_changed(
    small: Small,
    folder: Path,
    first_full: ReconciliationResult,
    what: str,
    forged: bool,  # noqa: FBT001
) -> None:
    result = json.loads(msgspec.json.encode(first_full))
    SPOILT[what](result)
    if forged:
        read = msgspec.json.decode(json.dumps(result), type=ReconciliationResult)
        result["certificate"]["digest"] = result_digest(read)
    path = folder / "spoilt.json"
    path.write_text(json.dumps(result))
    done = run("verify", result["reconciliation_id"], "--result", path, "-o", "json", env=small.env)
    assert done.code == 1, done.err
    assert done.json["wrong"]


def test_a_type_that_is_not_supported_is_replaced_and_none_is_the_configured_one(small: Small) -> None:
    cut_us = small.start_us + 89 * 10_000
    result = perform(small, "hourly", cut_us=cut_us)
    assert (result.type, result.requested_type, result.status) == ("full", "hourly", "completed")
    assert "'hourly' is not a supported reconciliation type" in str(result.fallback_reason)
    assert perform(small, None, cut_us=cut_us).type == "full"


def test_a_configuration_that_is_set_holds_for_the_next_run_and_one_that_is_not_valid_does_not(small: Small) -> None:
    cut_us = small.start_us + 89 * 10_000
    set_id = ask(small, "set_config", values={"reconciliation.default_type": "trade_only"})
    version = result_of(small, set_id).config_version
    result = perform(small, None, cut_us=cut_us)
    assert (result.type, result.config_version) == ("trade_only", version)
    refused = result_of(small, ask(small, "set_config", values={"reconciliation.batch_size": 0}))
    assert refused.status == "failed"
    assert "reconciliation.batch_size" in refused.errors[0]
    assert (
        result_of(small, ask(small, "set_config", values={"reconciliation.default_type": None})).status == "completed"
    )
    assert perform(small, None, cut_us=cut_us).type == "full"


def test_a_run_whose_feeds_do_not_settle_is_partial_and_names_them(small: Small) -> None:
    result = perform(small, "full", params={"timeout_seconds": 1})
    assert result.status == "partial"
    assert result.certificate is not None
    assert {each.source for each in result.certificate.unsettled} == {"internal|simex", "exchange|simex"}


def test_a_run_that_waits_for_its_cut_holds_up_no_other(small: Small) -> None:
    waits = ask(small, type="full", params={"timeout_seconds": 40})
    small.until(lambda: "settle" in {each.stage for each in progress_of(small, waits)})
    started = time.monotonic()
    result = perform(small, "trade_only", cut_us=small.start_us)
    assert (result.status, time.monotonic() - started < 8) == ("completed", True)
    assert [each.status for each in results_of(small, waits)] == ["running"]
    cancel = ask(small, "cancel", run_id=run_id_of(waits))
    assert result_of(small, cancel).status == "completed"


def test_a_run_can_be_cancelled(small: Small) -> None:
    command_id = ask(small, type="full", params={"timeout_seconds": 600})
    small.until(lambda: bool(results_of(small, command_id)))
    [begun] = results_of(small, command_id)
    assert result_of(small, ask(small, "cancel", run_id=begun.reconciliation_id)).status == "completed"
    ended = result_of(small, command_id)
    assert (ended.status, ended.errors) == ("failed", ["cancelled by ann"])
    assert perform(small, "trade_only", cut_us=small.start_us).status == "completed"  # the run lane is free again


def test_an_account_that_does_not_exist_is_told(small: Small) -> None:
    cut_us = small.start_us + 89 * 10_000
    result = perform(small, "full", accounts=["simex|nobody"], cut_us=cut_us)
    assert result.status == "failed"
    assert result.errors[0].endswith("account simex|nobody is not known: nothing of it was compared")
    one = perform(small, "full", accounts=["simex|desk-3"], cut_us=cut_us)
    assert {each.account for each in one.discrepancies} == {"simex|desk-3"}


def test_an_emergency_says_what_stands_and_does_not_settle(small: Small) -> None:
    result = perform(small, "emergency")
    assert result.status == "completed"
    assert kinds(result)["missing_exchange"] >= 2
    assert (
        run("verify", result.reconciliation_id, env=small.env).code == 1
    )  # of the live state nothing can be read again


def test_people_acknowledge_and_resolve_from_the_command_line(small: Small) -> None:
    breaks = run("breaks", "-o", "json", env=small.env).json["breaks"]
    name = breaks[0]["alert_id"]
    assert run("ack", name[:12], "--by", "ann", "-m", "asked the venue", env=small.env).code == 0
    assert run("resolve", name[:12], "--by", "bob", env=small.env).code == 0
    again = run("resolve", name[:12], "--by", "bob", env=small.env)
    assert again.code == 3
    assert "it is RESOLVED" in again.err
    left = run("breaks", "-o", "json", env=small.env).json["breaks"]
    assert [each["alert_id"] for each in left] == [each["alert_id"] for each in breaks[1:]]
    assert run("reopen", name[:12], "--by", "ann", "-m", "it was not", env=small.env).code == 0
    noted = run("comment", name[:12], "--by", "bob", "--assignee", "renee", "--until", "2099-01-01", env=small.env)
    assert noted.code == 0, noted.err
    breaks = run("breaks", "-o", "json", env=small.env).json["breaks"]
    [back] = [each for each in breaks if each["alert_id"] == name]
    assert (back["status"], back["handling"]["assignee"], back["handling"]["comment"]) == (
        "OPEN",
        "renee",
        "it was not",
    )
    assert back["handling"]["suppressed_until_us"] == 4_070_908_800_000_000
    assert run("comment", name[:12], env=small.env).code == 2
    assert run("resolve", name[:12], "--by", "bob", env=small.env).code == 0


def test_what_a_person_resolved_is_found_again_and_marked_as_such(
    small: Small, first_full: ReconciliationResult
) -> None:
    name = next(each.alert_id for each in first_full.discrepancies if each.kind == "missing_exchange")
    assert run("resolve", name, "--by", "bob", env=small.env).code == 0
    shown = run("run", first_full.reconciliation_id, env=small.env)
    assert shown.code == 1
    assert shown.out.count("(resolved by bob)") == 1
    assert run("reopen", name, "--by", "bob", env=small.env).code == 0
    assert "(resolved by bob)" not in run("run", first_full.reconciliation_id, env=small.env).out


def bad(**more: Any) -> bytes:
    told = {"command": "reconcile", "command_id": f"bad-{now_us()}", "issued_by": "ann", "issued_us": now_us()}
    return msgspec.json.encode({**told, **more})


BAD: dict[str, tuple[bytes, str]] = {
    "malformed": (b'{"command":', "malformed"),
    "array": (b"[1]", "malformed"),
    "unknown command": (bad(command="destroy"), "unknown_command"),
    "unknown field": (bad(typo="full"), "unknown_field"),
    "no accounts": (bad(accounts=[]), "bad_value"),
    "threshold": (bad(params={"max_discrepancy_threshold": 2}), "bad_value"),
    "not a number": (bad(params={"max_discrepancy_threshold": "NaN"}), "bad_value"),
    "oversized": (bad(accounts=[f"v|{n}" for n in range(20_000)]), "oversized"),
    "nothing": (b"", "malformed"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_command_is_answered_with_its_reason_and_does_nothing(small: Small, what: str) -> None:
    value, reason = BAD[what]
    answer = answer_at(small, produce(small, "control", value))
    assert answer.status == "failed"
    assert answer.errors[0].startswith(reason), answer.errors
    assert answer.certificate is None


def test_a_command_takes_effect_once_and_not_after_it_has_expired(small: Small) -> None:
    told = {
        "command": "reconcile", "command_id": f"twice-{now_us()}", "issued_by": "ann", "issued_us": now_us(),
        "type": "emergency",
    }  # fmt: skip
    offsets = [produce(small, "control", msgspec.json.encode(told)) for _ in range(2)]
    first, second = (answer_at(small, offset) for offset in offsets)
    assert first.status == "completed"
    assert second.errors[0].startswith("replayed")
    late = {**told, "command_id": f"late-{now_us()}", "issued_us": now_us() - 9_000_000, "expires_us": now_us() - 1}
    assert answer_at(small, produce(small, "control", msgspec.json.encode(late))).errors[0].startswith("expired")


def test_trigger_waits_and_prints_and_runs_lists(small: Small) -> None:
    done = run("trigger", "trade_only", "--yes", "--at", "end", env=small.env)
    assert done.code == 1, done.err
    assert "missing_exchange" in done.out
    assert "partitions" in done.err
    listed = run("runs", env=small.env)
    assert "trade_only" in listed.out
    assert run("trigger", "full", env=small.env).code == 2  # nobody can be asked


def test_small_differences_are_corrected_within_the_budget_and_can_be_taken_back(
    small: Small, first_full: ReconciliationResult
) -> None:
    cut_us = small.start_us + 89 * 10_000
    corrected = [json.loads(record.value) for record in small.records("corrections")]
    assert {(each["asset"], each["amount"], each["field"]) for each in corrected} == {("USD", "0.05", "fee")}
    first = next(each for each in corrected if each["run_id"] == first_full.reconciliation_id)
    again = perform(small, "full", cut_us=cut_us)
    assert "fill_mismatch" not in kinds(again)
    assert again.certificate is not None
    assert again.certificate.absolved == [first["alert_id"]]
    assert run("verify", again.reconciliation_id, env=small.env).code == 0
    assert run("undo", first["correction_id"], "--by", "bob", env=small.env).code == 0
    assert kinds(perform(small, "full", cut_us=cut_us))["fill_mismatch"] == 1  # and it is not paid again
    twice = run("undo", first["correction_id"], "--by", "bob", env=small.env)
    assert twice.code == 3
    assert "taken back before" in twice.err


def test_a_changed_configuration_file_holds_without_a_restart_and_a_broken_one_does_not(
    small: Small, folder: Path
) -> None:
    cut_us = small.start_us + 89 * 10_000
    config = folder / "recon.yaml"
    before = config.read_text()
    version = perform(small, "trade_only", cut_us=cut_us).config_version
    config.write_text(f"{before}\nreconciliation: {{batch_size: 0}}\n")
    small.until(
        lambda: bool(small.workers[0].lines("the configuration file is not valid; what held before goes on to hold"))
    )
    assert perform(small, "trade_only", cut_us=cut_us).config_version == version
    config.write_text(f"{before}\nreconciliation: {{batch_size: 7}}\n")
    small.until(lambda: bool(small.workers[0].lines("the configuration file was changed")))
    result = perform(small, "trade_only", cut_us=cut_us)
    assert result.config_version == version + 1
    assert result.certificate is not None
    assert result.certificate.config["batch_size"] == 7


def test_a_schedule_fires_and_its_run_is_that_of_its_inner_type(small: Small) -> None:
    def scheduled() -> list[ReconciliationResult]:
        decoded = [msgspec.json.decode(each.value, type=ReconciliationResult) for each in small.records("results")]
        return [each for each in decoded if each.type == "scheduled" and each.status in FINAL]

    small.until(lambda: bool(scheduled()))
    result = scheduled()[0]
    assert result.notes[0] == "done by the type balance_only"
    assert result.certificate is not None
    assert result.certificate.scope.identities == ("balance",)
    assert str(result.command_id).startswith("schedule:")


def test_everything_was_written_down_and_nothing_of_it_was_changed(
    small: Small, folder: Path, first_full: ReconciliationResult
) -> None:
    url = f"sqlite:///{folder}/audit.db"
    small.until(lambda: run("audit", "verify", "--store", url, env=small.env).code == 0)
    runs = run("audit", "show", "--list", "runs", "--store", url, "-o", "json", env=small.env)
    assert first_full.reconciliation_id in runs.out


@pytest.mark.parametrize("words", [("runs",), ("run", "abc"), ("verify", "abc"), ("trigger", "full", "--yes")])
def test_topics_that_are_not_there_are_named_at_once(small: Small, words: tuple[str, ...]) -> None:
    done = run(*words, "--prefix", "no-such.", env=small.env)
    assert done.code == 3
    assert "there is no topic no-such." in done.err


def test_a_lookback_beyond_what_is_retained_is_told_and_nothing_is_called_complete(small: Small) -> None:
    topic = small.plan.source("exchange", "fills")
    partition = partition_of("simex|desk-3", small.plan.partitions)
    before = perform(small, "full", cut_us=small.start_us + 89 * 10_000)
    asyncio.run(_cut_off(small.servers, TopicPartition(topic, partition), 3))
    result = perform(small, "full", cut_us=small.start_us + 89 * 10_000)
    assert result.status == "partial"
    assert {*result.alert_ids} <= {*before.alert_ids}  # what has expired on one side is not missing there
    [condition] = [each for each in result.conditions if each.reason == "LOOKBACK_TRUNCATED"]
    assert (condition.origin, condition.stream, condition.partition) == ("exchange", "fills", partition)
    assert "lengthen its retention, or ask for a shorter lookback" in condition.cause


async def _cut_off(servers: str, tp: TopicPartition, before: int) -> None:
    """Let Kafka forget the first records of a partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()
