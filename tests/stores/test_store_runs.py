"""The contract of runs: created once, given out under sessions and overlap, recorded all or nothing."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from store_values import (
    NOON,
    PassTime,
    add_jobs,
    after,
    audit,
    finished,
    make_chunk,
    make_gap,
    make_job,
    make_notice,
    make_run,
    make_server,
    make_stats,
    make_worker,
    start_and_finish,
    starting,
)

from rota.core.errors import Conflict, Fenced, Invalid
from rota.core.ids import shard_of
from rota.core.model import Attempt, AttemptState, Reason, Run, RunState, Trigger, Usage
from rota.core.release import InLine
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, RunChange
from rota.store.runs import LossGuard, Waiting


async def test_a_run_is_read_as_it_was_written(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    past = Attempt(
        number=1,
        fence=2**40 + 5,
        worker="w9",
        state=AttemptState.FAILED,
        created=after(0.000001),
        started=after(1),
        finished=after(2),
        exit=-9,
        signal=9,
        error="it fell over: ü 漢",
        failure="exit",
        usage=Usage(cpu_seconds=0.25, peak_memory=2**33),
    )
    run = make_run(
        job,
        due=after(0.5),
        trigger=Trigger.MANUAL,
        key="abc",
        nominal=NOON,
        retry_of=make_run(job).id,
        reason=Reason(code="RETRY_WAIT", params={"attempt": 1, "deep": [None, 1.5]}),
        late_at=after(900),
        attempts=(past,),
        failures=1,
        losses=2,
        released=after(3),
        cancel=Reason(code="CANCELLED"),
        session=4,
        started=after(1),
        params={"day": "monday"},
        result={"rows": [1, 2]},
        actor="ann",
        version=17,
    )
    assert await store.runs.create([run]) == [run]
    assert await store.runs.get([run.id]) == {run.id: run}


async def test_creating_a_run_twice_changes_nothing(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    await store.runs.create([run], [audit("run.trigger")])
    again = replace(run, actor="bob", version=5)
    assert await store.runs.create([again, make_run(job, after(1)), again]) == [run, make_run(job, after(1)), run]
    assert await store.runs.get([run.id]) == {run.id: run}
    assert [entry.verb for entry in await store.access.audit_trail(5)] == ["run.trigger"]


async def test_creating_a_run_that_has_ended_changes_nothing(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    ended = finished(replace(make_run(job), version=2))
    await start_and_finish(store, ended)
    assert await store.runs.create([make_run(job)]) == [ended]
    assert await store.runs.unfinished([job.id]) == []


async def test_the_same_key_of_a_job_is_the_same_run(store: Store) -> None:
    job, other = make_job(), make_job("web/other")
    await add_jobs(store, job, other)
    first = make_run(job, trigger=Trigger.MANUAL, key="k", created=after(1))
    second = make_run(job, after(5), trigger=Trigger.MANUAL, key="k", created=after(5))
    elsewhere = make_run(other, trigger=Trigger.MANUAL, key="k", created=after(1))
    assert first.id != second.id
    assert await store.runs.create([first, second, elsewhere]) == [first, first, elsewhere]
    ended = finished(first, RunState.CANCELLED)
    await store.runs.record([RunChange(run=ended)], [], [])
    assert await store.runs.create([second]) == [ended]
    assert await store.runs.get([second.id]) == {}


async def test_a_run_of_no_job_is_refused_and_nothing_of_its_batch_is_kept(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    good = make_run(job)
    with pytest.raises(Invalid):
        await store.runs.create([good, make_run(make_job("web/nobody"))])
    assert await store.runs.get([good.id]) == {}


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_waiting_runs_come_in_order_and_by_kind(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    runs = [
        make_run(job, after(second), kind=kind)
        for second, kind in enumerate(["http", "shell", "python", "http", "shell"])
    ]
    await store.runs.create(list(reversed(runs)))

    async def waiting(*arguments: object, **more: object) -> list[int]:
        found = await store.runs.waiting(*arguments, **more)  # type: ignore[arg-type]
        return [runs.index(run) for run in found.runs]

    assert await waiting(after(3), {"http": 10, "shell": 10}, 10) == [0, 1, 3]
    assert await waiting(after(3), None, 10) == [0, 1, 2, 3]
    assert await waiting(after(3), {"shell": 10}, 10) == [1]
    assert await waiting(after(9), {"http": 2, "shell": 2}, 2) == [0, 1]
    assert await waiting(after(9), {}, 10) == []
    assert await waiting(after(9), None, 10, after=after(2)) == [3, 4]
    assert await waiting(after(-1), None, 10) == []


async def test_runs_of_one_moment_wait_in_order_of_id(store: Store) -> None:
    jobs = [make_job(f"web/job-{number}") for number in range(9)]
    await add_jobs(store, *jobs)
    runs = [make_run(job) for job in jobs]
    await store.runs.create(runs)
    found = await store.runs.waiting(NOON, {"http": 5}, 5)
    assert [run.id for run in found.runs] == sorted(run.id for run in runs)[:5]


async def test_a_crowd_of_one_job_comes_in_its_turn(store: Store) -> None:
    """Whatever slices the jobs are in, the oldest come first, of each kind as many as there is room for."""
    jobs = [make_job(f"web/job-{number}") for number in range(14)]
    await add_jobs(store, *jobs)
    crowd = [make_run(jobs[0], after(second)) for second in range(150)]
    others = [
        make_run(job, after(120 + place), kind="shell" if number % 2 else "http")
        for number, job in enumerate(jobs[1:])
        for place in range(40)
    ]
    await store.runs.create([*crowd, *others])
    in_order = sorted([*crowd, *others], key=lambda run: (run.ready_at, run.id))
    found = await store.runs.waiting(after(999), None, 100)
    assert list(found.runs) == crowd[:100]
    found = await store.runs.waiting(after(999), {"http": 500, "shell": 500}, 300)
    assert list(found.runs) == in_order[:300]
    found = await store.runs.waiting(after(999), {"http": 60, "shell": 7}, 300)
    http, shell = ([run for run in in_order if run.kind == kind] for kind in ("http", "shell"))
    assert list(found.runs) == sorted([*http[:60], *shell[:7]], key=lambda run: (run.ready_at, run.id))


async def test_waiting_runs_bring_their_jobs(store: Store) -> None:
    job, other, gone = make_job(), make_job("web/other"), make_job("web/gone", deleted=NOON)
    await add_jobs(store, job, other, gone)
    runs = [make_run(job), make_run(gone, after(1)), make_run(job, after(2))]
    await store.runs.create([*runs, make_run(other, after(500))])
    assert await store.runs.waiting(after(9), {"http": 10}, 10) == Waiting(
        runs=tuple(runs), jobs={job.id: job, gone.id: gone}
    )


async def test_holders_are_released_and_unfinished(store: Store) -> None:
    job, other = make_job(), make_job("web/other")
    await add_jobs(store, job, other)
    await store.sessions.connect(make_worker())
    runs = [make_run(job, after(-60)), make_run(job), replace(make_run(job, after(-90)), released=NOON, failures=1)]
    await store.runs.create([*runs, make_run(other)])
    held = starting(runs[0])
    await store.runs.assign([RunChange(run=held)], {"w1": 1})
    assert await store.runs.holders([job.id, other.id, job.id]) == {job.id: [runs[2], held]}
    await store.runs.record([RunChange(run=finished(held))], [], [])
    assert await store.runs.holders([job.id]) == {job.id: [runs[2]]}
    assert await store.runs.holders([]) == {}


async def test_next_ready_looks_past_what_is_ready(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    assert await store.runs.next_ready(NOON) is None
    await store.runs.create(
        [make_run(job), make_run(job, after(60), kind="shell"), make_run(job, after(90), kind="python")]
    )
    assert await store.runs.next_ready(after(-1)) == NOON
    assert await store.runs.next_ready(NOON) == after(60)
    assert await store.runs.next_ready(after(89)) == after(90)
    assert await store.runs.next_ready(after(90)) is None


# ── assign ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_assigned_runs_are_held_and_wait_no_more(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    session = await store.sessions.connect(make_worker())
    run = make_run(job)
    await store.runs.create([run])
    held = starting(run, session=session)
    assert await store.runs.assign([RunChange(run=held)], {"w1": session}) == {run.id}
    assert await store.held.all() == await store.held.by_worker("w1") == [held]
    assert await store.held.by_worker("w2") == []
    assert (await store.runs.waiting(after(60), None, 10)).runs == ()
    assert await store.runs.unfinished([job.id]) == [held]


@pytest.mark.parametrize("wrong", ["other number", "ended", "never connected", "connected again"])
async def test_a_run_is_not_given_to_a_session_that_is_gone(store: Store, wrong: str) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    await store.runs.create([run])
    sessions = {"w1": 1}
    if wrong != "never connected":
        await store.sessions.connect(make_worker())
    if wrong == "other number":
        sessions = {"w1": 2}
    if wrong == "ended":
        await store.sessions.disconnect("w1", 1, NOON)
    if wrong == "connected again":
        await store.sessions.connect(make_worker(boot_id="boot-2"))
    assert await store.runs.assign([RunChange(run=starting(run))], sessions) == set()
    assert await store.runs.get([run.id]) == {run.id: run}


async def test_a_run_may_be_settled_without_a_session(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run, waiting = make_run(job), make_run(job, after(1))
    await store.runs.create([run, waiting])
    skipped = finished(run, RunState.SKIPPED, reason=Reason(code="OVERLAP_SKIP", params={"holder": "x"}))
    told = replace(waiting, reason=Reason(code="NO_WORKER", params={"kind": "http"}), version=2)
    assert await store.runs.assign([RunChange(run=skipped), RunChange(run=told)], {}) == {run.id, waiting.id}
    assert await store.runs.get([run.id, waiting.id]) == {run.id: skipped, waiting.id: told}
    assert await store.runs.unfinished([job.id]) == [told]


async def test_of_two_lonely_runs_in_a_batch_the_first_goes(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    await store.sessions.connect(make_worker())
    runs = [make_run(job, after(second)) for second in range(3)]
    await store.runs.create(runs)
    changes = [RunChange(run=starting(run), alone=True) for run in runs[:2]]
    assert await store.runs.assign(changes, {"w1": 1}) == {runs[0].id}
    assert await store.runs.assign([RunChange(run=starting(runs[2]), alone=True)], {"w1": 1}) == set()
    assert await store.runs.assign([RunChange(run=starting(runs[2]))], {"w1": 1}) == {runs[2].id}


async def test_a_holder_that_is_settled_in_the_batch_makes_room(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    await store.sessions.connect(make_worker())
    retrying, run = replace(make_run(job), released=NOON, failures=1), make_run(job, after(1))
    await store.runs.create([retrying, run])
    lonely = RunChange(run=starting(run), alone=True)
    assert await store.runs.assign([lonely], {"w1": 1}) == set()
    gone = RunChange(run=finished(retrying, RunState.CANCELLED))
    assert await store.runs.assign([gone, lonely], {"w1": 1}) == {retrying.id, run.id}


async def test_a_retry_that_is_its_own_holder_is_alone(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    await store.sessions.connect(make_worker())
    retrying = replace(make_run(job), released=NOON, failures=1)
    await store.runs.create([retrying])
    assert await store.runs.assign([RunChange(run=starting(retrying), alone=True)], {"w1": 1}) == {retrying.id}


async def test_two_servers_that_assign_the_same_run_get_it_once(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    await store.sessions.connect(make_worker())
    run = make_run(job)
    await store.runs.create([run])
    answers = await asyncio.gather(
        *(store.runs.assign([RunChange(run=starting(run, fence=fence))], {"w1": 1}) for fence in range(5))
    )
    assert sorted(answers, key=len) == [set(), set(), set(), set(), {run.id}]


# ── record ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_outcome_moves_the_run_to_history_with_all_that_follows(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    await store.sessions.connect(make_worker())
    run = make_run(job, late_at=after(900))
    await store.runs.create([run])
    held = starting(run)
    await store.runs.assign([RunChange(run=held)], {"w1": 1})
    found = await store.runs.reported([run.id, make_run(job, after(9)).id])
    assert (found.runs, found.jobs, found.stats) == ({run.id: held}, {job.id: job}, {})
    ended = finished(held, RunState.FAILED, exit=3, error="boom", result=[1])
    stats = make_stats(job.id, recent="f1", fails_in_row=1, last_run=run.id, last_state=RunState.FAILED)
    change = [RunChange(run=ended)]
    assert await store.runs.record(change, [stats], [make_notice("n")], [audit("run.end")]) == {run.id}
    assert await store.runs.get([run.id]) == {run.id: ended}
    assert (await store.runs.reported([run.id])).runs == {}
    assert await store.runs.stats([job.id]) == {job.id: stats}
    assert await store.held.all() == []
    assert await store.runs.next_late() is None
    assert await store.alerts.recent(5) == [make_notice("n")]
    assert [entry.verb for entry in await store.access.audit_trail(5)] == ["run.end"]


async def test_a_record_that_comes_too_late_changes_nothing_at_all(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    good, moved = make_run(job), make_run(job, after(1))
    await store.runs.create([good, moved])
    await store.runs.record([RunChange(run=finished(moved, RunState.CANCELLED))], [], [])
    batch = [RunChange(run=finished(good)), RunChange(run=finished(moved))]
    with pytest.raises(Conflict) as caught:
        await store.runs.record(batch, [make_stats(job.id, recent="s1")], [make_notice("n")], [audit()])
    assert caught.value.facts["runs"] == (moved.id,)
    assert (await store.runs.get([good.id]))[good.id] == good
    assert await store.runs.stats([job.id]) == {}
    assert await store.alerts.recent(5) == []
    assert await store.access.audit_trail(5) == []


@pytest.mark.parametrize("ends", [True, False])
async def test_a_record_decided_on_an_older_version_changes_nothing(store: Store, ends: bool) -> None:
    job = make_job()
    await add_jobs(store, job)
    run, other = make_run(job), make_run(job, after(1))
    await store.runs.create([run, other])
    asked = replace(run, cancel=Reason(code="CANCELLED"), version=2)
    await store.runs.record([RunChange(run=asked)], [], [])
    stale = finished(run) if ends else replace(run, late_at=None, version=2)
    with pytest.raises(Conflict) as caught:
        await store.runs.record([RunChange(run=finished(other)), RunChange(run=stale)], [], [])
    assert caught.value.facts["runs"] == (run.id,)
    assert await store.runs.get([run.id, other.id]) == {run.id: asked, other.id: other}
    assert await store.runs.assign([RunChange(run=stale)], {}) == set()
    assert await store.runs.get([run.id]) == {run.id: asked}


async def test_steps_of_one_run_that_do_not_follow_each_other_are_a_conflict(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    await store.runs.create([run])
    steps = [RunChange(run=finished(run)), RunChange(run=finished(run, RunState.FAILED))]
    with pytest.raises(Conflict):
        await store.runs.record(steps, [], [])
    assert await store.runs.get([run.id]) == {run.id: run}


async def test_a_batch_may_take_one_run_two_steps(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    await store.runs.create([run])
    step = replace(run, cancel=Reason(code="CANCELLED"), version=2)
    ended = finished(step, RunState.CANCELLED)
    assert await store.runs.record([RunChange(run=step), RunChange(run=ended)], [], []) == {run.id}
    assert await store.runs.get([run.id]) == {run.id: ended}


async def test_a_notice_that_exists_stays_as_it_is(store: Store) -> None:
    sent = make_notice("n", state="sent", sent=NOON)
    await store.alerts.add([sent])
    await store.runs.record([], [], [make_notice("n"), make_notice("m")])
    assert await store.alerts.recent(5) == [sent, make_notice("m")]


# ── lists and retention ──────────────────────────────────────────────────────────────────────────────────


async def test_unfinished_runs_come_in_order_of_due(store: Store) -> None:
    job, other, third = make_job(), make_job("web/other"), make_job("web/third")
    await add_jobs(store, job, other, third)
    runs = [make_run(job, after(2)), make_run(other, after(1)), make_run(job), make_run(third)]
    await store.runs.create(runs)
    assert await store.runs.unfinished([job.id, other.id, job.id]) == [runs[2], runs[1], runs[0]]


async def test_lines_are_the_unfinished_runs_in_short(store: Store) -> None:
    job, other, third = make_job(), make_job("web/other"), make_job("web/third")
    await add_jobs(store, job, other, third)
    later, first = make_run(job, after(2)), make_run(job, released=NOON, version=3)
    await store.runs.create([later, first, make_run(third)])
    line = [
        InLine(id=first.id, due=NOON, is_released=True, version=3),
        InLine(id=later.id, due=after(2), is_released=False, version=1),
    ]
    assert await store.runs.lines([job.id, other.id, job.id]) == {job.id: line}
    assert await store.runs.lines([]) == {}


async def test_late_runs_come_oldest_first(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    runs = [make_run(job, after(second), late_at=after(100 - second)) for second in range(4)]
    await store.runs.create([*runs, make_run(job, after(50))])
    assert await store.runs.next_late() == after(97)
    assert await store.runs.late(after(98), 10) == [runs[3], runs[2]]
    assert await store.runs.late(after(99), 1) == [runs[3]]
    said = replace(runs[3], late_at=None, version=2)
    await store.runs.record([RunChange(run=said)], [], [])
    assert await store.runs.late(after(98), 10) == [runs[2]]


async def test_pruning_takes_old_history_with_its_output_and_gaps(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    old = [finished(make_run(job, after(second), version=2)) for second in range(5)]
    new = finished(make_run(job, after(5000), version=2))
    hot = make_run(job, after(-5000))
    await start_and_finish(store, *old, new)
    await store.runs.create([hot])
    gaps = (make_gap(job, after(-10), after(-5)), make_gap(job, after(4000), after(4500)))
    await store.jobs.apply([JobWrite(job=replace(job, version=2), expected_version=1, gaps=gaps)], [])
    await store.output.append([make_chunk(old[0].id, 0, 0, "old"), make_chunk(new.id, 0, 0, "new")])
    assert await store.runs.prune(after(1000), 2) == 2
    assert await store.runs.prune(after(1000), 100) == 3
    assert await store.runs.prune(after(1000), 100) == 0
    assert set(await store.runs.get([run.id for run in [*old, new, hot]])) == {new.id, hot.id}
    assert await store.output.read(old[0].id, 1, 0, 10) == []
    assert len(await store.output.read(new.id, 1, 0, 10)) == 1
    ledger, _ = await store.views.ledger(job.id, after(-9000), after(9000), None, 10)
    assert ledger == [hot, gaps[1], new]


async def test_the_key_of_a_run_that_is_gone_is_free(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job, trigger=Trigger.MANUAL, key="k", created=NOON)
    again = make_run(job, after(60), trigger=Trigger.MANUAL, key="k", created=after(60))
    await store.runs.create([run])
    await store.runs.record([RunChange(run=finished(run))], [], [])
    assert await store.runs.create([again]) == [finished(run)]
    assert await store.runs.prune(after(1000), 100) == 1
    assert await store.runs.create([again]) == [again]


async def test_pruning_goes_on_over_many_transactions(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    await start_and_finish(store, *(finished(make_run(job, after(second), version=2)) for second in range(1200)))
    assert await store.runs.prune(after(9000), 1100) == 1100
    assert await store.runs.prune(after(9000), 1100) == 100


async def test_empty_batches_are_answered(store: Store) -> None:
    assert await store.runs.create([]) == []
    assert await store.runs.assign([], {}) == set()
    assert await store.runs.record([], [], []) == set()
    assert await store.runs.get([]) == {}
    assert await store.runs.stats([]) == {}
    assert await store.runs.unfinished([]) == []
    assert (await store.runs.reported([])).runs == {}


# ── who may judge, and what others do meanwhile ──────────────────────────────────────────────────────────


async def held_by_w1(store: Store) -> Run:
    """A run that worker w1 holds in its first session, at server-1 whose lease lasts four seconds."""
    job = make_job()
    await add_jobs(store, job)
    await store.leases.join(make_server("server-1"), 4.0)
    await store.sessions.connect(make_worker())
    run = make_run(job)
    await store.runs.create([run])
    held = starting(run)
    assert await store.runs.assign([RunChange(run=held)], {"w1": 1}) == {run.id}
    return held


async def test_a_worker_that_has_connected_again_is_not_called_lost(store: Store) -> None:
    held = await held_by_w1(store)
    lost = [RunChange(run=finished(held, RunState.LOST))]
    await store.sessions.connect(make_worker())
    with pytest.raises(Fenced):
        await store.runs.record(lost, [], [], guard=LossGuard(sessions={"w1": 1}))
    assert (await store.runs.get([held.id]))[held.id] == held
    assert await store.runs.record(lost, [], [], guard=LossGuard(sessions={"w1": 2})) == {held.id}


async def test_only_its_own_server_calls_a_worker_lost_until_that_is_long_dead(
    store: Store, pass_time: PassTime
) -> None:
    held = await held_by_w1(store)
    lost = [RunChange(run=finished(held, RunState.LOST))]
    guard = LossGuard(sessions={"w1": 1}, lapsed={"server-1": 60.0})
    await pass_time(63)
    with pytest.raises(Fenced):
        await store.runs.record(lost, [], [], guard=guard)
    await pass_time(2)
    await store.leases.renew("server-1", 4.0)
    with pytest.raises(Fenced):
        await store.runs.record(lost, [], [], guard=guard)
    await pass_time(65)
    assert await store.runs.record(lost, [], [], guard=guard) == {held.id}


async def test_a_server_nobody_knows_any_more_is_long_dead(store: Store) -> None:
    held = await held_by_w1(store)
    guard = LossGuard(sessions={"w1": 1}, lapsed={"forgotten": 60.0})
    assert await store.runs.record([RunChange(run=finished(held, RunState.LOST))], [], [], guard=guard) == {held.id}


async def test_counters_that_moved_let_nothing_be_recorded(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    runs = [make_run(job), make_run(job, after(1))]
    await store.runs.create(runs)
    first = make_stats(job.id, recent="s1")
    await store.runs.record([RunChange(run=finished(runs[0]))], [first], [])
    late = [RunChange(run=finished(runs[1]))]
    with pytest.raises(Conflict):
        await store.runs.record(late, [make_stats(job.id, recent="f1")], [make_notice("n")])
    assert await store.runs.stats([job.id]) == {job.id: first}
    assert await store.alerts.recent(5) == []
    assert await store.runs.get([runs[1].id]) == {runs[1].id: runs[1]}
    second = replace(first, recent="s1f1", version=2)
    assert await store.runs.record(late, [second], []) == {runs[1].id}
    assert await store.runs.stats([job.id]) == {job.id: second}


async def test_waiting_runs_of_some_shards(store: Store) -> None:
    jobs = [make_job(f"web/job-{number}") for number in range(40)]
    jobs = [replace(job, shard=shard_of(job.id, store.shards)) for job in jobs]
    await add_jobs(store, *jobs)
    runs = [make_run(job, after(number)) for number, job in enumerate(jobs)]
    await store.runs.create(runs)
    for shards in ([0], list(range(store.shards)), list(range(0, store.shards, 2)), []):
        expected = [run for run, job in zip(runs, jobs, strict=True) if job.shard in shards]
        found = await store.runs.waiting(after(99), {"http": 100}, 100, shards=shards)
        assert list(found.runs) == expected
        assert set(found.jobs) == {run.job_id for run in expected}
        few = await store.runs.waiting(after(99), None, 3, shards=shards)
        assert list(few.runs) == expected[:3]
        assert await store.runs.next_ready(NOON, shards) == next((run.due for run in expected if run.due > NOON), None)


async def test_ends_that_were_asked_for_are_found_while_a_worker_holds_the_run(store: Store) -> None:
    held = await held_by_w1(store)
    assert await store.held.asked() == []
    asked = replace(held, cancel=Reason(code="CANCELLED"), version=held.version + 1)
    await store.runs.record([RunChange(run=asked)], [], [])
    assert await store.held.asked() == [asked]
    both = replace(asked, cancel=None, withdrawn=Reason(code="PAUSED", params={"by": "ann"}), version=asked.version + 1)
    await store.runs.record([RunChange(run=both)], [], [])
    assert await store.held.asked() == [both]
    await store.runs.record([RunChange(run=finished(both, RunState.SKIPPED))], [], [])
    assert await store.held.asked() == []
    assert (await store.runs.get([both.id]))[both.id].withdrawn == both.withdrawn


async def test_what_was_given_away_long_ago_and_never_heard_of(store: Store) -> None:
    held = await held_by_w1(store)
    assert await store.held.starting(held.ready_at, 10) == []
    assert await store.held.starting(held.ready_at + timedelta(seconds=1), 10) == [held]
    running = replace(held, state=RunState.RUNNING, started=NOON, version=held.version + 1)
    assert await store.held.running(["w1"]) == []
    await store.runs.record([RunChange(run=running)], [], [])
    assert await store.held.starting(after(3600), 10) == []
    assert await store.held.running(["w0", "w1"]) == [running]
    assert await store.held.running(["w2"]) == await store.held.running([]) == []
    await store.runs.record([RunChange(run=finished(running))], [], [])
    assert await store.held.running(["w1"]) == []
