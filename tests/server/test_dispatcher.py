"""The dispatcher end to end: overlap, order, missed at release, orders, room."""

import pytest
from msgspec.structs import replace
from tests.core.builders import NOON, later, make_attempt
from tests.server.world import ADA, World, open_world

from rota.core.errors import StoreUnavailable
from rota.core.model import (
    AttemptState,
    Delivery,
    HttpTask,
    MissedMode,
    MissedPolicy,
    Overlap,
    RetryPolicy,
    Run,
    RunState,
    Trigger,
)
from rota.core.run_state import Assign as Assigned
from rota.core.run_state import advance
from rota.events import RunsAssigned
from rota.server.dispatcher import LONGEST_REST
from rota.server.restore import FACT, SUSPECTED
from rota.store.jobs import RunChange
from rota.wire.messages import Assign

SKIP = MissedPolicy(mode=MissedMode.SKIP)
MINUTELY = "* * * * *"


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def test_without_anything_it_rests(world: World) -> None:
    assert await world.dispatcher.tick() == LONGEST_REST


async def test_order_carries_all_that_an_attempt_needs(world: World) -> None:
    world.secrets.known = {"db": "hunter22", "api": "sesame99"}
    worker = await world.worker()
    task = HttpTask(method="GET", url="http://x/?t=${secret.api}", headers={"A": "1"})
    job = await world.job(
        task=task, timeout=30.0, env={"E": "1"}, secrets={"PASSWORD": "db"}, params={"a": "1", "b": "2"}, kill_grace=3.0
    )
    run = await world.trigger(params={"b": "3"})
    await world.work()
    order = worker.order()
    assert (order.run_id, order.job, order.due, order.attempt) == (run.id, job.full_name, NOON, 1)
    assert order.task == task
    assert order.secrets == {"PASSWORD": "hunter22", "api": "sesame99"}
    assert (order.params, order.env) == ({"a": "1", "b": "3"}, {"E": "1"})
    assert (order.timeout, order.kill_grace, order.permit) == (30.0, 3.0, False)
    stored = await world.run(run.id)
    assert (stored.state, stored.fence, stored.session) == (RunState.STARTING, order.fence, 1)


async def test_orders_of_one_tick_travel_together(world: World) -> None:
    worker = await world.worker(shell=10)
    for index in range(5):
        await world.job(f"team/job-{index}", schedule=MINUTELY)
    await world.pass_time(seconds=60)
    assigns = [message for message in worker.heard() if isinstance(message, Assign)]
    assert [len(message.orders) for message in assigns] == [5]
    (event,) = [event for event in world.events if isinstance(event, RunsAssigned)]
    assert (event.runs, event.left_out) == (5, 0)


async def test_no_more_than_there_is_room_for_oldest_first(world: World) -> None:
    worker = await world.worker(shell=2)
    await world.job(overlap=Overlap.ALLOW)
    runs = []
    for _ in range(4):
        runs.append(await world.trigger())
        world.clock.advance(seconds=1)
    await world.work()
    orders = worker.orders()
    assert [order.run_id for order in orders] == [run.id for run in runs[:2]]
    await worker.finish(orders[0])
    assert worker.order().run_id == runs[2].id


async def test_full_kind_does_not_hold_up_another(world: World) -> None:
    worker = await world.worker(shell=1, http=1)
    await world.job("team/shell", overlap=Overlap.ALLOW)
    await world.job("team/http", task=HttpTask(method="GET", url="http://x/"))
    for _ in range(5):
        await world.trigger("team/shell")
        world.clock.advance(seconds=1)
    await world.trigger("team/http")
    await world.work()
    assert sorted(order.job for order in worker.orders()) == ["team/http", "team/shell"]


async def test_work_is_spread_over_workers(world: World) -> None:
    workers = [await world.worker("w1", shell=5), await world.worker("w2", shell=5)]
    await world.job(overlap=Overlap.ALLOW)
    for index in range(4):
        await world.trigger(key=f"k{index}")
    await world.work()
    assert [len(worker.orders()) for worker in workers] == [2, 2]


