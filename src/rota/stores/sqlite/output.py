"""Output of attempts on SQLite: `rota.store.output.OutputStore`."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from rota.core.model import JobId, OutputChunk, RunId
from rota.store.output import OutputSize
from rota.stores.chunks import Group, chunk_from_row, chunk_row, first_id_kept, groups, merged_row
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load

SQL: Final = load("output.sql")
PRUNED_AT_ONCE: Final = 500


class SqliteOutput:
    """Chunks, kept compressed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, chunks: Sequence[OutputChunk]) -> None:
        """Add chunks; one that exists is left as it is."""

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(SQL["append"], [chunk_row(chunk) for chunk in chunks])

        await self._database.write(write)

    async def read(self, run: RunId, attempt: int, first_line: int, limit: int) -> list[OutputChunk]:
        """The chunks that hold lines from `first_line` on, until they hold `limit` lines."""

        def read(connection: sqlite3.Connection) -> list[OutputChunk]:
            chunks: list[OutputChunk] = []
            missing = limit
            rows = connection.execute(SQL["read"], (run, attempt, first_line))
            while missing > 0 and (row := rows.fetchone()) is not None:
                chunk = chunk_from_row(row)
                chunks.append(chunk)
                missing -= len(chunk.lines) - max(0, first_line - chunk.first_line)
            return chunks

        return await self._database.read(read)

    async def size(self, run: RunId, attempt: int) -> OutputSize:
        """How much there is."""

        def read(connection: sqlite3.Connection) -> OutputSize:
            lines, size = connection.execute(SQL["size"], (run, attempt)).fetchone()
            return OutputSize(lines=lines, bytes=size)

        return await self._database.read(read)

    async def merge(self, runs: Sequence[RunId]) -> None:
        """Join small chunks into large ones, one transaction per joined row."""
        ids = ids_json(dict.fromkeys(runs))
        pieces = await self._database.read(lambda connection: connection.execute(SQL["pieces"], (ids,)).fetchall())
        for group in groups(pieces):
            await self._database.write(partial(_merge, group=group))

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete output of runs whose day is before `before`, a few hundred chunks per transaction."""
        bound, pruned = first_id_kept(before), 0
        while pruned < limit:
            at_once = min(PRUNED_AT_ONCE, limit - pruned)
            deleted = await self._database.write(partial(_prune, bound=bound, limit=at_once, job=job))
            pruned += deleted
            if deleted < at_once:
                break
        return pruned


def _merge(connection: sqlite3.Connection, group: Group) -> None:
    """Put one row in the place of a group's rows; what it does not find any more (pruned) it leaves so."""
    rows = connection.execute(SQL["group"], group).fetchall()
    if len(rows) < 2:
        return
    connection.execute(SQL["delete_group"], group)
    connection.execute(SQL["put_merged"], merged_row(rows))


def _prune(connection: sqlite3.Connection, bound: str, limit: int, job: JobId | None) -> int:
    """One transaction's worth of old chunks."""
    if job is None:
        return connection.execute(SQL["prune"], (bound, limit)).rowcount
    return connection.execute(SQL["prune_of_job"], (bound, limit, job)).rowcount
