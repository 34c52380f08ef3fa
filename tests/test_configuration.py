"""Which of several values holds, where each comes from, and what becomes of one that is not allowed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream_recon.core.rules import rules_of
from stream_recon.domain.config import HOUR_US, ReconciliationConfig, Sections
from stream_recon.domain.control import Policy
from stream_recon.domain.discrepancies import AbsoluteLimits
from stream_recon.domain.instruments import Instruments
from stream_recon.domain.layers import ConfigurationError, Layer, layer_of, nested, path_of, resolve, values_of
from stream_recon.domain.reference import entries, table
from stream_recon.domain.types import ReconciliationType
from stream_recon.domain.wording import dotted
from stream_recon.shell.config_sources import environments_of
from stream_recon.shell.configuration import Configuration, defaults, doubts, load
from stream_recon.shell.environ import environment_layer
from stream_recon.shell.governing import Governing

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "config" / "recon.yaml"
SIZE = "reconciliation.batch_size"
VARIABLE = "STREAM_RECON_RECONCILIATION__BATCH_SIZE"


class Manager:
    """Some program's own settings."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.asked: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        """As a dictionary has it."""
        self.asked.append(key)
        return self.values.get(key, default)


def written(folder: Path, content: Any, name: str = "recon.yaml") -> Path:
    """A file of that content; text as it is."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    return path


def problems(make: Callable[[], object]) -> tuple[str, ...]:
    """What is said to be wrong."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    return caught.value.problems


# -- precedence -------------------------------------------------------------------------------------------------------

LEVELS = ("default", "file", "section", "manager", "variable", "dynamic", "parameter")
SOURCES = {
    "default": "default",
    "file": "file recon.yaml",
    "section": "file recon.yaml environments.production",
    "manager": "manager Manager",
    "variable": f"environment {VARIABLE}",
    "dynamic": "dynamic version 1",
}


@pytest.mark.parametrize("level", LEVELS)
def test_the_highest_level_that_sets_a_value_has_it(tmp_path: Path, level: str) -> None:
    levels = LEVELS[: LEVELS.index(level) + 1]
    file: dict[str, Any] = {"environments": {"production": {}}}
    if "file" in levels:
        file["reconciliation"] = {"batch_size": 11}
    if "section" in levels:
        file["environments"]["production"] = {"reconciliation": {"batch_size": 12}}
    configuration = load(
        written(tmp_path, file),
        "production",
        {VARIABLE: "14"} if "variable" in levels else {},
        Manager(**{SIZE: "13"} if "manager" in levels else {}),
    )
    if "dynamic" in levels:
        configuration = configuration.changed({SIZE: 15})
    params = {"batch_size": 16} if "parameter" in levels else {}
    expected = {
        "default": 1000,
        "file": 11,
        "section": 12,
        "manager": 13,
        "variable": 14,
        "dynamic": 15,
        "parameter": 16,
    }
    assert configuration.config_for("full", params).batch_size == expected[level]
    if level != "parameter":
        assert (configuration.value(SIZE), configuration.source(SIZE)) == (expected[level], SOURCES[level])


