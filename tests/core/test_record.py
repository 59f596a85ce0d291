"""What a batch of news makes of runs, counters and notices."""

from datetime import datetime
from random import Random
from typing import Any

import pytest
from tests.core.builders import NOON, later, make_held, make_job, make_run

from rota.core import record
from rota.core.model import AlertPolicy, AttemptState, Delivery, Job, JobStats, Reason, RetryPolicy, Run, RunState
from rota.core.record import HasEnded, HasStarted, Known, News, Recorded, WantsPermit, WasLost, WasReturned
from rota.core.run_state import Ended

TEN = later(10)
JOB = make_job(alert=AlertPolicy(to=("mail:ops",)))


def decide(
    news: list[News], *runs: Run, job: Job = JOB, now: datetime = TEN, specs: dict[Any, Any] | None = None
) -> Recorded:
    known = Known(runs={run.id: run for run in runs}, jobs={job.id: job}, stats={}, specs=specs or {})
    return record.decide(news, known, now, Random(1))


def ended(run: Run, outcome: AttemptState = AttemptState.SUCCEEDED, fence: int = 7, **fields: Any) -> HasEnded:
    event = Ended(**{"outcome": outcome, "started": later(1), "finished": later(5), **fields})
    return HasEnded(run_id=run.id, fence=fence, event=event)


def every_news(run: Run, fence: int) -> list[News]:
    return [
        HasStarted(run_id=run.id, fence=fence, started=later(1)),
        WantsPermit(run_id=run.id, fence=fence),
        ended(run, fence=fence),
        WasReturned(run_id=run.id, fence=fence, why=""),
        WasLost(run_id=run.id, fence=fence),
    ]


@pytest.mark.parametrize("fence", [6, 8, 0])
@pytest.mark.parametrize("index", range(5))
def test_other_fence_changes_nothing(fence: int, index: int) -> None:
    run = make_held()
    news = every_news(run, fence)[index]
    assert decide([news], run) == Recorded(refused=(news,))


@pytest.mark.parametrize("index", range(5))
def test_run_without_attempt_unknown_run_and_unknown_job_change_nothing(index: int) -> None:
    for run in (make_run(), make_held()):
        news = every_news(run, run.fence)[index]
        known = Known(runs={} if run.current else {run.id: run}, jobs={JOB.id: JOB}, stats={}, specs={})
        assert record.decide([news], known, NOON, Random(1)).refused == (news,)
    held = make_held()
    news = every_news(held, 7)[index]
    assert record.decide([news], Known(runs={held.id: held}, jobs={}, stats={}, specs={}), NOON, Random(1)).runs == ()


def test_start_and_end_in_one_batch_are_one_write() -> None:
    run = make_held(RunState.STARTING)
    done = decide([HasStarted(run_id=run.id, fence=7, started=later(1)), ended(run)], run)
    (after,) = done.runs
    assert (after.state, after.version) == (RunState.SUCCEEDED, run.version + 1)
    assert done.stats[0].last_state is RunState.SUCCEEDED


def test_second_report_of_an_end_is_refused() -> None:
    run = make_held()
    done = decide([ended(run), ended(run, AttemptState.FAILED)], run)
    assert [after.state for after in done.runs] == [RunState.SUCCEEDED]
    assert len(done.refused) == 1


def test_start_that_comes_twice_is_nothing() -> None:
    run = make_held(RunState.RUNNING)
    assert decide([HasStarted(run_id=run.id, fence=7, started=later(1))], run) == Recorded()


def test_permit_is_given_once() -> None:
    run = make_held(RunState.STARTING)
    wants = WantsPermit(run_id=run.id, fence=7)
    first = decide([wants], run)
    assert first.runs[0].state is RunState.RUNNING
    assert first.permitted == (wants,)
    again = decide([wants], first.runs[0])
    assert again.runs == again.permitted == ()


def test_stale_permit_in_a_batch_with_a_good_one_is_not_given() -> None:
    run = make_held(RunState.STARTING)
    stale, good = WantsPermit(run_id=run.id, fence=6), WantsPermit(run_id=run.id, fence=7)
    assert decide([stale, good], run).permitted == (good,)


