"""The configuration that holds: loaded from its sources, told value by value where it comes from, changed as a whole.

From low to high: the defaults; a file; the file's section for the environment (`environments.production`); any object
with `.get(key, default)`; environment variables; what was set while it runs; the parameters of a command. A
`Configuration` never changes: what changes it gives another one, with the next version, or raises and leaves all as it
was. A file that has changed takes the place that it had, so that a restart comes to the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from stream_recon.core.runs import digest
from stream_recon.domain.amounts import plain
from stream_recon.domain.config import ReconciliationConfig, Sections
from stream_recon.domain.layers import (
    DEFAULT,
    ConfigurationError,
    KeyPath,
    Layer,
    layer_of,
    nested,
    path_of,
    resolve,
    values_of,
)
from stream_recon.domain.nearest import instead
from stream_recon.domain.shapes import keys
from stream_recon.domain.wording import dotted, masked, shown, told
from stream_recon.shell.config_sources import Origin, file_layers, from_manager, hash_of, read_file
from stream_recon.shell.environ import environment_layer
from stream_recon.shell.signing import KeyUnusable, verifier
from stream_recon.strategies.registry import registry

if TYPE_CHECKING:
    from pathlib import Path

    from stream_recon.shell.config_sources import Manager

NOWHERE = Origin()
NOT_WHILE_RUNNING = frozenset({"security", "audit"})
"""Who may give commands, and where they are written down, is not for a command to say."""


class Row(NamedTuple):
    """One value, as people look at it."""

    key: str
    value: object
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One version of the configuration."""

    sections: Sections
    sources: Mapping[KeyPath, str]
    """Where each value that is not a default comes from."""
    version: int = 0
    """0: what was loaded at the start; each change is one more."""
    origin: Origin = NOWHERE
    file: tuple[Layer, ...] = ()
    fixed: tuple[Layer, ...] = ()
    """What stands above the file as long as the process runs."""
    dynamic: tuple[Layer, ...] = ()
    """What was set meanwhile."""

    @property
    def digest(self) -> str:
        """A hash of all values, whatever they come from."""
        return digest({dotted(path): _plain(value) for path, value in values_of(self.sections).items()})

    def value(self, key: str) -> object:
        """The value of a dotted key; None: it is not set.

        Raises:
            ConfigurationError: there is no such key.
        """
        return values_of(self.sections).get(path_of(key))

    def source(self, key: str) -> str:
        """Where the value of a dotted key comes from.

        Raises:
            ConfigurationError: there is no such key.
        """
        return self.sources.get(path_of(key), DEFAULT)

    def rows(self, type_name: str | None = None) -> list[Row]:
        """Every value with its source; of one type only what a run of it has."""
        values = values_of(self.sections)
        rows = [Row(dotted(path), _plain(value), self.sources.get(path, DEFAULT)) for path, value in values.items()]
        if type_name is None:
            return rows
        own = f"strategies.{type_name}."
        by_key = {row.key: row for row in rows}
        nine = [by_key.get(f"{own}{name}", by_key[f"reconciliation.{name}"]) for name in keys(ReconciliationConfig)]
        return nine + [row for row in rows if row.key.startswith(own) and row not in nine]

    def config_for(
        self, type_name: str, params: Mapping[str, Any] | None = None, inner: str | None = None
    ) -> ReconciliationConfig:
        """The nine fields of a run: the common ones, those of its type, those that its command gives.

        `inner`: the type that a scheduled run is done by.

        Raises:
            ConfigurationError: a parameter is not allowed, or not beside the others.
        """
        try:
            return self.sections.config_for(type_name, params, inner)
        except ValidationError as error:
            problems = told(error, ReconciliationConfig)
            raise ConfigurationError(f"{problem} (parameter)" for problem in problems) from error

    def changed(self, values: Mapping[str, object], version: int | None = None) -> Configuration:
        """The next version, with values set by dotted key; None takes back what was set so before.

        Raises:
            ConfigurationError: a key is not known or may not be set, or a value is not allowed.
        """
        number = self.version + 1 if version is None else version
        layer, gone = _set(values, f"dynamic version {number}")
        return _resolved(replace(self, version=number, dynamic=_over(self.dynamic, layer, gone)))

    def reloaded(self, content: bytes | None = None) -> Configuration:
        """What its file says now (`content`: as it has been read): itself, if that is the same.

        Raises:
            ConfigurationError: the file cannot be read, or is not as it must be.
        """
        if self.origin.path is None:
            return self
        content = read_file(self.origin.path) if content is None else content
        if hash_of(content) == self.origin.read:
            return self
        origin, file = file_layers(self.origin.path, content, self.origin.environment)
        return _resolved(replace(self, version=self.version + 1, origin=origin, file=file))

    def shadowed(self, before: Configuration) -> list[str]:
        """What its file sets otherwise than it did before, and something above it overrides: a sentence each."""
        was, now = _flat(before.file), _flat(self.file)
        return [
            f"{dotted(path)} has changed in {self.origin.path}, but {self.sources[path]} sets it: it stays "
            f"{shown(_plain(values_of(self.sections).get(path)))}"
            for path, value in now.items()
            if was.get(path) != value and self.sources[path] not in {layer.source for layer in self.file}
        ]


