"""What environment variables say of the configuration: `STREAM_RECON_RECONCILIATION__BATCH_SIZE=500`.

After the prefix come the names of sections and keys, divided by two underscores. Names that we know may be written in
capitals; names that are free (an asset, the id of a key) count as they are written. A section or a list may be given
whole, as JSON. A variable that is empty says nothing. Other variables that begin so (`STREAM_RECON_CONFIG` and the
like) are options of commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from stream_recon.domain.config import Sections
from stream_recon.domain.layers import ConfigurationError, KeyPath, Layer, layer_of
from stream_recon.domain.shapes import OTHER_NAMES, Named, Shape, inside, keys, unknown
from stream_recon.domain.wording import dotted

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "STREAM_RECON_"
_DIVIDER = "__"


class _Settings(Sections, BaseSettings):
    """The sections, as pydantic-settings looks for them in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=_DIVIDER, case_sensitive=True, env_ignore_empty=True
    )


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The layer of the environment variables.

    Raises:
        ConfigurationError: one of ours names what is not known, or is no JSON where it has to be.
    """
    variables: dict[KeyPath, str] = {}
    problems: list[str] = []
    for name in sorted(environ):
        said = name.removeprefix(PREFIX)
        if said == name or not environ[name] or not (_DIVIDER in said or said.lower() in keys(Sections)):
            continue
        try:
            variables[_path(said)] = name
        except ConfigurationError as error:
            problems += [f"{problem} (environment {name})" for problem in error.problems]
    if problems:
        raise ConfigurationError(problems)
    source = EnvSettingsSource(_Settings)
    source.env_vars = {PREFIX + _DIVIDER.join(path): environ[name] for path, name in variables.items()}
    try:
        found = source()
    except SettingsError as error:
        names = ", ".join(name for path, name in variables.items() if path[0] in str(error))
        raise ConfigurationError([f"not valid JSON, as a section or a list has to be (environment {names})"]) from error
    try:
        layer = layer_of("environment", found)
    except ConfigurationError as error:
        raise ConfigurationError(_named(problem, variables) for problem in error.problems) from error
    return layer._replace(sources={path: f"environment {_variable(path, variables)}" for path in layer.values})


def _path(said: str) -> KeyPath:
    """Where the value of a variable belongs, however it is written."""
    shape: Shape | None = Sections
    path: list[str] = []
    for part in said.split(_DIVIDER):
        assert shape is not None
        name = part if isinstance(shape, Named) else OTHER_NAMES.get(part.lower(), part.lower())
        below = inside(shape, name)
        if below is None:
            raise ConfigurationError([f"{'.'.join(path)}{': ' if path else ''}{unknown(name, shape)}"])
        shape = below
        path.append(name)
    return tuple(path)


def _named(problem: str, variables: Mapping[KeyPath, str]) -> str:
    """What is wrong inside of JSON, with the variable that holds it."""
    name = next((name for path, name in variables.items() if problem.startswith(dotted(path))), "")
    return problem.replace("(environment)", f"(environment {name})")


def _variable(path: KeyPath, variables: Mapping[KeyPath, str]) -> str:
    """The variable that says most exactly what a value is."""
    return variables[max((known for known in variables if path[: len(known)] == known), key=len)]
