"""Runs on SQLite: `rota.store.runs.Runs`.

One writer means that what a verb reads in its transaction stays true until it commits: versions, sessions and holders
are read for a whole batch at once, compared here, and written with as few statements.
"""

import heapq
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final

from rota.core.model import Job, JobId, JobStats, Notice, Run, RunId, RunState
from rota.core.release import InLine
from rota.store.jobs import AuditEntry, RunChange
from rota.store.runs import LossGuard, Reported, Waiting
from rota.stores.job_rows import job_from_row
from rota.stores.refusals import connected_again, moved_counters, moved_runs, server_lives
from rota.stores.rows import (
    FINAL_STATES,
    from_micros,
    lines_from_rows,
    optional_instant,
    run_from_row,
    stats_from_row,
    to_micros,
)
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.jobs import SQL as JOBS_SQL
from rota.stores.sqlite.leases import SqliteLeases
from rota.stores.sqlite.parameters import ids_json
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.writes import (
    HotVersions,
    add_audit,
    add_notices,
    create_runs,
    moved_stats,
    put_stats,
    write_changed,
)

SQL: Final = load("runs.sql")
_BEFORE_ALL: Final = -(2**62)
ONLY_SHARD: Final = 0  # one process at a time works on the file: there is nothing to share out
PRUNED_AT_ONCE: Final = 500  # runs per transaction, so that pruning never holds the writer for long


