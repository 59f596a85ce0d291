"""Worker sessions: hello, what a worker holds, what is lost with it."""

import pytest
from msgspec.structs import replace
from tests.core.builders import NOON, later
from tests.server.world import ADA, ScriptedWorker, World, breathe, open_world

from rota.core.ids import COUNTERS_PER_INCARNATION
from rota.core.model import RunState
from rota.events import SessionUnknown, WorkerConnected, WorkerDisconnected
from rota.server.restore import RestoreWatch
from rota.server.worker_session import HESITATION_SECONDS
from rota.wire.channel import ChannelClosed
from rota.wire.messages import (
    Cancel,
    Drain,
    Goodbye,
    Heartbeat,
    HeartbeatAcknowledged,
    Held,
    Moving,
    Refused,
    Revoke,
    Welcome,
)


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def assigned(world: World, worker: ScriptedWorker):
    """A run that the worker has been given."""
    await world.job()
    run = await world.trigger()
    await world.work()
    return run, worker.order()


async def test_hello_is_welcomed_and_numbered(world: World) -> None:
    first, second = await world.worker("w1"), await world.worker("w2")
    (welcome,) = first.heard()
    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.server, welcome.now, welcome.lost) == (1, "s1", NOON, ())
    assert [session.worker.name for session in world.hub.sessions()] == ["w1", "w2"]
    await first.vanish()
    await world.worker("w1", boot_id="boot-2")
    (row,) = await world.store.sessions.get(["w1"])
    assert (row.session, row.boot_id, row.disconnected) == (2, "boot-2", None)
    assert len([event for event in world.events if isinstance(event, WorkerConnected)]) == 3
    assert isinstance(second.heard()[0], Welcome)


async def test_other_protocol_is_refused_with_a_hint(world: World) -> None:
    worker = await world.worker(protocol=99)
    (refused,) = worker.heard()
    assert isinstance(refused, Refused)
    assert "99" in refused.reason
    assert refused.hint
    assert world.hub.sessions() == []
    assert worker.served is not None
    await worker.served


async def test_first_message_must_be_a_hello(world: World) -> None:
    worker = ScriptedWorker(world, "w1")
    await worker.channel.send(Heartbeat(sent=1.0))
    await world.hub.serve(worker._server_end)
    assert isinstance(worker.heard()[0], Refused)


async def test_worker_that_is_gone_before_its_welcome_leaves_nothing(world: World) -> None:
    worker = ScriptedWorker(world, "w1")
    await worker.connect()
    await worker.vanish()
    gone = ScriptedWorker(world, "w2")
    await gone.channel.close()
    await world.hub.serve(gone._server_end)
    assert world.hub.sessions() == []


async def test_room_is_credit_less_what_is_held(world: World) -> None:
    worker = await world.worker(shell=2)
    _, order = await assigned(world, worker)
    assert world.hub.rooms()[0].room == {"shell": 1}
    await worker.channel.send(Heartbeat(sent=5.0, credit={"shell": 10}))
    await breathe()
    assert world.hub.rooms()[0].room == {"shell": 9}
    assert HeartbeatAcknowledged(sent=5.0, now=NOON) in worker.heard()
    await worker.finish(order)
    assert world.hub.rooms()[0].room == {"shell": 10}


async def test_more_credit_wakes_the_dispatcher_and_less_does_not(world: World) -> None:
    worker, woken = await world.worker(shell=2), []
    world.hub.on_room = lambda: woken.append(1)
    await worker.channel.send(Heartbeat(sent=1.0, credit={"shell": 2}))
    await breathe()
    assert woken == []
    await worker.channel.send(Heartbeat(sent=2.0, credit={"shell": 3}))
    await breathe()
    assert woken == [1]


