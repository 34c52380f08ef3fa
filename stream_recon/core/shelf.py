"""The cases of a book, kept small: one is unpacked when a record comes for it or it falls due, and put back afterwards.

A case that stands is rarely looked at, and may stand for days. So between two drains those that were looked at are
objects, which may be changed in place; `settle` packs them again, and keeps up how their records count, so that nothing
has to go through all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from struct import Struct as StructForm
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from stream_recon.core.cases import Case, categories
from stream_recon.core.compress import compress, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Case).decode


_KINDS = ("matched", "open", "discrepant")
_HEAD_FORM = StructForm("<BHH")
"""Before the text of a case: how its records count, how many of them, and how many are superseded."""


class _Taken(Struct):
    case: Case
    before: bytes = b""
    """Its encoding when it was unpacked, and what that was compressed to."""
    text: bytes = b""


class Shelf(MutableMapping[str, Case]):
    """Cases by key. What is taken out may be changed until `settle`."""

    def __init__(self, stands: Callable[[Case], bool]) -> None:
        self._stands = stands
        self._kept: dict[str, bytes | None] = {}
        """Its head and its text; None: it has never been packed."""
        self._taken: dict[str, _Taken] = {}
        self._counts: Counter[str] = Counter()

    def __getitem__(self, key: str) -> Case:
        taken = self._taken.get(key)
        if taken is None:
            taken = self._taken[key] = _unpack(self.packed(key))
        return taken.case

    def peek(self, key: str) -> Case | None:
        """A case to be read only: it is not taken out; None: there is none."""
        taken = self._taken.get(key)
        if taken is not None:
            return taken.case
        return _unpack(self.packed(key)).case if key in self._kept else None

    def __setitem__(self, key: str, case: Case) -> None:
        self._kept.setdefault(key, None)
        self._taken[key] = _Taken(case)

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
        for key, taken in self._taken.items():
            self._count(self._kept[key], -1)
            case, now = taken.case, _ENCODE(taken.case)
            counted = categories(case, standing=self._stands(case))
            superseded = counted.pop("superseded")
            [(kind, number)] = counted.items()
            head = _HEAD_FORM.pack(_KINDS.index(kind), number, superseded)
            self._kept[key] = kept = head + (taken.text if now == taken.before else compress(now))
            self._count(kept, 1)
        self._taken.clear()

    def put(self, text: bytes) -> tuple[Case, Case | None]:
        """Keep a case that was packed elsewhere; gives it, and what was kept of its key before."""
        taken = _unpack(text)
        key = taken.case.key
        before = self.get(key)
        self._kept.setdefault(key, None)
        self._taken[key] = taken
        return taken.case, before

    def packed(self, key: str) -> bytes:
        """A case as it was settled.

        Raises:
            KeyError: there is none.
        """
        kept = self._kept[key]
        assert kept is not None
        return kept[_HEAD_FORM.size :]

    @property
    def counts(self) -> Counter[str]:
        """How the records of all cases count."""
        self.settle()
        return +self._counts

    def undecided(self) -> Iterator[str]:
        """The keys of the cases of which nothing stands."""
        self.settle()
        return iter([key for key, kept in self._kept.items() if kept is not None and _KINDS[kept[0]] != "discrepant"])

    def _count(self, kept: bytes | None, by: int) -> None:
        if kept is not None:
            kind, number, superseded = _HEAD_FORM.unpack_from(kept)
            self._counts[_KINDS[kind]] += by * number
            self._counts["superseded"] += by * superseded


def _unpack(text: bytes) -> _Taken:
    encoded = decompress(text)
    return _Taken(_DECODE(encoded), encoded, text)
