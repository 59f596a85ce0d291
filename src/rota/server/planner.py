"""The planner: turns instants that are due, or soon will be, into runs, for the shards this server leads."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rota.clock import Clock
from rota.core import alerting, catch_up
from rota.core.errors import Fenced, RotaError
from rota.core.model import Job, JobId, JobStats, Notice, Run
from rota.events import Emit, JobsPlanned, ScheduleBroken
from rota.loop import NO_REST, Loop
from rota.server.definitions import Definitions
from rota.store.bundle import Store
from rota.store.jobs import Plan

BATCH: Final = 500
LONGEST_REST: Final = timedelta(seconds=1)
FENCED_REST: Final = timedelta(seconds=1)  # another server leads a shard by now: our next renewal will tell
OnRuns = Callable[[Sequence[Run], Mapping[JobId, Job]], None]
"""Is told which runs were created, and their jobs."""


class Planner(Loop):
    """Moves cursors past due instants and creates what answers them."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        epochs: dict[int, int],
        planning: asyncio.Lock,
        counters: asyncio.Lock,
        on_runs: OnRuns,
        emit: Emit,
    ) -> None:
        super().__init__(emit)
        self._planning = planning
        self._counters = counters
        self._store = store
        self._clock = clock
        self._epochs = epochs
        self._on_runs = on_runs
        self._definitions = Definitions()
        self.lag = 0.0  # seconds that the last batch was late; 0 once nothing is left to plan

    async def tick(self) -> timedelta:
        """Plan one batch of due jobs; one query when nothing is due."""
        epochs = dict(self._epochs)  # of this moment: the plan is made under these, or refused
        upcoming = await self._store.jobs.next_due(list(epochs)) if epochs else None
        now = self._clock.now()
        horizon = now + catch_up.LOOKAHEAD
        if upcoming is None or upcoming > horizon:
            self.lag = 0.0
            return LONGEST_REST if upcoming is None else min(upcoming - horizon, LONGEST_REST)
        async with self._planning:
            try:
                await self._plan(await self._store.jobs.due(list(epochs), horizon, BATCH), epochs, now)
            except Fenced:
                return FENCED_REST
        return NO_REST

    async def _plan(self, jobs: list[Job], epochs: Mapping[int, int], now: datetime) -> None:
        """Decide about a batch, commit it, tell the dispatcher."""
        epochs = {shard: epochs[shard] for shard in {job.shard for job in jobs}}
        moves = {job.id: self._move(job, now) for job in jobs}
        ended = [job.id for job in jobs if any(run.state.is_final for run in moves[job.id].runs)]
        async with self._counters if ended else contextlib.nullcontext():
            stats = await self._store.runs.stats(ended) if ended else {}
            plans = [_as_plan(job, moves[job.id], stats.get(job.id), now) for job in jobs]
            moved = await self._store.jobs.commit_plan(plans, epochs)
        done = [plan for plan in plans if plan.job_id in moved]
        runs = [run for plan in done for run in plan.runs if not run.state.is_final]
        if runs:
            self._on_runs(runs, {job.id: job for job in jobs})
        late = [(now - job.next_at).total_seconds() for job in jobs if job.next_at and job.id in moved]
        self.lag = max([0.0, *late])
        created, gaps = sum(len(plan.runs) for plan in done), sum(len(plan.gaps) for plan in done)
        self._emit(JobsPlanned(jobs=len(done), runs=created, gaps=gaps, lag_seconds=self.lag))

    def _move(self, job: Job, now: datetime) -> catch_up.Move:
        """What answers the job's instants; a schedule that raises sets the job aside."""
        try:
            return catch_up.plan(job, self._definitions.schedule(job), now, catch_up.LOOKAHEAD)
        except (RotaError, ArithmeticError, ValueError, LookupError) as error:
            self._emit(ScheduleBroken(job=job.full_name, error=repr(error)))
            return catch_up.broken(job, error)


def _as_plan(job: Job, move: catch_up.Move, stats: JobStats | None, now: datetime) -> Plan:
    """The move as the store takes it, with the counters and notices of the runs that are over already."""
    counters, notices = end_at_once(job, move, stats, now)
    return Plan(
        job_id=job.id,
        expected_version=job.version,
        cursor=move.cursor,
        next_at=move.next_at,
        pause=move.pause,
        broken=move.broken,
        runs=move.runs,
        gaps=move.gaps,
        stats=counters,
        notices=notices,
    )


def end_at_once(
    job: Job, move: catch_up.Move, stats: JobStats | None, now: datetime
) -> tuple[JobStats | None, tuple[Notice, ...]]:
    """Counters and notices for runs that a cursor move creates in a final state.

    Of many missed instants of one catch-up the newest speaks for all: one notice, not a hundred.
    """
    ended = [run for run in move.runs if run.state.is_final]
    if not ended:
        return None, ()
    counters = stats or JobStats(job_id=job.id)
    notices: list[Notice] = []
    for run in ended:
        counters, told = alerting.on_end(job, counters, run, False, now)
        notices = told or notices
    return replace(counters, version=counters.version + 1), tuple(notices)
