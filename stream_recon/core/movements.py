"""Movements: what one record of fills changed, and what that does to positions and balances.

A trade counts from its own time on. A correction takes back what counted and counts instead, a bust takes it back, each
at its own time. So every accepted record of one origin is one or two `Move`s, and at any time the sum of the moves so
far is what that origin's fills come to.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from stream_recon.domain.amounts import EXACT, to_decimal
from stream_recon.domain.events import Side

if TYPE_CHECKING:
    from stream_recon.core.ledger import Entry
    from stream_recon.domain.events import Fill, PositionSide
    from stream_recon.domain.instruments import Instrument

Key = tuple[str, ...]
"""(instrument, position side) of a position, (asset,) of a balance."""
Untold = Literal["UNMAPPED_INSTRUMENT", "PARTIAL"]
ZERO = Decimal(0)


class Move(Struct, array_like=True, gc=False):
    """One fill that counts from a time on (`sign` 1), or no longer (-1), or a record that changes nothing (0).

    Or one entry of a ledger (`posting_of`).
    """

    ts_us: int
    seq: int
    """The place of its record among the accepted fills of this account and origin, in log order."""
    sign: int
    instrument: str
    trade_id: str
    """Of the record itself: of a correction its own, not its root's."""
    side: Side
    qty: str
    price: str
    fee: str | None = None
    fee_asset: str | None = None
    position_side: str | None = None
    realized_pnl: str | None = None
    order_id: str | None = None
    client_order_id: str | None = None

    def signed_qty(self) -> Decimal:
        """What was bought, or minus what was sold; also in hedge mode, where a sell reduces the long."""
        qty = to_decimal(self.qty)
        return qty if (self.side == "buy") == (self.sign > 0) else qty.copy_negate()

    def signed_fee(self) -> Decimal:
        """What was charged."""
        return _signed(self.sign, self.fee) if self.fee else ZERO


def move_of(fill: Fill, seq: int) -> Move:
    """A trade, counting from its own time on."""
    return Move(
        fill.ts_us, seq, 1, fill.instrument, fill.trade_id, fill.side, fill.qty, fill.price, fill.fee, fill.fee_asset,
        fill.position_side, fill.realized_pnl, fill.order_id, fill.client_order_id,
    )  # fmt: skip


def posting_of(entry: Entry) -> Move:
    """An entry of a ledger, as a move: so much of its asset, at no price."""
    return Move(entry.ts_us, entry.seq, 1, entry.asset, entry.ledger_id, "buy", entry.delta, "")


def _signed(sign: int, amount: str) -> Decimal:
    """Without arithmetic, which would round."""
    number = to_decimal(amount)
    return number if sign > 0 else number.copy_negate()


def position_key(instrument: str, position_side: PositionSide | str | None) -> Key:
    """What a position is told apart by."""
    return instrument, position_side or "net"


def position_delta(move: Move, instrument: Instrument | None) -> Decimal:
    """How a move changes its position: a spot fee that is charged in what is traded is part of it."""
    delta = move.signed_qty()
    if instrument is None or instrument.kind != "spot":
        return delta
    if move.fee and move.fee_asset in {instrument.base, move.instrument}:
        delta = EXACT.subtract(delta, move.signed_fee())
    return delta


def balance_deltas(move: Move, instrument: Instrument) -> dict[str, Decimal]:
    """How a move changes balances, by asset.

    spot: base and quote change hands; else the settlement asset takes the realised profit. The fee is paid in
    `fee_asset`; where that is not told, in the settlement or quote asset. Some venues call what is traded by the name
    of the pair, in fees too.
    """
    found: dict[str, Decimal] = {}
    if instrument.kind == "spot":
        qty = move.signed_qty()
        assert instrument.base is not None
        assert instrument.quote is not None
        found[instrument.base] = qty
        found[instrument.quote] = EXACT.subtract(
            found.get(instrument.quote, ZERO), EXACT.multiply(qty, to_decimal(move.price))
        )
    else:
        assert instrument.settle is not None
        found[instrument.settle] = _signed(move.sign, move.realized_pnl or "0")
    pays = move.fee_asset or instrument.settle or instrument.quote
    if pays == move.instrument and instrument.kind == "spot":
        pays = instrument.base
    assert pays is not None
    found[pays] = EXACT.subtract(found.get(pays, ZERO), move.signed_fee())
    return found


def untold(move: Move, instrument: Instrument | None) -> Untold | None:
    """Why what a move does to balances is not fully known."""
    if instrument is None:
        return "UNMAPPED_INSTRUMENT"
    lacks_profit = instrument.kind != "spot" and move.realized_pnl is None
    return "PARTIAL" if lacks_profit or move.fee is None else None
