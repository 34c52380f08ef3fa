"""What a judgement of orders, positions, balances or ledgers comes to: breaks, and what cannot be known."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from stream_recon.domain.events import Stream

if TYPE_CHECKING:
    from stream_recon.core.ledger import Entry
    from stream_recon.domain.discrepancies import FieldDifference, Identity, Interval, Kind, Reason

Subject = tuple[str, ...]
"""("position", instrument, position side), ("balance", asset), ("order", instrument, order), ("ledger",),
("parts", asset)."""

OF_BOTH = "internal:exchange"
"""The comparison of what both say."""


class Told(Struct, array_like=True, gc=False):
    """A record as evidence: who sent it, on which topic, and where it lies there."""

    origin: int
    stream: Stream
    offset: int | None
    value: bytes


class Finding(NamedTuple):
    """A break, before it is given its causes and published."""

    kind: Kind
    identity: Identity
    compared: str
    key: tuple[str, ...]
    """What tells it from others of the same account, identity, kind and comparison."""
    names: dict[str, str]
    """instrument, position_side, asset, order_id, ledger_id: those that it has."""
    event_us: int
    due_us: int
    cause: str
    fields: list[FieldDifference]
    evidence: list[Told]
    interval: Interval | None = None
    residual: Decimal | None = None
    tolerance: Decimal = Decimal(0)
    span_us: tuple[int, int] = (0, 0)
    """Movements of that time may be what it follows from."""
    wide_us: int | None = None
    """Since when what it follows from may lie, if it is not within the span."""
    entries: tuple[Entry | None, Entry | None] = (None, None)
    """Of ledgers, what internal and exchange say; of contradicting copies the first and the second."""
    signs: tuple[int, int] = (-1, 1)
    """How a movement that only internal, only exchange has would change the residual, if it is that that is wrong."""


class Unknown(NamedTuple):
    """Something of which nothing can be said: why, and whose records of which topic stand in the way."""

    reason: Reason
    origin: int
    stream: Stream
    compared: str
    key: tuple[str, ...]


class Verdict(NamedTuple):
    """All that is to be said of one subject now."""

    breaks: list[Finding]
    unknown: list[Unknown]
    agreed_us: int = -1
    """Since when the snapshots of both agree: how they differed before is over."""
