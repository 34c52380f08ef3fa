"""How the plain fills of a file are written: the text around their values, taken from a line of that file.

A line that is a template with values between its pieces is, if it is JSON and no value has a quote or a backslash in
it, an object with exactly these fields, each once: nothing else fits between the pieces. (By induction from the left:
the piece before a value opens its string, and the string ends at the next quote.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from stream_recon.domain.decode import decode_pack
from stream_recon.domain.events import Fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_recon.domain.events import Origin

What = Literal["identifier", "time", "positive", "amount", "constant", "word"]
PLAIN_FIELDS: Mapping[str, What] = {
    "type": "constant", "origin": "word", "venue": "identifier", "account_id": "identifier", "event_id": "identifier",
    "ts_us": "time", "recorded_us": "time", "source": "identifier", "instrument": "identifier",
    "trade_id": "identifier", "order_id": "identifier", "client_order_id": "identifier", "side": "word",
    "qty": "positive", "price": "positive", "fee": "amount", "fee_asset": "identifier", "liquidity": "word",
    "realized_pnl": "amount", "position_side": "word", "exec": "constant",
}  # fmt: skip
"""The fields of a plain fill; a fill with any other (a number of its source, what it amends) is for the core."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "origin": ("internal", "exchange"), "side": ("buy", "sell"), "liquidity": ("maker", "taker"),
    "position_side": ("net", "long", "short"),
}  # fmt: skip
_MAY_BE_CONSTANT = {name for name, what in PLAIN_FIELDS.items() if what in {"identifier", "word"}} - {"origin"}
MOST = 4
"""Templates of one file."""
_FIELD = re.compile(r'([{,] ?)"([a-z_]+)":( ?)(?:"([^"\\]+)"|([0-9]+))')


class Template(NamedTuple):
    """The pieces of text around the values of some fields: one piece more than fields."""

    fields: tuple[str, ...]
    pieces: tuple[str, ...]

    def with_constants(self, constants: Mapping[str, str]) -> Template:
        """The same where some values are known: they are part of the pieces."""
        fields, pieces = [], [self.pieces[0]]
        for name, piece in zip(self.fields, self.pieces[1:], strict=True):
            if name in constants:
                pieces[-1] += constants[name] + piece
            else:
                fields.append(name)
                pieces.append(piece)
        return Template(tuple(fields), tuple(pieces))


class Templates(NamedTuple):
    """How the lines of a file are written, the commonest way first."""

    each: list[Template]
    constants: Mapping[str, str]
    """Values that all lines have and share, and so are part of the pieces."""


def template_of(line: bytes, origin: Origin | None) -> tuple[Template, dict[str, str]] | None:
    """The template of a line and its values, if it is a plain fill.

    `origin`: whose file it is in, None where lines say it.
    """
    says = origin or ("exchange" if b'"exchange"' in line else "internal")
    event = decode_pack([line], None, None, says, "fills")[0]
    if not isinstance(event, Fill) or event.exec not in {None, "trade"} or not line.isascii():
        return None
    text, at, piece = line.decode(), 0, ""
    values: dict[str, str] = {}
    pieces: list[str] = []
    while (found := _FIELD.match(text, at)) is not None:
        opening, name, space, word, number = found.groups()
        what = PLAIN_FIELDS.get(name)
        if what is None or (what == "time") == (number is None) or name in values:
            return None
        piece += f'{opening}"{name}":{space}' + ('"' if word is not None else "")
        if what == "constant" or (name == "origin" and origin is not None):
            piece += word
        else:
            values[name] = word or number
            pieces.append(piece)
            piece = ""
        piece += '"' if word is not None else ""
        at = found.end()
    if text[at:] != "}":
        return None
    return Template(tuple(values), (*pieces, piece + "}")), values


def templates_of(lines: Iterable[bytes], origin: Origin | None) -> Templates:
    """The commonest templates of some lines, with what all these lines share."""
    counts: dict[Template, int] = {}
    alike: dict[str, str] | None = None
    for line in lines:
        found = template_of(line, origin)
        if found is not None:
            template, values = found
            counts[template] = counts.get(template, 0) + 1
            alike = dict(alike.items() & values.items()) if alike is not None else values
    constants = {name: value for name, value in (alike or {}).items() if name in _MAY_BE_CONSTANT}
    commonest = sorted(counts, key=lambda template: -counts[template])[:MOST]
    return Templates([template.with_constants(constants) for template in commonest], constants)
