"""Small makers of values for tests: each takes only what the test is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rota.core.ids import job_id, run_id
from rota.core.model import (
    Attempt,
    AttemptState,
    Job,
    JobSpec,
    Run,
    RunState,
    ShellTask,
    Task,
    Trigger,
)
from rota.core.schedule import Schedule, compile_schedule

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
TASK: Task = ShellTask(command="true")


def at(text: str) -> datetime:
    """An instant of UTC, written as `2026-06-01 12:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def later(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def make_spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"task": TASK, **fields})


def make_job(*, cursor: datetime = NOON, name: str = "team/job", version: int = 1, **fields: Any) -> Job:
    """A job; fields that a Job has go to it, all others to its spec."""
    own = {key: fields.pop(key) for key in list(fields) if key in Job.__struct_fields__}
    spec = own.pop("spec", None) or make_spec(**fields)
    namespace, _, short = name.partition("/")
    upcoming = compile_of(spec, name, cursor).next(cursor)
    values: dict[str, Any] = {
        "id": job_id(namespace, short),
        "namespace": namespace,
        "name": short,
        "revision": 1,
        "version": version,
        "spec": spec,
        "cursor": cursor,
        "next_at": upcoming.due if upcoming else None,
        "created": cursor,
        "updated": cursor,
    }
    return Job(**{**values, **own})


def compile_of(spec: JobSpec, name: str = "team/job", anchor: datetime = NOON) -> Schedule:
    return compile_schedule(spec.schedule, at=spec.at, timezone=spec.timezone, dst=spec.dst, name=name, anchor=anchor)


def schedule_of(job: Job) -> Schedule:
    """The compiled schedule of a job, as the server compiles it."""
    return compile_of(job.spec, job.full_name, job.created)


def make_run(due: datetime = NOON, *, job: Job | None = None, key: str = "", **fields: Any) -> Run:
    """A queued run due then."""
    job = job or make_job()
    trigger = fields.get("trigger", Trigger.SCHEDULE)
    values: dict[str, Any] = {
        "id": run_id(job.id, due, trigger, key, due),
        "job_id": job.id,
        "job": job.full_name,
        "revision": job.revision,
        "due": due,
        "nominal": due,
        "trigger": Trigger.SCHEDULE,
        "state": RunState.QUEUED,
        "kind": "shell",
        "created": due,
        "ready_at": due,
    }
    return Run(**{**values, **fields})


def make_attempt(number: int = 1, *, fence: int = 7, state: AttemptState = AttemptState.STARTING, **f: Any) -> Attempt:
    return Attempt(**{"number": number, "fence": fence, "worker": "w1", "state": state, "created": NOON, **f})


def make_held(state: RunState = RunState.RUNNING, due: datetime = NOON, *, fence: int = 7, **fields: Any) -> Run:
    """A run with an attempt under way."""
    running = state is RunState.RUNNING
    attempt = make_attempt(
        fence=fence,
        state=AttemptState.RUNNING if running else AttemptState.STARTING,
        started=NOON if running else None,
        number=len(fields.get("attempts", ())) + 1,
    )
    values = {"released": NOON, "session": 1, "current": attempt, "started": attempt.started, "state": state}
    return make_run(due, **{**values, **fields})
