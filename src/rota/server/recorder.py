"""The recorder: commits what workers report — outcomes, retries, counters, alerts, output — in batches.

Output of a batch is stored before its reports, so that a run that is over has its log. A report is acknowledged when
it is committed. Reports with an old fence change nothing and are acknowledged all the same: they are settled.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Final

from msgspec.structs import replace

from rota.clock import Clock
from rota.core import record
from rota.core.errors import Conflict, RotaError
from rota.core.model import AttemptState, Job, JobId, JobSpec, OutputChunk, Run, RunId, RunState
from rota.core.record import HasEnded, HasStarted, Known, News, Recorded, WantsPermit, WasLost, WasReturned
from rota.core.release import lets_runs_wait
from rota.core.run_state import Ended
from rota.events import Emit, PermitsGiven, ReportRefused, RunEnded, RunRequeued
from rota.loop import NO_REST, Loop
from rota.server.hub import Hub
from rota.server.worker_session import WorkerSession
from rota.store.bundle import Store
from rota.store.jobs import AuditEntry, RunChange
from rota.store.runs import LossGuard
from rota.wire.messages import (
    Finished,
    FromWorker,
    Held,
    Output,
    OutputAcknowledged,
    Permit,
    Ready,
    Report,
    Reports,
    ReportsAcknowledged,
    Returned,
    Started,
)

BATCH: Final = 2000
MANY_CHUNKS: Final = 4
REST: Final = timedelta(seconds=5)
_CONFLICTS: Final = 20
_OUTCOMES: Final = {
    state.value: state for state in AttemptState if state not in (AttemptState.STARTING, AttemptState.RUNNING)
}
Publish = Callable[[str], None]


class Recorder(Loop):
    """Takes in reports and output; the only writer of outcomes."""

    def __init__(self, store: Store, clock: Clock, rng: Random, publish: Publish, emit: Emit) -> None:
        super().__init__(emit)
        self._store = store
        self._clock = clock
        self._rng = rng
        self._publish = publish
        self._inbox: asyncio.Queue[tuple[WorkerSession, Reports | Output]] = asyncio.Queue(BATCH)
        self._taken: list[tuple[WorkerSession, Reports | Output]] = []
        self._at_once = BATCH  # messages committed together
        # Held by whoever reads the counters of jobs and writes them back, so that no two overwrite each other.
        self.counters = asyncio.Lock()
        self._ticking = asyncio.Lock()
        self.hub: Hub | None = None
        self.on_requeue: Callable[[], None] = lambda: None
        self.on_ended: Callable[[set[JobId]], None] = lambda jobs: None
        self.on_chunked: Callable[[RunId], None] = lambda run: None
        self._chunked: set[RunId] = set()  # unfinished runs whose output came in many chunks

    async def take(self, session: WorkerSession, message: FromWorker) -> None:
        """A message of a worker; waits while the recorder is too far behind."""
        if isinstance(message, Reports):
            session.note_returned((one.run_id, one.fence) for one in message.items if isinstance(one, Returned))
        if isinstance(message, Reports | Output):
            await self._inbox.put((session, message))
            self.wake()

    async def tick(self) -> timedelta:
        """Commit what has come in; what could not be committed stays for the next tick."""
        async with self._ticking:  # the server's stop asks for one more tick
            return await self._work()

    async def _work(self) -> timedelta:
        """One tick."""
        while not self._inbox.empty() and len(self._taken) < BATCH:
            self._taken.append(self._inbox.get_nowait())
        if not self._taken:
            return REST
        # What was too much for the store's patience is tried in smaller pieces, or nothing would ever be committed.
        some = self._taken[: self._at_once]
        self._at_once = max(1, len(some) // 2)
        await self._store_output([(session, one) for session, one in some if isinstance(one, Output)])
        await self._store_reports([(session, one) for session, one in some if isinstance(one, Reports)])
        del self._taken[: len(some)]
        self._at_once = min(BATCH, 2 * len(some)) if self._taken else BATCH
        return NO_REST

    async def lose(self, held: Sequence[Held], guard: LossGuard) -> int:
        """These attempts are gone with their worker; raises Fenced when somebody else judges them.

        Returns how many were lost by that: the others had ended already, and nothing is known of them any more here.
        """
        if not held:
            return 0
        done = await self._commit([WasLost(run_id=RunId(one.run_id), fence=one.fence) for one in held], guard)
        return len(held) - len(done.refused)

    async def give_back(self, held: Sequence[Held], why: str, guard: LossGuard) -> None:
        """These attempts never started; raises Fenced when somebody else judges them."""
        if held:
            await self._commit([WasReturned(run_id=RunId(one.run_id), fence=one.fence, why=why) for one in held], guard)

    async def fail(self, run: Run, error: RotaError) -> None:
        """The run's attempt could not be ordered: it fails as if it had been tried."""
        now = self._clock.now()
        detail = f"{error.detail}{f' — {error.hint}' if error.hint else ''}"
        event = Ended(outcome=AttemptState.FAILED, started=None, finished=now, failure="start", error=detail)
        await self._commit([HasEnded(run_id=run.id, fence=run.fence, event=event)])

    async def settle(self, runs: Sequence[Run], audit: Sequence[AuditEntry] = ()) -> None:
        """Commit runs that ended without an attempt; one that has moved on meanwhile is left alone."""
        ids = [run.id for run in runs]
        async with self.counters:
            for _ in range(_CONFLICTS):
                known = await self._store.runs.reported(ids)
                still = [run for run in runs if run.id in known.runs and known.runs[run.id].version == run.version - 1]
                done = record.settle(still, known.jobs, known.stats, self._clock.now())
                holders = [run for run in done.runs if run.released is not None]
                done = replace(done, runs=(*done.runs, *await self._next_in_line(holders, known.jobs)))
                if await self._write(done, audit=audit):
                    return

    async def _store_output(self, messages: Sequence[tuple[WorkerSession, Output]]) -> None:
        """Store output, acknowledge it, tell who looks at it."""
        chunks: list[OutputChunk] = [chunk for _, message in messages for chunk in message.chunks]
        if chunks:
            await self._store.output.append(chunks)
        for session, message in messages:
            await session.send(OutputAcknowledged(sequence=message.sequence))
        for run_id in {chunk.run_id for chunk in chunks}:
            self._publish(f"log:{run_id}")
        self._chunked.update(chunk.run_id for chunk in chunks if chunk.sequence >= MANY_CHUNKS)

    async def _store_reports(self, messages: Sequence[tuple[WorkerSession, Reports]]) -> None:
        """Commit reports, acknowledge them, permit what waited for that."""
        if not messages:
            return
        news = [_news(report) for _, message in messages for report in message.items]
        done = await self._commit(news)
        permitted = {(one.run_id, one.fence) for one in done.permitted}
        if permitted:
            self._emit(PermitsGiven(runs=len(permitted)))
        for session, message in messages:
            await session.send(ReportsAcknowledged(sequence=message.sequence))
            for report in message.items:
                if isinstance(report, Ready) and (report.run_id, report.fence) in permitted:
                    boot_id = session.worker.boot_id
                    await session.send(Permit(run_id=report.run_id, fence=report.fence, boot_id=boot_id))

    async def _commit(self, news: Sequence[News], guard: LossGuard | None = None) -> Recorded:
        """Decide and write until nothing has moved in between; returns what was written."""
        ids = list({one.run_id for one in news})
        async with self.counters:
            for _ in range(_CONFLICTS):
                known = await self._known(ids)
                done = record.decide(news, known, self._clock.now(), self._rng)
                done = replace(done, runs=(*done.runs, *await self._next_in_line(done.runs, known.jobs)))
                if await self._write(done, news, guard=guard):
                    return done
        raise Conflict("the runs of a batch of reports kept changing while they were recorded")

    async def _known(self, ids: Sequence[RunId]) -> Known:
        """What the store knows about the runs of some news."""
        reported = await self._store.runs.reported(ids)
        specs: dict[tuple[JobId, int], JobSpec] = {}
        older = {
            (run.job_id, run.revision)
            for run in reported.runs.values()
            if run.job_id in reported.jobs and reported.jobs[run.job_id].revision != run.revision
        }
        if older:
            specs = await self._store.jobs.specs(sorted(older))
        return Known(runs=reported.runs, jobs=reported.jobs, stats=reported.stats, specs=specs)

    async def _next_in_line(self, ended: Sequence[Run], jobs: Mapping[JobId, Job]) -> list[Run]:
        """Runs that waited for these to end (overlap) and may now be looked at at once."""
        over = {run.job_id for run in ended if run.state.is_final}
        patient = [job_id for job_id in over if lets_runs_wait(jobs[job_id].spec)]
        if not patient:
            return []
        now = self._clock.now()
        waiting = [
            run
            for run in await self._store.runs.unfinished(patient)
            if run.state is RunState.QUEUED and run.released is None and run.due <= now < run.ready_at
        ]
        taken = {run.id for run in ended}
        return [replace(run, ready_at=now, version=run.version + 1) for run in waiting if run.id not in taken]

    async def _write(
        self,
        done: Recorded,
        news: Sequence[News] = (),
        audit: Sequence[AuditEntry] = (),
        guard: LossGuard | None = None,
    ) -> bool:
        """Commit one decision; False when a run or counters had moved on, so that it must be decided anew."""
        changes = [RunChange(run=run) for run in done.runs]
        if changes:
            try:
                await self._store.runs.record(changes, done.stats, done.notices, audit, guard)
            except Conflict:
                return False
        self._tell(done, news)
        return True

    def _tell(self, done: Recorded, news: Sequence[News]) -> None:
        """Let sessions, loops, pages and the log know what was committed."""
        for one in done.refused:
            self._emit(ReportRefused(run=one.run_id, fence=one.fence))
        for run in done.runs:
            if run.state.is_final:
                self._emit(_ended(run))
                if run.id in self._chunked:
                    self._chunked.discard(run.id)
                    self.on_chunked(run.id)
            elif run.state is RunState.QUEUED:
                self._emit(RunRequeued(run=run.id, job=run.job, reason=run.reason.code if run.reason else ""))
            self._publish(f"run:{run.id}")
        for job in {run.job for run in done.runs}:
            self._publish(f"job:{job}")
        self._let_go(news)
        self._publish("runs")
        self.on_ended({run.job_id for run in done.runs if run.state is not RunState.STARTING})
        if any(run.state is RunState.QUEUED for run in done.runs):
            self.on_requeue()

    def _let_go(self, news: Sequence[News]) -> None:
        """The workers' slots of attempts that are over are free."""
        if self.hub is None:
            return
        over = {(one.run_id, one.fence) for one in news if isinstance(one, HasEnded | WasReturned | WasLost)}
        self.hub.let_go(over)


def _news(report: Report) -> News:
    """A worker's report in the words of core."""
    run_id, fence = RunId(report.run_id), report.fence
    match report:
        case Started():
            return HasStarted(run_id=run_id, fence=fence, started=report.started)
        case Returned():
            return WasReturned(run_id=run_id, fence=fence, why=report.why)
        case Ready():
            return WantsPermit(run_id=run_id, fence=fence)
        case Finished():
            event = Ended(
                outcome=_OUTCOMES.get(report.outcome, AttemptState.FAILED),
                started=report.started,
                finished=report.finished,
                exit=report.exit,
                signal=report.signal,
                failure=report.failure,
                error=report.error,
                result=report.result,
                usage=report.usage,
            )
            return HasEnded(run_id=run_id, fence=fence, event=event, wrote_output=report.wrote_output)


def _ended(run: Run) -> RunEnded:
    """The event of a run's end."""
    took = (run.finished - run.started).total_seconds() if run.finished and run.started else None
    waited = (run.started - run.due).total_seconds() if run.started else None
    return RunEnded(run=run.id, job=run.job, state=run.state.value, seconds=took, waited_seconds=waited)
