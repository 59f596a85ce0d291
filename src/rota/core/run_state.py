"""The state machine of a run: which moves exist, and which move an event of its attempt leads to.

`on_*` functions decide (is it tried again? given up?) and `advance` performs; TRANSITIONS says what is legal.

    queued ──Assign──► starting ──Start──► running
      ▲ │               │ │                   │
      │ └───Settle────► skipped, missed, cancelled
      │                   │                   │
      └──────Requeue──────┴───────────────────┤
                          └──────Finish───────┴──► succeeded, failed, timed-out, cancelled, lost
"""

from datetime import datetime
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from rota.core import retry
from rota.core.errors import IllegalTransition
from rota.core.model import Attempt, AttemptState, Delivery, JobSpec, Reason, Run, RunState, Usage, Value


class Assign(Value):
    """Give the run to a worker as its next attempt."""

    attempt: Attempt
    session: int


class Start(Value):
    """The attempt runs since `started`."""

    started: datetime


class Finish(Value):
    """The run has reached its end by its attempt, which is closed as `attempt`."""

    state: RunState
    attempt: Attempt
    at: datetime
    reason: Reason | None = None
    result: Any = None


class Requeue(Value):
    """The attempt is closed and another follows, not before `ready_at`; `attempt` None: it never started."""

    attempt: Attempt | None
    ready_at: datetime
    failures: int
    losses: int
    reason: Reason | None = None


class Settle(Value):
    """A run that waits, or was given to a worker and came back unstarted, ends without another attempt.

    `attempt`: the one it had, when that is closed and not as if it had never been.
    """

    state: RunState
    at: datetime
    reason: Reason
    attempt: Attempt | None = None


Move = Assign | Start | Finish | Requeue | Settle

TRANSITIONS: Final = {
    (RunState.QUEUED, Assign): (RunState.STARTING,),
    (RunState.QUEUED, Settle): (RunState.SKIPPED, RunState.MISSED, RunState.CANCELLED),
    (RunState.STARTING, Start): (RunState.RUNNING,),
    (RunState.STARTING, Settle): (RunState.SKIPPED,),
    (RunState.STARTING, Requeue): (RunState.QUEUED,),
    (RunState.RUNNING, Requeue): (RunState.QUEUED,),
    (RunState.STARTING, Finish): (
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.TIMED_OUT,
        RunState.CANCELLED,
        RunState.LOST,
    ),
    (RunState.RUNNING, Finish): (
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.TIMED_OUT,
        RunState.CANCELLED,
        RunState.LOST,
    ),
}


def advance(run: Run, move: Move) -> Run:
    """The run after `move`, its version raised; IllegalTransition when the table has no such move."""
    target = _target(move)
    if target not in TRANSITIONS.get((run.state, type(move)), ()):
        raise IllegalTransition(f"a run in state {run.state.value} cannot take {type(move).__name__}")
    version = run.version + 1
    match move:
        case Assign():
            return replace(
                run,
                state=target,
                current=move.attempt,
                session=move.session,
                reason=None,
                released=run.released or move.attempt.created,
                version=version,
            )
        case Start():
            current = _current(run)
            attempt = replace(current, state=AttemptState.RUNNING, started=move.started)
            started = run.started or move.started
            return replace(run, state=target, current=attempt, started=started, withdrawn=None, version=version)
        case Requeue():
            past = (*run.attempts, move.attempt) if move.attempt else run.attempts
            never_started = not past
            return replace(
                run,
                state=target,
                started=None if never_started else run.started or past[-1].started,
                attempts=past,
                current=None,
                session=None,
                reason=move.reason,
                ready_at=move.ready_at,
                failures=move.failures,
                losses=move.losses,
                released=None if never_started else run.released,
                withdrawn=None,
                version=version,
            )
        case Finish():
            return _finished(run, move, version)
        case Settle():
            return _settled(run, move, version)


