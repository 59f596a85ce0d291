"""The pruner: history and output go by age."""

from datetime import timedelta

import pytest
from tests.core.builders import NOON
from tests.server.world import World, open_world

from rota.core.model import Condition, RunId, RunState, Server
from rota.events import HistoryPruned
from rota.server import pruner
from rota.server.pruner import REST, SOON, Pruner
from rota.wire.messages import Goodbye


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


async def test_what_is_said_of_machines_that_are_gone_is_cleared(world: World) -> None:
    """Whoever would say that it is right again does not come back."""
    for name in ("here", "gone"):
        row = Server(id=name, name=name, url="", version="0", started=NOON, renewed=NOON, lease_until=NOON)
        await world.store.leases.join(row, 4.0)
        await world.worker(name, distant=True)
    about = ("server-clock", "tzdata", "secret-key", "worker-clock", "worker-twin")
    told = [f"{what}/{name}" for what in about for name in ("here", "gone", "never")] + ["store-clock", "clock"]
    for key in told:
        await world.store.alerts.raise_condition(Condition(key=key, detail="it is wrong", since=NOON))
    await world.workers[1].channel.send(Goodbye())
    await world.workers[1].vanish()
    await make_pruner(world).tick()
    assert await conditions(world) == sorted(key for key in told if "/never" not in key), "gone for no time yet"
    world.clock.advance(minutes=61)
    await world.store.leases.renew("here", 4.0)
    await make_pruner(world).tick()
    assert await conditions(world) == sorted(key for key in told if "/" not in key or "/here" in key)


async def test_workers_are_forgotten_a_week_after_their_end(world: World) -> None:
    for name in ("here", "gone"):
        await world.worker(name, distant=True)
    await world.workers[1].channel.send(Goodbye())
    await world.workers[1].vanish()
    world.clock.advance(days=6)
    await make_pruner(world).tick()
    assert [worker.name for worker in await world.store.sessions.get()] == ["gone", "here"]
    world.clock.advance(days=2)
    await make_pruner(world).tick()
    assert [worker.name for worker in await world.store.sessions.get()] == ["here"]


async def conditions(world: World) -> list[str]:
    return sorted(condition.key for condition in await world.store.alerts.conditions())
