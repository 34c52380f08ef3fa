from __future__ import annotations

import csv
import gzip
import io
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.schemas import schema_files
from tests.commands import command, environment, fill, run, write

DATA = Path(__file__).parent / "data"
EXAMPLES = Path(__file__).parents[1] / "examples"
SIDES = ("internal", "exchange")


@pytest.fixture
def books(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of 200 fills: one lacks number 5, has another price for 7, and repeats 9 with another quantity."""
    ours = [fill("internal", n) for n in range(200) if n != 5]
    ours.insert(50, fill("internal", 9, qty="1.6", event_id="internal-9-again"))
    theirs = [fill("exchange", n, **({"price": "60100.25"} if n == 7 else {})) for n in range(200)]
    return write(tmp_path / "ours.jsonl", ours), write(tmp_path / "theirs.jsonl", theirs)


def found(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(alert["kind"], alert["trade_id"]) for alert in answer["breaks"]}


def test_two_files_that_agree_end_with_0(tmp_path: Path) -> None:
    files = [write(tmp_path / side, [fill(side, n) for n in range(50)]) for side in SIDES]
    done = run("reconcile", "--internal", files[0], "--exchange", files[1])
    assert (done.code, done.out.strip()) == (0, "No open breaks.")
    assert "100 records" in done.err


def test_what_does_not_agree_is_found_and_the_exit_code_is_1(books: tuple[Path, Path]) -> None:
    done = run("reconcile", "--internal", books[0], "--exchange", books[1], "--output", "json")
    assert done.code == 1
    assert found(done.json) == {("missing_internal", "T5"), ("fill_mismatch", "T7"), ("duplicate_conflict", "T9")}
    assert done.json["conditions"] == []
    summary = done.json["summary"]
    assert summary["records"] == 400
    assert summary["kinds"] == {"missing_internal": 1, "fill_mismatch": 1, "duplicate_conflict": 1}
    assert (summary["identities"], summary["effects"]) == ({"trade": 3}, 0)


def test_breaks_in_json_are_the_records_of_the_breaks_topic(books: tuple[Path, Path]) -> None:
    done = run("reconcile", "--internal", books[0], "--exchange", books[1], "--output", "json")
    schema = json.loads(schema_files()["discrepancy.json"])
    for alert in done.json["breaks"]:
        jsonschema.validate(alert, schema)
        assert msgspec.convert(alert, Discrepancy).status == "OPEN"


def test_one_file_of_both_sides_in_any_mixture_says_the_same(books: tuple[Path, Path], tmp_path: Path) -> None:
    logs = [path.read_text().splitlines() for path in books]
    expected = run("reconcile", "--internal", books[0], "--exchange", books[1], "--output", "json").json["breaks"]
    rng = random.Random(3)
    mixed = []
    while any(logs):
        log = rng.choice([log for log in logs if log])
        mixed.append(log.pop(0))
    from_file = run("reconcile", write(tmp_path / "both", mixed), "--output", "json").json["breaks"]
    from_stdin = run("reconcile", "-", "--output", "json", stdin="\n".join(mixed)).json["breaks"]
    facts = [
        [{k: v for k, v in alert.items() if k != "evidence"} for alert in b] for b in (expected, from_file, from_stdin)
    ]
    assert facts[0] == facts[1] == facts[2]


def test_evidence_names_file_and_line(books: tuple[Path, Path]) -> None:
    done = run("reconcile", "--internal", books[0], "--exchange", books[1], "--output", "json")
    missing = next(alert for alert in done.json["breaks"] if alert["kind"] == "missing_internal")
    (evidence,) = missing["evidence"]
    assert (evidence["topic"], evidence["offset"]) == ("theirs.jsonl", 6)
    assert evidence["record"]["trade_id"] == "T5"


def test_people_read_what_is_wrong_where_and_both_values(books: tuple[Path, Path]) -> None:
    done = run("reconcile", "--internal", books[0], "--exchange", books[1])
    assert "price differs" in done.out
    assert "simex|desk-1  BTC-USD buy T7" in done.out
    assert "internal price 60000.25 | exchange price 60100.25" in done.out
    assert "internal nothing | exchange 1.5 at 60000.25, fee 0.1 USD" in done.out


def test_csv_has_a_row_for_each_break(books: tuple[Path, Path]) -> None:
    done = run("reconcile", "--internal", books[0], "--exchange", books[1], "--output", "csv", "--quiet")
    rows = {row["trade_id"]: row for row in csv.DictReader(io.StringIO(done.out))}
    assert rows.keys() == {"T5", "T7", "T9"}
    assert json.loads(rows["T7"]["fields"]) == [
        {"field": "price", "internal": "60000.25", "exchange": "60100.25", "difference": "-100"}
    ]
    assert {row["record"] for row in rows.values()} == {"discrepancy"}
    assert (rows["T7"]["identity"], rows["T7"]["compared"]) == ("trade", "internal:exchange")
    assert rows["T7"]["explained_by"] == rows["T7"]["asset"] == rows["T7"]["from_us"] == ""
    assert done.err == ""


def test_csv_has_a_row_for_what_cannot_be_known(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", [fill("internal", n) for n in range(10)])
    done = run("reconcile", "--internal", ours, "--exchange", write(tmp_path / "theirs", []), "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert (row["record"], row["kind"], row["origin"], row["waiting"]) == (
        "feed_condition", "NEVER_SENT", "exchange", "10"
    )  # fmt: skip


def test_breaks_are_explained_in_sentences_where_asked_for(books: tuple[Path, Path], tmp_path: Path) -> None:
    promises = write(tmp_path / "c.json", [[{"origin": "exchange", "grace_us": 250_000, "fills": "complete"}]])
    words = ("reconcile", "--internal", books[0], "--exchange", books[1], "--contracts", promises, "--explain")
    done = run(*words)
    assert done.code == 1
    assert "Exchange says at 2025-11-24 16:00:00.050 UTC: fill T5, buy 1.5 at 60000.25" in done.out
    assert "(theirs.jsonl:6)." in done.out
    assert "The contract of exchange says: fills complete; at most 2 s out of order, 250 ms of grace." in done.out
    answer = run(*words, "--output", "json").json
    assert answer["explanations"].keys() == {alert["alert_id"] for alert in answer["breaks"]}
    assert answer["explanations"][answer["breaks"][0]["alert_id"]][0]["about"] == "what it is"


@pytest.mark.parametrize("output", ["table", "csv"])
def test_no_records_at_all_is_no_agreement(tmp_path: Path, output: str) -> None:
    files = [write(tmp_path / side, []) for side in SIDES]
    done = run("reconcile", "--internal", files[0], "--exchange", files[1], "--output", output, "--quiet")
    assert done.code == 1
    assert "Nothing was compared" in done.err
    assert "No open breaks" not in done.out


def test_lines_that_cannot_be_read_are_named_and_cost_the_others_nothing(tmp_path: Path) -> None:
    ours: list[object] = [fill("internal", n) for n in range(30)]
    ours[10:10] = ["nonsense", "", json.dumps(fill("internal", 100, qty="1e3")), "x" * 200_000]
    theirs = write(tmp_path / "theirs", [fill("exchange", n) for n in range(30)])
    done = run("reconcile", "--internal", write(tmp_path / "ours", ours), "--exchange", theirs, "--output", "json")
    assert done.code == 1
    assert [(bad["file"], bad["line"]) for bad in done.json["rejected"]] == [("ours", 11), ("ours", 13), ("ours", 14)]
    assert done.json["breaks"] == []
    assert {condition["reason"] for condition in done.json["conditions"]} == {"SCHEMA_ERROR"}
    assert done.json["summary"]["rejected"] == 3


def test_sources_with_names_of_their_own_vouch_for_their_venue(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", [fill("internal", n, source="books") for n in range(12)])
    theirs = write(tmp_path / "theirs", [fill("exchange", 0, source="gateway")])
    done = run("reconcile", "--internal", ours, "--exchange", theirs, "--output", "json")
    assert done.json["summary"]["kinds"] == {"missing_exchange": 11}


def test_a_side_that_never_spoke_is_not_known_rather_than_missing(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", [fill("internal", n) for n in range(10)])
    done = run("reconcile", "--internal", ours, "--exchange", write(tmp_path / "theirs", []), "--output", "json")
    assert (done.code, done.json["breaks"]) == (1, [])
    assert [condition["reason"] for condition in done.json["conditions"]] == ["NEVER_SENT"]


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_contracts_say_what_silence_means(tmp_path: Path, form: str) -> None:
    texts = {
        "toml": '[[contracts]]\norigin = "exchange"\nsilence = "trust"\n',
        "yaml": "contracts:\n- {origin: exchange, silence: trust}\n",
        "json": '[{"origin": "exchange", "silence": "trust"}]',
    }
    promises = tmp_path / f"contracts.{form}"
    promises.write_text(texts[form])
    ours = write(tmp_path / "ours", [fill("internal", n) for n in range(10)])
    theirs = write(tmp_path / "theirs", [])
    done = run("reconcile", "--internal", ours, "--exchange", theirs, "--contracts", promises, "--output", "json")
    assert done.json["summary"]["kinds"] == {"missing_exchange": 10}


@pytest.mark.parametrize("recording", ["hyperliquid", "binance_usdm"])
def test_real_recordings_have_exactly_their_true_breaks_under_the_contracts_of_the_examples(recording: str) -> None:
    events = DATA / recording / "events.jsonl"
    contracts, instruments = EXAMPLES / "contracts" / f"{recording}.yaml", EXAMPLES / "instruments.json"
    done = run("reconcile", events, "--contracts", contracts, "--instruments", instruments, "--output", "json")
    true = json.loads((DATA / recording / "expected.json").read_text())["breaks"]
    found = [(a["account_id"], a["instrument"], a["residual"]) for a in done.json["breaks"]]
    assert found == [(one["account"], one["symbol"], one["missing_signed_qty"]) for one in true]
    assert (done.code, done.json["conditions"], done.json["rejected"]) == (1 if true else 0, [], [])
    assert done.json["summary"]["records"] == len(events.read_text().splitlines())


@pytest.mark.parametrize("pair", ["@142", "PURR/USDC", "UBTC/USDC"])
def test_the_examples_know_spot_pairs_that_are_not_in_the_recording(tmp_path: Path, pair: str) -> None:
    """Another pair of the venue, whose fees are charged in what it trades: a perpetual's fee would not count."""
    renamed = tmp_path / "events.jsonl"
    renamed.write_text((DATA / "hyperliquid" / "events.jsonl").read_text().replace('"@107"', f'"{pair}"'))
    contracts, instruments = EXAMPLES / "contracts" / "hyperliquid.yaml", EXAMPLES / "instruments.json"
    done = run("reconcile", renamed, "--contracts", contracts, "--instruments", instruments, "--output", "json")
    assert [(each["instrument"], each["residual"]) for each in done.json["breaks"]] == [(pair, "-195.98118408")]
    assert done.json["conditions"] == []


@pytest.mark.parametrize("recording", ["hyperliquid", "binance_usdm"])
def test_a_recording_in_which_we_never_speak_does_not_agree(tmp_path: Path, recording: str) -> None:
    theirs = tmp_path / "events.jsonl"
    lines = (DATA / recording / "events.jsonl").read_text().splitlines(keepends=True)
    theirs.write_text("".join(line for line in lines if '"origin":"exchange"' in line))
    contracts, instruments = EXAMPLES / "contracts" / f"{recording}.yaml", EXAMPLES / "instruments.json"
    done = run("reconcile", theirs, "--contracts", contracts, "--instruments", instruments, "--output", "json")
    assert (done.code, done.json["breaks"]) == (1, [])
    accounts = {json.loads(line)["account_id"] for line in lines}
    said = [(each["reason"], each["origin"], each["stream"], each["waiting"]) for each in done.json["conditions"]]
    assert ("NEVER_SENT", "internal", "fills", len(accounts)) in said


@pytest.mark.parametrize("type_name", [(), ("--type", "full")])
def test_what_moved_after_the_last_snapshot_does_not_pass_for_agreement(
    tmp_path: Path, type_name: tuple[str, ...]
) -> None:
    lines = (DATA / "binance_usdm" / "events.jsonl").read_text().splitlines()
    last = max(n for n, line in enumerate(lines) if '"type":"position"' in line.replace(" ", ""))
    words = ("--contracts", EXAMPLES / "contracts" / "binance_usdm.yaml", "--instruments",
             EXAMPLES / "instruments.json", *type_name)  # fmt: skip
    whole = run("reconcile", write(tmp_path / "whole", lines), *words)
    assert "moved after" not in whole.err
    silent = [line for n, line in enumerate(lines) if n < last // 2 or '"origin":"internal"' in line.replace(" ", "")]
    done = run("reconcile", write(tmp_path / "silent", silent), *words)
    assert "moved after the last snapshot: nothing is held against what moved since." in done.err


def test_how_many_wait_is_told_exactly_in_the_end(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    lines = (DATA / "hyperliquid" / "events.jsonl").read_text().splitlines(keepends=True)
    gone = {f'"event_id":"internal:fill:row-{number}"' for number in (600, 620, 640, 660, 680)}
    kept = [line for line in lines if not any(name in line for name in gone)]
    assert len(kept) == len(lines) - len(gone)
    events.write_text("".join(kept))
    contracts, instruments = EXAMPLES / "contracts" / "hyperliquid.yaml", EXAMPLES / "instruments.json"
    done = run("reconcile", events, "--contracts", contracts, "--instruments", instruments, "--output", "json")
    [condition] = done.json["conditions"]
    assert (condition["reason"], condition["waiting"]) == ("ANCHOR_MISSING", 5)
    assert condition["cause"].startswith("5 comparisons")


@pytest.mark.parametrize(("assets", "said"), [
    ({"kind": "spot", "base": "BTC"}, "needs 'quote'"),
    ({"kind": "inverse", "base": "BTC", "quote": "USD"}, "needs 'settle'"),
    ({"kind": "spot", "base": "{name}", "quote": "USD"}, "{name} is not known; there is {instrument}"),
    ({"kind": "swap", "settle": "USD"}, "linear_perpetual"),
])  # fmt: skip
def test_a_file_of_instruments_that_cannot_be_is_refused_with_what_is_wrong(
    tmp_path: Path, assets: dict[str, str], said: str
) -> None:
    kinds = tmp_path / "instruments.json"
    kinds.write_text(json.dumps({"v": {"*": assets}}))
    done = run("reconcile", write(tmp_path / "both", [fill("internal", 1)]), "--instruments", kinds)
    assert done.code == 2
    assert said in done.err


def test_a_feed_that_promises_less_than_the_examples_say_leaves_questions_and_no_breaks(tmp_path: Path) -> None:
    promises = write(tmp_path / "contracts.json", [[{"origin": "exchange", "fills": "absent", "orders": "absent"}]])
    events, instruments = DATA / "binance_usdm" / "events.jsonl", EXAMPLES / "instruments.json"
    done = run("reconcile", events, "--contracts", promises, "--instruments", instruments, "--output", "json")
    assert (done.code, done.json["breaks"]) == (1, [])
    assert {condition["reason"] for condition in done.json["conditions"]} == {"PARTIAL"}


def test_files_may_be_packed(tmp_path: Path) -> None:
    packed = tmp_path / "both.jsonl.gz"
    lines = [json.dumps(fill(side, n)) for n in range(20) for side in SIDES]
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert run("reconcile", packed).code == 0
    unnamed = packed.rename(tmp_path / "both")
    assert run("reconcile", unnamed).code == 0
    with unnamed.open("rb") as stdin:
        done = subprocess.run(command("reconcile", "-"), stdin=stdin, check=False, env=environment())
    assert done.returncode == 0


def test_a_file_that_is_packed_and_cut_off_is_no_defect_of_ours(tmp_path: Path) -> None:
    packed = tmp_path / "both.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(fill("internal", 1)).encode())[:60])
    done = run("reconcile", packed)
    assert done.code == 2
    assert f"{packed}: its gzip data is damaged or ends too early" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give either one FILE"),
        (["nowhere.jsonl"], "nowhere.jsonl: No such file"),
        (["--internal", "-", "--exchange", "-"], "standard input cannot be both sides"),
        (["-", "--contracts", "bad.toml"], "not valid toml"),
        (["-", "--contracts", "unknown.json"], "promises"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("= nothing")
    (tmp_path / "unknown.json").write_text('[{"origin": "exchange", "promises": "much"}]')
    done = run("reconcile", *words, env={"PYTHONPATH": str(Path(__file__).parents[1])})
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_the_order_of_the_lines_decides_nothing(tmp_path: Path) -> None:
    hours_us = 3_600_000_000
    for origin in ("internal", "exchange"):
        events = [
            {
                "type": "fill", "origin": origin, "venue": "v", "account_id": f"desk-{n % 2}", "event_id": f"{n}",
                "ts_us": 1_700_000_000_000_000 + n * hours_us, "instrument": "BTC-USD", "trade_id": str(n),
                "order_id": "o", "side": "buy", "qty": "1", "price": "2",
            }
            for n in range(20)
            if not (origin == "exchange" and n == 7)
        ]  # fmt: skip
        lines = [json.dumps(event) + "\n" for event in events]
        (tmp_path / f"{origin}.jsonl").write_text("".join(lines), "utf-8")
        (tmp_path / f"{origin}-backwards.jsonl").write_text("".join(reversed(lines)), "utf-8")
        by_account = sorted(lines, key=lambda line: json.loads(line)["account_id"])
        (tmp_path / f"{origin}-by-account.jsonl").write_text("".join(by_account), "utf-8")
    for one in ("", "-backwards", "-by-account"):
        for other in ("", "-backwards", "-by-account"):
            done = run(
                "reconcile", "--internal", tmp_path / f"internal{one}.jsonl",
                "--exchange", tmp_path / f"exchange{other}.jsonl", "--output", "json",
            )  # fmt: skip
            found = json.loads(done.out)
            assert [(b["kind"], b["trade_id"]) for b in found["breaks"]] == [("missing_exchange", "7")], (one, other)
            assert found["conditions"] == []
            assert done.code == 1