def _settled(run: Run, move: Settle, version: int) -> Run:
    """The run at an end that no attempt brought; one that was given away and came back was never released."""
    attempts = (*run.attempts, move.attempt) if move.attempt else run.attempts
    released = run.released if attempts else None
    return replace(
        run,
        state=move.state,
        attempts=attempts,
        current=None,
        session=None,
        withdrawn=None,
        released=released,
        reason=move.reason,
        finished=move.at,
        version=version,
    )


_FAILED_ATTEMPTS: Final = (AttemptState.FAILED, AttemptState.TIMED_OUT, AttemptState.REJECTED)


def _finished(run: Run, move: Finish, version: int) -> Run:
    """The run at its end, its last attempt among the past ones and counted."""
    return replace(
        run,
        state=move.state,
        attempts=(*run.attempts, move.attempt),
        current=None,
        reason=move.reason,
        result=move.result,
        started=run.started or move.attempt.started,
        withdrawn=None,
        finished=move.at,
        failures=run.failures + (move.attempt.state in _FAILED_ATTEMPTS),
        losses=run.losses + _counts_as_lost(move.attempt),
        version=version,
    )


def _counts_as_lost(attempt: Attempt) -> bool:
    """Whether nobody knows why it was lost."""
    return attempt.state is AttemptState.LOST and attempt.failure != retry.STOPPED


def _stops(run: Run) -> int:
    """How often a worker was stopped while it ran."""
    return sum(attempt.failure == retry.STOPPED for attempt in run.attempts)


def _target(move: Move) -> RunState:
    """The state a move leads to."""
    match move:
        case Assign():
            return RunState.STARTING
        case Start():
            return RunState.RUNNING
        case Requeue():
            return RunState.QUEUED
        case Finish() | Settle():
            return move.state


# ── events of an attempt, and what they lead to ──────────────────────────────────────────────────────────


SKIPS_WHEN_WITHDRAWN: Final = ("PAUSED", "EDITED", "DELETED", "SHADOW")
"""Why a run that was asked back is not to run at all; asked back for another reason, it waits for its time again."""


class Ended(Value):
    """An attempt has ended on its worker; fields as in the worker's report, instants already checked."""

    outcome: AttemptState
    started: datetime | None
    finished: datetime
    exit: int | None = None
    signal: int | None = None
    failure: str | None = None
    error: str | None = None
    result: Any = None
    usage: Usage = Usage()


