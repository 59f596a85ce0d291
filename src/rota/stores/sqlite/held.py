"""Runs that workers hold on SQLite: `rota.store.held.Held`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rota.core.model import Run
from rota.stores.rows import run_from_row, to_micros
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load

SQL: Final = load("held.sql")


class SqliteHeld:
    """Runs in `starting` or `running`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_worker(self, worker: str) -> list[Run]:
        """Those of this worker."""
        return await self._runs("by_worker", worker)

    async def all(self) -> Sequence[Run]:
        """All of them."""
        return await self._runs("all")

    async def starting(self, before: datetime, limit: int) -> list[Run]:
        """Those in `starting` with `ready_at` < before, oldest first."""
        return await self._runs("starting", to_micros(before), limit)

    async def running(self, workers: Sequence[str]) -> list[Run]:
        """Those in `running` of these workers."""
        return await self._runs("running", ids_json(workers))

    async def asked(self) -> list[Run]:
        """Those whose end somebody asked for, or that somebody asked back."""
        return await self._runs("asked")

    async def _runs(self, statement: str, *parameters: Any) -> list[Run]:
        """The runs a statement finds."""
        return await self._database.read(
            lambda connection: [run_from_row(row) for row in connection.execute(SQL[statement], parameters)]
        )
