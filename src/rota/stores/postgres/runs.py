"""Runs on PostgreSQL: `rota.store.runs.Runs`.

Each verb is one statement. What must be looked at under locks is a function in the database (see the migrations).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rota.core.errors import StoreUnusable
from rota.core.model import JobId, JobStats, Notice, Run, RunId
from rota.core.release import InLine
from rota.store.jobs import AuditEntry, RunChange
from rota.store.runs import LossGuard, Reported, Waiting
from rota.stores.access_rows import audit_row
from rota.stores.job_rows import JOB_COLUMNS, job_from_row
from rota.stores.postgres.batches import change_batch, notice_batch, run_batch, stats_batch
from rota.stores.postgres.lanes import Lanes
from rota.stores.postgres.partitions import Partitions
from rota.stores.postgres.queries import load
from rota.stores.refusals import connected_again, moved_counters, moved_runs, server_lives
from rota.stores.rows import (
    RUN_COLUMNS,
    Row,
    lines_from_rows,
    optional_instant,
    run_from_row,
    stats_from_row,
    to_micros,
)

SQL: Final = load("runs.sql")
PRUNED_AT_ONCE: Final = 1_000
_BEFORE_ALL: Final = -(2**62)
_MICROS: Final = 1_000_000
_RUN: Final = len(RUN_COLUMNS)
_JOB: Final = len(JOB_COLUMNS)
_EVENLY: Final = 2  # times its share is asked of each shard at first; they differ little
_ALL_OF_ONE: Final = 1_000_000  # more than any share: the limit, of each


class PostgresRuns:
    """Runs, hot and past."""

    def __init__(self, lanes: Lanes, partitions: Partitions) -> None:
        self._verbs = lanes.verbs
        self._partitions = partitions

    async def create(self, runs: Sequence[Run], audit: Sequence[AuditEntry] = ()) -> list[Run]:
        """Add runs that do not exist yet; returns the stored row of each."""
        if not runs and not audit:
            return []
        return await self._create(runs, audit, again=True)

    async def _create(self, runs: Sequence[Run], audit: Sequence[AuditEntry], *, again: bool) -> list[Run]:
        """As `create`; once more when a run that was there has been pruned before it could be read."""
        batch = run_batch(runs)
        rows = await self._verbs.rows(
            SQL["create"], batch.hot, batch.past, batch.ids, batch.keyed, batch.jobs,
            [audit_row(entry) for entry in audit],
        )  # fmt: skip
        if not rows and not batch.twins:
            return list(runs) if len(batch.ids) == len(runs) else _firsts(runs)
        stands_for = {RunId(str(given)): RunId(str(stored)) for given, stored in rows}
        ids = [_stored(run.id, batch.twins, stands_for) for run in runs]
        there = await self.get(list(set(stands_for.values())))
        if len(there) < len(set(stands_for.values())):
            if not again:
                raise StoreUnusable("a run that exists cannot be found", hint="rota doctor")
            return await self._create(runs, (), again=False)
        given = {run.id: run for run in reversed(runs)}
        return [there[id_] if id_ in there else given[id_] for id_ in ids]

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
        window = (_BEFORE_ALL if after is None else to_micros(after), to_micros(now))
        kinds, most = (None, None) if room is None else (list(room), list(room.values()))
        rows: list[Row] = []
        for times in (_EVENLY, _ALL_OF_ONE):
            rows = await self._verbs.rows(SQL["waiting"], *window, kinds, most, shards, limit, times)
            if not rows or not rows[0][_RUN + 1]:
                break
        found = [row[_RUN + 2 :] for row in rows if row[_RUN + 2] is not None]
        return Waiting(
            runs=tuple(run_from_row(row[:_RUN]) for row in rows),
            jobs={job.id: job for job in map(job_from_row, found)},
        )

    async def holders(self, job_ids: Sequence[JobId]) -> dict[JobId, list[Run]]:
        """The released and unfinished runs of these jobs."""
        held: dict[JobId, list[Run]] = {}
        for run in await self._runs("holders", list(dict.fromkeys(job_ids))):
            held.setdefault(run.job_id, []).append(run)
        return held

    async def next_ready(self, after: datetime, shards: Sequence[int] | None = None) -> datetime | None:
        """The earliest `ready_at` after `after` of any queued run."""
        return optional_instant(await self._verbs.value(SQL["next_ready"], to_micros(after), shards))

    async def assign(self, changes: Sequence[RunChange], sessions: Mapping[str, int]) -> set[RunId]:
        """Give queued runs to workers, or settle them, each by itself."""
        if not changes:
            return set()
        alone = {change.run.job_id for change in changes if change.alone}
        batch = change_batch(changes, alone=alone)
        left_out = await self._verbs.value(
            SQL["assign"], batch.kept, batch.ended, batch.ids, batch.rounds, sorted(alone),
            list(sessions), list(sessions.values()),
        )  # fmt: skip
        return set(batch.ids) - {RunId(str(id_)) for id_ in left_out}

    async def reported(self, ids: Sequence[RunId]) -> Reported:
        """The hot rows among these runs, with their jobs and counters."""
        rows = await self._verbs.rows(SQL["reported"], list(dict.fromkeys(ids)))
        first = [row for row in rows if row[_RUN] == 1]
        runs = [run_from_row(row[:_RUN]) for row in rows]
        jobs = [job_from_row(row[_RUN + 1 :]) for row in first if row[_RUN + 1] is not None]
        counters = _RUN + 1 + _JOB
        stats = [stats_from_row(row[counters:]) for row in first if row[counters] is not None]
        return Reported(
            runs={run.id: run for run in runs},
            jobs={job.id: job for job in jobs},
            stats={one.job_id: one for one in stats},
        )

    async def record(
        self,
        changes: Sequence[RunChange],
        stats: Sequence[JobStats],
        notices: Sequence[Notice],
        audit: Sequence[AuditEntry] = (),
        guard: LossGuard | None = None,
    ) -> set[RunId]:
        """Commit outcomes with their counters and alerts, all or nothing."""
        batch = change_batch(_last_steps(changes))
        kept, ended = _with_first_versions(changes, batch.kept), _with_first_versions(changes, batch.ended)
        row = await self._verbs.row(
            SQL["record"], kept, ended, stats_batch(stats), notice_batch((notice, None) for notice in notices),
            [audit_row(entry) for entry in audit], *_guard(guard),
        )  # fmt: skip
        fenced, runs, jobs = row or (None, None, None)
        if fenced and guard is not None:
            raise connected_again(guard) if fenced == "session" else server_lives(fenced.removeprefix("server "))
        if runs:
            raise moved_runs(RunId(str(id_)) for id_ in runs)
        if jobs:
            raise moved_counters(JobId(str(id_)) for id_ in jobs)
        return set(batch.ids)

    async def get(self, ids: Sequence[RunId]) -> dict[RunId, Run]:
        """These runs, wherever they live."""
        if not ids:
            return {}
        return {run.id: run for run in await self._runs("by_id", list(dict.fromkeys(ids)), min(ids), max(ids))}

    async def unfinished(self, job_ids: Sequence[JobId]) -> list[Run]:
        """All unfinished runs of these jobs, in order of due."""
        return await self._runs("unfinished", list(dict.fromkeys(job_ids)))

    async def lines(self, job_ids: Sequence[JobId]) -> dict[JobId, list[InLine]]:
        """All unfinished runs of these jobs in short, in order of due."""
        return lines_from_rows(await self._verbs.rows(SQL["lines"], list(dict.fromkeys(job_ids))))

    async def stats(self, job_ids: Sequence[JobId]) -> dict[JobId, JobStats]:
        """The counters of these jobs."""
        found = [stats_from_row(row) for row in await self._verbs.rows(SQL["stats"], job_ids)]
        return {stats.job_id: stats for stats in found}

    async def late(self, now: datetime, limit: int) -> list[Run]:
        """Unfinished runs with `late_at` ≤ now, oldest first."""
        return await self._runs("late", to_micros(now), limit)

    async def next_late(self) -> datetime | None:
        """The earliest `late_at` of any unfinished run."""
        return optional_instant(await self._verbs.value(SQL["next_late"]))

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete history of runs finished before `before`: whole days where nothing newer is in them, else rows."""
        pruned = 0
        if job is None:
            await self._partitions.make()
            pruned = await self._partitions.drop_history(before)
        while pruned < limit:
            at_once = min(PRUNED_AT_ONCE, limit - pruned)
            found = await self._verbs.value(SQL["prune"], to_micros(before), at_once, job)
            pruned += found
            if found < at_once:
                break
        return pruned

    async def _runs(self, statement: str, *parameters: Any) -> list[Run]:
        """The runs a statement finds."""
        return [run_from_row(row) for row in await self._verbs.rows(SQL[statement], *parameters)]