@pytest.mark.parametrize("kind", list(ReconciliationType))
def test_the_section_of_a_type_holds_over_the_common_one_from_wherever_either_comes(kind: str) -> None:
    configuration = load(environ={f"STREAM_RECON_STRATEGIES__{kind.upper()}__BATCH_SIZE": "5"}).changed({SIZE: 7})
    assert {other: configuration.config_for(other).batch_size for other in ReconciliationType} == {
        other: 5 if other == kind else 7 for other in ReconciliationType
    }
    assert configuration.config_for(kind, {"batch_size": 3}).batch_size == 3
    assert configuration.config_for("of_some_package").batch_size == 7


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    file = {"severity": {"absolute": {"BTC": {"dust": "0.1"}}}, "audit": {"url": "postgresql://me:secret@there/db"}}
    variables = {
        "STREAM_RECON_SEVERITY__ABSOLUTE__BTC__CRITICAL": "3",
        "STREAM_RECON_AUTO_RESOLUTION": '{"budget": {"USDT": "100", "ETH": "1"}}',
        "STREAM_RECON_AUTO_RESOLUTION__BUDGET__ETH": "2",
        "STREAM_RECON_ON_UNSUPPORTED": "reject",
        "STREAM_RECON_STRATEGIES__REAL_TIME__BATCH_SIZE": "",
        "STREAM_RECON_CONFIG": "of a command",
    }
    configuration = load(written(tmp_path, file), None, variables)
    rows = {row.key: (row.value, row.source) for row in configuration.rows() if row.source != "default"}
    assert rows == {
        "severity.absolute.BTC.dust": ("0.1", "file recon.yaml"),
        "severity.absolute.BTC.critical": ("3", "environment STREAM_RECON_SEVERITY__ABSOLUTE__BTC__CRITICAL"),
        "auto_resolution.budget.USDT": ("100", "environment STREAM_RECON_AUTO_RESOLUTION"),
        "auto_resolution.budget.ETH": ("2", "environment STREAM_RECON_AUTO_RESOLUTION__BUDGET__ETH"),
        "on_unsupported": ("reject", "environment STREAM_RECON_ON_UNSUPPORTED"),
        "audit.url": ("postgresql://me:***@there/db", "file recon.yaml"),
    }
    assert configuration.sections.audit.url == "postgresql://me:secret@there/db"
    assert configuration.sections.severity.absolute_limits()["BTC"] == AbsoluteLimits(Decimal("0.1"), Decimal(3))


def test_a_type_is_shown_with_what_a_run_of_it_has() -> None:
    configuration = defaults().changed({"strategies.real_time.batch_size": 7, "strategies.full.batch_size": 8})
    rows = {row.key: row.value for row in configuration.rows("real_time")}
    assert len(rows) == 10
    assert rows["strategies.real_time.batch_size"] == 7
    assert rows["strategies.real_time.window_minutes"] == 15
    assert rows["reconciliation.timeout_seconds"] == 300
    assert SIZE not in rows


COMMON: dict[str, st.SearchStrategy[Any]] = {
    "reconciliation.batch_size": st.integers(1, 9),
    "reconciliation.default_type": st.sampled_from(["full", "delta"]),
    "reconciliation.max_discrepancy_threshold": st.sampled_from(["0.5", "0.25"]),
    "strategies.full.batch_size": st.integers(1, 9),
    "strategies.real_time.window_minutes": st.integers(1, 9),
    "severity.absolute.BTC.dust": st.sampled_from(["0.1", "0.2"]),
    "severity.absolute.BTC.critical": st.sampled_from(["1", "2"]),
    "severity.absolute.a.b.c.dust": st.sampled_from(["1", "2"]),
    "auto_resolution.budget.1INCH": st.sampled_from(["1", "2"]),
    "strategies.scheduled.runs": st.sampled_from([[], [{"cron": "1 * * * *"}]]),
    "security.roles.a.b": st.sampled_from([[], ["reconcile"]]),
}
LAYERS = st.lists(
    st.fixed_dictionaries({}, optional=COMMON).map(lambda drawn: {str(key): value for key, value in drawn.items()}),
    max_size=5,
)


@given(LAYERS)
def test_what_holds_is_what_the_last_layer_says_that_says_anything(drawn: list[dict[str, Any]]) -> None:
    layers = [
        layer_of(str(number), nested({path_of(key): value for key, value in values.items()}))
        for number, values in enumerate(drawn)
    ]
    effective = resolve(layers)
    values = {dotted(path): value for path, value in values_of(effective.sections).items()}
    for key in COMMON:
        saying = [number for number, layer in enumerate(drawn) if key in layer]
        path = path_of(key)
        assert effective.sources.get(path) == (str(saying[-1]) if saying else None)
        if saying:
            said = drawn[saying[-1]][key]
            found = values[key]
            if key == "strategies.scheduled.runs":
                assert len(found) == len(said)  # type: ignore[arg-type]  # a tuple of runs
            elif key.startswith("security"):
                assert found == tuple(said)
            else:
                assert str(found) == str(said)


