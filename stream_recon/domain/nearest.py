"""What was probably meant by a name that there is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_recon.domain.shapes import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 128  # longer than any name there is; to compare takes time by the length


def instead(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says a name is unknown: what is near it, else all there is."""
    names = list(known)
    close = nearest(name[:_LONGEST], names)
    return f"; did you mean {close}?" if close is not None else f"; there are {', '.join(names)}"
