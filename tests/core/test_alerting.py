"""Who is told what when a run ends."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core.builders import NOON, later, make_attempt, make_job, make_run

from rota.core import alerting
from rota.core.alerting import REMIND_AFTER
from rota.core.model import AlertPolicy, AttemptState, Job, JobStats, Notice, Reason, Run, RunState

MAIL = "mail:ops@example.com"
EVERYTHING = ("failed", "recovered", "missed", "late", "output")


def job_telling(*when: str, to: tuple[str, ...] = (MAIL,)) -> Job:
    return make_job(schedule="0 * * * *", alert=AlertPolicy(to=to, when=when or EVERYTHING))


def end(state: RunState, due: float = 0) -> Run:
    return make_run(later(due), state=state, started=later(due), finished=later(due + 1))


class Story:
    """A job's runs ending one after another."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stats = JobStats(job_id=job.id)
        self.told: list[Notice] = []

    def end(self, state: RunState, due: float = 0, *, output: bool = False) -> list[str]:
        run = end(state, due)
        self.stats, notices = alerting.on_end(self.job, self.stats, run, output, later(due + 1))
        self.told += notices
        return [notice.event for notice in notices]


def test_failure_then_recovery() -> None:
    story = Story(job_telling())
    assert story.end(RunState.FAILED, 0) == ["failed"]
    assert story.end(RunState.SUCCEEDED, 60) == ["recovered"]
    assert story.end(RunState.SUCCEEDED, 120) == []


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.TIMED_OUT, RunState.LOST])
def test_all_kinds_of_failure_are_told(state: RunState) -> None:
    assert Story(job_telling()).end(state) == ["failed"]


@pytest.mark.parametrize("state", [RunState.SKIPPED, RunState.CANCELLED])
def test_what_somebody_wanted_is_not_told(state: RunState) -> None:
    story = Story(job_telling())
    assert story.end(state) == []
    story.end(RunState.FAILED, 60)
    assert story.end(state, 120) == []
    assert story.end(RunState.SUCCEEDED, 180) == ["recovered"]


def test_streak_is_one_thread_reminded_at_most_once_an_hour() -> None:
    story = Story(job_telling())
    events = [story.end(RunState.FAILED, 600 * index) for index in range(8)]
    assert events == [["failed"], [], [], [], [], [], ["failed"], []]
    story.end(RunState.SUCCEEDED, 4800)
    assert len({notice.thread for notice in story.told}) == 1
    assert story.told[0].thread == story.told[0].run_id
    story.end(RunState.FAILED, 5400)
    assert story.told[-1].thread == story.told[-1].run_id != story.told[0].thread


def test_recovery_is_only_told_after_a_failure_was() -> None:
    story = Story(job_telling("recovered"))
    story.end(RunState.FAILED)
    assert story.end(RunState.SUCCEEDED, 60) == []


def test_failure_alone() -> None:
    story = Story(job_telling("failed"))
    assert story.end(RunState.FAILED) == ["failed"]
    assert story.end(RunState.SUCCEEDED, 60) == []
    assert story.end(RunState.FAILED, 120) == ["failed"], "a new streak is told at once"


def test_missed_is_told_when_asked_for() -> None:
    assert Story(job_telling("missed")).end(RunState.MISSED) == ["missed"]
    assert Story(job_telling("failed")).end(RunState.MISSED) == []


def test_output_is_told_unless_something_else_is() -> None:
    story = Story(job_telling("output", "failed"))
    assert story.end(RunState.SUCCEEDED, 0, output=True) == ["output"]
    assert story.end(RunState.SUCCEEDED, 60, output=False) == []
    assert story.end(RunState.FAILED, 120, output=True) == ["failed"]
    assert story.end(RunState.FAILED, 180, output=True) == ["output"], "the failure itself was told a minute ago"


def test_one_notice_per_route_none_without_routes() -> None:
    two = job_telling(to=(MAIL, "slack:ops"))
    _, notices = alerting.on_end(two, JobStats(job_id=two.id), end(RunState.FAILED), False, NOON)
    assert [notice.route for notice in notices] == [MAIL, "slack:ops"]
    assert len({notice.id for notice in notices}) == 2
    assert Story(job_telling(to=())).end(RunState.FAILED) == []


def test_ids_are_stable_and_do_not_depend_on_when_they_are_made() -> None:
    job, run = job_telling(), end(RunState.FAILED)
    _, one = alerting.on_end(job, JobStats(job_id=job.id), run, False, NOON)
    _, two = alerting.on_end(job, JobStats(job_id=job.id), run, False, later(99))
    assert [notice.id for notice in one] == [notice.id for notice in two]
    assert alerting.notice_id("failed", "r", MAIL) != alerting.notice_id("recovered", "r", MAIL)


def test_facts_are_what_a_message_needs() -> None:
    attempt = make_attempt(state=AttemptState.FAILED, exit=2, error="exit code 2")
    reason = Reason(code="FAILED", params={"error": "exit code 2"})
    run = replace(end(RunState.FAILED), attempts=(attempt,), reason=reason)
    job = job_telling()
    _, (notice,) = alerting.on_end(job, JobStats(job_id=job.id, last_success=NOON), run, False, NOON)
    facts = notice.facts
    assert (facts["state"], facts["cause"], facts["exit"]) == ("failed", "exit code 2", 2)
    assert (facts["fails_in_row"], facts["worker"], facts["last_success"]) == (1, "w1", NOON.isoformat())
    assert facts["next"] == later(3600).isoformat()


def test_late_is_marked_always_and_told_when_asked_for() -> None:
    run = make_run(later(60))
    stats, notices = alerting.on_late(job_telling("late"), JobStats(job_id=run.job_id), run, later(90))
    assert [notice.event for notice in notices] == ["late"]
    assert stats.late_since == later(60)
    again, _ = alerting.on_late(job_telling("late"), stats, make_run(later(120)), later(150))
    assert again.late_since == later(60)
    assert alerting.on_late(job_telling("failed"), stats, run, NOON)[1] == []


@given(st.lists(st.tuples(st.sampled_from([s for s in RunState if s.is_final]), st.integers(1, 4000)), max_size=40))
def test_any_history_tells_pairs(history: list[tuple[RunState, int]]) -> None:
    """`recovered` comes once per told streak, never twice, never first; reminders keep their distance."""
    story, due, open_thread = Story(job_telling("failed", "recovered")), 0, None
    last_told: datetime | None = None
    for state, wait in history:
        due += wait
        for event in story.end(state, due):
            notice = story.told[-1]
            if event == "failed":
                assert open_thread in (None, notice.thread)
                if open_thread is not None and last_told is not None:
                    assert notice.created - last_told >= REMIND_AFTER
                open_thread, last_told = notice.thread, notice.created
            else:
                assert open_thread == notice.thread
                open_thread = None
        if state is RunState.SUCCEEDED:
            assert open_thread is None
    assert len({notice.id for notice in story.told}) == len(story.told)
    assert timedelta(0) < REMIND_AFTER
