"""What a batch of news about attempts makes of runs, counters and notices. Pure: the recorder commits the result."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random

from msgspec.structs import replace

from rota.core import alerting
from rota.core.definition import repinned
from rota.core.errors import IllegalTransition
from rota.core.job_stats import counters_of, written
from rota.core.model import Job, JobId, JobSpec, JobStats, Notice, Run, RunId, RunState, Value
from rota.core.run_state import Ended, Start, advance, on_ended, on_lost, on_returned


class News(Value):
    """Something about one attempt. `fence` must be the current one, or the news is stale and changes nothing."""

    run_id: RunId
    fence: int


class HasStarted(News):
    """The attempt runs."""

    started: datetime


class WantsPermit(News):
    """An at-most-once attempt is ready; once this is committed it may start."""


class HasEnded(News):
    """The attempt is over."""

    event: Ended
    wrote_output: bool = False


class WasReturned(News):
    """The attempt never started."""

    why: str


class WasLost(News):
    """The worker vanished with the attempt."""


class Known(Value):
    """The hot rows, definitions and counters that the news is about; `spec` finds a run's own revision."""

    runs: Mapping[RunId, Run]
    jobs: Mapping[JobId, Job]
    stats: Mapping[JobId, JobStats]
    specs: Mapping[tuple[JobId, int], JobSpec]


class Recorded(Value):
    """Everything to be committed together, the permits to be given then, and the news that was refused as stale."""

    runs: tuple[Run, ...] = ()
    stats: tuple[JobStats, ...] = ()
    notices: tuple[Notice, ...] = ()
    permitted: tuple[WantsPermit, ...] = ()
    refused: tuple[News, ...] = ()


def decide(news: Sequence[News], known: Known, now: datetime, rng: Random) -> Recorded:
    """Take the news in order; of several about one run the later see what the earlier made of it."""
    runs: dict[RunId, Run] = {}
    stats = dict(known.stats)
    notices: list[Notice] = []
    permitted: list[WantsPermit] = []
    refused: list[News] = []
    touched: dict[JobId, None] = {}
    for one in news:
        run = runs.get(one.run_id) or known.runs.get(one.run_id)
        job = known.jobs.get(run.job_id) if run else None
        if run is None or job is None or run.current is None or run.fence != one.fence:
            refused.append(one)
            continue
        try:
            after = _after(run, one, known.specs.get((run.job_id, run.revision), job.spec), now, rng)
            if isinstance(one, WasReturned) and after is not None:
                after = _under_present_definition(after, job)
        except IllegalTransition:
            refused.append(one)  # it makes no sense where the run stands; the rest of the batch does
            continue
        if after is None:
            continue
        runs[run.id] = after
        if isinstance(one, WantsPermit):
            permitted.append(one)
        if after.state.is_final:
            wrote = isinstance(one, HasEnded) and one.wrote_output
            stats[job.id], told = alerting.on_end(job, counters_of(job.id, stats), after, wrote, now)
            touched[job.id] = None
            notices += told
    return Recorded(
        runs=tuple(replace(run, version=known.runs[run.id].version + 1) for run in runs.values()),
        stats=tuple(written(stats[job_id], known.stats) for job_id in touched),
        notices=tuple(notices),
        permitted=tuple(permitted),
        refused=tuple(refused),
    )


def settle(runs: Sequence[Run], jobs: Mapping[JobId, Job], stats: Mapping[JobId, JobStats], now: datetime) -> Recorded:
    """Counters and notices for runs that ended without news of a worker (skipped, missed, cancelled in the queue)."""
    counters = dict(stats)
    notices: list[Notice] = []
    touched: dict[JobId, None] = {}
    for run in runs:
        job = jobs.get(run.job_id)
        if job is None:
            continue
        counters[job.id], told = alerting.on_end(job, counters_of(job.id, counters), run, False, now)
        touched[job.id] = None
        notices += told
    after = tuple(written(counters[job_id], stats) for job_id in touched)
    return Recorded(runs=tuple(runs), stats=after, notices=tuple(notices))


def _after(run: Run, news: News, spec: JobSpec, now: datetime, rng: Random) -> Run | None:
    """The run after one piece of news; None when it changes nothing (a report that came twice)."""
    match news:
        case HasStarted(started=started):
            return advance(run, Start(started=started)) if run.state is RunState.STARTING else None
        case WantsPermit():
            wanted = run.state is RunState.STARTING and run.cancel is None
            return advance(run, Start(started=now)) if wanted else None
        case HasEnded(event=event):
            return advance(run, on_ended(run, _bounded(event, run, now), spec, now, rng))
        case WasReturned(why=why):
            return advance(run, on_returned(run, why, now))
        case WasLost():
            return advance(run, on_lost(run, spec, now))
        case _:
            raise TypeError(f"unknown news {type(news).__name__}")


def _under_present_definition(run: Run, job: Job) -> Run:
    """A run that came back unstarted follows the changes that the job has seen meanwhile."""
    waits = run.state is RunState.QUEUED and not run.attempts
    return repinned(run, job) if waits and run.revision != job.revision and job.deleted is None else run


def _bounded(event: Ended, run: Run, now: datetime) -> Ended:
    """Instants as a worker's clock tells them, kept between the order and the present."""
    created = run.current.created if run.current else run.created
    started = None if event.started is None else min(max(event.started, created), now)
    finished = min(max(event.finished, started or created), now)
    return replace(event, started=started, finished=finished)
