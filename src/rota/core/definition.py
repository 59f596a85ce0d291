"""Changes of a job's definition, as decisions: create, edit, delete, pause, resume.

Each first answers the instants up to now under the old definition, so that no instant falls between two revisions,
and then says what becomes of runs that wait. Runs that were released (running, or between two tries) keep their
revision and go on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from rota.core import catch_up
from rota.core.ids import job_id
from rota.core.model import Gap, Job, JobSpec, Pause, Reason, Run, RunState, Trigger, Value
from rota.core.run_state import Settle, advance
from rota.core.schedule import Schedule

Each = Callable[[Run], Run]


class Change(Value):
    """A definition as it shall be, what answers its instants up to now, and what becomes of waiting runs.

    `expected_version` is what the stored job must still have; 0: it must not exist, or be deleted.
    """

    job: Job
    expected_version: int = 0
    runs: tuple[Run, ...] = ()
    gaps: tuple[Gap, ...] = ()
    waiting: tuple[Run, ...] = ()

    @property
    def ended(self) -> list[Run]:
        """The runs that end by this change."""
        return [run for run in (*self.runs, *self.waiting) if run.state.is_final]


def create(
    full_name: str, spec: JobSpec, schedule: Schedule, *, source: str | None, by: str, before: Job | None, now: datetime
) -> Change:
    """A new job, or one that was deleted (`before`) and comes back with its history; planned from now on."""
    namespace, _, name = full_name.partition("/")
    pause = Pause(since=now, by=by, reason="starts paused") if spec.paused else None
    cursor = max(now, before.cursor) if before else now  # a clock that was set back repeats no instant
    upcoming = schedule.next(cursor)
    job = Job(
        id=job_id(namespace, name),
        namespace=namespace,
        name=name,
        revision=before.revision + 1 if before else 1,
        version=before.version + 1 if before else 1,
        spec=spec,
        cursor=cursor,
        next_at=upcoming.due if upcoming and pause is None else None,
        created=now,
        updated=now,
        source=source,
        pause=pause,
    )
    return Change(job=job, runs=_ahead(job, schedule, now))


def edit(
    job: Job, old: Schedule, spec: JobSpec, new: Schedule, *, source: str | None, waiting: Sequence[Run], now: datetime
) -> Change:
    """The job with another definition. Waiting runs move to it if their instant is still in its schedule."""
    move = catch_up.settle(job, old, now)
    revision = job.revision + 1
    edited = replace(job, spec=spec, revision=revision, source=source, updated=now, broken=None)
    edited = _moved(edited, move, new)

    def repin(run: Run) -> Run:
        if run.trigger is Trigger.SCHEDULE and not _in_schedule(run, new):
            return _skip(run, Reason(code="EDITED", params={"revision": revision}), now)
        if run.trigger is Trigger.SCHEDULE and spec.shadow:
            return _skip(run, Reason(code="SHADOW"), now)
        if run.state is not RunState.QUEUED:
            return _withdraw(run, Reason(code="REPINNED", params={"revision": revision}))
        return repinned(run, edited, job.spec)

    change = _change(job, edited, move, waiting, repin)
    return replace(change, runs=(*change.runs, *_ahead(edited, new, now)))


def repinned(run: Run, job: Job, before: JobSpec | None = None) -> Run:
    """A waiting run under the job's present definition; `before` is the one it was under so far."""
    spec = job.spec
    moved = replace(run, revision=job.revision, kind=catch_up.task_kind(spec), version=run.version + 1)
    if run.trigger is not Trigger.SCHEDULE:
        return moved
    # That it is late is said once.
    said = run.late_at is None and before is not None and before.late_after is not None
    return replace(moved, params=spec.params, late_at=None if said else catch_up.late_at(spec, run.due))


def delete(job: Job, schedule: Schedule, *, waiting: Sequence[Run], now: datetime) -> Change:
    """The job deleted: nothing of it starts any more, its history stays, what runs goes on to its end."""
    move = catch_up.settle(job, schedule, now)
    deleted = replace(_moved(job, move, schedule), deleted=now, updated=now, next_at=None, pause=None)
    return _change(job, deleted, move, waiting, lambda run: _skip(run, Reason(code="DELETED"), now))


