"""Bring a database to the schema this code knows: numbered files, each in one transaction, in order."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from rota.core.errors import StoreUnusable
from rota.stores.migrations import Migration, SchemaState, missing_steps, read_migrations
from rota.stores.sqlite.failures import FOREIGN, mapped
from rota.stores.sqlite.writer import undo

APPLICATION: Final = 0x526F7461  # "Rota", in the header of the file


def known_migrations() -> list[Migration]:
    """All migrations of this code, in order."""
    return read_migrations("rota.stores.sqlite")


def migrate(connection: sqlite3.Connection, where: str, migrations: Sequence[Migration] | None = None) -> int:
    """Apply what is missing; returns how many steps that took.

    Raises StoreUnusable, changing nothing, for a database of another program or one that is too new, and
    StoreUnavailable for one that cannot be written.
    """
    steps = known_migrations() if migrations is None else migrations
    try:
        missing = missing_steps(_present(connection, where), steps, where)
        for step in missing:
            _apply(connection, step)
        if not missing:
            _check_writable(connection)
    except FOREIGN as error:
        undo(connection)
        raise mapped(error, where) from error
    return len(missing)


def read_schema(connection: sqlite3.Connection, where: str) -> SchemaState:
    """Which schema the database has; changes nothing."""
    return SchemaState.of(_present(connection, where), known_migrations())


def _present(connection: sqlite3.Connection, where: str) -> dict[int, int]:
    """The steps the database has: number → oldest server."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        return {}
    if application != APPLICATION:
        raise StoreUnusable(f"{where} is a database of another program", hint="name another file or folder")
    return dict(connection.execute("SELECT number, oldest_server FROM migrations").fetchall())


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    """One step in one transaction: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _statements(step.sql):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    row = (step.number, step.name, step.oldest_server)
    connection.execute("INSERT INTO migrations (number, name, oldest_server) VALUES (?, ?, ?)", row)
    connection.execute("COMMIT")


def _check_writable(connection: sqlite3.Connection) -> None:
    """Find out now, not at the first run, that the file may only be read: SQLite opens it all the same."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE fences SET one = one")
    connection.execute("ROLLBACK")


def _statements(text: str) -> list[str]:
    """The statements of a file; SQLite itself says where each ends."""
    found: list[str] = []
    part = ""
    for line in text.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part) and ";" in line:
            found.append(part.strip())
            part = ""
    return found
