"""What a configuration is read from: files, and objects that know values by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stream_recon.domain.config import Sections
from stream_recon.domain.layers import ConfigurationError, KeyPath, Layer, layer_of, nested, resolve
from stream_recon.domain.shapes import Leaf, Listed, Named, Shape, inside, keys, nearest
from stream_recon.domain.wording import dotted, shown
from stream_recon.shell.documents import DocumentError, parse_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRONMENTS = "environments"


class Manager(Protocol):
    """Anything that knows values by their keys, as `reconciliation.batch_size`."""

    def get(self, key: str, default: Any = ...) -> Any:  # noqa: ANN401 - whatever it holds
        """The value of a key, or the default."""


class Origin(NamedTuple):
    """Where a configuration was loaded from."""

    path: Path | None = None
    environment: str | None = None
    read: str = ""
    """A hash of the file's content."""


# -- files ------------------------------------------------------------------------------------------------------------


def read_file(path: Path) -> bytes:
    """The content of a configuration file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from error


def hash_of(content: bytes) -> str:
    """By which a changed file is known."""
    return blake2b(content, digest_size=16).hexdigest()


def file_layers(path: Path, content: bytes, environment: str | None) -> tuple[Origin, tuple[Layer, ...]]:
    """The layers of a file, having seen that it holds in every environment that it names.

    Raises:
        ConfigurationError: it does not, or has no such environment.
    """
    common, sections = _parts(path, content)
    if environment is not None and environment not in sections:
        near = nearest(environment, sections)
        meant = f"did you mean {near!r}?" if near else f"it has {', '.join(sections) or 'none'}"
        raise ConfigurationError([f"{path} has no environment {environment!r}; {meant}"])
    problems: list[str] = []
    for layers in ([common], *([common, above] for above in sections.values())):
        try:
            resolve(layers)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    own = (sections[environment],) if environment is not None else ()
    return Origin(path, environment, hash_of(content)), (common, *own)


def _parts(path: Path, content: bytes) -> tuple[Layer, dict[str, Layer]]:
    """What a file says for all environments, and for each."""
    try:
        document = parse_document(path, content)
    except DocumentError as error:
        raise ConfigurationError([str(error)]) from error
    if document is None:
        raise ConfigurationError([f"{path}: is empty; write at least one section, or `{{}}` for none"])
    if not isinstance(document, Mapping):
        raise ConfigurationError([f"{path}: must be sections ({', '.join(keys(Sections))}), but is {shown(document)}"])
    source = f"file {path.name}"
    own = document.get(ENVIRONMENTS) or {}
    problems: list[str] = []
    layers: dict[str, Layer] = {}
    if not isinstance(own, Mapping):
        own = {}
        problems.append(f"{ENVIRONMENTS}: must be sections by the name of an environment ({source})")
    for name, said in {"": {k: v for k, v in document.items() if k != ENVIRONMENTS}, **own}.items():
        try:
            layers[str(name)] = layer_of(f"{source} {ENVIRONMENTS}.{name}" if name else source, said)
        except ConfigurationError as error:
            problems += [_also_environments(problem) for problem in error.problems]
    if problems:
        raise ConfigurationError(problems)
    return layers.pop(""), layers


def _also_environments(problem: str) -> str:
    """At the top of a file, `environments` is known too."""
    known = ", ".join(keys(Sections))
    return problem.replace(f"known are {known}", f"known are {known}, {ENVIRONMENTS}")


def environments_of(path: Path) -> list[str]:
    """The environments that a file names.

    Raises:
        ConfigurationError: it cannot be read, or is not as it must be.
    """
    return list(_parts(path, read_file(path))[1])


# -- other sources ----------------------------------------------------------------------------------------------------


def from_manager(manager: Manager) -> Layer:
    """The layer of any object with `.get(key, default)`; what it does not know, or knows as None, it does not set.

    It is asked for every key, as `reconciliation.default_type`, `strategies.full.batch_size`; for maps under free names
    and lists as a whole, as `severity.absolute`. Numbers may be text.

    Raises:
        ConfigurationError: what it gives is no section where one has to be.
    """
    name = f"manager {type(manager).__name__}"
    values: dict[KeyPath, object] = {}
    for path in _asked(Sections, ()):
        value = manager.get(dotted(path), None)
        if value is not None:
            values |= layer_of(name, nested({path: value})).values
    return Layer(name, values)


def _asked(shape: Shape, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(shape, Leaf | Listed | Named):
        yield path
        return
    for name in shape.model_fields:
        below = inside(shape, name)
        assert below is not None
        yield from _asked(below, (*path, name))
