"""What may start now: queued runs whose time has come are released, wait, or end — before any worker is chosen.

A run that nothing can stand in the way of may be given to a worker a little ahead of its time, and is released by that:
it is *staged*. Whatever comes in between asks it back.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rota.core import overlap
from rota.core.catch_up import missed_at_release
from rota.core.model import (
    Delivery,
    Job,
    JobId,
    JobSpec,
    MissedMode,
    Overlap,
    Reason,
    Run,
    RunId,
    RunState,
    Trigger,
    Value,
)
from rota.core.run_state import Settle, advance
from rota.core.schedule import Schedule

POLL_WAITING: Final = timedelta(seconds=5)  # a waiting run is woken by its holder's end; this is only the fallback
POLL_ASKED_BACK: Final = timedelta(seconds=0.25)  # a worker answers at once, or is not there
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
    ask_back: tuple[Run, ...] = ()  # staged runs that must make room, as they shall be written


class Situation(Value):
    """What is known about the jobs of a batch.

    `holders`: released, unfinished runs by job. `unfinished`: all unfinished runs, only of jobs whose policy lets
    runs wait for each other, or of which a run was planned late. `restored`: the store is suspected to be older than
    what was done with it.
    """

    jobs: Mapping[JobId, Job]
    holders: Mapping[JobId, Sequence[Run]]
    unfinished: Mapping[JobId, Sequence[Run]]
    restored: bool = False


class InLine(Value):
    """An unfinished run in short: as much as decides whether another of its job may go before it."""

    id: RunId
    due: datetime
    is_released: bool
    version: int


def may_stage(run: Run, job: Job, line: Sequence[InLine]) -> bool:
    """Whether a queued run may be given to a worker before it is due.

    `line` are all unfinished runs of its job. Nothing of the job may be under way or due before it, unless its
    policy lets runs overlap; an at-most-once run is never started without a word from the server.
    """
    spec = job.spec
    if job.pause is not None or job.deleted is not None or spec.delivery is Delivery.AT_MOST_ONCE:
        return False
    if run.state is not RunState.QUEUED or run.released is not None or run.revision != job.revision:
        return False
    return spec.overlap is Overlap.ALLOW or all(
        other.id == run.id or (not other.is_released and other.due > run.due) for other in line
    )


def release(
    runs: Sequence[Run], situation: Situation, schedule_of: Callable[[Job], Schedule], now: datetime
) -> Released:
    """Decide about queued, due runs in the order given; a run released here holds its job against the next ones."""
    ready: list[Ready] = []
    settled: list[Run] = []
    waiting: list[Run] = []
    end: dict[RunId, RunId] = {}
    ask_back: dict[RunId, Run] = {}
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
        if situation.restored and job.spec.delivery is Delivery.AT_MOST_ONCE:
            waiting.append(_wait(run, Reason(code="RESTORE_HELD"), now))
            continue
        held = [other for other in holders.setdefault(run.job_id, []) if other.id != run.id]
        early = [other for other in held if other.is_staged(now)]
        held = [other for other in held if other not in early]
        if early and not held and not _goes_beside(run, job.spec):
            waiting.append(_wait(run, Reason(code="ASKED_BACK", params={"holder": early[0].id}), now))
            ask_back.update((other.id, _ask_back(other, run)) for other in early if other.withdrawn is None)
            continue
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
    return Released(
        ready=tuple(ready),
        settled=tuple(settled),
        waiting=tuple(waiting),
        end=end,
        ask_back=tuple(ask_back.values()),
    )


def _goes_beside(run: Run, spec: JobSpec) -> bool:
    """Whether the run goes on whatever else of its job is under way."""
    return spec.overlap is Overlap.ALLOW or run.released is not None


def _ask_back(staged: Run, due: Run) -> Run:
    """The staged run, asked back to let one go first that is due already."""
    return replace(staged, withdrawn=Reason(code="MADE_ROOM", params={"by": due.id}), version=staged.version + 1)


def _policy(run: Run, spec: JobSpec) -> Overlap:
    """The overlap policy for this run.

    Instants that could only be planned late, because nothing was there to plan them, come all at once: no run of the
    job was going when they were due, so none is skipped for that. They go one after the other.
    """
    return Overlap.QUEUE if was_planned_late(run) and spec.overlap is Overlap.SKIP else spec.overlap


def was_planned_late(run: Run) -> bool:
    """Whether the run was created long after its instant: then it may have to wait for others of its job."""
    return run.trigger is Trigger.SCHEDULE and run.created - run.due > PUNCTUAL


def _missed(run: Run, job: Job, now: datetime, schedule_of: Callable[[Job], Schedule]) -> Reason | None:
    """Why a run that waited for its start for too long is not started any more; None: it is."""
    if run.reason is not None and run.reason.code in WAITS_BY_POLICY and _policy(run, job.spec) is job.spec.overlap:
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
    poll = POLL_LATE if was_planned_late(run) else POLL_WAITING
    if reason.code == "ASKED_BACK":
        poll = POLL_ASKED_BACK
    return replace(run, reason=reason, ready_at=now + poll, version=run.version + 1)
