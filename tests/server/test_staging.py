"""Runs given to workers ahead of their time, and what asks them back."""

import pytest
from tests.core.builders import NOON, later
from tests.server.world import ADA, ScriptedWorker, World, open_world

from rota.core.catch_up import LOOKAHEAD
from rota.core.model import Delivery, Overlap, Run, RunState
from rota.wire.messages import AttemptOrder, Permit, Revoke

EACH_SECOND = "* * * * * *"
MINUTELY = "* * * * *"


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def staged(world: World, worker: ScriptedWorker, **spec: object) -> tuple[Run, AttemptOrder]:
    """A run due in a minute that its worker has a second before."""
    await world.job(**{"schedule": MINUTELY, **spec})
    await world.pass_time(seconds=59)
    order = worker.order()
    return await world.run(order.run_id), order


def revoked(worker: ScriptedWorker) -> list[str]:
    return [message.run_id for message in worker.heard() if isinstance(message, Revoke)]


async def test_a_run_is_with_its_worker_before_it_is_due(world: World) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    assert (run.state, run.due, run.released) == (RunState.STARTING, later(60), later(59))
    assert (order.due, order.not_before) == (later(60), later(60))
    world.clock.advance(seconds=1)
    await worker.finish(order)
    after = await world.run(run.id)
    assert (after.state, after.started) == (RunState.SUCCEEDED, later(60))


async def test_a_run_given_at_its_time_starts_at_once(world: World) -> None:
    worker = await world.worker()
    await world.job()
    await world.trigger()
    await world.work()
    assert worker.order().not_before is None


async def test_each_second_the_next_is_staged_when_the_one_before_has_ended(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=EACH_SECOND)
    await world.work()
    for second in range(1, 6):
        order = worker.order()
        assert (order.due, order.not_before) == (later(second), later(second))
        world.clock.advance(seconds=1)
        await world.work()
        assert worker.orders() == [], "one at a time"
        await worker.finish(order)
    assert [state for state, _ in await world.states()][:5] == ["succeeded"] * 5


async def test_a_run_still_going_at_the_next_instant_makes_that_one_skipped(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=EACH_SECOND)
    await world.work()
    order = worker.order()
    world.clock.advance(seconds=1)
    await worker.start(order)
    await world.pass_time(seconds=1)
    assert ("skipped", "OVERLAP_SKIP") in await world.states()
    assert worker.orders() == []


async def test_runs_that_may_overlap_are_all_staged(world: World) -> None:
    worker = await world.worker(shell=10)
    await world.job(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    await world.work()
    assert [order.due for order in worker.orders()] == [later(1), later(2)]
    assert LOOKAHEAD.total_seconds() == 2.5


async def test_at_most_once_waits_for_its_time(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, delivery=Delivery.AT_MOST_ONCE)
    await world.pass_time(seconds=59)
    assert worker.orders() == []
    await world.pass_time(seconds=1)
    order = worker.order()
    assert (order.permit, order.not_before) == (True, None)
    await worker.ask_permit(order)
    assert [message for message in worker.heard() if isinstance(message, Permit)]


async def test_without_room_it_is_released_when_it_is_due(world: World) -> None:
    worker = await world.worker(shell=1)
    await world.job("team/other")
    await world.trigger("team/other")
    await world.work()
    first = worker.order()
    await world.job(schedule=MINUTELY)
    await world.pass_time(seconds=59)
    assert worker.orders() == []
    await world.pass_time(seconds=1)
    await worker.finish(first)
    order = worker.order()
    assert (order.due, order.not_before) == (later(60), None)


async def test_room_that_comes_free_in_time_is_used_ahead_of_it(world: World) -> None:
    worker = await world.worker(shell=1)
    await world.job("team/other")
    await world.trigger("team/other")
    await world.work()
    first = worker.order()
    await world.job(schedule=MINUTELY)
    await world.pass_time(seconds=58)
    await worker.finish(first)
    assert worker.order().not_before == later(60)


# ── what comes in between ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["pause", "delete", "edit away", "edit into shadow"])
async def test_a_change_takes_back_what_has_not_started(world: World, how: str) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    match how:
        case "pause":
            result = await world.commands.pause("team/job", until=None, reason="", actor=ADA)
            assert result.may_still_start == (run.id,)
        case "delete":
            await world.commands.delete_job("team/job", if_revision=None, actor=ADA)
        case "edit away":
            await world.job(schedule="30 3 * * *")
        case _:
            await world.job(schedule=MINUTELY, shadow=True)
    assert (await world.run(run.id)).state is RunState.STARTING, "the worker has the last word"
    assert revoked(worker) == [run.id]
    await worker.give_back(order)
    after = await world.run(run.id)
    code = {"pause": "PAUSED", "delete": "DELETED", "edit away": "EDITED", "edit into shadow": "SHADOW"}[how]
    assert (after.state, after.reason and after.reason.code, after.released) == (RunState.SKIPPED, code, None)
    await world.pass_time(seconds=5)
    assert worker.orders() == []


@pytest.mark.parametrize("how", ["pause", "edit away"])
async def test_what_had_started_by_then_goes_on(world: World, how: str) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    if how == "pause":
        await world.commands.pause("team/job", until=None, reason="", actor=ADA)
    else:
        await world.job(schedule="30 3 * * *")
    world.clock.advance(seconds=1)
    await worker.start(order)
    await worker.finish(order)
    after = await world.run(run.id)
    assert (after.state, after.withdrawn, after.revision) == (RunState.SUCCEEDED, None, 1)


async def test_an_edit_that_keeps_the_instant_runs_it_under_the_new_definition(world: World) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker, params={"a": "old"})
    await world.job(schedule=MINUTELY, params={"a": "new"})
    assert revoked(worker) == [run.id]
    await worker.give_back(order)
    await world.pass_time(seconds=1)
    again = worker.order()
    assert (again.run_id, again.params, again.attempt) == (run.id, {"a": "new"}, 1)
    after = await world.run(run.id)
    assert (after.revision, after.attempts) == (2, ())


