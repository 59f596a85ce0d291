"""Commands on definitions: all or nothing, guarded, audited, no instant lost."""

import asyncio

import pytest
from tests.core.builders import NOON, later, make_spec
from tests.server.world import ADA, World, open_world

from rota.core.errors import Conflict, Invalid, NotFound
from rota.core.model import MissedMode, MissedPolicy, Overlap, RetryPolicy, RunState
from rota.core.schedule_errors import ScheduleError
from rota.events import JobsChanged
from rota.server.commands import WantedJob
from rota.server.commands.jobs import LARGEST_APPLY

MINUTELY = "* * * * *"


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


def wanted(name: str = "team/job", source: str | None = None, **spec) -> WantedJob:
    return WantedJob(full_name=name, spec=make_spec(**spec), source=source)


async def names(world: World) -> list[str]:
    return sorted(job.full_name for job in await world.store.jobs.by_source(None))


# ── apply ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_apply_says_what_it_did(world: World) -> None:
    await world.commands.apply([wanted("a/same"), wanted("a/old", timeout=1.0)], actor=ADA)
    result = await world.commands.apply([wanted("a/same"), wanted("a/old", timeout=2.0), wanted("a/new")], actor=ADA)
    assert (result.created, result.changed, result.unchanged) == (("a/new",), ("a/old",), ("a/same",))
    assert (await world.stored_job("a/same")).revision == 1
    assert (await world.stored_job("a/old")).revision == 2


async def test_apply_of_the_same_changes_nothing(world: World) -> None:
    await world.job(schedule=MINUTELY)
    before = await world.stored_job()
    world.clock.advance(seconds=30)
    world.events.clear()
    await world.job(schedule=MINUTELY)
    assert await world.stored_job() == before
    assert world.events == []


async def test_one_bad_job_and_none_is_applied(world: World) -> None:
    await world.job("a/old", schedule=MINUTELY)
    with pytest.raises(ScheduleError):
        await world.commands.apply(
            [wanted("a/good"), wanted("a/old"), wanted("a/bad", schedule="0 0 30 2 *")], actor=ADA
        )
    assert await names(world) == ["a/old"]
    assert (await world.stored_job("a/old")).revision == 1


async def test_job_defined_twice_is_refused_with_both_places(world: World) -> None:
    with pytest.raises(Invalid, match=r"a/x is defined twice, in one\.yaml and two\.yaml"):
        await world.commands.apply([wanted("a/x", "one.yaml"), wanted("a/x", "two.yaml")], actor=ADA)


async def test_too_many_jobs_are_refused(world: World) -> None:
    one = wanted()
    with pytest.raises(Invalid, match="10001 jobs"):
        await world.commands.apply([one] * (LARGEST_APPLY + 1), actor=ADA)


async def test_prune_deletes_what_a_source_no_longer_has(world: World) -> None:
    await world.commands.apply([wanted("a/x", "f.yaml"), wanted("a/y", "f.yaml"), wanted("a/z")], actor=ADA)
    result = await world.commands.apply([wanted("a/x", "f.yaml")], actor=ADA, prune_sources=["f.yaml"])
    assert result.removed == ("a/y",)
    assert await names(world) == ["a/x", "a/z"]


async def test_watched_file_is_the_only_source_of_its_jobs(world: World) -> None:
    await world.commands.apply([wanted("a/x", "f.yaml")], actor=ADA)
    world.watched.add("f.yaml")
    with pytest.raises(Conflict, match=r"f\.yaml, which is watched"):
        await world.commands.apply([wanted("a/x", "g.yaml", timeout=3.0)], actor=ADA)
    with pytest.raises(Conflict, match="watched"):
        await world.commands.delete_job("a/x", if_revision=None, actor=ADA)
    with pytest.raises(Conflict, match="watched"):
        await world.commands.put_job("a/x", make_spec(timeout=3.0), if_revision=None, actor=ADA)
    changed = await world.commands.apply([wanted("a/x", "f.yaml", timeout=3.0)], actor=ADA, watcher=True)
    assert changed.changed == ("a/x",)
    await world.commands.pause("a/x", until=None, reason="", actor=ADA)