@given(LAYERS)
def test_setting_values_one_after_the_other_is_the_same_as_layers(drawn: list[dict[str, Any]]) -> None:
    allowed = [{key: value for key, value in values.items() if not key.startswith("security")} for values in drawn]
    configuration = defaults()
    for values in filter(None, allowed):
        configuration = configuration.changed(values)
    layers = [layer_of("", nested({path_of(key): value for key, value in values.items()})) for values in allowed]
    assert configuration.sections == resolve(layers).sections
    assert configuration.version == len(list(filter(None, allowed)))


# -- files, variables and managers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["yaml", "json", "toml"])
def test_a_file_is_yaml_json_or_toml(tmp_path: Path, form: str) -> None:
    texts = {
        "yaml": "reconciliation: {max_discrepancy_threshold: 0.2}\nenvironments: {test: {on_unsupported: reject}}\n",
        "json": '{"reconciliation": {"max_discrepancy_threshold": 0.2},'
        ' "environments": {"test": {"on_unsupported": "reject"}}}',
        "toml": "[reconciliation]\nmax_discrepancy_threshold = 0.2\n[environments.test]\non_unsupported = 'reject'\n",
    }  # fmt: skip
    sections = load(written(tmp_path, texts[form], f"recon.{form}"), "test", {}).sections
    assert sections.reconciliation.max_discrepancy_threshold == Decimal("0.2")
    assert sections.on_unsupported == "reject"


def test_a_section_of_which_all_is_commented_out_says_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "reconciliation:\n  # batch_size: 5\nenvironments:\n  test:\n")
    assert load(path, "test", {}).sections == Sections()


def test_a_manager_is_asked_for_every_key_by_its_dotted_name() -> None:
    manager = Manager(**{
        "reconciliation.default_type": "delta", "reconciliation.max_discrepancy_threshold": "0.5",
        "reconciliation.enable_alerts": "false", "reconciliation.retry_attempts": None,
        "strategies.full.batch_size": "7",
        "severity.absolute": {"BTC": {"dust": "1"}}, "strategies.scheduled.runs": [{"cron": "1 * * * *"}],
    })  # fmt: skip
    configuration = load(environ={}, manager=manager)
    config = configuration.config_for("full")
    assert (config.reconciliation_type, config.max_discrepancy_threshold, config.batch_size) == (
        "delta",
        Decimal("0.5"),
        7,
    )
    assert (config.enable_alerts, config.retry_attempts) == (False, 3)
    assert configuration.source("severity.absolute.BTC.dust") == "manager Manager"
    assert len(configuration.sections.strategies.scheduled.runs) == 1
    assert {f"reconciliation.{name}" for name in ReconciliationConfig.model_fields} - set(manager.asked) == {
        "reconciliation.reconciliation_type"
    }
    assert load(environ={}, manager={SIZE: 9}).value(SIZE) == 9


def test_either_name_of_the_type_is_understood_and_both_at_once_are_not(tmp_path: Path) -> None:
    for name in ("default_type", "reconciliation_type"):
        assert load(written(tmp_path, {"reconciliation": {name: "delta"}}), None, {}).sections.reconciliation == (
            ReconciliationConfig(reconciliation_type="delta")
        )
        assert ReconciliationConfig.model_validate({name: "delta"}).reconciliation_type == "delta"
        assert load(environ={f"STREAM_RECON_RECONCILIATION__{name.upper()}": "delta"}).value(
            "reconciliation.default_type"
        )
    with pytest.raises(ValueError, match="the same"):
        ReconciliationConfig.model_validate({"default_type": "full", "reconciliation_type": "full"})


# -- changes ----------------------------------------------------------------------------------------------------------


