"""What the records of one origin about one trade count for: the movements that a case makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream_recon.core.describe import record_of, split_key
from stream_recon.core.movements import Move

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.core.cases import Seen


def moves_of(key: str, side: Sequence[Seen]) -> list[Move]:
    """The movements that one side's records (in log order) make, each at its own time.

    The first trade counts; a copy of it moves nothing, even where it differs, nor does a trade that is younger than
    what amends it. A record that moves nothing is a move of sign 0: snapshots may be anchored to it. One that was
    agreed and put away (time 0) has been counted before.
    """
    found: list[Move] = []
    holds: Seen | None = None
    known = False
    for seen in sorted(side, key=lambda each: each.ts_us):
        after = holds if seen.exec == "trade" and known else None if seen.exec == "bust" else seen
        known = True
        if seen.ts_us and after is holds:
            found.append(_move(key, seen, seen, 0))
        elif seen.ts_us:
            found += [_move(key, holds, seen, -1)] if holds is not None else []
            found += [_move(key, after, seen, 1)] if after is not None else []
        holds = after
    return found


def held(key: str, side: Sequence[Seen], others: Iterable[Seen] = ()) -> Move | None:
    """What one side's records come to; what was put away of it (its order) is what the others say."""
    holds: Seen | None = None
    known = False
    for seen in sorted(side, key=lambda each: each.ts_us):
        if seen.exec != "trade" or not known:
            holds = None if seen.exec == "bust" else seen
            known = True
    if holds is None:
        return None
    return _move(key, holds, next((seen for seen in (holds, *side, *others) if seen.value is not None), holds), 1)


def _move(key: str, what: Seen, at: Seen, sign: int) -> Move:
    """A fill that counts, or no longer, from a record on."""
    _, instrument, _, _ = split_key(key)
    qty, price, fee, fee_asset, position_side, side = what.content.split("\x1f")
    record: dict[str, Any] = _record(what) or _record(at)
    return Move(
        at.ts_us, at.seq, sign, instrument, at.trade_id, "buy" if side == "buy" else "sell", qty, price, fee or None,
        fee_asset or None, position_side, what.realized_pnl, record.get("order_id"), record.get("client_order_id"),
    )  # fmt: skip


def _record(seen: Seen) -> dict[str, object]:
    return record_of(seen.value) if seen.value is not None else {}
