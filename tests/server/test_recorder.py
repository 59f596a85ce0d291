"""The recorder: reports become outcomes, once; output before ends; permits after commits."""

import asyncio
from contextlib import suppress

import pytest
from tests.core.builders import later
from tests.server.world import ADA, World, attempt, breathe, open_world

from rota.core.errors import Conflict, StoreUnavailable
from rota.core.model import AlertPolicy, Delivery, MissedMode, MissedPolicy, RetryPolicy, RunId, RunState
from rota.core.retry import LOST_CAP
from rota.events import ReportRefused, RunEnded, RunRequeued
from rota.server.watcher import Watcher
from rota.wire.messages import (
    Finished,
    Heartbeat,
    OutputAcknowledged,
    Permit,
    Ready,
    ReportsAcknowledged,
    Started,
)


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


async def begun(world: World, **spec):
    """A worker and the order of the one run it was given."""
    worker = await world.worker()
    await world.job(**spec)
    await world.trigger()
    await world.work()
    return worker, worker.order()


async def test_success_is_recorded_and_acknowledged(world: World) -> None:
    worker, order = await begun(world)
    world.clock.advance(seconds=3)
    await worker.finish(order, exit=0, result={"n": 1})
    run = await world.run(order.run_id)
    assert (run.state, run.finished, run.result, run.attempts[0].exit) == (RunState.SUCCEEDED, later(3), {"n": 1}, 0)
    assert ReportsAcknowledged(sequence=1) in worker.heard()
    stats = await world.stats()
    assert (stats.last_state, stats.last_success) == (RunState.SUCCEEDED, run.due)
    (event,) = [event for event in world.events if isinstance(event, RunEnded)]
    assert (event.job, event.state) == ("team/job", "succeeded")
    assert {"runs", f"run:{run.id}", "job:team/job"} <= set(world.published)


async def test_failure_with_tries_left_waits_and_is_tried_again(world: World) -> None:
    worker, order = await begun(world, retry=RetryPolicy(tries=3, wait_min=10, jitter=0))
    await worker.finish(order, "failed", exit=1)
    assert (await world.run(order.run_id)).ready_at == later(10)
    await world.pass_time(seconds=9)
    assert worker.orders() == []
    await world.pass_time(seconds=1)
    second = worker.order()
    assert (second.run_id, second.attempt) == (order.run_id, 2)
    assert second.fence > order.fence
    await worker.finish(second, "failed", exit=1)
    await world.pass_time(seconds=20)
    await worker.finish(worker.order(), "failed", exit=1)
    run = await world.run(order.run_id)
    assert (run.state, run.failures, len(run.attempts)) == (RunState.FAILED, 3, 3)
    assert [event.reason for event in world.events if isinstance(event, RunRequeued)] == ["RETRY_WAIT"] * 2


async def test_stale_report_changes_nothing_and_is_settled(world: World) -> None:
    worker, order = await begun(world, retry=RetryPolicy(tries=2, wait_min=1, jitter=0))
    await worker.finish(order, "failed")
    await world.pass_time(seconds=1)
    worker.heard()
    before = await world.run(order.run_id)
    await worker.finish(order, "succeeded")
    assert await world.run(order.run_id) == before
    assert [event.fence for event in world.events if isinstance(event, ReportRefused)] == [order.fence]
    assert any(isinstance(message, ReportsAcknowledged) for message in worker.heard())


async def test_report_that_comes_twice_counts_once(world: World) -> None:
    worker, order = await begun(world)
    await worker.finish(order, "failed")
    await worker.finish(order, "failed")
    run = await world.run(order.run_id)
    assert (run.failures, len(run.attempts)) == (1, 1)
    assert (await world.stats()).fails_in_row == 1


async def test_nonsense_outcome_does_not_hold_up_the_others(world: World) -> None:
    worker = await world.worker()
    for name in ("team/a", "team/b"):
        await world.job(name)
        await world.trigger(name)
    await world.work()
    one, two = worker.orders()
    now = world.clock.now()
    odd = Finished(**attempt(one), outcome="running", started=now, finished=now)
    good = Finished(**attempt(two), outcome="succeeded", started=now, finished=now)
    await worker.report(odd, good)
    await world.work()
    assert (await world.run(two.run_id)).state is RunState.SUCCEEDED
    assert (await world.run(one.run_id)).state.is_final


