"""The dispatcher: gives queued runs whose time has come to workers with room for them, and some ahead of their time.

It looks after the runs of its server's shards. Others', which should have been taken long since, it takes too: their
server may have no room, no such worker, or be dying.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from rota.clock import Clock
from rota.core.errors import Conflict
from rota.core.model import Delivery, Job, JobId, Overlap, Run, RunId
from rota.core.placement import WorkerRoom, kinds_with_room
from rota.core.release import InLine, Ready, Released, Situation, lets_runs_wait, may_stage, release, was_planned_late
from rota.core.schedule import Schedule
from rota.events import Emit, RunsStaged
from rota.loop import NO_REST, Loop
from rota.server.ahead import Ahead, Candidate
from rota.server.assigner import Assigner
from rota.server.definitions import Definitions
from rota.server.hub import Hub
from rota.server.restore import RestoreWatch
from rota.store.bundle import Store
from rota.store.jobs import RunChange
from rota.store.runs import Waiting

BATCH: Final = 1000
LONGEST_REST: Final = timedelta(seconds=5)  # planner, commands and hub wake it; this is the fallback
SHARED_REST: Final = timedelta(seconds=1)  # where other servers make runs for our shards, and leave some of theirs
OTHERS_AFTER: Final = timedelta(milliseconds=250)


class RunEnds(Protocol):
    """What the dispatcher hands on: runs that end without a report of a worker."""

    async def settle(self, runs: Sequence[Run]) -> None:
        """Commit runs that ended without an attempt (skipped, missed)."""


Replace = Callable[[Mapping[RunId, RunId]], Awaitable[None]]


class Dispatcher(Loop):
    """Releases, places and sends."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        assigner: Assigner,
        ends: RunEnds,
        replace_runs: Replace,
        clock: Clock,
        emit: Emit,
    ) -> None:
        super().__init__(emit)
        self._store = store
        self._hub = hub
        self._assigner = assigner
        self._ends = ends
        self._replace_runs = replace_runs
        self._clock = clock
        self._definitions = Definitions()
        self._seen: datetime | None = None
        self.ahead = Ahead()
        self.epochs: Mapping[int, int] = {}
        self.restore: RestoreWatch | None = None

    async def tick(self) -> timedelta:
        """Release and place one batch of what is due, stage one batch of what soon will be."""
        now = self._clock.now()
        rooms = self._hub.rooms()
        kinds = kinds_with_room(rooms)
        await self._assigner.send_unsent()
        found = await self._due(kinds, now) if kinds else Waiting(runs=())
        if found.runs:
            await self._dispatch(found, rooms, now)
            rooms = self._hub.rooms()
        staged = await self._stage(rooms, now)
        if found.runs or staged:
            return NO_REST
        await self._release_without_room(now)
        return await self._until_next(now)

    def planned(self, runs: Sequence[Run], jobs: Mapping[JobId, Job]) -> None:
        """Runs were created; those that are not due yet may be staged."""
        now = self._clock.now()
        self.ahead.add([run for run in runs if run.due > now], jobs)
        self.wake()

    def freed(self, jobs: set[JobId]) -> None:
        """A run of each of these jobs has ended."""
        self.ahead.free(jobs)
        self.wake()

    def look_anew(self) -> None:
        """The server leads other shards than before: what waited there has not been judged here."""
        self._seen = None
        self.wake()

    # ── what is due ──────────────────────────────────────────────────────────────────────────────────────

    async def _due(self, kinds: Mapping[str, int], now: datetime) -> Waiting:
        """Due runs of our shards; else those that the servers of other shards have left for a while."""
        found = await self._store.runs.waiting(now, kinds, BATCH, shards=self._ours())
        others = self._others()
        if found.runs or not others:
            return found
        return await self._store.runs.waiting(now - OTHERS_AFTER, kinds, BATCH, shards=others)

    def _ours(self) -> list[int] | None:
        """The shards this server looks after; None is all there are."""
        return None if self._store.embedded else sorted(self.epochs)

    def _others(self) -> list[int]:
        """The shards of the others."""
        if self._store.embedded:
            return []
        return [shard for shard in range(self._store.shards) if shard not in self.epochs]

    async def _until_next(self, now: datetime) -> timedelta:
        """How long until the next run of ours is due."""
        self.ahead.forget_due(now)
        longest = LONGEST_REST if self._store.embedded else SHARED_REST
        upcoming = await self._store.runs.next_ready(now, self._ours())
        return longest if upcoming is None else min(max(upcoming - self._clock.now(), NO_REST), longest)

    async def _release_without_room(self, now: datetime) -> None:
        """Runs that became due while their kind has no room are judged at their due time all the same.

        A run that overlaps is skipped because its predecessor was running when it was due, not when a slot came free.
        """
        found = await self._store.runs.waiting(now, None, BATCH, shards=self._ours(), after=self._seen)
        self._seen = found.runs[-1].ready_at if len(found.runs) == BATCH else now
        if found.runs:
            await self._commit(await self._decide(found, now))

    async def _dispatch(self, found: Waiting, rooms: Sequence[WorkerRoom], now: datetime) -> None:
        """Decide about what was found, write it, send what was assigned."""
        released = await self._decide(found, now)
        await self._commit(released)
        await self._assigner.assign(released.ready, found.jobs, rooms, now)

    async def _decide(self, found: Waiting, now: datetime) -> Released:
        """Ask core what may start."""
        watched = {job.id for job in found.jobs.values() if job.spec.overlap is not Overlap.ALLOW}
        patient = {job.id for job in found.jobs.values() if lets_runs_wait(job.spec)}
        patient.update(run.job_id for run in found.runs if was_planned_late(run) and run.job_id in watched)
        holders = await self._store.runs.holders(sorted(watched)) if watched else {}
        situation = Situation(
            jobs=found.jobs,
            holders=holders,
            unfinished=await self._unfinished(sorted(patient)),
            restored=await self._is_held(found.jobs),
        )
        return release(found.runs, situation, self._schedule_of, now)

    async def _is_held(self, jobs: Mapping[JobId, Job]) -> bool:
        """Whether at-most-once work of these jobs is held; another server may have been told so a moment ago."""
        strict = any(job.spec.delivery is Delivery.AT_MOST_ONCE for job in jobs.values())
        return strict and self.restore is not None and await self.restore.look()

    def _schedule_of(self, job: Job) -> Schedule:
        """The compiled schedule of a job."""
        return self._definitions.schedule(job)

    async def _commit(self, released: Released) -> None:
        """Write what does not start: settled runs, waiting runs, runs that must end or make room."""
        if released.settled:
            await self._ends.settle(released.settled)
        if released.waiting:
            await self._store.runs.assign([RunChange(run=run) for run in released.waiting], {})
        if released.end:
            await self._replace_runs(released.end)
        for run in released.ask_back:
            with contextlib.suppress(Conflict):  # it has moved on: perhaps it is back already
                await self._store.runs.record([RunChange(run=run)], [], [])
                await self._hub.revoke(run)

    async def _unfinished(self, jobs: Sequence[JobId]) -> dict[JobId, list[Run]]:
        """All unfinished runs of these jobs."""
        unfinished: dict[JobId, list[Run]] = {}
        for run in await self._store.runs.unfinished(jobs) if jobs else []:
            unfinished.setdefault(run.job_id, []).append(run)
        return unfinished

    # ── what soon will be ────────────────────────────────────────────────────────────────────────────────

    async def _stage(self, rooms: Sequence[WorkerRoom], now: datetime) -> bool:
        """Give a batch of runs to workers ahead of their time; returns whether any was given."""
        room = sum(kinds_with_room(rooms).values())
        candidates = self.ahead.take(now, min(BATCH, room)) if room else []
        if not candidates:
            return False
        watchful = [one.job.id for one in candidates if one.job.spec.overlap is not Overlap.ALLOW]
        lines = await self._store.runs.lines(watchful) if watchful else {}
        able = [one for one in candidates if may_stage(one.run, one.job, lines.get(one.job.id, ()))]
        ready = [Ready(run=one.run, alone=one.job.spec.overlap is not Overlap.ALLOW) for one in able]
        given = await self._assigner.assign(ready, {one.job.id: one.job for one in able}, rooms, now)
        if given:
            self._emit(RunsStaged(runs=len(given)))
            self.ahead.note_staged([one for one in able if one.run.id in given])
        self.ahead.put_back([one for one in candidates if one.run.id not in given and self._stays(one, lines)])
        return bool(given)

    def _stays(self, candidate: Candidate, lines: Mapping[JobId, Sequence[InLine]]) -> bool:
        """Whether it may yet be staged: it is on record as it was planned."""
        run, line = candidate.run, lines.get(candidate.job.id)
        return line is None or any((one.id, one.version) == (run.id, run.version) for one in line)
