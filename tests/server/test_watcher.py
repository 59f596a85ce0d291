"""The watcher: late marks and jumps of the clock."""

import pytest
from tests.core.builders import later
from tests.server.world import ADA, World, open_world

from rota.core.model import AlertPolicy, Run, RunState
from rota.events import ClockStepped
from rota.loop import NO_REST
from rota.server.watcher import LONGEST_REST, Watcher

LATE = {"late_after": 30.0, "alert": AlertPolicy(to=("mail:ops",), when=("late",))}


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


class Wall:
    """The machine's clock: it follows the monotonic one but for what the test adds."""

    def __init__(self, world: World) -> None:
        self.world, self.offset = world, 1_780_000_000.0

    def __call__(self) -> float:
        return self.world.clock.monotonic() + self.offset


def watcher(world: World) -> Watcher:
    return Watcher(world.store, world.clock, world.recorder.counters, world.events.append, wall=Wall(world))


async def one_due(world: World) -> Run:
    await world.job(schedule="* * * * *", **LATE)
    await world.pass_time(seconds=60)
    (run,) = await world.runs()
    return run


async def test_late_run_is_marked_and_told_once(world: World) -> None:
    run = await one_due(world)
    watching = watcher(world)
    world.clock.advance(seconds=29)
    rest = await watching.tick()
    assert rest.total_seconds() == 1
    world.clock.advance(seconds=1)
    assert await watching.tick() == NO_REST
    assert await watching.tick() == LONGEST_REST
    (notice,) = await world.notices()
    assert (notice.event, notice.run_id) == ("late", run.id)
    assert (await world.stats()).late_since == later(60)
    assert (await world.run(run.id)).late_at is None


async def test_run_that_ended_in_time_is_not_late(world: World) -> None:
    worker = await world.worker()
    await one_due(world)
    await worker.finish(worker.order())
    world.clock.advance(seconds=300)
    await watcher(world).tick()
    assert await world.notices() == []


async def test_late_success_ends_lateness(world: World) -> None:
    await one_due(world)
    world.clock.advance(seconds=31)
    await watcher(world).tick()
    worker = await world.worker()
    await world.work()
    await worker.finish(worker.order())
    assert (await world.stats()).late_since is None


async def test_run_that_moves_in_this_very_moment_is_looked_at_again(world: World) -> None:
    run = await one_due(world)
    world.clock.advance(seconds=31)
    record = world.store.runs.record
    watching = watcher(world)

    async def first_someone_else(*arguments):
        world.store.runs.record = record
        await world.commands.cancel(run.id, reason="", actor=ADA)
        return await record(*arguments)

    # The command needs the lock that the watcher holds: it is let in as another server would be.
    watching._counters = type(watching._counters)()
    world.store.runs.record = first_someone_else
    await watching.tick()
    assert (await world.run(run.id)).state is RunState.CANCELLED
    assert await world.notices() == []
    assert await watching.tick() == LONGEST_REST


async def test_jump_of_the_wall_clock_is_noticed(world: World) -> None:
    watching = watcher(world)
    wall = watching._wall
    await watching.tick()
    world.clock.advance(hours=5)
    await watching.tick()
    assert [event for event in world.events if isinstance(event, ClockStepped)] == []
    for seconds, way in ((-3600, "back"), (7200, "forward")):
        wall.offset += seconds
        await watching.tick()
        event = [event for event in world.events if isinstance(event, ClockStepped)][-1]
        assert event.seconds == pytest.approx(seconds)
        (condition,) = await world.store.alerts.conditions()
        assert condition.key == "clock"
        assert way in condition.detail


async def test_clock_is_trusted_again_after_a_quiet_time(world: World) -> None:
    looker = watcher(world)
    await looker.tick()
    looker._wall.offset += 3600
    await looker.tick()
    assert [condition.key for condition in await world.store.alerts.conditions()] == ["clock"]
    world.clock.advance(seconds=599)
    await looker.tick()
    assert await world.store.alerts.conditions()
    world.clock.advance(seconds=1)
    await looker.tick()
    assert await world.store.alerts.conditions() == []


async def test_jump_of_an_earlier_life_is_over(world: World) -> None:
    first = watcher(world)
    await first.tick()
    first._wall.offset += 3600
    await first.tick()
    await watcher(world).tick()
    assert await world.store.alerts.conditions() == []