async def test_future_run_waits_for_its_time(world: World) -> None:
    worker = await world.worker()
    await world.job()
    await world.trigger(at=later(100))
    await world.pass_time(seconds=99)
    assert worker.orders() == []
    assert (await world.dispatcher.tick()).total_seconds() == 1
    await world.pass_time(seconds=1)
    assert worker.order().due == later(100)


# ── overlap ──────────────────────────────────────────────────────────────────────────────────────────────


async def three_instants(world: World, overlap: Overlap):
    """A worker holds the first run while the second and third come due."""
    worker = await world.worker(shell=5)
    await world.job(schedule=MINUTELY, overlap=overlap)
    await world.pass_time(seconds=60)
    first = worker.order()
    await worker.start(first)
    await world.pass_time(seconds=60)
    await world.pass_time(seconds=60)
    return worker, first


async def test_overlap_skip(world: World) -> None:
    worker, first = await three_instants(world, Overlap.SKIP)
    assert await world.states() == [("running", ""), ("skipped", "OVERLAP_SKIP"), ("skipped", "OVERLAP_SKIP")]
    skipped = (await world.runs())[1]
    assert skipped.reason is not None
    assert skipped.reason.params == {"holder": first.run_id}
    await worker.finish(first)
    assert worker.orders() == []
    assert (await world.stats()).recent.startswith("k0k0s")


async def test_overlap_skip_is_decided_when_due_even_without_room(world: World) -> None:
    worker = await world.worker(shell=1)
    await world.job(schedule=MINUTELY)
    await world.pass_time(seconds=60)
    await worker.start(worker.order())
    await world.pass_time(seconds=60)
    assert (await world.states())[1] == ("skipped", "OVERLAP_SKIP")


async def test_overlap_allow(world: World) -> None:
    worker, _ = await three_instants(world, Overlap.ALLOW)
    assert len(worker.orders()) == 2


async def test_overlap_queue_keeps_the_order(world: World) -> None:
    worker, first = await three_instants(world, Overlap.QUEUE)
    assert await world.states() == [("running", ""), ("queued", "OVERLAP_QUEUED"), ("queued", "OVERLAP_QUEUED")]
    await worker.finish(first)
    second = worker.order()
    assert second.due == later(120)
    await worker.finish(second)
    assert worker.order().due == later(180)


async def test_overlap_queue_is_not_missed_by_waiting(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule="0 * * * *", overlap=Overlap.QUEUE, missed=SKIP)
    await world.pass_time(hours=1)
    first = worker.order()
    await world.pass_time(hours=1)
    await world.pass_time(minutes=30)
    await worker.finish(first)
    assert worker.order().due == later(7200)


async def test_overlap_queue_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.core.overlap.QUEUE_LIMIT", 3)
    await world.worker()
    await world.job(overlap=Overlap.QUEUE)
    for _ in range(6):
        await world.trigger()
        await world.pass_time(seconds=1)
    assert [code for _, code in await world.states()] == ["", *["OVERLAP_QUEUED"] * 3, *["QUEUE_FULL"] * 2]


async def test_overlap_queue_latest(world: World) -> None:
    worker, first = await three_instants(world, Overlap.QUEUE_LATEST)
    assert (await world.states())[1:] == [("skipped", "SUPERSEDED"), ("queued", "OVERLAP_QUEUED")]
    await worker.finish(first)
    assert worker.order().due == later(180)


async def test_overlap_replace_starts_when_the_old_run_is_confirmed_ended(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, overlap=Overlap.REPLACE)
    await world.pass_time(seconds=60)
    first = worker.order()
    await worker.start(first)
    await world.pass_time(seconds=60)
    messages = worker.heard()
    assert [type(message).__name__ for message in messages][-1] == "Cancel"
    assert not [message for message in messages if isinstance(message, Assign)]
    assert await world.states() == [("running", ""), ("queued", "REPLACING")]
    await worker.finish(first, "cancelled")
    assert worker.order().due == later(120)
    old = await world.run(first.run_id)
    assert old.state is RunState.CANCELLED
    assert old.reason is not None
    assert old.reason.code == "REPLACED"


