"""Commands on runs: trigger, cancel, retry."""

import pytest
from tests.core.builders import NOON, later, make_spec
from tests.server.world import ADA, World, open_world

from rota.core.errors import Conflict, Invalid, NotFound, TooLarge
from rota.core.model import Overlap, RetryPolicy, Run, RunId, RunState, Trigger
from rota.server.commands import TriggerRequest, WantedJob
from rota.server.commands.runs import LARGEST_PARAMS, LARGEST_TRIGGER, LONGEST_KEY, at_start_run

NOBODY = RunId("0d1c3f7e-0000-8000-8000-000000000000")


@pytest.fixture
async def world():
    async with open_world() as world:
        yield world


# ── trigger ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_trigger_makes_a_run_at_once(world: World) -> None:
    await world.job(params={"a": "1", "b": "2"})
    run = await world.trigger(params={"b": "3"})
    assert (run.trigger, run.state, run.due, run.ready_at) == (Trigger.MANUAL, RunState.QUEUED, NOON, NOON)
    assert (run.params, run.actor) == ({"a": "1", "b": "3"}, "ada")
    assert await world.run(run.id) == run


async def test_same_key_is_the_same_run_for_ever(world: World) -> None:
    worker = await world.worker()
    await world.job()
    first = await world.trigger(key="order-7")
    assert (await world.trigger(key="order-7")).id == first.id
    await world.work()
    await worker.finish(worker.order())
    world.clock.advance(days=3)
    again = await world.trigger(key="order-7", params={"x": "other"})
    assert (again.id, again.state) == (first.id, RunState.SUCCEEDED)
    assert len(await world.runs()) == 1


async def test_key_belongs_to_its_job(world: World) -> None:
    await world.job("team/a")
    await world.job("team/b")
    assert (await world.trigger("team/a", key="k")).id != (await world.trigger("team/b", key="k")).id


async def test_without_key_each_trigger_is_its_own(world: World) -> None:
    await world.job()
    assert (await world.trigger()).id != (await world.trigger()).id


async def test_trigger_at_a_time(world: World) -> None:
    await world.job()
    past, future = await world.trigger(at=later(-3600)), await world.trigger(at=later(3600))
    assert (past.due, past.ready_at) == (later(-3600), NOON)
    assert (future.due, future.ready_at) == (later(3600), later(3600))


async def test_each_of_many_succeeds_or_fails_by_itself(world: World) -> None:
    await world.job("team/a")
    wanted = [
        TriggerRequest(full_name="team/a"),
        TriggerRequest(full_name="team/nobody"),
        TriggerRequest(full_name="team/a", params={"x": "a\0b"}),
        TriggerRequest(full_name="team/a", key="k"),
    ]
    one, two, three, four = await world.commands.trigger_many(wanted, actor=ADA)
    assert isinstance(one, Run)
    assert isinstance(two, NotFound)
    assert isinstance(three, Invalid)
    assert isinstance(four, Run)
    assert four.key == "k"
    assert len(await world.runs()) == 2


async def test_too_many_in_one_request(world: World) -> None:
    with pytest.raises(TooLarge, match="10001 triggers"):
        await world.commands.trigger_many([TriggerRequest(full_name="a/b")] * (LARGEST_TRIGGER + 1), actor=ADA)


async def test_unknown_job(world: World) -> None:
    with pytest.raises(NotFound, match="there is no job a/b"):
        await world.trigger("a/b")


@pytest.mark.parametrize(
    "value", ["; rm -rf /", "$(id)", "`id`", "-rf", "a\nb", "ünï", "'\"\\", "${params.x}", "x" * 60_000]
)
async def test_params_arrive_as_they_are(world: World, value: str) -> None:
    worker = await world.worker()
    await world.job()
    await world.trigger(params={"x": value})
    await world.work()
    assert worker.order().params == {"x": value}


async def test_nul_in_a_param_is_refused(world: World) -> None:
    await world.job()
    with pytest.raises(Invalid, match="param x: the value contains a NUL"):
        await world.trigger(params={"x": "a\0"})
    assert await world.runs() == []


