"""Ownership, fences and the store's clock on SQLite: `rota.store.leases.Leases`.

Fence counters are taken from the database in blocks: what is left of a block when the process ends is never used.
The highest time given is remembered once a second and at the end, so a clock stepped back while Rota was away only
stands still until it is caught up.
"""

import asyncio
import sqlite3
from datetime import datetime, timedelta
from typing import Final

from rota.clock import Clock
from rota.core.ids import fence
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.rows import from_micros, to_micros

SQL: Final = load("leases.sql")
BLOCK: Final = 4096
REMEMBERED_EVERY: Final = timedelta(seconds=1)


class SqliteLeases:
    """The counters that only grow."""

    def __init__(self, database: Database, clock: Clock, highest: datetime) -> None:
        self._database = database
        self._clock = clock
        self._highest = highest
        self._remembered = highest
        self._next_fence = 0
        self._end_of_block = 0
        self._taking = asyncio.Lock()

    async def now(self) -> datetime:
        """The store's clock; never earlier than any time it gave before."""
        self._highest = max(self._highest, self._clock.now())
        if self._highest - self._remembered >= REMEMBERED_EVERY:
            self._remembered = self._highest
            text = str(to_micros(self._highest))
            # Nobody waits: while the disk is full nothing is committed that could be repeated.
            self._database.write_soon(lambda connection: connection.execute(SQL["remember_time"], (text,)))
        return self._highest

    async def take_shards(self, server: str) -> dict[int, int]:
        """Make this server the owner of all shards and raise their epochs."""
        return await self._database.write(
            lambda connection: dict(connection.execute(SQL["take_shards"], (server,)).fetchall())
        )

    async def reserve_fences(self, count: int) -> int:
        """Take `count` fence counters out of circulation for ever; returns the first of them."""
        async with self._taking:
            if self._next_fence + count > self._end_of_block:
                block = max(count, BLOCK)
                incarnation, counter = await self._database.write(lambda connection: _take_fences(connection, block))
                self._next_fence = fence(incarnation, counter)
                self._end_of_block = self._next_fence + block
            first = self._next_fence
            self._next_fence += count
            return first

    async def fact(self, key: str) -> str | None:
        """A remembered fact about this store."""
        return await self._database.read(lambda connection: read_fact(connection, key))

    async def remember(self, key: str, value: str) -> None:
        """Remember a fact."""
        await self._database.write(lambda connection: connection.execute(SQL["remember"], (key, value)))

    async def check(self) -> list[str]:
        """Problems of the database's own consistency; empty when sound."""
        return await self._database.read(_problems, patient=True)  # it reads every page

    async def remember_now(self) -> None:
        """Write the highest time given, at the end."""
        text = str(to_micros(self._highest))
        await self._database.write(lambda connection: connection.execute(SQL["remember_time"], (text,)))


def read_fact(connection: sqlite3.Connection, key: str) -> str | None:
    """The value of a fact, if there is one."""
    row = connection.execute(SQL["fact"], (key,)).fetchone()
    return None if row is None else row[0]


def highest_time(connection: sqlite3.Connection) -> datetime:
    """The highest time this store is known to have given."""
    return from_micros(int(read_fact(connection, "highest_time") or 0))


def _take_fences(connection: sqlite3.Connection, count: int) -> tuple[int, int]:
    """Move the durable counter; returns the incarnation and the first counter taken."""
    incarnation, counter = connection.execute(SQL["take_fences"], (count,)).fetchone()
    return incarnation, counter


def _problems(connection: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong."""
    found = [text for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok"]
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(20):
        found.append(f"row {row} of {table} refers to a row of {parent} that is not there")
    return found