async def test_overlap_replace_asks_once(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, overlap=Overlap.REPLACE)
    await world.pass_time(seconds=60)
    await worker.start(worker.order())
    for _ in range(5):
        await world.pass_time(seconds=60)
    assert len(worker.cancels()) == 1
    assert [code for _, code in await world.states()] == ["", *["SUPERSEDED"] * 4, "REPLACING"]


async def test_instants_planned_late_go_in_their_order_whoever_looks_first(world: World) -> None:
    """They are not woken, each looks for itself; one that looks when the job is free does not overtake."""
    worker = await world.worker()
    await world.job(schedule="*/10 * * * * *")
    world.clock.advance(seconds=45)  # nothing was there to plan them
    await world.work()
    await worker.finish(worker.order())
    last = (await world.runs())[3]
    assert (last.due, last.state) == (later(40), RunState.QUEUED)
    looks = replace(last, ready_at=world.clock.now(), version=last.version + 1)
    await world.store.runs.assign([RunChange(run=looks)], {})
    await world.work()
    assert worker.orders() == []
    await world.pass_time(seconds=1)
    assert worker.order().due == later(20)


async def test_overlap_replace_of_a_run_between_two_tries(world: World) -> None:
    worker = await world.worker()
    retry = RetryPolicy(tries=5, wait_min=3600, wait_max=3600)
    await world.job(schedule=MINUTELY, overlap=Overlap.REPLACE, retry=retry)
    await world.pass_time(seconds=60)
    await worker.finish(worker.order(), "failed")
    await world.pass_time(seconds=60)
    assert worker.order().due == later(120)
    assert (await world.states())[0] == ("cancelled", "REPLACED")


async def test_retry_wait_holds_the_job(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, retry=RetryPolicy(tries=2, wait_min=600, jitter=0))
    await world.pass_time(seconds=60)
    await worker.finish(worker.order(), "failed")
    await world.pass_time(seconds=60)
    assert worker.orders() == []
    assert await world.states() == [("queued", "RETRY_WAIT"), ("skipped", "OVERLAP_SKIP")]


async def test_cancelled_wait_lets_the_queue_go_on_at_once(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule=MINUTELY, overlap=Overlap.QUEUE, retry=RetryPolicy(tries=2, wait_min=600, jitter=0))
    await world.pass_time(seconds=60)
    first = worker.order()
    await worker.finish(first, "failed")
    await world.pass_time(seconds=60)
    assert worker.orders() == []
    await world.commands.cancel(first.run_id, reason="", actor=ADA)
    await world.work()
    assert worker.order().due == later(120)


# ── missed at release ────────────────────────────────────────────────────────────────────────────────────


async def test_run_that_found_no_worker_for_too_long_is_missed(world: World) -> None:
    await world.job(schedule="0 * * * *", missed=SKIP)
    await world.pass_time(hours=1)
    await world.pass_time(seconds=61)
    worker = await world.worker()
    await world.work()
    assert worker.orders() == []
    assert await world.states() == [("missed", "TOO_LATE")]


async def test_run_latest_waits_for_a_worker_until_a_newer_one_is_due(world: World) -> None:
    await world.job(schedule="0 * * * *", missed=MissedPolicy(within=None))
    await world.pass_time(hours=1)
    await world.pass_time(hours=1)
    worker = await world.worker()
    await world.work()
    assert worker.order().due == later(7200)
    assert [state for state, _ in await world.states()] == ["missed", "starting"]


# ── secrets, permits, conflicts ──────────────────────────────────────────────────────────────────────────