def _resolved(unsettled: Configuration) -> Configuration:
    """With what its layers come to.

    Raises:
        ConfigurationError: they are not allowed, or a key is none.
    """
    effective = resolve([*unsettled.file, *unsettled.fixed, *unsettled.dynamic])
    try:
        verifier(effective.sections.security.policy().keys)
    except KeyUnusable as error:
        raise ConfigurationError([str(error)]) from error
    return replace(unsettled, sections=effective.sections, sources=effective.sources)


def load(
    path: Path | None = None,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
    manager: Manager | None = None,
) -> Configuration:
    """What holds when a process starts. `environ`: by default the process's own environment variables.

    Raises:
        ConfigurationError: a source cannot be read, or says what is not allowed.
    """
    origin, file = NOWHERE, tuple[Layer, ...]()
    if path is not None:
        origin, file = file_layers(path, read_file(path), environment)
    elif environment is not None:
        raise ConfigurationError([
            f"there is no environment {environment!r} without a configuration file; give one, or leave it out"
        ])  # fmt: skip
    fixed = [environment_layer(os.environ if environ is None else environ)]
    if manager is not None:
        fixed.insert(0, from_manager(manager))
    return _resolved(Configuration(sections=Sections(), sources={}, origin=origin, file=file, fixed=tuple(fixed)))


def doubts(sections: Sections) -> list[str]:
    """What is allowed, but will probably not do what was meant: types that cannot be made here."""
    known = registry()
    named = [("reconciliation.default_type", sections.reconciliation.reconciliation_type)]
    named += [
        (f"strategies.scheduled.runs[{number}].type", run.type)
        for number, run in enumerate(sections.strategies.scheduled.runs)
    ]
    found = []
    for key, name in named:
        if name not in known.supported():
            meant = instead(name, known.supported())
            found.append(f"{key}: there is no type {name!r} here, and another one is run in its place{meant}")
    return found


def defaults() -> Configuration:
    """What holds where nobody says anything."""
    return load(environ={})


def _set(values: Mapping[str, object], source: str) -> tuple[Layer, set[KeyPath]]:
    """What is set, and what is taken back."""
    found: dict[KeyPath, object] = {}
    gone: set[KeyPath] = set()
    problems: list[str] = []
    for key, value in values.items():
        if key.split(".")[0] in NOT_WHILE_RUNNING:
            problems.append(f"{key} cannot be set while it runs: write it in the file, and start anew")
            continue
        try:
            path = path_of(key)
            if value is None:
                gone.add(path)
            else:
                found |= layer_of(source, nested({path: _said(value)})).values
        except ConfigurationError as error:
            problems += error.problems
    if not values:
        problems.append("nothing is set: give at least one value, such as reconciliation.batch_size=500")
    if problems:
        raise ConfigurationError(problems)
    return Layer(source, found), gone


def _said(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value of a command, whose numbers are decimals, as a file would have it."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else plain(value)
    if isinstance(value, Mapping):
        return {key: _said(one) for key, one in value.items()}
    return [_said(one) for one in value] if isinstance(value, list) else value


def _over(layers: tuple[Layer, ...], layer: Layer, gone: set[KeyPath]) -> tuple[Layer, ...]:
    """Layers with one more over them, without what it sets anew or takes back."""

    def stays(path: KeyPath) -> bool:
        return path not in layer.values and not any(path[: len(one)] == one for one in gone)

    below = [Layer(one.source, {path: v for path, v in one.values.items() if stays(path)}) for one in layers]
    return tuple(one for one in [*below, layer] if one.values)


def _flat(layers: tuple[Layer, ...]) -> dict[KeyPath, object]:
    return {path: value for layer in layers for path, value in layer.values.items()}


def _plain(value: object) -> object:
    """A value as JSON has it, without the password of a URL."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return value