@pytest.mark.parametrize("how", ["vanish", "goodbye"])
async def test_end_of_a_session_loses_what_it_held(world: World, how: str) -> None:
    worker = await world.worker()
    run, _ = await assigned(world, worker)
    if how == "goodbye":
        await worker.channel.send(Goodbye())
        assert worker.served is not None
        await worker.served
    else:
        await worker.vanish()
    after = await world.run(run.id)
    assert (after.state, after.losses) == (RunState.QUEUED, 1)
    (event,) = [event for event in world.events if isinstance(event, WorkerDisconnected)]
    assert event.held == 1
    (row,) = await world.store.sessions.get(["w1"])
    assert row.disconnected == NOON


async def test_worker_that_comes_back_keeps_what_it_still_runs(world: World) -> None:
    first = await world.worker()
    run, order = await assigned(world, first)
    held = Held(run_id=order.run_id, attempt=order.attempt, fence=order.fence)
    second = await world.worker(held=(held,))
    (welcome,) = [message for message in second.heard() if isinstance(message, Welcome)]
    assert welcome.lost == ()
    await first.vanish()
    assert (await world.run(run.id)).state is RunState.STARTING, "the older session's end takes nothing with it"
    world.clock.advance(seconds=60)
    await world.reaper.tick()
    world.clock.advance(seconds=60)
    await world.reaper.tick()
    assert (await world.run(run.id)).state is RunState.STARTING, "the reaper sees that it is held"
    await second.finish(order)
    assert (await world.run(run.id)).state is RunState.SUCCEEDED


async def test_newer_session_cuts_the_older_one_off(world: World) -> None:
    first = await world.worker()
    await world.worker()
    assert first.served is not None
    await first.served
    with pytest.raises(ChannelClosed):
        await first.channel.send(Heartbeat(sent=1.0))
    assert len(world.hub.sessions()) == 1


async def test_worker_that_comes_back_without_its_run_has_lost_it(world: World) -> None:
    first = await world.worker(distant=True)
    run, _ = await assigned(world, first)
    await first.vanish()
    assert (await world.run(run.id)).state is RunState.STARTING
    await world.worker(boot_id="boot-2", distant=True)
    assert (await world.run(run.id)).losses == 1


async def test_order_that_never_reached_its_worker_goes_back_unharmed(world: World) -> None:
    first = await world.worker(distant=True)
    run, _ = await assigned(world, first)
    await first.vanish()
    await world.worker(distant=True)
    after = await world.run(run.id)
    assert (after.state, after.losses, after.attempts) == (RunState.QUEUED, 0, ())


async def test_what_an_earlier_process_had_is_lost_though_it_has_connected_before(world: World) -> None:
    """The first hello of the new process was answered by a server that could not settle what the old one held."""
    first = await world.worker(distant=True)
    run, _ = await assigned(world, first)
    await first.vanish()
    (row,) = await world.store.sessions.get(["w1"])
    await world.store.sessions.connect(replace(row, boot_id="boot-2"))
    await world.worker(boot_id="boot-2", distant=True)
    assert (await world.run(run.id)).losses == 1


async def test_what_has_started_is_never_taken_for_an_order_that_got_lost(world: World) -> None:
    first = await world.worker(distant=True)
    run, order = await assigned(world, first)
    await first.start(order)
    await first.vanish()
    await world.worker(distant=True)
    assert (await world.run(run.id)).losses == 1


async def test_silent_worker_is_given_nothing_new(world: World) -> None:
    worker = await world.worker(distant=True)
    world.clock.advance(seconds=HESITATION_SECONDS)
    assert world.hub.rooms() == []
    await worker.channel.send(Heartbeat(sent=1.0))
    await breathe()
    assert [room.name for room in world.hub.rooms()] == ["w1"]


async def test_worker_that_is_being_called_lost_is_not_told_that_it_lives(world: World) -> None:
    worker = await world.worker(distant=True)
    (session,) = world.hub.all_sessions()
    await worker.channel.send(Heartbeat(sent=1.0))
    await session.cut_off()
    await breathe()
    assert not [message for message in worker.heard() if isinstance(message, HeartbeatAcknowledged)]


