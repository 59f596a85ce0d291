"""Jobs, their revisions and cursors on PostgreSQL: `rota.store.jobs.Jobs`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rota.core.model import Job, JobId, JobSpec
from rota.store.jobs import AuditEntry, JobWrite, Plan, Revision
from rota.stores.access_rows import audit_row
from rota.stores.job_rows import job_from_row, revision_from_row, revision_row, spec_from_text
from rota.stores.postgres.batches import change_batch, job_write_row, notice_batch, run_batch, stats_batch
from rota.stores.postgres.lanes import Lanes
from rota.stores.postgres.queries import load
from rota.stores.refusals import changed_jobs, shard_taken
from rota.stores.rows import Row, gap_row, optional_instant, optional_micros, to_json, to_micros

SQL: Final = load("jobs.sql")
PUNCTUAL: Final = timedelta(seconds=60)
MANY: Final = 1_000  # definitions beyond which an apply may take longer than other verbs
_BEFORE_ALL: Final = -(2**62)
_BEFORE_ALL_IDS: Final = "00000000-0000-0000-0000-000000000000"


class PostgresJobs:
    """Definitions and cursors."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._verbs = lanes.verbs

    async def apply(self, writes: Sequence[JobWrite], audit: Sequence[AuditEntry]) -> None:
        """Write all definitions, or none."""
        if not writes and not audit:
            return
        batch = _apply_batch(writes, audit)
        if len(writes) <= MANY:
            found = await self._verbs.value(SQL["apply"], *batch)
        else:
            async with self._lanes.patient() as lane:
                found = await lane.value(SQL["apply"], *batch)
        if found:
            raise changed_jobs(found)

    async def commit_plan(self, plans: Sequence[Plan], epochs: Mapping[int, int]) -> set[JobId]:
        """Move cursors and create what answers the passed instants."""
        moved: set[JobId] = set()
        later: Sequence[Plan] = plans
        while later:
            now, later = _first_of_each_job(later)
            moved |= await self._commit_plan(now, epochs)
        return moved

    async def _commit_plan(self, plans: Sequence[Plan], epochs: Mapping[int, int]) -> set[JobId]:
        """Commit plans of different jobs."""
        runs = run_batch(run for plan in plans for run in plan.runs)
        left_out = await self._verbs.value(
            SQL["commit_plan"],
            [_plan_row(plan) for plan in sorted(plans, key=lambda plan: plan.job_id)],
            runs.hot,
            runs.past,
            runs.ids,
            runs.keyed,
            [gap_row(gap) for plan in plans for gap in plan.gaps],
            stats_batch(plan.stats for plan in plans if plan.stats is not None),
            notice_batch((notice, plan.job_id) for plan in plans for notice in plan.notices),
            list(epochs),
            list(epochs.values()),
        )
        if left_out is None:
            raise shard_taken(epochs)
        return {plan.job_id for plan in plans} - {JobId(str(id_)) for id_ in left_out}

    async def due(self, shards: Sequence[int], now: datetime, limit: int) -> list[Job]:
        """Jobs the planner must look at, those due within the last 60 s first."""
        end, start = to_micros(now), to_micros(now - PUNCTUAL)
        found = await self._due_between(shards, start, end, limit)
        if len(found) < limit:
            found += await self._due_between(shards, _BEFORE_ALL, start, limit - len(found))
        return found

    async def _due_between(self, shards: Sequence[int], start: int, end: int, limit: int) -> list[Job]:
        """Jobs with `next_at` in (start, end], in order, of all these shards.

        Each shard is asked for a little more than its share; for all that is wanted only where shards differ much.
        """
        if not shards or limit <= 0:
            return []
        rows: list[Row] = []
        for most in (2 * limit // len(shards) + 8, limit + 1):
            rows = await self._verbs.rows(SQL["due"], shards, start, end, limit, most)
            if not rows or not rows[0][-1]:
                break
        return [job_from_row(row) for row in rows]

    async def next_due(self, shards: Sequence[int]) -> datetime | None:
        """The earliest `next_at` of all jobs that are neither deleted nor broken."""
        return optional_instant(await self._verbs.value(SQL["next_due"], shards))

    async def get(self, names: Sequence[str]) -> dict[str, Job]:
        """The jobs of these full names that exist and are not deleted."""
        return {job.full_name: job for job in await self._jobs("by_name", _possible(names))}

    async def get_with_deleted(self, names: Sequence[str]) -> dict[str, Job]:
        """As `get`, deleted ones included."""
        return {job.full_name: job for job in await self._jobs("by_name_with_deleted", _possible(names))}

    async def by_id(self, ids: Sequence[JobId]) -> dict[JobId, Job]:
        """The jobs of these ids, deleted ones included."""
        return {job.id: job for job in await self._jobs("by_id", ids)}

    async def by_source(self, source: str | None) -> list[Job]:
        """All jobs that came from this file, or all; deleted ones are left out."""
        if source is not None:
            return await self._jobs("by_source", source)
        async with self._lanes.patient() as lane:  # there may be a million
            return [job_from_row(row) for row in await lane.rows(SQL["all"])]

    async def in_shard(self, shard: int, after: JobId | None, limit: int) -> list[Job]:
        """Jobs of a shard in order of id."""
        return await self._jobs("in_shard", shard, after or _BEFORE_ALL_IDS, limit)

    async def specs(self, wanted: Sequence[tuple[JobId, int]]) -> dict[tuple[JobId, int], JobSpec]:
        """The definitions of these (job, revision) pairs."""
        ids, revisions = [job_id for job_id, _ in wanted], [revision for _, revision in wanted]
        rows = await self._verbs.rows(SQL["specs"], ids, revisions)
        return {(JobId(str(job_id)), revision): spec_from_text(spec) for job_id, revision, spec in rows}

    async def revisions(self, job_id: JobId, limit: int) -> list[Revision]:
        """The newest revisions of a job, newest first."""
        return [revision_from_row(row) for row in await self._verbs.rows(SQL["revisions"], job_id, limit)]

    async def keeping(self) -> list[Job]:
        """All jobs with a `keep` of their own, deleted ones included."""
        return await self._jobs("keeping")

    async def starting(self) -> list[Job]:
        """All jobs with `schedule: at start` that are not deleted and not paused."""
        return await self._jobs("at_start")

    async def _jobs(self, statement: str, *parameters: Any) -> list[Job]:
        """The jobs a statement finds."""
        return [job_from_row(row) for row in await self._verbs.rows(SQL[statement], *parameters)]


def _possible(names: Iterable[str]) -> list[str]:
    """The names that a row can have at all."""
    return [name for name in names if "\0" not in name]


def _first_of_each_job(plans: Sequence[Plan]) -> tuple[list[Plan], list[Plan]]:
    """The first plan of each job, and the others: they build on it, and come after it."""
    first: dict[JobId, Plan] = {}
    later = [plan for plan in plans if first.setdefault(plan.job_id, plan) is not plan]
    return list(first.values()), later


def _plan_row(plan: Plan) -> Row:
    """A plan as the database takes it."""
    return (
        plan.job_id,
        plan.expected_version,
        to_micros(plan.cursor),
        optional_micros(plan.next_at),
        None if plan.pause is None else to_json(plan.pause),
        plan.broken,
    )


def _apply_batch(writes: Sequence[JobWrite], audit: Sequence[AuditEntry]) -> tuple[Any, ...]:
    """Definitions, and all that comes with them, as the database takes them."""
    actors = {entry.object: entry.actor for entry in audit}
    someone = audit[0].actor if audit else ""
    runs = run_batch(run for write in writes for run in write.runs)
    changes = change_batch([change for write in writes for change in write.changes])
    return (
        _write_rows(writes),
        [revision_row(write, actors.get(write.job.full_name, someone)) for write in writes],
        runs.hot,
        runs.past,
        runs.ids,
        runs.keyed,
        [gap_row(gap) for write in writes for gap in write.gaps],
        changes.kept,
        changes.ended,
        changes.rounds,
        stats_batch(write.stats for write in writes if write.stats is not None),
        notice_batch((notice, None) for write in writes for notice in write.notices),
        [audit_row(entry) for entry in audit],
    )


def _write_rows(writes: Sequence[JobWrite]) -> list[Row]:
    """Each job once: as its last write leaves it, building on what its first write builds on.

    A second write of a job builds on the first; one that does not is a conflict whatever is stored.
    """
    last: dict[JobId, tuple[Job, int]] = {}
    conflicts: list[str] = []
    for write in writes:
        before, expected = last.get(write.job.id, (None, write.expected_version))
        if before is not None and not _builds_on(write, before):
            conflicts.append(write.job.full_name)
        last[write.job.id] = (write.job, expected)
    if conflicts:
        raise changed_jobs(conflicts)
    return [job_write_row(job, expected) for job, expected in last.values()]


def _builds_on(write: JobWrite, before: Job) -> bool:
    """Whether a write expects the job as it is; a tombstone counts as no job."""
    return write.expected_version == before.version or (write.expected_version == 0 and before.deleted is not None)
