"""The registry of reconciliation types."""

from __future__ import annotations

import pytest

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.types import ReconciliationType
from stream_recon.strategies.registry import FULL, HOUR_US, NINE, NotSupportedError, Registry, choose, registry

KNOWN = Registry({strategy.type: strategy for strategy in NINE}, {})


def test_all_nine_types_can_be_made() -> None:
    assert registry().supported()[:9] == [kind.value for kind in (
        ReconciliationType.FULL, ReconciliationType.INCREMENTAL, ReconciliationType.DELTA,
        ReconciliationType.POSITION_ONLY, ReconciliationType.BALANCE_ONLY, ReconciliationType.TRADE_ONLY,
        ReconciliationType.REAL_TIME, ReconciliationType.SCHEDULED, ReconciliationType.EMERGENCY,
    )]  # fmt: skip
    assert set(KNOWN.known) == set(ReconciliationType)


def test_two_types_run_without_being_asked() -> None:
    assert [strategy.type for strategy in NINE if strategy.continuous] == ["delta", "real_time"]


@pytest.mark.parametrize(
    ("name", "identities", "streams"),
    [
        ("trade_only", ("trade", "order"), ("fills", "orders")),
        ("position_only", ("position",), ("fills", "balances")),
        ("balance_only", ("balance",), ("fills", "balances")),
        ("full", ("trade", "order", "position", "balance"), ("fills", "orders", "balances")),
        ("delta", ("net_change",), ("fills", "balances")),
    ],
)
def test_a_type_reads_only_what_its_identities_need(
    name: str, identities: tuple[str, ...], streams: tuple[str, ...]
) -> None:
    strategy = KNOWN.of(name)
    assert (strategy.identities, strategy.streams) == (identities, streams)


def test_nothing_is_corrected_by_what_looks_at_the_live_state() -> None:
    assert not any(strategy.resolves for strategy in NINE if strategy.cut == "live")


def test_a_run_looks_back_from_its_cut() -> None:
    config = ReconciliationConfig(historical_lookback_hours=2)
    assert FULL.scope(config, 10 * HOUR_US).from_us == 8 * HOUR_US
    assert KNOWN.of("real_time").scope(config, 10 * HOUR_US).from_us == 10 * HOUR_US - HOUR_US // 4
    assert KNOWN.of("emergency").scope(config, 10 * HOUR_US).from_us == 0
    assert FULL.scope(config, 1, ["v|b", "v|a", "v|b"]).accounts == ("v|a", "v|b")


@pytest.mark.parametrize("name", ["fulll", "REAL_TIME", ""])
def test_a_type_that_cannot_be_made_is_refused_with_those_that_can(name: str) -> None:
    with pytest.raises(ValueError, match="supported: full, incremental, delta"):
        KNOWN.of(name)


def test_what_is_not_supported_falls_back_to_the_default_and_says_so() -> None:
    choice = choose("hourly", "trade_only", fall_back=True, known=KNOWN)
    assert (choice.strategy.type, choice.requested_type) == ("trade_only", "hourly")
    assert choice.fallback_reason is not None
    assert "'hourly' is not a supported reconciliation type" in choice.fallback_reason


def test_where_the_default_cannot_be_made_either_it_is_full() -> None:
    broken = Registry(KNOWN.known, {"ours": "ImportError: no module"})
    choice = choose(None, "ours", fall_back=True, known=broken)
    assert (choice.strategy.type, choice.requested_type) == ("full", "ours")
    assert choice.fallback_reason is not None
    assert "failed to load: ImportError: no module" in choice.fallback_reason
    both = choose("mine", "ours", fall_back=True, known=broken)
    assert both.fallback_reason is not None
    assert "'mine'" in both.fallback_reason
    assert "'ours'" in both.fallback_reason


def test_falling_back_can_be_forbidden() -> None:
    with pytest.raises(NotSupportedError, match="'hourly' is not a supported"):
        choose("hourly", "full", fall_back=False, known=KNOWN)
    assert choose(None, "full", fall_back=False, known=KNOWN).strategy is FULL
