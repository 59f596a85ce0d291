"""The pruner: deletes history and output by age, in small steps, and joins the small chunks of ended output."""

from datetime import timedelta
from typing import Final

from rota.clock import Clock
from rota.events import Emit, HistoryPruned
from rota.loop import Loop
from rota.store.bundle import Store

STEP: Final = 500
REST: Final = timedelta(minutes=10)
SOON: Final = timedelta(seconds=1)
NOTICES_KEPT: Final = timedelta(days=90)


class Pruner(Loop):
    """Keeps the store as small as retention says. A job's own `keep` can only shorten it."""

    def __init__(self, store: Store, clock: Clock, *, history: timedelta, logs: timedelta, emit: Emit) -> None:
        super().__init__(emit)
        self._store = store
        self._clock = clock
        self._history = history
        self._logs = logs

    async def tick(self) -> timedelta:
        """Delete one step's worth of each; come back soon while there is more."""
        now = self._clock.now()
        runs = await self._store.runs.prune(now - self._history, STEP)
        chunks = await self._store.output.prune(now - self._logs, STEP)
        await self._store.alerts.prune(now - NOTICES_KEPT)
        if runs or chunks:
            self._emit(HistoryPruned(runs=runs, chunks=chunks))
        return SOON if runs >= STEP or chunks >= STEP else REST
