"""What reconciliations are tuned by: the nine fields of `ReconciliationConfig`, and all sections of a configuration.

Where the values come from, and which of several holds, is said in `domain.layers` and `shell.configuration`; here is
only what they are, and what they may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.contracts import Limit
from stream_recon.domain.control_policy import Key, Policy
from stream_recon.domain.discrepancies import AbsoluteLimits
from stream_recon.domain.instruments import Asset
from stream_recon.domain.shapes import OTHER_NAMES, Allowed
from stream_recon.domain.times import Cron, Zone
from stream_recon.domain.types import ReconciliationType

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


def _exact(said: object) -> object:
    """A number of a configuration file as the digits that were written, not as the nearest binary fraction."""
    return str(said) if isinstance(said, float) else _number(said)


def _number(said: object) -> object:
    """Anything but yes and no, which Python takes for 1 and 0."""
    if isinstance(said, bool):
        raise PydanticCustomError("not_a_number", "not a number")
    return said


def _one_name(said: Any) -> Any:  # noqa: ANN401 - whatever was given for a section
    """A section in which the type has the name that its field has."""
    if not isinstance(said, Mapping):
        return said
    for other, name in OTHER_NAMES.items():
        if other in said:
            if name in said:
                raise ValueError(f"{other} and {name} are the same: give one of them")
            said = {name if key == other else key: value for key, value in said.items()}
    return said


Fraction = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=1, allow_inf_nan=False)]
TypeName = Annotated[str, Allowed("a reconciliation type, such as full"), Field(min_length=1, max_length=128)]
Hours = Annotated[int, BeforeValidator(_number), Field(ge=1, le=24 * 366)]
BatchSize = Annotated[int, BeforeValidator(_number), Field(ge=1, le=100_000)]
Seconds = Annotated[int, BeforeValidator(_number), Field(ge=1, le=86_400)]
Minutes = Annotated[int, BeforeValidator(_number), Field(ge=1, le=366 * 24 * 60)]
Attempts = Annotated[int, BeforeValidator(_number), Field(ge=0, le=20)]
Amount = Annotated[Limit, Allowed("a plain decimal in quotes, such as '0.01'")]
Text = Annotated[str, Field(min_length=1)]


def as_account(said: object) -> object:
    """An account, if it is one.

    Raises:
        ValueError: it is not `venue|account_id`.
    """
    if not isinstance(said, str) or len(parts := said.split("|")) != 2 or not all(parts):  # noqa: PLR2004 - a pair
        raise PydanticCustomError("not_an_account", "not an account")
    return said


Account = Annotated[str, Allowed("an account, as `venue|account_id`"), BeforeValidator(as_account)]


class Section(BaseModel):
    """A part of the configuration; it refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReconciliationConfig(Section):
    """How a reconciliation is done. Fractions are of the larger of two amounts."""

    reconciliation_type: TypeName = ReconciliationType.FULL.value
    """What is run where nothing else is asked for, or what is asked for is not supported."""
    max_discrepancy_threshold: Fraction = Decimal("0.01")
    """A difference of more than that fraction is critical."""
    auto_resolve_threshold: Fraction = Decimal("0.001")
    """A difference of at most that fraction may be corrected without a person."""
    include_pending_trades: bool = True
    """Whether what is inside grace, and open orders, are listed as pending; else they are left out."""
    historical_lookback_hours: Hours = 24
    """How far back a run looks, from the time of its cut."""
    enable_alerts: bool = True
    """False: transitions are recorded, and notify nobody."""
    batch_size: BatchSize = 1000
    """Records per step of a run, and of its progress."""
    timeout_seconds: Seconds = 300
    """How long a run may take; what has not settled by then is not known."""
    retry_attempts: Attempts = 3
    """How often what failed is tried again."""

    _type_has_one_name = model_validator(mode="before")(_one_name)

    @model_validator(mode="after")
    def _in_order(self) -> ReconciliationConfig:
        if self.auto_resolve_threshold > self.max_discrepancy_threshold:
            raise ValueError(
                f"auto_resolve_threshold ({self.auto_resolve_threshold}) is above max_discrepancy_threshold "
                f"({self.max_discrepancy_threshold}): what is critical would be corrected without a person; "
                "lower the one or raise the other"
            )
        return self


