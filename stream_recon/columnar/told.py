"""One file as columns: what its proven lines say, in a table of DuckDB, one row a line.

A line is *proven* if `decode_carefully` would accept it as a plain fill with just these values:

- it is JSON (DuckDB's parser refuses what is not, raw control characters too), and its own text is what one of the
  file's templates gives with the values found in it: so there is no other field, no field twice, no escape, no space;
- it is ASCII without DEL, identifiers have 1 to 128 bytes, times 16 digits in range, words are of their lists;
- amounts match a pattern that is tighter than the definition's.

Values that all sampled lines of a file share are part of its templates: they were checked when these lines were
decoded, need not be looked for in each line, and are hashed as the others are.

Where both files write amounts alike (`Amounts.TEXT`), those of the exchange's file need no pattern: they are the same
text as those that have been checked, or the fill does not agree, and the core decodes it anyway.

A row keeps no text, only hashes. `key` is a hash of 64 bits of what identifies a fill, `said` another, over a salt
drawn for this run, its identity and its content. See `stream_recon.columnar.sift` for what an accident could do.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.columnar.template import PLAIN_FIELDS, WORDS
from stream_recon.domain.checks import MAX_IDENTIFIER_BYTES
from stream_recon.domain.events import EARLIEST_US, MAX_INTEGER
from stream_recon.domain.record import AHEAD_US
from stream_recon.domain.strict_json import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream_recon.columnar.template import Template, Templates
    from stream_recon.domain.events import Origin

LONGEST_AMOUNT = 20
"""Characters: then it has at most 18 decimals and fits into a decimal of 38 digits. Longer ones are for the core."""
KEY = ("venue", "account_id", "instrument", "trade_id", "side")
SIDES: Mapping[Origin, int] = {"internal": 0x5555_5555_5555_5555, "exchange": 0x3333_3333_3333_3333}
_POSITIVE = r"(?:[1-9][0-9]*(?:\.[0-9]{1,18})?|0\.0*[1-9][0-9]*)"
_AMOUNT = r"-?[0-9]+(?:\.[0-9]{1,18})?"
_PATTERNS = {"positive": _POSITIVE, "amount": _AMOUNT}
DIVIDER = b"\x01"
"""Between time, key and value of a record that was spooled."""
TIME_DIGITS = 16
_NEVER_EQUAL = frozenset("*?[]{}'")


class Amounts(Enum):
    """How amounts are compared."""

    TEXT = "text"
    DECIMAL = "decimal"


class Checked(NamedTuple):
    """What is looked at in a file."""

    templates: Templates
    amounts: Amounts
    patterns: bool
    """Whether amounts are matched against a pattern."""
    salt: str
    side: int
    """What is mixed into `said`, so that lines of two sides differ by it; where lines say whose they are, of ours."""
    keyed: bool = False
    """Each line is a record that was spooled: its time, its key, its value."""

    @property
    def fields(self) -> list[str]:
        """All fields of all templates that are no constants, in order."""
        return list(dict.fromkeys(field for template in self.templates.each for field in template.fields))

    @property
    def known(self) -> set[str]:
        """All fields that lines may have."""
        return {*self.fields, *self.templates.constants}

    @property
    def always(self) -> set[str]:
        """Those that all lines have."""
        fields = [set(template.fields) for template in self.templates.each]
        return set.intersection(*fields) | self.templates.constants.keys()


def can_be_named(path: Path) -> bool:
    """Whether the name of a file can be told to DuckDB, to which some signs are wildcards."""
    return not _NEVER_EQUAL & set(str(path)) and "://" not in str(path)


def table_of(path: Path, checked: Checked, *, careful: bool) -> str:
    """The query that gives a file's rows: len, time_us, at_us, key, said, speaker; what is not proven has no `at_us`.

    Each has also where the next line begins, end_, and the newest time up to here, newest_us. Not `careful`, it fails
    at the first line that is not JSON.
    """
    fields = checked.fields
    values = [(f"said_[{number}]", name) for number, name in enumerate(fields, start=1)]
    values += [(_quoted(value), name) for name, value in checked.templates.constants.items()]
    named = ", ".join(f"{value} AS {name}" for value, name in values)
    paths = ", ".join(f"'$.{name}'" for name in fields)
    speaker = [name for name in ("origin", "venue", "account_id", "source") if name in checked.known]
    side = str(checked.side)
    if "origin" in fields:
        side = f"CASE WHEN origin = 'internal' THEN {SIDES['internal']} ELSE {SIDES['exchange']} END"
    extracted = f"json_extract_string(line, [{paths}])"
    if careful:
        extracted = f"TRY({extracted})"
    size = f"strlen(line) + strlen(key_) + {TIME_DIGITS + 2}" if checked.keyed else "strlen(line)"
    beside = ", key_, time_us" if checked.keyed else ""
    return f"""
        SELECT *, (sum(len + 1) OVER (ROWS UNBOUNDED PRECEDING))::BIGINT AS end_,
               max(at_us) OVER (ROWS UNBOUNDED PRECEDING) AS newest_us
        FROM (SELECT ({size})::UINTEGER AS len, {"time_us" if checked.keyed else "NULL::TINYINT"} AS time_us,
               CASE WHEN {_proof(checked)} THEN TRY_CAST(ts_us AS BIGINT) END AS at_us,
               hash({", ".join(KEY)}) AS key, xor(hash({_said(checked)}), {side}::UBIGINT) AS said,
               hash({", ".join(speaker)}) AS speaker
        FROM (SELECT line{beside}, {named}
              FROM (SELECT line{beside}, {extracted} AS said_ FROM {_lines(path, keyed=checked.keyed)})))
    """  # noqa: S608 - the names are of our own list, the path is checked, values are quoted


def _lines(path: Path, *, keyed: bool) -> str:
    """The lines of a file: no sign divides them into columns (but those of a spool), none quotes, none comments."""
    columns = "'time_us': 'BIGINT', 'key_': 'VARCHAR', 'line': 'VARCHAR'" if keyed else "'line': 'VARCHAR'"
    return (
        f"read_csv('{path}', columns = {{{columns}}}, delim = '\x01', quote = '', escape = '', comment = '', "
        "nullstr = '\x02', header = false, auto_detect = false, new_line = '\\n', compression = 'none')"
    )


def _said(checked: Checked) -> str:
    """What is hashed of a fill's identity and content: texts as one, behind the salt, and numbers."""
    amounts = [_or_none(name, checked) for name in ("qty", "price", "fee")]
    texts = [f"'{checked.salt}'", *KEY, _or_none("fee_asset", checked), _or_none("position_side", checked, "'net'")]
    if checked.amounts is Amounts.TEXT:
        texts += amounts
        amounts = []
    numbers = [f"TRY_CAST({amount} AS DECIMAL(38, 18))" for amount in amounts]
    return ", ".join([f"concat({', chr(10), '.join(texts)})", *numbers])


