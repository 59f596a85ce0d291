"""Everything a SQLite store holds, to be carried: `rota.store.transfer.Transfer`."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from rota.store.transfer import FenceCounter, Key, Kind, Page
from rota.stores.rows import FINAL_STATES
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.queries import load
from rota.stores.transfer_rows import CODECS, lowest_key

SQL: Final = load("transfer.sql")
WRITES: Final = load("writes.sql")
_RUN_TABLES: Final = ("hot", "past")


class SqliteTransfer:
    """Reading and writing whole stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_empty(self) -> bool:
        """Whether there is nothing anybody would miss."""
        return await self._database.read(lambda connection: bool(connection.execute(SQL["is_empty"]).fetchone()[0]))

    async def read(self, kind: Kind, after: Key | None, limit: int) -> Page:
        """Values of a kind in order of their key; of runs the unfinished ones first."""
        table, *key = after or ((_RUN_TABLES[0],) if kind is Kind.RUNS else (kind.value,)) + lowest_key(kind)
        codec = CODECS[kind]
        rows = await self._database.read(
            lambda connection: connection.execute(SQL[table], (*key, limit)).fetchall(), patient=True
        )
        following: Key | None = None
        if len(rows) == limit:
            following = (table, *(rows[-1][place] for place in codec.key))
        elif table == _RUN_TABLES[0]:
            following = (_RUN_TABLES[1], *lowest_key(kind))
        return Page(values=tuple(codec.value(row) for row in rows), next=following)

    async def write(self, kind: Kind, values: Sequence[Any]) -> None:
        """Add values of a kind."""
        rows = [CODECS[kind].row(value) for value in values]

        def write(connection: sqlite3.Connection) -> None:
            if kind is Kind.RUNS:
                ended = [row for row, run in zip(rows, values, strict=True) if run.state in FINAL_STATES]
                hot = [row for row, run in zip(rows, values, strict=True) if run.state not in FINAL_STATES]
                connection.executemany(WRITES["insert_hot"], hot)
                connection.executemany(WRITES["insert_history"], ended)
            else:
                connection.executemany(SQL[f"put_{kind.value}"], rows)

        await self._database.write(write)

    async def fences(self) -> FenceCounter:
        """What the store would give next."""
        incarnation, counter = await self._database.read(
            lambda connection: connection.execute(SQL["fences"]).fetchone()
        )
        return FenceCounter(incarnation=incarnation, counter=counter)

    async def raise_fences(self, at_least: FenceCounter) -> None:
        """Let every fence given from now on be at least that one."""
        row = (at_least.incarnation, at_least.counter)
        await self._database.write(lambda connection: connection.execute(SQL["raise_fences"], row))
