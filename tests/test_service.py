"""The Python API without Kafka: what serves as a source and a configuration, what fails and how that is told."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.audit.local import RESULTS
from stream_recon.audit.store import AuditStore
from stream_recon.cli.options import load_contracts, load_instruments
from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.layers import ConfigurationError
from stream_recon.service import ReconciliationService, ReconciliationStrategyFactory
from stream_recon.shell import metrics
from stream_recon.sources import JsonLines, Records
from tests.lanes import SECOND, fill
from tests.told import recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from stream_recon.domain.results import ReconciliationResult

PROMPT = Contracts(
    contracts=tuple(FeedContract(origin=o, grace_us=SECOND, order_within_us=0) for o in ("internal", "exchange"))
)
HOUR_S = 3600


def told(origin: Any, *fills: dict[str, Any]) -> list[dict[str, Any]]:
    """Fills of one side; without any, one that both have."""
    return [fill(origin, "both"), *fills]


def service(
    config: Any = None, *, internal: Any = None, exchange: Any = None, contracts: Contracts = PROMPT, **more: Any
) -> ReconciliationService:
    """A service over two sides, which agree unless something else is given."""
    return ReconciliationService(
        config, internal=Records(told("internal")) if internal is None else internal,
        exchange=Records(told("exchange")) if exchange is None else exchange, contracts=contracts, **more,
    )  # fmt: skip


def perform(kind: str | None = None, config: Any = None, **more: Any) -> ReconciliationResult:
    """Run it."""
    given = {name: more.pop(name) for name in ("accounts", "cut_us") if name in more}
    return asyncio.run(service(config, **more).perform_reconciliation(kind, **given))


ONE_MISSING = Records(told("internal", fill("internal", "ours", 1)))


# -- sources ----------------------------------------------------------------------------------------------------------


class Asynchronous:
    """A source of somebody else's, all of it async."""

    def __init__(self, lines: list[Any]) -> None:
        self.lines = lines

    async def is_connected(self) -> bool:
        """Whether it can be read."""
        return True

    async def read(self, scope: Any, cut: Any) -> AsyncIterator[Any]:
        """Its records."""
        del scope, cut
        for line in self.lines:
            await asyncio.sleep(0)
            yield line


class Attribute:
    """A source that says by an attribute that it is connected, and gives lists."""

    is_connected = True

    def __init__(self, lines: list[Any]) -> None:
        self.lines = lines

    async def read(self, scope: Any, cut: Any) -> list[list[Any]]:
        """Its records."""
        del scope, cut
        return [self.lines]


@pytest.mark.parametrize("kind", [Asynchronous, Attribute, Records])
@pytest.mark.parametrize(
    "form", [lambda each: each, msgspec.json.encode, lambda each: msgspec.json.encode(each).decode()]
)
def test_anything_that_can_be_asked_and_read_is_a_source(kind: Any, form: Any) -> None:
    lines = [form(each) for each in told("internal", fill("internal", "ours", 1))]
    result = perform(internal=kind(lines))
    assert (result.status, result.summary.by_kind) == ("completed", {"missing_exchange": 1})


def test_a_source_may_leave_out_whose_it_is() -> None:
    lines = [{name: value for name, value in each.items() if name != "origin"} for each in told("internal")]
    assert perform(internal=Records(lines)).summary.by_verdict["MATCHED"] == 2


def test_files_are_sources(tmp_path: Path) -> None:
    for origin in ("internal", "exchange"):
        (tmp_path / origin).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in told(origin)))
    result = perform(internal=JsonLines(tmp_path / "internal"), exchange=JsonLines(tmp_path / "exchange"))
    assert (result.status, result.discrepancies_found, result.total_records_processed) == ("completed", 0, 2)
    assert result.certificate is not None
    assert [cut.topic for cut in result.certificate.topics] == ["exchange", "internal"]


# -- what fails -------------------------------------------------------------------------------------------------------


class Flaky:
    """Fails so many times in the middle, and then works."""

    def __init__(self, times: int, lines: list[Any]) -> None:
        self.left, self.lines = times, lines

    def is_connected(self) -> bool:
        """Whether it can be read."""
        return True

    def read(self, scope: Any, cut: Any) -> Iterator[Any]:
        """Its records."""
        del scope, cut
        yield self.lines[0]
        if self.left:
            self.left -= 1
            raise ConnectionError("the line is dead")
        yield from self.lines[1:]


