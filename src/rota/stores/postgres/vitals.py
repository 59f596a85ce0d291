"""What servers say of themselves on PostgreSQL: `rota.store.vitals.VitalsBook`."""

from typing import Final

from rota.store.vitals import Readings, Vitals
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.queries import load
from rota.stores.session_rows import readings_text, vitals_from_rows

SQL: Final = load("vitals.sql")


class PostgresVitals:
    """The newest readings of each server."""

    def __init__(self, verbs: Lane) -> None:
        self._verbs = verbs

    async def note(self, server: str, readings: Readings) -> bool:
        """Keep these readings instead of those before."""
        return bool(await self._verbs.value(SQL["note"], server, readings_text(readings)))

    async def all(self) -> dict[str, Vitals]:
        """The readings of all servers that said any, by id."""
        return vitals_from_rows(await self._verbs.rows(SQL["all"]))
