"""The nine reconciliation types as one table, and how one is chosen: by name, or what stands in for it.

A strategy is a value, not a class of its own: which identities it compares, at what cut, whether it runs without being
asked, goes on from where the last one ended, and may correct. All else of a run follows from these (`core.runs`).
Packages add types as entry points of the group `stream_recon.strategies`, each a `Strategy`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal, NamedTuple

from stream_recon.domain.nearest import instead
from stream_recon.domain.results import Scope
from stream_recon.domain.types import ReconciliationType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_recon.domain.config import ReconciliationConfig
    from stream_recon.domain.discrepancies import Identity
    from stream_recon.domain.events import Stream

ENTRY_POINTS = "stream_recon.strategies"
HOUR_US = 3_600_000_000
STREAMS_OF: dict[Identity, tuple[Stream, ...]] = {
    "trade": ("fills",),
    "order": ("fills", "orders"),
    "position": ("fills", "balances"),
    "balance": ("fills", "balances"),
    "net_change": ("fills", "balances"),
}
"""What each identity is concluded from."""
CUTS = ("settled", "live")


class Strategy(NamedTuple):
    """How one reconciliation type works."""

    type: str
    identities: tuple[Identity, ...]
    cut: Literal["settled", "live"] = "settled"
    """Settled: the records alone, once the feeds have passed the cut. Live: the state that the stream keeps."""
    continuous: bool = False
    """Runs in every worker, record by record, without being asked."""
    goes_on: bool = False
    """Begins where the last completed run of that scope ended."""
    resolves: bool = False
    """May correct what is small, within the budget."""
    outer: bool = False
    """Stands for another type, which a schedule names."""
    window_us: int | None = None
    """How far it looks back where that is not the configured lookback; 0: at everything that stands."""
    purpose: str = ""
    """When to use it."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The topics that it reads of each origin."""
        streams = [stream for identity in self.identities for stream in STREAMS_OF[identity]]
        return tuple(dict.fromkeys(streams))

    def scope(self, config: ReconciliationConfig, cut_us: int, accounts: Iterable[str] | None = None) -> Scope:
        """What a run looks at whose cut is at that time."""
        lookback_us = self.window_us if self.window_us is not None else config.historical_lookback_hours * HOUR_US
        return Scope(
            identities=self.identities,
            accounts=tuple(sorted(set(accounts))) if accounts is not None else None,
            from_us=max(0, cut_us - lookback_us) if lookback_us else 0,
            to_us=cut_us,
        )


_ALL: tuple[Identity, ...] = ("trade", "order", "position", "balance")
_OF = ReconciliationType
NINE: tuple[Strategy, ...] = (
    Strategy(_OF.FULL, _ALL, resolves=True, purpose="end of day, after an incident: from the records alone"),
    Strategy(_OF.INCREMENTAL, _ALL, goes_on=True, resolves=True, purpose="a frequent check that costs what changed"),
    Strategy(
        _OF.DELTA, ("net_change",), cut="live", continuous=True,
        purpose="net drift within minutes, by account and instrument or asset",
    ),
    Strategy(_OF.POSITION_ONLY, ("position",), resolves=True, purpose="before sizing new orders, after a restart"),
    Strategy(_OF.BALANCE_ONLY, ("balance",), resolves=True, purpose="treasury, before a withdrawal"),
    Strategy(_OF.TRADE_ONLY, ("trade", "order"), resolves=True, purpose="best execution and fees"),
    Strategy(
        _OF.REAL_TIME, ("trade", "order", "position"), cut="live", continuous=True, window_us=HOUR_US // 4,
        purpose="while trading: the last minutes, record by record",
    ),
    Strategy(_OF.SCHEDULED, _ALL, resolves=True, outer=True, purpose="policy: another type at set times"),
    Strategy(_OF.EMERGENCY, _ALL, cut="live", window_us=0, purpose="something is wrong now: what stands, at once"),
)  # fmt: skip
FULL = NINE[0]


class Registry(NamedTuple):
    """The strategies that can be made, and those that failed to load."""

    known: Mapping[str, Strategy]
    failed: Mapping[str, str]
    """By name, why."""

    def supported(self) -> list[str]:
        """The names of the types that can be made."""
        return [str(name) for name in self.known]

    def of(self, name: str) -> Strategy:
        """The strategy of a type.

        Raises:
            ValueError: there is none; says which there are.
        """
        strategy = self.known.get(name)
        if strategy is None:
            why = f" (its package failed to load: {self.failed[name]})" if name in self.failed else ""
            raise ValueError(
                f"{name!r} is not a supported reconciliation type{why}; supported: {', '.join(self.known)}"
            )
        return strategy


class Choice(NamedTuple):
    """The strategy of a run, and what stood in for what."""

    strategy: Strategy
    requested_type: str | None = None
    """What was asked for, where something else is run."""
    fallback_reason: str | None = None


class NotSupportedError(ValueError):
    """A type was asked for that cannot be made, and nothing is to stand in for it."""


def registry() -> Registry:
    """The nine, and what packages add; a package cannot take the name of one of the nine."""
    known = {strategy.type: strategy for strategy in NINE}
    failed: dict[str, str] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: each.name):
        try:
            added = entry.load()
        except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
            failed[entry.name] = f"{type(error).__name__}: {error}"
            continue
        if not isinstance(added, Strategy):
            failed[entry.name] = f"it is no Strategy but {type(added).__name__}"
        elif wrong := _wrong(added):
            package = entry.dist.name if entry.dist is not None else entry.value
            failed[entry.name] = f"package {package}, {entry.value}: {'; '.join(wrong)}"
        elif added.type != entry.name or entry.name in known:
            failed[entry.name] = f"its name is taken, or is not that of its strategy ({added.type!r})"
        else:
            known[entry.name] = added
    return Registry(known, failed)


def _wrong(strategy: Strategy) -> list[str]:
    """What a strategy says that none can."""
    identities: object = strategy.identities
    wrong = []
    if not isinstance(identities, tuple | list) or not identities:
        wrong.append(f"identities must be a tuple of one or more of {', '.join(STREAMS_OF)}, but is {identities!r}")
    else:
        wrong += [
            f"there is no identity {each!r}{instead(str(each), STREAMS_OF)}"
            for each in identities
            if not isinstance(each, str) or each not in STREAMS_OF
        ]
    if strategy.cut not in CUTS:
        wrong.append(f"cut must be {' or '.join(CUTS)}, but is {strategy.cut!r}")
    window_us: object = strategy.window_us
    if window_us is not None and (not isinstance(window_us, int) or isinstance(window_us, bool) or window_us < 0):
        wrong.append(f"window_us must be None or a whole number of microseconds from 0, but is {window_us!r}")
    return wrong


def choose(requested: str | None, default: str, *, fall_back: bool, known: Registry) -> Choice:
    """The strategy of what is asked for; else of the default; else full, which can always be made.

    Raises:
        NotSupportedError: what is asked for cannot be made, and nothing may stand in for it.
    """
    reasons: list[str] = []
    asked = requested if requested is not None else default
    for name in dict.fromkeys((asked, default)):
        try:
            strategy = known.of(name)
        except ValueError as error:
            if not fall_back:
                raise NotSupportedError(str(error)) from error
            reasons.append(str(error))
        else:
            break
    else:
        strategy = FULL
    if not reasons:
        return Choice(strategy)
    return Choice(strategy, asked, "; ".join(reasons))
