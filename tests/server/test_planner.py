"""The planner over SQLite: instants become rows, once."""

from datetime import timedelta

import pytest
from tests.core.builders import NOON, later
from tests.server.world import ADA, World, lead, open_world

from rota.core.catch_up import LOOKAHEAD
from rota.core.model import AlertPolicy, MissedMode, MissedPolicy, Overlap
from rota.events import JobsPlanned, ScheduleBroken
from rota.loop import NO_REST
from rota.server.planner import FENCED_REST, LONGEST_REST, Planner

SKIP = MissedPolicy(mode=MissedMode.SKIP)


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def test_without_jobs_it_rests(world: World) -> None:
    assert await world.planner.tick() == LONGEST_REST


async def test_it_rests_until_the_next_instant_but_not_longer_than_a_second(world: World) -> None:
    await world.job(schedule="* * * * *")
    assert await world.planner.tick() == LONGEST_REST
    world.clock.advance(seconds=57.25)
    assert await world.planner.tick() == timedelta(seconds=0.25), "it plans a little ahead"


async def test_due_instant_becomes_one_run_however_often_it_ticks(world: World) -> None:
    await world.job(schedule="* * * * *")
    world.clock.advance(seconds=60)
    assert await world.planner.tick() == NO_REST
    for _ in range(3):
        await world.planner.tick()
    assert [run.due for run in await world.runs()] == [later(60)]
    assert (await world.stored_job()).cursor == later(60) + LOOKAHEAD


async def test_second_server_with_an_old_epoch_writes_nothing(world: World) -> None:
    await world.job(schedule="* * * * *")
    await lead(world.store, "s2")
    world.clock.advance(seconds=60)
    assert await world.planner.tick() == FENCED_REST
    assert await world.runs() == []


async def test_two_planners_make_each_run_once(world: World) -> None:
    await world.job(schedule="* * * * *")
    jobs = await world.store.jobs.due(list(world.epochs), later(60), 10)
    world.clock.advance(seconds=60)
    stale = await world.store.jobs.due(list(world.epochs), later(60), 10)
    assert jobs == stale
    await world.planner._plan(stale, world.epochs, later(60))
    await world.planner._plan(stale, world.epochs, later(60))
    assert len(await world.runs()) == 1
    planned = [event for event in world.events if isinstance(event, JobsPlanned)]
    assert [event.runs for event in planned] == [1, 0]


async def test_outage_becomes_missed_rows_a_gap_and_one_notice(world: World) -> None:
    alert = AlertPolicy(to=("mail:ops",), when=("missed",))
    await world.job(schedule="* * * * *", missed=SKIP, alert=alert)
    world.clock.advance(days=2)
    await world.planner.tick()
    runs = await world.runs()
    (gap,) = await world.gaps()
    assert len(runs) + gap.count == 2 * 1440
    assert sum(run.state.is_final for run in runs) == 100
    (notice,) = await world.notices()
    assert (notice.event, notice.run_id) == ("missed", [run for run in runs if run.state.is_final][-1].id)
    assert (await world.stats()).recent == "m0" * 24


async def test_paused_until_then_goes_on_by_itself(world: World) -> None:
    await world.job(schedule="* * * * *", overlap=Overlap.ALLOW)
    await world.commands.pause("team/job", until=later(600), reason="holiday", actor=ADA)
    await world.pass_time(seconds=660)
    assert [gap.count for gap in await world.gaps()] == [10]
    assert [run.due for run in await world.runs()] == [later(660)]
    assert (await world.stored_job()).pause is None


async def test_broken_schedule_sets_its_job_aside_and_the_others_go_on(world: World) -> None:
    await world.job("team/bad", schedule="* * * * *", timezone="Europe/Berlin")
    await world.job("team/good", schedule="* * * * *")
    world.planner = with_broken_zone(world.planner)
    await world.pass_time(seconds=60)
    assert [run.job for run in await world.runs()] == ["team/good"]
    bad = await world.stored_job("team/bad")
    assert bad.broken == "LookupError: the zone is gone"
    assert bad.cursor == NOON
    assert [event.job for event in world.events if isinstance(event, ScheduleBroken)] == ["team/bad"]
    await world.pass_time(seconds=60)
    assert len(await world.runs()) == 2


async def test_more_jobs_than_one_batch(world: World, monkeypatch) -> None:
    monkeypatch.setattr("rota.server.planner.BATCH", 3)
    for index in range(8):
        await world.job(f"team/job-{index}", schedule="* * * * *")
    await world.pass_time(seconds=60)
    assert len({run.job for run in await world.runs()}) == 8


def with_broken_zone(planner: Planner) -> Planner:
    """The planner, for which schedules in Berlin raise (as when a time zone has left the database)."""
    definitions = planner._definitions

    class Broken:
        def schedule(self, job):
            if job.spec.timezone == "Europe/Berlin":
                raise LookupError("the zone is gone")
            return definitions.schedule(job)

    planner._definitions = Broken()
    return planner