def pause(
    job: Job, schedule: Schedule, *, until: datetime | None, why: str, by: str, waiting: Sequence[Run], now: datetime
) -> Change:
    """The job paused, or its pause changed; scheduled runs that wait are skipped."""
    move = catch_up.settle(job, schedule, now)
    since = job.pause.since if job.pause else now
    why = why or (job.pause.reason if job.pause else "")  # paused again without a reason: the old one still holds
    paused = Pause(since=since, by=by, reason=why, until=until)
    held = replace(_moved(job, move, schedule), pause=paused, next_at=catch_up.look_again(paused))
    reason = _paused(job.full_name, paused)

    def skip(run: Run) -> Run:
        if run.trigger is not Trigger.SCHEDULE:
            return run
        return _skip(run, reason, now)

    return _change(job, held, move, waiting, skip)


def resume(job: Job, schedule: Schedule, *, now: datetime) -> Change:
    """The job planned again from now on; one gap answers the instants of the pause."""
    move = catch_up.settle(job, schedule, now)
    upcoming = schedule.next(max(now, move.cursor))
    resumed = replace(_moved(job, move, schedule), pause=None, next_at=upcoming.due if upcoming else None)
    return _change(job, resumed, move, (), lambda run: run)


def _moved(job: Job, move: catch_up.Move, schedule: Schedule) -> Job:
    """The job after its cursor's move, with its version raised."""
    upcoming = schedule.next(move.cursor) if move.pause is None else None
    next_at = catch_up.look_again(move.pause) if move.pause else (upcoming.due if upcoming else None)
    return replace(job, cursor=move.cursor, next_at=next_at, pause=move.pause, version=job.version + 1)


def _ahead(job: Job, schedule: Schedule, now: datetime) -> tuple[Run, ...]:
    """Rows of a new definition for the stretch that was planned ahead under the old one.

    Of an instant that both have there is a row already, and the store keeps it. A cursor that is further ahead than
    another server's clock explains is what a clock that was set back left behind: those instants have been.
    """
    if not now < job.cursor <= now + catch_up.LOOKAHEAD + catch_up.CLOCKS_APART:
        return ()
    planned = catch_up.plan(replace(job, cursor=now, pause=None), schedule, now, job.cursor - now).runs
    if job.pause is None:
        return planned
    reason = _paused(job.full_name, job.pause)
    return tuple(_fresh(run, _skip(run, reason, now)) if run.state is RunState.QUEUED else run for run in planned)


def _paused(full_name: str, pause: Pause) -> Reason:
    """Why a run of a paused job does not start."""
    why = f": {pause.reason}" if pause.reason else ""
    return Reason(code="PAUSED", params={"by": pause.by, "why": why, "job": full_name})


def _change(job: Job, after: Job, move: catch_up.Move, waiting: Sequence[Run], each: Each) -> Change:
    """Apply `each` to the waiting runs, stored and just created alike."""
    runs = tuple(_fresh(run, each(run)) if run.state is RunState.QUEUED else run for run in move.runs)
    changed = tuple(new for run in waiting if (new := each(run)) is not run)
    return Change(job=after, expected_version=job.version, runs=runs, gaps=move.gaps, waiting=changed)


def _fresh(created: Run, changed: Run) -> Run:
    """A run that is not stored yet keeps its first version whatever is done to it."""
    return replace(changed, version=created.version)


def _withdraw(run: Run, reason: Reason) -> Run:
    """The run asked back from the worker that would start it when it is due."""
    return replace(run, withdrawn=reason, version=run.version + 1)


def _skip(run: Run, reason: Reason, now: datetime) -> Run:
    """The waiting run, skipped; one between two tries is cancelled, one with a worker already is asked back."""
    if run.state is not RunState.QUEUED:
        return _withdraw(run, reason)
    state = RunState.SKIPPED if run.released is None else RunState.CANCELLED
    return replace(advance(run, Settle(state=state, at=now, reason=reason)), late_at=None)


def _in_schedule(run: Run, schedule: Schedule) -> bool:
    """Whether the run's instant is one of the schedule's."""
    found = schedule.previous(run.due)
    return found is not None and found.due == run.due
