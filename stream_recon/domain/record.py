"""The definition of a valid record: one value, one rule after the other, each refusal with its reason.

Slow (some ten microseconds) and plain on purpose: it shares no parser with `domain.decode`, which is held against it.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_type_hints

from msgspec import Struct

from stream_recon.domain import checks
from stream_recon.domain.events import (
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
from stream_recon.domain.strict_json import Reason, Refusal, object_of, shown, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream_recon.domain.events import Origin, Stream

MAX_HEADERS = 64
AHEAD_US = 300_000_000  # how far an event may be ahead of Kafka's time of its record


class Rejected(Struct, frozen=True):
    """A record that cannot be understood, and why."""

    reason: Reason
    detail: str
    """One sentence; what it quotes of the record is ASCII and short."""
    account: str | None = None
    """The account its key names (in a file: itself), where it names one."""
    stage: str = "decode"


def _anchor(name: str, value: object) -> Anchor:
    if not isinstance(value, dict):
        raise Refusal("wrong_type", f"{name} must be an object, not {shown(value)}")
    return Anchor(**_fields(Anchor, value, f"{name}."))


Check = Literal["identifier", "venue", "amount", "non_negative", "positive", "integer", "time", "anchor", "one_of"]
_CHECKS: tuple[tuple[Any, Check, Callable[[str, object], object]], ...] = (
    (Identifier, "identifier", checks.identifier),
    (Venue, "venue", checks.venue),
    (Amount, "amount", checks.amount),
    (NonNegative, "non_negative", checks.non_negative),
    (Positive, "positive", checks.positive),
    (Sequence, "integer", checks.integer),
    (TimeUs, "time", checks.time_us),
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
    return Field(name, "one_of", required, checks.one_of(get_args(hint if required else get_args(hint)[0])))


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
        _check_headers(header_count)
        found = object_of(text_of(value))
        event = _event(found, origin, stream)
        _check_times(event, time_us)
        if keyed and not isinstance(event, Heartbeat):
            _check_key(event.venue, event.account_id, key)
    except Refusal as refusal:
        account = _account_of_key(key) if keyed else _account_in(found)
        return Rejected(refusal.reason, refusal.detail, account)
    return event


def _account_of_key(key: bytes | None) -> str | None:
    try:
        venue, divider, account_id = (key or b"").decode().partition("|")
        return checks.identifier("venue", venue) + divider + checks.identifier("account_id", account_id)
    except (Refusal, UnicodeDecodeError):
        return None


def _account_in(found: dict[str, object]) -> str | None:
    try:
        return f"{checks.venue('venue', found.get('venue'))}|{checks.identifier('account_id', found.get('account_id'))}"
    except Refusal:
        return None


def _check_headers(header_count: int) -> None:
    if header_count > MAX_HEADERS:
        raise Refusal("too_many_headers", f"{header_count} headers; at most {MAX_HEADERS}")


def _event(found: dict[str, object], origin: Origin, stream: Stream) -> Event:
    name = found.get("type")
    kind = _KINDS.get(name) if type(name) is str else None
    if kind is None:
        if "type" not in found:
            raise Refusal("missing_field", "type is missing")
        raise Refusal("unknown_type", f"type must be one of {', '.join(_KINDS)}: {shown(name)}")
    belongs_to = STREAM_OF[kind]
    if belongs_to not in {None, stream}:
        raise Refusal("wrong_stream", f"a {name} belongs on {belongs_to}, not on {stream}")
    event = kind(**_fields(kind, found, ""))
    if event.origin != origin:
        raise Refusal("wrong_origin", f"origin is {event.origin} on a topic of {origin}")
    missing = RULES[kind](event) if kind in RULES else None
    if missing is not None:
        raise Refusal("missing_field", missing)
    return event


def _fields(kind: type, found: dict[str, object], prefix: str) -> dict[str, Any]:
    """The checked fields; an optional one that is null was not sent, and unknown ones are passed over."""
    fields: dict[str, Any] = {}
    for name, _, required, read in FIELDS[kind]:
        value = found.get(name)
        if value is not None:
            fields[name] = read(prefix + name, value)
        elif required:
            raise Refusal("missing_field", f"{prefix}{name} is {'null' if name in found else 'missing'}")
    return fields


_TIMES = {kind: [(f.name, attrgetter(f.name)) for f in FIELDS[kind] if f.check == "time"] for kind in STREAM_OF}


def _check_times(event: Event, time_us: int | None) -> None:
    if time_us is None:
        return
    for name, get in _TIMES[type(event)]:
        stamp = get(event)
        if stamp is not None and stamp > time_us + AHEAD_US:
            ahead_s = (stamp - time_us) // 1_000_000
            raise Refusal("bad_time", f"{name} {stamp} is {ahead_s} s ahead of the record's own time")


def _check_key(venue: str, account_id: str, key: bytes | None) -> None:
    account = f"{venue}|{account_id}"
    if key != account.encode():
        raise Refusal("key_mismatch", f"the key must be {shown(account)}, not {shown(key)}")
