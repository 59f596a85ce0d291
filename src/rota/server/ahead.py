"""Runs that are on record and not due yet, as this server's planner made them: candidates to be staged.

Only a memory of what is on record anyway: what is forgotten, or changed meanwhile, is released when it is due.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from rota.core.model import Job, JobId, Overlap, Run

MOST: Final = 100_000
REMEMBERED: Final = timedelta(seconds=5)  # for so long after its time a staged run stands in the way unasked


class Candidate(NamedTuple):
    """A queued run with its job as it was when the run was planned."""

    run: Run
    job: Job


class Ahead:
    """What could be staged, job by job in order of due.

    Of a job whose runs may not overlap nothing is tried while one is staged; its end frees the next.
    """

    def __init__(self) -> None:
        self._runs: dict[JobId, list[Candidate]] = {}
        self._untried: dict[JobId, None] = {}
        self._staged: dict[JobId, datetime] = {}  # when it was, or is, due
        self._count = 0

    def __bool__(self) -> bool:
        """Whether there is anything to try."""
        return bool(self._untried)

    def add(self, runs: Iterable[Run], jobs: Mapping[JobId, Job]) -> None:
        """Runs were planned; of a job they come in order of due."""
        for run in runs:
            if self._count >= MOST:
                return
            self._count += 1
            self._runs.setdefault(run.job_id, []).append(Candidate(run, jobs[run.job_id]))
            if run.job_id not in self._staged:
                self._untried[run.job_id] = None

    def free(self, jobs: Iterable[JobId]) -> None:
        """A run of these jobs has ended: the next may be staged."""
        for job_id in jobs:
            self._staged.pop(job_id, None)
            if job_id in self._runs:
                self._untried[job_id] = None

    def take(self, now: datetime, limit: int) -> list[Candidate]:
        """Take out candidates of jobs not tried yet: of each the next one, or all where they may overlap."""
        taken: list[Candidate] = []
        for job_id in list(self._untried):
            if len(taken) >= limit:
                break
            del self._untried[job_id]
            waiting = self._not_due(job_id, now)
            if not waiting:
                continue
            count = len(waiting) if waiting[0].job.spec.overlap is Overlap.ALLOW else 1
            taken += waiting[:count]
            self._keep(job_id, waiting[count:])
        return taken

    def note_staged(self, candidates: Iterable[Candidate]) -> None:
        """These have been given to workers."""
        for run, job in candidates:
            if job.spec.overlap is not Overlap.ALLOW:
                self._staged[job.id] = run.due

    def put_back(self, candidates: Sequence[Candidate]) -> None:
        """These could not be staged now; they are tried again when a run of their job has ended."""
        for candidate in reversed(candidates):
            self._runs.setdefault(candidate.run.job_id, []).insert(0, candidate)
            self._count += 1

    def _not_due(self, job_id: JobId, now: datetime) -> list[Candidate]:
        """The job's candidates that are still ahead of their time; those that are due are not our business any more."""
        candidates = self._runs.get(job_id, [])
        waiting = [candidate for candidate in candidates if candidate.run.due > now]
        self._keep(job_id, waiting)
        return waiting

    def _keep(self, job_id: JobId, candidates: list[Candidate]) -> None:
        self._count += len(candidates) - len(self._runs.pop(job_id, ()))
        if candidates:
            self._runs[job_id] = candidates

    def forget_due(self, now: datetime) -> None:
        """Let go of what is due: it is found in the store."""
        for job_id in list(self._runs):
            self._not_due(job_id, now)
        for job_id in [job_id for job_id, due in self._staged.items() if due < now - REMEMBERED]:
            self.free([job_id])  # it takes long, or its end is recorded elsewhere
