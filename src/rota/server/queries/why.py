"""Why did it, or did it not, run: a checklist from the schedule and the recorded reasons, with what to do next."""

from datetime import datetime, timedelta
from typing import Any

from rota.core import reasons
from rota.core.errors import RotaError
from rota.core.model import Attempt, AttemptState, Gap, Job, Reason, Run, RunState, Trigger
from rota.core.schedule import Schedule
from rota.core.units import format_rough
from rota.server.definitions import Definitions, compile_job
from rota.server.queries.references import find_job, find_run
from rota.server.queries.shapes import Moment, View, maybe_moment, moment
from rota.store.bundle import Store


class Step(View, kw_only=True):
    """One question of the checklist: `ok` true, false, or null where it is neither; `at` when it was settled."""

    ok: bool | None
    text: str
    code: str
    params: dict[str, Any] = {}
    at: Moment | None = None


class Why(View, kw_only=True):
    """The checklist, its conclusion, and commands that go on from there."""

    job: str
    run: str | None
    at: Moment
    steps: list[Step]
    verdict: str
    next: list[str]


async def why_at(store: Store, definitions: Definitions, full_name: str, instant: datetime, now: datetime) -> Why:
    """What became of the job's instant `instant`, or why there was none."""
    job = await find_job(store, full_name, deleted=True)
    steps = [_existed(job, instant)]
    found = await store.views.run_at(job.id, instant)
    if isinstance(found, Run):
        return _of_run(found, now, steps)
    schedule = await _schedule_at(store, definitions, job, instant)
    matched = schedule is not None and _is_instant(schedule, instant)
    steps.append(_matched(job, schedule, instant, matched=matched))
    if isinstance(found, Gap):
        steps.append(_reason_step(found.reason, False, found.after))
        verdict = f"It did not run: {reasons.explain(found.reason)}."
        return _why(job, None, instant, steps, verdict, [f"rota runs -q job:{full_name}"])
    if not matched or not steps[0].ok:
        verdict = "No run was due at that time."
        return _why(job, None, instant, steps, verdict, [f"rota next -q job:{full_name}"])
    return _unanswered(job, instant, now, steps)


async def why_run(store: Store, run_id: str, now: datetime) -> Why:
    """How a run came to be where it is."""
    return _of_run(await find_run(store, run_id), now, [])


def _why(job: Job, run: Run | None, at: datetime, steps: list[Step], verdict: str, commands: list[str]) -> Why:
    name = job.full_name
    return Why(job=name, run=run.id if run else None, at=moment(at), steps=steps, verdict=verdict, next=commands)


def _existed(job: Job, instant: datetime) -> Step:
    if instant <= job.created and job.revision == 1:
        return Step(ok=False, text="the job did not exist yet", code="EXISTED", at=moment(job.created))
    if job.deleted is not None and instant > job.deleted:
        return Step(ok=False, text="the job had been deleted", code="EXISTED", at=moment(job.deleted))
    return Step(ok=True, text="the job existed", code="EXISTED", at=moment(job.created))


async def _schedule_at(store: Store, definitions: Definitions, job: Job, instant: datetime) -> Schedule | None:
    """The schedule that was in force at `instant`; None when it cannot be computed."""
    try:
        for revision in await store.jobs.revisions(job.id, 100):
            if revision.changed < instant:
                if revision.revision == job.revision:
                    break
                return compile_job(_with_spec(job, revision.revision, revision.spec))
        return definitions.schedule(job)
    except (RotaError, ArithmeticError):
        return None


def _with_spec(job: Job, revision: int, spec: Any) -> Job:
    return Job(
        id=job.id,
        namespace=job.namespace,
        name=job.name,
        revision=revision,
        version=job.version,
        spec=spec,
        cursor=job.cursor,
        next_at=None,
        created=job.created,
        updated=job.updated,
    )


def _is_instant(schedule: Schedule, instant: datetime) -> bool:
    """Whether `instant` is a due or a nominal time of the schedule."""
    around = schedule.between(instant - timedelta(seconds=1), instant, 2)
    if any(instant in (occurrence.due, occurrence.nominal) for occurrence in around):
        return True
    later = schedule.next(instant)
    return later is not None and later.nominal == instant


def _matched(job: Job, schedule: Schedule | None, instant: datetime, *, matched: bool) -> Step:
    if schedule is None:
        return Step(ok=False, text="the schedule cannot be computed", code="MATCHED", params={"job": job.full_name})
    if matched:
        return Step(ok=True, text=f"its schedule has this instant: {schedule.words}", code="MATCHED")
    before, after = schedule.previous(instant), schedule.next(instant)
    nearby = [
        f"the one before is {_clock(before.due)}" if before else "",
        f"the next {_clock(after.due)}" if after else "",
    ]
    told = ", ".join(text for text in nearby if text) or "it has none at all"
    params = {
        "before": maybe_moment(before.due if before else None),
        "after": maybe_moment(after.due if after else None),
    }
    return Step(
        ok=False, text=f"its schedule ({schedule.words}) has no such instant; {told}", code="MATCHED", params=params
    )


