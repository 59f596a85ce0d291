"""The reaper: whoever is silent for too long is called lost, by whoever may say so."""

import contextlib
from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.core.builders import NOON
from tests.server.world import ScriptedWorker, World, breathe, open_world

from rota.core.errors import StoreUnavailable
from rota.core.lease import GRACE_SECONDS, LEASE_SECONDS, SILENCE_SECONDS
from rota.core.model import AttemptState, Reason, Run, RunState, Server
from rota.core.run_state import Finish, advance
from rota.events import WorkerLost
from rota.server.reaper import NOTE_SECONDS, PAUSE_SECONDS, RECONNECT_SECONDS, Reaper
from rota.store.jobs import RunChange
from rota.wire.channel import ChannelClosed
from rota.wire.messages import AttemptOrder, Cancel, Heartbeat, HeartbeatAcknowledged, Held


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def running(world: World, worker: ScriptedWorker, **spec: object) -> tuple[Run, AttemptOrder]:
    """A run that the worker has started."""
    await world.job(**spec)
    run = await world.trigger()
    await world.work()
    order = worker.order()
    await worker.start(order)
    return await world.run(run.id), order


async def tick_through(world: World, seconds: float) -> None:
    """The reaper at work for so long."""
    for _ in range(int(seconds)):
        world.clock.advance(seconds=1)
        await world.reaper.tick()


async def say_something(worker: ScriptedWorker) -> None:
    await worker.channel.send(Heartbeat(sent=0.0))
    await breathe()


async def moved_to_s2(world: World, lease_seconds: float) -> None:
    """Another server welcomes worker w1."""
    row = Server(id="s2", name="s2", url="", version="0", started=NOON, renewed=NOON, lease_until=NOON)
    await world.store.leases.join(row, lease_seconds)
    (seen,) = await world.store.sessions.get(["w1"])
    await world.store.sessions.connect(replace(seen, server="s2"))


@pytest.mark.parametrize("how", ["silent", "cut off"])
async def test_worker_is_lost_after_its_silence_and_not_before(world: World, how: str) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    if how == "cut off":
        await worker.vanish()
    await tick_through(world, SILENCE_SECONDS - 1)
    assert (await world.run(run.id)).state is RunState.RUNNING
    await tick_through(world, 1)
    after = await world.run(run.id)
    assert (after.state, after.losses) == (RunState.QUEUED, 1)
    assert WorkerLost(worker="w1", session=1, lost=1) in world.events
    await tick_through(world, 1)
    assert world.hub.all_sessions() == []
    (row,) = await world.store.sessions.get(["w1"])
    assert row.settled is not None


