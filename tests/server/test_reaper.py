"""The reaper: what nobody will report on is called lost, after a silence."""

import pytest
from tests.server.world import World, open_world

from rota.core.model import RunState
from rota.server.hub import Hub
from rota.server.reaper import NOTE_SECONDS, SILENCE_SECONDS, Reaper


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def orphan(world: World) -> str:
    """A run that an earlier life of the server gave away: this life's hub knows nothing of it."""
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    assert worker.order().run_id == run.id
    world.hub = Hub(world.store, world.clock, "s1", world.take, world.events.append)
    world.hub.on_lost = world.recorder.lose
    world.reaper = Reaper(world.store, world.hub, world.recorder, world.clock, world.events.append)
    return run.id


async def test_silence_is_waited_for(world: World) -> None:
    run_id = await orphan(world)
    await world.reaper.tick()
    world.clock.advance(seconds=SILENCE_SECONDS - 1)
    await world.reaper.tick()
    assert (await world.run(run_id)).state is RunState.STARTING
    world.clock.advance(seconds=1)
    await world.reaper.tick()
    after = await world.run(run_id)
    assert (after.state, after.losses) == (RunState.QUEUED, 1)


async def test_connected_worker_s_runs_are_left_alone_however_long(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    await worker.start(worker.order())
    for _ in range(5):
        world.clock.advance(hours=1)
        await world.reaper.tick()
    assert (await world.run(run.id)).state is RunState.RUNNING


async def test_attempt_that_was_committed_but_never_ordered_is_found(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    world.hub.let_go([(run.id, worker.order().fence)])  # as if the order had never been handed over
    await world.reaper.tick()
    world.clock.advance(seconds=SILENCE_SECONDS)
    await world.reaper.tick()
    assert (await world.run(run.id)).losses == 1


async def test_silence_that_ends_in_time_starts_anew(world: World) -> None:
    run_id = await orphan(world)
    await world.reaper.tick()
    world.clock.advance(seconds=SILENCE_SECONDS - 1)
    row = await world.run(run_id)
    assert row.current is not None
    from_before = world.hub.holds
    world.hub.holds = lambda run: True  # type: ignore[method-assign]
    await world.reaper.tick()
    world.hub.holds = from_before  # type: ignore[method-assign]
    world.clock.advance(seconds=2)
    await world.reaper.tick()
    assert (await world.run(run_id)).state is RunState.STARTING


async def test_connected_workers_are_noted_once_a_minute(world: World) -> None:
    worker = await world.worker()
    connected = (await world.store.sessions.get())[0].last_seen
    world.clock.advance(seconds=NOTE_SECONDS - 1)
    await world.reaper.tick()
    assert (await world.store.sessions.get())[0].last_seen == connected
    world.clock.advance(seconds=1)
    await world.reaper.tick()
    assert (await world.store.sessions.get())[0].last_seen == world.clock.now()
    assert worker is not None
