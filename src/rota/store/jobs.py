"""Storage contract: job definitions, their revisions, their cursors and gaps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import Gap, Job, JobId, JobSpec, JobStats, Notice, Pause, Run, Value


class AuditEntry(Value):
    """Who did what to which thing; appended in the same transaction as the change itself."""

    at: datetime
    actor: str
    verb: str  # "job.apply", "job.pause", "run.cancel", …
    object: str  # "ns/name", a run id, a token id
    detail: str = ""
    request_id: str | None = None


class RunChange(Value):
    """A run as it shall be; written only while the stored row still has version `run.version - 1`.

    `alone` asks, for a first attempt, that no other run of the job is released and unfinished.
    """

    run: Run
    alone: bool = False


class Plan(Value):
    """The move of one job's cursor together with all that answers the instants it passes."""

    job_id: JobId
    expected_version: int
    cursor: datetime
    next_at: datetime | None
    pause: Pause | None = None
    broken: str | None = None
    runs: tuple[Run, ...] = ()
    gaps: tuple[Gap, ...] = ()
    stats: JobStats | None = None  # counters after the runs that are final at once (missed, skipped)
    notices: tuple[Notice, ...] = ()


class JobWrite(Value):
    """One definition as it shall be (created, edited, paused, resumed, deleted), and what its instants get.

    `expected_version` 0 means: the job must not exist yet, or be deleted. `runs` and `gaps` answer the instants up
    to the new cursor; `changes` are the job's queued runs that the change re-pins, skips or cancels.
    """

    job: Job
    expected_version: int
    runs: tuple[Run, ...] = ()
    gaps: tuple[Gap, ...] = ()
    changes: tuple[RunChange, ...] = ()
    stats: JobStats | None = None
    notices: tuple[Notice, ...] = ()


class Revision(Value):
    """One version of a job's definition."""

    job_id: JobId
    revision: int
    spec: JobSpec
    changed: datetime
    actor: str
    source: str | None = None


class Jobs(Protocol):
    """Definitions and cursors. Times are the store's; no verb decides a rule."""

    async def apply(self, writes: Sequence[JobWrite], audit: Sequence[AuditEntry]) -> None:
        """Write all definitions, or none. A job's shard is that of its id (`rota.core.ids.shard_of`).

        A new revision number also adds a row to the revisions. Runs are created as in `Runs.create`; gaps are
        inserted; changes whose run runs by now, or has ended, are left out.
        Raises Conflict with fact `jobs` (full names) when any version, of a definition, of its counters or of a run
        that still waits (queued or starting), differs; nothing is then written. Lock order: job, run.
        """

    async def commit_plan(self, plans: Sequence[Plan], epochs: Mapping[int, int]) -> set[JobId]:
        """Move cursors and create what answers the passed instants, each job by compare-and-set on its version.

        A plan whose version, or whose counters' version, no longer matches is left out. Returns the jobs that moved.
        Raises Fenced, writing nothing, when the epoch of any shard in `epochs` is no longer current.
        Lock order: shard, job, run.
        """

    async def due(self, shards: Sequence[int], now: datetime, limit: int) -> list[Job]:
        """Jobs the planner must look at: `next_at` ≤ now, not deleted, not broken.

        Jobs due within the last 60 s come before older ones, each group in order of `next_at`.
        """

    async def next_due(self, shards: Sequence[int]) -> datetime | None:
        """The earliest `next_at` of all jobs that are neither deleted nor broken."""

    async def get(self, names: Sequence[str]) -> dict[str, Job]:
        """The jobs of these full names that exist and are not deleted."""

    async def get_with_deleted(self, names: Sequence[str]) -> dict[str, Job]:
        """As `get`, deleted ones included."""

    async def by_id(self, ids: Sequence[JobId]) -> dict[JobId, Job]:
        """The jobs of these ids, deleted ones included."""

    async def by_source(self, source: str | None) -> list[Job]:
        """All jobs that came from this file (None: from anywhere), deleted ones left out, in order of full name."""

    async def in_shard(self, shard: int, after: JobId | None, limit: int) -> list[Job]:
        """Jobs of a shard in order of id, beginning after that one; deleted ones left out."""

    async def specs(self, wanted: Sequence[tuple[JobId, int]]) -> dict[tuple[JobId, int], JobSpec]:
        """The definitions of these (job, revision) pairs."""

    async def revisions(self, job_id: JobId, limit: int) -> list[Revision]:
        """The newest revisions of a job, newest first."""

    async def keeping(self) -> list[Job]:
        """All jobs with a `keep` of their own, deleted ones included."""

    async def starting(self) -> list[Job]:
        """All jobs with `schedule: at start` that are not deleted and not paused."""