async def test_output_is_stored_before_the_end_and_acknowledged(world: World) -> None:
    worker, order = await begun(world)
    append, record, happened = world.store.output.append, world.store.runs.record, []

    async def note_append(*arguments):
        happened.append("output")
        return await append(*arguments)

    async def note_record(*arguments):
        happened.append("end")
        return await record(*arguments)

    world.store.output.append, world.store.runs.record = note_append, note_record
    now = world.clock.now()
    await worker.report(Finished(**attempt(order), outcome="succeeded", started=now, finished=now))
    await worker.write(order, "hello\n")  # sent after the report, but before it was looked at
    await world.work()
    assert happened == ["output", "end"]
    assert [type(message) for message in worker.heard()] == [OutputAcknowledged, ReportsAcknowledged]
    (chunk,) = await world.store.output.read(RunId(order.run_id), 1, 0, 10)
    assert chunk.lines[0].data == b"hello\n"
    assert f"log:{order.run_id}" in world.published


async def test_nothing_is_acknowledged_before_it_is_committed(world: World) -> None:
    worker, order = await begun(world)
    record = world.store.runs.record

    async def unavailable(*arguments):
        raise StoreUnavailable("the disk is full")

    world.store.runs.record = unavailable
    now = world.clock.now()
    await worker.report(Finished(**attempt(order), outcome="succeeded", started=now, finished=now))
    with pytest.raises(StoreUnavailable):
        await world.work()
    assert worker.heard() == []
    world.store.runs.record = record
    await world.work()
    assert worker.heard() == [ReportsAcknowledged(sequence=1)]
    assert (await world.run(order.run_id)).state is RunState.SUCCEEDED


async def test_what_is_too_much_at_once_is_committed_in_smaller_pieces(world: World) -> None:
    worker = await world.worker(shell=8, http=8, python=8)
    for number in range(8):
        await world.job(f"team/job-{number}")
        await world.trigger(f"team/job-{number}")
    await world.work()
    reported, asked = world.store.runs.reported, []

    async def impatient(ids):
        asked.append(len(ids))
        if len(ids) > 2:
            raise StoreUnavailable("the database did not finish in time")
        return await reported(ids)

    world.store.runs.reported = impatient
    now = world.clock.now()
    orders = worker.orders()
    assert len(orders) == 8
    for order in orders:
        await worker.report(Finished(**attempt(order), outcome="succeeded", started=now, finished=now))
    await breathe()
    for _ in range(10):
        with suppress(StoreUnavailable):
            await world.recorder.tick()
        await breathe()
    assert asked == [8, 4, 2, 4, 2, 4, 2, 2]
    assert [(await world.run(order.run_id)).state for order in orders] == [RunState.SUCCEEDED] * 8


async def test_no_output_is_acknowledged_before_it_is_stored(world: World) -> None:
    worker, order = await begun(world)
    append = world.store.output.append

    async def unavailable(*arguments):
        raise StoreUnavailable("the disk is full")

    world.store.output.append = unavailable
    await worker.write(order, "hello\n")
    with pytest.raises(StoreUnavailable):
        await world.work()
    assert worker.heard() == []
    world.store.output.append = append
    await world.work()
    assert worker.heard() == [OutputAcknowledged(sequence=1)]
    assert (await world.store.output.size(RunId(order.run_id), order.attempt)).lines == 1


async def test_conflict_between_read_and_write_is_decided_anew(world: World) -> None:
    worker, order = await begun(world)
    record, conflicts = world.store.runs.record, []

    async def sometimes(*arguments):
        if len(conflicts) < 3:
            conflicts.append(1)
            raise Conflict("moved", runs=[order.run_id])
        return await record(*arguments)

    world.store.runs.record = sometimes
    await worker.finish(order)
    assert len(conflicts) == 3
    assert (await world.run(order.run_id)).state is RunState.SUCCEEDED


