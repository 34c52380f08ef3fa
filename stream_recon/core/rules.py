"""The rules of a lane, from the configuration that holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_recon.core.trades import Rules
from stream_recon.domain.discrepancies import Thresholds
from stream_recon.domain.types import ReconciliationType

if TYPE_CHECKING:
    from stream_recon.domain.config import ReconciliationConfig, Sections
    from stream_recon.domain.instruments import Instruments

_SECOND_US = 1_000_000


def thresholds_of(sections: Sections, config: ReconciliationConfig) -> Thresholds:
    """Above which size a difference is critical, and a person's; what is absolute holds for all types."""
    return Thresholds(
        critical=config.max_discrepancy_threshold,
        warning=config.auto_resolve_threshold,
        absolute=sections.severity.absolute_limits(),
    )


def rules_of(sections: Sections, instruments: Instruments, *, window_s: int | None = None) -> Rules:
    """What a stream lane is tuned by: what is configured for real_time, which holds for the windows of delta too.

    `window_s`: how long those are, whatever is configured; 0: there are none.
    """
    config = sections.config_for(ReconciliationType.REAL_TIME)
    seconds = window_s if window_s is not None else sections.strategies.delta.window_seconds
    return Rules(
        thresholds=thresholds_of(sections, config),
        age_limit_us=sections.age_limits_us(),
        instruments=instruments,
        window_us=seconds * _SECOND_US,
        enable_alerts=config.enable_alerts,
    )
