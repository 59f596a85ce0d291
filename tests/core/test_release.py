"""What may start now."""

from datetime import datetime

import pytest
from msgspec.structs import replace
from tests.core.builders import NOON, later, make_held, make_job, make_run, schedule_of

from rota.core.model import Delivery, Job, MissedMode, MissedPolicy, Overlap, Pause, Reason, Run, RunState, Trigger
from rota.core.release import (
    POLL_ASKED_BACK,
    POLL_LATE,
    POLL_WAITING,
    InLine,
    Released,
    Situation,
    lets_runs_wait,
    may_stage,
    release,
)


def look(job: Job, runs: list[Run], *, holders: list[Run] = [], now: datetime = NOON) -> Released:  # noqa: B006
    """Decide about all runs of one job, which are all its unfinished ones."""
    situation = Situation(jobs={job.id: job}, holders={job.id: holders}, unfinished={job.id: [*holders, *runs]})
    return release(runs, situation, schedule_of, now)


def minutely(overlap: Overlap = Overlap.SKIP, **fields: object) -> Job:
    return make_job(schedule="* * * * *", overlap=overlap, **fields)


def states(released: Released) -> list[tuple[str, str]]:
    return [(run.state.value, run.reason.code if run.reason else "") for run in released.settled]


def test_due_run_is_ready() -> None:
    released = look(minutely(), [make_run()])
    assert [(ready.run.due, ready.alone) for ready in released.ready] == [(NOON, True)]
    assert look(minutely(Overlap.ALLOW), [make_run()]).ready[0].alone is False


def test_run_released_here_holds_its_job_against_the_next() -> None:
    released = look(minutely(), [make_run(), make_run(later(30))], now=later(31))
    assert [ready.run.due for ready in released.ready] == [NOON]
    assert states(released) == [("skipped", "OVERLAP_SKIP")]
    assert released.settled[0].finished == later(31)
    assert released.settled[0].version == 2


def test_allow_lets_all_go() -> None:
    assert len(look(minutely(Overlap.ALLOW), [make_run(), make_run(later(30))], now=later(31)).ready) == 2


def test_queue_lets_them_wait_in_order() -> None:
    runs = [make_run(later(n)) for n in (0, 10, 20)]
    released = look(minutely(Overlap.QUEUE), runs, now=later(21))
    assert [ready.run.due for ready in released.ready] == [NOON]
    assert [run.due for run in released.waiting] == [later(10), later(20)]
    waiting = released.waiting[0]
    assert waiting.reason == Reason(code="OVERLAP_QUEUED", params={"holder": runs[0].id})
    assert (waiting.ready_at, waiting.version, waiting.state) == (later(21) + POLL_WAITING, 2, RunState.QUEUED)


def test_run_behind_one_that_is_missed_in_the_same_look_does_not_wait_for_it() -> None:
    job = minutely(Overlap.QUEUE, missed=MissedPolicy(mode=MissedMode.SKIP))
    released = look(job, [make_run(later(-300)), make_run()], now=NOON)
    assert states(released) == [("missed", "TOO_LATE")]
    assert [ready.run.due for ready in released.ready] == [NOON]


def test_replace_ends_the_holder_and_only_the_newest_waits() -> None:
    holder = make_held(due=later(-600))
    released = look(minutely(Overlap.REPLACE), [make_run(), make_run(later(30))], holders=[holder], now=later(31))
    assert states(released) == [("skipped", "SUPERSEDED")]
    (waiting,) = released.waiting
    assert waiting.due == later(30)
    assert released.end == {holder.id: waiting.id}


def test_retry_goes_on_beside_nothing_else() -> None:
    retry = make_run(later(-600), released=later(-600))
    released = look(minutely(), [retry, make_run()], holders=[retry])
    assert [ready.run.id for ready in released.ready] == [retry.id]
    assert states(released) == [("skipped", "OVERLAP_SKIP")]


def test_deleted_job_starts_nothing_new() -> None:
    gone = make_job(schedule="* * * * *", deleted=NOON)
    assert states(look(gone, [make_run()])) == [("skipped", "DELETED")]
    orphan = release([make_run()], Situation(jobs={}, holders={}, unfinished={}), schedule_of, NOON)
    assert states(orphan) == [("skipped", "DELETED")]