def test_what_fails_in_the_middle_is_tried_again_and_counts_once() -> None:
    retries = metrics.RETRIES.labels("full")._value.get()
    result = perform(internal=Flaky(2, told("internal", fill("internal", "ours", 1))), config={"retry_attempts": 2})
    assert (result.status, result.discrepancies_found, result.total_records_processed) == ("completed", 1, 3)
    assert metrics.RETRIES.labels("full")._value.get() == retries + 2


def test_what_goes_on_failing_is_failed_and_never_clean() -> None:
    failed = metrics.RUNS.labels("full", "failed")._value.get()
    result = perform(internal=Flaky(9, told("internal")), config={"retry_attempts": 1})
    assert result.status == "failed"
    assert result.errors == [
        "internal failed after 1 records: ConnectionError: the line is dead", "given up after 2 attempts",
    ]  # fmt: skip
    assert metrics.RUNS.labels("full", "failed")._value.get() == failed + 1


class Gone:
    """Is not there."""

    name = "books"

    def is_connected(self) -> bool:
        """Whether it can be read."""
        return False

    def read(self, scope: Any, cut: Any) -> Iterator[Any]:
        """Nobody may."""
        del scope, cut
        raise AssertionError("it must not be read")


def test_a_source_that_is_not_connected_is_told_and_not_read() -> None:
    result = perform(internal=Gone(), config={"retry_attempts": 0})
    assert result.status == "failed"
    assert result.errors[0] == "internal (books) is not connected"


class Slow(Asynchronous):
    """Takes its time."""

    async def read(self, scope: Any, cut: Any) -> AsyncIterator[Any]:
        """Its records."""
        del scope, cut
        yield self.lines[0]
        await asyncio.sleep(60)


def test_a_run_that_takes_too_long_is_failed() -> None:
    result = perform(internal=Slow(told("internal")), config={"timeout_seconds": 1, "retry_attempts": 0})
    assert result.errors[0] == "it was not done within timeout_seconds (1)"


def test_no_records_are_no_agreement() -> None:
    result = perform(internal=Records([]), exchange=Records([]))
    assert result.status == "partial"
    assert result.notes == ["nothing was compared: nobody has reported any fills, orders, positions, balances"]


@pytest.mark.parametrize(("kind", "lacking"), [("balance_only", "balances"), ("position_only", "positions")])
def test_fills_alone_say_nothing_of_positions_and_balances(kind: str, lacking: str) -> None:
    result = perform(kind)
    assert (result.status, result.notes) == ("partial", [f"nothing was compared: nobody has reported any {lacking}"])
    assert result.summary.by_verdict["MATCHED"] == 0
    assert not result.is_clean
    assert perform("full").summary.not_reported == ["order", "position", "balance"]
    assert perform("full").is_clean


def test_what_cannot_be_understood_makes_a_run_partial() -> None:
    result = perform(internal=Records([*told("internal"), b'{"type":"fill"']))
    assert result.status == "partial"
    [note] = result.notes
    assert note.startswith("1 records could not be understood; the first: internal: records, line 2: not_json: ")


def test_an_account_that_does_not_exist_and_an_empty_list_are_told() -> None:
    result = perform(accounts=["venue|bob"])
    assert result.status == "partial"
    assert "account venue|bob is in neither source" in result.notes
    result = perform(accounts=[])
    assert result.status == "failed"
    assert "name at least one" in result.errors[0]


@pytest.mark.parametrize("accounts", ["binance|desk-1", b"binance|desk-1", 5])
def test_accounts_are_a_list(accounts: Any) -> None:
    with pytest.raises(ValueError, match=r"give a list of accounts, such as \['binance\|desk-1'\]"):
        perform(accounts=accounts)


@pytest.mark.parametrize("name", ["desk-1", "binance|", "a|b|c", 7])
def test_an_account_has_its_venue(name: Any) -> None:
    with pytest.raises(ValueError, match=r"accounts: .*: an account is venue\|account_id"):
        perform(accounts=["binance|desk-1", name])


