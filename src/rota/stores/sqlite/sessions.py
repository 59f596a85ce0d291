"""Workers and their sessions on SQLite: `rota.store.sessions.Sessions`."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from rota.core.model import Worker
from rota.store.sessions import Sign
from rota.stores.refusals import hello_overtaken, twin_connected
from rota.stores.rows import to_micros
from rota.stores.session_rows import worker_from_row, worker_row
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.leases import SqliteLeases
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load

SQL: Final = load("sessions.sql")


class SqliteSessions:
    """One row per worker."""

    def __init__(self, database: Database, leases: SqliteLeases) -> None:
        self._database = database
        self._leases = leases

    async def connect(self, worker: Worker) -> int:
        """Write the worker's row with a session number one higher than any it had."""
        now = await self._leases.now()
        return await self._database.write(lambda connection: _connect(connection, worker, now))

    async def disconnect(self, name: str, session: int, at: datetime) -> bool:
        """Note that the session's channel has ended, if it is still the worker's newest."""
        return await self._end("disconnect", name, session, at)

    async def settle(self, name: str, session: int, at: datetime) -> bool:
        """Note that what the session held has been dealt with, if it is still the worker's newest."""
        return await self._end("settle", name, session, at)

    async def orphans(self, grace: float, limit: int) -> list[Worker]:
        """Workers that are not settled and whose server's lease ended long ago."""
        row = (to_micros(await self._leases.now() - timedelta(seconds=grace)), limit)
        return await self._database.read(
            lambda connection: [worker_from_row(found) for found in connection.execute(SQL["orphans"], row)]
        )

    async def unsettled(self, server: str) -> dict[str, int]:
        """The sessions on record as this server's that are not settled."""
        return await self._database.read(
            lambda connection: dict(connection.execute(SQL["unsettled"], (server,)).fetchall())
        )

    async def seen(self, signs: Sequence[Sign]) -> None:
        """Note that workers are alive."""
        rows = [(sign.name, to_micros(sign.at), sign.draining, sign.clock_offset) for sign in signs]
        await self._database.write(lambda connection: connection.executemany(SQL["seen"], rows))

    async def forget(self, before: datetime, limit: int) -> list[str]:
        """Delete the rows of workers that were settled before then."""
        row = (to_micros(before), limit)
        return await self._database.write(
            lambda connection: [name for (name,) in connection.execute(SQL["forget"], row).fetchall()]
        )

    async def get(self, names: Sequence[str] | None = None) -> list[Worker]:
        """These workers, or all, in order of name."""
        statement, row = ("all", ()) if names is None else ("some", (ids_json(names),))
        return await self._database.read(
            lambda connection: [worker_from_row(found) for found in connection.execute(SQL[statement], row)]
        )

    async def _end(self, statement: str, name: str, session: int, at: datetime) -> bool:
        """Run a statement that notes an end; returns whether it found the session."""
        row = (name, session, to_micros(at))
        return await self._database.write(lambda connection: connection.execute(SQL[statement], row).rowcount == 1)


def _connect(connection: sqlite3.Connection, worker: Worker, now: datetime) -> int:
    """The worker's row with its next session number."""
    twin = connection.execute(SQL["twin"], (worker.name, worker.boot_id, to_micros(now))).fetchone()
    if twin is not None:
        raise twin_connected(worker.name, twin[1])
    if connection.execute(SQL["overtaken"], (worker.name, worker.boot_id, worker.dial)).fetchone() is not None:
        raise hello_overtaken(worker.name)
    row = worker_row(worker)
    session: int = connection.execute(SQL["connect"], row).fetchone()[0]
    return session
