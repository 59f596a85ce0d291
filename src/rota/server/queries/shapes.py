"""The shapes of everything the API says, and how domain values become them: the one place that names JSON fields.

REST, the live stream, the CLI's `--json` and the pages all use these. Times are RFC 3339 in UTC with microseconds,
durations are seconds, sizes are bytes; a field without a value is null, never absent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, dataclass_transform

import msgspec

from rota.core import reasons
from rota.core.job_stats import OUTCOMES
from rota.core.model import Attempt, Gap, Job, JobStats, Reason, Run, RunState
from rota.core.schedule_errors import ScheduleError
from rota.jobfile.render import render_spec
from rota.server.definitions import compile_job
from rota.store.views import Count

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
_STATE_OF_MARK: Final = {mark: state for state, mark in OUTCOMES.items()}


@dataclass_transform(frozen_default=True, kw_only_default=True)
class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what the API answers."""


class ReasonView(View, kw_only=True):
    """Why: the code with its parameters, in words, and what a person can do about it."""

    code: str
    params: dict[str, Any]
    words: str
    advice: str


class UsageView(View, kw_only=True):
    """What an attempt consumed."""

    cpu_seconds: float | None
    peak_memory: int | None


class AttemptView(View, kw_only=True):
    """One try of a run on one worker."""

    number: int
    fence: int
    worker: str
    state: str
    created: Moment
    started: Moment | None
    finished: Moment | None
    exit: int | None
    signal: int | None
    error: str | None
    failure: str | None
    usage: UsageView


class RunView(View, kw_only=True):
    """The answer to one instant or to one manual trigger."""

    id: str
    job: str
    revision: int
    due: Moment
    nominal: Moment
    trigger: str
    retry_of: str | None
    state: str
    reason: ReasonView | None
    cancel: ReasonView | None
    attempt: int
    attempts: list[AttemptView]
    created: Moment
    ready: Moment
    started: Moment | None
    finished: Moment | None
    took: float | None
    worker: str | None
    exit: int | None
    error: str | None
    params: dict[str, str]
    result: Any
    actor: str | None


class LedgerRun(RunView, kw_only=True, tag="run", tag_field="type"):
    """A run in the ledger."""


class LedgerGap(View, kw_only=True, tag="gap", tag_field="type"):
    """A stretch of instants answered together: from < due ≤ until."""

    after: Moment = msgspec.field(name="from")
    until: Moment
    count: int
    reason: ReasonView


class PauseView(View, kw_only=True):
    """Since when a job is not planned, by whom, why, and until when (null: until it is resumed)."""

    since: Moment
    by: str
    reason: str
    until: Moment | None


class LastRun(View, kw_only=True):
    """The newest ended run of a job."""

    id: str | None
    state: str | None
    due: Moment | None
    finished: Moment | None


class RecentRun(View, kw_only=True):
    """One cell of the strip: outcome, and 0 to 15 for the duration on a logarithmic scale."""

    state: str
    level: int


class ActiveRun(View, kw_only=True):
    """A run of a job that is under way: with a worker, or between two tries."""

    id: str
    state: str
    due: Moment


class JobView(View, kw_only=True):
    """A job: its definition, and how it fares."""

    namespace: str
    name: str
    job: str
    title: str | None
    owner: str | None
    kind: str
    revision: int
    schedule: str | None
    schedule_words: str
    timezone: str
    next: list[Moment]
    paused: PauseView | None
    conditions: list[str]
    broken: str | None
    fails_in_row: int
    late_since: Moment | None
    last: LastRun
    last_success: Moment | None
    recent: list[RecentRun]
    active: list[ActiveRun]
    labels: dict[str, str]
    source: str | None
    created: Moment
    updated: Moment
    spec: dict[str, Any]


class CountView(View, kw_only=True):
    """How many: exact, or at least that many."""

    value: int
    kind: str


class JobList(View, kw_only=True):
    """A page of jobs; `next` is the cursor of the page after it."""

    items: list[JobView]
    next: str | None
    count: CountView


class RunList(View, kw_only=True):
    """A page of runs due between `since` and `until` (null: open)."""

    items: list[RunView]
    next: str | None
    count: CountView
    since: Moment
    until: Moment | None


class LedgerList(View, kw_only=True):
    """A page of a job's ledger, oldest first."""

    items: list[LedgerRun | LedgerGap]
    next: str | None
    count: CountView


