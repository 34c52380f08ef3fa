"""Each reconciliation type by itself, on the real recordings and on one with faults of every kind; and their laws.

The truth of orders, positions and balances is the oracle's; of trades it is the fault plan's, which the fold of all
records (`full`) is held against elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.instruments import Instruments
from stream_recon.service import ReconciliationStrategyFactory
from stream_recon.strategies.registry import NINE, registry
from tests.oracles.worlds import INSTRUMENTS, fill, order, position, promises
from tests.told import Told, faulty, identities_told, recorded, stated, wanted, whole

if TYPE_CHECKING:
    from stream_recon.domain.results import ReconciliationResult

RECORDINGS = ("hyperliquid", "binance_usdm")


def perform(one: Told, kind: str | None, config: Any = None, **more: Any) -> ReconciliationResult:
    result = asyncio.run(one.service(config).perform_reconciliation(kind, **more))
    assert result.errors == []
    return result


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("kind", [strategy.type for strategy in NINE])
def test_every_type_says_of_a_real_recording_what_the_oracle_says(kind: str, name: str) -> None:
    one = recorded(name)
    result = perform(one, kind)
    identities = registry().of(kind).identities
    assert result.type == kind
    assert not stated(result.discrepancies) - wanted(one, identities)
    if kind != "real_time":  # it looks at the last minutes only
        assert stated(result.discrepancies) == wanted(one, identities)
    nothing = [note for note in result.notes if note.startswith("nothing was compared")]
    assert bool(nothing) == (not identities_told(one) & {*identities})
    # Live types do not wait for what is still inside grace, and say so.
    assert result.status == ("partial" if kind == "emergency" or nothing else "completed")


def test_full_finds_in_the_recording_the_one_true_break() -> None:
    result = perform(recorded("hyperliquid"), "full")
    [found] = result.discrepancies
    assert (found.kind, found.instrument, found.residual) == ("position_mismatch", "@107", "-195.98118408")
    assert result.summary.net_amounts == {"@107": "-195.98118408"}
    assert result.summary.by_identity == {"position": 1}
    assert result.manual_resolution_required == 1


def test_full_finds_what_the_oracle_finds_amid_faults_of_every_kind() -> None:
    one = faulty()
    result = perform(one, "full")
    assert stated(result.discrepancies) == wanted(one, ("order", "position", "balance"))
    assert result.summary.by_identity["trade"] > 0
    assert result.discrepancies_found == len(result.discrepancies)
    assert result.total_records_processed == len(one.lines)


@pytest.mark.parametrize("kind", ["trade_only", "position_only", "balance_only"])
def test_a_type_for_one_identity_is_full_restricted_to_that_identity(kind: str) -> None:
    for one in (faulty(), recorded("hyperliquid"), recorded("binance_usdm")):
        full, only = perform(one, "full"), perform(one, kind)
        identities = registry().of(kind).identities
        assert whole(only) == {
            each.alert_id: whole(full)[each.alert_id] for each in full.discrepancies if each.identity in identities
        }
        assert only.total_records_processed <= full.total_records_processed


def test_a_type_that_reads_no_orders_waits_for_none_and_names_none() -> None:
    events = [fill("internal", "t1", 5, "1", order_id="o2")]
    events += [order("exchange", 8, "open", "0"), order("exchange", 10, "filled", "4")]
    events += [position("exchange", at_s, qty) for at_s, qty in ((0, "0"), (7, "1"), (20, "5"))]
    promised = promises(internal=dict.fromkeys(("orders", "positions"), "absent"), exchange={"fills": "absent"})
    one = Told(
        tuple(map(msgspec.json.encode, events)), promised, Instruments.model_validate(INSTRUMENTS), ()
    )  # fmt: skip
    (told,) = perform(one, "trade_only").discrepancies
    for kind, causes in (("full", [told.alert_id]), ("position_only", [])):
        (found,) = (each for each in perform(one, kind).discrepancies if each.identity == "position")
        assert (found.residual, found.explained_by) == ("4", causes)


def test_incremental_without_a_checkpoint_is_full_and_says_so() -> None:
    full, incremental = perform(faulty(), "full"), perform(faulty(), "incremental")
    assert whole(incremental) == whole(full)
    assert incremental.notes == ["there is no checkpoint without Kafka: it ran as full"]


def test_scheduled_is_what_it_stands_for() -> None:
    full, scheduled = perform(faulty(), "full"), perform(faulty(), "scheduled")
    assert whole(scheduled) == whole(full)
    assert scheduled.type == "scheduled"


def test_real_time_is_full_restricted_to_its_window() -> None:
    one = recorded("hyperliquid")
    newest_us = asyncio.run(_newest(one))
    for cut_us in (newest_us, newest_us - 3600 * 1_000_000, 1_737_756_000_000_000):
        live = perform(one, "real_time", cut_us=cut_us)
        full = perform(one, "full", {"historical_lookback_hours": 24 * 366}, cut_us=cut_us)
        since_us = cut_us - 15 * 60 * 1_000_000
        assert whole(live) == {
            each.alert_id: whole(full)[each.alert_id]
            for each in full.discrepancies
            if each.identity in {"trade", "order", "position"} and each.event_us >= since_us
        }
    assert len(perform(one, "real_time", cut_us=1_737_756_250_000_000).discrepancies) == 1


async def _newest(one: Told) -> int:
    run = ReconciliationStrategyFactory.create_strategy(
        None, "full", internal=one.of("internal"), exchange=one.of("exchange"), contracts=one.contracts
    )
    await run.execute_reconciliation()
    assert run.comparison is not None
    return run.comparison.heard.newest_us


def test_emergency_says_at_once_what_full_says_and_calls_the_rest_not_settled() -> None:
    emergency, full = perform(faulty(), "emergency"), perform(faulty(), "full")
    assert set(whole(emergency)) <= set(whole(full))
    emergency = perform(recorded("hyperliquid"), "emergency")
    assert emergency.status == "partial"
    assert emergency.certificate is not None
    assert emergency.certificate.unsettled


@pytest.mark.parametrize("window_us", [2_000_000, 300_000_000])
@pytest.mark.parametrize("seed", [3, 4])
def test_the_drifts_of_delta_are_the_sum_of_the_signed_residuals_of_full(seed: int, window_us: int) -> None:
    one = faulty(seed)
    run = ReconciliationStrategyFactory.create_strategy(
        None, "delta", internal=one.of("internal"), exchange=one.of("exchange"), contracts=one.contracts,
        instruments=one.instruments, window_us=window_us,
    )  # fmt: skip
    delta, full = asyncio.run(run.execute_reconciliation()), perform(one, "full")
    assert {each.identity for each in delta.discrepancies} == {"net_change"}
    drifts: Counter[tuple[str, str | None]] = Counter()
    for drift in delta.discrepancies:
        assert set(drift.explained_by) <= {each.alert_id for each in full.discrepancies}
        if drift.fields[0].field == "qty":
            assert drift.residual is not None
            drifts[drift.account, drift.instrument] += Decimal(drift.residual)  # type: ignore[assignment]
    moved: Counter[tuple[str, str | None]] = Counter()
    for each in full.discrepancies:
        moved[each.account, each.instrument] += _moved(each)  # type: ignore[assignment]
    assert {key: amount for key, amount in drifts.items() if amount} == {
        key: amount for key, amount in moved.items() if amount
    }
    assert len(drifts) > 20


def _moved(each: Any) -> Decimal:
    """What a discrepancy of a fill leaves between the sides: what the exchange has more than we do."""
    if each.identity != "trade" or each.kind == "duplicate_conflict":
        return Decimal(0)
    sides = {field.field: field for field in each.fields}
    signs = {"buy": 1, "sell": -1}
    qty = sides.get("qty")
    side = sides.get("side")

    def of(origin: str) -> Decimal:
        amount = getattr(qty, origin) if qty is not None else each.evidence[0].record["qty"]
        if amount is None:
            return Decimal(0)
        towards = getattr(side, origin) if side is not None else each.side
        return signs[towards or each.side] * Decimal(amount)

    return of("exchange") - of("internal")


def test_a_full_run_twice_over_the_same_records_is_the_same_but_for_its_id_and_times() -> None:
    one, two = (perform(faulty(), "full") for _ in range(2))
    assert one.certificate is not None
    assert two.certificate is not None
    assert one.reconciliation_id != two.reconciliation_id
    assert one.certificate.digest == two.certificate.digest
    assert whole(one) == whole(two)


def test_a_run_over_some_accounts_is_full_restricted_to_them() -> None:
    one = faulty()
    full = perform(one, "full")
    accounts = sorted({each.account for each in full.discrepancies})
    for chosen in (accounts[:1], accounts[1:4]):
        some = perform(one, "full", accounts=chosen)
        assert whole(some) == {
            each.alert_id: whole(full)[each.alert_id] for each in full.discrepancies if each.account in chosen
        }


@pytest.mark.parametrize("kind", [strategy.type for strategy in NINE])
def test_the_factory_makes_every_type(kind: str) -> None:
    one = recorded("binance_usdm")
    run = ReconciliationStrategyFactory.create_strategy(
        ReconciliationConfig(reconciliation_type=kind), internal=one.of("internal"), exchange=one.of("exchange"),
        contracts=one.contracts, instruments=one.instruments,
    )  # fmt: skip
    assert run.get_strategy_name() == kind
    result = asyncio.run(run.execute_reconciliation())
    assert (result.type, result.discrepancies_found) == (kind, 0)


def test_the_factory_refuses_what_it_cannot_make_and_says_what_it_can() -> None:
    with pytest.raises(ValueError, match="supported: full, incremental, delta, position_only, balance_only"):
        ReconciliationStrategyFactory.create_strategy({"reconciliation_type": "hourly"})
    assert ReconciliationStrategyFactory.get_supported_types()[:3] == ["full", "incremental", "delta"]