def test_a_change_that_is_refused_leaves_all_as_it_was() -> None:
    before = defaults().changed({SIZE: 5})
    rows, digest = before.rows(), before.digest
    said = problems(lambda: before.changed({"reconciliation.timeout_seconds": 60, SIZE: 0}))
    assert said == (f"{SIZE} (dynamic version 2): must be a whole number from 1 to 100000, but is 0",)
    assert (before.rows(), before.digest, before.version) == (rows, digest, 1)
    assert before.changed({"reconciliation.timeout_seconds": 60}).version == 2


def test_each_change_is_a_version_and_can_be_taken_back() -> None:
    first = load(environ={VARIABLE: "50"}).changed({SIZE: "5", "auto_resolution.budget.USDT": Decimal(100)})
    second = first.changed({"auto_resolution.budget.USDT": Decimal("100.50"), "severity.absolute.BTC.dust": "1"})
    assert (first.source(SIZE), second.source(SIZE)) == ("dynamic version 1", "dynamic version 1")
    assert second.source("auto_resolution.budget.USDT") == "dynamic version 2"
    assert second.sections.auto_resolution.budget == {"USDT": "100.5"}
    back = second.changed({SIZE: None, "severity.absolute": None})
    assert (back.value(SIZE), back.source(SIZE), back.version) == (50, f"environment {VARIABLE}", 3)
    assert back.sections.severity.absolute == {}
    assert back.changed({SIZE: 5}, version=9).source(SIZE) == "dynamic version 9"


def test_the_digest_is_that_of_the_values_wherever_they_come_from(tmp_path: Path) -> None:
    by_file = load(written(tmp_path, {"reconciliation": {"max_discrepancy_threshold": 0.5}}), None, {})
    by_command = defaults().changed({"reconciliation.max_discrepancy_threshold": "0.50"})
    assert by_file.digest == by_command.digest != defaults().digest
    assert load(environ={"STREAM_RECON_AUDIT__URL": "x://u:one@h"}).digest == (
        load(environ={"STREAM_RECON_AUDIT__URL": "x://u:other@h"}).digest
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "nothing is set"),
        ({"security.require_signatures": False}, "cannot be set while it runs: write it in the file"),
        ({"security": {}}, "cannot be set while it runs"),
        ({"audit.url": "x"}, "cannot be set while it runs"),
        ({"reconciliation.bach_size": 5}, "there is no key 'bach_size' here; did you mean batch_size?"),
        ({"batch_size": 5}, "there is no key 'batch_size' here"),
        ({"environments.production.on_unsupported": "reject"}, "there is no key 'environments' here"),
        ({SIZE + ".x": 5}, "is a value"),
        ({"severity.absolute.BTC": 5}, "must be a section with dust, critical, but is 5"),
        ({"reconciliation.auto_resolve_threshold": "0.5"}, "lower the one or raise the other"),
        ({"strategies.full.auto_resolve_threshold": "0.5"}, "strategies.full: auto_resolve_threshold (0.5) is above"),
    ],
)
def test_what_cannot_be_set_says_why(values: dict[str, Any], says: str) -> None:
    [problem] = problems(lambda: defaults().changed(values))
    assert says in problem


def test_a_changed_file_keeps_its_place_and_says_what_overrides_it(tmp_path: Path) -> None:
    path = written(tmp_path, {"reconciliation": {"batch_size": 5, "retry_attempts": 1}})
    variable = "STREAM_RECON_RECONCILIATION__RETRY_ATTEMPTS"
    before = load(path, None, {variable: "2"}).changed({SIZE: 6})
    assert before.reloaded() is before
    written(tmp_path, {"reconciliation": {"batch_size": 7, "retry_attempts": 3, "timeout_seconds": 9}})
    after = before.reloaded()
    config = after.config_for("full")
    assert (after.version, config.batch_size, config.retry_attempts, config.timeout_seconds) == (2, 6, 2, 9)
    assert after.shadowed(before) == [
        f"{SIZE} has changed in {path}, but dynamic version 1 sets it: it stays 6",
        f"reconciliation.retry_attempts has changed in {path}, but environment {variable} sets it: it stays 2",
    ]
    assert after.changed({SIZE: None}).value(SIZE) == 7


