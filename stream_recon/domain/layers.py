"""Layers of configuration: who sets what, and which of several holds.

A layer is what one source says: a file, its section for an environment, the environment variables, a command. The last
layer that sets a value has it. Maps under free names (limits by asset, keys by id) are joined entry by entry; a list
(the scheduled runs, the roles of a key) is one value, replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from stream_recon.domain.config import Sections
from stream_recon.domain.shapes import OTHER_NAMES, Leaf, Listed, Named, Shape, allowed, inside, shape_of, unknown
from stream_recon.domain.types import ReconciliationType
from stream_recon.domain.wording import dotted, shown, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_recon.domain.shapes import Place

KeyPath = tuple[str, ...]
DEFAULT = "default"
_LAST_NAMES = {Leaf, Listed}


class ConfigurationError(ValueError):
    """A configuration is not as it must be; one sentence for each thing that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


class Layer(NamedTuple):
    """What one source sets."""

    source: str
    """As people read it: `file recon.yaml environments.production`."""
    values: Mapping[KeyPath, object]
    sources: Mapping[KeyPath, str] = {}
    """Where single values come from, if more can be said than `source`."""

    def source_of(self, path: KeyPath) -> str:
        """Where one of its values comes from."""
        return self.sources.get(path, self.source)


class Effective(NamedTuple):
    """What holds, and who said so."""

    sections: Sections
    sources: Mapping[KeyPath, str]
    """Of what is set; the rest is as it is by default."""


def layer_of(source: str, content: object) -> Layer:
    """The layer that sets what a mapping of sections says.

    Raises:
        ConfigurationError: a key is not known, or a section is none.
    """
    problems: list[str] = []
    values = dict(_values(Sections, content, (), problems))
    if problems:
        raise ConfigurationError(f"{problem} ({source})" for problem in problems)
    return Layer(source, values)


def _values(shape: Shape, content: object, path: KeyPath, problems: list[str]) -> Iterator[tuple[KeyPath, object]]:
    """Every value in a section, however deep."""
    where = f"{dotted(path)}: " if path else ""
    if isinstance(shape, Leaf | Listed):
        if content is None:
            problems.append(f"{where}is empty; it must be {allowed(shape)}, or the key left out")
        else:
            yield path, content
        return
    if content is None:  # a section of which all is commented out
        return
    if not isinstance(content, Mapping):
        problems.append(f"{where}must be {allowed(shape)}, but is {shown(content)}")
        return
    for name, value in content.items():
        if not isinstance(name, str):
            problems.append(f"{where}a name must be text, but is {shown(name)}; write it in quotes")
            continue
        below = inside(shape, name)
        if below is None:
            problems.append(f"{where}{unknown(name, shape)}")
            continue
        one = (*path, name if isinstance(shape, Named) else OTHER_NAMES.get(name, name))
        yield from _values(below, value, one, problems)


def path_of(key: str) -> KeyPath:
    """Where the value is that is written so: `severity.absolute.BTC.dust`. Names that are free may hold dots.

    Raises:
        ConfigurationError: there is no such value.
    """
    parts = key.split(".")
    shape: Shape = Sections
    path: KeyPath = ()
    while parts and not isinstance(shape, Leaf | Listed):
        if isinstance(shape, Named):
            taken = max(1, len(parts) - _depth(shape.of))
            name, parts = ".".join(parts[:taken]), parts[taken:]
        else:
            name, parts = parts[0], parts[1:]
        below = inside(shape, name)
        if below is None:
            where = f"{dotted(path)}: " if path else ""
            raise ConfigurationError([f"{where}{unknown(name, shape)}"])
        path = (*path, name if isinstance(shape, Named) else OTHER_NAMES.get(name, name))
        shape = below
    if parts:
        raise ConfigurationError([f"{dotted(path)} is a value: there is no {key!r} in it"])
    return path


def _depth(shape: Shape) -> int:
    return 0 if type(shape) in _LAST_NAMES else 1


def resolve(layers: Iterable[Layer]) -> Effective:
    """What holds when each layer is laid over those before it.

    Raises:
        ConfigurationError: a value is not allowed, by itself or beside the others.
    """
    values: dict[KeyPath, object] = {}
    sources: dict[KeyPath, str] = {}
    for layer in layers:
        values.update(layer.values)
        sources.update({path: layer.source_of(path) for path in layer.values})

    def spoken(place: Place) -> str:
        parts = tuple(str(part) for part in place)
        source = next((sources[parts[:end]] for end in range(len(parts), 0, -1) if parts[:end] in sources), None)
        return f"{dotted(place)} ({source})" if source is not None else dotted(place)

    try:
        sections = Sections.model_validate(nested(values))
    except ValidationError as error:
        raise ConfigurationError(told(error, Sections, spoken)) from error
    if problems := list(_by_type(sections)):
        raise ConfigurationError(problems)
    return Effective(sections, sources)


def _by_type(sections: Sections) -> Iterator[str]:
    """What is wrong with the nine fields once those of a type, or of a scheduled run, are laid over the common ones."""
    asked: list[tuple[Place, str, Mapping[str, Any], str | None]] = [
        (("strategies", name), name, {}, None) for name in ReconciliationType
    ]
    asked += [
        (("strategies", "scheduled", "runs", number, "params"), "scheduled", run.params.given(), run.type)
        for number, run in enumerate(sections.strategies.scheduled.runs)
    ]
    for place, name, params, inner in asked:
        try:
            sections.config_for(name, params, inner)
        except ValidationError as error:
            yield from (f"{dotted(place)}: {problem}" for problem in told(error, type(sections.reconciliation)))


def nested(values: Mapping[KeyPath, object]) -> dict[str, Any]:
    """Values by path as sections in each other."""
    whole: dict[str, Any] = {}
    for path, value in values.items():
        section = whole
        for name in path[:-1]:
            section = section.setdefault(name, {})
        section[path[-1]] = value
    return whole


def values_of(sections: Sections) -> dict[KeyPath, object]:
    """Every value that holds, in the order of the sections; of those that are None by default, what is set."""
    return {path: value for path, value in _held(sections, shape_of(Sections), ()) if value is not None}


def _held(value: Any, shape: Shape, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:  # noqa: ANN401 - by its shape
    if isinstance(shape, Named):
        for name, one in value.items():
            yield from _held(one, shape.of, (*path, name))
    elif isinstance(shape, Leaf | Listed):
        yield path, value
    else:
        for name in shape.model_fields:
            below = inside(shape, name)
            assert below is not None
            yield from _held(getattr(value, name), below, (*path, name))
