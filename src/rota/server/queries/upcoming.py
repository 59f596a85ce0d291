"""What runs next: instants of many jobs in one order, without simulating what is not asked for."""

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta

from rota.core.errors import RotaError
from rota.core.model import Job
from rota.core.schedule import Occurrence
from rota.server.definitions import Definitions
from rota.server.queries.shapes import Moment, View, moment
from rota.store.bundle import Store
from rota.store.views import JobQuery


class Upcoming(View, kw_only=True):
    """One instant to come."""

    job: str
    due: Moment
    nominal: Moment
    timezone: str
    schedule: str | None
    in_seconds: float


class UpcomingList(View, kw_only=True):
    """The instants until `until`, soonest first; `more` says that there are further ones within the time asked for."""

    items: list[Upcoming]
    until: Moment
    more: bool


async def upcoming(
    store: Store, definitions: Definitions, query: JobQuery, *, now: datetime, within: timedelta, limit: int
) -> UpcomingList:
    """The next `limit` instants of the jobs of `query`. A paused job is not planned and has none."""
    until = now + within
    # The k soonest instants belong to at most k jobs: those whose own next one is soonest.
    page = await store.views.jobs(query, "next", None, limit + 1)
    streams = [_instants(row.job, definitions, now, until, limit + 1) for row in page.items]
    merged = heapq.merge(*streams, key=lambda pair: (pair[1].due, pair[0].full_name))
    found = [pair for _, pair in zip(range(limit + 1), merged, strict=False)]
    items = [
        Upcoming(
            job=job.full_name,
            due=moment(occurrence.due),
            nominal=moment(occurrence.nominal),
            timezone=job.spec.timezone,
            schedule=job.spec.schedule or job.spec.at,
            in_seconds=round((occurrence.due - now).total_seconds(), 6),
        )
        for job, occurrence in found[:limit]
    ]
    return UpcomingList(items=items, until=moment(until), more=len(found) > limit)


def job_instants(job: Job, definitions: Definitions, now: datetime, limit: int) -> list[Occurrence]:
    """The next instants of one job; none while it is paused without an end."""
    return [occurrence for _, occurrence in _instants(job, definitions, now, None, limit)]


def _instants(
    job: Job, definitions: Definitions, now: datetime, until: datetime | None, limit: int
) -> Iterator[tuple[Job, Occurrence]]:
    if job.broken is not None or (job.pause is not None and job.pause.until is None):
        return
    after = max(now, job.pause.until) if job.pause is not None and job.pause.until is not None else now
    # Instants that are due but not planned yet are still to come.
    after = min(after, job.cursor) if job.pause is None and job.cursor > now - timedelta(seconds=60) else after
    try:
        schedule = definitions.schedule(job)
        for _ in range(limit):
            occurrence = schedule.next(after)
            if occurrence is None or (until is not None and occurrence.due > until):
                return
            yield job, occurrence
            after = occurrence.due
    except (RotaError, ArithmeticError):
        return
