"""From bytes to events: `decode_pack` for many records at once, `decode_carefully` for one. Neither ever raises.

`decode_carefully` is the definition: one record, one rule after the other, each refusal with its reason. It takes some
ten microseconds. `decode_pack` gives the same in about one, for records that are *proven* to be plain:

- All values of the pack are decoded as one JSON array. Nothing that msgspec accepts for our models is written longer by
  it than it was read: escapes, `null`, whitespace, doubled or unknown fields and `-0` get shorter or vanish, and it
  takes no fraction or exponent for an integer. So if there are as many events as values, and each event is written in
  as many bytes as its value has, then nothing was dropped, and (by induction from the first) each event was read from
  its own value alone: no value can close another's string or hold two records.
- ASCII without a backslash or DEL holds no control character, no surrogate, no broken UTF-8, and as many bytes as
  characters.
- What is left is checked on columns: the text of all amounts by one regular expression, keys, types, times ahead.

A pack that lacks any proof is divided, down to a few records, which are then decoded carefully: a bad record costs its
neighbours little, and what is proven never differs from what the definition says.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stream_recon.domain.events import STREAM_OF, Event, Heartbeat
from stream_recon.domain.record import (
    AHEAD_US,
    FIELDS,
    MAX_HEADERS,
    MAX_VALUE_BYTES,
    RULES,
    Rejected,
    decode_carefully,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from stream_recon.domain.events import Origin, Stream

__all__ = ["Rejected", "decode_carefully", "decode_pack"]

_EVENTS: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])
_ENCODER = msgspec.json.Encoder()
_PART = 16  # records that are tried together once more where a pack lacks a proof

# What each kind of field is on the fast path: tighter than the definition where that is cheaper, never wider.
_TAIL = r"[0-9]{1,20}+(?:\.[0-9]{1,18}+)?+\n)*+"
_COLUMNS: dict[str, Callable[[str], object]] = {
    "amount": re.compile(rf"(?:-?+{_TAIL}").fullmatch,
    "non_negative": re.compile(rf"(?:{_TAIL}").fullmatch,
    "positive": re.compile(rf"(?:(?!0[0.]*+\n){_TAIL}").fullmatch,
}


class _Columns(NamedTuple):
    """How to get at the fields of one type, by what is checked of them."""

    amounts: list[tuple[Callable[[str], object], list[Callable[[Event], Any]]]]
    times: list[Callable[[Event], Any]]
    rule: Callable[[Any], str | None] | None


def _columns(kind: type[Event]) -> _Columns:
    getters: dict[str, list[Callable[[Event], Any]]] = {}
    for field in FIELDS[kind]:
        getters.setdefault(field.check, []).append(attrgetter(field.name))
    return _Columns(
        amounts=[(matches, getters[check]) for check, matches in _COLUMNS.items() if check in getters],
        times=getters.get("time", []),
        rule=RULES.get(kind),
    )


_COLUMNS_OF = {kind: _columns(kind) for kind in STREAM_OF}
_ORIGIN = attrgetter("origin")
_VENUE = attrgetter("venue")


class _Pack(NamedTuple):
    """The arguments of `decode_pack`; the lists are parallel."""

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None
    times_us: Sequence[int] | None
    header_counts: Sequence[int] | None
    origin: Origin
    stream: Stream
    kinds: frozenset[type]


def decode_pack(  # noqa: PLR0913, PLR0917 - the parts of a Kafka record, in columns
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    times_us: Sequence[int] | None,
    origin: Origin,
    stream: Stream,
    header_counts: Sequence[int] | None = None,
) -> list[Event | Rejected]:
    """Decode the records of one topic, in order: as many results as values.

    `keys` is None for files (no key is checked), `times_us` (Kafka's time of each record) where no time is known (an
    event cannot then be ahead of it), `header_counts` where there are no headers.
    """
    kinds = frozenset(kind for kind, carried_by in STREAM_OF.items() if carried_by in {stream, None})
    pack = _Pack(values, keys, times_us, header_counts, origin, stream, kinds)
    out: list[Event | Rejected] = []
    _decode_span(out, pack, 0, len(values))
    return out


def _decode_span(out: list[Event | Rejected], pack: _Pack, start: int, stop: int) -> None:
    proven = _decode_proven(pack, start, stop)
    if proven is not None:
        out += proven
        return
    if stop - start > _PART:
        for first in range(start, stop, _PART):
            _decode_span(out, pack, first, min(first + _PART, stop))
        return
    out += [
        decode_carefully(
            pack.values[i],
            pack.origin,
            pack.stream,
            key=pack.keys[i] if pack.keys is not None else None,
            keyed=pack.keys is not None,
            time_us=pack.times_us[i] if pack.times_us is not None else None,
            header_count=pack.header_counts[i] if pack.header_counts is not None else 0,
        )
        for i in range(start, stop)
    ]


def _decode_proven(pack: _Pack, start: int, stop: int) -> list[Event] | None:
    """The events of a span if every one of them is proven to be what `decode_carefully` gives, else None."""
    if pack.header_counts is not None and max(pack.header_counts[start:stop], default=0) > MAX_HEADERS:
        return None
    events = _decode_exactly(pack.values[start:stop])
    if events is None:
        return None
    kinds = set(map(type, events))
    if not kinds <= pack.kinds or not set(map(_ORIGIN, events)) <= {pack.origin}:
        return None
    keys = list(pack.keys[start:stop]) if pack.keys is not None else None
    times_us = pack.times_us[start:stop] if pack.times_us is not None else None
    if len(kinds) == 1:
        return events if _holds(kinds.pop(), events, keys, times_us) else None
    for kind in kinds:
        where = [i for i, event in enumerate(events) if type(event) is kind]
        if not _holds(
            kind,
            [events[i] for i in where],
            [keys[i] for i in where] if keys is not None else None,
            [times_us[i] for i in where] if times_us is not None else None,
        ):
            return None
    return events


def _decode_exactly(values: Sequence[bytes | None]) -> list[Event] | None:
    """The events that the values spell, if each value spells exactly one and nothing else; see above."""
    texts = [value for value in values if value]
    if len(texts) != len(values) or max(map(len, texts), default=0) > MAX_VALUE_BYTES:
        return None
    joined = b",".join(texts)
    if not joined.isascii() or b"\\" in joined or b"\x7f" in joined:
        return None
    try:
        if b" " in joined and b": " in joined:  # as many JSON writers do by default: the same tokens without the spaces
            texts = [msgspec.json.format(text, indent=-1) for text in texts]
            joined = b",".join(texts)
        events = _EVENTS.decode(b"[" + joined + b"]")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    written = _ENCODER.encode_lines(events).split(b"\n")  # one line each, and an empty one
    if list(map(len, written)) != [*map(len, texts), 0]:
        return None
    return events


def _holds(
    kind: type[Event], events: list[Event], keys: list[bytes | None] | None, times_us: Sequence[int] | None
) -> bool:
    """Whether everything that the models do not say is true of all these events of one kind."""
    columns = _COLUMNS_OF[kind]
    return (
        all(_amounts_hold(matches, getters, events) for matches, getters in columns.amounts)
        and (times_us is None or all(_times_hold(list(map(get, events)), times_us) for get in columns.times))
        and not any("|" in venue for venue in set(map(_VENUE, events)) if venue is not None)
        and (columns.rule is None or not any(map(columns.rule, events)))
        and (
            keys is None
            or kind is Heartbeat
            or keys == [f"{event.venue}|{event.account_id}".encode() for event in events]
        )
    )


def _amounts_hold(matches: Callable[[str], object], getters: list[Callable[[Event], Any]], events: list[Event]) -> bool:
    texts = [text for get in getters for text in map(get, events) if text is not None]
    return not texts or matches("\n".join([*texts, ""])) is not None


def _times_hold(stamps: list[int | None], times_us: Sequence[int]) -> bool:
    newest_us = max((stamp for stamp in stamps if stamp is not None), default=0)
    return newest_us <= min(times_us) + AHEAD_US or all(
        stamp is None or stamp <= time_us + AHEAD_US for stamp, time_us in zip(stamps, times_us, strict=True)
    )
