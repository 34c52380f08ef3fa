"""The published schemas say what the models say and what the decoder enforces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from stream_recon.domain.decode import Rejected, decode_carefully
from stream_recon.domain.discrepancies import Discrepancy, Evidence, FeedCondition, FieldDifference
from stream_recon.domain.schemas import asyncapi, schema_files
from stream_recon.domain.topics import SHAPES, TopicPlan
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
    found = list(references(document))
    assert found
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
