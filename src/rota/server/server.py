"""One server: its loops, its worker sessions and its commands, over a store. It knows no adapter by name."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from rota.clock import Clock
from rota.core.errors import StoreUnavailable
from rota.core.lease import is_live
from rota.core.model import Run, RunState
from rota.core.model import Server as ServerRow
from rota.core.record import settle
from rota.events import Emit, ServerStarted, ServerStopped
from rota.loop import Loop
from rota.server import whispers
from rota.server.admission import Admission, Identity
from rota.server.assigner import Assigner, SecretValues
from rota.server.clock_watch import ClockWatch
from rota.server.commands import Commands
from rota.server.commands.base import Services
from rota.server.commands.runs import at_start_run
from rota.server.dispatcher import Dispatcher
from rota.server.hub import Hub
from rota.server.job_files import JobFiles
from rota.server.leaseholder import Follow, Leaseholder
from rota.server.own_reports import OwnReports
from rota.server.planner import Planner
from rota.server.pruner import Pruner
from rota.server.reaper import Reaper
from rota.server.recorder import Recorder
from rota.server.restore import RestoreWatch
from rota.server.spread import Spread
from rota.server.vitals import StoreTimes, VitalsLoop
from rota.server.watcher import Watcher
from rota.server.whispers import Whispers
from rota.store.bundle import Store
from rota.store.sessions import Sign
from rota.store.vitals import Readings
from rota.wire.channel import ServerChannel
from rota.wire.messages import SeenRenewal

_DRAIN_POLL: Final = 0.05
_LAST_WORDS: Final = 5.0  # seconds in which a worker inside the process ends and reports what its grace left running
_LONGEST_AGE: Final = 1e9  # of a renewal that never was


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
        self.id = f"{rng.getrandbits(48):012x}"
        self.store = store
        self.store_times = StoreTimes()
        self._clock = clock
        self._emit = emit
        self._publish = publish
        self._rng = rng
        self._tasks: dict[Loop, asyncio.Task[None]] = {}
        self._epochs: dict[int, int] = {}
        self._planning = asyncio.Lock()
        self.whispers = Whispers(store.signals)
        self.leaseholder = Leaseholder(store, self._row(config), clock, self._epochs, emit, follow=config.follow_clock)
        self.restore = RestoreWatch(store, clock, emit)
        self.recorder = Recorder(store, clock, rng, publish, emit)
        counters = self.recorder.counters
        admission = Admission(store, self.id, self.restore, clock, emit)
        self.hub = Hub(store, clock, self.id, admission, OwnReports(self.recorder, store, emit), emit)
        self.recorder.hub = self.hub
        self.job_files: JobFiles | None = None
        self.commands = Commands(self._services())
        self.assigner = assigner = Assigner(store, self.hub, secrets, self.recorder, emit)
        replace_runs = self.commands.replace_runs
        self.dispatcher = Dispatcher(store, self.hub, assigner, self.recorder, replace_runs, clock, emit)
        self.planner = Planner(store, clock, self._epochs, self._planning, counters, self.dispatcher.planned, emit)
        if config.job_paths:
            self.job_files = JobFiles(config.job_paths, store, self.commands, clock, emit)
        pruner = Pruner(store, clock, history=config.history, logs=config.logs, emit=emit, leads=self.leads_singletons)
        self.recorder.on_chunked = pruner.merge_later
        self._reaper = Reaper(store, self.hub, self.recorder, clock, emit)
        self._background: list[Loop] = [
            self.leaseholder,
            self._reaper,
            Watcher(store, clock, counters, emit, wall=clock.wall, leads=self.leads_singletons),
            pruner,
            VitalsLoop(store, self.id, self.readings, emit),
            ClockWatch(store, config.name, self.signs, clock, emit),
        ]
        self._tell_each_other()
        self._hear_others()

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

    async def readings(self) -> Readings:
        """What the server measures of itself, now."""
        return Readings(
            clock_offset=self._clock.wall() - self._clock.now().timestamp(),
            planner_lag=self.planner.lag,
            renewal_age=min(self.leaseholder.renewal_age, _LONGEST_AGE),
            store_typical=self.store_times.typical,
            store_slow=self.store_times.slow,
            workers=len(self.hub.sessions()),
            problems=tuple(await self.health()),
        )

    @property
    def shards_led(self) -> int:
        """How many shards the server leads."""
        return len(self._epochs)

    def signs(self) -> list[Sign]:
        """What is known at this moment of the workers connected here."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return [session.sign(now, monotonic) for session in self.hub.sessions()]

    def wake_background(self) -> None:
        """There may be something for the loops off the path of a run (a notice to send)."""
        self._wake_background()
        self.whispers.say(whispers.NOTICES)

    async def start(self) -> None:
        """Become one of the servers, read the job files once, and begin."""
        await self.leaseholder.join()
        await self.restore.refresh()
        self._emit(ServerStarted(server=self.id))
        if self.job_files is not None:
            await self.job_files.tick()
        if not self._has_company():
            await self._run_at_start()
        self._tasks = {loop: asyncio.create_task(loop.run(), name=loop.name) for loop in self.loops}

    async def serve_worker(self, channel: ServerChannel, identity: Identity | None = None) -> None:
        """Serve one worker until its channel ends."""
        await self.hub.serve(channel, identity)

    async def drain(self, grace: float) -> bool:
        """Take nothing new, let what runs finish for up to `grace` seconds; returns whether all of it did.

        What did not is ended by its worker, which has a moment to say so.
        """
        for loop in (self.planner, self.dispatcher, *([self.job_files] if self.job_files else [])):
            loop.stop()
        await self.hub.drain(grace)
        deadline = self._clock.monotonic() + grace + _LAST_WORDS
        while any(session.held for session in self.hub.sessions()):
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_DRAIN_POLL)
        return True

    async def hand_over(self) -> None:
        """Decide nothing more and send the workers, with all they hold, to others, who take over at once."""
        deciding = [loop for loop in (self.planner, self.dispatcher) if loop in self._tasks]
        for loop in deciding:
            loop.stop()
        await asyncio.gather(*(self._tasks[loop] for loop in deciding))
        with contextlib.suppress(StoreUnavailable):  # then the lease ends by itself
            await self.leaseholder.leave()
        await self.hub.move()

    async def stop(self) -> None:
        """End the loops after their present tick; what was reported is committed."""
        for loop in self.loops:
            if loop is not self.recorder:
                loop.stop()
        await self.recorder.tick()
        self.recorder.stop()
        await asyncio.gather(*self._tasks.values())
        self._tasks = {}
        with contextlib.suppress(StoreUnavailable):
            await self.leaseholder.leave()
        self._emit(ServerStopped(server=self.id))

    def _services(self) -> Services:
        """What the commands work with."""
        return Services(
            store=self.store,
            clock=self._clock,
            settler=self.recorder,
            cancel_attempt=self._cancel,
            revoke_attempt=self._revoke,
            wake=self._changed,
            publish=self._publish,
            emit=self._emit,
            is_watched=lambda source: self.job_files is not None and self.job_files.watches(source),
            planning=self._planning,
            counters=self.recorder.counters,
            rng=self._rng,
        )

    def _tell_each_other(self) -> None:
        """Let parts know what others hold, and wake who has to go on with it."""
        self.hub.renewal_age = lambda: self.leaseholder.renewal_age
        self.hub.renewed = lambda: self.leaseholder.renewed
        self.dispatcher.epochs = self._epochs
        self.dispatcher.restore = self.restore
        self.hub.on_room = self.dispatcher.wake
        self.hub.on_workers = lambda: self._publish("workers")
        self.recorder.on_requeue = self._requeued
        self.recorder.on_ended = self.dispatcher.freed
        self.leaseholder.on_shards = self._on_shards
        self.leaseholder.on_row_missing = self._row_missing
        self.leaseholder.on_surplus = Spread(self.hub, self._clock).send_elsewhere
        self.leaseholder.on_renewal_missing = self._renewal_missing
        self.restore.on_accepted = self._changed
        self.restore.own_renewal = self._own_renewal

    def _hear_others(self) -> None:
        """Let other servers' words wake the loops."""
        self.whispers.listen(whispers.SHARDS, self.leaseholder.wake)
        self.whispers.listen(whispers.WORK, self._wake)
        self.whispers.listen(whispers.HELD, self._reaper.look_now)
        self.whispers.listen(whispers.NOTICES, self._wake_background)
        self.leaseholder.on_given_up = lambda: self.whispers.say(whispers.SHARDS)

    def _has_company(self) -> bool:
        """Whether other servers live."""
        standing = self.leaseholder.standing
        return any(server.id != self.id and is_live(server, standing.now) for server in standing.servers)

    def _wake(self) -> None:
        """There may be something for planner or dispatcher."""
        self.planner.wake()
        self.dispatcher.wake()

    def _wake_background(self) -> None:
        """There may be something for the other loops."""
        for loop in self._background:
            loop.wake()

    def _changed(self) -> None:
        """A command changed something that planners or dispatchers care about, here or at another server."""
        self._wake()
        self.whispers.say(whispers.WORK)

    def _requeued(self) -> None:
        """Runs wait again."""
        self.dispatcher.wake()
        self.whispers.say(whispers.WORK)

    async def _cancel(self, run: Run) -> bool:
        """Ask the run's worker to end it, here or through the server it is connected to."""
        done = await self.hub.cancel(run)
        if not done:
            self.whispers.say(whispers.HELD)
        return done

    async def _revoke(self, run: Run) -> bool:
        """Ask the run's worker to give it back, here or through the server it is connected to."""
        done = await self.hub.revoke(run)
        if not done:
            self.whispers.say(whispers.HELD)
        return done

    def _own_renewal(self) -> SeenRenewal | None:
        """The newest renewal of this server's lease that it knows to be committed."""
        renewed = self.leaseholder.renewed
        return None if renewed is None else SeenRenewal(server=self.id, at=renewed)

    async def _row_missing(self, renewed: datetime | None) -> None:
        """The store knows nothing of this server, which has renewed its lease in it then."""
        if renewed is not None:
            await self.restore.compare_renewal(SeenRenewal(server=self.id, at=renewed), "this server")

    async def _renewal_missing(self, renewed: datetime | None) -> None:
        """The store lacks that renewal of this server: it went back, and what workers reported may be gone with it."""
        if renewed is not None:
            await self.restore.miss_renewal(renewed, "this server")
            self.assigner.fences.drop()
            for session in self.hub.sessions():  # they connect again, and their hellos say what they hold
                await session.channel.close()

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
