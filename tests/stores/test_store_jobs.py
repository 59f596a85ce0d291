"""The contract of jobs: definitions all or nothing, cursors by compare-and-set under an epoch."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from store_values import (
    NOON,
    SPEC,
    add_jobs,
    after,
    audit,
    finished,
    lead,
    make_gap,
    make_job,
    make_notice,
    make_run,
    make_stats,
    make_worker,
    starting,
)

from rota.core.errors import Conflict, Fenced, Invalid
from rota.core.model import (
    Delivery,
    JobSpec,
    MissedMode,
    MissedPolicy,
    Overlap,
    Pause,
    PythonTask,
    Reason,
    RetryPolicy,
    RunState,
    ShellTask,
)
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, Plan, RunChange

RICH = JobSpec(
    task=PythonTask(function="shop.feed:sync", arguments={"pages": [1, 2], "deep": {"a": None}}),
    schedule="every 5m",
    timezone="Europe/Berlin",
    title="Abgleich für Müller",
    owner="web",
    labels={"team": "web", "tier": "1"},
    timeout=30.0,
    retry=RetryPolicy(tries=4, when=("http-5xx",)),
    overlap=Overlap.QUEUE_LATEST,
    missed=MissedPolicy(mode=MissedMode.RUN_ALL, within=None),
    delivery=Delivery.AT_LEAST_ONCE,
    env={"A": "1"},
    secrets={"TOKEN": "shop-token"},
)


async def test_a_job_is_read_as_it_was_written(store: Store) -> None:
    job = make_job(
        spec=RICH,
        source="/etc/rota/web.yaml",
        pause=Pause(since=NOON, by="ann", reason="moving house", until=after(3600)),
        broken="no such zone",
        next_at=None,
    )
    await add_jobs(store, job)
    assert await store.jobs.get([job.full_name, "web/other"]) == {job.full_name: job}
    assert await store.jobs.by_id([job.id]) == {job.id: job}


async def test_microseconds_survive(store: Store) -> None:
    job = make_job(cursor=NOON.replace(microsecond=123457), next_at=NOON.replace(year=2399, microsecond=999999))
    await add_jobs(store, job)
    assert (await store.jobs.by_id([job.id]))[job.id] == job


async def test_creating_a_job_that_exists_is_a_conflict(store: Store) -> None:
    job, other = make_job(), make_job("web/other")
    await add_jobs(store, job)
    with pytest.raises(Conflict) as caught:
        await add_jobs(store, other, replace(job, version=2))
    assert caught.value.facts["jobs"] == (job.full_name,)
    assert await store.jobs.get([other.full_name]) == {}


async def test_of_two_edits_of_one_version_one_wins(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    edits = [replace(job, version=2, updated=after(seconds)) for seconds in (1, 2)]
    results = await asyncio.gather(
        *(store.jobs.apply([JobWrite(job=edit, expected_version=1)], []) for edit in edits), return_exceptions=True
    )
    assert sorted(type(result) for result in results if result is not None) == [Conflict]
    assert (await store.jobs.by_id([job.id]))[job.id] in edits


async def test_a_deleted_job_stays_as_a_tombstone_and_may_come_back(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    gone = replace(job, version=2, deleted=NOON, next_at=None)
    await store.jobs.apply([JobWrite(job=gone, expected_version=1)], [])
    assert await store.jobs.get([job.full_name]) == {}
    assert await store.jobs.get_with_deleted([job.full_name]) == {job.full_name: gone}
    assert await store.jobs.by_id([job.id]) == {job.id: gone}
    assert await store.jobs.by_source(None) == []
    back = replace(job, version=3, revision=2)
    await store.jobs.apply([JobWrite(job=back, expected_version=0)], [])
    assert await store.jobs.get([job.full_name]) == {job.full_name: back}


async def test_an_edit_adds_a_revision_and_a_pause_does_not(store: Store) -> None:
    job = make_job(source="a.yaml")
    await store.jobs.apply([JobWrite(job=job, expected_version=0)], [audit(actor="ann")])
    edited = replace(job, version=2, revision=2, spec=RICH, updated=NOON)
    await store.jobs.apply([JobWrite(job=edited, expected_version=1)], [audit(actor="bob")])
    paused = replace(edited, version=3, pause=Pause(since=NOON, by="bob"))
    await store.jobs.apply([JobWrite(job=paused, expected_version=2)], [audit("job.pause", actor="eve")])
    found = await store.jobs.revisions(job.id, 10)
    assert [(one.revision, one.actor, one.spec) for one in found] == [(2, "bob", RICH), (1, "ann", SPEC)]
    assert [one.revision for one in await store.jobs.revisions(job.id, 1)] == [2]
    assert await store.jobs.specs([(job.id, 1), (job.id, 2), (job.id, 3)]) == {(job.id, 1): SPEC, (job.id, 2): RICH}
    assert [entry.verb for entry in await store.access.audit_trail(10)] == ["job.pause", "job.apply", "job.apply"]


async def test_an_apply_brings_its_runs_gaps_changes_counters_and_notices(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    kept, moved = make_run(job), make_run(job, after(60))
    await store.runs.create([kept, moved])
    await store.sessions.connect(make_worker())
    begun = replace(starting(moved), state=RunState.RUNNING, started=NOON, version=moved.version + 2)
    await store.runs.assign([RunChange(run=starting(moved))], {"w1": 1})
    await store.runs.record([RunChange(run=begun)], [], [])
    reason = Reason(code="PAUSED", params={"by": "ann"})
    write = JobWrite(
        job=replace(job, version=2, cursor=after(60)),
        expected_version=1,
        runs=(make_run(job, after(120)),),
        gaps=(make_gap(job, after(-60), NOON),),
        changes=(
            RunChange(run=finished(kept, RunState.SKIPPED, reason=reason)),
            RunChange(run=finished(moved, RunState.SKIPPED, reason=reason)),
        ),
        stats=make_stats(job.id, recent="k0"),
        notices=(make_notice("n1"),),
    )
    await store.jobs.apply([write], [])
    runs = await store.runs.get([kept.id, moved.id, write.runs[0].id])
    assert runs[kept.id].state is RunState.SKIPPED
    assert runs[moved.id] == begun  # it runs by now: left alone
    assert runs[write.runs[0].id] == write.runs[0]
    ledger, _ = await store.views.ledger(job.id, after(-600), after(600), None, 10)
    assert write.gaps[0] in ledger
    assert await store.runs.stats([job.id]) == {job.id: write.stats}
    assert await store.alerts.recent(5) == [make_notice("n1")]


async def test_an_apply_is_decided_anew_when_a_waiting_run_was_given_to_a_worker_meanwhile(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    await store.runs.create([run])
    await store.sessions.connect(make_worker())
    held = starting(run)
    await store.runs.assign([RunChange(run=held)], {"w1": 1})
    paused = replace(job, version=2, pause=Pause(since=NOON, by="ann"))
    skipped = RunChange(run=finished(run, RunState.SKIPPED, reason=Reason(code="PAUSED")))
    with pytest.raises(Conflict) as caught:
        await store.jobs.apply([JobWrite(job=paused, expected_version=1, changes=(skipped,))], [audit()])
    assert caught.value.facts["jobs"] == (job.full_name,)
    assert await store.jobs.get([job.full_name]) == {job.full_name: job}
    assert await store.runs.get([run.id]) == {run.id: held}


async def test_an_apply_asks_back_a_run_that_is_with_a_worker(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    await store.runs.create([run])
    await store.sessions.connect(make_worker())
    held = starting(run)
    await store.runs.assign([RunChange(run=held)], {"w1": 1})
    asked = replace(held, withdrawn=Reason(code="PAUSED", params={"by": "ann"}), version=held.version + 1)
    paused = replace(job, version=2, pause=Pause(since=NOON, by="ann"))
    await store.jobs.apply([JobWrite(job=paused, expected_version=1, changes=(RunChange(run=asked),))], [])
    assert await store.runs.get([run.id]) == {run.id: asked}
    assert await store.held.asked() == [asked]


async def test_a_conflict_leaves_nothing_of_the_whole_apply(store: Store) -> None:
    job, fresh = make_job(), make_job("web/fresh")
    await add_jobs(store, job)
    run = make_run(fresh)
    writes = [
        JobWrite(job=fresh, expected_version=0, runs=(run,), notices=(make_notice("n1"),)),
        JobWrite(job=replace(job, version=9), expected_version=8),
    ]
    with pytest.raises(Conflict):
        await store.jobs.apply(writes, [audit()])
    assert await store.jobs.get_with_deleted([fresh.full_name]) == {}
    assert await store.runs.get([run.id]) == {}
    assert await store.alerts.recent(5) == []
    assert await store.access.audit_trail(5) == []


async def test_ten_thousand_definitions_are_one_apply(store: Store) -> None:
    jobs = [make_job(f"bulk/job-{number}") for number in range(10_000)]
    await add_jobs(store, *jobs)
    assert len(await store.jobs.by_source(None)) == len(jobs)
    assert await store.views.namespaces() == [("bulk", len(jobs))]
    doubled = [make_job("bulk/new"), *jobs[:7]]
    with pytest.raises(Conflict) as caught:
        await add_jobs(store, *doubled)
    assert caught.value.facts["jobs"] == tuple(job.full_name for job in jobs[:7])
    assert await store.jobs.get(["bulk/new"]) == {}


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_plan_moves_the_cursor_and_creates_what_answers(store: Store) -> None:
    job = make_job(pause=Pause(since=NOON, by="ann", until=NOON))
    await add_jobs(store, job)
    epochs = await lead(store)
    run, missed = make_run(job), finished(make_run(job, after(-30)), RunState.MISSED)
    plan = Plan(
        job_id=job.id,
        expected_version=1,
        cursor=NOON,
        next_at=after(86_400),
        runs=(run, missed),
        gaps=(make_gap(job, after(-600), after(-60)),),
        stats=make_stats(job.id, recent="m0", fails_in_row=0),
        notices=(make_notice("missed"),),
    )
    assert await store.jobs.commit_plan([plan], epochs) == {job.id}
    moved = (await store.jobs.by_id([job.id]))[job.id]
    assert moved == replace(job, version=2, cursor=NOON, next_at=after(86_400), pause=None)
    assert await store.runs.get([run.id, missed.id]) == {run.id: run, missed.id: missed}
    assert await store.runs.unfinished([job.id]) == [run]
    assert await store.runs.stats([job.id]) == {job.id: plan.stats}
    assert await store.alerts.recent(5) == [make_notice("missed")]
    assert await store.jobs.commit_plan([plan], epochs) == set()


async def test_a_plan_for_another_version_is_left_out_and_the_others_go_on(store: Store) -> None:
    jobs = [make_job(f"web/job-{number}") for number in range(3)]
    await add_jobs(store, *jobs)
    epochs = await lead(store)
    plans = [
        Plan(job_id=job.id, expected_version=version, cursor=NOON, next_at=None, runs=(make_run(job),))
        for job, version in zip(jobs, (1, 2, 1), strict=True)
    ]
    assert await store.jobs.commit_plan(plans, epochs) == {jobs[0].id, jobs[2].id}
    assert await store.runs.get([plans[1].runs[0].id]) == {}


async def test_a_plan_for_a_deleted_job_is_left_out(store: Store) -> None:
    job = make_job(deleted=NOON, next_at=None)
    await add_jobs(store, job)
    epochs = await lead(store)
    plan = Plan(job_id=job.id, expected_version=1, cursor=NOON, next_at=None)
    assert await store.jobs.commit_plan([plan], epochs) == set()


async def test_a_plan_under_an_old_epoch_writes_nothing(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    old = await lead(store)
    new = await lead(store, "server-2")
    assert {shard: epoch + 1 for shard, epoch in old.items()} == new
    plan = Plan(job_id=job.id, expected_version=1, cursor=NOON, next_at=None, runs=(make_run(job),))
    with pytest.raises(Fenced):
        await store.jobs.commit_plan([plan], old)
    assert await store.jobs.by_id([job.id]) == {job.id: job}
    assert await store.runs.get([plan.runs[0].id]) == {}
    assert await store.jobs.commit_plan([plan], new) == {job.id}


async def test_a_plan_that_fails_leaves_the_cursor_where_it_was(store: Store) -> None:
    job, other = make_job(), make_job("web/other")
    await add_jobs(store, job, other)
    epochs = await lead(store)
    good = Plan(job_id=other.id, expected_version=1, cursor=after(60), next_at=None, runs=(make_run(other),))
    impossible = replace(make_gap(job, NOON, after(60)), count=2**70)
    bad = Plan(
        job_id=job.id, expected_version=1, cursor=after(60), next_at=None, runs=(make_run(job),), gaps=(impossible,)
    )
    with pytest.raises(Invalid):
        await store.jobs.commit_plan([good, bad], epochs)
    assert await store.jobs.by_id([job.id, other.id]) == {job.id: job, other.id: other}
    assert await store.runs.get([run.id for plan in (good, bad) for run in plan.runs]) == {}
    assert await store.jobs.commit_plan([good, replace(bad, gaps=())], epochs) == {job.id, other.id}


async def test_a_broken_schedule_is_noted_by_a_plan(store: Store) -> None:
    job = make_job()
    await add_jobs(store, job)
    epochs = await lead(store)
    plan = Plan(job_id=job.id, expected_version=1, cursor=job.cursor, next_at=NOON, broken="no such zone")
    await store.jobs.commit_plan([plan], epochs)
    assert (await store.jobs.by_id([job.id]))[job.id].broken == "no such zone"
    assert await store.jobs.due([0], after(60), 10) == []
    assert await store.jobs.next_due([0]) is None


# ── what is due ──────────────────────────────────────────────────────────────────────────────────────────


async def test_punctual_jobs_come_before_old_ones(store: Store) -> None:
    ages = {"a": 3600, "b": 59, "c": 61, "d": 0, "e": -1}
    await add_jobs(store, *(make_job(f"web/{name}", next_at=after(-age)) for name, age in ages.items()))
    assert [job.name for job in await store.jobs.due([0], NOON, 10)] == ["b", "d", "a", "c"]
    assert [job.name for job in await store.jobs.due([0], NOON, 3)] == ["b", "d", "a"]
    assert [job.name for job in await store.jobs.due([0], NOON, 1)] == ["b"]
    assert await store.jobs.due([], NOON, 10) == []


async def test_a_crowded_shard_is_due_in_its_turn(store: Store) -> None:
    shards = list(range(store.shards))
    crowd = [make_job(f"web/a-{number}", shard=shards[-1], next_at=after(-50 + number / 9)) for number in range(60)]
    others = [
        make_job(f"web/b-{number}", shard=shards[number % len(shards)], next_at=after(-40 + number / 9))
        for number in range(100)
    ]
    old = [make_job(f"web/c-{number}", shard=shards[0], next_at=after(-9000 + number)) for number in range(60)]
    await add_jobs(store, *crowd, *others, *old)

    async def due(limit: int) -> list[str]:
        return [job.name for job in await store.jobs.due(shards, NOON, limit)]

    punctual = [job.name for job in sorted([*crowd, *others], key=lambda job: (job.next_at or NOON, job.id))]
    assert await due(40) == punctual[:40]
    assert await due(160) == punctual
    assert await due(190) == [*punctual, *(job.name for job in old[:30])]
    assert await due(999) == [*punctual, *(job.name for job in old)]


async def test_deleted_and_unscheduled_jobs_are_never_due(store: Store) -> None:
    await add_jobs(store, make_job("web/none", next_at=None), make_job("web/gone", deleted=NOON))
    assert await store.jobs.due([0], after(1), 10) == []
    assert await store.jobs.next_due([0]) is None
    await add_jobs(store, make_job("web/later", next_at=after(50)), make_job("web/soon", next_at=after(20)))
    assert await store.jobs.next_due([0]) == after(20)


# ── lists by other keys ──────────────────────────────────────────────────────────────────────────────────


async def test_jobs_by_source(store: Store) -> None:
    one, two = make_job("web/one", source="a.yaml"), make_job("web/two", source="b.yaml")
    gone, loose = make_job("web/gone", source="a.yaml", deleted=NOON), make_job("web/loose")
    await add_jobs(store, one, two, gone, loose)
    assert await store.jobs.by_source("a.yaml") == [one]
    assert await store.jobs.by_source(None) == [loose, one, two]
    assert await store.jobs.by_source("c.yaml") == []


@pytest.mark.parametrize("text", ["at start", "At  Start", "at start, from 2026-01-01"])
async def test_jobs_that_run_at_start(store: Store, text: str) -> None:
    spec = JobSpec(task=ShellTask(command="true"), schedule=text)
    job = make_job("web/boot", spec=spec, next_at=None)
    paused = make_job("web/paused", spec=spec, next_at=None, pause=Pause(since=NOON, by="ann"))
    await add_jobs(store, job, paused, make_job("web/gone", spec=spec, deleted=NOON), make_job())
    assert await store.jobs.starting() == [job]


async def test_an_empty_batch_changes_nothing(store: Store) -> None:
    await store.jobs.apply([], [])
    assert await store.jobs.commit_plan([], {}) == set()
    assert await store.jobs.get([]) == {}
    assert await store.jobs.by_id([]) == {}
    assert await store.jobs.specs([]) == {}
    assert await store.jobs.due([0], NOON + timedelta(days=1), 0) == []