async def test_cancel_in_this_very_moment_is_seen_by_the_end(world: World) -> None:
    """The cancel is written after the recorder read the run: the end is decided again, with it."""
    worker, order = await begun(world, retry=RetryPolicy(tries=5))
    record = world.store.runs.record

    async def cancel_first(*arguments):
        world.store.runs.record = record
        await world.commands.cancel(order.run_id, reason="", actor=ADA)
        return await record(*arguments)

    world.store.runs.record = cancel_first
    await worker.finish(order, "failed")
    assert (await world.run(order.run_id)).state is RunState.CANCELLED


# ── lost and returned ────────────────────────────────────────────────────────────────────────────────────


async def test_lost_attempts_go_to_another_worker_up_to_the_cap(world: World) -> None:
    worker, order = await begun(world)
    for number in range(1, LOST_CAP + 1):
        await worker.vanish()
        run = await world.run(order.run_id)
        assert run.losses == number
        if number < LOST_CAP:
            worker = await world.worker(f"w{number + 1}")
            await world.pass_time(seconds=1)
            assert worker.order().attempt == number + 1
    assert (run.state, run.failures) == (RunState.LOST, 0)
    assert run.reason is not None
    assert run.reason.code == "LOST"


async def test_returned_attempt_is_ordered_again_unharmed(world: World) -> None:
    worker, order = await begun(world)
    await worker.give_back(order)
    again = worker.order()
    assert (again.run_id, again.attempt) == (order.run_id, 1)
    assert again.fence > order.fence
    assert world.hub.rooms()[0].room["shell"] == 2  # it takes less than it had said
    await worker.channel.send(Heartbeat(sent=1.0))
    await breathe()
    assert world.hub.rooms()[0].room["shell"] == 3


async def test_what_a_worker_was_asked_to_give_back_says_nothing_of_its_room(world: World) -> None:
    worker, order = await begun(world)
    await world.hub.revoke(await world.run(order.run_id))
    await worker.give_back(order)
    assert worker.order().fence > order.fence
    assert world.hub.rooms()[0].room["shell"] == 3


async def test_started_is_recorded(world: World) -> None:
    worker, order = await begun(world)
    world.clock.advance(seconds=2)
    await worker.start(order)
    run = await world.run(order.run_id)
    assert (run.state, run.started) == (RunState.RUNNING, later(2))


# ── at most once ─────────────────────────────────────────────────────────────────────────────────────────


async def test_permit_comes_after_the_start_is_committed(world: World) -> None:
    worker, order = await begun(world, delivery=Delivery.AT_MOST_ONCE)
    await worker.ask_permit(order)
    heard = worker.heard()
    assert heard == [
        ReportsAcknowledged(sequence=1),
        Permit(run_id=order.run_id, fence=order.fence, boot_id="boot-1"),
    ]
    assert (await world.run(order.run_id)).state is RunState.RUNNING


async def test_no_permit_without_commit(world: World) -> None:
    worker, order = await begun(world, delivery=Delivery.AT_MOST_ONCE)
    record = world.store.runs.record

    async def unavailable(*arguments):
        raise StoreUnavailable("away")

    world.store.runs.record = unavailable
    await worker.report(Ready(**attempt(order)))
    with pytest.raises(StoreUnavailable):
        await world.work()
    assert worker.permits() == []
    world.store.runs.record = record
    await world.work()
    assert len(worker.permits()) == 1


async def test_permit_is_given_once(world: World) -> None:
    worker, order = await begun(world, delivery=Delivery.AT_MOST_ONCE)
    await worker.ask_permit(order)
    await worker.ask_permit(order)
    await worker.report(Ready(**attempt(order)), Ready(**attempt(order)))
    await world.work()
    assert len(worker.permits()) == 1


async def test_at_most_once_lost_before_its_permit_starts_elsewhere(world: World) -> None:
    worker, order = await begun(world, delivery=Delivery.AT_MOST_ONCE)
    await worker.vanish()
    second = await world.worker("w2")
    await world.pass_time(seconds=1)
    assert second.order().run_id == order.run_id


