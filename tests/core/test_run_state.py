"""The run's state machine: every state with every move, and what the events of an attempt lead to."""

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NOON, later, make_attempt, make_held, make_run, make_spec

from rota.core import retry
from rota.core.errors import IllegalTransition
from rota.core.model import AttemptState, Delivery, Reason, RetryPolicy, Run, RunState, Usage
from rota.core.reasons import explain
from rota.core.run_state import (
    TRANSITIONS,
    Assign,
    Ended,
    Finish,
    Move,
    Requeue,
    Settle,
    Start,
    advance,
    on_ended,
    on_lost,
    on_returned,
)

WHY = Reason(code="CANCELLED", params={"by": "ada", "why": ""})
FINAL = [state for state in RunState if state.is_final]
ENDED = make_attempt(state=AttemptState.FAILED, finished=later(5), started=later(1))


def every_move() -> list[Move]:
    """Each kind of move with each state it could name."""
    moves: list[Move] = [Assign(attempt=make_attempt(), session=1), Start(started=NOON)]
    moves.append(Requeue(attempt=ENDED, ready_at=later(9), failures=1, losses=0))
    moves += [Finish(state=state, attempt=ENDED, at=later(5)) for state in RunState]
    moves += [Settle(state=state, at=later(5), reason=WHY) for state in RunState]
    return moves


def run_in(state: RunState) -> Run:
    if state is RunState.QUEUED or state.is_final:
        return make_run(state=state, finished=NOON if state.is_final else None)
    return make_held(state)


def target(move: Move) -> RunState:
    match move:
        case Assign():
            return RunState.STARTING
        case Start():
            return RunState.RUNNING
        case Requeue():
            return RunState.QUEUED
    return move.state


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("move", every_move(), ids=lambda move: f"{type(move).__name__}-{target(move).value}")
def test_every_state_and_move(state: RunState, move: Move) -> None:
    run = run_in(state)
    if target(move) in TRANSITIONS.get((state, type(move)), ()):
        after = advance(run, move)
        assert after.state is target(move)
        assert after.version == run.version + 1
        assert (after.finished is not None) is after.state.is_final
        assert (after.current is not None) is (after.state in (RunState.STARTING, RunState.RUNNING))
    else:
        with pytest.raises(IllegalTransition):
            advance(run, move)


@pytest.mark.parametrize("state", FINAL)
def test_nothing_leaves_a_final_state(state: RunState) -> None:
    assert not [key for key in TRANSITIONS if key[0] is state]


def test_every_state_can_be_reached_and_every_unfinished_one_left() -> None:
    reached = {to for targets in TRANSITIONS.values() for to in targets}
    assert reached == set(RunState)
    assert {state for state, _ in TRANSITIONS} == {state for state in RunState if not state.is_final}


def test_assign_releases_once() -> None:
    first = advance(make_run(), Assign(attempt=make_attempt(created=later(1)), session=4))
    assert (first.released, first.session, first.reason) == (later(1), 4, None)
    waiting = advance(first, Requeue(attempt=ENDED, ready_at=later(30), failures=1, losses=0))
    assert waiting.released == later(1)
    second = advance(waiting, Assign(attempt=make_attempt(2, created=later(30)), session=5))
    assert second.released == later(1)


def test_attempt_that_never_started_does_not_release() -> None:
    returned = advance(make_held(RunState.STARTING), Requeue(attempt=None, ready_at=NOON, failures=0, losses=0))
    assert returned.released is None
    assert returned.attempt == 0


def test_returned_retry_stays_released() -> None:
    run = make_held(RunState.STARTING, attempts=(ENDED,))
    assert advance(run, Requeue(attempt=None, ready_at=NOON, failures=1, losses=0)).released == NOON


def test_start_of_the_first_attempt_is_the_start_of_the_run() -> None:
    run = make_held(RunState.STARTING)
    started = advance(run, Start(started=later(2)))
    assert started.started == later(2)
    assert started.current is not None
    assert started.current.state is AttemptState.RUNNING
    again = advance(make_held(RunState.STARTING, started=later(2), attempts=(ENDED,)), Start(started=later(60)))
    assert again.started == later(2)


