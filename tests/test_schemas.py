"""The published schemas say what the models say and what the decoder enforces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.control import RefusedCommand, read_command
from stream_recon.domain.corrections import Correction
from stream_recon.domain.decode import Rejected, decode_carefully
from stream_recon.domain.discrepancies import Discrepancy, Evidence, FeedCondition, FieldDifference
from stream_recon.domain.events import EARLIEST_US
from stream_recon.domain.results import ReconciliationResult, Summary
from stream_recon.domain.schemas import asyncapi, schema_files
from stream_recon.domain.topics import SHAPES, TopicPlan
from tests.control_examples import OWN, SIGNED, example
from tests.findings import of
from tests.test_decode import ANCHOR, DATA, GOOD, compact
from tests.test_decode_fuzz import AMOUNTS, OTHERS, TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.domain.events import Stream

PUBLISHED = Path(__file__).parent.parent / "schemas"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((PUBLISHED / f"{name}.json").read_bytes()))


VALIDATORS = {path.stem: validator(path.stem) for path in PUBLISHED.glob("*.json") if path.stem != "asyncapi"}


def test_the_files_are_what_the_models_give() -> None:
    """If not: `stream-recon schema export schemas`."""
    assert {path.name: path.read_text() for path in PUBLISHED.glob("*.json")} == schema_files()


@pytest.mark.parametrize("name", VALIDATORS)
def test_every_schema_is_one_of_its_draft_and_names_itself(name: str) -> None:
    Draft202012Validator.check_schema(VALIDATORS[name].schema)
    assert VALIDATORS[name].schema["$id"] == f"urn:stream-recon:{name}:v1"


@pytest.mark.parametrize("recording", ["hyperliquid", "binance_usdm"])
def test_every_record_of_the_recordings_is_valid(recording: str) -> None:
    for line in (DATA / recording / "events.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        assert VALIDATORS[record["type"]].is_valid(record), line


@pytest.mark.parametrize(("stream", "record"), GOOD, ids=lambda part: part if isinstance(part, str) else part["type"])
def test_schema_and_decoder_judge_alike(stream: Stream, record: dict[str, Any]) -> None:
    """But for what no schema can say: bytes are not characters, and the topic's origin."""
    valid = VALIDATORS[record["type"]].is_valid
    assert valid(record)
    for name in record:
        assert not valid({key: value for key, value in record.items() if key != name})
    for name in (*record, "fee", "exec", "ref_trade_id", "anchor", "feed_seq", "recorded_us", "extra"):
        for value in (*AMOUNTS, *TEXTS, *OTHERS, 0, -1, 1.5, 2**53, ANCHOR | {"side": None}):
            if isinstance(value, str) and ("\ud800" in value or value.endswith("\n")):
                continue  # not Unicode; and Python's $ is laxer than that of JSON Schema
            changed = record | {name: value}
            event = decode_carefully(compact(changed), "exchange", stream)
            too_long = isinstance(value, str) and len(value) <= 128 < len(value.encode())
            if too_long or (name == "origin" and value == "internal") or (name == "type" and value == "fill"):
                continue
            assert valid(changed) == (not isinstance(event, Rejected)), (changed, event)


def test_a_published_transition_is_valid() -> None:
    discrepancy = Discrepancy(
        alert_id="0" * 32, version=1, transition="OPENED", status="OPEN", kind="fill_mismatch", identity="trade",
        severity="warning", account="binance|a1", venue="binance", account_id="a1", compared="internal:exchange",
        instrument="BTC-USDT", trade_id="1", side="buy", event_us=1, due_us=2,
        cause="both sides have this fill, but disagree on qty",
        fields=[FieldDifference("qty", "1", "2", "-1"), FieldDifference("fee", None, "2")],
        evidence=[Evidence("internal", None, None, None, {"qty": "1"})], size="0.5",
    )  # fmt: skip
    condition = FeedCondition(
        alert_id="0" * 32, version=1, transition="OPENED", status="OPEN", reason="STALE", severity="warning",
        origin="exchange", source="gw1", stream="fills", partition=0, account=None, since_us=1, waiting=2,
        cause="exchange|binance is silent",
    )  # fmt: skip
    for name, alert in (("discrepancy", discrepancy), ("feed_condition", condition)):
        record = json.loads(msgspec.json.encode(alert))
        VALIDATORS[name].validate(record)
        assert not VALIDATORS[name].is_valid(record | {"status": "GONE"})


