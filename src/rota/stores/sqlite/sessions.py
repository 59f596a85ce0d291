"""Workers and their sessions on SQLite: `rota.store.sessions.Sessions`."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from rota.core.model import Worker
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.rows import (
    Row,
    from_micros,
    ids_json,
    optional_instant,
    optional_micros,
    to_json,
    to_micros,
)

SQL: Final = load("sessions.sql")
_labels = msgspec.json.Decoder(dict[str, str]).decode
_capacity = msgspec.json.Decoder(dict[str, int]).decode


class SqliteSessions:
    """One row per worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def connect(self, worker: Worker) -> int:
        """Write the worker's row with a session number one higher than any it had."""
        return await self._database.write(lambda connection: _connect(connection, worker))

    async def disconnect(self, name: str, session: int, at: datetime) -> bool:
        """Mark the session ended, if it is still the worker's newest and has not ended yet."""
        row = (name, session, to_micros(at))
        return await self._database.write(lambda connection: connection.execute(SQL["disconnect"], row).rowcount == 1)

    async def seen(self, names: Sequence[str], at: datetime) -> None:
        """Note that these workers are alive."""
        row = (ids_json(names), to_micros(at))
        await self._database.write(lambda connection: connection.execute(SQL["seen"], row))

    async def get(self, names: Sequence[str] | None = None) -> list[Worker]:
        """These workers, or all, in order of name."""
        statement, row = ("all", ()) if names is None else ("some", (ids_json(names),))
        return await self._database.read(
            lambda connection: [_worker_from_row(found) for found in connection.execute(SQL[statement], row)]
        )


def _connect(connection: sqlite3.Connection, worker: Worker) -> int:
    """The worker's row with its next session number."""
    row = (
        worker.name,
        worker.boot_id,
        worker.server,
        worker.version,
        to_json(worker.labels),
        to_json(worker.capacity),
        worker.cpus,
        worker.memory,
        to_micros(worker.connected),
        to_micros(worker.last_seen),
        optional_micros(worker.disconnected),
    )
    session: int = connection.execute(SQL["connect"], row).fetchone()[0]
    return session


def _worker_from_row(row: Row) -> Worker:
    """The worker of a row."""
    (name, boot_id, session, server, version, labels, capacity, cpus, memory,
     connected, last_seen, disconnected) = row  # fmt: skip
    return Worker(
        name=name,
        boot_id=boot_id,
        session=session,
        server=server,
        version=version,
        labels=_labels(labels),
        capacity=_capacity(capacity),
        cpus=cpus,
        memory=memory,
        connected=from_micros(connected),
        last_seen=from_micros(last_seen),
        disconnected=optional_instant(disconnected),
    )