async def test_missing_secret_fails_the_attempt_and_says_which(world: World) -> None:
    worker = await world.worker()
    await world.job(secrets={"PASSWORD": "db"})
    run = await world.trigger()
    await world.work()
    assert worker.orders() == []
    failed = await world.run(run.id)
    assert failed.state is RunState.FAILED
    assert failed.reason is not None
    assert "secret db" in failed.reason.params["error"]
    assert "rota secret set db" in failed.reason.params["error"]
    assert world.hub.rooms()[0].room["shell"] == 4


async def test_missing_secret_is_retried_like_any_failure(world: World) -> None:
    worker = await world.worker()
    await world.job(secrets={"PASSWORD": "db"}, retry=RetryPolicy(tries=2, wait_min=5, jitter=0))
    run = await world.trigger()
    await world.work()
    assert (await world.run(run.id)).state is RunState.QUEUED
    world.secrets.known["db"] = "hunter22"
    await world.pass_time(seconds=5)
    assert worker.order().attempt == 2


async def test_at_most_once_asks_for_a_permit(world: World) -> None:
    worker = await world.worker()
    await world.job(delivery=Delivery.AT_MOST_ONCE)
    await world.trigger()
    await world.work()
    assert worker.order().permit


async def test_waiting_run_is_ordered_by_the_revision_it_was_moved_to(world: World) -> None:
    await world.job(env={"E": "old"})
    await world.trigger()
    await world.job(env={"E": "new"})
    worker = await world.worker()
    await world.work()
    assert worker.order().env == {"E": "new"}


async def test_retry_is_ordered_by_the_revision_it_began_with(world: World) -> None:
    worker = await world.worker()
    await world.job(env={"E": "old"}, retry=RetryPolicy(tries=2, wait_min=5, jitter=0))
    await world.trigger()
    await world.work()
    await worker.finish(worker.order(), "failed")
    await world.job(env={"E": "new"})
    await world.pass_time(seconds=5)
    assert worker.order().env == {"E": "old"}