def test_run_that_waited_for_a_slot_too_long_is_missed() -> None:
    job = minutely(missed=MissedPolicy(mode=MissedMode.RUN_LATEST, within=None))
    released = look(job, [make_run(later(-120)), make_run(later(-60))], now=later(1))
    assert states(released) == [("missed", "TOO_LATE"), ("missed", "TOO_LATE")]


def test_latest_is_run_however_late() -> None:
    job = make_job(schedule="0 12 * * *", missed=MissedPolicy(within=None))
    assert look(job, [make_run()], now=later(7200)).ready


@pytest.mark.parametrize("code", ["OVERLAP_QUEUED", "REPLACING"])
def test_run_that_waits_by_policy_is_not_missed(code: str) -> None:
    job = minutely(Overlap.QUEUE, missed=MissedPolicy(mode=MissedMode.SKIP))
    waited = make_run(later(-900), reason=Reason(code=code, params={}))
    assert look(job, [waited]).ready


def test_manual_run_is_never_too_late() -> None:
    job = minutely(missed=MissedPolicy(mode=MissedMode.SKIP))
    assert look(job, [make_run(later(-900), trigger=Trigger.MANUAL)]).ready


def caught_up(due: datetime) -> Run:
    """A run that was created an hour after its instant, when Rota came back."""
    return replace(make_run(due), created=later(3600), ready_at=due, reason=Reason(code="CATCH_UP", params={}))


def test_all_missed_runs_go_one_after_the_other_and_not_only_the_first() -> None:
    job = minutely(missed=MissedPolicy(mode=MissedMode.RUN_ALL, within=None))
    assert lets_runs_wait(job.spec)
    released = look(job, [caught_up(later(n)) for n in (0, 60, 120)], now=later(3600))
    assert [ready.run.due for ready in released.ready] == [NOON]
    assert [run.due for run in released.waiting] == [later(60), later(120)]
    assert released.settled == ()


def test_instants_planned_late_go_one_after_the_other_whatever_is_missed() -> None:
    runs = [replace(make_run(later(n)), created=later(50)) for n in (0, 15, 30)]
    released = look(minutely(), runs, now=later(50))
    assert [ready.run.due for ready in released.ready] == [NOON]
    assert [run.due for run in released.waiting] == [later(15), later(30)]
    assert {run.ready_at for run in released.waiting} == {later(50) + POLL_LATE}


def test_instants_planned_late_that_have_become_old_in_the_queue_follow_the_missed_policy() -> None:
    """Of a long run's schedule by the second only the newest is worth its time after an outage."""
    holder = make_held(due=NOON, released=later(50))
    queued = Reason(code="OVERLAP_QUEUED", params={"holder": holder.id})
    runs = [replace(make_run(later(n)), created=later(50), reason=queued) for n in (15, 30)]
    job = make_job(schedule="*/15 * * * * *")
    assert look(job, runs, holders=[holder], now=later(70)).settled == ()
    released = look(job, runs, holders=[holder], now=later(91))
    assert states(released) == [("missed", "TOO_LATE"), ("missed", "TOO_LATE")]
    patient = look(minutely(Overlap.QUEUE), runs, holders=[holder], now=later(91))
    assert [run.due for run in patient.waiting] == [later(15), later(30)], "where queueing is the policy nobody hurries"


def test_a_run_planned_in_time_is_skipped_behind_one_that_was_late() -> None:
    runs = [replace(make_run(), created=later(50)), replace(make_run(later(49)), created=later(50))]
    released = look(minutely(), runs, now=later(50))
    assert states(released) == [("skipped", "OVERLAP_SKIP")]


def test_punctual_runs_of_such_a_job_are_still_skipped_while_it_is_busy() -> None:
    job = minutely(missed=MissedPolicy(mode=MissedMode.RUN_ALL, within=None))
    released = look(job, [caught_up(NOON), make_run(later(3590))], now=later(3600))
    assert states(released) == [("skipped", "OVERLAP_SKIP")]