# ── ends of attempts ─────────────────────────────────────────────────────────────────────────────────────


def ended(outcome: AttemptState = AttemptState.FAILED, **fields: Any) -> Ended:
    return Ended(**{"outcome": outcome, "started": later(1), "finished": later(5), **fields})


def after_end(run: Run, event: Ended, now: float = 6, **spec: Any) -> Run:
    return advance(run, on_ended(run, event, make_spec(**spec), later(now), Random(1)))


def test_success_ends_the_run_with_its_result() -> None:
    run = after_end(make_held(), ended(AttemptState.SUCCEEDED, exit=0, result={"n": 3}, usage=Usage(cpu_seconds=0.5)))
    assert (run.state, run.result, run.finished) == (RunState.SUCCEEDED, {"n": 3}, later(5))
    assert run.attempts[-1].usage.cpu_seconds == 0.5
    assert (run.failures, run.losses) == (0, 0)


def test_unmarked_short_attempt_gives_the_run_its_start() -> None:
    run = after_end(make_held(RunState.STARTING), ended(AttemptState.SUCCEEDED))
    assert run.started == later(1)


def test_failure_without_tries_left_ends_the_run() -> None:
    run = after_end(make_held(), ended(exit=3, error="exit code 3", failure="exit"))
    assert run.state is RunState.FAILED
    assert run.reason is not None
    assert run.reason.params["error"] == "exit code 3"
    assert (run.failures, run.attempts[-1].exit) == (1, 3)


def test_failure_with_tries_left_waits() -> None:
    policy = RetryPolicy(tries=3, wait_min=10, jitter=0)
    run = after_end(make_held(), ended(failure="exit"), retry=policy)
    assert (run.state, run.failures, run.ready_at) == (RunState.QUEUED, 1, later(16))
    assert run.reason is not None
    assert run.reason.code == "RETRY_WAIT"
    assert run.finished is None


def test_time_out_is_a_state_of_its_own() -> None:
    run = after_end(make_held(), ended(AttemptState.TIMED_OUT, failure="timeout"), timeout=90.0)
    assert run.state is RunState.TIMED_OUT
    assert run.reason is not None
    assert "90s" in explain(run.reason)


def test_time_out_counts_as_timeout_even_if_the_report_names_no_kind() -> None:
    policy = RetryPolicy(tries=2, when=("timeout",))
    assert after_end(make_held(), ended(AttemptState.TIMED_OUT), retry=policy).state is RunState.QUEUED


def test_refusal_is_never_retried_even_if_the_report_names_no_kind() -> None:
    run = after_end(make_held(RunState.STARTING), ended(AttemptState.REJECTED), retry=RetryPolicy(tries=5))
    assert run.state is RunState.FAILED
    assert run.reason is not None
    assert run.reason.code == "REJECTED"


def test_cancelled_run_is_not_retried() -> None:
    for outcome in (AttemptState.FAILED, AttemptState.CANCELLED, AttemptState.TIMED_OUT):
        run = after_end(make_held(cancel=WHY), ended(outcome), retry=RetryPolicy(tries=5))
        assert (run.state, run.reason) == (RunState.CANCELLED, WHY)


def test_success_wins_over_a_cancel_that_came_too_late() -> None:
    assert after_end(make_held(cancel=WHY), ended(AttemptState.SUCCEEDED)).state is RunState.SUCCEEDED


def test_event_without_attempt_is_illegal() -> None:
    with pytest.raises(IllegalTransition):
        on_ended(make_run(), ended(), make_spec(), NOON, Random(1))
    with pytest.raises(IllegalTransition):
        on_lost(make_run(), make_spec(), NOON)
    with pytest.raises(IllegalTransition):
        on_returned(make_run(), "revoked", NOON)


# ── lost and returned attempts ───────────────────────────────────────────────────────────────────────────


