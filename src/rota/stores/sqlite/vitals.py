"""What servers say of themselves on SQLite: `rota.store.vitals.VitalsBook`."""

from typing import Final

from rota.store.vitals import Readings, Vitals
from rota.stores.rows import to_micros
from rota.stores.session_rows import readings_text, vitals_from_rows
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.leases import SqliteLeases
from rota.stores.sqlite.queries import load

SQL: Final = load("vitals.sql")


class SqliteVitals:
    """The newest readings of each server."""

    def __init__(self, database: Database, leases: SqliteLeases) -> None:
        self._database = database
        self._leases = leases

    async def note(self, server: str, readings: Readings) -> bool:
        """Keep these readings instead of those before."""
        row = (server, to_micros(await self._leases.now()), readings_text(readings))
        return await self._database.write(lambda connection: connection.execute(SQL["note"], row).rowcount == 1)

    async def all(self) -> dict[str, Vitals]:
        """The readings of all servers that said any, by id."""
        return await self._database.read(lambda connection: vitals_from_rows(connection.execute(SQL["all"]).fetchall()))