async def test_every_sign_of_life_begins_the_silence_anew(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    for _ in range(5):
        await tick_through(world, SILENCE_SECONDS - 1)
        await say_something(worker)
    assert (await world.run(run.id)).state is RunState.RUNNING


async def test_a_worker_inside_the_process_has_no_deadline(world: World) -> None:
    worker = await world.worker()
    run, _ = await running(world, worker)
    await tick_through(world, 10 * SILENCE_SECONDS)
    assert (await world.run(run.id)).state is RunState.RUNNING


async def test_a_worker_that_speaks_while_it_is_called_lost_hears_nothing(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    record = world.store.runs.record

    async def while_it_speaks(*arguments):
        with contextlib.suppress(ChannelClosed):
            await say_something(worker)
        return await record(*arguments)

    world.store.runs.record = while_it_speaks
    await tick_through(world, SILENCE_SECONDS)
    assert (await world.run(run.id)).losses == 1
    assert not [message for message in worker.heard() if isinstance(message, HeartbeatAcknowledged)]


async def test_attempts_that_may_go_on_alone_are_waited_for(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker, on_disconnect=30.0)
    await worker.vanish()
    await tick_through(world, SILENCE_SECONDS + 29)
    assert (await world.run(run.id)).state is RunState.RUNNING
    await tick_through(world, 2)
    assert (await world.run(run.id)).state is RunState.QUEUED


async def test_worker_that_has_connected_elsewhere_is_left_alone(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    await worker.vanish()
    await moved_to_s2(world, 100.0)
    await tick_through(world, SILENCE_SECONDS + 1)
    assert (await world.run(run.id)).state is RunState.RUNNING
    assert world.hub.all_sessions() == []


async def test_worker_that_has_ended_elsewhere_what_it_took_with_it_is_not_called_lost(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    await worker.vanish()
    await moved_to_s2(world, 100.0)
    over = replace(run.current, state=AttemptState.SUCCEEDED, finished=NOON)
    finish = Finish(state=RunState.SUCCEEDED, attempt=over, at=NOON)
    await world.store.runs.record([RunChange(run=advance(run, finish))], [], [])
    await tick_through(world, SILENCE_SECONDS + 1)
    assert (await world.run(run.id)).state is RunState.SUCCEEDED
    assert not [event for event in world.events if isinstance(event, WorkerLost)]
    assert world.hub.all_sessions() == []


async def test_after_a_pause_of_its_own_the_server_listens_before_it_judges(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    await world.reaper.tick()
    world.clock.advance(seconds=SILENCE_SECONDS + 30)  # the process was stopped; heartbeats lie in the socket
    await world.reaper.tick()
    assert (await world.run(run.id)).state is RunState.RUNNING
    await say_something(worker)
    await tick_through(world, SILENCE_SECONDS - 2)
    assert (await world.run(run.id)).state is RunState.RUNNING


async def test_after_a_pause_a_worker_that_is_really_gone_is_lost_all_the_same(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    await world.reaper.tick()
    world.clock.advance(seconds=SILENCE_SECONDS + 30)
    await tick_through(world, PAUSE_SECONDS + 2)
    assert (await world.run(run.id)).state is RunState.QUEUED


# ── workers of dead servers ──────────────────────────────────────────────────────────────────────────────


async def worker_of_a_dead_server(world: World, **spec: object) -> Run:
    """A run held by a worker whose server has just renewed its lease for the last time."""
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker, **spec)
    await moved_to_s2(world, LEASE_SECONDS)
    for session in world.hub.all_sessions():
        world.hub.forget(session)
    world.reaper = Reaper(world.store, world.hub, world.recorder, world.clock, world.events.append)
    return run


async def test_workers_of_a_dead_server_are_lost_after_its_lease_and_the_grace(world: World) -> None:
    run = await worker_of_a_dead_server(world)
    await tick_through(world, LEASE_SECONDS + GRACE_SECONDS - 1)
    assert (await world.run(run.id)).state is RunState.RUNNING
    await tick_through(world, 7)
    assert (await world.run(run.id)).losses == 1
    (row,) = await world.store.sessions.get(["w1"])
    assert row.settled is not None


async def test_workers_of_dead_servers_may_connect_first_when_the_store_was_away(world: World) -> None:
    run = await worker_of_a_dead_server(world)
    await world.reaper.tick()
    world.clock.advance(seconds=LEASE_SECONDS + GRACE_SECONDS + 30)  # nobody could renew, nobody could connect
    await tick_through(world, RECONNECT_SECONDS - 1)
    assert (await world.run(run.id)).state is RunState.RUNNING
    await tick_through(world, 7)
    assert (await world.run(run.id)).losses == 1


async def test_a_worker_that_connects_while_it_is_being_buried_keeps_what_it_runs(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    (session,) = world.hub.all_sessions()
    await moved_to_s2(world, 4.0)
    world.hub.forget(session)
    by_worker = world.store.held.by_worker

    async def it_connects_meanwhile(name):
        held = await by_worker(name)
        await world.store.sessions.connect(replace(session.worker, server="s1"))
        return held

    world.store.held.by_worker = it_connects_meanwhile
    await tick_through(world, 4 + GRACE_SECONDS + 10)
    assert (await world.run(run.id)).state is RunState.RUNNING


async def test_grace_of_a_dead_server_s_worker_is_longer_for_what_may_go_on_alone(world: World) -> None:
    run = await worker_of_a_dead_server(world, on_disconnect=100.0)
    await tick_through(world, LEASE_SECONDS + GRACE_SECONDS + 99)
    assert (await world.run(run.id)).state is RunState.RUNNING
    await tick_through(world, 7)
    assert (await world.run(run.id)).losses == 1


async def test_server_that_renews_in_time_keeps_its_workers(world: World) -> None:
    run = await worker_of_a_dead_server(world)
    await tick_through(world, LEASE_SECONDS + GRACE_SECONDS - 1)
    await world.store.leases.renew("s2", LEASE_SECONDS)
    await tick_through(world, 30)
    assert (await world.run(run.id)).state is RunState.RUNNING


# ── sessions that were opened halfway ────────────────────────────────────────────────────────────────────


async def test_a_worker_whose_hello_was_committed_and_never_answered_is_gone_unless_it_comes_back(world: World) -> None:
    """Nobody else would say so: on record it is connected, and its server lives."""
    worker = await world.worker(distant=True)
    run, _ = await running(world, worker)
    await opened_halfway(world)
    await tick_through(world, 11)
    assert (await world.store.sessions.get(["w1"]))[0].disconnected is not None, "its next process may connect"
    assert (await world.run(run.id)).losses == 0
    await tick_through(world, SILENCE_SECONDS + 1)
    assert (await world.run(run.id)).losses == 1
    assert (await world.store.sessions.get(["w1"]))[0].settled is not None


async def test_a_worker_that_says_hello_again_goes_on_with_what_it_runs(world: World) -> None:
    worker = await world.worker(distant=True)
    run, order = await running(world, worker)
    await opened_halfway(world)
    await tick_through(world, 11)
    held = Held(run_id=run.id, attempt=1, fence=order.fence)
    again = await world.worker(distant=True, held=(held,))
    for _ in range(30):
        await say_something(again)
        await tick_through(world, 1)
    await again.finish(order)
    ended = await world.run(run.id)
    assert (ended.state, ended.losses) == (RunState.SUCCEEDED, 0)


async def opened_halfway(world: World) -> None:
    """The worker says hello again, and the store goes away just after its new session is on record."""
    by_worker = world.store.held.by_worker

    async def away(_name: str) -> list[Run]:
        raise StoreUnavailable("the database does not answer")

    world.store.held.by_worker = away
    await world.worker(distant=True)
    world.store.held.by_worker = by_worker


# ── what was asked and not heard ─────────────────────────────────────────────────────────────────────────


async def test_attempt_that_was_committed_but_never_ordered_is_found(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    world.hub.let_go([(run.id, worker.order().fence)])  # as if the order had never been handed over
    await tick_through(world, SILENCE_SECONDS)
    assert (await world.run(run.id)).losses == 0
    await tick_through(world, 11)
    assert (await world.run(run.id)).losses == 1


async def test_an_attempt_seen_once_without_its_order_may_be_on_its_way(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    fence = worker.order().fence
    (session,) = world.hub.sessions()
    await tick_through(world, SILENCE_SECONDS + 1)  # it is not looked at before
    world.hub.let_go([(run.id, fence)])
    await tick_through(world, 5)
    world.hub._hold(session, await world.run(run.id))  # by the second look it has been sent
    await tick_through(world, 10)
    assert (await world.run(run.id)).losses == 0


@pytest.mark.parametrize("reconnects", [False, True])
async def test_an_end_that_the_store_has_lost_again_is_found(world: World, reconnects: bool) -> None:
    """A fail-over may lose what was committed a moment ago; the worker has thrown away its report by then."""
    worker = await world.worker(distant=True)
    run, order = await running(world, worker)
    if reconnects:
        await worker.vanish()
        worker = await world.worker(distant=True, held=(Held(run_id=run.id, attempt=1, fence=order.fence),))
    record = world.store.runs.record

    async def commit_that_is_lost(changes, *_):
        return {change.run.id for change in changes}

    world.store.runs.record = commit_that_is_lost
    await worker.finish(order)
    world.store.runs.record = record
    assert (await world.run(run.id)).state is RunState.RUNNING
    for _ in range(16):
        await say_something(worker)
        await tick_through(world, 1)
    after = await world.run(run.id)
    assert (after.state, after.losses) == (RunState.QUEUED, 1)


async def test_what_many_workers_run_is_looked_at_in_turn_and_left_alone(world: World) -> None:
    asked: list[list[str]] = []
    look = world.store.held.running

    async def noted(names):
        asked.append(names)
        return await look(names)

    world.store.held.running = noted
    names = [f"w{number:03}" for number in range(120)]
    workers = [await world.worker(name, distant=True) for name in names]
    run, _ = await running(world, workers[0])
    for _ in range(60):
        for worker in workers:
            await worker.channel.send(Heartbeat(sent=0.0))
        await breathe()
        await tick_through(world, 1)
    assert [len(some) for some in asked[:7]] == [50, 50, 50, 50, 20, 20, 0]
    assert [name for some in asked[0:6:2] for name in some] == names
    assert asked[0] == asked[1] == asked[7]
    assert (await world.run(run.id)).state is RunState.RUNNING


async def test_end_that_was_asked_for_at_another_server_is_asked_for_here(world: World) -> None:
    worker = await world.worker()
    run, order = await running(world, worker)
    asked = replace(run, cancel=Reason(code="CANCELLED"), version=run.version + 1)
    await world.store.runs.record([RunChange(run=asked)], [], [])
    await tick_through(world, 20)
    cancels = [message for message in worker.heard() if isinstance(message, Cancel)]
    assert cancels == [Cancel(run_id=run.id, fence=order.fence)], "once is enough"


async def test_connected_workers_are_noted_once_a_minute(world: World) -> None:
    worker = await world.worker(distant=True)
    await worker.channel.send(Heartbeat(sent=0.0, clock_offset=-1.5, draining=True))
    await breathe()
    connected = (await world.store.sessions.get())[0].last_seen
    world.clock.advance(seconds=NOTE_SECONDS - 1)
    await world.reaper.tick()
    assert (await world.store.sessions.get())[0].last_seen == connected
    world.clock.advance(timedelta(seconds=1))
    await world.reaper.tick()
    (row,) = await world.store.sessions.get()
    assert (row.last_seen, row.draining, row.clock_offset) == (world.clock.now(), True, -1.5)
