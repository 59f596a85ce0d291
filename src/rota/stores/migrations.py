"""Migrations as values: numbered files of SQL, in order, each applied in one transaction by its adapter.

Each file names the `oldest_server`: the lowest schema number a server must know to work on a database that has it.
So an older server goes on working after an upgrade that only adds, and refuses to start after one that does not.
"""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final, NamedTuple

from rota.core.errors import StoreUnusable

_FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_OLDEST: Final = re.compile(r"^-- oldest_server: *(\d+) *$", re.MULTILINE)


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    oldest_server: int
    sql: str


class SchemaState(NamedTuple):
    """Which schema a database has (0: none), which this code would bring it to, and which it must know to work."""

    present: int
    known: int
    needed: int

    @classmethod
    def of(cls, present: Mapping[int, int], steps: Sequence[Migration]) -> "SchemaState":
        """Of the steps a database has (number → oldest server), and those of this code."""
        return cls(max(present, default=0), steps[-1].number, max(present.values(), default=0))


def read_migrations(package: str) -> list[Migration]:
    """All migrations of an adapter's package, in order."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted((entry.name, entry) for entry in folder.iterdir() if _FILE.fullmatch(entry.name))
    return [_parse(name, entry.read_text(encoding="utf-8")) for name, entry in files]


def missing_steps(present: Mapping[int, int], steps: Sequence[Migration], where: str) -> list[Migration]:
    """The steps a database with those (number → oldest server) still lacks; StoreUnusable where it needs a newer code.

    A database that this code would misread is refused before anything is written.
    """
    newest_known = steps[-1].number
    needed = max(present.values(), default=0)
    if needed > newest_known:
        raise StoreUnusable(
            f"{where} was upgraded by a newer Rota: it needs schema {needed}, this one knows {newest_known}",
            hint="install the newer version again, or restore the backup made before the upgrade",
        )
    return [step for step in steps if step.number not in present]


def _parse(file: str, text: str) -> Migration:
    """A migration file as a value."""
    oldest = _OLDEST.search(text)
    if oldest is None:
        raise StoreUnusable(f"the migration {file} does not say which is its oldest server")
    number, _, name = file.removesuffix(".sql").partition("_")
    return Migration(int(number), name, int(oldest.group(1)), text)
