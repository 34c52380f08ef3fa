"""The cases of a book, kept small: one is unpacked when a record comes for it or it falls due, and put back afterwards.

A case that stands is rarely looked at, and may stand for days. So between two drains those that were looked at are
objects, which may be changed in place; `settle` packs them again, and keeps up how their records count, so that nothing
has to go through all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from stream_recon.core.cases import Case, categories
from stream_recon.core.deflate import deflate, inflate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Case).decode


def unpack_case(text: bytes) -> Case:
    """A case as it was packed; a new object each time."""
    return _DECODE(inflate(text))


class _Kept(Struct, gc=False):
    text: bytes
    kind: str
    """How its records count."""
    number: int
    superseded: int


class Shelf(MutableMapping[str, Case]):
    """Cases by key. What is taken out may be changed until `settle`."""

    def __init__(self, stands: Callable[[Case], bool]) -> None:
        self._stands = stands
        self._kept: dict[str, _Kept | None] = {}
        """None: it has never been packed."""
        self._taken: dict[str, Case] = {}
        self._counts: Counter[str] = Counter()

    def __getitem__(self, key: str) -> Case:
        case = self._taken.get(key)
        if case is None:
            kept = self._kept[key]
            assert kept is not None
            case = self._taken[key] = unpack_case(kept.text)
        return case

    def __setitem__(self, key: str, case: Case) -> None:
        self._kept.setdefault(key, None)
        self._taken[key] = case

    def __delitem__(self, key: str) -> None:
        self._count(self._kept.pop(key), -1)
        self._taken.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def settle(self) -> None:
        """Put back what was taken out."""
        for key, case in self._taken.items():
            self._count(self._kept[key], -1)
            counted = categories(case, standing=self._stands(case))
            superseded = counted.pop("superseded")
            [(kind, number)] = counted.items()
            self._kept[key] = kept = _Kept(deflate(_ENCODE(case)), kind, number, superseded)
            self._count(kept, 1)
        self._taken.clear()

    def packed(self, key: str) -> bytes:
        """A case, settled, as it is kept."""
        kept = self._kept[key]
        assert kept is not None
        return kept.text

    @property
    def counts(self) -> Counter[str]:
        """How the records of all cases count."""
        self.settle()
        return +self._counts

    def _count(self, kept: _Kept | None, by: int) -> None:
        if kept is not None:
            self._counts[kept.kind] += by * kept.number
            self._counts["superseded"] += by * kept.superseded
