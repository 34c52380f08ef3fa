"""The definition of a valid record: one value, one rule after the other, each refusal with its reason.

Slow (some ten microseconds) and plain on purpose: it shares no parser with `domain.decode`, which is held against it.
"""

from __future__ import annotations

import json
import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, get_args, get_type_hints

from msgspec import Struct

from stream_recon.domain.events import (
    DIGITS,
    EARLIEST_US,
    MAX_INTEGER,
    STREAM_OF,
    Amount,
    Anchor,
    Event,
    Fill,
    Heartbeat,
    Identifier,
    NonNegative,
    Order,
    Positive,
    Sequence,
    TimeUs,
    Venue,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream_recon.domain.events import Origin, Stream

MAX_VALUE_BYTES = 65_536
MAX_HEADERS = 64
MAX_DEPTH = 32  # of nesting; a number of our own, so that no stack decides what is a good record
MAX_IDENTIFIER_BYTES = 128
AHEAD_US = 300_000_000  # how far an event may be ahead of Kafka's time of its record

Reason = Literal[
    "empty", "too_large", "too_many_headers", "schema_registry", "bad_encoding", "not_json", "too_deep",
    "duplicate_field", "not_an_object", "unknown_type", "wrong_stream", "wrong_origin", "missing_field", "wrong_type",
    "bad_identifier", "bad_amount", "bad_value", "bad_time", "key_mismatch",
]  # fmt: skip


class Rejected(Struct, frozen=True):
    """A record that cannot be understood, and why."""

    reason: Reason
    detail: str
    """One sentence; what it quotes of the record is ASCII and short."""
    account: str | None = None
    """The account its key names (in a file: itself), where it names one."""
    stage: str = "decode"


class _Refusal(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


class _Integer(str):
    """The text of a JSON number without fraction and exponent."""

    __slots__ = ()


class _Real(str):
    """The text of any other JSON number."""

    __slots__ = ()


_AMOUNT = re.compile(f"-?{DIGITS}").fullmatch
_NOT_ZERO = re.compile("[1-9]").search
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search
_NESTING = re.compile(r'\\.|["\[\]{}]', re.DOTALL).finditer
_SHOWN = 60


def _shown(value: object) -> str:
    """What a refusal quotes: ASCII, short, whatever it is."""
    text = ascii(str(value) if isinstance(value, _Integer | _Real) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _identifier(name: str, value: object) -> str:
    if type(value) is not str:
        raise _Refusal("wrong_type", f"{name} must be a string, not {_shown(value)}")
    if not 1 <= len(value.encode()) <= MAX_IDENTIFIER_BYTES:
        raise _Refusal("bad_identifier", f"{name} must have 1 to {MAX_IDENTIFIER_BYTES} bytes: {_shown(value)}")
    if _CONTROL(value):
        raise _Refusal("bad_identifier", f"{name} holds a control character: {_shown(value)}")
    return value


def _venue(name: str, value: object) -> str:
    venue = _identifier(name, value)
    if "|" in venue:
        raise _Refusal("bad_identifier", f"{name} must not hold |, which divides it from the account: {_shown(venue)}")
    return venue


def _amount(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _Refusal("wrong_type", f"{name} must be a decimal in a string, not {_shown(value)}")
    if not _AMOUNT(value):
        raise _Refusal(
            "bad_amount",
            f"{name} must be a plain decimal of at most 38 significant digits and 18 decimals: {_shown(value)}",
        )
    return str(value)


def _non_negative(name: str, value: object) -> str:
    text = _amount(name, value)
    if text[0] == "-" and _NOT_ZERO(text):
        raise _Refusal("bad_amount", f"{name} must not be below zero: {_shown(text)}")
    return text


def _positive(name: str, value: object) -> str:
    text = _amount(name, value)
    if text[0] == "-" or not _NOT_ZERO(text):
        raise _Refusal("bad_amount", f"{name} must be above zero: {_shown(text)}")
    return text


def _integer(name: str, value: object) -> int:
    if not isinstance(value, _Integer):
        raise _Refusal("wrong_type", f"{name} must be an integer, not {_shown(value)}")
    if len(value) > len(str(MAX_INTEGER)) + 1 or not 0 <= int(value) <= MAX_INTEGER:
        raise _Refusal("bad_value", f"{name} must be from 0 to {MAX_INTEGER}: {_shown(value)}")
    return int(value)


# A time of this century in another unit has this many digits.
_UNITS = {10: "seconds", 13: "milliseconds", 19: "nanoseconds"}


def _time(name: str, value: object) -> int:
    if not isinstance(value, _Integer):
        raise _Refusal("wrong_type", f"{name} must be an integer of microseconds, not {_shown(value)}")
    if len(value) > len(str(MAX_INTEGER)) or not EARLIEST_US <= int(value) <= MAX_INTEGER:
        unit = _UNITS.get(len(value))
        hint = f" (looks like {unit})" if unit and not value.startswith("-") else ""
        raise _Refusal("bad_time", f"{name} must be microseconds since 1970, from 2009 on: {_shown(value)}{hint}")
    return int(value)


def _anchor(name: str, value: object) -> Anchor:
    if not isinstance(value, dict):
        raise _Refusal("wrong_type", f"{name} must be an object, not {_shown(value)}")
    return Anchor(**_fields(Anchor, value, f"{name}."))


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        if type(value) is not str or value not in allowed:
            raise _Refusal("bad_value", f"{name} must be one of {', '.join(allowed)}: {_shown(value)}")
        return value

    return check


Check = Literal["identifier", "venue", "amount", "non_negative", "positive", "integer", "time", "anchor", "one_of"]
_CHECKS: tuple[tuple[Any, Check, Callable[[str, object], object]], ...] = (
    (Identifier, "identifier", _identifier),
    (Venue, "venue", _venue),
    (Amount, "amount", _amount),
    (NonNegative, "non_negative", _non_negative),
    (Positive, "positive", _positive),
    (Sequence, "integer", _integer),
    (TimeUs, "time", _time),
    (Anchor, "anchor", _anchor),
)


class Field(NamedTuple):
    """One field of an event: what is checked of it, as its annotation says."""

    name: str
    check: Check
    required: bool
    read: Callable[[str, object], object]
    """(name, JSON value) -> what the struct holds."""


def _field(name: str, hint: Any) -> Field:  # noqa: ANN401 - an annotation may be anything
    for meaning, check, read in _CHECKS:
        if hint in (meaning, meaning | None):  # no set: a Meta has no hash
            return Field(name, check, hint == meaning, read)
    required = type(None) not in get_args(hint)
    return Field(name, "one_of", required, _one_of(get_args(hint if required else get_args(hint)[0])))


FIELDS: Mapping[type, tuple[Field, ...]] = {
    kind: tuple(_field(name, hint) for name, hint in get_type_hints(kind, include_extras=True).items())
    for kind in (*STREAM_OF, Anchor)
}
"""The fields of each struct, in order."""


def _names_its_reference(fill: Fill) -> str | None:
    if fill.exec in {"correction", "bust"} and fill.ref_trade_id is None:
        return f"a {fill.exec} must name what it refers to in ref_trade_id"
    return None


def _has_an_id(order: Order) -> str | None:
    if order.order_id is None and order.client_order_id is None:
        return "an order must have order_id or client_order_id"
    return None


RULES: Mapping[type, Callable[[Any], str | None]] = {Fill: _names_its_reference, Order: _has_an_id}
"""What must hold between the fields of a type: None, or what is missing."""

_KINDS: dict[str, type[Event]] = {str(kind.__struct_config__.tag): kind for kind in STREAM_OF}


def decode_carefully(  # noqa: PLR0913 - the parts of a Kafka record
    value: bytes | None,
    origin: Origin,
    stream: Stream,
    *,
    key: bytes | None = None,
    keyed: bool = False,
    time_us: int | None = None,
    header_count: int = 0,
) -> Event | Rejected:
    """Decode one record of a topic (`origin`, `stream`), or say why not.

    The key is checked if `keyed`; an event must not be ahead of `time_us`, Kafka's time, where one is known.
    """
    found: dict[str, object] = {}
    try:
        found = _object(_text(value, header_count))
        event = _event(found, origin, stream)
        _check_times(event, time_us)
        if keyed and not isinstance(event, Heartbeat):
            _check_key(event.venue, event.account_id, key)
    except _Refusal as refusal:
        account = _account_of_key(key) if keyed else _account_in(found)
        return Rejected(refusal.reason, refusal.detail, account)
    return event


def _account_of_key(key: bytes | None) -> str | None:
    try:
        venue, divider, account_id = (key or b"").decode().partition("|")
        return _identifier("venue", venue) + divider + _identifier("account_id", account_id)
    except (_Refusal, UnicodeDecodeError):
        return None


def _account_in(found: dict[str, object]) -> str | None:
    try:
        return f"{_venue('venue', found.get('venue'))}|{_identifier('account_id', found.get('account_id'))}"
    except _Refusal:
        return None


def _text(value: bytes | None, header_count: int) -> str:
    """The record's text.

    Raises:
        _Refusal: nothing there, too much of it, or not UTF-8.
    """
    if header_count > MAX_HEADERS:
        raise _Refusal("too_many_headers", f"{header_count} headers; at most {MAX_HEADERS}")
    if not value:
        raise _Refusal("empty", "the value is null" if value is None else "the value is empty")
    if len(value) > MAX_VALUE_BYTES:
        raise _Refusal("too_large", f"{len(value)} bytes; at most {MAX_VALUE_BYTES}")
    encoding = json.detect_encoding(value)
    if encoding != "utf-8":
        if value[0] == 0 and not value.startswith((b"\x00{\x00", b"\x00\x00\x00{")):
            raise _Refusal("schema_registry", "starts with a schema registry's magic byte; plain JSON is expected")
        mark = " with a byte order mark" if encoding == "utf-8-sig" else ""
        raise _Refusal("bad_encoding", f"looks like {encoding.removesuffix('-sig')}{mark}; plain UTF-8 is expected")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _Refusal("bad_encoding", f"not UTF-8 at byte {error.start}: {error.reason}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Refusal("duplicate_field", f"{_shown(twice)} occurs more than once in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise _Refusal("not_json", f"{text} is not JSON")


_PARSE = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=_Integer, parse_float=_Real, parse_constant=_no_constant, strict=True
).decode


def _object(text: str) -> dict[str, object]:
    """The JSON object that the text is, numbers as their own text.

    Raises:
        _Refusal: it is not exactly one JSON object with each field once, or too deep, or says what is no Unicode.
    """
    if _too_deep(text):
        raise _Refusal("too_deep", f"nested more than {MAX_DEPTH} deep")
    try:
        found = _PARSE(text)
    except json.JSONDecodeError as error:
        raise _Refusal("not_json", f"{error.msg} at character {error.pos}") from None
    if not isinstance(found, dict):
        raise _Refusal("not_an_object", "a record must be one JSON object")
    if "\\" in text:
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _Refusal("bad_encoding", "an escaped surrogate without its other half") from None
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


def _event(found: dict[str, object], origin: Origin, stream: Stream) -> Event:
    name = found.get("type")
    kind = _KINDS.get(name) if type(name) is str else None
    if kind is None:
        if "type" not in found:
            raise _Refusal("missing_field", "type is missing")
        raise _Refusal("unknown_type", f"type must be one of {', '.join(_KINDS)}: {_shown(name)}")
    belongs_to = STREAM_OF[kind]
    if belongs_to not in {None, stream}:
        raise _Refusal("wrong_stream", f"a {name} belongs on {belongs_to}, not on {stream}")
    event = kind(**_fields(kind, found, ""))
    if event.origin != origin:
        raise _Refusal("wrong_origin", f"origin is {event.origin} on a topic of {origin}")
    missing = RULES[kind](event) if kind in RULES else None
    if missing is not None:
        raise _Refusal("missing_field", missing)
    return event


def _fields(kind: type, found: dict[str, object], prefix: str) -> dict[str, Any]:
    """The checked fields; an optional one that is null was not sent, and unknown ones are passed over."""
    fields: dict[str, Any] = {}
    for name, _, required, read in FIELDS[kind]:
        value = found.get(name)
        if value is not None:
            fields[name] = read(prefix + name, value)
        elif required:
            raise _Refusal("missing_field", f"{prefix}{name} is {'null' if name in found else 'missing'}")
    return fields


_TIMES = {kind: [(f.name, attrgetter(f.name)) for f in FIELDS[kind] if f.check == "time"] for kind in STREAM_OF}


def _check_times(event: Event, time_us: int | None) -> None:
    if time_us is None:
        return
    for name, get in _TIMES[type(event)]:
        stamp = get(event)
        if stamp is not None and stamp > time_us + AHEAD_US:
            ahead_s = (stamp - time_us) // 1_000_000
            raise _Refusal("bad_time", f"{name} {stamp} is {ahead_s} s ahead of the record's own time")


def _check_key(venue: str, account_id: str, key: bytes | None) -> None:
    account = f"{venue}|{account_id}"
    if key != account.encode():
        raise _Refusal("key_mismatch", f"the key must be {_shown(account)}, not {_shown(key)}")