def lose(run: Run, now: float = 20, **spec: Any) -> Run:
    return advance(run, on_lost(run, make_spec(**spec), later(now)))


@pytest.mark.parametrize("state", [RunState.STARTING, RunState.RUNNING])
def test_lost_attempt_is_tried_again_and_uses_no_try(state: RunState) -> None:
    run = lose(make_held(state))
    assert (run.state, run.failures, run.losses) == (RunState.QUEUED, 0, 1)
    assert run.ready_at == later(20) + retry.LOST_WAIT
    assert run.attempts[-1].state is AttemptState.LOST


def test_lost_cap() -> None:
    run = make_held(losses=retry.LOST_CAP - 1)
    after = lose(run)
    assert (after.state, after.losses) == (RunState.LOST, retry.LOST_CAP)
    assert after.reason is not None
    assert after.reason.code == "LOST"


def test_at_most_once_is_not_started_again_once_permitted() -> None:
    run = lose(make_held(RunState.RUNNING), delivery=Delivery.AT_MOST_ONCE)
    assert run.state is RunState.LOST
    assert run.reason is not None
    assert run.reason.code == "OUTCOME_UNKNOWN"


def test_at_most_once_without_permit_goes_to_another_worker() -> None:
    assert lose(make_held(RunState.STARTING), delivery=Delivery.AT_MOST_ONCE).state is RunState.QUEUED


def test_lost_run_that_was_to_be_cancelled_is_cancelled() -> None:
    assert lose(make_held(cancel=WHY)).state is RunState.CANCELLED


def test_worker_that_does_not_know_how_it_ended_has_lost_it() -> None:
    assert after_end(make_held(), ended(AttemptState.LOST)).losses == 1


def stopped(run: Run, **spec: Any) -> Run:
    told = ended(AttemptState.LOST, failure=retry.STOPPED, error="its worker was stopped", signal=9)
    return after_end(run, told, **spec)


def test_attempt_whose_worker_was_stopped_does_not_count_as_lost() -> None:
    """However often: nobody wonders what became of it."""
    run = stopped(make_held(RunState.RUNNING, losses=retry.LOST_CAP - 1))
    assert (run.state, run.losses, run.failures) == (RunState.QUEUED, retry.LOST_CAP - 1, 0)
    assert (run.attempts[-1].state, run.attempts[-1].error) == (AttemptState.LOST, "its worker was stopped")
    assert (run.attempts[-1].signal, run.attempts[-1].finished) == (9, later(5))
    assert run.reason is not None
    assert run.reason.code == "WORKER_STOPPED"


def test_a_run_during_which_workers_are_stopped_again_and_again_fails() -> None:
    """It may be what stops them."""
    run = make_held(RunState.RUNNING)
    for _ in range(retry.STOPPED_CAP - 1):
        run = stopped(run)
        assert run.state is RunState.QUEUED
        attempt = make_attempt(run.attempt + 1, fence=run.attempt + 1, created=later(60))
        run = advance(advance(run, Assign(attempt=attempt, session=1)), Start(started=later(61)))
    run = stopped(run)
    assert (run.state, run.losses, len(run.attempts)) == (RunState.FAILED, 0, retry.STOPPED_CAP)


def test_at_most_once_whose_worker_was_stopped_has_failed() -> None:
    """It was ended, and that is known; it is not started again all the same."""
    run = stopped(make_held(RunState.RUNNING), delivery=Delivery.AT_MOST_ONCE)
    assert (run.state, run.losses) == (RunState.FAILED, 0)
    assert run.reason is not None
    assert explain(run.reason) == "its worker was stopped"


def test_what_the_worker_says_of_a_lost_attempt_is_kept() -> None:
    run = after_end(make_held(RunState.RUNNING), ended(AttemptState.LOST, error="the keeper process died"))
    assert (run.losses, run.attempts[-1].error) == (1, "the keeper process died")


