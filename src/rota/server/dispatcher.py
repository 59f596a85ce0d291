"""The dispatcher: gives queued runs whose time has come to workers with room for them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from rota.clock import Clock
from rota.core.errors import RotaError
from rota.core.model import Attempt, AttemptState, Job, JobId, JobSpec, Overlap, Run, RunId
from rota.core.placement import Placed, WorkerRoom, kinds_with_room, place
from rota.core.release import Released, Situation, lets_runs_wait, release
from rota.core.run_state import Assign, advance
from rota.core.schedule import Schedule
from rota.events import Emit, RunsAssigned
from rota.loop import NO_REST, Loop
from rota.server.definitions import Definitions
from rota.server.fences import Fences
from rota.server.hub import Hub
from rota.server.orders import make_order, secret_names
from rota.store.bundle import Store
from rota.store.jobs import RunChange
from rota.store.runs import Waiting
from rota.wire.messages import AttemptOrder

BATCH: Final = 500
LONGEST_REST: Final = timedelta(seconds=5)  # planner, commands and hub wake it; this is the fallback


class SecretValues(Protocol):
    """Where secrets are read for an order."""

    async def values(self, names: Sequence[str]) -> dict[str, str]:
        """The values of those of these secrets that exist."""


class RunEnds(Protocol):
    """What the dispatcher hands on: runs that end without a report of a worker, and runs to be ended."""

    async def settle(self, runs: Sequence[Run]) -> None:
        """Commit runs that ended without an attempt (skipped, missed)."""

    async def fail(self, run: Run, error: RotaError) -> None:
        """The run's attempt could not even be ordered."""


Replace = Callable[[Mapping[RunId, RunId]], Awaitable[None]]


class Dispatcher(Loop):
    """Releases, places and sends."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        secrets: SecretValues,
        ends: RunEnds,
        replace_runs: Replace,
        clock: Clock,
        emit: Emit,
    ) -> None:
        super().__init__(emit)
        self._store = store
        self._hub = hub
        self._secrets = secrets
        self._ends = ends
        self._replace_runs = replace_runs
        self._clock = clock
        self._fences = Fences(store.leases)
        self._definitions = Definitions()
        self._seen: datetime | None = None

    async def tick(self) -> timedelta:
        """Release and place one batch."""
        now = self._clock.now()
        rooms = self._hub.rooms()
        kinds = kinds_with_room(rooms)
        found = await self._store.runs.waiting(now, kinds, BATCH) if kinds else Waiting(runs=())
        if found.runs:
            await self._dispatch(found, rooms, now)
            return NO_REST
        await self._release_without_room(now)
        upcoming = await self._store.runs.next_ready(now)
        if upcoming is None:
            return LONGEST_REST
        return min(max(upcoming - self._clock.now(), NO_REST), LONGEST_REST)

    async def _release_without_room(self, now: datetime) -> None:
        """Runs that became due while their kind has no room are judged at their due time all the same.

        A run that overlaps is skipped because its predecessor was running when it was due, not when a slot came free.
        """
        found = await self._store.runs.waiting(now, None, BATCH, after=self._seen)
        self._seen = found.runs[-1].ready_at if len(found.runs) == BATCH else now
        if found.runs:
            await self._commit(await self._decide(found, now))

    async def _dispatch(self, found: Waiting, rooms: Sequence[WorkerRoom], now: datetime) -> None:
        """Decide about what was found, write it, send what was assigned."""
        released = await self._decide(found, now)
        await self._commit(released)
        alone = {ready.run.id for ready in released.ready if ready.alone}
        placement = place([ready.run for ready in released.ready], rooms)
        if not placement.placed:
            return
        specs = await self._specs([placed.run for placed in placement.placed], found.jobs)
        fences = await self._fences.take(len(placement.placed))
        assigned = [
            _assign(placed, fence, specs[placed.run.job_id, placed.run.revision], now)
            for placed, fence in zip(placement.placed, fences, strict=True)
        ]
        changes = [RunChange(run=run, alone=run.id in alone) for run in assigned]
        sessions = {placed.worker: placed.session for placed in placement.placed}
        written = await self._store.runs.assign(changes, sessions)
        self._emit(RunsAssigned(runs=len(written), left_out=len(changes) - len(written)))
        await self._send([run for run in assigned if run.id in written], specs)

    async def _decide(self, found: Waiting, now: datetime) -> Released:
        """Ask core what may start."""
        watchful = [job.id for job in found.jobs.values() if job.spec.overlap is not Overlap.ALLOW]
        patient = [job.id for job in found.jobs.values() if lets_runs_wait(job.spec)]
        holders = await self._store.runs.holders(watchful) if watchful else {}
        unfinished: dict[JobId, list[Run]] = {}
        for run in await self._store.runs.unfinished(patient) if patient else []:
            unfinished.setdefault(run.job_id, []).append(run)
        situation = Situation(jobs=found.jobs, holders=holders, unfinished=unfinished)
        return release(found.runs, situation, self._schedule_of, now)

    def _schedule_of(self, job: Job) -> Schedule:
        """The compiled schedule of a job."""
        return self._definitions.schedule(job)

    async def _commit(self, released: Released) -> None:
        """Write what does not start: settled runs, waiting runs, and the ends that `replace` asks for."""
        if released.settled:
            await self._ends.settle(released.settled)
        if released.waiting:
            await self._store.runs.assign([RunChange(run=run) for run in released.waiting], {})
        if released.end:
            await self._replace_runs(released.end)

    async def _send(self, runs: Sequence[Run], specs: Mapping[tuple[JobId, int], JobSpec]) -> None:
        """Make the orders and hand them to the sessions, one message per worker."""
        names = {name for spec in specs.values() for name in secret_names(spec)}
        values = await self._secrets.values(sorted(names)) if names else {}
        batches: dict[str, tuple[list[Run], list[AttemptOrder]]] = {}
        for run in runs:
            try:
                order = make_order(run, specs[run.job_id, run.revision], values)
            except RotaError as error:
                await self._ends.fail(run, error)
                continue
            of_worker = batches.setdefault(run.current.worker if run.current else "", ([], []))
            of_worker[0].append(run)
            of_worker[1].append(order)
        for worker, (sent, orders) in batches.items():
            await self._hub.assign(worker, sent, orders)

    async def _specs(self, runs: Sequence[Run], jobs: Mapping[JobId, Job]) -> dict[tuple[JobId, int], JobSpec]:
        """The definition each run belongs to: usually the job's present one."""
        specs = {(job.id, job.revision): job.spec for job in jobs.values()}
        older = {(run.job_id, run.revision) for run in runs} - specs.keys()
        if older:
            specs |= await self._store.jobs.specs(sorted(older))
        return specs


def _assign(placed: Placed, fence: int, spec: JobSpec, now: datetime) -> Run:
    """The run with its next attempt."""
    run = placed.run
    attempt = Attempt(
        number=run.attempt + 1,
        fence=fence,
        worker=placed.worker,
        state=AttemptState.STARTING,
        created=now,
        continue_for=spec.on_disconnect or 0.0,
    )
    return advance(run, Assign(attempt=attempt, session=placed.session))
