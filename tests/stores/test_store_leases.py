"""The contract of leases and sessions: epochs, fences and session numbers only grow; time never goes back."""

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace
from store_values import NOON, after, make_worker

from rota.clock import ManualClock
from rota.core.ids import COUNTERS_PER_INCARNATION
from rota.store.bundle import Store
from rota.stores.sqlite import open_sqlite


async def test_epochs_grow_with_every_owner(store: Store) -> None:
    first = await store.leases.take_shards("a")
    second = await store.leases.take_shards("a")
    assert list(first) == [0]
    assert second[0] == first[0] + 1


async def test_fences_are_never_given_twice(store: Store) -> None:
    counts = [1, 5, 4096, 1, 9000, 3, 1]
    firsts = await asyncio.gather(*(store.leases.reserve_fences(count) for count in counts))
    ranges = [range(first, first + count) for first, count in zip(firsts, counts, strict=True)]
    for earlier, later in itertools.pairwise(ranges):
        assert earlier[-1] < later[0]
    assert firsts[0] // COUNTERS_PER_INCARNATION == 1
    assert ranges[-1][-1] < 2**53


async def test_facts_are_remembered(store: Store) -> None:
    assert await store.leases.fact("tzdata") is None
    await store.leases.remember("tzdata", "2025a")
    await store.leases.remember("tzdata", "2025b")
    assert await store.leases.fact("tzdata") == "2025b"


async def test_a_new_store_is_sound(store: Store) -> None:
    assert await store.leases.check() == []


async def test_the_stores_clock_follows_the_machines(store: Store, clock: ManualClock) -> None:
    assert await store.leases.now() == NOON
    clock.advance(minutes=5)
    assert await store.leases.now() == after(300)
    clock.advance(timedelta(minutes=-3))
    assert await store.leases.now() == after(300)
    clock.advance(minutes=10)
    assert await store.leases.now() == after(720)


async def test_a_clock_stepped_back_between_two_starts_stands_still(tmp_path: Path) -> None:
    clock = ManualClock(after(3600))
    store = await open_sqlite(tmp_path / "rota.db", clock=clock)
    given = await store.leases.now()
    fence = await store.leases.reserve_fences(10)
    epochs = await store.leases.take_shards("a")
    await store.close()
    store = await open_sqlite(tmp_path / "rota.db", clock=ManualClock(NOON))
    assert await store.leases.now() == given
    assert await store.leases.reserve_fences(1) >= fence + 10
    assert await store.leases.take_shards("a") == {0: epochs[0] + 1}
    await store.close()


async def test_time_is_remembered_about_once_a_second(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    store = await open_sqlite(tmp_path / "rota.db", clock=clock)
    seen = []
    for _ in range(10):
        clock.advance(seconds=0.25)
        await store.leases.now()
        await store.leases.remember("after", "it")  # writes keep their order, so the time is written by now
        seen.append(await store.leases.fact("highest_time"))
    await store.close()
    assert len(set(seen)) == 3  # at a quarter second, and after one and two more


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_connection_gets_a_higher_number(store: Store) -> None:
    assert await store.sessions.connect(make_worker()) == 1
    assert await store.sessions.connect(make_worker(boot_id="boot-2", session=99)) == 2
    assert await store.sessions.connect(make_worker("w2")) == 1
    assert await store.sessions.get() == [
        make_worker(boot_id="boot-2", session=2),
        make_worker("w2", session=1),
    ]
    assert [worker.name for worker in await store.sessions.get(["w2", "w3"])] == ["w2"]


async def test_only_the_newest_session_can_be_ended(store: Store) -> None:
    await store.sessions.connect(make_worker())
    await store.sessions.connect(make_worker())
    assert not await store.sessions.disconnect("w1", 1, after(5))
    assert (await store.sessions.get())[0].disconnected is None
    assert await store.sessions.disconnect("w1", 2, after(5))
    assert not await store.sessions.disconnect("w1", 2, after(9))
    assert (await store.sessions.get())[0] == make_worker(session=2, disconnected=after(5), last_seen=after(5))
    assert not await store.sessions.disconnect("w9", 1, after(5))


async def test_a_worker_that_comes_back_is_connected_again(store: Store) -> None:
    await store.sessions.connect(make_worker())
    await store.sessions.disconnect("w1", 1, after(5))
    back = make_worker(connected=after(60), last_seen=after(60), labels={}, capacity={"shell": 8})
    assert await store.sessions.connect(back) == 2
    assert await store.sessions.get() == [replace(back, session=2)]


async def test_a_sign_of_life_never_goes_back(store: Store) -> None:
    await store.sessions.connect(make_worker())
    await store.sessions.connect(make_worker("w2"))
    await store.sessions.seen(["w1", "w9"], after(60))
    await store.sessions.seen(["w1"], after(30))
    assert [worker.last_seen for worker in await store.sessions.get()] == [after(60), NOON]