def test_run_to_be_cancelled_gets_no_permit() -> None:
    run = make_held(RunState.STARTING, cancel=Reason(code="CANCELLED", params={}))
    done = decide([WantsPermit(run_id=run.id, fence=7)], run)
    assert done.runs == done.permitted == ()


def test_several_runs_of_a_job_fold_into_one_row_of_counters() -> None:
    runs = [make_held(due=later(n), fence=n + 7) for n in range(3)]
    done = decide([ended(run, AttemptState.FAILED, fence=run.fence) for run in runs], *runs)
    (stats,) = done.stats
    assert stats.fails_in_row == 3
    assert [notice.event for notice in done.notices] == ["failed"]


def test_retry_follows_the_run_s_own_revision() -> None:
    old = make_held(revision=1)
    job = make_job(revision=2, retry=RetryPolicy(tries=1))
    specs = {(job.id, 1): make_job(retry=RetryPolicy(tries=2)).spec}
    (after,) = decide([ended(old, AttemptState.FAILED)], old, job=job, specs=specs).runs
    assert after.state is RunState.QUEUED


def test_lost_and_returned() -> None:
    one, two = make_held(), make_held(RunState.STARTING, later(60), fence=9)
    done = decide([WasLost(run_id=one.id, fence=7), WasReturned(run_id=two.id, fence=9, why="draining")], one, two)
    assert [run.state for run in done.runs] == [RunState.QUEUED, RunState.QUEUED]
    assert [run.losses for run in done.runs] == [1, 0]
    assert done.stats == ()


def test_at_most_once_lost_after_its_permit_is_lost_for_good_and_told() -> None:
    job = make_job(delivery=Delivery.AT_MOST_ONCE, alert=JOB.spec.alert)
    run = make_held(RunState.STARTING)
    news = [WantsPermit(run_id=run.id, fence=7), WasLost(run_id=run.id, fence=7)]
    done = decide(news, run, job=job)
    assert done.runs[0].state is RunState.LOST
    assert [notice.event for notice in done.notices] == ["failed"]


def test_worker_s_clock_is_kept_between_order_and_present() -> None:
    lies = [(later(-999), later(99_999)), (later(99_999), later(-999))]
    for started, finished in lies:
        run = make_held(RunState.STARTING)
        (after,) = decide([ended(run, started=started, finished=finished)], run).runs
        attempt = after.attempts[-1]
        assert attempt.started is not None
        assert attempt.finished is not None
        assert NOON <= attempt.started <= attempt.finished <= later(10)


def test_output_of_an_attempt_counts_for_alerts() -> None:
    job = make_job(alert=AlertPolicy(to=("mail:ops",), when=("output",)))
    run = make_held()
    event = Ended(outcome=AttemptState.SUCCEEDED, started=None, finished=later(5))
    news = HasEnded(run_id=run.id, fence=7, event=event, wrote_output=True)
    assert [notice.event for notice in decide([news], run, job=job).notices] == ["output"]


def test_settle_folds_runs_that_ended_without_a_worker() -> None:
    runs = [make_run(later(n), state=RunState.SKIPPED, finished=NOON) for n in range(2)]
    done = record.settle(runs, {JOB.id: JOB}, {}, NOON)
    assert done.runs == tuple(runs)
    assert done.stats == (
        JobStats(
            job_id=JOB.id,
            recent="k0k0",
            last_run=runs[1].id,
            last_state=RunState.SKIPPED,
            last_due=runs[1].due,
            last_finished=NOON,
            version=1,
        ),
    )
    assert record.settle(runs, {}, {}, NOON).stats == ()


def test_counters_are_written_one_version_above_what_was_read_however_often_they_were_folded() -> None:
    runs = [make_run(later(n), state=RunState.SKIPPED, finished=NOON) for n in range(5)]
    known = JobStats(job_id=JOB.id, version=7)
    (stats,) = record.settle(runs, {JOB.id: JOB}, {JOB.id: known}, NOON).stats
    assert stats.version == 8
