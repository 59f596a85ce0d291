"""Storage contract: lists and counts for people. Keyset-paged, bounded in time, never a page number.

A cursor is the sort key and id of the last row given; the caller encodes it. Counts are exact up to 10,000.
"""

from datetime import datetime
from typing import Protocol

from rota.core.model import Gap, Job, JobId, JobStats, Run, RunId, RunState, Trigger, Value


class JobRow(Value):
    """A job with its counters."""

    job: Job
    stats: JobStats


class JobQuery(Value):
    """Which jobs. Tuples are ORed inside, fields are ANDed; `not_` fields exclude. Globs know `*` only."""

    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # globs over ns/name; without a slash: over the name
    not_names: tuple[str, ...] = ()
    last_states: tuple[RunState, ...] = ()
    conditions: tuple[str, ...] = ()  # "paused", "failing", "late", "broken", "new", "shadow"
    labels: dict[str, str] = {}
    owner: str | None = None
    text: str | None = None  # substring of name, title or schedule, case-insensitive
    source: str | None = None


class RunQuery(Value):
    """Which runs; as JobQuery. `since` is required of callers so that every list is bounded in time.

    Both ends belong to it: since ≤ due ≤ until. A run that has not ended is neither longer nor shorter than anything.
    """

    since: datetime
    until: datetime | None = None
    namespaces: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()  # globs over ns/name
    not_jobs: tuple[str, ...] = ()
    states: tuple[RunState, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    workers: tuple[str, ...] = ()
    exits: tuple[int, ...] = ()
    longer_than: float | None = None  # seconds from start to end
    shorter_than: float | None = None
    text: str | None = None  # substring of the last error, case-insensitive


class Count(Value):
    """How many: exact, or at least that many."""

    value: int
    kind: str = "exact"  # "exact" | "at_least"


class JobPage(Value):
    """A page of jobs; `next` is the sort key to go on after, None at the end."""

    items: tuple[JobRow, ...]
    next: tuple[str, ...] | None
    count: Count


class RunPage(Value):
    """A page of runs; `next` is the sort key (microseconds of due, id) to go on after, None at the end."""

    items: tuple[Run, ...]
    next: tuple[str, ...] | None
    count: Count


class Summary(Value):
    """The installation at a glance."""

    jobs: int
    paused: int
    failing: int
    late: int
    queued: int
    starting: int
    running: int
    oldest_queued: datetime | None = None  # ready_at of the oldest queued run
    pending_notices: int = 0


class Views(Protocol):
    """Read models. None of these takes a lock or waits for the writer."""

    async def jobs(self, query: JobQuery, sort: str, after: tuple[str, ...] | None, limit: int) -> JobPage:
        """Jobs in order of `sort`: "name", "next" (soonest first) or "last" (newest end first)."""

    async def runs(self, query: RunQuery, sort: str, after: tuple[str, ...] | None, limit: int) -> RunPage:
        """Runs, hot and history, in order of `sort`: "-due" (newest first) or "due"."""

    async def ledger(
        self, job: JobId, since: datetime, until: datetime, after: tuple[str, ...] | None, limit: int
    ) -> tuple[list[Run | Gap], tuple[str, ...] | None]:
        """Runs with trigger `schedule` and gaps of a job with since ≤ due ≤ until (gaps that overlap it), by time."""

    async def last_run(
        self, job: JobId, states: tuple[RunState, ...] | None = None, due_by: datetime | None = None
    ) -> Run | None:
        """The newest run of a job by due (of these states, due by then, when given), unfinished ones included."""

    async def run_at(self, job: JobId, moment: datetime) -> Run | Gap | None:
        """The scheduled run whose due or nominal is exactly `moment`, else the gap that covers it."""

    async def neighbours(self, run: RunId) -> tuple[RunId | None, RunId | None]:
        """The runs of the same job just before and just after this one, by due."""

    async def summary(self) -> Summary:
        """Counts over everything."""

    async def namespaces(self) -> list[tuple[str, int]]:
        """All namespaces with their number of jobs, by name."""