def test_a_file_that_breaks_beside_what_was_set_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, {"reconciliation": {"max_discrepancy_threshold": 0.5}})
    before = load(path, None, {}).changed({"reconciliation.auto_resolve_threshold": "0.4"})
    written(tmp_path, {"reconciliation": {"max_discrepancy_threshold": 0.1}})
    [problem] = problems(before.reloaded)
    assert "auto_resolve_threshold (0.4) is above max_discrepancy_threshold (0.1)" in problem
    assert before.value("reconciliation.max_discrepancy_threshold") == Decimal("0.5")


# -- what is not allowed ----------------------------------------------------------------------------------------------

FORM = "minute hour day-of-month month day-of-week, such as '30 4 * * 1-5'"
BAD: list[tuple[Any, str]] = [
    ({"reconciliation": {"bach_size": 1}}, "reconciliation: there is no key 'bach_size' here; did you mean batch_siz"),
    ({"reconciliation": {"zzz": 1}}, "reconciliation: there is no key 'zzz' here; there are default_type, max_"),
    ({"reconcilation": {}}, "there is no key 'reconcilation' here; did you mean reconciliation?"),
    ({"zzz": 1}, "security, audit, environments"),
    ({"reconciliation": {"batch_size": 0}}, "must be a whole number from 1 to 100000, but is 0"),
    ({"reconciliation": {"batch_size": "many"}}, "must be a whole number from 1 to 100000, but is 'many'"),
    ({"reconciliation": {"batch_size": True}}, "must be a whole number from 1 to 100000, but is true"),
    ({"reconciliation": {"batch_size": 1.5}}, "must be a whole number from 1 to 100000, but is 1.5"),
    ({"reconciliation": {"batch_size": None}}, "is empty; it must be a whole number from 1 to 100000, or the key left"),
    ({"reconciliation": {"batch_size": [1]}}, "must be a whole number from 1 to 100000, but is a list"),
    ({"reconciliation": {"enable_alerts": "perhaps"}}, "must be true or false, but is 'perhaps'"),
    ({"reconciliation": {"default_type": 5}}, "default_type (file recon.yaml): must be a reconciliation type, such as"),
    ({"reconciliation": {"default_type": ""}}, "must be a reconciliation type, such as full, but is ''"),
    ({"reconciliation": {"max_discrepancy_threshold": float("nan")}}, "must be a number from 0 to 1, but is 'nan'"),
    ({"reconciliation": {"max_discrepancy_threshold": float("inf")}}, "must be a number from 0 to 1, but is 'inf'"),
    ({"reconciliation": {"max_discrepancy_threshold": 1.01}}, "must be a number from 0 to 1, but is 1.01"),
    ({"reconciliation": {"auto_resolve_threshold": -0.1}}, "must be a number from 0 to 1, but is -0.1"),
    ({"reconciliation": {"auto_resolve_threshold": False}}, "must be a number from 0 to 1, but is false"),
    ({"reconciliation": {"auto_resolve_threshold": 0.5}}, "(0.5) is above max_discrepancy_threshold (0.01): what is "),
    ({"reconciliation": 5}, "reconciliation: must be a section with default_type, max_discrepancy_threshold"),
    ({"strategies": {"fulll": {}}}, "strategies: there is no key 'fulll' here; did you mean full?"),
    ({"strategies": {"full": {"window_minutes": 1}}}, "strategies.full: there is no key 'window_minutes' here"),
    ({"strategies": {"delta": {"window_seconds": 0}}}, "strategies.delta.window_seconds (file recon.yaml): must be a"),
    ({"strategies": {"real_time": {"window_minutes": 0}}}, "must be a whole number from 1 to"),
    ({"strategies": {"emergency": {"deadline_seconds": "soon"}}}, "must be a whole number from 1 to 3600, but is 'so"),
    ({"strategies": {"full": {"auto_resolve_threshold": 0.5}}}, "strategies.full: auto_resolve_threshold (0.5) is ab"),
    ({"severity": {"absolute": {"BTC": {"dust": 0.1}}}}, "a plain decimal in quotes, such as '0.01'"),
    ({"severity": {"absolute": {"BTC": {"dust": "-1"}}}}, "a plain decimal in quotes, such as '0.01'"),
    ({"severity": {"absolute": {"BTC": {"dust": "1", "critical": "1"}}}}, "dust (1) must be below critical (1)"),
    ({"severity": {"absolute": {"BTC": "1"}}}, "severity.absolute.BTC: must be a section with dust, critical, but is"),
    ({"severity": {"absolute": {"": {"dust": "1"}}}}, "severity.absolute: '' cannot be a name here"),
    ({"severity": {"absolute": {False: {"dust": "1"}}}}, "a name must be text, but is false; write it in quotes"),
    ({"severity": {"age_limit_minutes": {"fatal": 1}}}, "there are critical, warning, info"),
    ({"auto_resolution": {"budget": {"USDT": 1.5}}}, "a plain decimal in quotes"),
    ({"on_unsupported": "refuse"}, "must be one of fallback, reject, but is 'refuse'"),
    ({"security": {"require_signatures": True}}, "require_signatures without keys refuses every command"),
    ({"security": {"keys": {"a": {"issuer": "me"}}}}, "security.keys.a.public_key: is missing; it must be text"),
    ({"security": {"roles": {"clerk": ["recncile"]}}}, "there is no command 'recncile'; did you mean reconcile?"),
    ({"security": {"keys": {"a": {"public_key": "k", "issuer": "i", "roles": ["boss"]}}}}, "there is no role 'boss'"),
    ({"security": {"keys": {"a": {"public_key": "k", "issuer": "i"}}}}, "security.keys.a: neither PEM nor base64"),
    ({"audit": {"url": ["x"]}}, "must be text, but is a list"),
    ({"audit": {"url": {"password": "x"}}}, "must be text, but is a section"),
    ([], "must be sections (reconciliation, strategies"),
    ("reconciliation", "must be sections (reconciliation, strategies"),
    ("", "is empty; write at least one section"),
    ("reconciliation: [", "not valid yaml"),
    ("on_unsupported: reject\non_unsupported: fallback\n", "'on_unsupported' is given twice"),
    ({"environments": []}, "environments: must be sections"),
    ({"environments": ["production"]}, "environments: must be sections"),
    ({"environments": {"other": {"reconciliation": {"bach_size": 1}}}}, "(file recon.yaml environments.other)"),
    ({"environments": {"other": {"reconciliation": {"batch_size": 0}}}}, "batch_size (file recon.yaml environments.o"),
    ({"environments": {"other": {"environments": {}}}}, "there is no key 'environments' here"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "says"), BAD)