def moment(value: datetime) -> str:
    """RFC 3339, UTC, microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def maybe_moment(value: datetime | None) -> str | None:
    """As `moment`, None stays None."""
    return None if value is None else moment(value)


def reason_view(reason: Reason | None) -> ReasonView | None:
    """A reason with its words."""
    if reason is None:
        return None
    return ReasonView(
        code=reason.code,
        params=msgspec.to_builtins(reason.params),
        words=reasons.explain(reason),
        advice=reasons.advice(reason),
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    """One attempt."""
    return AttemptView(
        number=attempt.number,
        fence=attempt.fence,
        worker=attempt.worker,
        state=attempt.state.value,
        created=moment(attempt.created),
        started=maybe_moment(attempt.started),
        finished=maybe_moment(attempt.finished),
        exit=attempt.exit,
        signal=attempt.signal,
        error=attempt.error,
        failure=attempt.failure,
        usage=UsageView(cpu_seconds=attempt.usage.cpu_seconds, peak_memory=attempt.usage.peak_memory),
    )


def run_fields(run: Run) -> dict[str, Any]:
    """The fields of a run's view."""
    last = run.last_attempt
    attempts = (*run.attempts, run.current) if run.current is not None else run.attempts
    return {
        "id": run.id,
        "job": run.job,
        "revision": run.revision,
        "due": moment(run.due),
        "nominal": moment(run.nominal),
        "trigger": run.trigger.value,
        "retry_of": run.retry_of,
        "state": run.state.value,
        "reason": reason_view(run.reason),
        "cancel": reason_view(run.cancel),
        "attempt": run.attempt,
        "attempts": [attempt_view(attempt) for attempt in attempts],
        "created": moment(run.created),
        "ready": moment(run.ready_at),
        "started": maybe_moment(run.started),
        "finished": maybe_moment(run.finished),
        "took": took(run),
        "worker": last.worker if last else None,
        "exit": last.exit if last else None,
        "error": last.error if last else None,
        "params": run.params,
        "result": run.result,
        "actor": run.actor,
    }


def run_view(run: Run) -> RunView:
    """One run."""
    return RunView(**run_fields(run))


def took(run: Run) -> float | None:
    """Seconds from the first start to the end."""
    if run.started is None or run.finished is None:
        return None
    return max(0.0, (run.finished - run.started).total_seconds())


def ledger_item(item: Run | Gap) -> LedgerRun | LedgerGap:
    """A run or a gap row of the ledger."""
    if isinstance(item, Run):
        return LedgerRun(**run_fields(item))
    why = reason_view(item.reason)
    assert why is not None
    return LedgerGap(after=moment(item.after), until=moment(item.until), count=item.count, reason=why)


def conditions(job: Job, stats: JobStats) -> list[str]:
    """What is notable about a job, in the words of `is:`."""
    found = {
        "paused": job.pause is not None,
        "broken": job.broken is not None,
        "failing": stats.fails_in_row > 0,
        "late": stats.late_since is not None,
        "shadow": job.spec.shadow,
        "new": stats.last_run is None,
    }
    return [name for name, holds in found.items() if holds]


def schedule_words(job: Job) -> str:
    """The job's schedule as a person would say it."""
    try:
        return compile_job(job).words
    except ScheduleError as error:
        return f"cannot be computed: {error.detail}"


def recent_view(recent: str) -> list[RecentRun]:
    """The strip of recent runs, oldest first."""
    return [
        RecentRun(state=_STATE_OF_MARK.get(recent[at], RunState.FAILED).value, level=int(recent[at + 1], 16))
        for at in range(0, len(recent) - 1, 2)
    ]


def job_view(job: Job, stats: JobStats, upcoming: list[datetime] | None = None, active: Sequence[Run] = ()) -> JobView:
    """One job; `upcoming` are its next instants, by default the one that is stored; `active` its runs under way."""
    stored = [job.next_at] if job.next_at is not None and job.pause is None else []
    pause = job.pause
    return JobView(
        namespace=job.namespace,
        name=job.name,
        job=job.full_name,
        title=job.spec.title,
        owner=job.spec.owner,
        kind=str(job.spec.task.__struct_config__.tag),
        revision=job.revision,
        schedule=job.spec.schedule or job.spec.at,
        schedule_words=schedule_words(job),
        timezone=job.spec.timezone,
        next=[moment(instant) for instant in (stored if upcoming is None else upcoming)],
        paused=PauseView(since=moment(pause.since), by=pause.by, reason=pause.reason, until=maybe_moment(pause.until))
        if pause
        else None,
        conditions=conditions(job, stats),
        broken=job.broken,
        fails_in_row=stats.fails_in_row,
        late_since=maybe_moment(stats.late_since),
        last=LastRun(
            id=stats.last_run,
            state=stats.last_state.value if stats.last_state else None,
            due=maybe_moment(stats.last_due),
            finished=maybe_moment(stats.last_finished),
        ),
        last_success=maybe_moment(stats.last_success),
        recent=recent_view(stats.recent),
        active=[ActiveRun(id=run.id, state=run.state.value, due=moment(run.due)) for run in active],
        labels=job.spec.labels,
        source=job.source,
        created=moment(job.created),
        updated=moment(job.updated),
        spec=render_spec(job.spec),
    )


def count_view(count: Count) -> CountView:
    """A bounded count."""
    return CountView(value=count.value, kind=count.kind)
