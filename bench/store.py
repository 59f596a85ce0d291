"""How many whole life cycles of runs the stores take per second, through their contract, full history kept.

    python -m bench.store [--runs 20000] [--batch 500] [--jobs 1000] [--with-reads] [--with-plans] [--profile]

One cycle is create → assign → record (outcome, counters). `--with-reads` adds what a server asks between those:
`waiting` before assign, `reported` before record; `--with-plans` creates by plans, which move cursors. Prints one line
per way of opening a store: SQLite, and each PostgreSQL there is, on disk and with its own settings.
"""

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.postgres.cluster import Cluster, binaries

from rota.clock import SystemClock
from rota.core.ids import job_id, run_id
from rota.core.job_stats import counters_of, fold, written
from rota.core.model import (
    Attempt,
    AttemptState,
    HttpTask,
    Job,
    JobId,
    JobSpec,
    JobStats,
    Run,
    RunState,
    Trigger,
    Worker,
)
from rota.core.run_state import Assign, Ended, advance, on_ended
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, Plan, RunChange
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SPEC = JobSpec(
    task=HttpTask(method="GET", url="https://example.com/rates"), schedule="every day at 03:00", labels={"team": "web"}
)


class Figures:
    """Seconds spent per verb."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def mark(self, verb: str | None = None) -> None:
        """End a stretch; it belongs to `verb`, or to nobody (the benchmark's own work)."""
        now = time.perf_counter()
        if verb is not None:
            self.seconds[verb] = self.seconds.get(verb, 0.0) + now - self._since
        self._since = now


def make_jobs(count: int) -> list[Job]:
    """Jobs of one team."""
    return [
        Job(
            id=job_id("web", f"job-{number}"),
            namespace="web",
            name=f"job-{number}",
            revision=1,
            version=1,
            spec=SPEC,
            cursor=START,
            next_at=START + timedelta(days=1),
            created=START,
            updated=START,
        )
        for number in range(count)
    ]


def make_runs(jobs: list[Job], first: int, count: int) -> list[Run]:
    """One run per job and second."""
    runs = []
    for number in range(first, first + count):
        job = jobs[number % len(jobs)]
        due = START + timedelta(seconds=number // len(jobs))
        runs.append(
            Run(
                id=run_id(job.id, due, Trigger.SCHEDULE, "", due),
                job_id=job.id,
                job=job.full_name,
                revision=1,
                due=due,
                nominal=due,
                trigger=Trigger.SCHEDULE,
                state=RunState.QUEUED,
                kind="http",
                created=due,
                ready_at=due,
            )
        )
    return runs


async def prepare(store: Store, jobs: list[Job]) -> None:
    """Jobs, and a worker."""
    await store.jobs.apply([JobWrite(job=job, expected_version=0) for job in jobs], [])
    worker = Worker(
        name="w1", boot_id="b", session=0, server="s", version="1", connected=START, last_seen=START, cpus=2
    )
    await store.sessions.connect(worker)


async def cycles(
    store: Store, jobs: list[Job], total: int, batch: int, *, reads: bool = False, plans: bool = False
) -> Figures:
    """`total` life cycles in batches; only the store's verbs are timed."""
    figures = Figures()
    stats: dict[JobId, JobStats] = {}
    versions = dict.fromkeys((job.id for job in jobs), 1)
    for first in range(0, total, batch):
        runs = make_runs(jobs, first, batch)
        if plans:
            planned = [plan(run, versions) for run in runs]
            figures.mark()
            assert len(await store.jobs.commit_plan(planned, {})) == len(runs)
            figures.mark("plan")
        else:
            figures.mark()
            runs = await store.runs.create(runs)
            figures.mark("create")
        now = runs[-1].due
        if reads:
            runs = list((await store.runs.waiting(now, {"http": batch}, batch)).runs)
            figures.mark("waiting")
        fence = await store.leases.reserve_fences(batch)
        started = [
            advance(run, Assign(attempt=attempt(fence + place, now), session=1)) for place, run in enumerate(runs)
        ]
        changes = [RunChange(run=run, alone=True) for run in started]
        figures.mark()
        taken = await store.runs.assign(changes, {"w1": 1})
        figures.mark("assign")
        assert len(taken) == len(runs)
        if reads:
            await store.runs.reported([run.id for run in started])
            figures.mark("reported")
        ended = [end(run, now) for run in started]
        before, folded = dict(stats), dict(stats)
        for run in ended:
            folded[run.job_id] = fold(counters_of(run.job_id, folded), run)
        changes = [RunChange(run=run) for run in ended]
        outcome = [written(folded[job_id], before) for job_id in {run.job_id for run in ended}]
        stats.update((one.job_id, one) for one in outcome)
        figures.mark()
        await store.runs.record(changes, outcome, [])
        figures.mark("record")
    return figures


def plan(run: Run, versions: dict[JobId, int]) -> Plan:
    """The move of a job's cursor past a run."""
    version = versions[run.job_id]
    versions[run.job_id] += 1
    return Plan(
        job_id=run.job_id, expected_version=version, cursor=run.due, next_at=run.due + timedelta(days=1), runs=(run,)
    )


def attempt(fence: int, now: datetime) -> Attempt:
    """A first attempt."""
    return Attempt(number=1, fence=fence, worker="w1", state=AttemptState.STARTING, created=now)


def end(run: Run, now: datetime) -> Run:
    """The run after its success."""
    ended = Ended(outcome=AttemptState.SUCCEEDED, started=now, finished=now + timedelta(milliseconds=40), exit=0)
    return advance(run, on_ended(run, ended, SPEC, now, None))  # type: ignore[arg-type]


async def measure(name: str, store: Store, options: argparse.Namespace) -> None:
    """One way of opening a store."""
    jobs = make_jobs(options.jobs)
    await prepare(store, jobs)
    cpu = time.process_time()
    figures = await cycles(
        store, jobs, options.runs, options.batch, reads=options.with_reads, plans=options.with_plans
    )  # fmt: skip
    cpu = time.process_time() - cpu
    seconds = sum(figures.seconds.values())
    parts = "  ".join(f"{verb} {spent / options.runs * 1e6:.1f}" for verb, spent in figures.seconds.items())
    print(f"{name:14} {options.runs / seconds:9,.0f} cycles/s   µs per run: {parts}   (cpu of ours {cpu:.2f} s)")
    await store.close()


async def main(options: argparse.Namespace) -> None:
    """All ways of opening a store."""
    with tempfile.TemporaryDirectory() as folder:
        await measure("sqlite, file", await open_sqlite(Path(folder) / "a.db", clock=SystemClock()), options)
        inline = await open_sqlite(Path(folder) / "b.db", clock=SystemClock(), inline=True)
        await measure("file, inline", inline, options)
    await measure("memory, inline", await open_sqlite(None, clock=SystemClock(), inline=True), options)
    for name, folder_of_binaries in binaries().items():
        with Cluster(folder_of_binaries, on_disk=True) as cluster:
            await measure(name, await open_postgres(cluster.create()), options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--with-reads", action="store_true")
    parser.add_argument("--with-plans", action="store_true")
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    if chosen.profile:
        profile = cProfile.Profile()
        profile.runcall(asyncio.run, main(chosen))
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    else:
        asyncio.run(main(chosen))
