"""The configuration as the coordinator needs it: what decides over commands, types, corrections and schedules."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stream_recon.shell.signing import verifier
from stream_recon.strategies.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_recon.domain.config import ReconciliationConfig
    from stream_recon.shell.configuration import Configuration

MINUTE_US = 60_000_000
SECOND_US = 1_000_000


class Governing:
    """A configuration by the names of `strategies.coordination.Configured`."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.version, self.digest = configuration.version, configuration.digest
        sections = configuration.sections
        self.default_type = sections.reconciliation.reconciliation_type
        self.falls_back = sections.on_unsupported == "fallback"
        self.corrects = not sections.auto_resolution.dry_run
        self.budget = {name: Decimal(amount) for name, amount in sections.auto_resolution.budget.items()}
        self.absolute = {name: (of.dust, of.critical) for name, of in sections.severity.absolute.items()}
        self.policy = sections.security.policy()
        self.verify = verifier(self.policy.keys)
        self.schedules = tuple(
            Schedule(run.cron, run.timezone, run.type, run.accounts, run.params.given())
            for run in sections.strategies.scheduled.runs
        )

    def config_for(
        self, kind: str, params: Mapping[str, Any] | None = None, inner: str | None = None
    ) -> ReconciliationConfig:
        """What a run of that type is tuned by; `inner`: by what it is done, where it stands for another type.

        Raises:
            ConfigurationError: a parameter is not allowed.
        """
        return self.configuration.config_for(kind, params, inner)

    def changed(self, values: Mapping[str, Any], version: int | None = None) -> Governing:
        """The next version.

        Raises:
            ConfigurationError: it would not be valid.
        """
        return Governing(self.configuration.changed(dict(values), version))

    def at(self, version: int) -> Governing:
        """The same under another number."""
        return Governing(replace(self.configuration, version=version))

    def window_us(self, kind: str) -> int | None:
        """How far back the live window of a type reaches, where that is configured."""
        if kind == "real_time":
            return self.configuration.sections.strategies.real_time.window_minutes * MINUTE_US
        return None

    @property
    def emergency_us(self) -> int:
        """How long a question to the live state may take."""
        return self.configuration.sections.strategies.emergency.deadline_seconds * SECOND_US