@pytest.mark.parametrize("name", OWN)
def test_the_schema_of_commands_and_their_reader_judge_alike(name: str) -> None:
    """But for what no schema can say: bytes are not characters, and which of two times is later."""
    valid = VALIDATORS["control"].is_valid
    record = example(name, **SIGNED)
    assert valid(record)
    for field in record:
        changed = {key: value for key, value in record.items() if key != field}
        if field not in SIGNED:  # which are there together, or not at all
            assert valid(changed) == (not isinstance(read_command(compact(changed)), RefusedCommand)), changed
    for field in (*record, "expires_us", "type", "comment", "extra", "run_ids"):
        for value in (*AMOUNTS, *TEXTS, *OTHERS, 0, -1, 1.5, 2**53, [], ["b|a"], ["b|a", "b|a"], ["b"], {"x": 1}):
            if isinstance(value, str) and ("\ud800" in value or value.endswith("\n")):
                continue  # not Unicode; and Python's $ is laxer than that of JSON Schema
            changed = record | {field: value}
            command = read_command(compact(changed))
            too_long = isinstance(value, str) and len(value) <= 128 < len(value.encode())
            if too_long or field in SIGNED or (field in {"expires_us", "cut_us"} and value == EARLIEST_US):
                continue
            assert valid(changed) == (not isinstance(command, RefusedCommand)), (changed, command)


def test_the_schema_of_commands_knows_each_parameter() -> None:
    valid = VALIDATORS["control"].is_valid
    for field in ReconciliationConfig.model_fields:
        values: list[Any] = [None, True, 0, 1, 1.5, -1, 10**6, "", "full", [], {}]
        for value in values:
            changed = example("reconcile", params={field: value}) | {"type": None}
            is_fraction = field.endswith("threshold") and isinstance(value, str)
            if not is_fraction:
                command = read_command(compact(changed))
                assert valid(changed) == (not isinstance(command, RefusedCommand)), (changed, command)


def test_a_published_result_and_a_correction_are_valid() -> None:
    found = of("balance_mismatch", "balance", 1, asset="USDT", cause="differs", fields=[], evidence=[])
    result = ReconciliationResult(
        reconciliation_id="r", type="full", status="completed", start_time_us=1, end_time_us=2,
        summary=Summary(top_accounts=[("binance|desk-1", 3)], seconds={"decode": 0.5}), discrepancies=[found],
    )  # fmt: skip
    correction = Correction(
        correction_id="c", alert_id="a", account="binance|desk-1", asset="USDT", field="total", amount="-1",
        substance="s", run_id="r", day="2026-01-31", by="renee",
    )  # fmt: skip
    for name, struct in (("result", result), ("correction", correction)):
        record = json.loads(msgspec.json.encode(struct))
        VALIDATORS[name].validate(record)
        for field in ("status", "amount"):
            assert not VALIDATORS[name].is_valid(record | {field: 5}) or field not in record


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_the_asyncapi_document_describes_every_topic_and_is_complete_in_itself() -> None:
    document = asyncapi(TopicPlan(prefix="firm.", partitions=8))
    assert document["channels"].keys() == set(SHAPES)
    assert document["channels"]["internal.fills"]["address"] == "firm.internal.fills.v1"
    assert document["channels"]["internal.fills"]["bindings"]["kafka"]["partitions"] == 8
    assert set(document["channels"]["exchange.orders"]["messages"]) == {"order", "heartbeat"}
    assert set(document["channels"]["control"]["messages"]) == set(OWN)
    assert set(document["channels"]["results"]["messages"]) == {"result"}
    assert set(document["channels"]["corrections"]["messages"]) == {"correction"}
    found = list(references(document))
    assert found
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
