"""What a pydantic model looks like from outside: which keys there are, and what is allowed at each.

Messages about wrong values, the reference page and the reading of environment variables all rest on it, so that none
of them can say anything else than what is validated.
"""

from __future__ import annotations

from decimal import Decimal
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Place = tuple[str | int, ...]
"""Where something is: names of keys and numbers of entries, from the outside in."""
OTHER_NAMES = {"default_type": "reconciliation_type"}
"""What a key may be called too in a file."""


class Allowed(NamedTuple):
    """Beside a type: what is allowed, where the type alone does not say it."""

    text: str


class Leaf(NamedTuple):
    """One value."""

    type: Any
    metadata: tuple[object, ...] = ()


class Named(NamedTuple):
    """Entries under names that are free."""

    of: Shape


class Listed(NamedTuple):
    """Entries one after the other."""

    of: Shape
    at_least: int = 0


Shape = type[BaseModel] | Leaf | Named | Listed


def shape_of(annotation: Any, metadata: Iterable[object] = ()) -> Shape:  # noqa: ANN401 - whatever an annotation is
    """The shape of what is annotated so."""
    said = tuple(_flat(metadata))
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(args[0], (*said, *args[1:]))
    if origin in {Union, UnionType}:
        [one] = [arg for arg in args if arg is not NoneType]
        return shape_of(one, said)
    if origin is dict:
        return Named(shape_of(args[1]))
    if origin is tuple:
        return Listed(shape_of(args[0]), next((one.min_length for one in said if isinstance(one, MinLen)), 0))
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return Leaf(annotation, said)
    return shape_of(annotation.model_fields["root"].annotation) if issubclass(annotation, RootModel) else annotation


def _flat(metadata: Iterable[object]) -> Iterator[object]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from one.metadata
        else:
            yield one


def inside(shape: Shape, part: str | int) -> Shape | None:
    """What is at one key or number; None: there is nothing."""
    if isinstance(shape, Named):
        return shape.of
    if isinstance(shape, Listed):
        return shape.of if isinstance(part, int) else None
    if isinstance(shape, Leaf):
        return None
    field = shape.model_fields.get(OTHER_NAMES.get(str(part), str(part)))
    return shape_of(field.annotation, field.metadata) if field is not None else None


def at(shape: Shape, place: Sequence[str | int]) -> Shape | None:
    """What is at a place; None: there is nothing."""
    for part in place:
        found = inside(shape, part)
        if found is None:
            return None
        shape = found
    return shape


def keys(shape: Shape) -> list[str]:
    """The keys that are known there, as files call them; none where names are free."""
    if isinstance(shape, Leaf | Named | Listed):
        return []
    usual = {name: other for other, name in OTHER_NAMES.items()}
    return [usual.get(name, name) for name in shape.model_fields]


def unknown(name: object, shape: Shape) -> str:
    """What to say of a key that is not known there."""
    known = keys(shape)
    if not known:
        return f"there is no key {name!r} here"
    near = nearest(str(name), known)
    meant = f"did you mean {near!r}?" if near is not None else f"known are {', '.join(known)}"
    return f"there is no key {name!r} here; {meant}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one that was probably meant."""
    return next(iter(get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)), None)


def allowed(shape: Shape) -> str:
    """What may stand there, after `must be`."""
    if isinstance(shape, Named):
        return "a section, by name"
    if isinstance(shape, Listed):
        few = f" of at least {shape.at_least}" if shape.at_least else ""
        return f"a list{few}, each {allowed(shape.of)}"
    if isinstance(shape, Leaf):
        return _allowed_leaf(shape)
    return f"a section with {', '.join(keys(shape))}"


def _allowed_leaf(leaf: Leaf) -> str:
    own = next((one.text for one in leaf.metadata if isinstance(one, Allowed)), None)
    if own is not None:
        return own
    if get_origin(leaf.type) is Literal:
        choices = [str(choice) for choice in get_args(leaf.type)]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    low = next((one.ge for one in leaf.metadata if isinstance(one, Ge)), None)
    high = next((one.le for one in leaf.metadata if isinstance(one, Le)), None)
    bounds = (
        f" from {low} to {high}" if low is not None and high is not None
        else f" of at least {low}" if low is not None
        else ""
    )  # fmt: skip
    return {bool: "true or false", int: f"a whole number{bounds}", Decimal: f"a number{bounds}"}.get(leaf.type, "text")
