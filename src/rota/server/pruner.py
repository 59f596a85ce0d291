"""The pruner: deletes history and output by age, in small steps, and joins the small chunks of ended output.

It also forgets workers that are gone for good, and clears what stands about machines that are gone: who would say that
it is right again does not come back.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from rota.clock import Clock
from rota.core.model import RunId
from rota.events import Emit, HistoryPruned
from rota.loop import Loop
from rota.server.conditions import Conditions
from rota.store.bundle import Store

STEP: Final = 500
MERGED_AT_ONCE: Final = 50
REST: Final = timedelta(minutes=10)
SOON: Final = timedelta(seconds=1)
NOTICES_KEPT: Final = timedelta(days=90)
WORKERS_KEPT: Final = timedelta(days=7)  # after their end
GONE: Final = timedelta(hours=1)  # for so long a machine has been away of which nothing is said any more
ABOUT_SERVERS: Final = ("server-clock", "tzdata", "secret-key")
ABOUT_WORKERS: Final = ("worker-clock", "worker-twin")


class Pruner(Loop):
    """Keeps the store as small as retention says. A job's own `keep` can only shorten it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        history: timedelta,
        logs: timedelta,
        emit: Emit,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(emit)
        self._leads = leads  # whether retention is this server's duty
        self._store = store
        self._conditions = Conditions(store.alerts, clock, emit)
        self._clock = clock
        self._history = history
        self._logs = logs
        self._to_merge: dict[RunId, None] = {}

    def merge_later(self, run: RunId) -> None:
        """The output of this run came in many chunks and is complete now."""
        self._to_merge[run] = None
        self.wake()

    async def tick(self) -> timedelta:
        """Do one step's worth of each; come back soon while there is more."""
        await self._merge()
        runs, chunks = await self._prune() if self._leads() else (0, 0)
        if runs or chunks:
            self._emit(HistoryPruned(runs=runs, chunks=chunks))
        more = runs >= STEP or chunks >= STEP or bool(self._to_merge)
        return SOON if more else REST

    async def _merge(self) -> None:
        """Join the chunks of some ended runs."""
        chosen = list(self._to_merge)[:MERGED_AT_ONCE]
        if chosen:
            await self._store.output.merge(chosen)
        for run in chosen:
            del self._to_merge[run]

    async def _prune(self) -> tuple[int, int]:
        """Delete what is older than it may be: of all jobs, and of those that keep less."""
        now = self._clock.now()
        runs = await self._store.runs.prune(now - self._history, STEP)
        chunks = await self._store.output.prune(now - self._logs, STEP)
        for job in await self._store.jobs.keeping():
            keep = job.spec.keep
            if keep.history is not None:
                runs += await self._store.runs.prune(now - timedelta(seconds=keep.history), STEP, job=job.id)
            if keep.logs is not None:
                chunks += await self._store.output.prune(now - timedelta(seconds=keep.logs), STEP, job=job.id)
        await self._store.alerts.prune(now - NOTICES_KEPT)
        await self._store.sessions.forget(now - WORKERS_KEPT, STEP)
        await self._forget_machines()
        return runs, chunks

    async def _forget_machines(self) -> None:
        """Clear the conditions of servers and workers that have been gone for long."""
        told = [condition.key for condition in await self._store.alerts.conditions()]
        of_servers = {key: key.partition("/")[2] for key in told if key.partition("/")[0] in ABOUT_SERVERS}
        of_workers = {key: key.partition("/")[2] for key in told if key.partition("/")[0] in ABOUT_WORKERS}
        servers = await self._servers() if of_servers else set()
        workers = await self._workers(of_workers.values()) if of_workers else set()
        gone = [key for key, name in of_servers.items() if name not in servers]
        gone += [key for key, name in of_workers.items() if name not in workers]
        for key in gone:
            await self._conditions.clear(key)

    async def _servers(self) -> set[str]:
        """The names of the servers that are here, or were a moment ago."""
        standing = await self._store.leases.standing()
        return {server.name for server in standing.servers if server.lease_until > standing.now - GONE}

    async def _workers(self, names: Iterable[str]) -> set[str]:
        """Those of these workers that are here, or were a moment ago."""
        since = self._clock.now() - GONE
        workers = await self._store.sessions.get(sorted(names))
        return {worker.name for worker in workers if worker.settled is None or worker.settled > since}
