"""The read side as one value: what API, pages and live stream ask. Nothing here takes a lock or changes anything."""

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from rota.clock import Clock
from rota.core.model import Job, JobStats, Run
from rota.core.schedule import Occurrence
from rota.core.zones import zone_info
from rota.server.definitions import Definitions
from rota.server.queries import cursors, filters
from rota.server.queries.references import find_job, find_run, resolve_run
from rota.server.queries.shapes import (
    CountView,
    JobList,
    JobView,
    LedgerList,
    RunList,
    count_view,
    job_view,
    ledger_item,
    maybe_moment,
    moment,
    run_view,
)
from rota.server.queries.upcoming import UpcomingList, job_instants, upcoming
from rota.server.queries.why import Why, why_at, why_run
from rota.store.bundle import Store
from rota.store.views import JobPage, RunPage, RunQuery

LEDGER_WINDOW: Final = timedelta(days=7)
SHOWN_INSTANTS: Final = 5


class Queries:
    """Lists, single things and explanations, over the store's read models."""

    def __init__(self, store: Store, clock: Clock, definitions: Definitions, timezone: str = "UTC") -> None:
        self.store = store
        self.clock = clock
        self._definitions = definitions
        self._zone: ZoneInfo = zone_info(timezone)

    async def job_page(self, q: str, sort: str, cursor: str | None, limit: int) -> JobPage:
        """A page of jobs as values."""
        return await self.store.views.jobs(filters.job_query(q), sort, cursors.decode(sort, cursor), limit)

    async def jobs(self, q: str, sort: str, cursor: str | None, limit: int) -> JobList:
        """A page of jobs."""
        page = await self.job_page(q, sort, cursor, limit)
        active = await self.store.runs.holders([row.job.id for row in page.items])
        return JobList(
            items=[job_view(row.job, row.stats, active=active.get(row.job.id, ())) for row in page.items],
            next=cursors.encode(sort, page.next),
            count=count_view(page.count),
        )

    async def job_and_stats(self, full_name: str) -> tuple[Job, JobStats]:
        """One job with its counters, or NotFound."""
        job = await find_job(self.store, full_name)
        stats = await self.store.runs.stats([job.id])
        return job, stats.get(job.id) or JobStats(job_id=job.id)

    async def job(self, full_name: str, count: int = SHOWN_INSTANTS) -> JobView:
        """One job with its next instants."""
        job, stats = await self.job_and_stats(full_name)
        active = await self.store.runs.holders([job.id])
        upcoming = [occurrence.due for occurrence in self.instants(job, count)]
        return job_view(job, stats, upcoming, active.get(job.id, ()))

    def instants(self, job: Job, count: int) -> list[Occurrence]:
        """The next instants of a job."""
        return job_instants(job, self._definitions, self.clock.now(), count)

    def run_query(self, q: str, since: str | None = None, until: str | None = None) -> RunQuery:
        """The runs a text asks for."""
        return filters.run_query(q, now=self.clock.now(), zone=self._zone, since=since, until=until)

    async def run_page(self, query: RunQuery, sort: str, cursor: str | None, limit: int) -> RunPage:
        """A page of runs as values."""
        return await self.store.views.runs(query, sort, cursors.decode(sort, cursor), limit)

    async def runs(self, query: RunQuery, sort: str, cursor: str | None, limit: int) -> RunList:
        """A page of runs."""
        page = await self.run_page(query, sort, cursor, limit)
        return RunList(
            items=[run_view(run) for run in page.items],
            next=cursors.encode(sort, page.next),
            count=count_view(page.count),
            since=moment(query.since),
            until=maybe_moment(query.until),
        )

    async def run(self, run_id: str) -> Run:
        """One run, or NotFound."""
        return await find_run(self.store, run_id)

    async def resolve(self, reference: str) -> Run:
        """The run a reference means."""
        return await resolve_run(self.store, reference, self.clock.now())

    async def ledger(
        self, full_name: str, since: datetime | None, until: datetime | None, cursor: str | None, limit: int
    ) -> LedgerList:
        """A page of a job's ledger, by default its last seven days."""
        job = await find_job(self.store, full_name, deleted=True)
        end = until or self.clock.now()
        start = since or end - LEDGER_WINDOW
        items, after = await self.store.views.ledger(job.id, start, end, cursors.decode("ledger", cursor), limit)
        complete = after is None and cursor is None
        return LedgerList(
            items=[ledger_item(item) for item in items],
            next=cursors.encode("ledger", after),
            count=CountView(value=len(items), kind="exact" if complete else "at_least"),
        )

    async def upcoming(self, q: str, within: timedelta, limit: int) -> UpcomingList:
        """The next instants of all jobs that `q` asks for."""
        query = filters.job_query(q)
        return await upcoming(self.store, self._definitions, query, now=self.clock.now(), within=within, limit=limit)

    async def why_at(self, full_name: str, instant: datetime) -> Why:
        """Why a job did or did not run at an instant."""
        return await why_at(self.store, self._definitions, full_name, instant, self.clock.now())

    async def why_run(self, run_id: str) -> Why:
        """Why a run is where it is."""
        return await why_run(self.store, run_id, self.clock.now())