class SqliteRuns:
    """Runs, hot and past."""

    def __init__(self, database: Database, leases: SqliteLeases) -> None:
        self._database = database
        self._leases = leases

    async def create(self, runs: Sequence[Run], audit: Sequence[AuditEntry] = ()) -> list[Run]:
        """Add runs that do not exist yet; returns the stored row of each."""
        return await self._database.write(lambda connection: _create(connection, runs, audit))

    async def waiting(
        self,
        now: datetime,
        room: Mapping[str, int] | None,
        limit: int,
        *,
        shards: Sequence[int] | None = None,
        after: datetime | None = None,
    ) -> Waiting:
        """Queued runs whose time has come, in order of (ready_at, id), with what decides about them."""
        if shards is not None and ONLY_SHARD not in shards:
            return Waiting(runs=())
        window = (_BEFORE_ALL if after is None else to_micros(after), to_micros(now))
        return await self._database.read(lambda connection: _waiting(connection, window, room, limit))

    async def holders(self, job_ids: Sequence[JobId]) -> dict[JobId, list[Run]]:
        """The released and unfinished runs of these jobs."""

        def read(connection: sqlite3.Connection) -> dict[JobId, list[Run]]:
            held: dict[JobId, list[Run]] = {}
            for row in connection.execute(SQL["holders"], (ids_json(dict.fromkeys(job_ids)),)):
                run = run_from_row(row)
                held.setdefault(run.job_id, []).append(run)
            return held

        return await self._database.read(read)

    async def next_ready(self, after: datetime, shards: Sequence[int] | None = None) -> datetime | None:
        """The earliest `ready_at` after `after` of any queued run."""
        if shards is not None and ONLY_SHARD not in shards:
            return None
        moment = to_micros(after)
        return await self._database.read(lambda connection: _next_ready(connection, moment))

    async def assign(self, changes: Sequence[RunChange], sessions: Mapping[str, int]) -> set[RunId]:
        """Give queued runs to workers, or settle them, each by itself."""
        return await self._database.write(lambda connection: _assign(connection, changes, sessions))

    async def reported(self, ids: Sequence[RunId]) -> Reported:
        """The hot rows among these runs, with their jobs and counters."""

        def read(connection: sqlite3.Connection) -> Reported:
            runs = [run_from_row(row) for row in connection.execute(SQL["hot"], (ids_json(ids),))]
            job_ids = ids_json({run.job_id for run in runs})
            return Reported(
                runs={run.id: run for run in runs}, jobs=_jobs(connection, job_ids), stats=_stats(connection, job_ids)
            )

        return await self._database.read(read)

    async def record(
        self,
        changes: Sequence[RunChange],
        stats: Sequence[JobStats],
        notices: Sequence[Notice],
        audit: Sequence[AuditEntry] = (),
        guard: LossGuard | None = None,
    ) -> set[RunId]:
        """Commit outcomes with their counters and alerts, all or nothing."""
        now = await self._leases.now()

        def write(connection: sqlite3.Connection) -> set[RunId]:
            if guard is not None:
                _check_guard(connection, guard, now)
            written = _record(connection, changes)
            if moved := moved_stats(connection, stats):
                raise moved_counters(moved)
            put_stats(connection, stats)
            add_notices(connection, notices)
            add_audit(connection, audit)
            return written

        return await self._database.write(write)

    async def get(self, ids: Sequence[RunId]) -> dict[RunId, Run]:
        """These runs, wherever they live."""
        return await self._database.read(lambda connection: runs_by_id(connection, ids))

    async def unfinished(self, job_ids: Sequence[JobId]) -> list[Run]:
        """All unfinished runs of these jobs, in order of due."""
        return await self._runs("unfinished", ids_json(dict.fromkeys(job_ids)))

    async def lines(self, job_ids: Sequence[JobId]) -> dict[JobId, list[InLine]]:
        """All unfinished runs of these jobs in short, in order of due."""
        wanted = ids_json(dict.fromkeys(job_ids))
        return await self._database.read(
            lambda connection: lines_from_rows(connection.execute(SQL["lines"], (wanted,)))
        )

    async def stats(self, job_ids: Sequence[JobId]) -> dict[JobId, JobStats]:
        """The counters of these jobs."""
        return await self._database.read(lambda connection: _stats(connection, ids_json(job_ids)))

    async def late(self, now: datetime, limit: int) -> list[Run]:
        """Unfinished runs with `late_at` ≤ now, oldest first."""
        return await self._runs("late", to_micros(now), limit)

    async def next_late(self) -> datetime | None:
        """The earliest `late_at` of any unfinished run."""
        return await self._database.read(
            lambda connection: optional_instant(connection.execute(SQL["next_late"]).fetchone()[0])
        )

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete history of runs finished before `before`, a few hundred per transaction."""
        moment, pruned = to_micros(before), 0
        while pruned < limit:
            at_once = min(PRUNED_AT_ONCE, limit - pruned)
            found = await self._database.write(partial(_prune, before=moment, limit=at_once, job=job))
            pruned += found
            if found < at_once:
                break
        return pruned

    async def _runs(self, statement: str, *parameters: Any) -> list[Run]:
        """The runs a statement finds."""
        return await self._database.read(
            lambda connection: [run_from_row(row) for row in connection.execute(SQL[statement], parameters)]
        )


def runs_by_id(connection: sqlite3.Connection, ids: Sequence[RunId]) -> dict[RunId, Run]:
    """These runs, hot ones and past ones."""
    found = [run_from_row(row) for row in connection.execute(SQL["hot"], (ids_json(ids),))]
    if len(found) < len(ids):
        found += [run_from_row(row) for row in connection.execute(SQL["history"], (ids_json(ids),))]
    return {run.id: run for run in found}


def _create(connection: sqlite3.Connection, runs: Sequence[Run], audit: Sequence[AuditEntry]) -> list[Run]:
    """New runs; the stored rows of those that were there already."""
    existing = create_runs(connection, runs)
    add_audit(connection, audit)
    if not existing:
        return list(runs)
    stored = runs_by_id(connection, [existing.get(run.id, run.id) for run in runs])
    return [stored[existing.get(run.id, run.id)] for run in runs]


def _waiting(
    connection: sqlite3.Connection, window: tuple[int, int], room: Mapping[str, int] | None, limit: int
) -> Waiting:
    """The first runs of each kind that became ready within `window` (from exclusive, to inclusive), merged."""
    if room is None:
        room = {kind: limit for (kind,) in connection.execute(SQL["queued_kinds"])}
    queues = [
        connection.execute(SQL["waiting_of_kind"], (kind, *window, min(most, limit))).fetchall()
        for kind, most in room.items()
    ]
    order: list[RunId] = [id_ for _, id_ in islice(heapq.merge(*queues), limit)]
    found = {row[0]: run_from_row(row) for row in connection.execute(SQL["hot"], (ids_json(order),))}
    runs = tuple(found[id_] for id_ in order)
    return Waiting(runs=runs, jobs=_jobs(connection, ids_json({run.job_id for run in runs})))


def _next_ready(connection: sqlite3.Connection, after: int) -> datetime | None:
    """The earliest of the kinds' earliest moments."""
    kinds = [kind for (kind,) in connection.execute(SQL["queued_kinds"])]
    found = [row for kind in kinds for row in connection.execute(SQL["next_ready"], (kind, after))]
    return optional_instant(min(found)[0]) if found else None


