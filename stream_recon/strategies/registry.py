"""The registry: which reconciliation types can be made, and what each is.

A strategy is a value, not a class of its own: what it compares, and whether it runs without being asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stream_recon.domain.types import ReconciliationType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_recon.domain.discrepancies import Identity


class Strategy(NamedTuple):
    """How one reconciliation type works."""

    type: ReconciliationType
    identities: tuple[Identity, ...]
    continuous: bool
    """Runs in every worker, record by record, without being asked."""


REAL_TIME = Strategy(ReconciliationType.REAL_TIME, identities=("trade",), continuous=True)
DELTA = Strategy(ReconciliationType.DELTA, identities=("net_change",), continuous=True)

REGISTRY: Mapping[ReconciliationType, Strategy] = {strategy.type: strategy for strategy in (REAL_TIME, DELTA)}


def strategy_of(name: str) -> Strategy:
    """The strategy of a type.

    Raises:
        ValueError: there is none; says which there are.
    """
    for strategy in REGISTRY.values():
        if strategy.type == name:
            return strategy
    supported = ", ".join(REGISTRY)
    raise ValueError(f"{name!r} is not a supported reconciliation type; supported: {supported}")
