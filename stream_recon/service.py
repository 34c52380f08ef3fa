"""Reconciliation from Python, with or without Kafka: sources, the factory of strategies, and the service.

    service = ReconciliationService(config, internal=JsonLines("books.jsonl", "internal"), exchange=...)
    result = await service.perform_reconciliation("full")

A source is anything with `is_connected()` and `read(scope, cut)`. What is read are canonical events (docs/events.md),
as dicts, as lines of JSON, or as lists of either; the method may be async, and give an iterator or an async one.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from pydantic import ValidationError

from stream_recon import __version__
from stream_recon.audit.local import LocalAudit
from stream_recon.comparing import Comparison
from stream_recon.core import results
from stream_recon.core.runs import digest
from stream_recon.domain.config import ReconciliationConfig, as_account
from stream_recon.domain.contracts import Contracts
from stream_recon.domain.discrepancies import Thresholds
from stream_recon.domain.instruments import Instruments
from stream_recon.domain.layers import ConfigurationError
from stream_recon.domain.results import ReconciliationResult
from stream_recon.domain.wording import told
from stream_recon.files import Reader
from stream_recon.shell import metrics
from stream_recon.sources import SourceError, packs, require_source, said
from stream_recon.strategies.registry import FULL, NotSupportedError, Strategy, choose, registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from stream_recon.domain.events import Origin
    from stream_recon.domain.results import Scope
    from stream_recon.files import Line
    from stream_recon.sources import Source

_log = logging.getLogger(__name__)
_BACKOFF_S = 0.2
_LONGEST_WAIT_S = 5.0
KEYS = {
    name: f"reconciliation.{'default_type' if name == 'reconciliation_type' else name}"
    for name in ReconciliationConfig.model_fields
}
"""What each field is called in a configuration manager."""


class ReconciliationRun:
    """One strategy with what it is to compare: what the factory makes."""

    def __init__(  # noqa: PLR0913 - what a run is done by
        self, strategy: Strategy, config: ReconciliationConfig, *, internal: Source | None = None,
        exchange: Source | None = None, both: Source | None = None, contracts: Contracts | None = None,
        instruments: Instruments | None = None,
        clock_us: Callable[[], int] | None = None, window_us: int = 300_000_000,
    ) -> None:  # fmt: skip
        self.strategy, self.config = strategy, config
        given: tuple[tuple[Origin | None, Source | None], ...] = (
            ("internal", internal), ("exchange", exchange), (None, both)
        )  # fmt: skip
        self._sources: list[tuple[Origin | None, Source]] = [(o, source) for o, source in given if source is not None]
        for origin, source in self._sources:
            require_source(origin or "both", source)
        self.comparison: Comparison | None = None
        """The newest one that was made."""
        self._contracts, self._instruments = contracts or Contracts(), instruments or Instruments()
        self._clock_us = clock_us or (lambda: time.time_ns() // 1000)
        self._window_us = window_us

    def get_strategy_name(self) -> str:
        """The name of the reconciliation type."""
        return self.strategy.type

    async def execute_reconciliation(
        self,
        accounts: Iterable[str] | None = None,
        cut_us: int | None = None,
        begun: ReconciliationResult | None = None,
    ) -> ReconciliationResult:
        """Read both sources once, and say what they come to.

        `accounts`: `venue|account_id`; None: all. `cut_us`: conclusions about later times are left out; None: the
        newest event read, with everything before it.

        Raises:
            ValueError: no accounts are named, or one is none; no sources are given; or what was read is no event.
            SourceError: a source failed while it was read.
        """
        named = _named(accounts)
        if named is not None and not named:
            raise ValueError("no accounts are named: leave `accounts` out for all, or name at least one")
        if {origin for origin, _ in self._sources} not in ({"internal", "exchange"}, {None}):
            raise ValueError("a run needs both sources: give internal=... and exchange=..., or one that holds both")
        started_us = self._clock_us()
        if begun is None:
            begun = ReconciliationResult(
                reconciliation_id=uuid4().hex[:24], type=self.strategy.type, status="running", start_time_us=started_us
            )
        thresholds = Thresholds(self.config.max_discrepancy_threshold, self.config.auto_resolve_threshold)
        comparison = self.comparison = Comparison(
            self.strategy, named, self._contracts, self._instruments, thresholds, self._window_us
        )
        clock = time.perf_counter()
        asked = self.strategy.scope(self.config, cut_us, named) if cut_us is not None else None
        await self._read(comparison, asked, cut_us)
        read_s = time.perf_counter() - clock
        if self.strategy.cut == "settled" or self.strategy.continuous:
            comparison.close()
        scope = self._scope(comparison, cut_us, named)
        partial = comparison.partial(
            begun.reconciliation_id, scope, pending=self.config.include_pending_trades, notify=self.config.enable_alerts
        )
        partial.seconds = {"read and compare": read_s, "conclude": time.perf_counter() - clock - read_s}
        unknown = [name for name in named or () if name not in comparison.accounts]
        rules = results.Rules(
            strategy=self.strategy.type,
            config=self.config.model_dump(mode="json"),
            absolute={},
            config_version=begun.config_version,
            config_digest=digest(self.config.model_dump(mode="json")),
            contracts_digest=digest(self._contracts.model_dump(mode="json")),
            instruments_digest=digest(self._instruments.model_dump(mode="json")),
            code_version=__version__,
        )
        result = results.conclude(begun, scope, rules, [partial], end_us=self._clock_us())
        return _pessimistic(result, comparison, unknown)

    def _scope(self, comparison: Comparison, cut_us: int | None, accounts: tuple[str, ...] | None) -> Scope:
        if cut_us is not None:
            return self.strategy.scope(self.config, cut_us, accounts)
        newest_us = comparison.heard.newest_us
        scope = self.strategy.scope(self.config, max(newest_us, 0), accounts)
        # What was given is looked at from its beginning, unless somebody asked for less.
        limited = self.strategy.window_us or "historical_lookback_hours" in self.config.model_fields_set
        return scope if limited else msgspec.structs.replace(scope, from_us=0)

    async def _read(self, comparison: Comparison, scope: Scope | None, cut_us: int | None) -> None:
        """Step over both sources, always on with the one that is furthest behind in event time."""
        readers: list[Reader] = []
        taking: dict[int, AsyncIterator[list[Line]]] = {}
        names = [str(getattr(source, "name", origin)) for origin, source in self._sources]
        for number, (origin, source) in enumerate(self._sources):
            name = names[number] if len(set(names)) == len(names) else f"{origin}: {names[number]}"
            readers.append(Reader(None, name, origin))
            taking[number] = packs(readers[number], source, scope, cut_us, self.config.batch_size)
        try:
            while taking:
                number = min(taking, key=lambda each: (readers[each].newest_us, each))
                pack = await anext(taking[number], None)
                if pack is None:
                    del taking[number]
                else:
                    comparison.add(readers[number].name, pack)
                    await asyncio.sleep(0)
        finally:
            for left in taking.values():
                await left.aclose()  # type: ignore[attr-defined]  # what we made is a generator


def _pessimistic(result: ReconciliationResult, comparison: Comparison, unknown: list[str]) -> ReconciliationResult:
    """What was not read, or not understood, does not agree."""
    notes = [f"account {name} is in neither source" for name in unknown]
    if comparison.rejected:
        bad = comparison.rejected[0]
        notes.append(
            f"{len(comparison.rejected):,} records could not be understood; the first: {bad.file}, line {bad.line}: "
            f"{bad.reason}: {bad.detail}"
        )
    if notes:
        result.notes += notes
        result.status = "partial" if result.status == "completed" else result.status
    assert result.certificate is not None
    result.certificate.digest = results.result_digest(result)
    return result


class ReconciliationStrategyFactory:
    """Makes runs of the reconciliation types, of those that packages add too."""

    @staticmethod
    def get_supported_types() -> list[str]:
        """The names of the types that can be made."""
        return registry().supported()

    @staticmethod
    def create_strategy(
        config: Any = None, reconciliation_type: str | None = None, **given: Any  # noqa: ANN401 - see config_of
    ) -> ReconciliationRun:  # fmt: skip
        """A run of the type that the configuration names, or of `reconciliation_type`.

        `given`: internal, exchange, contracts, instruments, as in `ReconciliationService`.

        Raises:
            ValueError: the type is not supported; says which are.
        """
        settled = config_of(config)
        strategy = registry().of(reconciliation_type or settled.reconciliation_type)
        given.pop("audit", None)
        return ReconciliationRun(strategy, settled, **given)


def config_of(given: Any) -> ReconciliationConfig:  # noqa: ANN401 - several things serve
    """A configuration from what serves as one: itself, a mapping of its fields, an object with `.get(key, default)`.

    Such an object is asked for `reconciliation.default_type`, `reconciliation.batch_size` and so on.

    Raises:
        ValueError: a value is not allowed.
        TypeError: it is none of these.
    """
    if given is None:
        return ReconciliationConfig()
    if isinstance(given, ReconciliationConfig):
        return given
    if isinstance(given, Mapping) and not any("." in str(key) for key in given):
        return _validated(given, str)
    get = getattr(given, "get", None)
    if get is None:
        raise TypeError(
            f"a configuration is a ReconciliationConfig or has .get(key, default); not {type(given).__name__}"
        )
    found = {name: get(key, None) for name, key in KEYS.items()}
    return _validated({name: value for name, value in found.items() if value is not None}, _key)


def _validated(given: Mapping[Any, Any], spoken: Callable[[str], str]) -> ReconciliationConfig:
    """The configuration of those fields; `spoken`: how whoever gave them calls one.

    Raises:
        ConfigurationError: a field is not known, or its value not allowed; says what is, and what was probably meant.
    """
    try:
        return ReconciliationConfig.model_validate(dict(given))
    except ValidationError as error:
        problems = told(error, ReconciliationConfig, lambda place: spoken(str(place[0])) if place else "")
        raise ConfigurationError(problems) from error


def _key(name: str) -> str:
    return KEYS.get(name, name)


def _named(accounts: Iterable[str] | None) -> tuple[str, ...] | None:
    """The accounts that are asked for.

    Raises:
        ValueError: it is no list, or something in it is no account.
    """
    if accounts is None:
        return None
    if isinstance(accounts, str | bytes) or not isinstance(accounts, Iterable):
        raise ValueError(  # noqa: TRY004 - accounts that are wrong in any way are one error
            f"accounts={accounts!r}: give a list of accounts, such as ['binance|desk-1']"
        )
    named = tuple(accounts)
    for name in named:
        try:
            as_account(name)
        except ValueError as error:
            raise ValueError(f"accounts: {name!r}: an account is venue|account_id, such as 'binance|desk-1'") from error
    return named


class ReconciliationService:
    """Reconciles two sources by any of the types.

    `config`: see `config_of`. `audit`: the URL of an audit store, or an object with `is_writable()` and
    `record_result(result)`, both sync or async.

    Raises:
        TypeError: a source is none; says which, and what it lacks.
    """

    def __init__(  # noqa: PLR0913 - what a service is given
        self, config: Any = None, *, internal: Source, exchange: Source, audit: Any = None,  # noqa: ANN401
        contracts: Contracts | None = None, instruments: Instruments | None = None,
        on_unsupported: str | None = None, clock_us: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        self._given = config
        require_source("internal", internal)
        require_source("exchange", exchange)
        self._sources: dict[Origin, Any] = {"internal": internal, "exchange": exchange}
        self._audit = LocalAudit(audit) if isinstance(audit, str) else audit
        self._contracts, self._instruments = contracts, instruments
        self._on_unsupported = on_unsupported
        self._clock_us = clock_us or (lambda: time.time_ns() // 1000)

    async def perform_reconciliation(
        self, reconciliation_type: str | None = None, *, accounts: Iterable[str] | None = None,
        cut_us: int | None = None,
    ) -> ReconciliationResult:  # fmt: skip
        """Run a type (None: the configured one) and say what it came to; never raises for what fails on the way.

        Prerequisites are checked first; what fails is tried again `retry_attempts` times, with growing pauses; then the
        result is `failed`, with the reasons. A type that is not supported is replaced by the configured one, else by
        full, and the result says so; with `on_unsupported="reject"` it is failed.

        Raises:
            ValueError: the configuration is not valid, or an account is not named as `venue|account_id`.
        """
        config = config_of(self._given)
        named = _named(accounts)
        known = registry()
        begun = ReconciliationResult(
            reconciliation_id=uuid4().hex[:24], type=reconciliation_type or config.reconciliation_type,
            status="running", start_time_us=self._clock_us(),
        )  # fmt: skip
        try:
            choice = choose(reconciliation_type, config.reconciliation_type, fall_back=self._falls_back(), known=known)
        except NotSupportedError as error:
            return await self._finish(self._failed(begun, [str(error)]))
        begun.type, begun.requested_type, begun.fallback_reason = choice.strategy.type, *choice[1:]
        if choice.fallback_reason is not None:
            _log.warning(
                "runs %s instead of %s: %s", choice.strategy.type, choice.requested_type, choice.fallback_reason
            )
            metrics.FALLBACKS.labels(choice.strategy.type).inc()
        inner = FULL if choice.strategy.outer else choice.strategy
        run = ReconciliationRun(
            inner._replace(type=choice.strategy.type), config, contracts=self._contracts,
            instruments=self._instruments, clock_us=self._clock_us,
            internal=self._sources["internal"], exchange=self._sources["exchange"],
        )  # fmt: skip
        if inner.goes_on:
            begun.notes.append("there is no checkpoint without Kafka: it ran as full")
        return await self._finish(await self._attempts(run, begun, config, named, cut_us))

    async def _attempts(
        self, run: ReconciliationRun, begun: ReconciliationResult, config: ReconciliationConfig,
        accounts: tuple[str, ...] | None, cut_us: int | None,
    ) -> ReconciliationResult:  # fmt: skip
        errors: list[str] = []
        wait_s = _BACKOFF_S
        for attempt in range(config.retry_attempts + 1):
            if attempt:
                metrics.RETRIES.labels(begun.type).inc()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            try:
                async with asyncio.timeout(config.timeout_seconds):
                    problems = await self._not_ready()
                    if not problems:
                        return await run.execute_reconciliation(accounts, cut_us, begun)
            except TimeoutError:
                problems = [f"it was not done within timeout_seconds ({config.timeout_seconds})"]
            except ValueError as error:
                return self._failed(begun, [str(error)])  # to try again would not help
            except Exception as error:  # noqa: BLE001 - whatever a source does; the run has failed
                problems = [said(error) if not isinstance(error, SourceError) else str(error)]
            errors = problems
            _log.warning("%s: attempt %d failed: %s", begun.type, attempt + 1, "; ".join(problems))
        return self._failed(begun, [*errors, f"given up after {config.retry_attempts + 1} attempts"])

    async def _not_ready(self) -> list[str]:
        """What is missing before a run can begin."""
        problems = []
        for origin, source in self._sources.items():
            connected = source.is_connected
            answer = connected() if callable(connected) else connected
            if inspect.isawaitable(answer):
                answer = await answer
            if not answer:
                problems.append(f"{origin} ({getattr(source, 'name', type(source).__name__)}) is not connected")
        writable = getattr(self._audit, "is_writable", None)
        if writable is not None:
            answer = writable()
            if inspect.isawaitable(answer):
                answer = await answer
            if not answer:
                problems.append("the audit store cannot be written to")
        return problems

    async def _finish(self, result: ReconciliationResult) -> ReconciliationResult:
        """Count, log and store a result."""
        took_s = ((result.end_time_us or result.start_time_us) - result.start_time_us) / 1e6
        metrics.count_run(result.type, result.status, took_s, result.total_records_processed, result.end_time_us)
        _log.log(
            logging.WARNING if result.status == "failed" else logging.INFO,
            "%s run %s: %s in %.3f s, %d records, %d discrepancies%s", result.type, result.reconciliation_id,
            result.status, took_s, result.total_records_processed, result.discrepancies_found,
            "".join(f"; {error}" for error in result.errors),
        )  # fmt: skip
        return await self._stored(result)

    async def _stored(self, result: ReconciliationResult) -> ReconciliationResult:
        """Store a result; one that cannot be says so."""
        record = getattr(self._audit, "record_result", None)
        if record is not None:
            try:
                stored = record(result)
                if inspect.isawaitable(stored):
                    await stored
            except Exception as error:  # noqa: BLE001 - whatever a store does, the result is known
                _log.exception("the result of run %s could not be stored", result.reconciliation_id)
                result.errors.append(f"the result could not be stored: {said(error)}")
        return result

    def _failed(self, begun: ReconciliationResult, errors: list[str]) -> ReconciliationResult:
        return msgspec.structs.replace(
            begun, status="failed", end_time_us=self._clock_us(), errors=[*begun.errors, *errors]
        )

    def _falls_back(self) -> bool:
        said = self._on_unsupported
        if said is None:
            get = getattr(self._given, "get", None)
            said = get("reconciliation.on_unsupported", None) if get is not None else None
        return said != "reject"