def _or_none(name: str, checked: Checked, none: str = "chr(2)") -> str:
    """A value, or what stands for none: a sign that no value has."""
    if name in checked.always:
        return name
    return f"coalesce({name}, {none})" if name in checked.fields else none


def _proof(checked: Checked) -> str:
    wholes = [_whole(template) for template in checked.templates.each]
    parts = [
        f"({' OR '.join(f'line = {whole}' for whole in wholes)})",
        f"strlen(line) = length(line) AND strlen(line) <= {MAX_VALUE_BYTES}",
        "NOT contains(line, chr(127))",
    ]
    if checked.keyed:
        parts.append("key_ = concat(venue, '|', account_id)")
        parts += [
            f"({name} IS NULL OR TRY_CAST({name} AS BIGINT) <= time_us + {AHEAD_US})"
            for name in checked.fields
            if PLAIN_FIELDS[name] == "time"
        ]
    for name in checked.fields:
        check = _check(name)
        if check is not None:
            parts.append(check if name in checked.always else f"({name} IS NULL OR {check})")
    if checked.patterns:
        parts.append(_patterns([name for name in checked.fields if name in checked.always]))
    optional = [name for name in checked.fields if name not in checked.always or not checked.patterns]
    parts += [
        f"({name} IS NULL OR {_patterns([name])})"
        for name in optional
        if PLAIN_FIELDS[name] in _PATTERNS and (checked.patterns or name not in {"qty", "price", "fee"})
    ]
    return " AND ".join(parts)


def _whole(template: Template) -> str:
    """The line that a template gives with the values that were found."""
    parts = [_quoted(template.pieces[0])]
    for name, piece in zip(template.fields, template.pieces[1:], strict=True):
        parts += [name, _quoted(piece)]
    return f"concat({', '.join(parts)})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check(name: str) -> str | None:
    """What must hold of one value beside the patterns of amounts."""
    what = PLAIN_FIELDS[name]
    if what == "identifier":
        bar = f" AND NOT contains({name}, '|')" if name == "venue" else ""
        return f"strlen({name}) BETWEEN 1 AND {MAX_IDENTIFIER_BYTES}{bar}"
    if what == "word":
        return f"{name} IN ({', '.join(map(_quoted, WORDS[name]))})"
    if what == "time":  # JSON that begins with a digit is a number; as long as both, it is between them as texts are
        others = "".join(f" AND NOT contains({name}, '{sign}')" for sign in ".eE")
        return f"(strlen({name}) = {TIME_DIGITS} AND {name} BETWEEN '{EARLIEST_US}' AND '{MAX_INTEGER}'{others})"
    return f"strlen({name}) <= {LONGEST_AMOUNT}"


def _patterns(names: list[str]) -> str:
    """One pattern over the amounts of a line, one after the other."""
    amounts = [name for name in names if PLAIN_FIELDS[name] in _PATTERNS]
    pattern = " ".join(_PATTERNS[PLAIN_FIELDS[name]] for name in amounts)
    together = ", ' ', ".join(amounts)
    return f"regexp_full_match(concat({together}), '{pattern}')"