@pytest.mark.parametrize("policy", [Overlap.ALLOW, Overlap.SKIP])
def test_other_jobs_do_not_let_runs_wait(policy: Overlap) -> None:
    assert not lets_runs_wait(minutely(policy).spec)


# ── ahead of time ────────────────────────────────────────────────────────────────────────────────────────


def line(*unfinished: Run) -> list[InLine]:
    return [
        InLine(id=run.id, due=run.due, is_released=run.released is not None, version=run.version) for run in unfinished
    ]


def test_a_run_is_staged_when_nothing_can_come_before_it() -> None:
    job = make_job(schedule="* * * * * *")
    run, newer = make_run(later(2)), make_run(later(3))
    assert may_stage(run, job, line(run, newer))
    assert not may_stage(newer, job, line(run, newer))
    assert not may_stage(run, job, line(run, make_held(due=later(-1))))
    assert not may_stage(run, job, line(run, make_held(RunState.STARTING, later(3))))
    assert not may_stage(run, job, line(run, make_run(later(1), trigger=Trigger.MANUAL)))


def test_runs_that_may_overlap_are_staged_beside_each_other() -> None:
    job = make_job(schedule="* * * * * *", overlap=Overlap.ALLOW)
    run = make_run(later(3))
    assert may_stage(run, job, line(make_run(later(2)), run, make_held()))


@pytest.mark.parametrize(
    "job",
    [
        make_job(delivery=Delivery.AT_MOST_ONCE),
        make_job(deleted=NOON),
        make_job(pause=Pause(since=NOON, by="ada")),
        make_job(revision=2),
    ],
    ids=["at most once", "deleted", "paused", "edited"],
)
def test_what_needs_a_word_at_its_time_is_not_staged(job: Job) -> None:
    run = make_run(later(2))
    assert not may_stage(run, job, line(run))


def test_neither_is_a_retry_nor_what_has_a_worker() -> None:
    job = make_job()
    for run in (make_run(later(2), released=NOON), make_held(RunState.STARTING, later(2))):
        assert not may_stage(run, job, line(run))


def test_what_is_due_now_asks_back_what_is_due_later() -> None:
    staged = make_held(RunState.STARTING, later(2))
    manual = make_run(NOON, trigger=Trigger.MANUAL)
    released = look(minutely(), [manual], holders=[staged])
    assert (released.ready, released.settled) == ((), ())
    (waiting,), (asked,) = released.waiting, released.ask_back
    assert (waiting.reason, waiting.ready_at) == (
        Reason(code="ASKED_BACK", params={"holder": staged.id}),
        NOON + POLL_ASKED_BACK,
    )
    assert (asked.id, asked.state, asked.version) == (staged.id, RunState.STARTING, staged.version + 1)
    assert asked.withdrawn == Reason(code="MADE_ROOM", params={"by": manual.id})
    again = look(minutely(), [manual], holders=[asked])
    assert (len(again.waiting), again.ask_back) == (1, ())


def test_what_is_staged_counts_from_its_time_on() -> None:
    staged = make_held(RunState.STARTING, later(2))
    released = look(minutely(), [make_run(NOON, trigger=Trigger.MANUAL)], holders=[staged], now=later(2))
    assert states(released) == [("skipped", "OVERLAP_SKIP")]


def test_what_may_overlap_asks_nothing_back() -> None:
    staged = make_held(RunState.STARTING, later(2))
    manual = make_run(NOON, trigger=Trigger.MANUAL)
    released = look(minutely(Overlap.ALLOW), [manual], holders=[staged])
    assert (len(released.ready), released.ask_back) == (1, ())


def test_after_a_restore_at_most_once_work_is_held() -> None:
    for delivery, ready in ((Delivery.AT_MOST_ONCE, 0), (Delivery.AT_LEAST_ONCE, 1)):
        job, run = minutely(delivery=delivery), make_run()
        situation = Situation(jobs={job.id: job}, holders={}, unfinished={}, restored=True)
        released = release([run], situation, schedule_of, NOON)
        assert len(released.ready) == ready
        assert [one.reason and one.reason.code for one in released.waiting] == ["RESTORE_HELD"] * (1 - ready)
