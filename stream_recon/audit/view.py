"""The audit store as it is at one moment: chains, rows and look-ups, read as they lie there, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import and_, func, select, true, type_coerce, union
from sqlalchemy.types import NullType

from stream_recon.audit.chain import Entry, Head, Place
from stream_recon.audit.labels import Labels
from stream_recon.audit.tables import ENTRIES, HEADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Table

    from stream_recon.audit.labels import Kind

_ROWS_AT_ONCE = 100
"""A row may be as large as a record of Kafka."""


class Row(NamedTuple):
    """An entry as it lies in the store."""

    place: Place
    entry: Entry
    previous: bytes
    hash: bytes
    labels: Labels


class View:
    """What `AuditStore.reading` gives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def heads(self) -> dict[Place, Head]:
        """Where each chain ends, as it was written down."""
        rows = self._connection.execute(select(*_raw(HEADS)))
        return {
            Place(_text(row[0]) or "", _number(row[1])): Head(_number(row[2]), _bytes(row[3]) or b"", _number(row[4]))
            for row in rows
        }

    def places(self) -> list[Place]:
        """Of what there are chains, with a head or without."""
        both = union(
            *(
                select(type_coerce(t.c.topic, NullType()), type_coerce(t.c.partition, NullType()))
                for t in (ENTRIES, HEADS)
            )
        )
        return sorted(Place(_text(row[0]) or "", _number(row[1])) for row in self._connection.execute(both))

    def rows(self, place: Place) -> Iterator[Row]:
        """A chain, by offset."""
        return self._rows(_at(place), ENTRIES.c.first_offset)

    def entries(self, place: Place, first_offset: int, last_offset: int) -> Iterator[Entry]:
        """The entries that have any of these offsets, both included, by offset."""
        inside = (ENTRIES.c.last_offset >= first_offset) & (ENTRIES.c.first_offset <= last_offset)
        return (row.entry for row in self._rows(_at(place) & inside, ENTRIES.c.first_offset))

    def hash_at(self, place: Place, next_offset: int) -> bytes:
        """The head that a chain had when it ended before `next_offset`."""
        before = _at(place) & (ENTRIES.c.last_offset < next_offset)
        found = self._connection.execute(
            select(ENTRIES.c.hash).where(before).order_by(ENTRIES.c.first_offset.desc()).limit(1)
        ).scalar()
        return Head().hash if found is None else bytes(found)

    def find(self, *kinds: Kind, **ids: str) -> Iterator[Row]:
        """The entries of these kinds (none: of all), with these labels, by time and place."""
        which = [ENTRIES.c[name] == said for name, said in ids.items()]
        if kinds:
            which.append(ENTRIES.c.kind.in_(kinds))
        columns = ENTRIES.c
        return self._rows(_all(which), columns.time_us, columns.topic, columns.partition, columns.first_offset)

    def ids(self, label: str, beginning: str, at_most: int) -> list[str]:
        """The ids of that label that begin so, in order."""
        column = ENTRIES.c[label]
        begins = column.startswith(beginning, autoescape=True)
        return list(
            self._connection.execute(select(column).where(begins).distinct().order_by(column).limit(at_most)).scalars()
        )

    def counts(self) -> Iterator[tuple[Place, str, int]]:
        """How many entries of each kind a chain has."""
        columns = (ENTRIES.c.topic, ENTRIES.c.partition, ENTRIES.c.kind)
        query = select(*columns, func.count()).group_by(*columns).order_by(*columns)
        for topic, partition, kind, count in self._connection.execute(query):
            yield Place(topic, partition), kind, count

    def gaps(self) -> Iterator[Row]:
        """What was gone before it could be kept."""
        return self._rows(ENTRIES.c.form == "gap", ENTRIES.c.topic, ENTRIES.c.partition, ENTRIES.c.first_offset)

    def _rows(self, which: ColumnElement[bool], *order: ColumnElement[Any]) -> Iterator[Row]:
        query = select(*_raw(ENTRIES)).where(which).order_by(*order)
        for row in self._connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
            topic, partition, first, last, form, time_us, key, value, previous, digest, *labels = row
            yield Row(
                Place(_text(topic) or "", _number(partition)),
                Entry(
                    cast("Any", _text(form)),
                    _number(first),
                    _number(last),
                    _number(time_us),
                    _bytes(key),
                    _bytes(value),
                ),
                _bytes(previous) or b"",
                _bytes(digest) or b"",
                Labels(*map(cast("Any", _text), labels)),
            )


def _at(place: Place) -> ColumnElement[bool]:
    return (ENTRIES.c.topic == place.topic) & (ENTRIES.c.partition == place.partition)


def _all(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    return and_(true(), *conditions)


def _raw(table: Table) -> list[ColumnElement[Any]]:
    """The columns as the driver gives them: SQLite holds anything in any column, if somebody puts it there."""
    return [type_coerce(column, NullType()).label(column.name) for column in table.columns]


def _text(raw: object) -> str | None:
    if isinstance(raw, bytes | memoryview):
        return bytes(raw).decode(errors="replace")
    return None if raw is None else str(raw)


def _bytes(raw: object) -> bytes | None:
    if isinstance(raw, bytes | memoryview):
        return bytes(raw)
    return None if raw is None else str(raw).encode(errors="replace")


def _number(raw: object) -> int:
    """What is no number is -1, which no hash is over."""
    return raw if isinstance(raw, int) else -1
