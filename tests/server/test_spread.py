"""Workers that are sent to other servers so that all have about as many."""

import pytest
from tests.server.world import ScriptedWorker, World, open_world

from rota.server.spread import ASKED_AGAIN, Spread
from rota.wire.messages import Moving


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


def moved(workers: list[ScriptedWorker]) -> list[str]:
    return [worker.name for worker in workers if Moving() in worker.heard()]


async def test_those_that_hold_least_are_sent_and_given_nothing_more(world: World) -> None:
    busy = await world.worker("w1", distant=True)
    await world.job(schedule=None)
    await world.trigger()
    await world.work()
    assert busy.orders()
    idle = await world.worker("w2", distant=True)
    await Spread(world.hub, world.clock).send_elsewhere(1)
    assert moved([busy, idle]) == ["w2"]
    assert [room.draining for room in world.hub.rooms()] == [False, True]


async def test_one_that_comes_back_is_left_alone_for_a_while(world: World) -> None:
    spread = Spread(world.hub, world.clock)
    worker = await world.worker(distant=True)
    await spread.send_elsewhere(3)
    assert moved([worker]) == ["w1"]
    again = await world.worker(distant=True)
    world.clock.advance(seconds=ASKED_AGAIN - 1)
    await spread.send_elsewhere(3)
    assert moved([again]) == []
    world.clock.advance(seconds=1)
    await spread.send_elsewhere(3)
    assert moved([again]) == ["w1"]


async def test_a_worker_inside_the_process_stays(world: World) -> None:
    worker = await world.worker()
    await Spread(world.hub, world.clock).send_elsewhere(1)
    assert moved([worker]) == []
