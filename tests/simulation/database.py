"""The one store of the simulated cluster as each server sees it: slow, now and then away, or silent after a commit."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as replace_bundle
from datetime import datetime
from random import Random
from typing import Any, Final

from tests.simulation.virtual import VirtualLoop, pass_time

from rota.core.errors import StoreUnavailable
from rota.core.ids import shard_of
from rota.core.model import JobId
from rota.store.bundle import Store
from rota.store.runs import Waiting
from rota.store.signals import Listener

SHARDS: Final = 4
LATENCY: Final = 0.004
TIMEOUT: Final = 3.0
_ALL: Final = 100_000


class Database:
    """What is true of the database for everybody."""

    def __init__(self, store: Store, loop: VirtualLoop, rng: Random) -> None:
        self.store = store
        self.loop = loop
        self.rng = rng
        self.is_away = False
        self.silent_commits = 0.0  # share of verbs that are done and whose answer is lost
        self.cut_off: set[str] = set()  # servers that cannot reach it
        self.unknown = 0  # verbs done whose answer was lost
        self.listeners: dict[str, Listener] = {}

    def reaches(self, server: str) -> bool:
        """Whether a server's verbs get through."""
        return not self.is_away and server not in self.cut_off

    def seen_from(self, server: str) -> Store:
        """The store as one server has it."""
        contracts = {
            name: Verbs(getattr(self.store, name), self, server)
            for name in ("jobs", "runs", "held", "leases", "sessions", "output", "alerts", "access", "views")
        }
        contracts["runs"] = ShardedRuns(self.store.runs, self, server)
        signals: Any = Signals(self, server)
        return replace_bundle(self.store, **contracts, signals=signals, shards=SHARDS, embedded=False)


class Verbs:
    """A contract whose verbs take time and fail as those of a database over a network do."""

    def __init__(self, contract: Any, database: Database, server: str) -> None:
        self._contract = contract
        self._database = database
        self._server = server

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._contract, name)
        return self._faulty(verb) if inspect.iscoroutinefunction(verb) else verb

    def _faulty(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        database, server = self._database, self._server

        async def call(*arguments: Any, **named: Any) -> Any:
            await pass_time(database.rng.random() ** 2 * LATENCY)
            if not database.reaches(server):
                await pass_time(TIMEOUT * database.rng.random())
                raise StoreUnavailable("the database does not answer")
            result = await verb(*arguments, **named)
            if database.rng.random() < database.silent_commits:
                database.unknown += 1
                raise StoreUnavailable("the answer was lost")
            await pass_time(database.rng.random() ** 2 * LATENCY)
            if not database.reaches(server):  # it was done, and nobody knows
                database.unknown += 1
                raise StoreUnavailable("the database went away")
            return result

        return call


class ShardedRuns(Verbs):
    """Runs of an embedded store, asked for by shard as a shared one can be."""

    async def waiting(
        self,
        now: datetime,
        room: Mapping[str, int] | None,
        limit: int,
        *,
        shards: Sequence[int] | None = None,
        after: datetime | None = None,
    ) -> Waiting:
        every = room if room is None else dict.fromkeys(room, _ALL)
        found: Waiting = await self._faulty(self._contract.waiting)(now, every, _ALL, after=after)
        left = dict(room) if room is not None else None
        chosen = []
        for run in found.runs:
            if shards is not None and shard_of(run.job_id, SHARDS) not in shards:
                continue
            if left is not None:
                if left[run.kind] <= 0:
                    continue
                left[run.kind] -= 1
            chosen.append(run)
        chosen = chosen[:limit]
        jobs: dict[JobId, Any] = {run.job_id: found.jobs[run.job_id] for run in chosen if run.job_id in found.jobs}
        return Waiting(runs=tuple(chosen), jobs=jobs)

    async def next_ready(self, after: datetime, shards: Sequence[int] | None = None) -> datetime | None:
        upcoming: datetime | None = await self._faulty(self._contract.next_ready)(after)
        return upcoming


class Signals:
    """Words between servers: most arrive."""

    def __init__(self, database: Database, server: str) -> None:
        self._database = database
        self._server = server

    def subscribe(self, listener: Listener) -> None:
        self._database.listeners[self._server] = listener

    def publish(self, topics: Iterable[str]) -> None:
        database = self._database
        said = tuple(topic for topic in topics if topic.startswith("~"))
        if not said or not database.reaches(self._server):
            return
        for server, listener in database.listeners.items():
            if server != self._server and database.reaches(server) and database.rng.random() < 0.9:
                database.loop.later(0.001 + 0.01 * database.rng.random(), listener, said)
