"""Instruments: what a fill of each moves, by venue. Without it balances cannot be derived from fills."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

Asset = Annotated[str, Field(min_length=1, max_length=128)]
_NAME = "{instrument}"
_WORD = re.compile(r"\{(\w*)\}")


class Instrument(BaseModel):
    """One instrument, or all that match a pattern.

    spot: a fill moves `base` and `quote`. Any other kind: it moves `settle`, by its realised profit minus its fee.
    Of a pattern an asset may be `{instrument}`: what is traded goes by that name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["spot", "linear_perpetual", "future", "inverse"]
    base: Asset | None = None
    quote: Asset | None = None
    settle: Asset | None = None

    @model_validator(mode="after")
    def _has_its_assets(self) -> Instrument:
        needs = ("base", "quote") if self.kind == "spot" else ("settle",)
        for name in needs:
            if getattr(self, name) is None:
                raise ValueError(f"an instrument of kind {self.kind} needs {name!r}")
        words = [word for asset in (self.base, self.quote, self.settle) for word in _WORD.findall(asset or "")]
        unknown = [word for word in words if word != "instrument"]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is not known; there is {_NAME}")
        return self

    def named(self, name: str) -> Instrument:
        """What it is of that instrument."""
        assets = {field: getattr(self, field) for field in ("base", "quote", "settle")}
        if not any(asset is not None and _NAME in asset for asset in assets.values()):
            return self
        return self.model_copy(
            update={field: asset.replace(_NAME, name) for field, asset in assets.items() if asset is not None}
        )


class Instruments(RootModel[dict[str, dict[str, Instrument]]]):
    """By venue, by instrument or pattern; an exact name comes before patterns, patterns in the order written."""

    root: dict[str, dict[str, Instrument]] = Field(default_factory=dict)

    def of(self, venue: str, instrument: str) -> Instrument | None:
        """What is known of an instrument; None: nothing."""
        known = self.root.get(venue, {})
        exact = known.get(instrument)
        if exact is not None:
            return exact.named(instrument)
        found = (what.named(instrument) for pattern, what in known.items() if fnmatchcase(instrument, pattern))
        return next(found, None)
