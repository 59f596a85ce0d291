"""Jobs, their revisions and cursors on SQLite: `rota.store.jobs.Jobs`."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from rota.core.model import Job, JobId, JobSpec
from rota.store.jobs import AuditEntry, JobWrite, Plan, Revision
from rota.stores.job_rows import job_from_row, job_row, revision_from_row, revision_row, spec_from_text
from rota.stores.refusals import changed_jobs, shard_taken
from rota.stores.rows import Row, optional_instant, optional_micros, to_json, to_micros
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.writes import (
    add_audit,
    add_gaps,
    add_notices,
    create_runs,
    moved_stats,
    moved_waiting,
    put_stats,
    write_still_current,
)

SQL: Final = load("jobs.sql")
PUNCTUAL: Final = timedelta(seconds=60)
_BEFORE_ALL: Final = -(2**62)


class SqliteJobs:
    """Definitions and cursors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, writes: Sequence[JobWrite], audit: Sequence[AuditEntry]) -> None:
        """Write all definitions, or none."""
        await self._database.write(lambda connection: _apply(connection, writes, audit))

    async def commit_plan(self, plans: Sequence[Plan], epochs: Mapping[int, int]) -> set[JobId]:
        """Move cursors and create what answers the passed instants."""
        return await self._database.write(lambda connection: _commit_plan(connection, plans, epochs))

    async def due(self, shards: Sequence[int], now: datetime, limit: int) -> list[Job]:
        """Jobs the planner must look at, those due within the last 60 s first."""
        end, start = to_micros(now), to_micros(now - PUNCTUAL)

        def read(connection: sqlite3.Connection) -> list[Job]:
            rows = _due_between(connection, shards, (start, end), limit)
            rows += _due_between(connection, shards, (_BEFORE_ALL, start), limit - len(rows))
            return [job_from_row(row) for row in rows]

        return await self._database.read(read)

    async def next_due(self, shards: Sequence[int]) -> datetime | None:
        """The earliest `next_at` of all jobs that are neither deleted nor broken."""

        def read(connection: sqlite3.Connection) -> datetime | None:
            firsts = [connection.execute(SQL["next_due"], (shard,)).fetchone()[0] for shard in shards]
            return optional_instant(min((first for first in firsts if first is not None), default=None))

        return await self._database.read(read)

    async def get(self, names: Sequence[str]) -> dict[str, Job]:
        """The jobs of these full names that exist and are not deleted."""
        return {job.full_name: job for job in await self._jobs("by_name", ids_json(names))}

    async def get_with_deleted(self, names: Sequence[str]) -> dict[str, Job]:
        """As `get`, deleted ones included."""
        return {job.full_name: job for job in await self._jobs("by_name_with_deleted", ids_json(names))}

    async def by_id(self, ids: Sequence[JobId]) -> dict[JobId, Job]:
        """The jobs of these ids, deleted ones included."""
        return {job.id: job for job in await self._jobs("by_id", ids_json(ids))}

    async def by_source(self, source: str | None) -> list[Job]:
        """All jobs that came from this file, or all; deleted ones are left out."""
        return await (self._jobs("all") if source is None else self._jobs("by_source", source))

    async def in_shard(self, shard: int, after: JobId | None, limit: int) -> list[Job]:
        """Jobs of a shard in order of id."""
        return await self._jobs("in_shard", shard, after or "", limit)

    async def specs(self, wanted: Sequence[tuple[JobId, int]]) -> dict[tuple[JobId, int], JobSpec]:
        """The definitions of these (job, revision) pairs."""

        def read(connection: sqlite3.Connection) -> dict[tuple[JobId, int], JobSpec]:
            rows = connection.execute(SQL["specs"], (to_json(list(wanted)),))
            return {(JobId(job_id), revision): spec_from_text(spec) for job_id, revision, spec in rows}

        return await self._database.read(read)

    async def revisions(self, job_id: JobId, limit: int) -> list[Revision]:
        """The newest revisions of a job, newest first."""
        return await self._database.read(
            lambda connection: [revision_from_row(row) for row in connection.execute(SQL["revisions"], (job_id, limit))]
        )

    async def keeping(self) -> list[Job]:
        """All jobs with a `keep` of their own, deleted ones included."""
        return await self._jobs("keeping")

    async def starting(self) -> list[Job]:
        """All jobs with `schedule: at start` that are not deleted and not paused."""
        return await self._jobs("at_start")

    async def _jobs(self, statement: str, *parameters: Any) -> list[Job]:
        """The jobs a statement finds."""
        return await self._database.read(
            lambda connection: [job_from_row(row) for row in connection.execute(SQL[statement], parameters)]
        )


