"""What a run's end does to its job's counters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NOON, later, make_job, make_run

from rota.core.job_stats import FAILED_STATES, OUTCOMES, duration_digit, fold
from rota.core.model import JobStats, Run, RunState

EMPTY = JobStats(job_id=make_job().id)
FINAL = [state for state in RunState if state.is_final]


def end(state: RunState, due: float = 0, took: float | None = 1.0) -> Run:
    started = None if took is None else later(due)
    return make_run(later(due), state=state, started=started, finished=later(due + (took or 0)))


@pytest.mark.parametrize(
    ("seconds", "digit"),
    [(None, "0"), (0, "0"), (0.0099, "0"), (0.01, "1"), (1, "4"), (60, "8"), (86_400, "f"), (1e9, "f")],
)
def test_digit_grows_with_the_logarithm(seconds: float | None, digit: str) -> None:
    assert duration_digit(seconds) == digit


@given(st.lists(st.floats(0, 1e6), min_size=2))
def test_longer_never_has_a_smaller_digit(seconds: list[float]) -> None:
    digits = [int(duration_digit(second), 16) for second in sorted(seconds)]
    assert digits == sorted(digits)


def test_every_final_state_has_its_own_letter() -> None:
    assert set(OUTCOMES) == set(FINAL)
    assert len(set(OUTCOMES.values())) == len(FINAL)


def test_strip_keeps_the_newest_runs_in_order() -> None:
    stats = EMPTY
    for index in range(30):
        stats = fold(stats, end(RunState.SUCCEEDED if index % 2 else RunState.FAILED, index))
    assert len(stats.recent) == 48
    assert stats.recent[-4:] == "f4s4"


def test_run_that_never_ran_has_no_duration() -> None:
    assert fold(EMPTY, end(RunState.MISSED, took=None)).recent == "m0"


@pytest.mark.parametrize("state", FINAL)
def test_what_counts_as_a_failure(state: RunState) -> None:
    before = fold(EMPTY, end(RunState.FAILED))
    after = fold(before, end(state, 60))
    expected = {RunState.SUCCEEDED: 0}.get(state, 2 if state in FAILED_STATES else 1)
    assert after.fails_in_row == expected
    assert after.last_state is state


def test_streak_is_named_by_its_first_failure() -> None:
    first, second = end(RunState.FAILED), end(RunState.LOST, 60)
    assert fold(fold(EMPTY, first), second).streak == first.id


def test_older_run_does_not_become_the_last() -> None:
    newer, older = end(RunState.FAILED, 600), end(RunState.SUCCEEDED, 60)
    stats = fold(fold(EMPTY, newer), older)
    assert (stats.last_run, stats.last_due, stats.last_state) == (newer.id, newer.due, RunState.FAILED)
    assert (stats.last_success, stats.fails_in_row) == (older.due, 0)


def test_run_that_was_cancelled_before_it_was_due_is_not_the_last() -> None:
    ran, ahead = end(RunState.SUCCEEDED), make_run(later(9000), state=RunState.CANCELLED, finished=later(60))
    stats = fold(fold(EMPTY, ran), ahead)
    assert (stats.last_run, stats.last_finished) == (ran.id, ran.finished)
    after = end(RunState.SUCCEEDED, 600)
    assert fold(stats, after).last_run == after.id


def test_success_mark_never_goes_back() -> None:
    stats = fold(fold(EMPTY, end(RunState.SUCCEEDED, 600)), end(RunState.SUCCEEDED, 60))
    assert stats.last_success == later(600)


def test_success_of_the_late_instant_or_a_later_one_ends_lateness() -> None:
    late = JobStats(job_id=EMPTY.job_id, late_since=later(60))
    assert fold(late, end(RunState.SUCCEEDED, 60)).late_since is None
    assert fold(late, end(RunState.SUCCEEDED, 120)).late_since is None
    assert fold(late, end(RunState.SUCCEEDED, 0)).late_since == later(60)
    assert fold(late, end(RunState.FAILED, 120)).late_since == later(60)
    assert later(60) > NOON
