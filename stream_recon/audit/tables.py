"""The tables of the audit store, and the triggers by which the database itself refuses to change what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION = 1
"""Of these tables."""

METADATA = MetaData()
SCHEMA = Table("recon_audit_schema", METADATA, Column("version", Integer, nullable=False))
ENTRIES = Table(
    "recon_audit_entries",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("form", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text),
    Column("run_id", Text),
    Column("alert_id", Text),
    Column("command_id", Text),
    Index("recon_audit_by_kind", "kind", "subject"),
    Index("recon_audit_by_run", "run_id"),
    Index("recon_audit_by_alert", "alert_id"),
    Index("recon_audit_by_command", "command_id"),
)
HEADS = Table(
    "recon_audit_heads",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("entries", BigInteger, nullable=False),
)

_BACKWARDS = (
    "NEW.topic <> OLD.topic OR NEW.partition <> OLD.partition "
    "OR NEW.next_offset <= OLD.next_offset OR NEW.entries <= OLD.entries"
)
_REFUSED: tuple[tuple[str, str, str, str | None], ...] = (
    ("recon_audit_keep_entries", "UPDATE", ENTRIES.name, None),
    ("recon_audit_keep_all_entries", "DELETE", ENTRIES.name, None),
    ("recon_audit_keep_heads", "DELETE", HEADS.name, None),
    ("recon_audit_only_onwards", "UPDATE", HEADS.name, _BACKWARDS),
)
"""What is refused: the name of its trigger, the statement, the table, and of which rows (None: of any)."""
_TRUNCATED = (("recon_audit_no_truncate_entries", ENTRIES.name), ("recon_audit_no_truncate_heads", HEADS.name))
_LOCK = 0x7265636F6E  # any number that nobody else takes


def version_of(connection: Connection) -> int | None:
    """Of which version the tables are that are there; None: there are none."""
    if not inspect(connection).has_table(SCHEMA.name):
        return None
    return connection.execute(select(SCHEMA.c.version)).scalar()


def create(connection: Connection) -> None:
    """Make tables and triggers, all or none, unless somebody else has meanwhile."""
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if version_of(connection) is not None:
        return
    METADATA.create_all(connection)
    for statement in _postgres_triggers() if postgres else _sqlite_triggers():
        connection.exec_driver_sql(statement)
    connection.execute(insert(SCHEMA), {"version": VERSION})


def _sqlite_triggers() -> list[str]:
    return [
        f"CREATE TRIGGER {name} BEFORE {statement} ON {table}{f' WHEN {which}' if which else ''} "
        f"BEGIN SELECT RAISE(ABORT, 'the audit store only grows: {statement} is refused'); END"
        for name, statement, table, which in _REFUSED
    ]


def _postgres_triggers() -> list[str]:
    refuse = (
        "CREATE OR REPLACE FUNCTION recon_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION USING MESSAGE = 'the audit store only grows: ' || TG_OP || ' is refused'; END $$"
    )
    rows = [
        f"CREATE TRIGGER {name} BEFORE {statement} ON {table} FOR EACH ROW{f' WHEN ({which})' if which else ''} "
        "EXECUTE FUNCTION recon_audit_refuse()"
        for name, statement, table, which in _REFUSED
    ]
    whole = [
        f"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION recon_audit_refuse()"
        for name, table in _TRUNCATED
    ]
    return [refuse, *rows, *whole]