def _firsts(runs: Sequence[Run]) -> list[Run]:
    """Each run as its first in the batch: the others are the same run."""
    first = {run.id: run for run in reversed(runs)}
    return [first[run.id] for run in runs]


def _stored(run: RunId, twins: Mapping[RunId, RunId], stands_for: Mapping[RunId, RunId]) -> RunId:
    """The run that is stored in the place of this one."""
    first = twins.get(run, run)
    return stands_for.get(first, first)


def _last_steps(changes: Sequence[RunChange]) -> list[RunChange]:
    """The last step of each run; steps that do not follow each other have moved on, whatever is stored."""
    last: dict[RunId, RunChange] = {}
    broken: list[RunId] = []
    for change in changes:
        before = last.get(change.run.id)
        if before is not None and (before.run.state.is_final or before.run.version != change.run.version - 1):
            broken.append(change.run.id)
        last[change.run.id] = change
    if broken:
        raise moved_runs(broken)
    return list(last.values())


def _with_first_versions(changes: Sequence[RunChange], rows: list[Row]) -> list[Row]:
    """The rows of last steps, each looking for the version before the first step of its run."""
    if len(changes) == len(rows):
        return rows
    first = {change.run.id: change.run.version - 1 for change in reversed(changes)}
    return [(*row[:2], first[row[0]], *row[3:]) for row in rows]


def _guard(guard: LossGuard | None) -> tuple[list[Any] | None, ...]:
    """What must still be so, as parameters."""
    if guard is None:
        return (None, None, None, None)
    lapsed = [round(seconds * _MICROS) for seconds in guard.lapsed.values()]
    return (list(guard.sessions), list(guard.sessions.values()), list(guard.lapsed), lapsed)
