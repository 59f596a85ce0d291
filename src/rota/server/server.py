"""One server: its loops, its worker sessions and its commands, over a store. It knows no adapter by name."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from rota.clock import Clock
from rota.core.errors import StoreUnavailable
from rota.core.model import Run, RunState
from rota.core.model import Server as ServerRow
from rota.core.record import settle
from rota.events import Emit, ServerStarted, ServerStopped
from rota.loop import Loop
from rota.server.admission import Admission, Identity
from rota.server.assigner import Assigner, SecretValues
from rota.server.commands import Commands
from rota.server.commands.base import Services
from rota.server.commands.runs import at_start_run
from rota.server.dispatcher import Dispatcher
from rota.server.hub import Hub
from rota.server.job_files import JobFiles
from rota.server.leaseholder import Follow, Leaseholder
from rota.server.planner import Planner
from rota.server.pruner import Pruner
from rota.server.reaper import Reaper
from rota.server.recorder import Recorder
from rota.server.restore import RestoreWatch
from rota.server.watcher import Watcher
from rota.store.bundle import Store
from rota.wire.channel import ServerChannel

_DRAIN_POLL: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What a server is told at its start."""

    name: str = "server"
    url: str = ""
    version: str = ""
    job_paths: Sequence[Path] = ()
    history: timedelta = timedelta(days=90)
    logs: timedelta = timedelta(days=30)
    follow_clock: Follow = lambda asked, answered, told: None


