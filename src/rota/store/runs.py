"""Storage contract: runs, their attempts, and what their outcomes do to jobs and alerts.

Unfinished runs live in a small hot table; a run whose new state is final moves to the history in the same
transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import Job, JobId, JobStats, Notice, Run, RunId, Value
from rota.core.release import InLine
from rota.store.jobs import AuditEntry, RunChange


class Waiting(Value):
    """Queued runs whose time has come, and the definitions of their jobs (by job id)."""

    runs: tuple[Run, ...]
    jobs: dict[JobId, Job] = {}


class Reported(Value):
    """What a batch of reports is about: runs in the hot table, their jobs, and their jobs' counters."""

    runs: dict[RunId, Run]
    jobs: dict[JobId, Job] = {}
    stats: dict[JobId, JobStats] = {}


class LossGuard(Value):
    """What must still be so when attempts are called lost.

    `sessions`: worker → number of the session that held them, which must be its newest. `lapsed`: server → seconds
    since when its lease must have ended (the rule for sessions of another server).
    """

    sessions: dict[str, int] = {}
    lapsed: dict[str, float] = {}


class Runs(Protocol):
    """Runs. Every write is a compare-and-set on `run.version`."""

    async def create(self, runs: Sequence[Run], audit: Sequence[AuditEntry] = ()) -> list[Run]:
        """Add runs that do not exist yet; a run whose id exists, hot or in history, is left as it is.

        A run with a `key` is also left out when its job has a run with that key already: the same key is the same
        run. Returns the stored row of each, in the order given.
        """

    async def waiting(
        self,
        now: datetime,
        room: Mapping[str, int] | None,
        limit: int,
        *,
        shards: Sequence[int] | None = None,
        after: datetime | None = None,
    ) -> Waiting:
        """Queued runs with `ready_at` ≤ now in order of (ready_at, id), at most `limit`.

        With `room`, only of its kinds, and of each kind at most so many; None: of all kinds. With `shards`, only of
        jobs in these. With `after`, only those with `ready_at` > after: what has become due since the caller last
        looked.
        """

    async def holders(self, job_ids: Sequence[JobId]) -> dict[JobId, list[Run]]:
        """The released and unfinished runs of these jobs, in order of due; jobs that have none are absent."""

    async def next_ready(self, after: datetime, shards: Sequence[int] | None = None) -> datetime | None:
        """The earliest `ready_at` after `after` of any queued run (of jobs in these shards)."""

    async def assign(self, changes: Sequence[RunChange], sessions: Mapping[str, int]) -> set[RunId]:
        """Give queued runs to workers, or settle them (skipped, missed, waiting with a reason), each by itself.

        A change is left out when the run's version moved, when `alone` does not hold, or, for a run that becomes
        `starting`, when the worker's session number is not the one in `sessions` or that session has ended.
        Changes are taken in order, so that two runs of one job in a batch see each other. Returns what was written.
        Lock order: session, job, run.
        """

    async def reported(self, ids: Sequence[RunId]) -> Reported:
        """The hot rows among these runs, with their jobs and counters, for the recorder to decide about."""

    async def record(
        self,
        changes: Sequence[RunChange],
        stats: Sequence[JobStats],
        notices: Sequence[Notice],
        audit: Sequence[AuditEntry] = (),
        guard: LossGuard | None = None,
    ) -> set[RunId]:
        """Commit outcomes with the counters and alerts that follow from them, all in one transaction.

        All or nothing: raises Conflict when the version of any run (fact `runs`) or of any counters moved; the caller
        reads and decides anew. Raises Fenced when the guard does not hold any more: somebody else judges these
        attempts. Notices whose id exists are left as they are. Returns the ids written.
        Lock order: server, session, job, run.
        """

    async def get(self, ids: Sequence[RunId]) -> dict[RunId, Run]:
        """These runs, wherever they live."""

    async def unfinished(self, job_ids: Sequence[JobId]) -> list[Run]:
        """All unfinished runs of these jobs, in order of due."""

    async def lines(self, job_ids: Sequence[JobId]) -> dict[JobId, list[InLine]]:
        """All unfinished runs of these jobs in short, in order of due; jobs that have none are absent."""

    async def stats(self, job_ids: Sequence[JobId]) -> dict[JobId, JobStats]:
        """The counters of these jobs; a job that never ran has none."""

    async def late(self, now: datetime, limit: int) -> list[Run]:
        """Unfinished runs with `late_at` ≤ now, oldest first."""

    async def next_late(self) -> datetime | None:
        """The earliest `late_at` of any unfinished run."""

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete history (runs, their output, gaps) of runs finished before `before`; returns how many runs.

        About `limit` at a time, or more where a store can drop many at once. With `job` only what belongs to that job.
        """