def on_ended(run: Run, event: Ended, spec: JobSpec, now: datetime, rng: Random) -> Move:
    """What the end of the current attempt leads to: an end of the run, or another try."""
    if event.outcome is AttemptState.LOST:
        return on_lost(run, spec, now, event)
    attempt = _closed(_current(run), event)
    if event.outcome is AttemptState.SUCCEEDED:
        return Finish(state=RunState.SUCCEEDED, attempt=attempt, at=event.finished, result=event.result)
    if run.cancel is not None or event.outcome is AttemptState.CANCELLED:
        reason = run.cancel or Reason(code="CANCELLED", params={"by": "the worker", "why": ""})
        return Finish(state=RunState.CANCELLED, attempt=attempt, at=event.finished, reason=reason)
    failures = run.failures + 1
    failure = event.failure or _KIND_OF_OUTCOME.get(event.outcome, "exit")
    if retry.is_retried(spec.retry, failures, failure):
        at = retry.retry_at(spec.retry, failures, now, rng)
        params = {"attempt": attempt.number, "failure": event.error or failure, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
        reason = Reason(code="RETRY_WAIT", params=params)
        return Requeue(attempt=attempt, ready_at=at, reason=reason, failures=failures, losses=run.losses)
    return Finish(**_failed(event, spec), attempt=attempt, at=event.finished)


_KIND_OF_OUTCOME: Final = {AttemptState.TIMED_OUT: "timeout", AttemptState.REJECTED: "rejected"}


def _failed(event: Ended, spec: JobSpec) -> dict[str, Any]:
    """State and reason of a run whose last try has failed."""
    if event.outcome is AttemptState.TIMED_OUT:
        limit = f"ran longer than its timeout of {spec.timeout:g}s" if spec.timeout else "ran out of time"
        return {
            "state": RunState.TIMED_OUT,
            "reason": Reason(code="TIMED_OUT", params={"error": event.error or limit}),
        }
    code = "REJECTED" if event.outcome is AttemptState.REJECTED else "FAILED"
    params = {"error": event.error or "no reason was given", "failure": event.failure}
    return {"state": RunState.FAILED, "reason": Reason(code=code, params=params)}


def on_lost(run: Run, spec: JobSpec, now: datetime, told: Ended | None = None) -> Move:
    """What becomes of a run whose worker has vanished, or has `told` that it lost it: another attempt, or an end.

    An at-most-once run that may have started is never started again; one that certainly had no permit yet
    (still `starting`) is. One that was given away ahead of its time and has not come to it never started.
    """
    if run.is_staged(now):
        return on_returned(run, "the worker vanished before the run was due", now)
    current = _current(run)
    error = f"worker {current.worker} vanished"
    vanished = Ended(outcome=AttemptState.LOST, started=current.started, finished=now, error=error)
    attempt = _closed(current, told or vanished)
    if run.cancel is not None:
        return Finish(state=RunState.CANCELLED, attempt=attempt, at=now, reason=run.cancel)
    if run.state is RunState.STARTING and run.withdrawn is not None and run.withdrawn.code in SKIPS_WHEN_WITHDRAWN:
        return Settle(state=RunState.SKIPPED, at=now, reason=run.withdrawn, attempt=attempt)
    losses = run.losses + _counts_as_lost(attempt)
    params = {"attempt": attempt.number, "worker": attempt.worker, "losses": losses, "run": run.id}
    may_not_run_again = spec.delivery is Delivery.AT_MOST_ONCE and run.state is RunState.RUNNING
    if not _counts_as_lost(attempt) and (may_not_run_again or _stops(run) + 1 >= retry.STOPPED_CAP):
        reason = Reason(code="FAILED", params={"error": attempt.error, "failure": attempt.failure})
        return Finish(state=RunState.FAILED, attempt=attempt, at=now, reason=reason)
    if may_not_run_again:
        reason = Reason(code="OUTCOME_UNKNOWN", params=params)
        return Finish(state=RunState.LOST, attempt=attempt, at=now, reason=reason)
    if losses >= retry.LOST_CAP:
        return Finish(state=RunState.LOST, attempt=attempt, at=now, reason=Reason(code="LOST", params=params))
    reason = Reason(code="REQUEUED" if _counts_as_lost(attempt) else "WORKER_STOPPED", params=params)
    ready_at = max(now + retry.LOST_WAIT, run.due)  # it may have been given away ahead of its time
    return Requeue(attempt=attempt, ready_at=ready_at, reason=reason, failures=run.failures, losses=losses)


def on_returned(run: Run, why: str, now: datetime) -> Move:
    """What becomes of a run whose attempt was given back unstarted: it waits again, or ends if that was asked."""
    current = _current(run)
    if run.cancel is not None:
        attempt = replace(current, state=AttemptState.CANCELLED, finished=now)
        return Finish(state=RunState.CANCELLED, attempt=attempt, at=now, reason=run.cancel)
    if run.withdrawn is not None and run.withdrawn.code in SKIPS_WHEN_WITHDRAWN and not run.attempts:
        return Settle(state=RunState.SKIPPED, at=now, reason=run.withdrawn)
    params = {"worker": current.worker, "attempt": current.number, "why": why}
    reason = None if run.withdrawn else Reason(code="RETURNED", params=params)
    ready_at = max(now, run.due)  # it may have been given away ahead of its time
    return Requeue(attempt=None, ready_at=ready_at, reason=reason, failures=run.failures, losses=run.losses)


def _current(run: Run) -> Attempt:
    """The attempt under way; a run without one cannot take the event."""
    if run.current is None:
        raise IllegalTransition(f"run {run.id} has no attempt under way")
    return run.current


def _closed(attempt: Attempt, event: Ended) -> Attempt:
    """The attempt at its end."""
    return replace(
        attempt,
        state=event.outcome,
        started=event.started,
        finished=event.finished,
        exit=event.exit,
        signal=event.signal,
        failure=event.failure,
        error=event.error,
        usage=event.usage,
    )
