"""What a reconciliation is tuned by: nine fields, each with an effect that a test shows.

Where the values come from, and which of several holds, is the shell's matter (`shell.configuration`); here is only what
they are, and what they may be.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stream_recon.domain.types import ReconciliationType


def _exact(said: object) -> object:
    """A number of a configuration file as the digits that were written, not as the nearest binary fraction."""
    return str(said) if isinstance(said, float) else said


Fraction = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=1, allow_inf_nan=False)]


class ReconciliationConfig(BaseModel):
    """How a reconciliation is done. Fractions are of the larger of two amounts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reconciliation_type: str = ReconciliationType.FULL.value
    """What is run where nothing else is asked for, or what is asked for is not supported."""
    max_discrepancy_threshold: Fraction = Decimal("0.01")
    """A difference of more than that fraction is critical."""
    auto_resolve_threshold: Fraction = Decimal("0.001")
    """A difference of at most that fraction may be corrected without a person."""
    include_pending_trades: bool = True
    """Whether what is inside grace, and open orders, are listed as pending; else they are left out."""
    historical_lookback_hours: Annotated[int, Field(ge=1, le=24 * 366)] = 24
    """How far back a run looks, from the time of its cut."""
    enable_alerts: bool = True
    """False: transitions are recorded, and notify nobody."""
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Records per step of a run, and of its progress."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """How long a run may take; what has not settled by then is not known."""
    retry_attempts: Annotated[int, Field(ge=0, le=20)] = 3
    """How often what failed is tried again."""

    @model_validator(mode="after")
    def _in_order(self) -> ReconciliationConfig:
        if self.auto_resolve_threshold > self.max_discrepancy_threshold:
            raise ValueError(
                f"auto_resolve_threshold ({self.auto_resolve_threshold}) is above max_discrepancy_threshold "
                f"({self.max_discrepancy_threshold}): what is critical would be corrected without a person"
            )
        return self