class Unreadable:
    """Something that is no source."""

    is_connected = True


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        (None, "exchange=None is no source"),
        (Unreadable(), r"exchange=a Unreadable without read\(scope, cut\) is no source"),
        ([], r"exchange=a list without is_connected and read\(scope, cut\) is no source"),
    ],
)
def test_what_is_no_source_is_refused_at_once(source: Any, lacks: str) -> None:
    with pytest.raises(TypeError, match=lacks):
        ReconciliationService(internal=ONE_MISSING, exchange=source)
    if source is not None:
        with pytest.raises(TypeError, match=lacks):
            ReconciliationStrategyFactory.create_strategy(internal=ONE_MISSING, exchange=source)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (7, "internal: records, record 2: int 7 is no event"),
        ([None], "internal: records, record 2: None is no event"),
        ({"ts_us": object()}, "internal: records, record 2: it holds what JSON does not have"),
    ],
)
def test_something_that_is_no_event_fails_the_run_and_is_told_and_not_tried_again(thing: Any, says: str) -> None:
    before = retries()
    result = perform("full", internal=Records([*told("internal"), thing]))
    assert result.status == "failed"
    [error] = result.errors
    assert error.startswith(says)
    assert error.endswith("give events as dicts, as lines of JSON (text or bytes), or as lists of either")
    assert retries() == before


def test_a_source_that_gives_nothing_to_go_through_is_told() -> None:
    class Forgetful(Attribute):
        """Its `read` returns nothing."""

        async def read(self, scope: Any, cut: Any) -> Any:
            """Nothing at all."""

    [error] = perform(internal=Forgetful([])).errors
    assert error.startswith("internal: read() gave None, not something with records in it")


def retries() -> float:
    """How often a full was tried again."""
    return float(metrics.RETRIES.labels("full")._value.get())


# -- types ------------------------------------------------------------------------------------------------------------


def test_a_type_that_is_not_supported_falls_back_and_the_result_the_log_and_a_metric_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fallbacks = metrics.FALLBACKS.labels("trade_only")._value.get()
    with caplog.at_level(logging.WARNING):
        result = perform("hourly", {"reconciliation_type": "trade_only"})
    assert (result.type, result.requested_type, result.status) == ("trade_only", "hourly", "completed")
    assert "'hourly' is not a supported reconciliation type" in str(result.fallback_reason)
    assert "runs trade_only instead of hourly" in caplog.text
    assert metrics.FALLBACKS.labels("trade_only")._value.get() == fallbacks + 1


def test_falling_back_can_be_switched_off() -> None:
    result = perform("hourly", on_unsupported="reject")
    assert result.status == "failed"
    assert "supported: full" in result.errors[0]
    assert perform("hourly", Manager({"reconciliation.on_unsupported": "reject"})).status == "failed"


