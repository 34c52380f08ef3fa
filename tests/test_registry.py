"""The registry of reconciliation types."""

from __future__ import annotations

import pytest

from stream_recon.domain.types import ReconciliationType
from stream_recon.strategies.registry import strategy_of


def test_real_time_runs_without_being_asked_and_compares_trades() -> None:
    strategy = strategy_of("real_time")
    assert strategy.type is ReconciliationType.REAL_TIME
    assert strategy.continuous
    assert strategy.identities == ("trade",)


def test_delta_runs_without_being_asked_and_compares_net_changes() -> None:
    strategy = strategy_of("delta")
    assert strategy.continuous
    assert strategy.identities == ("net_change",)


@pytest.mark.parametrize("name", ["full", "REAL_TIME", ""])
def test_a_type_that_cannot_be_made_is_refused_with_those_that_can(name: str) -> None:
    with pytest.raises(ValueError, match="supported: real_time, delta"):
        strategy_of(name)