def test_a_value_that_is_not_allowed_is_told_with_its_place(tmp_path: Path, content: Any, says: str) -> None:
    said = problems(lambda: load(written(tmp_path, content), None, {}))
    assert any(says in problem for problem in said), said
    assert not [word for word in ("Input should", "pydantic", "validation error") if word in "\n".join(said)]


RUN = {"cron": "0 4 * * *"}
BAD_RUNS: list[tuple[Any, str]] = [
    ({}, "runs[0].cron (file recon.yaml): is missing; it must be a cron expression: minute hour"),
    ({"cron": "0 4 * *"}, f"'0 4 * *' is no cron expression: it must have five fields, {FORM}"),
    ({"cron": "0 0 4 * * *"}, "it must have five fields"),
    ({"cron": "@daily"}, "it must have five fields"),
    ({"cron": "61 4 * * *"}, "is no cron expression that ever comes: look at its minute"),
    ({"cron": "0 0 30 2 *"}, "is no cron expression that ever comes: look at its day-of-month"),
    ({"cron": "0 0 31 4,6,9,11 *"}, "is no cron expression that ever comes: look at its day-of-month"),
    ({"cron": 5}, "must be a cron expression"),
    ({**RUN, "timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone that is known here; give UTC or a name such"),
    ({**RUN, "timezone": "../../etc/passwd"}, "is no time zone that is known here"),
    ({**RUN, "timezone": ""}, "is no time zone that is known here"),
    ({**RUN, "type": "scheduled"}, "give the type it is to run, such as full"),
    ({**RUN, "accounts": []}, "must be a list of at least 1, each an account, as `venue|account_id`, but is an empty"),
    ({**RUN, "accounts": ["desk"]}, "accounts[0] (file recon.yaml): must be an account, as `venue|account_id`, but is"),
    ({**RUN, "accounts": "binance|desk"}, "must be a list of at least 1"),
    ({**RUN, "params": {"batch": 5}}, "params (file recon.yaml): there is no key 'batch' here; did you mean batch_si"),
    ({**RUN, "params": {"batch_size": 0}}, "params.batch_size (file recon.yaml): must be a whole number from 1 to"),
    ({**RUN, "params": {"auto_resolve_threshold": 0.5}}, "runs[0].params: auto_resolve_threshold (0.5) is above"),
    ({**RUN, "corn": "x"}, "there is no key 'corn' here; did you mean cron?"),
    ("0 4 * * *", "must be a section with cron, timezone, type, accounts, params"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "says"), BAD_RUNS)
def test_a_schedule_that_cannot_be_kept_is_refused(tmp_path: Path, run: Any, says: str) -> None:
    content = {"strategies": {"scheduled": {"runs": [run]}}}
    said = problems(lambda: load(written(tmp_path, content), None, {}))
    assert any(says in problem for problem in said), said


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            {VARIABLE: "many"},
            f"{SIZE} (environment {VARIABLE}): must be a whole number from 1 to 100000, but is 'many'",
        ),
        (
            {"STREAM_RECON_RECONCILIATION__BACH_SIZE": "1"},
            "did you mean batch_size? (environment STREAM_RECON_RECONCIL",
        ),
        (
            {"STREAM_RECON_RECONCILATION__BATCH_SIZE": "1"},
            "did you mean reconciliation? (environment STREAM_RECON_RECON",
        ),
        (
            {"STREAM_RECON_STRATEGIES__SCHEDULED__RUNS": "[{"},
            "not valid JSON, as a section or a list has to be (environm",
        ),
        ({"STREAM_RECON_SEVERITY": '{"absolut": {}}'}, "did you mean absolute? (environment STREAM_RECON_SEVERITY)"),
        ({"STREAM_RECON_AUDIT": "5"}, "audit: must be a section with url, but is 5 (environment STREAM_RECON_AUDIT)"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variables: dict[str, str], says: str) -> None:
    [problem] = problems(lambda: load(environ=variables))
    assert says in problem


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"batch_size": 0}, "batch_size: must be a whole number from 1 to 100000, but is 0 (parameter)"),
        ({"bach_size": 1}, "did you mean batch_size? (parameter)"),
        ({"auto_resolve_threshold": "0.5"}, "is above max_discrepancy_threshold (0.01)"),
    ],
)
def test_the_parameters_of_a_command_are_validated_beside_the_rest(params: dict[str, Any], says: str) -> None:
    [problem] = problems(lambda: defaults().config_for("full", params))
    assert says in problem