def _assign(connection: sqlite3.Connection, changes: Sequence[RunChange], sessions: Mapping[str, int]) -> set[RunId]:
    """Each change whose run, job and session are as the decision assumed, in order."""
    versions = HotVersions(connection, (change.run.id for change in changes))
    alone_jobs = {change.run.job_id for change in changes if change.alone}
    released: dict[JobId, set[RunId]] = {job_id: set() for job_id in alone_jobs}
    for job_id, id_ in connection.execute(SQL["released"], (ids_json(alone_jobs),)) if alone_jobs else ():
        released[job_id].add(id_)
    rows = connection.execute(SQL["sessions"], (ids_json(sessions),))
    live = {name for name, session in rows if sessions[name] == session}
    taken: list[Run] = []
    for change in changes:
        run = change.run
        others = released.get(run.job_id, set())
        if not versions.is_next(run) or (change.alone and others - {run.id}) or not _has_session(run, live):
            continue
        versions.take(run)
        taken.append(run)
        if run.released is None or run.state in FINAL_STATES:
            others.discard(run.id)
        else:
            others.add(run.id)
    write_changed(connection, taken)
    return {run.id for run in taken}


def _has_session(run: Run, live: set[str]) -> bool:
    """Whether the worker a starting run is given to is still connected as the decision saw it."""
    return run.state is not RunState.STARTING or (run.current is not None and run.current.worker in live)


def _record(connection: sqlite3.Connection, changes: Sequence[RunChange]) -> set[RunId]:
    """All changes, or Conflict."""
    versions = HotVersions(connection, (change.run.id for change in changes))
    moved: list[RunId] = []
    for change in changes:
        if versions.is_next(change.run):
            versions.take(change.run)
        else:
            moved.append(change.run.id)
    if moved:
        raise moved_runs(moved)
    write_changed(connection, [change.run for change in changes])
    return {change.run.id for change in changes}


def _check_guard(connection: sqlite3.Connection, guard: LossGuard, now: datetime) -> None:
    """Raise Fenced when somebody else judges these attempts now."""
    sessions = dict(connection.execute(SQL["newest_sessions"], (ids_json(guard.sessions),)).fetchall())
    if sessions != guard.sessions:
        raise connected_again(guard)
    ends = dict(connection.execute(SQL["leases_of"], (ids_json(guard.lapsed),)).fetchall())
    for server, seconds in guard.lapsed.items():
        if server in ends and from_micros(ends[server]) + timedelta(seconds=seconds) > now:
            raise server_lives(server)


def _prune(connection: sqlite3.Connection, before: int, limit: int, job: JobId | None) -> int:
    """One transaction's worth of old runs, with their output, and of old gaps."""
    which = ("finished_before", "delete_gaps") if job is None else ("finished_of_job", "delete_gaps_of_job")
    parameters = (before, limit) if job is None else (before, limit, job)
    ids = [id_ for (id_,) in connection.execute(SQL[which[0]], parameters)]
    connection.execute(SQL["delete_output"], (ids_json(ids),))
    connection.execute(SQL["delete_history"], (ids_json(ids),))
    connection.execute(SQL[which[1]], parameters)
    return len(ids)


def _jobs(connection: sqlite3.Connection, job_ids: str) -> dict[JobId, Job]:
    """The jobs of these ids, deleted ones included."""
    found = [job_from_row(row) for row in connection.execute(JOBS_SQL["by_id"], (job_ids,))]
    return {job.id: job for job in found}


def _stats(connection: sqlite3.Connection, job_ids: str) -> dict[JobId, JobStats]:
    """The counters of these jobs."""
    found = [stats_from_row(row) for row in connection.execute(SQL["stats"], (job_ids,))]
    return {stats.job_id: stats for stats in found}
