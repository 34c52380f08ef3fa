"""From bytes to one JSON object, strictly: what two readers could take differently is refused, and why is said.

Numbers stay the text they were written as, for whoever knows what they are to mean.
"""

from __future__ import annotations

import json
import re
from typing import Literal, NoReturn

MAX_VALUE_BYTES = 65_536
MAX_DEPTH = 32  # of nesting; a number of our own, so that no stack decides what is a good record

Reason = Literal[
    "empty", "too_large", "too_many_headers", "schema_registry", "bad_encoding", "not_json", "too_deep",
    "duplicate_field", "not_an_object", "unknown_type", "wrong_stream", "wrong_origin", "missing_field", "wrong_type",
    "bad_identifier", "bad_amount", "bad_value", "bad_time", "key_mismatch",
]  # fmt: skip


class Refusal(Exception):  # noqa: N818 - whoever reads a record turns it into an answer
    """A record, or a field of it, cannot be what it should: why, and one sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


class Integer(str):
    """The text of a JSON number without fraction and exponent."""

    __slots__ = ()


class Real(str):
    """The text of any other JSON number."""

    __slots__ = ()


_NESTING = re.compile(r'\\.|["\[\]{}]', re.DOTALL).finditer
_SHOWN = 60


def shown(value: object) -> str:
    """What a refusal quotes: ASCII, short, whatever it is."""
    text = ascii(str(value) if isinstance(value, Integer | Real) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def text_of(value: bytes | None) -> str:
    """The record's text.

    Raises:
        Refusal: nothing there, too much of it, or not UTF-8.
    """
    if not value:
        raise Refusal("empty", "the value is null" if value is None else "the value is empty")
    if len(value) > MAX_VALUE_BYTES:
        raise Refusal("too_large", f"{len(value)} bytes; at most {MAX_VALUE_BYTES}")
    encoding = json.detect_encoding(value)
    if encoding != "utf-8":
        if value[0] == 0 and not value.startswith((b"\x00{\x00", b"\x00\x00\x00{")):
            raise Refusal("schema_registry", "starts with a schema registry's magic byte; plain JSON is expected")
        mark = " with a byte order mark" if encoding == "utf-8-sig" else ""
        raise Refusal("bad_encoding", f"looks like {encoding.removesuffix('-sig')}{mark}; plain UTF-8 is expected")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Refusal("bad_encoding", f"not UTF-8 at byte {error.start}: {error.reason}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Refusal("duplicate_field", f"{shown(twice)} occurs more than once in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise Refusal("not_json", f"{text} is not JSON")


_PARSE = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=Integer, parse_float=Real, parse_constant=_no_constant, strict=True
).decode


def object_of(text: str) -> dict[str, object]:
    """The JSON object that the text is, numbers as their own text.

    Raises:
        Refusal: it is not exactly one JSON object with each field once, or too deep, or says what is no Unicode.
    """
    if _too_deep(text):
        raise Refusal("too_deep", f"nested more than {MAX_DEPTH} deep")
    try:
        found = _PARSE(text)
    except json.JSONDecodeError as error:
        raise Refusal("not_json", f"{error.msg} at character {error.pos}") from None
    if not isinstance(found, dict):
        raise Refusal("not_an_object", "a record must be one JSON object")
    if "\\" in text:
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Refusal("bad_encoding", "an escaped surrogate without its other half") from None
    return found


def _too_deep(text: str) -> bool:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    depth, in_string = 0, False
    for match in _NESTING(text):
        mark = match[0]
        if mark == '"':
            in_string = not in_string
        elif not in_string and mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif not in_string and mark in "]}":
            depth -= 1
    return False
