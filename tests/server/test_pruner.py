"""The pruner: history and output go by age."""

from datetime import timedelta

import pytest
from tests.server.world import World, open_world

from rota.core.model import RunId, RunState
from rota.events import HistoryPruned
from rota.server import pruner
from rota.server.pruner import REST, SOON, Pruner


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


def make_pruner(world: World) -> Pruner:
    history, logs = timedelta(days=90), timedelta(days=30)
    return Pruner(world.store, world.clock, history=history, logs=logs, emit=world.events.append)


async def ended_run(world: World) -> RunId:
    worker = world.workers[0] if world.workers else await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    order = worker.order()
    await worker.write(order, "hello\n")
    await worker.finish(order)
    return run.id


async def lines(world: World, run_id: RunId) -> int:
    return len(await world.store.output.read(run_id, 1, 0, 100))


async def test_young_history_stays(world: World) -> None:
    run_id = await ended_run(world)
    world.clock.advance(days=29)
    assert await make_pruner(world).tick() == REST
    assert (await world.run(run_id)).state is RunState.SUCCEEDED
    assert await lines(world, run_id) == 1
    assert [event for event in world.events if isinstance(event, HistoryPruned)] == []


async def test_logs_go_before_history(world: World) -> None:
    run_id = await ended_run(world)
    world.clock.advance(days=32)
    await make_pruner(world).tick()
    assert await lines(world, run_id) == 0
    assert (await world.run(run_id)).state is RunState.SUCCEEDED
    world.clock.advance(days=60)
    await make_pruner(world).tick()
    assert await world.runs() == []
    assert [event.runs for event in world.events if isinstance(event, HistoryPruned)] == [0, 1]


async def test_unfinished_run_is_never_pruned(world: World) -> None:
    await world.job()
    run = await world.trigger()
    world.clock.advance(days=1000)
    await make_pruner(world).tick()
    assert (await world.run(run.id)).state is RunState.QUEUED


async def test_it_comes_back_soon_while_there_is_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "STEP", 2)
    for _ in range(3):
        await ended_run(world)
    world.clock.advance(days=100)
    pruning = make_pruner(world)
    assert await pruning.tick() == SOON
    assert await pruning.tick() == REST
    assert await world.runs() == []
