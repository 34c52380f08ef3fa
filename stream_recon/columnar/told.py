"""One file as columns: what its proven lines say, in a table of DuckDB, one row a line.

A line is *proven* if `decode_carefully` would accept it as a plain fill with just these values:

- it is JSON (DuckDB's parser refuses what is not, raw control characters too), and its own text is what one of the
  file's templates gives with the values found in it: so there is no other field, no field twice, no escape, no space;
- it is ASCII without DEL, identifiers have 1 to 128 bytes, times 16 digits in range, words are of their lists;
- amounts match a pattern that is tighter than the definition's.

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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from stream_recon.columnar.template import Template
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

    templates: list[Template]
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
        """All fields of all templates, in order."""
        return list(dict.fromkeys(field for template in self.templates for field in template.fields))


def can_be_named(path: Path) -> bool:
    """Whether the name of a file can be told to DuckDB, to which some signs are wildcards."""
    return not _NEVER_EQUAL & set(str(path)) and "://" not in str(path)


def table_of(path: Path, checked: Checked, *, careful: bool) -> str:
    """The query that gives a file's rows: len, time_us, at_us, key, said, speaker; what is not proven has no `at_us`.

    Not `careful`, it fails at the first line that is not JSON.
    """
    fields = checked.fields
    extracted = ", ".join(f"said_[{number}] AS {name}" for number, name in enumerate(fields, start=1))
    paths = ", ".join(f"'$.{name}'" for name in fields)
    speaker = [name for name in ("origin", "venue", "account_id", "source") if name in fields]
    said = [*_salted(checked.salt, KEY), *(_compared(name, checked) for name in ("qty", "price", "fee"))]
    said += ["fee_asset" if "fee_asset" in fields else "NULL"]
    said += ["coalesce(position_side, 'net')" if "position_side" in fields else "'net'"]
    side = str(checked.side)
    if "origin" in fields:
        side = f"CASE WHEN origin = 'internal' THEN {SIDES['internal']} ELSE {SIDES['exchange']} END"
    values = f"json_extract_string(line, [{paths}])"
    if careful:
        values = f"TRY({values})"
    size = f"strlen(line) + strlen(key_) + {TIME_DIGITS + 2}" if checked.keyed else "strlen(line)"
    beside = ", key_, time_us" if checked.keyed else ""
    return f"""
        SELECT ({size})::UINTEGER AS len, {"time_us" if checked.keyed else "NULL::BIGINT"} AS time_us,
               CASE WHEN {_proof(checked)} THEN TRY_CAST(ts_us AS BIGINT) END AS at_us,
               hash({", ".join(KEY)}) AS key, xor(hash({", ".join(said)}), {side}::UBIGINT) AS said,
               hash({", ".join(speaker)}) AS speaker
        FROM (SELECT line{beside}, {extracted}
              FROM (SELECT line{beside}, {values} AS said_ FROM {_lines(path, keyed=checked.keyed)}))
    """  # noqa: S608 - the names are of our own list, the path is checked, values are quoted


def _lines(path: Path, *, keyed: bool) -> str:
    """The lines of a file: no sign divides them into columns (but those of a spool), none quotes, none comments."""
    columns = "'time_us': 'BIGINT', 'key_': 'VARCHAR', 'line': 'VARCHAR'" if keyed else "'line': 'VARCHAR'"
    return (
        f"read_csv('{path}', columns = {{{columns}}}, delim = '\x01', quote = '', escape = '', comment = '', "
        "nullstr = '\x02', header = false, auto_detect = false, new_line = '\\n', compression = 'none')"
    )


def _salted(salt: str, names: Sequence[str]) -> list[str]:
    return [f"concat('{salt}', {', chr(10), '.join(names)})"]


def _compared(name: str, checked: Checked) -> str:
    if name not in checked.fields:
        return "NULL"
    return f"TRY_CAST({name} AS DECIMAL(38, 18))" if checked.amounts is Amounts.DECIMAL else name


def _proof(checked: Checked) -> str:
    wholes = [_whole(template) for template in checked.templates]
    parts = [
        f"({' OR '.join(f'line = {whole}' for whole in wholes)})",
        f"strlen(line) = length(line) AND strlen(line) <= {MAX_VALUE_BYTES}",
        "NOT contains(line, chr(127)) AND NOT contains(venue, '|')",
    ]
    if checked.keyed:
        parts.append("key_ = concat(venue, '|', account_id)")
        parts += [
            f"({name} IS NULL OR TRY_CAST({name} AS BIGINT) <= time_us + {AHEAD_US})"
            for name in checked.fields
            if PLAIN_FIELDS[name] == "time"
        ]
    every = set.intersection(*(set(template.fields) for template in checked.templates))
    for name in checked.fields:
        check = _check(name)
        if check is not None:
            parts.append(check if name in every else f"({name} IS NULL OR {check})")
    if checked.patterns:
        parts.append(_patterns([name for name in checked.fields if name in every]))
    optional = [name for name in checked.fields if name not in every or not checked.patterns]
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
    assert "'" not in text
    return f"'{text}'"


def _check(name: str) -> str | None:
    """What must hold of one value beside the patterns of amounts."""
    what = PLAIN_FIELDS[name]
    if what == "identifier":
        return f"strlen({name}) BETWEEN 1 AND {MAX_IDENTIFIER_BYTES}"
    if what == "word":
        return f"{name} IN ({', '.join(map(_quoted, WORDS[name]))})"
    if what == "time":  # of 16 signs: with a point it would be too small, and e is the only other sign in a number
        return (
            f"(strlen({name}) = 16 AND NOT contains({name}, 'e') AND NOT contains({name}, 'E') "
            f"AND TRY_CAST({name} AS BIGINT) BETWEEN {EARLIEST_US} AND {MAX_INTEGER})"
        )
    return f"strlen({name}) <= {LONGEST_AMOUNT}"


def _patterns(names: list[str]) -> str:
    """One pattern over the amounts of a line, one after the other."""
    amounts = [name for name in names if PLAIN_FIELDS[name] in _PATTERNS]
    pattern = " ".join(_PATTERNS[PLAIN_FIELDS[name]] for name in amounts)
    together = ", ' ', ".join(amounts)
    return f"regexp_full_match(concat({together}), '{pattern}')"
