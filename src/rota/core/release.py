"""What may start now: queued runs whose time has come are released, wait, or end — before any worker is chosen."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rota.core import overlap
from rota.core.catch_up import missed_at_release
from rota.core.model import Job, JobId, JobSpec, MissedMode, Overlap, Reason, Run, RunId, RunState, Trigger, Value
from rota.core.run_state import Settle, advance
from rota.core.schedule import Schedule

POLL_WAITING: Final = timedelta(seconds=5)  # a waiting run is woken by its holder's end; this is only the fallback
POLL_LATE: Final = timedelta(seconds=1)  # runs that were planned late are not woken, they look for themselves
PUNCTUAL: Final = timedelta(seconds=2)  # a run created within this of its instant was planned in time
WAITS_BY_POLICY: Final = ("OVERLAP_QUEUED", "REPLACING")


def lets_runs_wait(spec: JobSpec) -> bool:
    """Whether runs of the job may have to wait for each other: by its overlap policy, or because all are caught up."""
    return spec.overlap in (Overlap.QUEUE, Overlap.QUEUE_LATEST, Overlap.REPLACE) or (
        spec.overlap is Overlap.SKIP and spec.missed.mode is MissedMode.RUN_ALL
    )


class Ready(Value):
    """A run that may be given to a worker; `alone`: only while no other run of its job is unfinished."""

    run: Run
    alone: bool


class Released(Value):
    """Decisions about a batch: runs as they shall be written, and runs that may be placed."""

    ready: tuple[Ready, ...] = ()
    settled: tuple[Run, ...] = ()
    waiting: tuple[Run, ...] = ()
    end: dict[RunId, RunId] = {}  # runs to be ended (overlap: replace) → the run that takes their place


class Situation(Value):
    """What is known about the jobs of a batch.

    `holders`: released, unfinished runs by job. `unfinished`: all unfinished runs, only of jobs whose policy lets
    runs wait for each other.
    """

    jobs: Mapping[JobId, Job]
    holders: Mapping[JobId, Sequence[Run]]
    unfinished: Mapping[JobId, Sequence[Run]]


def release(
    runs: Sequence[Run], situation: Situation, schedule_of: Callable[[Job], Schedule], now: datetime
) -> Released:
    """Decide about queued, due runs in the order given; a run released here holds its job against the next ones."""
    ready: list[Ready] = []
    settled: list[Run] = []
    waiting: list[Run] = []
    end: dict[RunId, RunId] = {}
    holders = {job_id: list(held) for job_id, held in situation.holders.items()}
    lines: dict[JobId, list[Run]] = {}
    for run in runs:
        job = situation.jobs.get(run.job_id)
        if job is None or (job.deleted is not None and run.released is None):
            settled.append(_settle(run, RunState.SKIPPED, Reason(code="DELETED"), now))
            continue
        if run.job_id not in lines:
            lines[run.job_id] = overlap.waiting_in_order(situation.unfinished.get(run.job_id, ()), now)
        in_line = lines[run.job_id]
        if missed := _missed(run, job, now, schedule_of):
            settled.append(_settle(run, RunState.MISSED, missed, now))
            _leave(in_line, run)
            continue
        held = [other for other in holders.setdefault(run.job_id, []) if other.id != run.id]
        match overlap.decide(_policy(run, job.spec), run, held, in_line):
            case overlap.Release(alone=alone):
                ready.append(Ready(run=run, alone=alone))
                holders[run.job_id].append(run)
            case overlap.Skip(reason=reason):
                settled.append(_settle(run, RunState.SKIPPED, reason, now))
                _leave(in_line, run)
            case overlap.Wait(reason=reason, end=to_end):
                waiting.append(_wait(run, reason, now))
                end.update(dict.fromkeys(to_end, run.id))
    return Released(ready=tuple(ready), settled=tuple(settled), waiting=tuple(waiting), end=end)


def _policy(run: Run, spec: JobSpec) -> Overlap:
    """The overlap policy for this run.

    Instants that could only be planned late, because nothing was there to plan them, come all at once: no run of the
    job was going when they were due, so none is skipped for that. They go one after the other.
    """
    return Overlap.QUEUE if _was_planned_late(run) and spec.overlap is Overlap.SKIP else spec.overlap


def _was_planned_late(run: Run) -> bool:
    """Whether the run was created long after its instant."""
    return run.trigger is Trigger.SCHEDULE and run.created - run.due > PUNCTUAL


def _missed(run: Run, job: Job, now: datetime, schedule_of: Callable[[Job], Schedule]) -> Reason | None:
    """Why a run that waited for its start for too long is not started any more; None: it is."""
    if run.reason is not None and run.reason.code in WAITS_BY_POLICY:
        return None

    def newer_is_due() -> bool:
        newer = schedule_of(job).next(run.due)
        return newer is not None and newer.due <= now

    return missed_at_release(job.spec, run, newer_is_due, now)


def _leave(line: list[Run], run: Run) -> None:
    """The run is over: nobody behind it waits for it."""
    line[:] = [other for other in line if other.id != run.id]


def _settle(run: Run, state: RunState, reason: Reason, now: datetime) -> Run:
    """The run ended without an attempt."""
    return advance(run, Settle(state=state, at=now, reason=reason))


def _wait(run: Run, reason: Reason, now: datetime) -> Run:
    """The run goes on waiting, and says for what."""
    poll = POLL_LATE if _was_planned_late(run) else POLL_WAITING
    return replace(run, reason=reason, ready_at=now + poll, version=run.version + 1)
