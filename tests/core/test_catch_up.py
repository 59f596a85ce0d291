"""What answers the instants that a cursor passes."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.builders import NOON, at, later, make_job, make_run, schedule_of

from rota.core import catch_up
from rota.core.catch_up import LATE_LIMIT, LOOKAHEAD, ROWS_PER_CATCH_UP
from rota.core.errors import RotaError
from rota.core.model import HttpTask, Job, MissedMode, MissedPolicy, Pause, PythonTask, Run, RunState, Trigger

MINUTELY = "* * * * *"
SKIP = MissedPolicy(mode=MissedMode.SKIP)
LATEST = MissedPolicy(mode=MissedMode.RUN_LATEST, within=None)
ALL = MissedPolicy(mode=MissedMode.RUN_ALL, within=None)
DAYS = 86_400


def plan(job: Job, now: datetime) -> catch_up.Move:
    return catch_up.plan(job, schedule_of(job), now)


def minutely(**fields: object) -> Job:
    return make_job(schedule=MINUTELY, **fields)


def dues(runs: tuple[Run, ...], state: RunState) -> list[datetime]:
    return [run.due for run in runs if run.state is state]


def codes(move: catch_up.Move) -> set[str]:
    return {run.reason.code for run in move.runs if run.reason}


def test_instant_on_time_is_queued() -> None:
    move = plan(minutely(), later(60))
    (run,) = move.runs
    assert (run.due, run.state, run.reason, run.trigger) == (later(60), RunState.QUEUED, None, Trigger.SCHEDULE)
    assert (run.ready_at, run.created, run.revision) == (later(60), later(60), 1)
    assert (move.cursor, move.next_at, move.gaps) == (later(60), later(120), ())


def test_nothing_between_two_instants() -> None:
    move = plan(minutely(), later(59))
    assert (move.runs, move.gaps, move.cursor, move.next_at) == ((), (), later(59), later(60))


def test_clock_that_stands_still_moves_nothing() -> None:
    move = plan(minutely(), NOON)
    assert (move.runs, move.cursor) == ((), NOON)


def test_clock_behind_the_cursor_repeats_nothing() -> None:
    move = plan(minutely(cursor=later(600)), later(30))
    assert (move.runs, move.gaps, move.cursor, move.next_at) == ((), (), later(600), later(660))


@pytest.mark.parametrize("policy", [SKIP, LATEST, ALL])
def test_up_to_a_minute_late_is_not_missed(policy: MissedPolicy) -> None:
    job = make_job(schedule="*/20 * * * * *", missed=policy)
    move = plan(job, later(60))
    assert dues(move.runs, RunState.QUEUED) == [later(20), later(40), later(60)]
    assert not codes(move)


def test_late_limit_is_a_border_between_two_instants() -> None:
    job = minutely(missed=SKIP)
    assert dues(plan(job, later(119)).runs, RunState.QUEUED) == [later(60)]
    assert dues(plan(job, later(120)).runs, RunState.QUEUED) == [later(60), later(120)]
    move = plan(job, later(121))
    assert dues(move.runs, RunState.QUEUED) == [later(120)]
    assert dues(move.runs, RunState.MISSED) == [later(60)]


def test_skip_misses_what_is_old() -> None:
    move = plan(make_job(schedule="0 * * * *", missed=SKIP), later(3 * 3600 + 600))
    assert dues(move.runs, RunState.MISSED) == [later(3600), later(7200), later(10800)]
    assert codes(move) == {"CATCHUP_SKIPPED"}
    assert all(run.finished == later(3 * 3600 + 600) for run in move.runs)


def test_run_latest_runs_the_newest_old_one() -> None:
    move = plan(make_job(schedule="0 * * * *", missed=LATEST), later(3 * 3600 + 600))
    assert dues(move.runs, RunState.MISSED) == [later(3600), later(7200)]
    assert dues(move.runs, RunState.QUEUED) == [later(10800)]
    assert codes(move) == {"CATCHUP_SKIPPED", "CATCH_UP"}


def test_run_latest_needs_no_old_one_when_a_fresh_one_is_due() -> None:
    move = plan(make_job(schedule="0 * * * *", missed=LATEST), later(2 * 3600 + 10))
    assert dues(move.runs, RunState.QUEUED) == [later(7200)]
    assert dues(move.runs, RunState.MISSED) == [later(3600)]


def test_run_latest_within() -> None:
    policy = MissedPolicy(mode=MissedMode.RUN_LATEST, within=3600)
    job = make_job(schedule="0 3 * * *", missed=policy, cursor=at("2026-06-01 00:00"))
    assert dues(plan(job, at("2026-06-01 03:59")).runs, RunState.QUEUED) == [at("2026-06-01 03:00")]
    assert dues(plan(job, at("2026-06-01 04:01")).runs, RunState.MISSED) == [at("2026-06-01 03:00")]


def test_run_all_runs_at_most_so_many_the_newest() -> None:
    policy = MissedPolicy(mode=MissedMode.RUN_ALL, within=None, at_most=2)
    move = plan(make_job(schedule="0 * * * *", missed=policy), later(4 * 3600 + 600))
    assert dues(move.runs, RunState.QUEUED) == [later(10800), later(14400)]
    assert dues(move.runs, RunState.MISSED) == [later(3600), later(7200)]


def test_run_all_within() -> None:
    policy = MissedPolicy(mode=MissedMode.RUN_ALL, within=2 * 3600)
    move = plan(make_job(schedule="0 * * * *", missed=policy), later(4 * 3600 + 600))
    assert dues(move.runs, RunState.QUEUED) == [later(10800), later(14400)]


def test_runs_come_in_order_of_due() -> None:
    move = plan(minutely(missed=MissedPolicy(mode=MissedMode.RUN_ALL, within=600)), later(3600))
    assert [run.due for run in move.runs] == sorted(run.due for run in move.runs)


def test_long_outage_is_rows_for_the_newest_and_one_gap() -> None:
    move = plan(minutely(missed=SKIP), later(30 * DAYS))
    missed = dues(move.runs, RunState.MISSED)
    assert len(missed) == ROWS_PER_CATCH_UP
    assert missed[-1] == later(30 * DAYS - 120)
    (gap,) = move.gaps
    assert gap.count == 30 * 24 * 60 - ROWS_PER_CATCH_UP - 2
    assert gap.after == NOON
    assert missed[0] - timedelta(minutes=1) <= gap.until < missed[0]
    assert gap.reason.code == "CATCHUP_SKIPPED"


def test_exactly_as_many_as_have_rows_leave_no_gap() -> None:
    move = plan(minutely(missed=SKIP), later(60 * (ROWS_PER_CATCH_UP + 2)))
    assert len(dues(move.runs, RunState.MISSED)) == ROWS_PER_CATCH_UP
    assert not move.gaps


def test_shadow_records_and_runs_nothing() -> None:
    move = plan(minutely(shadow=True), later(60))
    assert dues(move.runs, RunState.SKIPPED) == [later(60)]
    assert codes(move) == {"SHADOW"}
    long = plan(minutely(shadow=True), later(DAYS))
    assert len(long.runs) == ROWS_PER_CATCH_UP
    assert long.gaps[0].count == 1440 - ROWS_PER_CATCH_UP


def test_late_mark_only_for_runs_that_can_be_late() -> None:
    job = make_job(schedule="0 * * * *", missed=LATEST, late_after=90.0)
    move = plan(job, later(2 * 3600 + 600))
    by_due = {run.due: run.late_at for run in move.runs}
    assert by_due == {later(3600): None, later(7200): later(7290)}


def test_new_run_takes_kind_params_and_nominal_from_its_job() -> None:
    job = make_job(schedule="0 3 * * *, spread 20m", task=HttpTask(method="GET", url="http://x/"), params={"a": "1"})
    occurrence = schedule_of(job).next(NOON)
    assert occurrence is not None
    run = catch_up.new_run(job, occurrence, NOON)
    assert (run.kind, run.params, run.due, run.nominal) == ("http", {"a": "1"}, occurrence.due, occurrence.nominal)
    assert catch_up.task_kind(make_job(task=PythonTask(function="m:f")).spec) == "python"


# ── pauses ───────────────────────────────────────────────────────────────────────────────────────────────


def paused(until: datetime | None, **fields: object) -> Job:
    fields = {"schedule": MINUTELY, **fields}
    return make_job(pause=Pause(since=NOON, by="ada", reason="holiday", until=until), **fields)


def test_paused_job_is_not_planned() -> None:
    for until, look in ((None, None), (later(9999), later(9999) + LOOKAHEAD)):
        move = plan(paused(until), later(600))
        assert (move.runs, move.gaps, move.cursor, move.next_at) == ((), (), NOON, look)
        assert move.pause is not None


def test_looking_ahead_plans_what_is_soon_due_and_ends_no_pause_early() -> None:
    job = make_job(schedule="* * * * * *")
    move = catch_up.plan(job, schedule_of(job), later(1), LOOKAHEAD)
    assert [run.due for run in move.runs] == [later(1), later(2), later(3)]
    assert {(run.state, run.ready_at == run.due) for run in move.runs} == {(RunState.QUEUED, True)}
    assert (move.cursor, move.next_at) == (later(3.5), later(4))
    held = paused(later(602), schedule="* * * * * *")
    assert catch_up.plan(held, schedule_of(held), later(600), LOOKAHEAD).pause is not None
    over = catch_up.plan(held, schedule_of(held), later(602), LOOKAHEAD)
    assert (over.pause, [run.due for run in over.runs]) == (None, [later(603), later(604)])


def test_an_instant_that_is_only_ahead_does_not_stand_for_the_missed_ones() -> None:
    job = make_job(schedule="0 * * * *", missed=LATEST)
    now = later(2 * 3600 + 3599)
    runs = catch_up.plan(job, schedule_of(job), now, LOOKAHEAD).runs
    assert dues(runs, RunState.QUEUED) == [later(2 * 3600), later(3 * 3600)]


def test_pause_that_has_run_out_ends_with_a_gap() -> None:
    move = plan(paused(later(600)), later(660))
    (gap,) = move.gaps
    assert (gap.after, gap.until, gap.count) == (NOON, later(600), 10)
    assert gap.reason.params == {"by": "ada", "why": ": holiday", "job": "team/job"}
    assert dues(move.runs, RunState.QUEUED) == [later(660)]
    assert (move.pause, move.cursor) == (None, later(660))


def test_outage_after_the_end_of_a_pause_follows_the_missed_policy() -> None:
    move = plan(paused(later(600), missed=SKIP), later(1200))
    assert move.gaps[0].count == 10
    assert dues(move.runs, RunState.MISSED)[0] == later(660)


def test_settle_answers_a_pause_so_far_and_keeps_it() -> None:
    job = paused(None)
    move = catch_up.settle(job, schedule_of(job), later(600))
    assert (move.gaps[0].count, move.cursor, move.pause) == (10, later(600), job.pause)
    assert move.runs == ()


def test_gap_without_instants_is_no_gap() -> None:
    job = make_job(schedule="0 3 * * *", pause=Pause(since=NOON, by="ada"))
    assert catch_up.settle(job, schedule_of(job), later(60)).gaps == ()


# ── broken, release, words ───────────────────────────────────────────────────────────────────────────────


def test_broken_schedule_leaves_the_cursor() -> None:
    move = catch_up.broken(make_job(schedule=MINUTELY), RotaError("no such zone"))
    assert (move.broken, move.next_at, move.cursor, move.runs) == ("no such zone", None, NOON, ())
    assert catch_up.broken(make_job(), ValueError("year 10000")).broken == "ValueError: year 10000"


def never() -> bool:
    return False


def always() -> bool:
    return True


def must_not_ask() -> bool:
    raise AssertionError("asked without need")


@pytest.mark.parametrize("policy", [SKIP, LATEST, ALL])
def test_young_run_is_started_whatever_the_policy(policy: MissedPolicy) -> None:
    spec = make_job(missed=policy).spec
    assert catch_up.missed_at_release(spec, make_run(), must_not_ask, NOON + LATE_LIMIT) is None


def test_old_run_follows_the_policy_at_its_release() -> None:
    now = NOON + LATE_LIMIT + timedelta(seconds=1)
    run = make_run()
    assert catch_up.missed_at_release(make_job(missed=SKIP).spec, run, must_not_ask, now) is not None
    assert catch_up.missed_at_release(make_job(missed=ALL).spec, run, must_not_ask, now) is None
    assert catch_up.missed_at_release(make_job(missed=LATEST).spec, run, never, now) is None
    reason = catch_up.missed_at_release(make_job(missed=LATEST).spec, run, always, now)
    assert reason is not None
    assert (reason.code, reason.params["late"]) == ("TOO_LATE", "61s")


def test_too_old_is_missed_without_a_look_at_the_schedule() -> None:
    spec = make_job(missed=MissedPolicy(within=3600)).spec
    assert catch_up.missed_at_release(spec, make_run(), must_not_ask, later(3601)) is not None


def test_retries_and_manual_runs_are_never_missed() -> None:
    spec, now = make_job(missed=SKIP).spec, later(DAYS)
    assert catch_up.missed_at_release(spec, make_run(released=NOON), must_not_ask, now) is None
    assert catch_up.missed_at_release(spec, make_run(trigger=Trigger.MANUAL), must_not_ask, now) is None


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (SKIP, "skip"),
        (MissedPolicy(), "run-latest within 1h"),
        (LATEST, "run-latest"),
        (MissedPolicy(mode=MissedMode.RUN_ALL, within=21600, at_most=5), "run-all within 6h at most 5"),
    ],
)
def test_policy_in_words(policy: MissedPolicy, words: str) -> None:
    assert catch_up.policy_words(policy) == words


policies = st.builds(
    MissedPolicy,
    mode=st.sampled_from(MissedMode),
    within=st.none() | st.sampled_from([1.0, 59.0, 60.0, 61.0, 3600.0, 7 * 86400.0]),
    at_most=st.integers(1, 150),
)


@given(
    st.sampled_from([(1, "* * * * * *"), (60, MINUTELY), (3600, "0 * * * *")]),
    st.integers(0, 400),
    st.integers(0, 59),
    policies,
    st.booleans(),
)
def test_rows_and_gaps_add_up(
    every: tuple[int, str], periods: int, rest: int, policy: MissedPolicy, shadow: bool
) -> None:
    """Every instant in one place, punctual ones queued, at most a hundred rows for what is not run."""
    period, text = every
    elapsed = periods * period + rest % period
    now = later(elapsed)
    move = plan(make_job(schedule=text, missed=policy, shadow=shadow), now)
    expected = [later(n * period) for n in range(1, elapsed // period + 1)]
    answered = [run.due for run in move.runs]
    for gap in move.gaps:
        inside = [due for due in expected if gap.after < due <= gap.until]
        assert len(inside) == gap.count
        answered += inside
    assert sorted(answered) == expected
    not_run = [run for run in move.runs if run.state.is_final]
    assert len(not_run) <= ROWS_PER_CATCH_UP
    if not shadow:
        fresh = [due for due in expected if due >= now - LATE_LIMIT]
        queued = dues(move.runs, RunState.QUEUED)
        assert [due for due in queued if due in set(fresh)] == fresh
        old = [due for due in queued if due not in set(fresh)]
        limit = {MissedMode.SKIP: 0, MissedMode.RUN_LATEST: 1, MissedMode.RUN_ALL: policy.at_most}[policy.mode]
        assert len(old) <= limit
        if policy.within is not None:
            assert all(now - due <= timedelta(seconds=policy.within) for due in old)


def test_pause_ends_at_the_very_moment_it_names() -> None:
    move = plan(paused(later(600)), later(600))
    assert (move.pause, move.next_at, move.gaps[0].count) == (None, later(660), 10)
