"""The newest state of each alert, kept small: of a discrepancy its status and kind, and all else as packed text.

A discrepancy can stand for days, and there can be a million of them; unpacked, one is some 5 kB of Python objects. What
is asked of it all the time is only whether it stands. So the rest is kept as its JSON, deflated; unpacking takes some
10 us, and is needed only where something may have changed. Feed conditions are few, and kept as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from stream_recon.core.deflate import deflate, inflate
from stream_recon.domain.discrepancies import Alert, Discrepancy, FeedCondition, Kind, Status, by_run
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(Discrepancy).decode


class Packed(Struct, array_like=True, frozen=True, gc=False):
    """A discrepancy, put away."""

    alert_id: str
    kind: Kind
    status: Status
    text: bytes
    """Its JSON, deflated."""
    by_run: bool = False
    """A run found it; the stream lane does not say so itself."""


def pack(alert: Discrepancy) -> Packed:
    """Put a discrepancy away."""
    return Packed(alert.alert_id, alert.kind, alert.status, deflate(_ENCODE(alert)), by_run(alert))


def unpack(packed: Packed) -> Discrepancy:
    """The discrepancy as it was put away; a new object each time."""
    return _DECODE(inflate(packed.text))


class Newest(MutableMapping[str, Alert]):
    """Alerts by id. What is taken out is not what is kept: to change it, put it back."""

    def __init__(self) -> None:
        self._kept: dict[str, Packed | FeedCondition] = {}
        self.standing: Counter[str] = Counter()
        """How many stand, by kind or reason."""

    def __getitem__(self, alert_id: str) -> Alert:
        kept = self._kept[alert_id]
        return unpack(kept) if isinstance(kept, Packed) else msgspec.structs.replace(kept)

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
        return kept.status if kept is not None else None

    def put(self, kept: Packed | FeedCondition) -> None:
        """Keep what was kept elsewhere."""
        before = self._kept.get(kept.alert_id)
        if before is not None:
            self._count(before, -1)
        self._kept[kept.alert_id] = kept
        self._count(kept, 1)

    def kept(self, alert_id: str) -> Packed | FeedCondition | None:
        """An alert as it is kept."""
        return self._kept.get(alert_id)

    def id_of(self, alert_id: str) -> str:
        """The id of an alert that is kept, as it is kept: so that there is one text of it, not two."""
        return self._kept[alert_id].alert_id

    def discrepancies(self) -> Iterator[Packed]:
        """All of them, as they are kept."""
        return (kept for kept in self._kept.values() if isinstance(kept, Packed))

    def standing_of(self, kinds: Collection[Kind]) -> Iterator[Discrepancy]:
        """Those of some kinds that stand and that the stream lane found itself, unpacked."""
        return (alert for alert in self.held_of(kinds) if alert.status in STANDING)

    def held_of(self, kinds: Collection[Kind]) -> Iterator[Discrepancy]:
        """The same, with those that people have resolved: the stream lane still says that they are so."""
        for kept in list(self._kept.values()):
            if isinstance(kept, Packed) and kept.kind in kinds and kept.status != "CLEARED" and not kept.by_run:
                yield unpack(kept)

    def feed_conditions(self) -> Iterator[FeedCondition]:
        """All of them, as they are kept."""
        return (kept for kept in self._kept.values() if isinstance(kept, FeedCondition))

    def _count(self, kept: Packed | FeedCondition, by: int) -> None:
        if kept.status in STANDING:
            self.standing[kept.kind if isinstance(kept, Packed) else kept.reason] += by
