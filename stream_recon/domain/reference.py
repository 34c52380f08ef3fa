"""The reference of every key of the configuration, as a page has it: made from the models, so that it is true."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.domain.config import Override, ReconciliationConfig, Sections
from stream_recon.domain.docstrings import field_docs
from stream_recon.domain.shapes import Leaf, Listed, Named, Shape, allowed, shape_of
from stream_recon.domain.wording import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_FREE = {"absolute": "<asset>", "budget": "<asset>", "keys": "<key id>", "roles": "<role>"}
_NINE = "<any of the nine>"


class Entry(NamedTuple):
    """One key."""

    key: str
    default: str
    allowed: str
    effect: str


def entries() -> list[Entry]:
    """Every key, in the order of the sections."""
    nine = Entry(f"strategies.<type>.{_NINE}", "as in `reconciliation`", "as there", "The same, for one type.")
    found = list(_entries(Sections, ""))
    first = next(number for number, entry in enumerate(found) if entry.key.startswith("strategies."))
    return [*found[:first], nine, *found[first:]]


def _entries(model: type[BaseModel], before: str) -> Iterator[Entry]:
    words = field_docs(model)
    for name, field in model.model_fields.items():
        if issubclass(model, Override) and name in Override.model_fields:
            continue
        key = f"{before}{dotted((name,))}"
        shape = shape_of(field.annotation, field.metadata)
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield from _of(key, name, shape, default, words.get(name, ""))


def _of(key: str, name: str, shape: Shape, default: str, effect: str) -> Iterator[Entry]:
    if isinstance(shape, Named):
        yield from _of(f"{key}.{_FREE[name]}", name, shape.of, "none", effect)
    elif isinstance(shape, Listed) and not isinstance(shape.of, Leaf | Named | Listed):
        yield Entry(key, default, "a list", effect)
        yield from _entries(shape.of, f"{key}[].")
    elif isinstance(shape, Leaf | Listed):
        yield Entry(key, default, allowed(shape), effect)
    elif shape is Override and not key.startswith("strategies.scheduled"):
        return
    elif shape is Override:
        yield Entry(f"{key}.{_NINE}", "as of its type", "as in `reconciliation`", effect)
    else:
        yield from _entries(shape, f"{key}.")


def _default(value: object) -> str:
    if value is None or value in ({}, ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, str | int | Decimal) else ""


def table() -> str:
    """The reference as a Markdown table."""
    lines = ["| key | default | allowed | effect |", "|---|---|---|---|"]
    lines += [f"| `{e.key}` | {e.default} | {_cell(e.allowed)} | {_cell(e.effect)} |" for e in entries()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


assert len(ReconciliationConfig.model_fields) == 9, "the reference calls them the nine"  # noqa: PLR2004 - as it says
