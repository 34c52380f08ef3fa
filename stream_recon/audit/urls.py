"""Where an audit store is: a database URL, and the engine that speaks to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from stream_recon.audit.errors import StoreRefusedError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

WRITES = "recon_writes"
"""The execution option of a transaction that writes."""
_SHAPES = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
_POSTGRES: dict[str, Any] = {
    "connect_timeout": 5, "tcp_user_timeout": 30_000, "application_name": "stream-recon audit",
    "options": "-c lock_timeout=10s",  # who waits for a lock for ever shows nobody that the audit stands still
}  # fmt: skip
_BUSY_S = 10


def default_url() -> str:
    """One file under the user's data folder."""
    folder = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return f"sqlite:///{Path(folder) / 'stream-recon' / 'audit.db'}"


def parse(url: str) -> URL:
    """The URL in its parts.

    Raises:
        StoreRefusedError: it is none, or of a database that is not supported.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StoreRefusedError(f"{url!r} is no place for an audit store; give {_SHAPES}") from error
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise StoreRefusedError(f"an audit store cannot be in {parsed.drivername}; give {_SHAPES}")
    if file_of(parsed) == Path():
        raise StoreRefusedError(f"an audit store in memory would keep nothing; give {_SHAPES}")
    return parsed


def file_of(url: URL) -> Path | None:
    """The file of an SQLite store; None: it is none; the empty path: it is in memory."""
    if url.get_backend_name() != "sqlite":
        return None
    return Path() if url.database in {None, "", ":memory:"} else Path(str(url.database))


def engine_of(url: URL) -> Engine:
    """The engine for a URL; nothing is connected yet.

    Raises:
        StoreRefusedError: its driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        # A connection for each transaction: a file that was replaced is noticed, and nothing written to the old one.
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _BUSY_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(
            url, pool_pre_ping=True, pool_size=2, max_overflow=2, pool_timeout=10,
            connect_args={name: said for name, said in _POSTGRES.items() if name not in url.query},
        )  # fmt: skip
    except ImportError as error:
        raise StoreRefusedError(f"PostgreSQL needs a driver ({error}): pip install 'stream-recon[postgres]'") from error


def _prepare_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401 - sqlite3's
    connection.isolation_level = None  # we begin transactions ourselves
    connection.execute("PRAGMA synchronous=FULL")  # what is committed survives a power cut


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
