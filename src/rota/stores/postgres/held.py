"""Runs that workers hold on PostgreSQL: `rota.store.held.Held`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rota.core.model import Run
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.queries import load
from rota.stores.rows import run_from_row, to_micros

SQL: Final = load("held.sql")


class PostgresHeld:
    """Runs in `starting` or `running`."""

    def __init__(self, verbs: Lane) -> None:
        self._verbs = verbs

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
        return await self._runs("running", list(workers))

    async def asked(self) -> list[Run]:
        """Those whose end somebody asked for, or that somebody asked back."""
        return await self._runs("asked")

    async def _runs(self, statement: str, *parameters: Any) -> list[Run]:
        """The runs a statement finds."""
        return [run_from_row(row) for row in await self._verbs.rows(SQL[statement], *parameters)]