async def test_at_most_once_lost_after_its_permit_never_starts_again(world: World) -> None:
    alert = AlertPolicy(to=("mail:ops",))
    worker, order = await begun(world, delivery=Delivery.AT_MOST_ONCE, alert=alert)
    await worker.ask_permit(order)
    await worker.vanish()
    second = await world.worker("w2")
    await world.pass_time(hours=1)
    assert second.orders() == []
    run = await world.run(order.run_id)
    assert run.state is RunState.LOST
    assert run.reason is not None
    assert run.reason.code == "OUTCOME_UNKNOWN"
    assert [notice.event for notice in await world.notices()] == ["failed"]


async def test_cancelled_at_most_once_run_gets_no_permit(world: World) -> None:
    worker, order = await begun(world, delivery=Delivery.AT_MOST_ONCE)
    await world.commands.cancel(order.run_id, reason="", actor=ADA)
    await worker.ask_permit(order)
    assert worker.permits() == []
    await worker.give_back(order)
    assert (await world.run(order.run_id)).state is RunState.CANCELLED


# ── notices ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_failed_and_recovered_are_told_in_one_thread(world: World) -> None:
    worker, order = await begun(world, alert=AlertPolicy(to=("mail:ops",)))
    await worker.finish(order, "failed")
    for outcome in ("failed", "succeeded", "succeeded"):
        world.clock.advance(seconds=60)
        await world.trigger()
        await world.work()
        await worker.finish(worker.order(), outcome)
    failed, recovered = await world.notices()
    assert (failed.event, recovered.event) == ("failed", "recovered")
    assert failed.thread == recovered.thread == order.run_id


async def test_counters_of_two_writers_do_not_undo_each_other(world: World) -> None:
    """A cancel of a waiting run and the end of another one, at the same time, both count."""
    worker, order = await begun(world)
    waiting = await world.trigger(at=later(3600))
    stats, entered = world.store.runs.reported, []

    async def slow(*arguments):
        entered.append(1)
        found = await stats(*arguments)
        for _ in range(20):
            await asyncio.sleep(0)
        return found

    world.store.runs.reported = slow
    now = world.clock.now()
    await worker.report(Finished(**attempt(order), outcome="failed", started=now, finished=now))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(world.recorder.tick(), world.commands.cancel(waiting.id, reason="", actor=ADA))
    assert len(entered) == 2
    assert sorted((await world.stats()).recent[::2]) == ["c", "f"]


async def test_started_of_an_unknown_run_is_refused(world: World) -> None:
    worker, order = await begun(world)
    stray = {**attempt(order), "run_id": "0d1c3f7e-0000-8000-8000-000000000000"}
    await worker.report(Started(**stray, started=world.clock.now()))
    await world.work()
    assert len([event for event in world.events if isinstance(event, ReportRefused)]) == 1


@pytest.mark.parametrize("who", ["planner", "pause", "watcher"])
async def test_everybody_takes_turns_with_the_counters(world: World, who: str) -> None:
    """Whoever changes a job's counters waits while another has read them and not yet written."""
    await world.job(schedule="* * * * *", late_after=1.0, missed=MissedPolicy(mode=MissedMode.SKIP))
    await world.pass_time(seconds=60)
    before = await world.store.runs.stats([(await world.stored_job()).id])
    world.clock.advance(minutes=10 if who == "planner" else 0.5)
    watcher = Watcher(world.store, world.clock, world.recorder.counters, world.events.append, wall=lambda: 0.0)
    act = {
        "planner": world.planner.tick,
        "pause": lambda: world.commands.pause("team/job", until=None, reason="", actor=ADA),
        "watcher": watcher.tick,
    }[who]
    async with world.recorder.counters:
        acting = asyncio.ensure_future(act())
        await breathe()
        assert not acting.done()
        assert await world.store.runs.stats([(await world.stored_job()).id]) == before
    await acting
    assert await world.store.runs.stats([(await world.stored_job()).id]) != before
