"""One topic's partition of records as a file, a row a record: its time, its key and its value.

They are divided by a sign that none of them has. What cannot be such a row (no key, no value, a line feed in it, no
ASCII, too many headers) is kept in memory, and its row is one that proves nothing.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.columnar.told import DIVIDER, TIME_DIGITS
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.record import MAX_HEADERS
from stream_recon.domain.strict_json import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream_recon.domain.events import Event, Origin
    from stream_recon.domain.record import Rejected

MOST_ODD = 10_000
"""Records of a topic that are kept in memory because they cannot be rows."""
MAX_KEY_BYTES = 1_024
_ODD_ROW = b"1" + b"0" * (TIME_DIGITS - 1) + DIVIDER * 2 + b"{}"
_TIMES_US = range(10 ** (TIME_DIGITS - 1), 10**TIME_DIGITS)
_UNFIT_SIGNS = (b"\r", b"\x00", b"\x02")


class Unfit(Exception):  # noqa: N818 - it never leaves this package
    """There is nothing to gain here."""


class Record(NamedTuple):
    """A record as Kafka has it."""

    key: bytes | None
    value: bytes | None
    time_us: int
    headers: int


class Spool:
    """The records of one topic's partition."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets = array("q")
        self.times_us = array("q")
        """Kafka's."""
        self.ends = array("q")
        """Where each pack ends, as it was fetched: the core judges as many at once."""
        self.odd: dict[int, Record] = {}
        """By row."""
        self._file = path.open("wb")

    def add(
        self, offsets: Sequence[int], times_us: Sequence[int], keys: Sequence[bytes | None],
        values: Sequence[bytes | None], header_counts: Sequence[int],
    ) -> None:  # fmt: skip
        """Lay down consecutive records.

        Raises:
            Unfit: too many of them cannot be rows.
            OSError: there is no room.
        """
        records = list(map(Record, keys, values, times_us, header_counts))
        rows = list(map(_row, records))
        if not _are_rows(rows):
            for at, row in enumerate(rows):
                if not _are_rows([row]):
                    self.odd[len(self.offsets) + at] = records[at]
                    rows[at] = _ODD_ROW
            if len(self.odd) > MOST_ODD:
                raise Unfit
        self._file.write(b"".join(row + b"\n" for row in rows))
        self.offsets.extend(offsets)
        self.times_us.extend(times_us)
        self.ends.append(len(self.offsets))

    def end(self) -> None:
        """There are no more."""
        self._file.close()

    def record(self, line: int, row: bytes) -> Record:
        """The record of a row."""
        if line in self.odd:
            return self.odd[line]
        _, key, value = row.split(DIVIDER)
        return Record(key, value, self.times_us[line], 0)


def _row(record: Record) -> bytes:
    key, value, time_us, headers = record
    if not key or not value or headers > MAX_HEADERS or len(value) > MAX_VALUE_BYTES or len(key) > MAX_KEY_BYTES:
        return b""
    return b"%d\x01%b\x01%b" % (time_us, key, value) if time_us in _TIMES_US else b""


def _are_rows(rows: list[bytes]) -> bool:
    text = b"\n".join(rows)
    return (
        text.isascii()
        and all(rows)
        and text.count(b"\n") == len(rows) - 1
        and text.count(DIVIDER) == 2 * len(rows)
        and not any(sign in text for sign in _UNFIT_SIGNS)
    )


def decode_records(records: Sequence[Record], origin: Origin) -> list[Event | Rejected]:
    """Decode records of fills as those of a topic."""
    return decode_pack(
        [record.value for record in records], [record.key for record in records],
        [record.time_us for record in records], origin, "fills", [record.headers for record in records],
    )  # fmt: skip