def _unanswered(job: Job, instant: datetime, now: datetime, steps: list[Step]) -> Why:
    """An instant of the schedule that nothing answers: it lies ahead, or the planner has not come to it."""
    name = job.full_name
    if job.pause is not None and (job.pause.until is None or instant <= job.pause.until):
        why = f": {job.pause.reason}" if job.pause.reason else ""
        reason = Reason(code="PAUSED", params={"by": job.pause.by, "why": why, "job": name})
        steps.append(_reason_step(reason, False, job.pause.since))
        verb = "will not run" if instant > now else "did not run"
        return _why(job, None, instant, steps, f"It {verb}: {reasons.explain(reason)}.", [f"rota resume {name}"])
    if job.broken is not None:
        steps.append(Step(ok=False, text=job.broken, code="BROKEN"))
        return _why(job, None, instant, steps, "It does not run: the schedule is broken.", [f"rota show {name}"])
    if instant > now:
        steps.append(
            Step(ok=None, text=f"it lies ahead, in {format_rough((instant - now).total_seconds())}", code="AHEAD")
        )
        return _why(job, None, instant, steps, "It will run then.", [f"rota next -q job:{name}"])
    if instant > job.cursor:
        steps.append(Step(ok=None, text="the planner has not come to it yet", code="UNPLANNED"))
        return _why(job, None, instant, steps, "It is about to be planned.", ["rota doctor"])
    steps.append(Step(ok=False, text="there is no row for it; its history may have been pruned", code="PRUNED"))
    return _why(job, None, instant, steps, "What became of it is not known any more.", [f"rota show {name}"])


def _of_run(run: Run, now: datetime, steps: list[Step]) -> Why:
    steps.append(_origin(run))
    attempts = [*run.attempts, run.current] if run.current else list(run.attempts)
    for attempt in attempts:
        steps += _attempt_steps(attempt)
    if run.cancel is not None:
        steps.append(_reason_step(run.cancel, None, None))
    if run.reason is not None and run.state is not RunState.SUCCEEDED and run.reason.code != "FAILED":
        steps.append(_reason_step(run.reason, False if run.state.is_final else None, run.finished))
    steps.append(_state_step(run, now))
    return Why(job=run.job, run=run.id, at=moment(run.due), steps=steps, verdict=_verdict(run), next=_commands(run))


def _origin(run: Run) -> Step:
    if run.trigger in (Trigger.SCHEDULE, Trigger.BACKFILL):
        lag = (run.created - run.due).total_seconds()
        late = f", planned {format_rough(lag)} late" if lag >= 1 else ""
        text = f"its schedule made it due at {_clock(run.due)}{late}"
    elif run.trigger is Trigger.RETRY:
        text = f"{run.actor or 'somebody'} asked to repeat run {run.retry_of}"
    elif run.trigger is Trigger.START:
        text = "Rota started, and the job runs at start"
    else:
        text = f"{run.actor or 'somebody'} started it by hand"
    return Step(ok=True, text=text, code="TRIGGERED", params={"trigger": run.trigger.value}, at=moment(run.created))


def _attempt_steps(attempt: Attempt) -> list[Step]:
    params = {"attempt": attempt.number, "worker": attempt.worker}
    placed = f"attempt {attempt.number} was given to worker {attempt.worker}"
    steps = [Step(ok=True, text=placed, code="PLACED", params=params, at=moment(attempt.created))]
    if attempt.started is not None:
        text = f"attempt {attempt.number} started"
        steps.append(Step(ok=True, text=text, code="STARTED", params=params, at=moment(attempt.started)))
    if attempt.state not in (AttemptState.STARTING, AttemptState.RUNNING):
        good = attempt.state is AttemptState.SUCCEEDED
        text = f"attempt {attempt.number} {attempt.state.value.replace('-', ' ')}"
        if attempt.error and not good:
            text += f": {attempt.error}"
        steps.append(Step(ok=good, text=text, code="ENDED", params=params, at=maybe_moment(attempt.finished)))
    return steps


def _reason_step(reason: Reason, ok: bool | None, at: datetime | None) -> Step:
    params = {name: str(value) for name, value in reason.params.items()}
    return Step(ok=ok, text=reasons.explain(reason), code=reason.code, params=params, at=maybe_moment(at))


def _state_step(run: Run, now: datetime) -> Step:
    state = run.state.value.replace("-", " ")
    if run.state.is_final:
        return Step(
            ok=run.state is RunState.SUCCEEDED,
            text=f"the run {_ended_as(run)}",
            code="STATE",
            at=maybe_moment(run.finished),
        )
    since = run.started or run.ready_at
    waited = (now - since).total_seconds()
    text = f"the run is {state}, for {format_rough(waited)}" if waited >= 0 else f"the run waits until {_clock(since)}"
    return Step(ok=None, text=text, code="STATE", params={"state": run.state.value})


def _ended_as(run: Run) -> str:
    words = {RunState.TIMED_OUT: "timed out", RunState.CANCELLED: "was cancelled", RunState.SKIPPED: "was skipped"}
    return words.get(run.state, "was missed" if run.state is RunState.MISSED else _plain_end(run))


def _plain_end(run: Run) -> str:
    return "was lost" if run.state is RunState.LOST else run.state.value


def _verdict(run: Run) -> str:
    if run.state is RunState.SUCCEEDED:
        tries = f" at attempt {run.attempt}" if run.attempt > 1 else ""
        return f"It ran and succeeded{tries}."
    why = reasons.explain(run.reason) if run.reason else ""
    last = run.last_attempt
    if not why and last is not None and last.error:
        why = last.error
    tail = f": {why}" if why else ""
    if run.state.is_final:
        return f"It {_ended_as(run)}{tail}."
    return f"It is {run.state.value}{tail}."


def _commands(run: Run) -> list[str]:
    commands = [f"rota logs {run.id}"] if run.attempt else []
    if run.reason is not None and (advice := reasons.advice(run.reason)):
        commands.append(advice)
    if run.state.is_final and run.state is not RunState.SUCCEEDED:
        retry = f"rota retry {run.id}"
        if retry not in " ".join(commands):
            commands.append(retry)
    return commands


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
