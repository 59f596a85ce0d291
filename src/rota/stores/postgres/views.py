"""Lists and counts for people on PostgreSQL: `rota.store.views.Views`.

Every list is read in the order of an index, up to its limit; runs come from the hot table and from the history, in one
statement, and are merged here. A search that looks at too many rows is stopped by the lane's time limit.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
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
from rota.stores.postgres.dialect import POSTGRES, statement
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.queries import load
from rota.stores.rows import Row, gap_from_row, optional_instant, run_from_row, to_micros

SQL: Final = load("views.sql")
RUNS_SQL: Final = load("runs.sql")
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"


class PostgresViews:
    """Read models."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._job_lists: dict[str, Callable[[Conditions, Key, int], Awaitable[list[Row]]]] = {
            "name": self._jobs_by_name,
            "next": self._jobs_by_next,
            "last": self._jobs_by_last,
        }

    async def jobs(self, query: JobQuery, sort: str, after: Key, limit: int) -> JobPage:
        """Jobs in order of `sort`: "name", "next" (soonest first) or "last" (newest end first)."""
        check_job_sort(sort)
        conditions = job_conditions(query, POSTGRES)
        rows = await self._job_lists[sort](conditions, after, limit + 1)
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
        conditions = run_conditions(query, POSTGRES)
        rest = conditions.copy()
        if after is not None:
            rest.add(order.after, *moment_key(after))
        rows = await self._runs(rest, order, limit + 1, query.states)
        more = len(rows) > limit
        rows = rows[:limit]
        tables = tuple(f"count_{table}" for table in tables_of(query.states))
        count = await self._count(conditions, tables, len(rows), whole=after is None and not more)
        return RunPage(
            items=tuple(run_from_row(row) for row in rows), next=run_key(rows[-1]) if more else None, count=count
        )

    async def ledger(
        self, job: JobId, since: datetime, until: datetime, after: Key, limit: int
    ) -> tuple[list[Run | Gap], Key]:
        """Scheduled runs and gaps of a job, by time."""
        window = (to_micros(since), to_micros(until))
        time, kind, rest = (-1, 0, "") if after is None else ledger_key(after)
        conditions = _of_job(job).add("run.\"trigger\" = 'schedule'").add("run.due >= ? AND run.due <= ?", *window)
        conditions.add(OLDEST.after, time, rest if kind == 1 else _FIRST_ID)
        runs = await self._runs(conditions, OLDEST, limit + 1)
        # A gap comes before a run of the same moment: after such a run, all gaps up to that moment were given.
        gap_after = int(rest or -1) if kind == 0 else LAST
        gaps = await self._lane.rows(SQL["gaps"], job, *window, time, gap_after, limit + 1)
        entries = ledger_entries(runs, gaps)
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
        return _first(await self._runs(conditions, NEWEST, 1, wanted))

    async def run_at(self, job: JobId, moment: datetime) -> Run | Gap | None:
        """The scheduled run whose due or nominal is `moment`: by due, by nominal where that differs, then the gap."""
        at = to_micros(moment)
        for condition in ("run.due = ?", "run.nominal = ? AND run.nominal <> run.due"):
            conditions = _of_job(job).add("run.\"trigger\" = 'schedule'").add(condition, at)
            found = _first(await self._runs(conditions, OLDEST, 1))
            if found is not None:
                return found
        row = await self._lane.row(SQL["gap_at"], job, at)
        return None if row is None else gap_from_row(row)

    async def neighbours(self, run: RunId) -> tuple[RunId | None, RunId | None]:
        """The runs of the same job just before and just after this one, by due."""
        here = _first(await self._lane.rows(RUNS_SQL["by_id"], [run], run, run))
        if here is None:
            raise NotFound(f"there is no run {run}")
        key = (to_micros(here.due), here.id)
        before = _first(await self._runs(_of_job(here.job_id).add(NEWEST.after, *key), NEWEST, 1))
        following = _first(await self._runs(_of_job(here.job_id).add(OLDEST.after, *key), OLDEST, 1))
        return None if before is None else before.id, None if following is None else following.id

    async def summary(self) -> Summary:
        """Counts over everything."""
        row = await self._lane.row(SQL["summary"])
        assert row is not None
        jobs, paused, failing, late, queued, starting, running, oldest, notices = row
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

    async def namespaces(self) -> list[tuple[str, int]]:
        """All namespaces with their number of jobs, by name."""
        return [(namespace, count) for namespace, count in await self._lane.rows(SQL["namespaces"])]

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────────

    async def _jobs_by_name(self, query: Conditions, after: Key, limit: int) -> list[Row]:
        """Rows in order of name."""
        conditions = query.copy()
        if after is not None:
            conditions.add("job.full_name > ?", text_key(after, 1)[0])
        return await self._select(("jobs_by_name",), conditions, limit)

    async def _jobs_by_next(self, query: Conditions, after: Key, limit: int) -> list[Row]:
        """Rows in order of the next instant; those without one come last."""
        conditions = query.copy()
        if after is not None:
            conditions.add("(coalesce(job.next_at, 9223372036854775807), job.id) > (?, ?)", *moment_key(after))
        return await self._select(("jobs_by_next",), conditions, limit)

    async def _jobs_by_last(self, query: Conditions, after: Key, limit: int) -> list[Row]:
        """Rows in order of the last end, newest first; those that never ended come last."""
        rows: list[Row] = []
        never = query.copy()
        if after is None or after[0]:
            ended = query.copy()
            if after is not None:
                last, id_ = moment_key(after)
                ended.add("kept.last_finished < ? OR (kept.last_finished = ? AND kept.job_id > ?)", last, last, id_)
                ended.add("kept.last_finished <= ?", last)
            rows = await self._select(("jobs_by_last",), ended, limit)
        else:
            never.add("job.id > ?", text_key(after, 2)[1])
        if len(rows) < limit:
            rows += await self._select(("jobs_never_ended",), never, limit - len(rows))
        return rows

    async def _runs(
        self, conditions: Conditions, order: Order, limit: int, states: Sequence[RunState] = ()
    ) -> list[Row]:
        """Rows of both tables in order, on one snapshot: a run that moves meanwhile is in one of them."""
        rows = await self._select([f"{table}_{order.name}" for table in tables_of(states)], conditions, limit)
        rows.sort(key=lambda row: (row[DUE], row[0]), reverse=order is NEWEST)
        return rows[:limit]

    async def _count(self, conditions: Conditions, statements: Sequence[str], shown: int, *, whole: bool) -> Count:
        """How many there are in all; `whole`: the page shows everything."""
        if whole:
            return Count(value=shown)
        try:
            value = sum(count for (count,) in await self._select(statements, conditions, COUNTED + 1))
        except TooLarge:
            # The page itself was found in time; that counting all is too much is no reason to withhold it.
            return Count(value=shown, kind="at_least")
        return Count(value=value) if value <= COUNTED else Count(value=COUNTED, kind="at_least")

    async def _select(self, names: Sequence[str], conditions: Conditions, limit: int) -> list[Row]:
        """The rows of statements under conditions, of each up to the limit."""
        sql, parameters = statement(conditions.of(SQL[name], limit) for name in names)
        return await self._lane.rows(sql, *parameters)


def _of_job(job: JobId) -> Conditions:
    return Conditions(POSTGRES).add("run.job_id = ?", job)


def _first(rows: Sequence[Row]) -> Run | None:
    return run_from_row(rows[0]) if rows else None
