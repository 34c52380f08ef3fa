"""What was probably meant by a name that there is not."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 128  # longer than any name there is; it takes time by the square of its length


def instead(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says a name is unknown: what is near it, else all there is."""
    names = list(known)
    meant = nearest(name, names)
    return f"; did you mean {meant}?" if meant is not None else f"; there are {', '.join(names)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What is near a name; None: nothing."""
    close = get_close_matches(name, list(known), n=1) if len(name) <= _LONGEST else []
    return close[0] if close else None
