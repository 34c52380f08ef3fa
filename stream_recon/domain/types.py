"""The nine reconciliation types, by name."""

from __future__ import annotations

from enum import StrEnum


class ReconciliationType(StrEnum):
    """What can be asked for; which of them can be made is the registry's to say (`strategies`)."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DELTA = "delta"
    POSITION_ONLY = "position_only"
    BALANCE_ONLY = "balance_only"
    TRADE_ONLY = "trade_only"
    REAL_TIME = "real_time"
    SCHEDULED = "scheduled"
    EMERGENCY = "emergency"
