"""Parts the loops are built of: the loop itself, clocks, fences, definitions, orders."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from tests.core.builders import NOON, later, make_held, make_job, make_spec
from tests.server.world import open_world

from rota.clock import ManualClock, SystemClock
from rota.core.errors import StoreUnavailable
from rota.core.model import Delivery, HttpTask
from rota.core.schedule_errors import ScheduleError
from rota.events import Event, LoopFailed
from rota.loop import NO_REST, Loop
from rota.server import fences
from rota.server.definitions import Definitions, compile_job
from rota.server.fences import Fences
from rota.server.orders import MissingSecret, make_order, secret_names

HOUR = timedelta(hours=1)


class Scripted(Loop):
    """A loop whose ticks do what the test says; it stops itself at the end of the script."""

    def __init__(self, *script: timedelta | Exception) -> None:
        self.events: list[Event] = []
        super().__init__(self.events.append)
        self.script = list(script)
        self.ticks = 0

    async def tick(self) -> timedelta:
        self.ticks += 1
        step = self.script.pop(0) if self.script else HOUR
        if not self.script:
            self.stop()
        if isinstance(step, Exception):
            raise step
        return step


async def finished(loop: Loop) -> None:
    async with asyncio.timeout(5):
        await loop.run()


async def test_loop_ticks_until_stopped() -> None:
    loop = Scripted(NO_REST, timedelta(milliseconds=1), NO_REST)
    await finished(loop)
    assert loop.ticks == 3
    assert loop.ticked.is_set()
    assert loop.name == "scripted"


async def test_wake_ends_a_rest_early() -> None:
    loop = Scripted(HOUR, NO_REST)
    running = asyncio.create_task(finished(loop))
    await loop.ticked.wait()
    loop.wake()
    await running
    assert loop.ticks == 2


async def test_wake_during_a_tick_is_not_lost() -> None:
    class WakesItself(Scripted):
        async def tick(self) -> timedelta:
            self.wake()
            return await super().tick()

    loop = WakesItself(HOUR, HOUR, HOUR)
    await finished(loop)
    assert loop.ticks == 3


async def test_stop_ends_a_rest() -> None:
    loop = Scripted(HOUR, HOUR)
    running = asyncio.create_task(finished(loop))
    await loop.ticked.wait()
    loop.stop()
    await running
    assert loop.ticks == 1


async def test_loop_that_was_stopped_first_does_nothing() -> None:
    loop = Scripted(HOUR)
    loop.stop()
    await finished(loop)
    assert loop.ticks == 0


async def test_tick_that_raises_is_reported_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.loop._FIRST_PENALTY", 0.0)
    loop = Scripted(ValueError("one"), ValueError("two"), NO_REST)
    await finished(loop)
    failures = [event for event in loop.events if isinstance(event, LoopFailed)]
    assert [event.error for event in failures] == ["ValueError('one')", "ValueError('two')"]
    assert [event.in_row for event in failures] == [1, 2]
    assert "in tick" in failures[0].traceback
    assert loop.healthy


async def test_a_store_that_does_not_answer_is_no_fault_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.loop._FIRST_PENALTY", 0.0)
    loop = Scripted(StoreUnavailable("the database does not answer"), NO_REST)
    await finished(loop)
    (failure,) = [event for event in loop.events if isinstance(event, LoopFailed)]
    assert (failure.error, failure.traceback) == ("StoreUnavailable('the database does not answer')", "")


async def test_failing_loop_is_unwell_and_rests_longer_each_time_up_to_a_limit() -> None:
    loop = Scripted(*[ValueError() for _ in range(2000)])
    rests = [await loop._tick_safely() for _ in range(1500)]
    assert not loop.healthy
    assert rests[0] < rests[1] < rests[2]
    assert rests == sorted(rests)
    assert rests[-1] == timedelta(seconds=5)


async def test_wakes_do_not_make_a_failing_loop_spin() -> None:
    loop = Scripted(ValueError(), HOUR, HOUR)
    running = asyncio.create_task(loop.run())
    await loop.ticked.wait()
    for _ in range(50):
        loop.wake()
        await asyncio.wait({running}, timeout=0.0001)
    assert loop.ticks == 1
    loop.stop()
    await running


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────────────


def test_system_clock_is_utc_and_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wall = SystemClock(), [datetime(2026, 6, 1, hour, tzinfo=UTC) for hour in (12, 11, 13)]

    class Wall(datetime):
        @classmethod
        def now(cls, zone: object = None) -> datetime:
            return wall.pop(0)

    monkeypatch.setattr("rota.clock.datetime", Wall)
    assert [clock.now().hour for _ in range(3)] == [12, 12, 13]
    assert clock.now.__doc__
    assert clock.monotonic() <= clock.monotonic()


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(NOON)
    assert (clock.now(), clock.monotonic()) == (NOON, 0.0)
    clock.advance(minutes=5)
    clock.advance(timedelta(seconds=1))
    assert (clock.now(), clock.monotonic()) == (later(301), 301.0)


# ── fences ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_fences_grow_across_blocks_servers_and_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "BLOCK", 3)
    async with open_world() as world:
        first, second = Fences(world.store.leases), Fences(world.store.leases)
        taken = [*await first.take(2), *await first.take(2), *await second.take(7), *await first.take(0)]
        restarted = await Fences(world.store.leases).take(1)
    assert len(set(taken)) == 11
    assert restarted[0] > max(taken)
    assert taken[:4] == sorted(taken[:4])


async def test_a_later_attempt_of_a_run_has_the_higher_fence_whoever_gives_it() -> None:
    async with open_world() as world:
        first, second = Fences(world.store.leases), Fences(world.store.leases)
        await first.take(1)
        (elsewhere,) = await second.take(1)
        (again,) = await first.take(1, above=elsewhere)
        (next_one,) = await first.take(1)
    assert elsewhere < again < next_one


async def test_fences_in_hand_are_dropped_when_the_store_went_back() -> None:
    async with open_world() as world:
        mine = Fences(world.store.leases)
        (before,) = await mine.take(1)
        await world.store.leases.raise_incarnation()
        (in_hand,) = await mine.take(1)
        mine.drop()
        (after,) = await mine.take(1)
    assert in_hand == before + 1
    assert after >= before + 2**40


# ── definitions ──────────────────────────────────────────────────────────────────────────────────────────


def test_schedule_is_compiled_once_per_revision() -> None:
    definitions = Definitions(capacity=2)
    job = make_job(schedule="* * * * *")
    assert definitions.schedule(job) is definitions.schedule(job)
    edited = make_job(schedule="0 * * * *", revision=2)
    assert definitions.schedule(edited) is not definitions.schedule(job)
    assert definitions.schedule(edited).next(NOON) != definitions.schedule(job).next(NOON)


def test_cache_of_schedules_is_bounded() -> None:
    definitions = Definitions(capacity=2)
    first = make_job(name="a/0", schedule="* * * * *")
    compiled = definitions.schedule(first)
    for number in range(1, 4):
        definitions.schedule(make_job(name=f"a/{number}", schedule="* * * * *"))
    assert definitions.schedule(first) is not compiled


def test_job_s_schedule_is_seeded_and_anchored() -> None:
    one, two = (make_job(name=name, schedule="0 3 * * *, spread 6h") for name in ("a/x", "a/y"))
    assert compile_job(one).next(NOON) != compile_job(two).next(NOON)
    anchored = compile_job(make_job(schedule="every 7h")).next(NOON)
    assert anchored is not None
    assert anchored.due == NOON + timedelta(hours=7)
    with pytest.raises(ScheduleError):
        compile_job(replace(make_job(), spec=make_spec(schedule="61 * * * *")))


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────


def test_secrets_of_a_job_are_those_it_names() -> None:
    url, headers = "http://x/${secret.a}", {"K": "${secret.b-1}"}
    task = HttpTask(method="POST", url=url, headers=headers, body="$${x} ${secret.c_2}")
    assert secret_names(make_spec(task=task, secrets={"ENV": "d"})) == {"a", "b-1", "c_2", "d"}
    assert secret_names(make_spec()) == set()


def test_first_missing_secret_is_named_with_what_to_do() -> None:
    with pytest.raises(MissingSecret, match="the secret b does not exist") as caught:
        make_order(make_held(), make_spec(secrets={"X": "c", "Y": "b", "Z": "a"}), {"a": "1"})
    assert caught.value.hint == "rota secret set b"


def test_order_carries_fence_attempt_and_the_need_of_a_permit() -> None:
    order = make_order(make_held(fence=99), make_spec(delivery=Delivery.AT_MOST_ONCE, timezone="Europe/Berlin"), {})
    assert (order.fence, order.attempt, order.permit, order.timezone) == (99, 1, True, "Europe/Berlin")