async def test_a_heartbeat_during_the_cut_is_not_answered(world: World) -> None:
    """A closing handshake takes its time, and what a worker says meanwhile is still read."""
    worker = await world.worker(distant=True)
    (session,) = world.hub.all_sessions()
    close = session.channel.close

    async def slowly() -> None:
        await worker.channel.send(Heartbeat(sent=1.0))
        await breathe()
        await close()

    session.channel.close = slowly
    await session.cut_off()
    assert [type(message) for message in worker.heard()] == [Welcome]


async def test_second_process_of_a_name_is_refused_and_told(world: World) -> None:
    first = await world.worker(distant=True)
    run, order = await assigned(world, first)
    second = await world.worker(boot_id="boot-2", distant=True)
    (refused,) = second.heard()
    assert isinstance(refused, Refused)
    assert refused.again
    (condition,) = await world.store.alerts.conditions()
    assert "second process calls itself worker w1" in condition.detail
    await first.finish(order)
    assert (await world.run(run.id)).state is RunState.SUCCEEDED, "the first goes on undisturbed"
    await first.vanish()
    await world.worker(boot_id="boot-2", distant=True)
    assert await world.store.alerts.conditions() == []


async def test_end_of_a_network_channel_loses_nothing_yet(world: World) -> None:
    worker = await world.worker(distant=True)
    run, order = await assigned(world, worker)
    await worker.start(order)
    await worker.vanish()
    await world.job("team/other")
    assert (await world.run(run.id)).state is RunState.RUNNING
    assert world.hub.rooms() == [], "but it is given nothing new"
    back = await world.worker(held=(Held(run_id=run.id, attempt=1, fence=order.fence),), distant=True)
    await back.finish(order)
    assert (await world.run(run.id)).state is RunState.SUCCEEDED


