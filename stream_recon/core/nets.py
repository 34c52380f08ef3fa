"""Nets: what movements come to, measure by measure (`qty`, `notional`, `fee:<asset>`), with nothing that is zero.

Bought is positive, sold negative; a fee charged is positive, a rebate negative. The entries of a ledger have the one
measure `delta`. All is exact.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from stream_recon.domain.amounts import EXACT, to_decimal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.core.cases import Tolerance
    from stream_recon.core.movements import Move
    from stream_recon.domain.events import Fill

Net = dict[str, Decimal]
ZERO = Decimal(0)


def fee_measure(asset: str | None) -> str:
    """What a fee is summed under."""
    return f"fee:{asset}" if asset else "fee"


def net_of(move: Move) -> Net:
    """What one move moves."""
    return _net(move, move.sign)


def _net(trade: Move | Fill, sign: int) -> Net:
    """What a fill, or an entry, moves; `sign`: 1 where it counts, -1 where it no longer does."""
    qty = to_decimal(trade.qty)
    if (trade.side == "buy") != (sign > 0):
        qty = qty.copy_negate()
    if not trade.price:
        return {"delta": qty} if qty else {}
    net = {"qty": qty, "notional": EXACT.multiply(qty, to_decimal(trade.price))}
    fee = to_decimal(trade.fee) if trade.fee else ZERO
    if fee:
        net[fee_measure(trade.fee_asset)] = fee if sign > 0 else fee.copy_negate()
    return net


def sum_of(trades: Sequence[Move | Fill]) -> Net:
    """What many fills, or many entries, come to where all of them count (signs are not looked at).

    Inside the exact context operators do what its methods do, at a quarter of the cost.
    """
    if len(trades) == 1 and trades[0].price:  # as where accounts trade rarely
        return _net(trades[0], 1)
    qty = notional = ZERO
    fees: dict[str | None, Decimal] = {}
    with localcontext(EXACT):
        if not trades[0].price:
            delta = sum((Decimal(entry.qty) for entry in trades), start=ZERO)
            return {"delta": delta} if delta else {}
        for trade in trades:
            one = Decimal(trade.qty)
            if trade.side == "buy":
                qty += one
                notional += one * Decimal(trade.price)
            else:
                qty -= one
                notional -= one * Decimal(trade.price)
            if trade.fee:
                asset = trade.fee_asset
                fees[asset] = fees.get(asset, ZERO) + Decimal(trade.fee)
    net = {"qty": qty, "notional": notional} | {fee_measure(asset): fee for asset, fee in fees.items()}
    return {measure: amount for measure, amount in net.items() if amount}


def add(net: Net, more: Net) -> None:
    """Add `more` to `net`."""
    for measure, amount in more.items():
        total = EXACT.add(net.get(measure, ZERO), amount)
        if total:
            net[measure] = total
        else:
            del net[measure]


def subtract(net: Net, less: Net) -> None:
    """Take `less` from `net`."""
    for measure, amount in less.items():
        total = EXACT.subtract(net.get(measure, ZERO), amount)
        if total:
            net[measure] = total
        else:
            del net[measure]


def minus(one: Net, other: Net) -> Net:
    """`one - other`."""
    gap = dict(one)
    subtract(gap, other)
    return gap


def total(nets: Iterable[Net]) -> Net:
    """The sum of all."""
    found: Net = {}
    for net in nets:
        add(found, net)
    return found


def tolerated(ours: Move, theirs: Move, tolerance: Tolerance) -> Net:
    """The part of `theirs - ours`, of twins, that the comparison one by one does not call a difference either."""
    gap = minus(net_of(theirs), net_of(ours))
    if not ours.price:
        absolute = tolerance._replace(venue_precision=None)
        return gap if absolute.allows("delta", ours.instrument, ours.qty, theirs.qty) else {}
    asset = theirs.fee_asset or ours.fee_asset or ""
    same_qty = tolerance.allows("qty", asset, ours.qty, theirs.qty)
    same_notional = same_qty and tolerance.allows("price", asset, ours.price, theirs.price)
    same_fee = not (ours.fee and theirs.fee) or (
        (ours.fee_asset == theirs.fee_asset or not (ours.fee_asset and theirs.fee_asset))
        and tolerance.allows("fee", asset, ours.fee, theirs.fee)
    )
    same = {"qty": same_qty, "notional": same_notional}
    return {measure: amount for measure, amount in gap.items() if same.get(measure, same_fee)}