async def test_nothing_is_ordered_before_it_is_on_record(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    assign = world.store.runs.assign

    async def unavailable(*arguments):
        raise StoreUnavailable("the disk is full")

    world.store.runs.assign = unavailable
    with pytest.raises(StoreUnavailable):
        await world.work()
    assert worker.orders() == []
    world.store.runs.assign = assign
    await world.work()
    assert worker.order().run_id == run.id


async def test_run_that_moved_between_read_and_write_is_left_out(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    assign = world.store.runs.assign

    async def first_cancel(*arguments):
        world.store.runs.assign = assign
        await world.commands.cancel(run.id, reason="", actor=ADA)
        return await assign(*arguments)

    world.store.runs.assign = first_cancel
    await world.work()
    assert worker.orders() == []
    assert (await world.run(run.id)).state is RunState.CANCELLED
    assert [event.left_out for event in world.events if isinstance(event, RunsAssigned)] == [1]


async def test_worker_that_vanishes_between_read_and_write_gets_nothing(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    assign = world.store.runs.assign

    async def first_vanish(*arguments):
        world.store.runs.assign = assign
        await worker.vanish()
        return await assign(*arguments)

    world.store.runs.assign = first_vanish
    await world.work()
    stored = await world.run(run.id)
    assert (stored.state, stored.losses, stored.attempts) == (RunState.QUEUED, 0, ())


async def test_what_was_written_without_an_answer_is_ordered_all_the_same(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    assign = world.store.runs.assign

    async def lose_the_answer(*arguments):
        world.store.runs.assign = assign
        await assign(*arguments)
        raise StoreUnavailable("the connection broke")

    world.store.runs.assign = lose_the_answer
    with pytest.raises(StoreUnavailable):
        await world.dispatcher.tick()
    assert worker.orders() == []
    await world.work()
    (order,) = worker.orders()
    assert (order.run_id, order.fence) == (run.id, (await world.run(run.id)).fence)


async def test_an_order_is_not_sent_when_its_attempt_was_given_up_meanwhile(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    assign = world.store.runs.assign

    async def lose_the_answer(*arguments):
        world.store.runs.assign = assign
        await assign(*arguments)
        raise StoreUnavailable("the connection broke")

    world.store.runs.assign = lose_the_answer
    with pytest.raises(StoreUnavailable):
        await world.dispatcher.tick()
    (session,) = world.hub.sessions()
    session.given_up.add((run.id, (await world.run(run.id)).fence))
    await world.work()
    assert worker.orders() == []


async def test_fences_are_unique_and_grow(world: World) -> None:
    worker = await world.worker(shell=50)
    await world.job(overlap=Overlap.ALLOW)
    for index in range(20):
        await world.trigger(key=f"k{index}")
    await world.work()
    fences = [order.fence for order in worker.orders()]
    assert len(set(fences)) == 20
    assert fences == sorted(fences)
    await worker.vanish()
    again = await world.worker(shell=50)
    await world.pass_time(seconds=2)
    assert min(order.fence for order in again.orders()) > max(fences)


async def test_the_next_attempt_has_the_higher_fence_whoever_gave_the_one_before(world: World) -> None:
    worker = await world.worker()
    await world.job(retry=RetryPolicy(tries=2, wait_min=1.0, wait_max=1.0, jitter=0.0))
    await world.trigger()
    await world.work()
    order = worker.order()
    elsewhere = await world.store.leases.reserve_fences(1)  # another server's block lies above ours
    run = await world.run(order.run_id)
    moved = replace(run, current=replace(run.current, fence=elsewhere), version=run.version + 1)
    await world.store.runs.record([RunChange(run=moved)], [], [])
    await worker.finish(replace(order, fence=elsewhere), "failed")
    await world.pass_time(seconds=2)
    assert worker.order().fence > elsewhere > order.fence


async def test_after_a_restore_at_most_once_work_waits_for_a_person(world: World) -> None:
    worker = await world.worker()
    await world.job(delivery=Delivery.AT_MOST_ONCE)
    await world.job("team/other")
    await world.store.leases.remember(FACT, SUSPECTED)
    held, other = await world.trigger(), await world.trigger("team/other")
    await world.work()
    assert worker.order().run_id == other.id
    assert (await world.run(held.id)).reason.code == "RESTORE_HELD"
    await world.restore.accept(ADA)
    await world.pass_time(seconds=10)
    assert worker.order().run_id == held.id


async def test_deleted_job_s_waiting_run_never_starts(world: World) -> None:
    await world.job()
    run = await world.trigger()
    await world.commands.delete_job("team/job", if_revision=None, actor=ADA)
    worker = await world.worker()
    await world.work()
    assert worker.orders() == []
    stored: Run = await world.run(run.id)
    assert (stored.state, stored.trigger) == (RunState.SKIPPED, Trigger.MANUAL)
    assert AttemptState.STARTING not in [one.state for one in stored.attempts]


async def test_two_runs_of_a_job_released_at_the_same_time_do_not_overlap(world: World) -> None:
    """Another server releases one run between this one's look and its write: the store is asked once more."""
    worker = await world.worker()
    await world.job()
    first, second = await world.trigger(key="a"), await world.trigger(key="b")
    waiting, assign = world.store.runs.waiting, world.store.runs.assign

    async def only_the_second(*arguments, **options):
        found = await waiting(*arguments, **options)
        return replace(found, runs=tuple(run for run in found.runs if run.id == second.id))

    async def the_first_elsewhere(changes, sessions):
        world.store.runs.assign = assign
        attempt = make_attempt(fence=2**42, worker="w1")
        moved = advance(first, Assigned(attempt=attempt, session=1))
        assert await assign([RunChange(run=moved, alone=True)], sessions) == {first.id}
        return await assign(changes, sessions)

    world.store.runs.waiting, world.store.runs.assign = only_the_second, the_first_elsewhere
    await world.dispatcher.tick()
    assert worker.orders() == []
    assert (await world.run(second.id)).state is RunState.QUEUED