def test_a_run_has_started_with_its_first_attempt() -> None:
    """Also when that was over before anybody had said that it began."""
    run = after_end(make_held(RunState.STARTING), ended(AttemptState.FAILED), retry=RetryPolicy(tries=2))
    assert (run.state, run.started) == (RunState.QUEUED, later(1))
    again = advance(run, Assign(attempt=make_attempt(2, fence=9, created=later(60)), session=1))
    over = ended(AttemptState.SUCCEEDED, started=later(61), finished=later(62))
    assert after_end(again, over).started == later(1)


def test_an_attempt_that_was_given_back_had_not_started() -> None:
    run = make_held(RunState.RUNNING, started=later(1))
    assert advance(run, on_returned(run, "no descriptor was to be had", later(3))).started is None


def test_returned_attempt_leaves_no_trace_and_waits() -> None:
    run = advance(make_held(RunState.STARTING), on_returned(make_held(RunState.STARTING), "its runner died", later(3)))
    assert (run.state, run.attempts, run.failures, run.losses) == (RunState.QUEUED, (), 0, 0)
    assert run.ready_at == later(3)


def test_returned_attempt_of_a_cancelled_run_ends_it() -> None:
    run = make_held(RunState.STARTING, cancel=WHY)
    assert advance(run, on_returned(run, "revoked", later(3))).state is RunState.CANCELLED


# ── any history ──────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.sampled_from(["start", "ok", "fail", "time-out", "reject", "lose", "return", "cancel"])


def step(run: Run, name: str, spec: Any, rng: Random, now: Any) -> Run:
    """One thing that may happen to an assigned run."""
    outcomes = {
        "ok": AttemptState.SUCCEEDED,
        "fail": AttemptState.FAILED,
        "time-out": AttemptState.TIMED_OUT,
        "reject": AttemptState.REJECTED,
    }
    if name == "start":
        return advance(run, Start(started=now)) if run.state is RunState.STARTING else run
    if name == "lose":
        return advance(run, on_lost(run, spec, now))
    if name == "return":
        return advance(run, on_returned(run, "", now)) if run.state is RunState.STARTING else run
    if name == "cancel":
        from_structs = {key: getattr(run, key) for key in run.__struct_fields__}
        return Run(**{**from_structs, "cancel": WHY})
    return advance(run, on_ended(run, Ended(outcome=outcomes[name], started=None, finished=now), spec, now, rng))


@given(st.lists(STEPS, max_size=40), st.integers(1, 4), st.sampled_from(Delivery))
def test_limits_hold_in_any_history(steps: list[str], tries: int, delivery: Delivery) -> None:
    spec = make_spec(retry=RetryPolicy(tries=tries, jitter=0), delivery=delivery)
    run, now, fence, permitted_then_lost = make_run(), NOON, 0, False
    for name in steps:
        now += timedelta(seconds=1)
        if run.state is RunState.QUEUED:
            assert not permitted_then_lost
            fence += 1
            attempt = make_attempt(run.attempt + 1, fence=fence, created=now)
            run = advance(run, Assign(attempt=attempt, session=1))
        lost_now = name == "lose" and run.state is RunState.RUNNING and delivery is Delivery.AT_MOST_ONCE
        version = run.version
        run = step(run, name, spec, Random(1), now)
        permitted_then_lost = permitted_then_lost or lost_now
        assert run.version >= version
        if run.state.is_final:
            break
    failed = [one for one in run.attempts if one.state in (AttemptState.FAILED, AttemptState.TIMED_OUT)]
    rejected = [one for one in run.attempts if one.state is AttemptState.REJECTED]
    lost = [one for one in run.attempts if one.state is AttemptState.LOST]
    assert len(failed) + len(rejected) == run.failures <= tries
    assert len(rejected) <= 1
    assert len(lost) == run.losses <= retry.LOST_CAP
    assert [one.number for one in run.attempts] == list(range(1, len(run.attempts) + 1))
    fences = [one.fence for one in run.attempts]
    assert fences == sorted(set(fences))