async def test_conflict_between_read_and_write_is_tried_anew(world: World) -> None:
    await world.job(schedule=MINUTELY)
    apply, conflicts = world.store.jobs.apply, []

    async def planner_first(*arguments):
        if not conflicts:
            conflicts.append(1)
            world.store.jobs.apply = apply
            world.clock.advance(seconds=60)
            jobs = await world.store.jobs.due(list(world.epochs), world.clock.now(), 10)
            await world.planner._plan(jobs, world.epochs, world.clock.now())
        return await apply(*arguments)

    world.store.jobs.apply = planner_first
    await world.job(schedule="0 * * * *")
    job = await world.stored_job()
    assert conflicts
    assert (job.revision, job.spec.schedule) == (2, "0 * * * *")
    assert await world.states() == [("skipped", "EDITED")]


async def test_conflicts_without_end_are_reported(world: World) -> None:
    async def always(*arguments):
        raise Conflict("moved", jobs=["team/job"])

    world.store.jobs.apply = always
    with pytest.raises(Conflict):
        await world.job()


async def test_edit_answers_the_instants_before_it(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, overlap=Overlap.ALLOW)
    world.clock.advance(seconds=60)
    await world.job(schedule="30 * * * *", overlap=Overlap.ALLOW)
    assert await world.states() == [("skipped", "EDITED")]
    await world.pass_time(hours=1)
    assert [order.due for order in worker.orders()] == [later(1800)]


async def test_deleted_job_comes_back_with_its_history(world: World) -> None:
    await world.job(schedule=MINUTELY, missed=MissedPolicy(mode=MissedMode.SKIP))
    await world.pass_time(seconds=300)
    await world.commands.delete_job("team/job", if_revision=None, actor=ADA)
    count = len(await world.runs())
    await world.pass_time(seconds=300)
    await world.job(schedule=MINUTELY)
    assert (await world.stored_job()).revision == 2
    assert len(await world.runs()) == count
    await world.pass_time(seconds=60)
    assert [run.due for run in await world.runs()][-1] == later(660)


# ── guards ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_edit_against_another_revision_is_refused(world: World) -> None:
    await world.job()
    job = await world.commands.put_job("team/job", make_spec(timeout=1.0), if_revision=1, actor=ADA)
    assert job.revision == 2
    with pytest.raises(Conflict, match="is at revision 2, not 1") as caught:
        await world.commands.put_job("team/job", make_spec(timeout=2.0), if_revision=1, actor=ADA)
    assert caught.value.facts["revision"] == 2
    with pytest.raises(Conflict):
        await world.commands.delete_job("team/job", if_revision=1, actor=ADA)


