"""What answers the instants a job's cursor passes: runs, missed runs, a gap row. Pure arithmetic, no outage is walked.

The cursor goes up to LOOKAHEAD beyond the present: a run that is on record before it is due can be with its worker when
it is due. What a change of the definition means for that stretch is the business of `core.definition`.

Instants up to LATE_LIMIT old are only late and are queued. Older ones follow the job's `missed` policy; at most
ROWS_PER_CATCH_UP of those that are not run get rows of their own (the newest), the rest is one gap row.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rota.core.errors import RotaError
from rota.core.ids import run_id
from rota.core.model import Gap, Job, JobSpec, MissedMode, MissedPolicy, Pause, Reason, Run, RunState, Trigger, Value
from rota.core.schedule import Occurrence, Schedule
from rota.core.units import format_duration

LOOKAHEAD: Final = timedelta(seconds=2.5)  # half a second off: most instants are whole seconds, and starts come first
CLOCKS_APART: Final = timedelta(seconds=2)  # by so much what servers take for the store's time may differ
LATE_LIMIT: Final = timedelta(seconds=60)
ROWS_PER_CATCH_UP: Final = 100
NOTHING: Final = timedelta(0)


class Move(Value):
    """The move of a job's cursor with what answers the instants it passes."""

    cursor: datetime
    next_at: datetime | None
    pause: Pause | None = None
    broken: str | None = None
    runs: tuple[Run, ...] = ()
    gaps: tuple[Gap, ...] = ()


def plan(job: Job, schedule: Schedule, now: datetime, ahead: timedelta = NOTHING) -> Move:
    """Answer every instant up to `now` and `ahead` beyond it; a pause that has run out ends here.

    Raises what the schedule raises when it cannot be computed; `broken` makes a Move of that.
    """
    horizon = now + ahead
    pause = job.pause
    if pause is not None and (pause.until is None or pause.until > now):
        return Move(cursor=job.cursor, next_at=look_again(pause), pause=pause)
    cursor = job.cursor
    gaps: list[Gap] = []
    if pause is not None and pause.until is not None:
        gaps += _gap(job, schedule, cursor, pause.until, _paused(job, pause), now)
        cursor = max(cursor, pause.until)
    if horizon <= cursor:
        return Move(cursor=cursor, next_at=_next(schedule, cursor), gaps=tuple(gaps))
    if job.spec.shadow:
        runs, gap = _rows_and_gap(job, schedule, (cursor, horizon), RunState.SKIPPED, Reason(code="SHADOW"), now)
    else:
        runs, gap = _caught_up(job, schedule, cursor, horizon, now)
    return Move(cursor=horizon, next_at=_next(schedule, horizon), runs=tuple(runs), gaps=(*gaps, *gap))


def settle(job: Job, schedule: Schedule, now: datetime) -> Move:
    """As `plan`, but a pause that still holds answers its instants so far with a gap, and goes on.

    Used before the definition changes: the instants up to now belong to the old one.
    """
    pause = job.pause
    if pause is None or (pause.until is not None and pause.until <= now):
        return plan(job, schedule, now)
    gaps = _gap(job, schedule, job.cursor, now, _paused(job, pause), now)
    return Move(cursor=max(job.cursor, now), next_at=look_again(pause), pause=pause, gaps=tuple(gaps))


def look_again(pause: Pause) -> datetime | None:
    """The `next_at` of a paused job. Planners look LOOKAHEAD early, and a pause is not to end before its time."""
    return None if pause.until is None else pause.until + LOOKAHEAD


def broken(job: Job, error: Exception) -> Move:
    """A job whose schedule cannot be computed, set aside with its cursor where it is; the others go on."""
    detail = error.detail if isinstance(error, RotaError) else f"{type(error).__name__}: {error}"
    return Move(cursor=job.cursor, next_at=None, pause=job.pause, broken=detail)


def new_run(job: Job, occurrence: Occurrence, created: datetime) -> Run:
    """The queued run that answers one instant of the schedule."""
    return Run(
        id=run_id(job.id, occurrence.due, Trigger.SCHEDULE, "", created),
        job_id=job.id,
        job=job.full_name,
        revision=job.revision,
        due=occurrence.due,
        nominal=occurrence.nominal,
        trigger=Trigger.SCHEDULE,
        state=RunState.QUEUED,
        kind=task_kind(job.spec),
        created=created,
        ready_at=occurrence.due,
        late_at=late_at(job.spec, occurrence.due),
        params=job.spec.params,
    )


def late_at(spec: JobSpec, due: datetime) -> datetime | None:
    """When a run due then counts as late."""
    return None if spec.late_after is None else due + timedelta(seconds=spec.late_after)


def task_kind(spec: JobSpec) -> str:
    """What a worker must be able to run: "http", "shell" or "python"."""
    kind = spec.task.__struct_config__.tag
    return str(kind)


