"""The audit store: entries are appended to their chains, each batch in one transaction, and never touched again.

To append what is already there changes nothing, so a writer may begin again anywhere. Several writers may append at
once: the head of a chain is locked while it grows.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import false, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from stream_recon.audit import tables, urls
from stream_recon.audit.chain import Head, after
from stream_recon.audit.errors import ConflictError, StoreDownError, StoreRefusedError
from stream_recon.audit.labels import labels_of
from stream_recon.audit.tables import ENTRIES, HEADS
from stream_recon.audit.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from stream_recon.audit.chain import Entry, Place


class AuditStore:
    """One audit store. All methods block; none is bound to a thread."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet.

        Raises:
            StoreRefusedError: `url` is of no use.
        """
        self._url = urls.parse(url)
        self._engine = urls.engine_of(self._url)
        self._postgres = self._url.get_backend_name() == "postgresql"
        self._insert = postgres_insert if self._postgres else sqlite_insert
        self.name = self._url.render_as_string(hide_password=True)
        """Where it is, as it may be shown."""

    def close(self) -> None:
        """Let go of its connections."""
        self._engine.dispose()

    def create(self) -> None:
        """Make what is missing, the folder of an SQLite file too.

        Raises:
            StoreDownError: it cannot be made now.
            StoreRefusedError: it is of a newer version.
        """
        file = urls.file_of(self._url)
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreDownError(f"{error.filename}: {error.strerror}; {self._mend()}") from error
        with self._transaction(writes=True) as connection:
            version = tables.version_of(connection)
            if version is None:
                tables.create(connection)
            else:
                self._check(version)
        if file is not None:
            self._readable_while_written()

    def check_writable(self) -> None:
        """See that it can be written to now.

        Raises:
            StoreDownError: it cannot.
            StoreRefusedError: it is gone.
        """
        with self._transaction(writes=True) as connection:
            if tables.version_of(connection) is None:
                raise StoreRefusedError(f"the audit store {self.name} is gone")
            connection.execute(update(HEADS).where(false()).values(entries=0))

    def append(self, batch: Mapping[Place, Sequence[Entry]]) -> dict[Place, Head]:
        """Append to each chain what it does not have yet, all in one transaction; gives the heads afterwards.

        Raises:
            StoreDownError: nothing was appended.
            ConflictError: nothing was appended; an entry is not the one that is kept under its offset.
        """
        with self._transaction(writes=True) as connection:
            # In one order, so that two writers never wait for each other.
            return {place: self._extend(connection, place, batch[place]) for place in sorted(batch)}

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Look at it as it is at this moment, whatever is appended meanwhile.

        Raises:
            StoreDownError: it cannot be read.
            StoreRefusedError: there is none, or it is of a newer version.
        """
        file = urls.file_of(self._url)
        if file is not None and not file.exists():
            raise StoreRefusedError(f"there is no audit store {self.name}; `stream-recon audit run` makes it")
        with self._transaction(writes=False) as connection:
            version = tables.version_of(connection)
            if version is None:
                raise StoreRefusedError(f"{self.name} holds no audit store; `stream-recon audit run` makes one")
            self._check(version)
            yield View(connection)

    def heads(self) -> dict[Place, Head]:
        """Where each chain ends.

        Raises:
            StoreError: as `reading`.
        """
        with self.reading() as view:
            return view.heads()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        options: dict[str, Any] = {urls.WRITES: writes, "stream_results": not writes}
        if self._postgres and not writes:
            options["isolation_level"] = "REPEATABLE READ"
        try:
            with self._engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except (DBAPIError, PoolTimeoutError) as error:
            said = " ".join(str(getattr(error, "orig", None) or error).split())
            raise StoreDownError(f"the audit store {self.name} does not answer: {said}; {self._mend()}") from error

    def _mend(self) -> str:
        if self._postgres:
            return (
                "see that PostgreSQL runs, that the user may write to the database, and that no other session keeps a "
                "lock on its tables"
            )
        return "see that the file and its folder can be written to, and that the disk is not full"

    def _check(self, version: int) -> None:
        if version > tables.VERSION:
            raise StoreRefusedError(
                f"the audit store {self.name} is of a newer stream-recon (its schema is {version}, this one knows "
                f"{tables.VERSION}): upgrade this one"
            )

    def _readable_while_written(self) -> None:
        """Let an SQLite file be read while it is written to, which is kept in the file.

        Who finds it in use leaves that to the next: until then readers and writers only wait for each other.
        """
        with self._engine.connect() as connection, suppress(sqlite3.OperationalError):
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")

    def _extend(self, connection: Connection, place: Place, entries: Sequence[Entry]) -> Head:
        head = self._locked(connection, place)
        known: list[Entry] = []
        rows: list[dict[str, Any]] = []
        for entry in entries:
            if entry.first_offset < head.next_offset:
                if entry.form == "record":
                    known.append(entry)
                    continue
                if entry.last_offset < head.next_offset:
                    continue
                entry = entry._replace(first_offset=head.next_offset)  # noqa: PLW2901 - the part that is new
            following = after(head, place, entry)
            rows.append({
                **place._asdict(), **entry._asdict(), **labels_of(entry)._asdict(),
                "previous": head.hash, "hash": following.hash,
            })  # fmt: skip
            head = following
        if known:
            _compare(View(connection), place, known)
        if rows:
            connection.execute(insert(ENTRIES), rows)
            here = (HEADS.c.topic == place.topic) & (HEADS.c.partition == place.partition)
            connection.execute(update(HEADS).where(here).values(**head._asdict()))
        return head

    def _locked(self, connection: Connection, place: Place) -> Head:
        """The head of a chain, which nobody else moves until this transaction ends."""
        new = {**place._asdict(), **Head()._asdict()}
        connection.execute(self._insert(HEADS).values(new).on_conflict_do_nothing())
        here = (HEADS.c.topic == place.topic) & (HEADS.c.partition == place.partition)
        columns = (HEADS.c.next_offset, HEADS.c.hash, HEADS.c.entries)
        return Head(*connection.execute(select(*columns).where(here).with_for_update()).one())


def _compare(view: View, place: Place, entries: Sequence[Entry]) -> None:
    """See that entries are what is kept; inside a gap is too late, and nothing of it is claimed.

    Raises:
        ConflictError: one is not.
    """
    kept = list(view.entries(place, entries[0].first_offset, entries[-1].last_offset))
    records = {each.first_offset: each for each in kept if each.form == "record"}
    gaps = [each for each in kept if each.form == "gap"]
    for entry in entries:
        offset = entry.first_offset
        if offset in records:
            agrees = records[offset] == entry
        else:
            agrees = any(each.first_offset <= offset <= each.last_offset for each in gaps)
        if not agrees:
            raise ConflictError(
                f"{place} offset {offset} is another record than the one that is kept: the topic was made anew, or "
                "this store is of another Kafka, or one of them was changed. `stream-recon audit verify --bootstrap` "
                "says where they differ; for a new topic, name a new store"
            )