def test_an_environment_that_is_not_in_the_file_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    assert "has no environment 'prodution'; did you mean production?" in problems(lambda: load(EXAMPLE, "prodution"))[0]
    path = written(tmp_path, {"on_unsupported": "reject"})
    assert "it has none" in problems(lambda: load(path, "production", {}))[0]
    assert "without a configuration file" in problems(lambda: load(None, "production", {}))[0]
    assert "No such file" in problems(lambda: load(tmp_path / "nowhere.yaml", None, {}))[0]


def test_the_password_of_a_url_is_never_told(tmp_path: Path) -> None:
    path = written(tmp_path, {"reconciliation": {"batch_size": "postgresql://me:secret@there/db"}})
    [problem] = problems(lambda: load(path, None, {}))
    assert "me:***@there" in problem


def test_a_type_that_is_not_known_is_allowed_and_doubted() -> None:
    configuration = defaults().changed({
        "reconciliation.default_type": "ful", "strategies.scheduled.runs": [{**RUN, "type": "zzz"}],
    })  # fmt: skip
    first, second = doubts(configuration.sections)
    assert "there is no type 'ful' here, and another one is run in its place; did you mean full?" in first
    assert second.startswith("strategies.scheduled.runs[0].type: there is no type 'zzz' here")
    assert doubts(defaults().sections) == []


