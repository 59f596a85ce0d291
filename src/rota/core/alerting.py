"""Who is told what when a run ends: a function of the run, its job and what was said before.

One streak of failures is one thread: told at its first failure, then at most once an hour while it lasts, and once
when it is over. A recovery is only told after a failure was.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from rota.core.job_stats import FAILED_STATES, fold
from rota.core.model import Job, JobStats, Notice, Run, RunState
from rota.core.reasons import explain

REMIND_AFTER: Final = timedelta(hours=1)


def on_end(job: Job, stats: JobStats, run: Run, wrote_output: bool, now: datetime) -> tuple[JobStats, list[Notice]]:
    """The counters and notices after `run` reached its final state."""
    after = fold(stats, run)
    notices: list[Notice] = []
    if run.state in FAILED_STATES:
        due_again = stats.alerted_at is None or now - stats.alerted_at >= REMIND_AFTER
        if "failed" in job.spec.alert.when and due_again:
            notices += _notices("failed", job, after, run, now)
            after = replace(after, alerted_at=now)
    elif run.state is RunState.SUCCEEDED:
        if stats.alerted_at is not None and "recovered" in job.spec.alert.when:
            notices += _notices("recovered", job, stats, run, now)
        after = replace(after, alerted_at=None, streak=None)
    elif run.state is RunState.MISSED and "missed" in job.spec.alert.when:
        notices += _notices("missed", job, after, run, now)
    if wrote_output and "output" in job.spec.alert.when and not notices:
        notices += _notices("output", job, after, run, now)
    return after, notices


def on_late(job: Job, stats: JobStats, run: Run, now: datetime) -> tuple[JobStats, list[Notice]]:
    """The counters and notices when `run` has not ended in time."""
    after = replace(stats, job_id=job.id, late_since=stats.late_since or run.due)
    return after, _notices("late", job, after, run, now) if "late" in job.spec.alert.when else []


def notice_id(event: str, subject: str, route: str) -> str:
    """A stable id: the same event about the same thing for the same route is the same notice."""
    return hashlib.sha256(f"{event}\0{subject}\0{route}".encode()).hexdigest()[:32]


def _notices(event: str, job: Job, stats: JobStats, run: Run, now: datetime) -> list[Notice]:
    """One notice per route."""
    facts = _facts(job, stats, run)
    thread = stats.streak or run.id
    return [
        Notice(
            id=notice_id(event, run.id, route),
            event=event,
            route=route,
            created=now,
            thread=thread,
            job=job.full_name,
            run_id=run.id,
            facts=facts,
        )
        for route in job.spec.alert.to
    ]


def _facts(job: Job, stats: JobStats, run: Run) -> dict[str, Any]:
    """What the message is built from, as it was at this moment."""
    attempt = run.last_attempt
    return {
        "title": job.spec.title,
        "owner": job.spec.owner,
        "runbook": job.spec.alert.runbook,
        "timezone": job.spec.timezone,
        "state": run.state.value,
        "cause": explain(run.reason) if run.reason else None,
        "due": run.due.isoformat(),
        "started": run.started.isoformat() if run.started else None,
        "finished": run.finished.isoformat() if run.finished else None,
        "fails_in_row": stats.fails_in_row,
        "attempt": run.attempt,
        "tries": job.spec.retry.tries,
        "worker": attempt.worker if attempt else None,
        "exit": attempt.exit if attempt else None,
        "signal": attempt.signal if attempt else None,
        "error": attempt.error if attempt else None,
        "last_success": stats.last_success.isoformat() if stats.last_success else None,
        "next": job.next_at.isoformat() if job.next_at and not job.pause else None,
        "revision": run.revision,
        "changed": job.updated.isoformat(),
    }
