"""Feed contracts: what each origin promises to send, without which silence and absence mean nothing."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stream_recon.domain.events import ORIGINS, Origin

if TYPE_CHECKING:
    from collections.abc import Collection

    from stream_recon.domain.events import Stream

Promise = Literal["complete", "partial", "absent"]
Microseconds = Annotated[int, Field(ge=0)]


def _limit(said: object) -> str:
    text = str(said) if isinstance(said, int | str) and not isinstance(said, bool) else ""
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,18})?", text) is None:
        raise ValueError("an amount, not below zero: a plain decimal in quotes, such as '0.01'")
    return text


Limit = Annotated[str, BeforeValidator(_limit)]


class FeedContract(BaseModel):
    """The promises of one origin for the venues and accounts that match; the first contract that matches holds.

    `fills`, `orders`, ...: None is the default promise (complete for fills and orders, partial for the rest) of a feed
    of which nobody has said anything; such a feed is treated as absent until it has spoken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: Origin
    venue: str = "*"
    account: str = "*"
    sources: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Who must vouch, each for itself; None: every source heard of for that venue."""
    fills: Promise | None = None
    orders: Promise | None = None
    positions: Promise | None = None
    balances: Promise | None = None
    ledger: Promise | None = None
    ledger_covers: Literal["all", "non_trade"] = "all"
    order_within_us: Microseconds = 2_000_000
    grace_us: Microseconds = 5_000_000
    silence: Literal["stale", "trust"] = "stale"
    stale_after_us: Microseconds = 30_000_000
    idle_after_us: Microseconds = 5_000_000
    tolerance: dict[str, Limit] = Field(default_factory=dict)
    """Absolute tolerances, by `field` or `field:asset`: within them amounts agree."""
    venue_precision: Annotated[int, Field(ge=1, le=38)] | None = None
    """The significant digits this venue rounds to: amounts agree within two units of the last one. May also be written
    as an entry of `tolerance`."""

    @model_validator(mode="before")
    @classmethod
    def _precision_is_a_tolerance(cls, said: object) -> object:
        if isinstance(said, dict) and isinstance(said.get("tolerance"), dict):
            tolerance = dict(said["tolerance"])
            if "venue_precision" in tolerance:
                said = {"venue_precision": tolerance.pop("venue_precision"), **said, "tolerance": tolerance}
        return said


DEFAULT: dict[Origin, FeedContract] = {origin: FeedContract(origin=origin) for origin in ORIGINS}
"""What is expected of an origin of which nothing is written down."""


class Contracts(BaseModel):
    """All contracts of a deployment, in the order in which they are tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contracts: tuple[FeedContract, ...] = ()

    def of(self, origin: Origin, venue: str, account_id: str) -> FeedContract:
        """The first contract that matches, else the default one of that origin."""
        for contract in self.contracts:
            if (
                contract.origin == origin
                and fnmatchcase(venue, contract.venue)
                and fnmatchcase(account_id, contract.account)
            ):
                return contract
        return DEFAULT[origin]

    def read_of(self, streams: Collection[Stream]) -> Contracts:
        """The same where nothing but these topics is read: what depends on no order waits for none."""
        if "orders" in streams:
            return self
        return Contracts(contracts=tuple(each.model_copy(update={"orders": "absent"}) for each in self.contracts))
