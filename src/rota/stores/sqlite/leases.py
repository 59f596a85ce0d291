"""Ownership, fences and the store's clock on SQLite: `rota.store.leases.Leases`.

Fence counters are taken from the database in blocks: what is left of a block when the process ends is never used.
The highest time given is remembered once a second and at the end, so a clock stepped back while Rota was away only
stands still until it is caught up.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rota.clock import Clock
from rota.core.ids import fence
from rota.core.model import Renewal, Server, Shard, Standing
from rota.store.leases import AWAY_SECONDS
from rota.stores.rows import EPOCH, from_micros, to_micros
from rota.stores.session_rows import server_from_row
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load

SQL: Final = load("leases.sql")
BLOCK: Final = 4096
FOR_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
REMEMBERED_SERVERS: Final = timedelta(days=1)
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

    async def join(self, server: Server, seconds: float | None, *, alone: bool = False) -> Server:
        """Write the server's row with a lease; `alone` ends all others."""
        now = to_micros(await self.now())
        until = to_micros(FOR_EVER) if seconds is None else now + round(seconds * 1_000_000)
        row = (server.id, server.name, server.url, server.version, now, until)

        def write(connection: sqlite3.Connection) -> Server:
            connection.execute(SQL["forget_servers"], (now - to_micros(EPOCH + REMEMBERED_SERVERS),))
            if alone:
                connection.execute(SQL["end_others"], (server.id, now))
            return server_from_row(connection.execute(SQL["join"], row).fetchone())

        return await self._database.write(write)

    async def renew(self, server: str, seconds: float) -> Renewal | None:
        """Let the server's lease end so many seconds from now."""
        now = await self.now()
        row = (server, to_micros(now), to_micros(now + timedelta(seconds=seconds)))

        def write(connection: sqlite3.Connection) -> Renewal | None:
            found = connection.execute(SQL["renewed"], (server,)).fetchone()
            connection.execute(SQL["renew"], row)
            return None if found is None else Renewal(at=now, before=from_micros(found[0]), now=now)

        return await self._database.write(write)

    async def leave(self, server: str) -> None:
        """Give up the server's shards and end its lease now."""
        row = (server, to_micros(await self.now()))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["end"], row)
            connection.execute(SQL["leave"], row[:1])

        await self._database.write(write)

    async def standing(self) -> Standing:
        """All servers and all shards."""
        now = await self.now()

        def read(connection: sqlite3.Connection) -> Standing:
            servers = tuple(server_from_row(row) for row in connection.execute(SQL["servers"]))
            rows = connection.execute(SQL["shards"])
            shards = tuple(Shard(number=number, server=server, epoch=epoch) for number, server, epoch in rows)
            away = to_micros(now - timedelta(seconds=AWAY_SECONDS))
            workers = dict(connection.execute(SQL["workers"], (away,)).fetchall())
            return Standing(now=now, servers=servers, shards=shards, workers=workers)

        return await self._database.read(read)

    async def take(self, server: str, shards: Mapping[int, int]) -> dict[int, int]:
        """Make the server the leader of those of these shards that are free."""
        now = to_micros(await self.now())

        def write(connection: sqlite3.Connection) -> dict[int, int]:
            taken: dict[int, int] = {}
            for shard, epoch in sorted(shards.items()):
                taken.update(connection.execute(SQL["take"], (server, shard, epoch, now)).fetchall())
            return taken

        return await self._database.write(write)

    async def release(self, server: str, shards: Sequence[int]) -> None:
        """Let nobody lead those of these shards that this server leads."""
        row = (server, ids_json(shards))
        await self._database.write(lambda connection: connection.execute(SQL["release"], row))

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

    async def highest_fence(self) -> int:
        """The highest fence taken out of circulation so far."""
        incarnation, counter = await self._database.read(
            lambda connection: connection.execute(SQL["fences"]).fetchone()
        )
        return fence(incarnation, counter) - 1 if (incarnation, counter) != (1, 1) else 0

    async def raise_incarnation(self) -> int:
        """Begin a new incarnation; what is left of the present block is not used."""
        async with self._taking:
            self._next_fence = self._end_of_block = 0
            incarnation: int = await self._database.write(
                lambda connection: connection.execute(SQL["raise_incarnation"]).fetchone()[0]
            )
            return incarnation

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
