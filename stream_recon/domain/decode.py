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

What lacks a proof is decoded carefully. Where it is known which records are odd the others are tried again without
them, else in small parts: a bad record costs its neighbours little, and no result differs from the definition's.
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
    RULES,
    Rejected,
    decode_carefully,
)  # fmt: skip
from stream_recon.domain.strict_json import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from stream_recon.domain.events import Origin, Stream

__all__ = ["Rejected", "decode_carefully", "decode_pack"]

_EVENTS: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])
_ENCODER = msgspec.json.Encoder()
_RETRIES = 2  # how often the records known to be odd are set aside, and the others tried again together
_PART = 16  # records that are tried together once more where a pack lacks a proof

# What each kind of field is on the fast path: tighter than the definition where that is cheaper, never wider.
# No possessive quantifiers: before Python 3.11.5 they match what they should not.
_TAIL = r"[0-9]{1,20}(?:\.[0-9]{1,18})?\n)*"
_COLUMNS: dict[str, Callable[[str], object]] = {
    "amount": re.compile(rf"(?:-?{_TAIL}").fullmatch,
    "non_negative": re.compile(rf"(?:{_TAIL}").fullmatch,
    "positive": re.compile(rf"(?:(?!0[0.]*\n){_TAIL}").fullmatch,
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

    def take(self, where: Sequence[int]) -> _Pack:
        """The pack of these records."""
        return self._replace(
            values=[self.values[i] for i in where],
            keys=[self.keys[i] for i in where] if self.keys is not None else None,
            times_us=[self.times_us[i] for i in where] if self.times_us is not None else None,
            header_counts=[self.header_counts[i] for i in where] if self.header_counts is not None else None,
        )


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
    return _decode(_Pack(values, keys, times_us, header_counts, origin, stream), _RETRIES)


def _decode(pack: _Pack, retries: int) -> list[Event | Rejected]:
    proven, odd = _decode_proven(pack)
    if proven is not None:
        return list(proven)
    size = len(pack.values)
    if odd and retries and len(odd) < size:
        rest = sorted(set(range(size)) - set(odd))
        found = dict(zip(rest, _decode(pack.take(rest), retries - 1), strict=True))
        found |= {i: _decode_one(pack, i) for i in odd}
        return [found[i] for i in range(size)]
    if size > _PART and len(odd) < size:
        parts = (pack.take(range(first, min(first + _PART, size))) for first in range(0, size, _PART))
        return [result for part in parts for result in _decode(part, retries)]
    return [_decode_one(pack, i) for i in range(size)]


def _decode_one(pack: _Pack, i: int) -> Event | Rejected:
    return decode_carefully(
        pack.values[i],
        pack.origin,
        pack.stream,
        key=pack.keys[i] if pack.keys is not None else None,
        keyed=pack.keys is not None,
        time_us=pack.times_us[i] if pack.times_us is not None else None,
        header_count=pack.header_counts[i] if pack.header_counts is not None else 0,
    )


def _decode_proven(pack: _Pack) -> tuple[list[Event] | None, list[int]]:
    """The events if every one is proven to be what `decode_carefully` gives; else None, and those known to be odd."""
    if pack.header_counts is not None and max(pack.header_counts, default=0) > MAX_HEADERS:
        return None, [i for i, count in enumerate(pack.header_counts) if count > MAX_HEADERS]
    events, odd = _decode_exactly(pack.values)
    return (events if events is not None and _all_hold(pack, events) else None), odd


def _decode_exactly(values: Sequence[bytes | None]) -> tuple[list[Event] | None, list[int]]:
    """The events that the values spell, if each value spells exactly one and nothing else (see above), else the odd."""
    texts = [value for value in values if value]
    joined = b",".join(texts)
    if len(texts) != len(values) or max(map(len, texts), default=0) > MAX_VALUE_BYTES or not _is_plain(joined):
        return None, [
            i for i, value in enumerate(values) if not value or len(value) > MAX_VALUE_BYTES or not _is_plain(value)
        ]
    try:
        if b" " in joined and b": " in joined:  # as many JSON writers do by default: the same tokens without the spaces
            texts = [msgspec.json.format(text, indent=-1) for text in texts]
            joined = b",".join(texts)
        events = _EVENTS.decode(b"[" + joined + b"]")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None, []
    written = list(map(len, _ENCODER.encode_lines(events).split(b"\n")))  # one line each, and an empty one
    lengths = [*map(len, texts), 0]
    if written == lengths:
        return events, []
    if len(written) != len(lengths):
        return None, []
    return None, [i for i, (one, other) in enumerate(zip(written, lengths, strict=True)) if one != other]


def _is_plain(text: bytes) -> bool:
    return text.isascii() and b"\\" not in text and b"\x7f" not in text


def _all_hold(pack: _Pack, events: list[Event]) -> bool:
    kinds = set(map(type, events))
    if any(STREAM_OF[kind] not in {pack.stream, None} for kind in kinds):
        return False
    if not set(map(_ORIGIN, events)) <= {pack.origin}:
        return False
    if len(kinds) == 1:
        return _holds(kinds.pop(), events, pack)
    where = {kind: [i for i, event in enumerate(events) if type(event) is kind] for kind in kinds}
    return all(_holds(kind, [events[i] for i in where[kind]], pack.take(where[kind])) for kind in kinds)


def _holds(kind: type[Event], events: list[Event], pack: _Pack) -> bool:
    """Whether everything that the models do not say is true of all these events, which are of one kind."""
    columns, times_us = _COLUMNS_OF[kind], pack.times_us
    return (
        all(_amounts_hold(matches, getters, events) for matches, getters in columns.amounts)
        and (times_us is None or all(_times_hold(list(map(get, events)), times_us) for get in columns.times))
        and not any("|" in venue for venue in set(map(_VENUE, events)) if venue is not None)
        and (columns.rule is None or not any(map(columns.rule, events)))
        and (kind is Heartbeat or pack.keys is None or _keys_hold(events, pack.keys))
    )


def _keys_hold(events: list[Event], keys: Sequence[bytes | None]) -> bool:
    return list(keys) == [f"{event.venue}|{event.account_id}".encode() for event in events]


def _amounts_hold(matches: Callable[[str], object], getters: list[Callable[[Event], Any]], events: list[Event]) -> bool:
    texts = [text for get in getters for text in map(get, events) if text is not None]
    return not texts or matches("\n".join([*texts, ""])) is not None


def _times_hold(stamps: list[int | None], times_us: Sequence[int]) -> bool:
    newest_us = max((stamp for stamp in stamps if stamp is not None), default=0)
    return newest_us <= min(times_us) + AHEAD_US or all(
        stamp is None or stamp <= time_us + AHEAD_US for stamp, time_us in zip(stamps, times_us, strict=True)
    )
