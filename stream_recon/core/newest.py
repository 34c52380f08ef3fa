"""The newest state of each alert, kept small: of a discrepancy its status and kind, and all else as packed text.

A discrepancy can stand for days, and there can be a million of them; unpacked, one is some 5 kB of Python objects. What
is asked of it all the time is only whether it stands. So the rest is kept as its JSON, compressed; unpacking takes
some 5 us, and is needed only where something may have changed. Feed conditions are few, and kept as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, get_args

import msgspec
from msgspec import Struct

from stream_recon.core.compress import compress, decompress
from stream_recon.domain.discrepancies import Alert, Discrepancy, FeedCondition, Kind, Status, by_run
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(Discrepancy).decode


class _Head(NamedTuple):
    """What is asked of a discrepancy all the time."""

    kind: Kind
    status: Status
    by_run: bool


_HEADS = [_Head(*each) for each in product(get_args(Kind), get_args(Status), (False, True))]
_BYTE_OF = {head: bytes((number,)) for number, head in enumerate(_HEADS)}


class Packed(Struct, array_like=True, frozen=True, gc=False):
    """A discrepancy, put away."""

    alert_id: str
    kind: Kind
    status: Status
    text: bytes
    """Its JSON without the id, compressed."""
    by_run: bool = False
    """A run found it; the stream lane does not say so itself."""


def pack(alert: Discrepancy) -> Packed:
    """Put a discrepancy away."""
    text = _ENCODE(alert).replace(f'"{alert.alert_id}"'.encode(), b'""', 1)  # it comes first, and means nothing shorter
    return Packed(alert.alert_id, alert.kind, alert.status, compress(text), by_run(alert))


def unpack(packed: Packed) -> Discrepancy:
    """The discrepancy as it was put away; a new object each time."""
    alert = _DECODE(decompress(packed.text))
    alert.alert_id = packed.alert_id
    return alert


class Newest(MutableMapping[str, Alert]):
    """Alerts by id. What is taken out is not what is kept: to change it, put it back."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes | FeedCondition] = {}
        """Of a discrepancy its head, one byte, and its text."""
        self.standing: Counter[str] = Counter()
        """How many stand, by kind or reason."""

    def __getitem__(self, alert_id: str) -> Alert:
        kept = self._kept[alert_id]
        return unpack(_packed(alert_id, kept)) if isinstance(kept, bytes) else msgspec.structs.replace(kept)

    def __setitem__(self, alert_id: str, alert: Alert) -> None:
        self.put(pack(alert) if isinstance(alert, Discrepancy) else msgspec.structs.replace(alert))

    def __delitem__(self, alert_id: str) -> None:
        self._count(self._kept.pop(alert_id), -1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, alert_id: object) -> bool:
        return alert_id in self._kept

    def status(self, alert_id: str) -> Status | None:
        """Its status, without unpacking it; None: it is not known."""
        kept = self._kept.get(alert_id)
        if kept is None:
            return None
        return _HEADS[kept[0]].status if isinstance(kept, bytes) else kept.status

    def put(self, kept: Packed | FeedCondition) -> None:
        """Keep what was kept elsewhere."""
        before = self._kept.get(kept.alert_id)
        if before is not None:
            self._count(before, -1)
        now = (
            kept
            if isinstance(kept, FeedCondition)
            else _BYTE_OF[_Head(kept.kind, kept.status, kept.by_run)] + kept.text
        )
        self._kept[kept.alert_id] = now
        self._count(now, 1)

    def kept(self, alert_id: str) -> Packed | FeedCondition | None:
        """An alert as it is kept."""
        kept = self._kept.get(alert_id)
        return _packed(alert_id, kept) if isinstance(kept, bytes) else kept

    def is_held(self, alert_id: str) -> bool:
        """Whether the stream lane itself says that it is so, whatever people made of it."""
        kept = self._kept.get(alert_id)
        if isinstance(kept, bytes):
            head = _HEADS[kept[0]]
            return head.status != "CLEARED" and not head.by_run
        return kept is not None and kept.status != "CLEARED"

    def kind(self, alert_id: str) -> Kind | None:
        """What kind of discrepancy it is; None: it is none, or not known."""
        kept = self._kept.get(alert_id)
        return _HEADS[kept[0]].kind if isinstance(kept, bytes) else None

    def discrepancies(self) -> Iterator[Packed]:
        """All of them, as they are kept."""
        return (_packed(alert_id, kept) for alert_id, kept in self._kept.items() if isinstance(kept, bytes))

    def standing_of(self, kinds: Collection[Kind]) -> Iterator[Discrepancy]:
        """Those of some kinds that stand and that the stream lane found itself, unpacked."""
        return (alert for alert in self.held_of(kinds) if alert.status in STANDING)

    def held_of(self, kinds: Collection[Kind]) -> Iterator[Discrepancy]:
        """The same, with those that people have resolved: the stream lane still says that they are so."""
        for alert_id in list(self._kept):
            kept = self._kept.get(alert_id)
            if isinstance(kept, bytes) and _HEADS[kept[0]].kind in kinds and self.is_held(alert_id):
                yield unpack(_packed(alert_id, kept))

    def feed_conditions(self) -> Iterator[FeedCondition]:
        """All of them, as they are kept."""
        return (kept for kept in self._kept.values() if isinstance(kept, FeedCondition))

    def _count(self, kept: bytes | FeedCondition, by: int) -> None:
        kind, status = _HEADS[kept[0]][:2] if isinstance(kept, bytes) else (kept.reason, kept.status)
        if status in STANDING:
            self.standing[kind] += by


def _small(kept: Packed) -> bytes:
    return _BYTE_OF[_Head(kept.kind, kept.status, kept.by_run)] + kept.text


def _packed(alert_id: str, kept: bytes) -> Packed:
    kind, status, is_by_run = _HEADS[kept[0]]
    return Packed(alert_id, kind, status, kept[1:], is_by_run)