async def test_of_two_edits_against_one_revision_one_wins(world: World) -> None:
    await world.job()
    outcomes = await asyncio.gather(
        *(
            world.commands.put_job("team/job", make_spec(timeout=float(n)), if_revision=1, actor=ADA)
            for n in range(1, 6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4
    assert (await world.stored_job()).revision == 2


async def test_revision_zero_means_new(world: World) -> None:
    await world.commands.put_job("team/job", make_spec(), if_revision=0, actor=ADA)
    with pytest.raises(Conflict):
        await world.commands.put_job("team/job", make_spec(timeout=1.0), if_revision=0, actor=ADA)


@pytest.mark.parametrize("verb", ["pause", "resume", "delete"])
async def test_unknown_job(world: World, verb: str) -> None:
    calls = {
        "pause": lambda: world.commands.pause("a/x", until=None, reason="", actor=ADA),
        "resume": lambda: world.commands.resume("a/x", actor=ADA),
        "delete": lambda: world.commands.delete_job("a/x", if_revision=None, actor=ADA),
    }
    with pytest.raises(NotFound, match="there is no job a/x"):
        await calls[verb]()


# ── pause, resume, delete ────────────────────────────────────────────────────────────────────────────────


async def test_pause_and_resume_leave_one_gap(world: World) -> None:
    await world.job(schedule=MINUTELY)
    result = await world.commands.pause("team/job", until=None, reason="holiday", actor=ADA)
    assert result.job.pause is not None
    assert (result.job.pause.by, result.job.pause.reason) == ("ada", "holiday")
    await world.pass_time(hours=2)
    assert await world.runs() == []
    await world.commands.resume("team/job", actor=ADA)
    (gap,) = await world.gaps()
    assert (gap.count, gap.reason.code) == (120, "PAUSED")
    await world.pass_time(seconds=60)
    assert [run.due for run in await world.runs()] == [later(7260)]


async def test_pause_skips_what_waits_and_names_what_may_still_start(world: World) -> None:
    worker = await world.worker(shell=1)
    await world.job(schedule=MINUTELY, overlap=Overlap.ALLOW)
    await world.pass_time(seconds=60)
    await world.pass_time(seconds=60)
    order = worker.order()
    result = await world.commands.pause("team/job", until=None, reason="", actor=ADA)
    assert result.may_still_start == (order.run_id,)
    assert await world.states() == [("starting", ""), ("skipped", "PAUSED")]


async def test_pause_does_not_name_what_somebody_wants_later(world: World) -> None:
    """That is not the schedule's, and nobody has it."""
    await world.job(schedule=MINUTELY)
    await world.trigger(at=later(3600))
    result = await world.commands.pause("team/job", until=None, reason="", actor=ADA)
    assert result.may_still_start == ()
    assert await world.states() == [("queued", "")]


async def test_pause_keeps_a_run_between_two_tries(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, retry=RetryPolicy(tries=2, wait_min=5, jitter=0))
    await world.pass_time(seconds=60)
    order = worker.order()
    await worker.finish(order, "failed")
    result = await world.commands.pause("team/job", until=None, reason="", actor=ADA)
    assert result.may_still_start == (order.run_id,)
    await world.pass_time(seconds=5)
    assert worker.order().attempt == 2


async def test_paused_job_can_still_be_run_by_hand(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY)
    await world.commands.pause("team/job", until=None, reason="", actor=ADA)
    await world.trigger()
    await world.work()
    assert worker.order().job == "team/job"


@pytest.mark.parametrize("seconds", [0, -1])
async def test_pause_that_would_be_over_is_refused(world: World, seconds: int) -> None:
    await world.job(schedule=MINUTELY)
    with pytest.raises(Invalid, match="which is past"):
        await world.commands.pause("team/job", until=later(seconds), reason="", actor=ADA)


async def test_pause_until_can_be_changed(world: World) -> None:
    await world.job(schedule=MINUTELY)
    await world.commands.pause("team/job", until=later(600), reason="", actor=ADA)
    await world.commands.pause("team/job", until=later(1200), reason="", actor=ADA)
    await world.pass_time(seconds=900)
    assert await world.runs() == []
    await world.pass_time(seconds=360)
    assert [gap.count for gap in await world.gaps()] == [20]


async def test_resume_of_a_job_that_is_not_paused_does_nothing(world: World) -> None:
    await world.job(schedule=MINUTELY)
    before = await world.stored_job()
    world.events.clear()
    assert await world.commands.resume("team/job", actor=ADA) == before
    assert [event for event in world.events if isinstance(event, JobsChanged)] == []


async def test_delete_ends_what_waits_and_lets_run_what_runs(world: World) -> None:
    worker = await world.worker(shell=1)
    await world.job(schedule=MINUTELY, overlap=Overlap.ALLOW)
    await world.pass_time(seconds=60)
    order = worker.order()
    await world.pass_time(seconds=60)
    await world.commands.delete_job("team/job", if_revision=1, actor=ADA)
    assert await world.states() == [("starting", ""), ("skipped", "DELETED")]
    await worker.finish(order)
    assert (await world.run(order.run_id)).state is RunState.SUCCEEDED
    await world.pass_time(hours=1)
    assert len(await world.runs()) == 2


async def test_every_change_is_audited_once(world: World) -> None:
    await world.job(schedule=MINUTELY)
    await world.commands.pause("team/job", until=None, reason="holiday", actor=ADA)
    await world.commands.resume("team/job", actor=ADA)
    await world.commands.delete_job("team/job", if_revision=None, actor=ADA)
    trail = (await world.store.access.audit_trail(10))[::-1]
    assert [(entry.verb, entry.object, entry.actor) for entry in trail] == [
        (verb, "team/job", "ada") for verb in ("job.apply", "job.pause", "job.resume", "job.delete")
    ]
    assert trail[1].detail == "holiday"
    assert trail[0].at == NOON


async def test_job_from_two_files_is_an_error(world: World) -> None:
    await world.commands.apply([wanted("a/x", "f.yaml")], actor=ADA)
    with pytest.raises(Conflict, match=r"comes from f\.yaml; g\.yaml defines it too"):
        await world.commands.apply([wanted("a/x", "g.yaml")], actor=ADA)
    moved = await world.commands.apply([wanted("a/x", "g.yaml")], actor=ADA, watcher=True)
    assert moved.changed == ("a/x",)
    assert (await world.store.jobs.get(["a/x"]))["a/x"].source == "g.yaml"
