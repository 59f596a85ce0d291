"""Values for tests of stores: a job, a run, a worker, with only what a test wants different."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from rota.core.ids import job_id, run_id
from rota.core.model import (
    Attempt,
    AttemptState,
    Gap,
    HttpTask,
    Job,
    JobId,
    JobSpec,
    JobStats,
    Notice,
    OutputChunk,
    OutputLine,
    Reason,
    Run,
    RunId,
    RunState,
    Server,
    Trigger,
    Worker,
)
from rota.store.bundle import Store
from rota.store.jobs import AuditEntry, JobWrite, RunChange

PassTime = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass on the store's clock."""

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SPEC = JobSpec(task=HttpTask(method="GET", url="https://example.com/"), schedule="every day at 03:00")


def after(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def make_job(name: str = "web/fetch", **changes: Any) -> Job:
    """A job due at noon."""
    namespace, _, short = name.partition("/")
    job = Job(
        id=job_id(namespace, short),
        namespace=namespace,
        name=short,
        revision=1,
        version=1,
        spec=SPEC,
        cursor=after(-60),
        next_at=NOON,
        created=after(-60),
        updated=after(-60),
    )
    return replace(job, **changes)


def make_run(job: Job, due: datetime = NOON, **changes: Any) -> Run:
    """A queued run of a job."""
    trigger = changes.get("trigger", Trigger.SCHEDULE)
    key = changes.get("key", "")
    created = changes.get("created", due)
    run = Run(
        id=run_id(job.id, due, trigger, key, created),
        job_id=job.id,
        job=job.full_name,
        revision=job.revision,
        due=due,
        nominal=due,
        trigger=trigger,
        state=RunState.QUEUED,
        kind="http",
        created=created,
        ready_at=due,
    )
    return replace(run, **changes)


def starting(run: Run, *, worker: str = "w1", session: int = 1, fence: int = 7) -> Run:
    """The run given to a worker."""
    attempt = Attempt(
        number=run.attempt + 1, fence=fence, worker=worker, state=AttemptState.STARTING, created=run.ready_at
    )
    return replace(
        run,
        state=RunState.STARTING,
        current=attempt,
        session=session,
        released=run.released or run.ready_at,
        version=run.version + 1,
    )


def finished(run: Run, state: RunState = RunState.SUCCEEDED, *, at: datetime | None = None, **changes: Any) -> Run:
    """The run at its end."""
    end = at or run.due + timedelta(seconds=1)
    ended = replace(run, state=state, finished=end, current=None, version=run.version + 1)
    if run.current is not None:
        final = AttemptState.FAILED if state is RunState.FAILED else AttemptState.SUCCEEDED
        error = changes.pop("error", None)
        attempt = replace(run.current, state=final, finished=end, exit=changes.pop("exit", 0), error=error)
        ended = replace(ended, attempts=(*run.attempts, attempt), started=run.started or run.due)
    return replace(ended, **changes)


def make_gap(job: Job, start: datetime, end: datetime, count: int = 3) -> Gap:
    """Instants nobody answered one by one."""
    reason = Reason(code="CATCHUP_SKIPPED", params={"policy": "skip"})
    return Gap(job_id=job.id, after=start, until=end, count=count, reason=reason, created=end)


def make_worker(name: str = "w1", **changes: Any) -> Worker:
    """A connected worker."""
    worker = Worker(
        name=name,
        boot_id="boot-1",
        session=0,
        server="server-1",
        version="0.1.0",
        labels={"site": "fra"},
        capacity={"http": 200},
        cpus=2,
        memory=2**33,
        connected=NOON,
        last_seen=NOON,
    )
    return replace(worker, **changes)


def make_notice(id_: str, created: datetime = NOON, **changes: Any) -> Notice:
    """A notice to send."""
    return replace(Notice(id=id_, event="failed", route="mail:ops", created=created, thread="t"), **changes)


def make_stats(job: JobId, **fields: Any) -> JobStats:
    """Counters as they are first written."""
    return JobStats(**{"job_id": job, "version": 1, **fields})


def make_chunk(run: RunId, sequence: int, first_line: int, *texts: str, attempt: int = 1) -> OutputChunk:
    """A chunk with these lines."""
    lines = tuple(OutputLine(first_line + place, 0, f"{text}\n".encode()) for place, text in enumerate(texts))
    return OutputChunk(
        run_id=run, attempt=attempt, sequence=sequence, first_line=first_line, offset=first_line * 10, lines=lines
    )


def audit(verb: str = "job.apply", what: str = "web/fetch", actor: str = "ann") -> AuditEntry:
    """Somebody did something."""
    return AuditEntry(at=NOON, actor=actor, verb=verb, object=what)


def make_server(id_: str = "server-1", **changes: Any) -> Server:
    """A server that is about to join."""
    server = Server(
        id=id_, name=f"{id_}:8700", url="", version="0.1.0", started=LONG_AGO, renewed=LONG_AGO, lease_until=LONG_AGO
    )
    return replace(server, **changes)


async def lead(store: Store, server: str = "server-1", *, alone: bool = True) -> dict[int, int]:
    """Let a server lead all shards it can get; `alone` ends the leases of all others first."""
    await store.leases.join(make_server(server), 1000.0, alone=alone)
    shards = (await store.leases.standing()).shards
    await store.leases.take(server, {shard.number: shard.epoch for shard in shards})
    return {shard.number: shard.epoch for shard in (await store.leases.standing()).shards if shard.server == server}


async def add_jobs(store: Store, *jobs: Job) -> None:
    """Put jobs there."""
    await store.jobs.apply([JobWrite(job=job, expected_version=0) for job in jobs], [])


async def start_and_finish(store: Store, *ended: Run) -> None:
    """Create runs and record their ends: each given run is as it shall be at last."""
    queued = [
        replace(
            run, state=RunState.QUEUED, finished=None, started=None, attempts=(), current=None, version=run.version - 1
        )
        for run in ended
    ]
    await store.runs.create(queued)
    await store.runs.record([RunChange(run=run) for run in ended], [], [])