def _due_between(
    connection: sqlite3.Connection, shards: Sequence[int], window: tuple[int, int], limit: int
) -> list[Row]:
    """Rows with `next_at` in (start, end], in order, of all these shards."""
    if limit <= 0:
        return []
    rows: list[Row] = []
    for shard in shards:
        rows += connection.execute(SQL["due_between"], (shard, *window, limit)).fetchall()
    if len(shards) > 1:
        rows.sort(key=lambda row: (row[10], row[0]))
    return rows[:limit]


def _apply(connection: sqlite3.Connection, writes: Sequence[JobWrite], audit: Sequence[AuditEntry]) -> None:
    """All definitions with what follows from them."""
    _check_versions(connection, writes)
    actors = {entry.object: entry.actor for entry in audit}
    someone = audit[0].actor if audit else ""
    connection.executemany(SQL["put"], [job_row(write.job) for write in writes])
    connection.executemany(
        SQL["add_revision"],
        [revision_row(write, actors.get(write.job.full_name, someone)) for write in writes],
    )
    create_runs(connection, [run for write in writes for run in write.runs])
    add_gaps(connection, [gap for write in writes for gap in write.gaps])
    write_still_current(connection, [change for write in writes for change in write.changes])
    put_stats(connection, [write.stats for write in writes if write.stats is not None])
    add_notices(connection, [notice for write in writes for notice in write.notices])
    add_audit(connection, audit)


def _check_versions(connection: sqlite3.Connection, writes: Sequence[JobWrite]) -> None:
    """Raise Conflict when any job, or a waiting run of it, is not as its writer saw it; a tombstone is no job."""
    rows = connection.execute(SQL["versions"], (ids_json(write.job.id for write in writes),))
    stored = {JobId(id_): (version, deleted) for id_, version, deleted in rows}
    conflicts: list[str] = []
    for write in writes:
        version, deleted = stored.get(write.job.id, (0, None))
        if write.expected_version != version and not (write.expected_version == 0 and deleted is not None):
            conflicts.append(write.job.full_name)
        # A second write of the same job in the batch builds on the first.
        stored[write.job.id] = (write.job.version, optional_micros(write.job.deleted))
    moved = moved_stats(connection, [write.stats for write in writes if write.stats is not None])
    conflicts += [write.job.full_name for write in writes if write.job.id in moved]
    conflicts += sorted(moved_waiting(connection, [change for write in writes for change in write.changes]))
    if conflicts:
        raise changed_jobs(conflicts)


def _commit_plan(connection: sqlite3.Connection, plans: Sequence[Plan], epochs: Mapping[int, int]) -> set[JobId]:
    """Each plan whose job has not moved, under epochs that still hold."""
    current: dict[int, int] = dict(connection.execute(SQL["epochs"]).fetchall())
    if any(current.get(shard) != epoch for shard, epoch in epochs.items()):
        raise shard_taken(epochs)
    versions: dict[JobId, int] = {
        id_: version
        for id_, version, deleted in connection.execute(SQL["versions"], (ids_json(plan.job_id for plan in plans),))
        if deleted is None
    }
    moved = moved_stats(connection, [plan.stats for plan in plans if plan.stats is not None])
    taken: list[Plan] = []
    for plan in plans:
        if versions.get(plan.job_id) == plan.expected_version and plan.job_id not in moved:
            versions[plan.job_id] += 1
            taken.append(plan)
    if taken:
        connection.executemany(SQL["move"], [_moved_row(plan) for plan in taken])
        create_runs(connection, list(chain.from_iterable(plan.runs for plan in taken)))
        add_gaps(connection, list(chain.from_iterable(plan.gaps for plan in taken)))
        put_stats(connection, [plan.stats for plan in taken if plan.stats is not None])
        add_notices(connection, list(chain.from_iterable(plan.notices for plan in taken)))
    return {plan.job_id for plan in taken}


def _moved_row(plan: Plan) -> Row:
    """A plan as the parameters of the cursor's move."""
    return (
        to_micros(plan.cursor),
        optional_micros(plan.next_at),
        None if plan.pause is None else to_json(plan.pause),
        plan.broken,
        plan.expected_version + 1,
        plan.job_id,
    )
