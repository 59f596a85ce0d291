"""Lists and counts for people on SQLite: `rota.store.views.Views`.

Every list is read in the order of an index, up to its limit; runs come from the hot table and from the history and
are merged here. A search that looks at too many rows is stopped by the reader's time limit.
"""

import heapq
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from rota.core.errors import NotFound, TooLarge
from rota.core.model import Gap, JobId, Run, RunId, RunState
from rota.store.views import Count, JobPage, JobQuery, JobRow, RunPage, RunQuery, Summary
from rota.stores.filters import Conditions, add_states, job_conditions, run_conditions
from rota.stores.job_rows import job_from_row
from rota.stores.paging import (
    COUNTED,
    DUE,
    LAST,
    NEWEST,
    OLDEST,
    Key,
    LedgerKey,
    Order,
    check_job_sort,
    job_key,
    ledger_entries,
    ledger_key,
    moment_key,
    run_key,
    run_order,
    stats_of_job,
    tables_of,
    text_key,
)
from rota.stores.rows import Row, gap_from_row, optional_instant, run_from_row, to_micros
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.dialect import SQLITE
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.runs import runs_by_id

SQL: Final = load("views.sql")


class SqliteViews:
    """Read models."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def jobs(self, query: JobQuery, sort: str, after: Key, limit: int) -> JobPage:
        """Jobs in order of `sort`: "name", "next" (soonest first) or "last" (newest end first)."""
        check_job_sort(sort)
        conditions = job_conditions(query, SQLITE)
        rows = await self._database.read(lambda connection: _JOB_LISTS[sort](connection, conditions, after, limit + 1))
        more = len(rows) > limit
        rows = rows[:limit]
        count = await self._count(conditions, ("count_jobs",), len(rows), whole=after is None and not more)
        return JobPage(
            items=tuple(JobRow(job=job_from_row(row), stats=stats_of_job(row)) for row in rows),
            next=job_key(sort, rows[-1]) if more else None,
            count=count,
        )

    async def runs(self, query: RunQuery, sort: str, after: Key, limit: int) -> RunPage:
        """Runs, hot and past, in order of `sort`: "-due" (newest first) or "due"."""
        order = run_order(sort)
        conditions = run_conditions(query, SQLITE)
        rest = conditions.copy()
        if after is not None:
            rest.add(order.after, *moment_key(after))
        rows = await self._database.read(lambda connection: _runs(connection, rest, order, limit + 1, query.states))
        more = len(rows) > limit
        rows = rows[:limit]
        tables = tuple(f"count_{table}" for table in tables_of(query.states))
        count = await self._count(conditions, tables, len(rows), whole=after is None and not more)
        return RunPage(
            items=tuple(run_from_row(row) for row in rows),
            next=run_key(rows[-1]) if more else None,
            count=count,
        )

    async def ledger(
        self, job: JobId, since: datetime, until: datetime, after: Key, limit: int
    ) -> tuple[list[Run | Gap], Key]:
        """Scheduled runs and gaps of a job, by time."""
        window = (to_micros(since), to_micros(until))
        entries = await self._database.read(lambda connection: _ledger(connection, job, window, after, limit + 1))
        key = entries[limit - 1][0] if len(entries) > limit > 0 else None
        return [entry for _, entry in entries[:limit]], None if key is None else (str(key[0]), str(key[1]), key[2])

    async def last_run(
        self, job: JobId, states: tuple[RunState, ...] | None = None, due_by: datetime | None = None
    ) -> Run | None:
        """The newest run of a job by due."""
        wanted = states or ()
        conditions = _of_job(job)
        if due_by is not None:
            conditions.add("run.due <= ?", to_micros(due_by))
        add_states(conditions, wanted)
        return await self._database.read(lambda connection: _first(_runs(connection, conditions, NEWEST, 1, wanted)))

    async def run_at(self, job: JobId, moment: datetime) -> Run | Gap | None:
        """The scheduled run whose due or nominal is `moment`, else the gap that covers it."""
        at = to_micros(moment)
        return await self._database.read(lambda connection: _run_at(connection, job, at))

    async def neighbours(self, run: RunId) -> tuple[RunId | None, RunId | None]:
        """The runs of the same job just before and just after this one, by due."""
        return await self._database.read(lambda connection: _neighbours(connection, run))

    async def summary(self) -> Summary:
        """Counts over everything."""

        def read(connection: sqlite3.Connection) -> Summary:
            jobs, paused, failing, late = connection.execute(SQL["summary_of_jobs"]).fetchone()
            queued, starting, running, oldest, notices = connection.execute(SQL["summary_of_runs"]).fetchone()
            return Summary(
                jobs=jobs,
                paused=paused,
                failing=failing,
                late=late,
                queued=queued,
                starting=starting,
                running=running,
                oldest_queued=optional_instant(oldest),
                pending_notices=notices,
            )

        return await self._database.read(read)

    async def namespaces(self) -> list[tuple[str, int]]:
        """All namespaces with their number of jobs, by name."""
        return await self._database.read(lambda connection: connection.execute(SQL["namespaces"]).fetchall())

    async def _count(self, conditions: Conditions, statements: Sequence[str], shown: int, *, whole: bool) -> Count:
        """How many there are in all; `whole`: the page shows everything."""
        if whole:
            return Count(value=shown)

        def read(connection: sqlite3.Connection) -> int:
            parts = [conditions.of(SQL[name], COUNTED + 1) for name in statements]
            return sum(connection.execute(sql, parameters).fetchone()[0] for sql, parameters in parts)

        try:
            value = await self._database.read(read)
        except TooLarge:
            # The page itself was found in time; that counting all is too much is no reason to withhold it.
            return Count(value=shown, kind="at_least")
        return Count(value=value) if value <= COUNTED else Count(value=COUNTED, kind="at_least")


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────


def _jobs_by_name(connection: sqlite3.Connection, query: Conditions, after: Key, limit: int) -> list[Row]:
    """Rows in order of name."""
    conditions = query.copy()
    if after is not None:
        conditions.add("job.full_name > ?", text_key(after, 1)[0])
    return _select(connection, "jobs_by_name", conditions, limit)


def _jobs_by_next(connection: sqlite3.Connection, query: Conditions, after: Key, limit: int) -> list[Row]:
    """Rows in order of the next instant; those without one come last."""
    conditions = query.copy()
    if after is not None:
        conditions.add("(coalesce(job.next_at, 9223372036854775807), job.id) > (?, ?)", *moment_key(after))
    return _select(connection, "jobs_by_next", conditions, limit)


def _jobs_by_last(connection: sqlite3.Connection, query: Conditions, after: Key, limit: int) -> list[Row]:
    """Rows in order of the last end, newest first; those that never ended come last."""
    rows: list[Row] = []
    never = query.copy()
    if after is None or after[0]:
        ended = query.copy()
        if after is not None:
            last, id_ = moment_key(after)
            ended.add("kept.last_finished < ? OR (kept.last_finished = ? AND kept.job_id > ?)", last, last, id_)
            ended.add("kept.last_finished <= ?", last)
        rows = _select(connection, "jobs_by_last", ended, limit)
    else:
        never.add("job.id > ?", text_key(after, 2)[1])
    if len(rows) < limit:
        rows += _select(connection, "jobs_never_ended", never, limit - len(rows))
    return rows


_JOB_LISTS: Final[dict[str, Callable[[sqlite3.Connection, Conditions, Key, int], list[Row]]]] = {
    "name": _jobs_by_name,
    "next": _jobs_by_next,
    "last": _jobs_by_last,
}


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────


def _runs(
    connection: sqlite3.Connection, conditions: Conditions, order: Order, limit: int, states: Sequence[RunState] = ()
) -> list[Row]:
    """Rows of both tables in order."""
    lists = [_select(connection, f"{table}_{order.name}", conditions, limit) for table in tables_of(states)]
    merged = heapq.merge(*lists, key=lambda row: (row[DUE], row[0]), reverse=order is NEWEST)
    return list(islice(merged, limit))


def _select(connection: sqlite3.Connection, name: str, conditions: Conditions, limit: int) -> list[Row]:
    """The rows of a statement under conditions."""
    return connection.execute(*conditions.of(SQL[name], limit)).fetchall()


def _of_job(job: JobId) -> Conditions:
    return Conditions(SQLITE).add("run.job_id = ?", job)


def _first(rows: Sequence[Row]) -> Run | None:
    return run_from_row(rows[0]) if rows else None


def _ledger(
    connection: sqlite3.Connection, job: JobId, window: tuple[int, int], after: Key, limit: int
) -> list[tuple[LedgerKey, Run | Gap]]:
    """Entries with their keys: (time, gap 0 or run 1, what tells them apart)."""
    time, kind, rest = (-1, 0, "") if after is None else ledger_key(after)
    conditions = _of_job(job).add("run.\"trigger\" = 'schedule'").add("run.due >= ? AND run.due <= ?", *window)
    conditions.add("(run.due, run.id) > (?, ?)", time, rest if kind == 1 else "")
    runs = _runs(connection, conditions, OLDEST, limit)
    # A gap comes before a run of the same moment: after such a run, all gaps up to that moment were given.
    gap_after = int(rest or -1) if kind == 0 else LAST
    gaps = connection.execute(SQL["gaps"], (job, *window, time, gap_after, limit)).fetchall()
    return ledger_entries(runs, gaps)[:limit]


def _run_at(connection: sqlite3.Connection, job: JobId, at: int) -> Run | Gap | None:
    """By due, then by nominal where that differs, then the gap."""
    for moment in ("run.due = ?", "run.nominal = ? AND run.nominal <> run.due"):
        conditions = _of_job(job).add("run.\"trigger\" = 'schedule'").add(moment, at)
        found = _first(_runs(connection, conditions, OLDEST, 1))
        if found is not None:
            return found
    row = connection.execute(SQL["gap_at"], (job, at)).fetchone()
    return None if row is None else gap_from_row(row)


def _neighbours(connection: sqlite3.Connection, run: RunId) -> tuple[RunId | None, RunId | None]:
    """Ids just before and after; NotFound when there is no such run."""
    here = runs_by_id(connection, [run]).get(run)
    if here is None:
        raise NotFound(f"there is no run {run}")
    key = (to_micros(here.due), here.id)
    found = []
    for order in (NEWEST, OLDEST):
        row = _first(_runs(connection, _of_job(here.job_id).add(order.after, *key), order, 1))
        found.append(None if row is None else row.id)
    return found[0], found[1]