def policy_words(policy: MissedPolicy) -> str:
    """The policy as it is written in a job file."""
    words = policy.mode.value
    if policy.mode is not MissedMode.SKIP and policy.within is not None:
        words += f" within {format_duration(policy.within)}"
    if policy.mode is MissedMode.RUN_ALL:
        words += f" at most {policy.at_most}"
    return words


def missed_at_release(spec: JobSpec, run: Run, newer_is_due: Callable[[], bool], now: datetime) -> Reason | None:
    """Why a scheduled run that was planned in time and never started is not run any more; None: run it.

    `newer_is_due` tells whether a later instant of the job is due already; it is asked only when that matters.
    """
    age = now - run.due
    if run.trigger is not Trigger.SCHEDULE or run.released is not None or age <= LATE_LIMIT:
        return None
    policy = spec.missed
    if policy.within is not None and age.total_seconds() > policy.within:
        allowed = False
    elif policy.mode is MissedMode.RUN_LATEST:
        allowed = not newer_is_due()
    else:
        allowed = policy.mode is MissedMode.RUN_ALL
    if allowed:
        return None
    late = format_duration(int(age.total_seconds()))
    return Reason(code="TOO_LATE", params={"policy": policy_words(policy), "late": late})


def _caught_up(
    job: Job, schedule: Schedule, cursor: datetime, horizon: datetime, now: datetime
) -> tuple[list[Run], list[Gap]]:
    """Runs for what is due or soon will be, the missed policy for what is old."""
    border = max(cursor, _before(now - LATE_LIMIT))  # one of exactly that age is still only late
    fresh = schedule.between(border, horizon, limit=10**6)
    queued = [new_run(job, occurrence, now) for occurrence in fresh]
    if border <= cursor:
        return queued, []
    has_newer = bool(fresh) and fresh[0].due <= now
    chosen = _chosen(job.spec.missed, schedule, cursor, border, now, has_newer=has_newer)
    catch_up = Reason(code="CATCH_UP", params={"policy": policy_words(job.spec.missed)})
    runs = [_with(new_run(job, occurrence, now), RunState.QUEUED, catch_up, None) for occurrence in chosen]
    end = _before(chosen[0].due) if chosen else border
    skipped = Reason(code="CATCHUP_SKIPPED", params={"policy": policy_words(job.spec.missed)})
    missed, gaps = _rows_and_gap(job, schedule, (cursor, end), RunState.MISSED, skipped, now)
    return [*missed, *runs, *queued], gaps


def _chosen(
    policy: MissedPolicy, schedule: Schedule, cursor: datetime, border: datetime, now: datetime, *, has_newer: bool
) -> Sequence[Occurrence]:
    """Which old instants in (cursor, border] are run, oldest first."""
    oldest = cursor if policy.within is None else max(cursor, now - timedelta(seconds=policy.within))
    match policy.mode:
        case MissedMode.SKIP:
            return ()
        case MissedMode.RUN_LATEST:
            return () if has_newer or oldest >= border else schedule.latest(oldest, border, 1)
        case MissedMode.RUN_ALL:
            return () if oldest >= border else schedule.latest(oldest, border, policy.at_most)


def _rows_and_gap(
    job: Job, schedule: Schedule, span: tuple[datetime, datetime], state: RunState, reason: Reason, now: datetime
) -> tuple[list[Run], list[Gap]]:
    """Rows for the newest instants of the span (from exclusive, to inclusive), one gap row for the rest."""
    start, end = span
    if end <= start:
        return [], []
    rows = schedule.latest(start, end, ROWS_PER_CATCH_UP)
    runs = [_with(new_run(job, occurrence, now), state, reason, now) for occurrence in rows]
    if len(rows) < ROWS_PER_CATCH_UP:
        return runs, []
    return runs, _gap(job, schedule, start, _before(rows[0].due), reason, now)


def _with(run: Run, state: RunState, reason: Reason, finished: datetime | None) -> Run:
    """The run in another state, for a reason."""
    late_at = run.late_at if finished is None else None
    return replace(run, state=state, reason=reason, finished=finished, late_at=late_at)


def _gap(job: Job, schedule: Schedule, after: datetime, until: datetime, reason: Reason, now: datetime) -> list[Gap]:
    """One gap row for the instants of (after, until], none when there are none."""
    count = schedule.count(after, until) if until > after else 0
    if count == 0:
        return []
    return [Gap(job_id=job.id, after=after, until=until, count=count, reason=reason, created=now)]


def _paused(job: Job, pause: Pause) -> Reason:
    """The reason of the instants of a pause."""
    why = f": {pause.reason}" if pause.reason else ""
    return Reason(code="PAUSED", params={"by": pause.by, "why": why, "job": job.full_name})


def _next(schedule: Schedule, after: datetime) -> datetime | None:
    """When the planner must look again."""
    occurrence = schedule.next(after)
    return occurrence.due if occurrence else None


def _before(moment: datetime) -> datetime:
    """The last moment before `moment`; instants are whole microseconds."""
    return moment - timedelta(microseconds=1)