class Override(Section):
    """Those of the nine fields that are otherwise here; the others are as in the section `reconciliation`."""

    reconciliation_type: TypeName | None = None
    max_discrepancy_threshold: Fraction | None = None
    auto_resolve_threshold: Fraction | None = None
    include_pending_trades: bool | None = None
    historical_lookback_hours: Hours | None = None
    enable_alerts: bool | None = None
    batch_size: BatchSize | None = None
    timeout_seconds: Seconds | None = None
    retry_attempts: Attempts | None = None

    _type_has_one_name = model_validator(mode="before")(_one_name)

    def given(self) -> dict[str, object]:
        """Those that are set, by name."""
        set_here = ((name, getattr(self, name)) for name in ReconciliationConfig.model_fields)
        return {name: value for name, value in set_here if value is not None}


class RealTime(Override):
    """real_time."""

    window_minutes: Minutes = 15
    """How far back the live window reaches."""


class Delta(Override):
    """delta."""

    window_seconds: Seconds = 300
    """How long the windows are in which net changes are compared."""


class Emergency(Override):
    """emergency."""

    deadline_seconds: Annotated[int, BeforeValidator(_number), Field(ge=1, le=3600)] = 30
    """By when it answers; what has not been reached by then is not known."""


def _inner(said: object) -> object:
    if said == ReconciliationType.SCHEDULED:
        raise ValueError("a scheduled run cannot be of the type scheduled: give the type it is to run, such as full")
    return said


class ScheduledRun(Section):
    """One run that comes again and again."""

    cron: Cron
    """When: five fields, in the local time of its zone."""
    timezone: Zone = "UTC"
    """In which zone."""
    type: Annotated[TypeName, BeforeValidator(_inner)] = ReconciliationType.FULL.value
    """What is run; anything but scheduled."""
    accounts: Annotated[tuple[Account, ...], Field(min_length=1)] | None = None
    """For which accounts; all where it is left out."""
    params: Override = Override()
    """Any of the nine fields, for this run."""


class Scheduled(Override):
    """scheduled."""

    runs: tuple[ScheduledRun, ...] = ()
    """What is run when: `{cron, timezone, type, accounts, params}` each."""


class Strategies(Section):
    """What is otherwise for one reconciliation type."""

    full: Override = Override()
    incremental: Override = Override()
    delta: Delta = Delta()
    position_only: Override = Override()
    balance_only: Override = Override()
    trade_only: Override = Override()
    real_time: RealTime = RealTime()
    scheduled: Scheduled = Scheduled()
    emergency: Emergency = Emergency()


class Limits(Section):
    """Amounts of one asset that decide whatever the relative size."""

    dust: Amount | None = None
    """A difference of at most so much is info."""
    critical: Amount | None = None
    """A difference of at least so much is critical."""

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        if self.dust is not None and self.critical is not None and to_decimal(self.dust) >= to_decimal(self.critical):
            raise ValueError(f"dust ({self.dust}) must be below critical ({self.critical})")
        return self


class AgeLimits(Section):
    """How old a discrepancy may get until it is overdue, in minutes."""

    critical: Minutes | None = None
    """Of severity critical; none where it is left out."""
    warning: Minutes | None = None
    """Of severity warning; none where it is left out."""
    info: Minutes | None = None
    """Of severity info; none where it is left out."""


class Severities(Section):
    """What is critical, and for how long it may stand."""

    absolute: dict[Asset, Limits] = Field(default_factory=dict)
    """By asset; for the quantity of a fill or an order by instrument."""
    age_limit_minutes: AgeLimits = AgeLimits()

    def absolute_limits(self) -> dict[str, AbsoluteLimits]:
        """The absolute limits as severities are told by them."""
        return {
            asset: AbsoluteLimits(*(to_decimal(said) if said is not None else None for said in (of.dust, of.critical)))
            for asset, of in self.absolute.items()
        }