async def test_a_run_by_hand_goes_before_a_staged_one(world: World) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    manual = await world.trigger()
    await world.work()
    assert revoked(worker) == [run.id]
    assert worker.orders() == []
    await worker.give_back(order)
    world.clock.advance(seconds=0.3)
    await world.work()
    first = worker.order()
    assert (first.run_id, first.not_before) == (manual.id, None)
    await worker.finish(first)
    await world.pass_time(seconds=1)
    assert worker.order().run_id == run.id


async def test_a_run_by_hand_that_is_still_going_makes_the_instant_skipped(world: World) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    await world.trigger()
    await world.work()
    await worker.give_back(order)
    await world.pass_time(seconds=0.3)
    await worker.start(next(iter(worker.orders())))
    await world.pass_time(seconds=1)
    after = await world.run(run.id)
    assert (after.state, after.reason and after.reason.code) == (RunState.SKIPPED, "OVERLAP_SKIP")


async def test_cancelling_a_staged_run_ends_it(world: World) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    await world.commands.cancel(run.id, reason="", actor=ADA)
    assert [cancel.run_id for cancel in worker.cancels()] == [run.id]
    await worker.give_back(order)
    assert (await world.run(run.id)).state is RunState.CANCELLED


async def test_a_staged_run_that_is_lost_waits_for_its_time(world: World) -> None:
    worker = await world.worker()
    run, _ = await staged(world, worker)
    await worker.vanish()
    after = await world.run(run.id)
    assert (after.state, after.ready_at, after.losses) == (RunState.QUEUED, later(60), 0)
    assert (after.attempts, after.released) == ((), None), "before its time it has not started"


@pytest.mark.parametrize("late", [False, True], ids=["before it was due", "after"])
async def test_what_was_asked_back_and_is_lost_is_not_run_again(world: World, late: bool) -> None:
    worker = await world.worker()
    run, _ = await staged(world, worker)
    await world.commands.pause("team/job", until=None, reason="", actor=ADA)
    world.clock.advance(seconds=2 if late else 0)
    await worker.vanish()
    after = await world.run(run.id)
    assert (after.state, after.reason and after.reason.code) == (RunState.SKIPPED, "PAUSED")
    assert [attempt.state.value for attempt in after.attempts] == (["lost"] if late else [])


async def test_a_worker_s_refusal_does_not_start_it_early(world: World) -> None:
    worker = await world.worker()
    run, order = await staged(world, worker)
    await worker.give_back(order)
    after = await world.run(run.id)
    assert after.ready_at == later(60)
    assert later(0) == NOON
