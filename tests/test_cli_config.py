"""The `config` commands, and what a configuration does to `reconcile` and to a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.domain.contracts import Contracts
from tests.commands import fill, run, write
from tests.deployment import decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment import Deployment

EXAMPLE = Path(__file__).parents[1] / "examples" / "config" / "recon.yaml"
VARIABLE = {"STREAM_RECON_RECONCILIATION__BATCH_SIZE": "50"}


def written(folder: Path, content: Any, name: str = "recon.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_show_says_where_every_value_comes_from(tmp_path: Path) -> None:
    path = written(tmp_path, {"environments": {"test": {"reconciliation": {"retry_attempts": 9}}}})
    done = run("config", "show", "--config", path, "--environment", "test", env=VARIABLE)
    assert done.code == 0
    lines = {words[0]: words[1:] for words in (line.split() for line in done.out.splitlines())}
    assert lines["reconciliation.retry_attempts"] == ["9", "file", "recon.json", "environments.test"]
    assert lines["reconciliation.batch_size"][:2] == ["50", "environment"]
    assert lines["reconciliation.timeout_seconds"] == ["300", "default"]
    named = {"STREAM_RECON_CONFIG": str(path), "STREAM_RECON_ENVIRONMENT": "test", **VARIABLE}
    answer = run("config", "show", "--output", "json", "--type", "delta", env=named).json
    values = {row["key"]: (row["value"], row["source"]) for row in answer["values"]}
    assert answer["environment"] == "test"
    assert values["reconciliation.batch_size"] == (50, f"environment {next(iter(VARIABLE))}")
    assert values["strategies.delta.window_seconds"] == (300, "default")
    assert len(values) == 10


def test_validate_says_what_is_wrong_or_that_nothing_is(tmp_path: Path) -> None:
    done = run("config", "validate", EXAMPLE)
    assert (done.code, done.out) == (0, "")
    assert "is as it should be in each environment (development, production)" in done.err
    bad = written(tmp_path, {"reconciliation": {"batch_size": 0, "bach_size": 1}})
    done = run("config", "validate", bad, "--output", "json")
    assert (done.code, done.json["valid"]) == (2, False)
    assert "did you mean batch_size?" in done.json["problems"][0]
    assert "did you mean batch_size?" in done.err
    doubtful = written(tmp_path, {"reconciliation": {"default_type": "ful"}})
    done = run("config", "validate", doubtful, env={"STREAM_RECON_RECONCILIATION__BATCH_SIZE": "none of this file"})
    assert done.code == 0
    assert "Note: reconciliation.default_type: there is no type 'ful' here" in done.err
    assert "did you mean full?" in done.err
    assert "?." not in done.err


def test_diff_shows_what_another_file_or_environment_would_change(tmp_path: Path) -> None:
    one = written(tmp_path, {"reconciliation": {"batch_size": 5}}, "one.json")
    other = written(tmp_path, {"reconciliation": {"batch_size": 6}, "audit": {"url": "sqlite:///a"}}, "other.json")
    assert run("config", "diff", one, "--config", one).code == 0
    done = run("config", "diff", other, "--config", one, "--output", "json")
    assert done.code == 1
    assert [(row["key"], row["now"], row["then"]) for row in done.json] == [
        ("reconciliation.batch_size", 5, 6), ("audit.url", None, "sqlite:///a"),
    ]  # fmt: skip
    between = ("config", "diff", "--config", EXAMPLE, "--environment", "development", "--against", "production")
    done = run(*between)
    assert done.code == 1
    assert "on_unsupported" in done.out
    assert "severity.absolute.BTC.critical" in done.out
    assert run("config", "diff", "--config", EXAMPLE).code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["set", "reconciliation.bach_size=5"], "nothing was sent: reconciliation: there is no key 'bach_size' here"),
        (["set", "reconciliation.batch_size"], "is not KEY=VALUE"),
        (["set", "strategies.scheduled.runs=[{"], "begins as JSON does, but is none"),
        (["set", "on_unsupported=reject", "on_unsupported=fallback"], "on_unsupported is given twice"),
        (["set", "security.require_signatures=false"], "cannot be set while it runs"),
        (["show", "--environment", "production"], "without a configuration file"),
        (["show", "--type", "ful"], "is not a supported reconciliation type"),
        (["show", "--config", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["set", "on_unsupported=reject", "--key", "nowhere.pem"], "nowhere.pem: No such file"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(words: list[str], says: str) -> None:
    done = run("config", *words)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_worker_or_a_comparison_does_not_start_with_what_is_not_valid(tmp_path: Path) -> None:
    bad = written(tmp_path, {"reconciliation": {"batch_size": 0}})
    for words in (("worker",), ("up",), ("reconcile", "-")):
        done = run(*words, "--config", bad)
        assert done.code == 2
        assert "batch_size (file recon.json): must be a whole number from 1 to 100000, but is 0" in done.err


@pytest.mark.parametrize(
    ("option", "content", "says"),
    [
        ("--contracts", [{"origin": "exchange", "fill": "complete"}], "contracts[0]: there is no key 'fill' here; did"),
        (
            "--contracts",
            [{"origin": "venue"}],
            "contracts[0].origin: must be one of internal, exchange, but is",
        ),
        ("--contracts", [{"origin": "exchange", "grace_us": -1}], "contracts[0].grace_us: must be a whole number of"),
        ("--contracts", [{"origin": "exchange", "sources": []}], "must be a list of at least 1, each text, but is an"),
        ("--contracts", 5, "must be a section with contracts, but is 5"),
        ("--instruments", {"simex": {"BTC": {"kind": "spt"}}}, "simex.BTC.kind: must be one of spot, linear_perpetual"),
        ("--instruments", {"simex": {"BTC": {"kind": "spot"}}}, "simex.BTC: an instrument of kind spot needs 'base'"),
        ("--instruments", {"simex": 5}, "simex: must be a section, by name, but is 5"),
        ("--instruments", '{"simex": {}, "simex": {}}', "not valid json: 'simex' is given twice"),
    ],
)
def test_files_of_contracts_and_instruments_that_are_wrong_are_told_in_the_same_words(
    tmp_path: Path, option: str, content: Any, says: str
) -> None:
    done = run("reconcile", "-", option, written(tmp_path, content))
    assert done.code == 2
    assert says in done.err
    assert "Input should" not in done.err


# -- what a configuration does ----------------------------------------------------------------------------------------


def off_by(tmp_path: Path, *qtys: str) -> list[Path]:
    """Two files of fills of 100, but for some of which the venue says otherwise, each in an account of its own."""
    ours = [fill("internal", n, qty="100", account_id=f"desk-{n}") for n in range(len(qtys))]
    theirs = [fill("exchange", n, qty=qty, account_id=f"desk-{n}") for n, qty in enumerate(qtys)]
    return [write(tmp_path / "ours.jsonl", ours), write(tmp_path / "theirs.jsonl", theirs)]


@pytest.mark.parametrize("more", [[], ["--type", "full"]])
@pytest.mark.parametrize(
    ("config", "severities"),
    [
        ({}, ["info", "warning", "critical"]),
        ({"max_discrepancy_threshold": "0.5"}, ["info", "warning", "warning"]),
        ({"max_discrepancy_threshold": "0.002"}, ["info", "critical", "critical"]),
        ({"auto_resolve_threshold": "0.008"}, ["info", "info", "critical"]),
        ({"auto_resolve_threshold": "0"}, ["warning", "warning", "critical"]),
    ],
)
def test_thresholds_say_how_severe_a_difference_is(
    tmp_path: Path, config: dict[str, str], severities: list[str], more: list[str]
) -> None:
    files = off_by(tmp_path, "99.95", "99.5", "90")
    path = written(tmp_path, {"reconciliation": config})
    sides = ("--internal", files[0], "--exchange", files[1])
    done = run("reconcile", *sides, "--config", path, "--output", "json", *more)
    found = {alert["trade_id"]: alert["severity"] for alert in done.json["breaks"]}
    assert found == dict(zip(("T0", "T1", "T2"), severities, strict=True))


def test_absolute_limits_come_before_sizes_and_the_section_of_the_type_before_the_common_one(tmp_path: Path) -> None:
    files = off_by(tmp_path, "99.95", "99.5", "90")
    content = {
        "reconciliation": {"max_discrepancy_threshold": "0.5"},
        "strategies": {"full": {"max_discrepancy_threshold": "0.002"}},
        "severity": {"absolute": {"BTC-USD": {"dust": "0.5", "critical": "50"}}},
    }
    sides = ("--internal", files[0], "--exchange", files[1])
    done = run("reconcile", *sides, "--config", written(tmp_path, content), "--output", "json")
    assert {a["trade_id"]: a["severity"] for a in done.json["breaks"]} == {"T0": "info", "T1": "info", "T2": "critical"}


@pytest.mark.parametrize("enable", [True, False])
def test_a_worker_says_how_severe_things_are_and_notifies_nobody_where_alerts_are_off(
    deploy: Callable[..., Deployment],
    tmp_path: Path,
    enable: bool,  # noqa: FBT001 - both are tried
) -> None:
    here = deploy(Contracts())
    common = {"enable_alerts": enable, "max_discrepancy_threshold": "0.5", "auto_resolve_threshold": "0.2"}
    content = {"environments": {"test": {
        "reconciliation": common,
        "severity": {"age_limit_minutes": {"warning": 7}},
        "strategies": {"real_time": {"auto_resolve_threshold": "0.05"}},
    }}}  # fmt: skip
    here.env |= {"STREAM_RECON_CONFIG": str(written(tmp_path, content)), "STREAM_RECON_ENVIRONMENT": "test"}
    worker = here.worker()
    for path in off_by(tmp_path, "99", "90"):
        here.publish(path)
    here.until(lambda: here.published_alerts() >= 2)
    alerts = [decoded(record.value) for record in here.records("alerts")]
    found = {a.trade_id: (a.severity, a.notify, a.age_limit_us) for a in alerts}  # type: ignore[union-attr]  # no conditions
    assert found == {"T0": ("info", enable, None), "T1": ("warning", enable, 420_000_000)}
    [configured] = worker.lines("configured")
    assert (configured["environment"], len(configured["digest"])) == ("test", 32)


def test_values_are_set_while_workers_run_and_what_the_workers_refuse_is_told(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    here = deploy(Contracts())
    sent = run(
        "config", "set", "reconciliation.batch_size=7", "--no-wait", "--by", "ann", "--output", "json", env=here.env
    )
    assert sent.code == 0
    [record] = here.records("control")
    command = msgspec.json.decode(record.value)
    assert (command["command"], command["values"]) == ("set_config", {"reconciliation.batch_size": "7"})
    assert (command["issued_by"], record.key.decode()) == ("ann", sent.json["command"]["command_id"])
    unanswered = run("config", "set", "on_unsupported=reject", "--timeout", "1", env=here.env)
    assert unanswered.code == 3

    path = written(tmp_path, {"reconciliation": {"max_discrepancy_threshold": "0.5"}})
    here.env["STREAM_RECON_CONFIG"] = str(path)
    here.worker()
    answered = run("config", "set", "strategies.full.batch_size=9", "--output", "json", env=here.env)
    assert answered.code == 0, answered.err
    assert answered.json["result"]["config_version"] == 3
    elsewhere = written(tmp_path, {"reconciliation": {"max_discrepancy_threshold": "0.9"}}, "elsewhere.json")
    refused = run("config", "set", "reconciliation.auto_resolve_threshold=0.8", "--config", elsewhere, env=here.env)
    assert refused.code == 3
    assert "auto_resolve_threshold (0.8) is above max_discrepancy_threshold (0.5)" in refused.err

    assert run("config", "set", "strategies.full.batch_size=null", "--by", "ann", env=here.env).code == 0
    changed = run("config", "changes", "--output", "json", env=here.env).json
    assert [(each["version"], each["by"], each["key"], each["value"], each["holds"]) for each in changed][:2] == [
        (4, "ann", "strategies.full.batch_size", None, True),
        (3, changed[1]["by"], "strategies.full.batch_size", "9", False),
    ]
    assert {(each["key"], each["value"], each["holds"]) for each in changed[2:]} == {
        ("reconciliation.batch_size", "7", True), ("on_unsupported", "reject", True),
    }  # fmt: skip
    shown = run("config", "changes", env=here.env)
    lines = [line.split() for line in shown.out.splitlines() if "batch_size" in line]
    assert [(line[0], line[-1]) for line in lines] == [("4", "holds"), ("3", "replaced"), ("1", "holds")]
