"""What is wrong with what somebody wrote down, in our own words: where, what is allowed there, and what was found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stream_recon.domain.shapes import OTHER_NAMES, Leaf, Named, allowed, at, shape_of, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from stream_recon.domain.shapes import Place, Shape

_SHOWN = 60
_USUAL = {name: other for other, name in OTHER_NAMES.items()}
_SECRET = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
_KEY = "[key]"
"""How pydantic marks that it is a name which is wrong."""


def told(
    error: ValidationError, model: type[BaseModel], spoken: Callable[[Place], str] | None = None
) -> list[str]:  # fmt: skip
    """One sentence for each thing that is wrong with what was given for `model`.

    `spoken`: how a place is called; without it, dotted.
    """
    say = spoken or dotted
    errors = error.errors(include_url=False)
    inner = {one["loc"][:end] for one in errors for end in range(len(one["loc"]))}
    wrong = [one for one in errors if one["type"] != "too_short" or one["loc"] not in inner]
    return list(dict.fromkeys(_told(one, shape_of(model), say) for one in wrong))


def _told(one: ErrorDetails, shape: Shape, say: Callable[[Place], str]) -> str:
    place, kind = one["loc"], one["type"]
    if kind == "extra_forbidden":
        around = at(shape, place[:-1])
        where = f"{say(place[:-1])}: " if place[:-1] else ""
        return f"{where}{unknown(place[-1], around if around is not None else Leaf(str))}"
    if place and place[-1] == _KEY:
        return f"{say(place[:-2])}: {shown(place[-2])} cannot be a name here"
    where = f"{say(place)}: " if place else ""
    if kind == "value_error":
        return f"{where}{one['ctx']['error']}"
    here = at(shape, place) or _around(shape, place)
    if kind == "missing":
        return f"{where}is missing; it must be {allowed(here)}"
    return f"{where}must be {allowed(here)}, but is {shown(one['input'])}"


def _around(shape: Shape, place: Sequence[str | int]) -> Shape:
    """What is as near to a place as is known."""
    while place:
        place = place[:-1]
        found = at(shape, place)
        if found is not None:
            return found
    return Named(Leaf(str))


def dotted(place: Place) -> str:
    """A place as it is written: `strategies.scheduled.runs[0].cron`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{_USUAL.get(part, part)}" if text else _usual(part)
    return text


def _usual(part: str | int) -> str:
    return _USUAL.get(str(part), str(part))


def shown(value: object) -> str:
    """A value as it may be quoted: short, and without the password of a URL."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = repr(masked(value))
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...'"
    if isinstance(value, dict):
        return "a section" if value else "an empty section"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return str(value)[:_SHOWN]


def masked(text: str) -> str:
    """A text without the password of a URL in it."""
    return _SECRET.sub(r"\1:***@", text)