async def test_param_that_is_no_text_is_refused(world: World) -> None:
    await world.job()
    with pytest.raises(Invalid, match="param 'x': it contains half of a surrogate pair"):
        await world.trigger(params={"x": "\ud800"})
    with pytest.raises(Invalid, match="a key is text"):
        await world.trigger(key="\udfff")


@pytest.mark.parametrize("name", ["", "1a", "a b", "a=b", "ä", "a\0", "LD_PRELOAD\n", "a.b"])
async def test_param_names_are_those_of_variables(world: World, name: str) -> None:
    await world.job()
    with pytest.raises(Invalid, match="param"):
        await world.trigger(params={name: "x"})


async def test_large_params_are_too_large(world: World) -> None:
    await world.job()
    await world.trigger(params={"x": "a" * (LARGEST_PARAMS - 1)})
    with pytest.raises(TooLarge, match=f"the most is {LARGEST_PARAMS}"):
        await world.trigger(params={"x": "ä" * (LARGEST_PARAMS // 2)})


@pytest.mark.parametrize("key", ["", "k" * (LONGEST_KEY + 1)])
async def test_keys_have_a_length(world: World, key: str) -> None:
    await world.job()
    with pytest.raises(Invalid, match="a key has"):
        await world.trigger(key=key)


async def test_trigger_is_audited(world: World) -> None:
    await world.job()
    run = await world.trigger()
    newest = (await world.store.access.audit_trail(1))[0]
    assert (newest.verb, newest.object, newest.detail) == ("run.trigger", "team/job", run.id)


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_waiting_run_is_cancelled_at_once(world: World) -> None:
    await world.job()
    run = await world.trigger()
    cancelled = await world.commands.cancel(run.id, reason="wrong day", actor=ADA)
    assert (cancelled.state, cancelled.finished) == (RunState.CANCELLED, NOON)
    assert cancelled.reason is not None
    assert cancelled.reason.params == {"by": "ada", "why": ": wrong day"}
    assert (await world.stats()).recent == "c0"
    worker = await world.worker()
    await world.work()
    assert worker.orders() == []


@pytest.mark.parametrize("running", [False, True])
async def test_run_with_a_worker_is_asked_to_end(world: World, running: bool) -> None:
    worker = await world.worker()
    await world.job(retry=RetryPolicy(tries=5))
    run = await world.trigger()
    await world.work()
    order = worker.order()
    if running:
        await worker.start(order)
    asked = await world.commands.cancel(run.id, reason="", actor=ADA)
    assert asked.state is (RunState.RUNNING if running else RunState.STARTING)
    assert len(worker.cancels()) == 1
    await worker.finish(order, "cancelled")
    assert (await world.run(run.id)).state is RunState.CANCELLED


async def test_cancelled_run_that_is_given_back_ends(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    await world.commands.cancel(run.id, reason="", actor=ADA)
    await worker.give_back(worker.order())
    assert (await world.run(run.id)).state is RunState.CANCELLED


async def test_cancelled_run_whose_worker_vanishes_ends(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    await world.commands.cancel(run.id, reason="", actor=ADA)
    await worker.vanish()
    assert (await world.run(run.id)).state is RunState.CANCELLED


async def test_run_between_two_tries_is_cancelled_at_once(world: World) -> None:
    worker = await world.worker()
    await world.job(retry=RetryPolicy(tries=5, wait_min=60))
    run = await world.trigger()
    await world.work()
    await worker.finish(worker.order(), "failed")
    assert (await world.commands.cancel(run.id, reason="", actor=ADA)).state is RunState.CANCELLED
    await world.pass_time(hours=1)
    assert worker.orders() == []


async def test_ended_run_cannot_be_cancelled(world: World) -> None:
    await world.job()
    run = await world.trigger()
    await world.commands.cancel(run.id, reason="", actor=ADA)
    with pytest.raises(Conflict, match="already ended: cancelled"):
        await world.commands.cancel(run.id, reason="", actor=ADA)
    with pytest.raises(NotFound):
        await world.commands.cancel(NOBODY, reason="", actor=ADA)


async def test_cancel_of_a_run_that_is_just_being_assigned_reaches_the_worker(world: World) -> None:
    """The run was read as waiting; the dispatcher is first; the cancel is decided anew."""
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    reported = world.store.runs.reported

    async def dispatch_first(ids):
        world.store.runs.reported = reported
        await world.dispatcher.tick()
        return await reported(ids)

    world.store.runs.reported = dispatch_first
    asked = await world.commands.cancel(run.id, reason="", actor=ADA)
    assert (asked.state, asked.cancel is not None) == (RunState.STARTING, True)
    assert len(worker.cancels()) == 1


async def test_second_cancel_changes_nothing(world: World) -> None:
    await world.worker()
    await world.job()
    run = await world.trigger()
    await world.work()
    first = await world.commands.cancel(run.id, reason="one", actor=ADA)
    assert await world.commands.cancel(run.id, reason="two", actor=ADA) == first


# ── the Retry button ─────────────────────────────────────────────────────────────────────────────────────


async def test_retry_is_a_new_run_of_the_same_due(world: World) -> None:
    worker = await world.worker()
    await world.job(schedule="0 * * * *", overlap=Overlap.ALLOW)
    await world.pass_time(hours=1)
    order = worker.order()
    await worker.finish(order, "failed")
    await world.commands.apply(
        [WantedJob(full_name="team/job", spec=make_spec(schedule="0 * * * *", timeout=9.0))], actor=ADA
    )
    world.clock.advance(minutes=10)
    run = await world.commands.retry(RunId(order.run_id), actor=ADA)
    assert (run.trigger, run.retry_of, run.due) == (Trigger.RETRY, order.run_id, later(3600))
    assert (run.revision, run.actor, run.id != order.run_id) == (2, "ada", True)
    await world.work()
    again = worker.order()
    assert (again.timeout, again.attempt, again.due) == (9.0, 1, later(3600))
    await worker.finish(again)
    assert (await world.run(order.run_id)).state is RunState.FAILED, "the old run stays as it ended"
    assert (await world.stats()).fails_in_row == 0


async def test_retry_is_not_missed_however_old_its_due(world: World) -> None:
    worker = await world.worker()
    await world.job()
    run = await world.trigger()
    await world.commands.cancel(run.id, reason="", actor=ADA)
    world.clock.advance(days=30)
    await world.commands.retry(run.id, actor=ADA)
    await world.work()
    assert worker.order().due == NOON


async def test_retry_keeps_the_params(world: World) -> None:
    await world.job()
    run = await world.trigger(params={"x": "7"})
    await world.commands.cancel(run.id, reason="", actor=ADA)
    assert (await world.commands.retry(run.id, actor=ADA)).params == {"x": "7"}


async def test_only_ended_runs_of_existing_jobs_are_retried(world: World) -> None:
    await world.job()
    run = await world.trigger()
    with pytest.raises(Conflict, match="has not ended yet: queued") as caught:
        await world.commands.retry(run.id, actor=ADA)
    assert caught.value.hint == f"rota cancel {run.id} ends it"
    await world.commands.delete_job("team/job", if_revision=None, actor=ADA)
    with pytest.raises(NotFound, match="there is no job team/job"):
        await world.commands.retry(run.id, actor=ADA)


async def test_run_at_start_is_one_per_start(world: World) -> None:
    job = await world.job(schedule="at start")
    one, two = at_start_run(job, "boot-1", NOON), at_start_run(job, "boot-2", NOON)
    assert one.id == at_start_run(job, "boot-1", NOON).id != two.id
    assert (one.trigger, one.state) == (Trigger.START, RunState.QUEUED)
    shadow = await world.job("team/shadow", schedule="at start", shadow=True)
    assert at_start_run(shadow, "boot-1", NOON).state is RunState.SKIPPED


async def test_param_that_the_job_does_not_declare_is_refused_with_the_nearest(world: World) -> None:
    await world.job(params={"day": "today"})
    with pytest.raises(Invalid, match="no param dya") as refused:
        await world.trigger(params={"dya": "monday"})
    assert refused.value.hint == "did you mean day?"
    with pytest.raises(Invalid) as refused:
        await world.trigger(params={"zone": "x"})
    assert refused.value.hint == "its params are day"
