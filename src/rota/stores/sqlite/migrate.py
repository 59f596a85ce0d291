"""Bring a database to the schema this code knows: numbered files, each in one transaction, in order.

Each file names the `oldest_server`: the lowest schema number a server must know to work on a database that has it.
So an older server goes on working after an upgrade that only adds, and refuses to start after one that does not.
"""

import re
import sqlite3
from importlib import resources
from typing import Final, NamedTuple

from rota.core.errors import StoreUnusable
from rota.stores.sqlite.failures import FOREIGN, mapped
from rota.stores.sqlite.writer import undo

_FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_OLDEST: Final = re.compile(r"^-- oldest_server: *(\d+) *$", re.MULTILINE)
APPLICATION: Final = 0x526F7461  # "Rota", in the header of the file


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    oldest_server: int
    statements: tuple[str, ...]


def known_migrations() -> list[Migration]:
    """All migrations of this code, in order."""
    folder = resources.files("rota.stores.sqlite").joinpath("migrations")
    files = sorted((entry.name, entry) for entry in folder.iterdir() if _FILE.fullmatch(entry.name))
    return [_parse(name, entry.read_text(encoding="utf-8")) for name, entry in files]


def migrate(connection: sqlite3.Connection, where: str, migrations: list[Migration] | None = None) -> int:
    """Apply what is missing; returns how many steps that took.

    Raises StoreUnusable, changing nothing, for a database of another program or one that is too new, and
    StoreUnavailable for one that cannot be written.
    """
    steps = known_migrations() if migrations is None else migrations
    try:
        present = _present(connection, where)
        _refuse_newer(present, steps, where)
        missing = [step for step in steps if step.number not in present]
        for step in missing:
            _apply(connection, step)
        if not missing:
            _check_writable(connection)
    except FOREIGN as error:
        undo(connection)
        raise mapped(error, where) from error
    return len(missing)


def _present(connection: sqlite3.Connection, where: str) -> dict[int, int]:
    """The steps the database has: number → oldest server."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        return {}
    if application != APPLICATION:
        raise StoreUnusable(f"{where} is a database of another program", hint="name another file or folder")
    return dict(connection.execute("SELECT number, oldest_server FROM migrations").fetchall())


def _refuse_newer(present: dict[int, int], steps: list[Migration], where: str) -> None:
    """Refuse a database that this code would misread."""
    newest_known = steps[-1].number
    needed = max(present.values(), default=0)
    if needed > newest_known:
        raise StoreUnusable(
            f"{where} was upgraded by a newer Rota: it needs schema {needed}, this one knows {newest_known}",
            hint="install the newer version again, or restore the backup made before the upgrade",
        )


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    """One step in one transaction: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in step.statements:
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


def _parse(file: str, text: str) -> Migration:
    """A migration file as a value."""
    oldest = _OLDEST.search(text)
    if oldest is None:
        raise StoreUnusable(f"the migration {file} does not say which is its oldest server")
    number, _, name = file.removesuffix(".sql").partition("_")
    return Migration(int(number), name, int(oldest.group(1)), tuple(_statements(text)))


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
