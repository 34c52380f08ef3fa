"""What a field may hold: one function for each meaning, from (its name, a JSON value) to what is kept of it.

Each raises `Refusal` with a sentence that names the field and quotes what it was given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stream_recon.domain.events import DIGITS, EARLIEST_US, MAX_INTEGER
from stream_recon.domain.strict_json import Integer, Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_IDENTIFIER_BYTES = 128

_AMOUNT = re.compile(f"-?{DIGITS}").fullmatch
_NOT_ZERO = re.compile("[1-9]").search
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search


def identifier(name: str, value: object) -> str:
    """1 to 128 bytes, no control characters."""
    if type(value) is not str:
        raise Refusal("wrong_type", f"{name} must be a string, not {shown(value)}")
    if not 1 <= len(value.encode()) <= MAX_IDENTIFIER_BYTES:
        raise Refusal("bad_identifier", f"{name} must have 1 to {MAX_IDENTIFIER_BYTES} bytes: {shown(value)}")
    if _CONTROL(value):
        raise Refusal("bad_identifier", f"{name} holds a control character: {shown(value)}")
    return value


def venue(name: str, value: object) -> str:
    """An identifier without the divider of accounts."""
    text = identifier(name, value)
    if "|" in text:
        raise Refusal("bad_identifier", f"{name} must not hold |, which divides it from the account: {shown(text)}")
    return text


def amount(name: str, value: object) -> str:
    """The text of a decimal, from a string or a number."""
    if not isinstance(value, str):
        raise Refusal("wrong_type", f"{name} must be a decimal in a string, not {shown(value)}")
    if not _AMOUNT(value):
        raise Refusal(
            "bad_amount",
            f"{name} must be a plain decimal of at most 38 significant digits and 18 decimals: {shown(value)}",
        )
    return str(value)


def non_negative(name: str, value: object) -> str:
    """An amount, not below zero."""
    text = amount(name, value)
    if text[0] == "-" and _NOT_ZERO(text):
        raise Refusal("bad_amount", f"{name} must not be below zero: {shown(text)}")
    return text


def positive(name: str, value: object) -> str:
    """An amount above zero."""
    text = amount(name, value)
    if text[0] == "-" or not _NOT_ZERO(text):
        raise Refusal("bad_amount", f"{name} must be above zero: {shown(text)}")
    return text


def integer(name: str, value: object) -> int:
    """What every JSON reader keeps exactly."""
    if not isinstance(value, Integer):
        raise Refusal("wrong_type", f"{name} must be an integer, not {shown(value)}")
    if len(value) > len(str(MAX_INTEGER)) + 1 or not 0 <= int(value) <= MAX_INTEGER:
        raise Refusal("bad_value", f"{name} must be from 0 to {MAX_INTEGER}: {shown(value)}")
    return int(value)


# A time of this century in another unit has this many digits.
_UNITS = {10: "seconds", 13: "milliseconds", 19: "nanoseconds"}


def time_us(name: str, value: object) -> int:
    """Microseconds since the epoch."""
    if not isinstance(value, Integer):
        raise Refusal("wrong_type", f"{name} must be an integer of microseconds, not {shown(value)}")
    if len(value) > len(str(MAX_INTEGER)) or not EARLIEST_US <= int(value) <= MAX_INTEGER:
        unit = _UNITS.get(len(value))
        hint = f" (looks like {unit})" if unit and not value.startswith("-") else ""
        raise Refusal("bad_time", f"{name} must be microseconds since 1970, from 2009 on: {shown(value)}{hint}")
    return int(value)


def one_of(allowed: tuple[str, ...]) -> Callable[[str, object], str]:
    """A check for one of a few words."""

    def check(name: str, value: object) -> str:
        if type(value) is not str or value not in allowed:
            raise Refusal("bad_value", f"{name} must be one of {', '.join(allowed)}: {shown(value)}")
        return value

    return check
