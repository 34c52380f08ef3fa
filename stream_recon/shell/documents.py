"""Files that people write: TOML, YAML or JSON, by the suffix."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yaml.nodes import MappingNode


class DocumentError(ValueError):
    """A file cannot be read, or is not what its suffix says; the text names it."""


def read_document(path: Path) -> object:
    """The content of a file.

    Raises:
        DocumentError: it cannot be read, or is not what its suffix says.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from error
    return parse_document(path, text)


def parse_document(path: Path, content: bytes) -> object:
    """What these bytes say, by the suffix of the file that they are from.

    Raises:
        DocumentError: they are not what the suffix says.
    """
    try:
        return _PARSERS.get(path.suffix.lower(), _json)(content.decode("utf-8-sig"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise DocumentError(f"{path}: not valid {path.suffix[1:] or 'JSON'}: {error}") from error


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error, instead of the first one being forgotten."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode) and name.value != "<<"]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{doubled!r} is given twice in line {node.start_mark.line + 1} and below")
        return super().construct_mapping(node, deep)


def _yaml(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


_PARSERS: dict[str, Callable[[str], object]] = {".toml": tomllib.loads, ".yaml": _yaml, ".yml": _yaml, ".json": _json}
