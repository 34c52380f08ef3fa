"""Exact arithmetic on amounts: what is added, subtracted and compared here is never rounded, and never a float.

An amount on the wire has at most 38 significant digits and 18 decimals. `EXACT` holds a product of two of them, and
sums of as many as will ever be added; it raises `decimal.Inexact` where a result would not fit.
"""

from __future__ import annotations

from decimal import ROUND_UP, Clamped, Context, Decimal, Inexact, InvalidOperation, Overflow, Underflow

EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Clamped, Overflow, Underflow])
_UP = Context(prec=120, rounding=ROUND_UP)
_SIZE_STEP = Decimal("1E-12")
_ZERO = Decimal(0)


def to_decimal(amount: str) -> Decimal:
    """The number that an amount's text says, with its scale.

    Raises:
        decimal.InvalidOperation: the text is no number.
    """
    return Decimal(amount)  # of text it is exact in any context


def plain(number: Decimal) -> str:
    """The one text of a number: no exponent, no zeros that say nothing, no minus before zero."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def difference(one: str, other: str) -> Decimal:
    """`one - other`, exactly."""
    return EXACT.subtract(to_decimal(one), to_decimal(other))


def relative_size(one: str, other: str) -> Decimal:
    """|one - other| / max(|one|, |other|), a fraction from 0 to 2.

    Rounded up to 12 decimals: so it is above a threshold of up to 12 decimals exactly if the true quotient is.
    """
    gap = difference(one, other).copy_abs()
    if not gap:
        return _ZERO
    larger = max(to_decimal(one).copy_abs(), to_decimal(other).copy_abs())
    return _UP.quantize(_UP.divide(gap, larger), _SIZE_STEP)