# -- what it does, and what is written about it -----------------------------------------------------------------------


def test_a_lane_is_tuned_by_what_is_configured_for_real_time() -> None:
    configuration = defaults().changed({
        "reconciliation.max_discrepancy_threshold": "0.5", "strategies.real_time.auto_resolve_threshold": "0.2",
        "reconciliation.enable_alerts": False, "severity.absolute.BTC.critical": "3",
        "severity.age_limit_minutes.critical": 15, "strategies.delta.window_seconds": 60,
    })  # fmt: skip
    rules = rules_of(configuration.sections, Instruments())
    assert (rules.thresholds.critical, rules.thresholds.warning) == (Decimal("0.5"), Decimal("0.2"))
    assert rules.thresholds.absolute == {"BTC": AbsoluteLimits(None, Decimal(3))}
    assert (rules.age_limit_us, rules.window_us, rules.enable_alerts) == ({"critical": 900_000_000}, 60_000_000, False)
    assert rules_of(configuration.sections, Instruments(), window_s=0).window_us == 0
    assert rules_of(configuration.sections, Instruments(), type_name="full").thresholds.warning == Decimal("0.001")


def test_who_may_give_commands_is_what_the_section_security_says() -> None:
    variables = {"STREAM_RECON_SECURITY__MAX_AGE_HOURS": "2", "STREAM_RECON_SECURITY__UNSIGNED_ROLES": '["viewer"]'}
    policy = Governing(load(environ=variables)).policy
    assert (policy.max_age_us, policy.unsigned_roles) == (2 * HOUR_US, ("viewer",))
    assert Governing(defaults()).policy == Policy()


def test_the_example_holds_in_both_of_its_environments() -> None:
    assert environments_of(EXAMPLE) == ["development", "production"]
    development, production = (load(EXAMPLE, name, {}).sections for name in ("development", "production"))
    assert development.audit.url is not None
    assert development.audit.url.startswith("sqlite:")
    assert not development.severity.absolute
    assert production.audit.url is not None
    assert production.audit.url.startswith("postgresql+psycopg:")
    assert {"BTC", "USDT"} <= {asset for asset, of in production.severity.absolute.items() if of.critical}
    policy = production.security.policy()
    assert policy.require_signatures
    assert policy.keys
    assert doubts(production) == []


def test_the_page_has_every_key_as_the_code_has_it() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    made = page.split("<!-- what follows is what `stream-recon config reference` prints -->\n")[1]
    assert made.strip() == table().strip(), "put in what `stream-recon config reference` prints"
    told = {entry.key for entry in entries()}
    assert all(entry.effect for entry in entries())
    shown = {row.key for row in defaults().rows()}
    assert shown <= told


def test_variables_and_files_reach_the_same_keys() -> None:
    for path in values_of(Sections()):
        if path[-1] in {"runs", "unsigned_roles"}:
            continue
        name = f"STREAM_RECON_{'__'.join(path).upper()}"
        assert environment_layer({name: "1"}).values == {path: "1"}
    assert environment_layer({"STREAM_RECON_SEVERITY__ABSOLUTE__wBTC__DUST": "1"}).values == {
        ("severity", "absolute", "wBTC", "dust"): "1"
    }


def test_rows_are_json(tmp_path: Path) -> None:
    configuration: Configuration = load(EXAMPLE, "production", {})
    path = written(tmp_path, json.dumps([row._asdict() for row in configuration.rows()]))
    assert len(json.loads(path.read_text())) == len(configuration.rows())
    assert Layer("x", {}).source_of(("a",)) == "x"