class Manager:
    """What people have as a configuration manager."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, key: str, default: Any = None) -> Any:
        """One value."""
        return self.values.get(key, default)


def test_any_object_with_get_is_a_configuration() -> None:
    manager = Manager({"reconciliation.default_type": "trade_only", "reconciliation.batch_size": "7"})
    result = perform(config=manager)
    assert result.type == "trade_only"
    assert result.certificate is not None
    assert result.certificate.config["batch_size"] == 7
    run = ReconciliationStrategyFactory.create_strategy(manager)
    assert run.get_strategy_name() == "trade_only"


def test_a_configuration_that_is_not_valid_is_refused_before_anything_is_read() -> None:
    for wrong in ({"max_discrepancy_threshold": 1.5}, {"auto_resolve_threshold": "NaN"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            perform(config=wrong, internal=Gone())
    with pytest.raises(ConfigurationError, match=r"^there is no key 'batchsize' here; did you mean batch_size\?$"):
        perform(config={"batchsize": 5})
    with pytest.raises(
        ConfigurationError, match=r"^reconciliation.batch_size: must be a whole number from 1 to 100,?000"
    ):
        perform(config=Manager({"reconciliation.batch_size": "many"}))
    with pytest.raises(TypeError, match="is a ReconciliationConfig or has"):
        perform(config=object())


# -- each of the nine fields has an effect ----------------------------------------------------------------------------


def differing(price: str) -> Records:
    """The fill that both have, at another price."""
    return Records([fill("internal", "both", price=price)])


def test_reconciliation_type_is_what_is_run() -> None:
    assert perform(config={"reconciliation_type": "balance_only"}).type == "balance_only"


def test_max_discrepancy_threshold_makes_a_difference_critical() -> None:
    for threshold, critical in (("0.01", 1), ("0.2", 0)):
        result = perform(internal=differing("1.6"), config={"max_discrepancy_threshold": threshold})
        assert result.summary.critical_issues == critical


def test_auto_resolve_threshold_makes_a_difference_no_persons_matter() -> None:
    for threshold, for_a_person in (("0.001", 1), ("0.1", 0)):
        config = {"auto_resolve_threshold": threshold, "max_discrepancy_threshold": "0.5"}
        assert perform(internal=differing("1.6"), config=config).manual_resolution_required == for_a_person


def test_include_pending_trades_lists_what_is_inside_grace() -> None:
    for include, pending in ((True, 1), (False, 0)):
        result = perform("emergency", {"include_pending_trades": include}, internal=ONE_MISSING)
        assert (result.summary.pending, result.summary.by_verdict["INDETERMINATE"]) == (pending, pending)


def test_historical_lookback_hours_leaves_out_what_is_older() -> None:
    late = Records(told("internal", fill("internal", "new", 30 * HOUR_S)))
    for hours, found in ((24, 1), (48, 2)):
        both = Records([fill("exchange", "old")])
        result = perform(internal=late, exchange=both, config={"historical_lookback_hours": hours})
        assert result.summary.by_kind.get("missing_exchange", 0) == found


def test_enable_alerts_says_whether_anybody_is_notified() -> None:
    for enable in (True, False):
        result = perform(internal=ONE_MISSING, config={"enable_alerts": enable})
        assert [each.notify for each in result.discrepancies] == [enable]


def test_batch_size_is_how_much_is_read_at_once() -> None:
    for size, reads in ((1, 3), (3, 1)):
        lines = told("internal", fill("internal", "1", 1), fill("internal", "2", 2))
        run = ReconciliationStrategyFactory.create_strategy(
            {"batch_size": size}, "full", internal=Records(lines), exchange=Records(told("exchange"))
        )
        asyncio.run(run.execute_reconciliation())
        assert run.comparison is not None
        assert run.comparison.steps == reads + 1


def test_timeout_seconds_ends_a_run() -> None:
    result = perform(internal=Slow(told("internal")), config={"timeout_seconds": 1, "retry_attempts": 0})
    assert result.status == "failed"


def test_retry_attempts_is_how_often_it_is_tried_again() -> None:
    for attempts, status in ((1, "failed"), (2, "completed")):
        result = perform(internal=Flaky(2, told("internal")), config={"retry_attempts": attempts})
        assert result.status == status


# -- audit ------------------------------------------------------------------------------------------------------------


def test_results_are_kept_in_a_chain(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    for _ in range(2):
        assert perform(audit=url).status == "completed"
    assert perform(internal=Flaky(9, told("internal")), config={"retry_attempts": 0}, audit=url).status == "failed"
    assert AuditStore(url).heads()[RESULTS].entries == 3


def test_a_run_whose_audit_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = perform(audit=f"sqlite:///{tmp_path}/file/audit.db", config={"retry_attempts": 0}, internal=Gone())
    assert result.status == "failed"
    assert "the audit store cannot be written to" in result.errors


def test_a_recording_from_python_is_what_it_is_from_the_command_line() -> None:
    result = asyncio.run(recorded("hyperliquid").service(ReconciliationConfig()).perform_reconciliation())
    assert result.summary.net_amounts == {"@107": "-195.98118408"}


def test_what_follows_from_known_causes_is_not_told_as_unexplained() -> None:
    day = Path(__file__).parents[1] / "examples" / "day"
    result = perform(
        "full", internal=JsonLines(day / "internal.jsonl"), exchange=JsonLines(day / "exchange.jsonl"),
        contracts=load_contracts(day / "contracts.yaml"), instruments=load_instruments(day / "instruments.json"),
    )  # fmt: skip
    assert result.summary.explained == 7  # among them both balances: a fill, a fee and a deposit say why
    assert result.summary.net_amounts == {"ETH-PERP": "0.5"}