async def test_goodbye_over_the_network_is_the_end(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await assigned(world, worker)
    await worker.channel.send(Goodbye())
    assert worker.served is not None
    await worker.served
    assert (await world.run(run.id)).losses == 1
    (row,) = await world.store.sessions.get(["w1"])
    assert row.settled == NOON


async def test_workers_are_sent_elsewhere_with_all_they_hold(world: World) -> None:
    worker = await world.worker(distant=True)
    run, _ = await assigned(world, worker)
    await world.hub.move()
    assert Moving() in worker.heard()
    assert worker.served is not None
    await worker.served
    assert (await world.run(run.id)).state is RunState.STARTING
    late = await world.worker("w2", distant=True)
    (refused,) = late.heard()
    assert isinstance(refused, Refused)
    assert refused.again


async def test_revoking_asks_the_worker_once(world: World) -> None:
    worker = await world.worker()
    run, order = await assigned(world, worker)
    row = await world.run(run.id)
    assert await world.hub.revoke(row)
    assert await world.hub.revoke(row)
    assert [message for message in worker.heard() if isinstance(message, Revoke)] == [
        Revoke(run_id=run.id, fence=order.fence)
    ]
    assert await world.hub.cancel(row), "to end it is more than to give it back"
    assert worker.cancels() == [Cancel(run_id=run.id, fence=order.fence)]
    await worker.finish(order)
    assert not await world.hub.revoke(row)


async def test_fence_the_store_never_gave_shows_that_it_was_restored(world: World) -> None:
    highest = 3 * COUNTERS_PER_INCARNATION + 17
    await world.worker(highest_fence=highest)
    assert world.restore.holds
    assert await world.store.leases.reserve_fences(1) > highest, "fences still grow"
    (condition,) = await world.store.alerts.conditions()
    assert "rota doctor --accept-restore" in (condition.hint or "")
    other = RestoreWatch(world.store, world.clock, world.events.append)
    await other.refresh()
    assert other.holds, "every server knows"
    assert await world.restore.accept(ADA)
    assert not await world.restore.accept(ADA), "once is enough"
    assert (await world.store.access.audit_trail(1))[0].verb == "restore.accept"
    assert not world.restore.holds
    assert await world.store.alerts.conditions() == []
    await world.worker("w2", highest_fence=highest)
    assert not world.restore.holds, "it is not suspected again"


async def test_worker_is_told_what_is_no_longer_its_own(world: World) -> None:
    stranger = Held(run_id="0d1c3f7e-0000-8000-8000-000000000000", attempt=1, fence=3)
    worker = await world.worker(held=(stranger,))
    (welcome,) = worker.heard()
    assert isinstance(welcome, Welcome)
    assert welcome.lost == (stranger,)


async def test_cancel_goes_to_the_worker_that_holds_the_run(world: World) -> None:
    worker = await world.worker()
    run, order = await assigned(world, worker)
    assert await world.hub.cancel(await world.run(run.id))
    assert worker.cancels() == [Cancel(run_id=run.id, fence=order.fence)]
    await worker.vanish()
    assert not await world.hub.cancel(await world.run(run.id))


async def test_cancel_that_overtakes_its_order_is_repeated_after_it(world: World) -> None:
    """The assignment is committed, the order not yet sent: the worker would not know what to cancel."""
    worker = await world.worker()
    run, order = await assigned(world, worker)
    row = await world.run(run.id)
    world.hub.let_go([(run.id, order.fence)])
    await world.hub.cancel(row)
    await world.hub.assign("w1", [row], [order])
    kinds = [type(message).__name__ for message in worker.heard()]
    assert kinds == ["Cancel", "Assign", "Cancel"]


async def test_orders_of_an_older_session_are_not_sent_to_a_newer_one(world: World) -> None:
    first = await world.worker(distant=True)
    run, order = await assigned(world, first)
    row = await world.run(run.id)
    second = await world.worker(distant=True)
    assert not await world.hub.assign("w1", [row], [order])
    assert second.orders() == []


async def test_draining_worker_gets_nothing_new(world: World) -> None:
    worker = await world.worker()
    await world.hub.drain(5.0)
    assert Drain(grace=5.0) in worker.heard()
    await world.job()
    run = await world.trigger()
    await world.pass_time(seconds=30)
    assert (await world.run(run.id)).state is RunState.QUEUED
    assert later(30) == world.clock.now()


async def test_end_of_a_session_spares_what_a_newer_one_has_just_kept(world: World) -> None:
    """The worker is back between the two steps of its old session's end."""
    first = await world.worker()
    run, order = await assigned(world, first)
    held = Held(run_id=order.run_id, attempt=order.attempt, fence=order.fence)
    disconnect = world.store.sessions.disconnect

    async def and_back_again(*arguments):
        world.store.sessions.disconnect = disconnect
        was_newest = await disconnect(*arguments)
        await world.worker(held=(held,))
        return was_newest

    world.store.sessions.disconnect = and_back_again
    await first.vanish()
    assert (await world.run(run.id)).state is RunState.STARTING


@pytest.mark.parametrize("end", ["another number", "settled"])
async def test_a_session_the_store_does_not_know_is_ended_so_that_the_worker_comes_anew(world: World, end: str) -> None:
    """As after a fail-over that lost the commit of its hello: nothing could ever be given to it under that number.

    Or as after an outage of the database, when the first server that is back buries the workers of the others.
    """
    worker = await world.worker(distant=True)
    (row,) = await world.store.sessions.get(["w1"])
    if end == "settled":
        await world.store.sessions.settle("w1", row.session, world.clock.now())
    else:
        await world.store.sessions.connect(row)
    await world.job(schedule=None)
    run = await world.trigger()
    await world.work()
    assert [event for event in world.events if isinstance(event, SessionUnknown)] == [
        SessionUnknown(worker="w1", session=row.session)
    ]
    assert worker.orders() == []
    again = await world.worker(distant=True)
    await world.work()
    assert [order.run_id for order in again.orders()] == [run.id]