class AutoResolution(Section):
    """What may be corrected without a person."""

    dry_run: bool = True
    """True: what would be corrected is told, and nothing is."""
    budget: dict[Asset, Amount] = Field(default_factory=dict)
    """By asset, how much may be corrected in a day; of an asset that is not named, nothing."""


class PublicKey(Section):
    """Who may sign commands."""

    public_key: Text
    """With which its signatures are checked: Ed25519, as `stream-recon keys new` prints it."""
    issuer: Text
    """In whose name it signs."""
    roles: tuple[Text, ...] = ()
    """What its holder may do."""


class Security(Section):
    """Who may give commands."""

    require_signatures: bool = False
    """True: a command without a valid signature is refused."""
    keys: dict[Text, PublicKey] = Field(default_factory=dict)
    """By the id of a key: `{public_key, issuer, roles}`."""
    roles: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    """By role, the commands that it may give; beside or instead of viewer, operator, controller and admin."""
    unsigned_roles: tuple[Text, ...] = ("admin",)
    """What those may do who do not have to sign."""
    max_age_hours: Hours = 24
    """After so long a command that nobody has read has no effect any more."""

    @model_validator(mode="after")
    def _makes_a_policy(self) -> Security:
        self.policy()
        return self

    def policy(self) -> Policy:
        """By which commands are screened.

        Raises:
            ValueError: a role or a command is not known, or signatures are required and there are no keys.
        """
        return Policy(
            require_signatures=self.require_signatures,
            keys={
                name: Key(issuer=key.issuer, roles=key.roles, public=key.public_key) for name, key in self.keys.items()
            },
            roles={role: frozenset(names) for role, names in self.roles.items()},  # type: ignore[arg-type]  # it checks
            unsigned_roles=self.unsigned_roles,
            max_age_us=self.max_age_hours * HOUR_US,
        )


class Audit(Section):
    """Where what was done is written down."""

    url: Text | None = None
    """Of the audit store's database, as `sqlite:///audit.db` or `postgresql+psycopg://...`."""


class Sections(Section):
    """All of a configuration, as it is in effect."""

    reconciliation: ReconciliationConfig = ReconciliationConfig()
    strategies: Strategies = Strategies()
    severity: Severities = Severities()
    auto_resolution: AutoResolution = AutoResolution()
    on_unsupported: Literal["fallback", "reject"] = "fallback"
    """What becomes of a type that cannot be made: the default type is run in its place, or nothing is."""
    security: Security = Security()
    audit: Audit = Audit()

    def override_of(self, type_name: str) -> Override:
        """What is otherwise for one type; nothing, of types that packages add."""
        found = getattr(self.strategies, type_name, None)
        return found if isinstance(found, Override) else Override()

    def config_for(
        self, type_name: str, params: Mapping[str, Any] | None = None, inner: str | None = None
    ) -> ReconciliationConfig:
        """The nine fields of a run: the common ones, those of its type, those that its command gives.

        `inner`: the type that a scheduled run is done by; its section comes before that of `scheduled`.

        Raises:
            pydantic.ValidationError: a parameter is not allowed, or not beside the others.
        """
        return ReconciliationConfig(
            **{
                **self.reconciliation.model_dump(exclude_unset=True),
                **(self.override_of(inner).given() if inner is not None else {}),
                **self.override_of(type_name).given(),
                **_one_name(params or {}),
            }
        )

    def age_limits_us(self) -> dict[Literal["critical", "warning", "info"], int]:
        """How old a discrepancy may get, by severity."""
        limits = self.severity.age_limit_minutes
        by_severity = (("critical", limits.critical), ("warning", limits.warning), ("info", limits.info))
        return {severity: minutes * MINUTE_US for severity, minutes in by_severity if minutes is not None}  # type: ignore[misc]  # mypy widens the literals