class Server:
    """The loops of one server and what they share. `start` begins to decide, `stop` ends it."""

    def __init__(
        self,
        store: Store,
        config: ServerConfig,
        *,
        secrets: SecretValues,
        publish: Callable[[str], None],
        clock: Clock,
        rng: Random,
        emit: Emit,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.store = store
        self._clock = clock
        self._emit = emit
        self._publish = publish
        self._tasks: list[asyncio.Task[None]] = []
        self._epochs: dict[int, int] = {}
        self._planning = asyncio.Lock()
        self.leaseholder = Leaseholder(store, self._row(config), clock, self._epochs, emit, follow=config.follow_clock)
        self.restore = RestoreWatch(store, clock, emit)
        self.recorder = Recorder(store, clock, rng, publish, emit)
        counters = self.recorder.counters
        admission = Admission(store, self.id, self.restore, clock, emit)
        self.hub = Hub(store, clock, self.id, admission, self.recorder, emit)
        self.hub.renewal_age = lambda: self.leaseholder.renewal_age
        self.recorder.hub = self.hub
        self.job_files: JobFiles | None = None
        self.commands = Commands(self._services())
        assigner = Assigner(store, self.hub, secrets, self.recorder, emit)
        replace_runs = self.commands.replace_runs
        self.dispatcher = Dispatcher(store, self.hub, assigner, self.recorder, replace_runs, clock, emit)
        self.dispatcher.epochs = self._epochs
        self.dispatcher.restore = self.restore
        self.planner = Planner(store, clock, self._epochs, self._planning, counters, self.dispatcher.planned, emit)
        self.hub.on_room = self.dispatcher.wake
        self.recorder.on_requeue = self.dispatcher.wake
        self.recorder.on_ended = self.dispatcher.freed
        self.leaseholder.on_shards = self._on_shards
        if config.job_paths:
            self.job_files = JobFiles(config.job_paths, store, self.commands, clock, emit)
        pruner = Pruner(store, clock, history=config.history, logs=config.logs, emit=emit, leads=self.leads_singletons)
        self.recorder.on_chunked = pruner.merge_later
        self._background: list[Loop] = [
            self.leaseholder,
            Reaper(store, self.hub, self.recorder, clock, emit),
            Watcher(store, clock, counters, emit, leads=self.leads_singletons),
            pruner,
        ]

    def _row(self, config: "ServerConfig") -> ServerRow:
        """This server as the others see it; the store fills in the times."""
        now = self._clock.now()
        return ServerRow(
            id=self.id,
            name=config.name,
            url=config.url,
            version=config.version,
            started=now,
            renewed=now,
            lease_until=now,
        )

    def leads_singletons(self) -> bool:
        """Whether this server does what one server does for all: it leads the first shard."""
        return 0 in self._epochs

    def add(self, loop: Loop) -> None:
        """Run another loop with the server's own (the alerter, which needs adapters)."""
        self._background.append(loop)

    @property
    def loops(self) -> list[Loop]:
        """All loops of the server."""
        own: list[Loop] = [self.planner, self.dispatcher, self.recorder]
        files: list[Loop] = [self.job_files] if self.job_files else []
        return [*own, *files, *self._background]

    async def health(self) -> list[str]:
        """What keeps the server from being ready, in words; empty when it is."""
        if not self._tasks:
            return ["the server has not started"]
        problems = [f"the {loop.name} fails; see the log" for loop in self.loops if not loop.healthy]
        try:
            await self.store.runs.stats([])
        except StoreUnavailable as error:
            problems.append(f"the store: {error.detail}")
        return problems

    def wake_background(self) -> None:
        """There may be something for the loops off the path of a run (a notice to send)."""
        for loop in self._background:
            loop.wake()

    async def start(self) -> None:
        """Become one of the servers, read the job files once, and begin."""
        await self.leaseholder.join()
        await self.restore.refresh()
        self._emit(ServerStarted(server=self.id))
        if self.job_files is not None:
            await self.job_files.tick()
        await self._run_at_start()
        self._tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in self.loops]

    async def serve_worker(self, channel: ServerChannel, identity: Identity | None = None) -> None:
        """Serve one worker until its channel ends."""
        await self.hub.serve(channel, identity)

    async def drain(self, grace: float) -> bool:
        """Take nothing new, let what runs finish for up to `grace` seconds; returns whether all of it did."""
        for loop in (self.planner, self.dispatcher, *([self.job_files] if self.job_files else [])):
            loop.stop()
        await self.hub.drain(grace)
        deadline = self._clock.monotonic() + grace
        while any(session.held for session in self.hub.sessions()):
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_DRAIN_POLL)
        return True

    async def stop(self) -> None:
        """End the loops after their present tick; what was reported is committed."""
        for loop in self.loops:
            if loop is not self.recorder:
                loop.stop()
        await self.recorder.tick()
        self.recorder.stop()
        await asyncio.gather(*self._tasks)
        self._tasks = []
        await self.leaseholder.leave()
        self._emit(ServerStopped(server=self.id))

    def _services(self) -> Services:
        """What the commands work with."""
        return Services(
            store=self.store,
            clock=self._clock,
            settler=self.recorder,
            cancel_attempt=self.hub.cancel,
            revoke_attempt=self.hub.revoke,
            wake=self._wake,
            publish=self._publish,
            emit=self._emit,
            is_watched=lambda source: self.job_files is not None and self.job_files.watches(source),
            planning=self._planning,
            counters=self.recorder.counters,
        )

    def _wake(self) -> None:
        """Something changed that planner or dispatcher care about."""
        self.planner.wake()
        self.dispatcher.wake()

    def _on_shards(self) -> None:
        """The server leads other shards."""
        self.dispatcher.look_anew()
        self.planner.wake()

    async def _run_at_start(self) -> None:
        """One run of each job with `schedule: at start`."""
        now = self._clock.now()
        jobs = {job.id: job for job in await self.store.jobs.starting()}
        runs: list[Run] = [at_start_run(job, self.id, now) for job in jobs.values()]
        if not runs:
            return
        await self.store.runs.create(runs)
        shadowed = [run for run in runs if run.state is RunState.SKIPPED]
        if shadowed:
            after = settle(shadowed, jobs, await self.store.runs.stats(list(jobs)), now)
            await self.store.runs.record([], after.stats, after.notices)
