"""The contract of leases and sessions: epochs, fences and session numbers only grow; time never goes back."""

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from store_values import NOON, PassTime, after, lead, make_server, make_worker

from rota.clock import ManualClock
from rota.core.ids import COUNTERS_PER_INCARNATION
from rota.store.bundle import Store
from rota.store.leases import AWAY_SECONDS
from rota.store.sessions import HelloOvertaken, Sign, TwinConnected
from rota.stores.sqlite import open_sqlite


async def test_epochs_grow_with_every_leader(store: Store) -> None:
    first = await lead(store, "a")
    second = await lead(store, "b")
    assert second == {shard: epoch + 1 for shard, epoch in first.items()}
    assert len(first) == store.shards
    assert await lead(store, "b") == second


async def test_a_lease_runs_from_joining_and_from_each_renewal(store: Store, pass_time: PassTime) -> None:
    row = await store.leases.join(make_server("a"), 4.0)
    assert row.lease_until - row.started == timedelta(seconds=4)
    assert row.renewed == row.started
    await pass_time(3)
    told = await store.leases.renew("a", 4.0)
    assert told is not None
    (server,) = (await store.leases.standing()).servers
    assert told.before == row.renewed
    assert server == replace(row, renewed=told.at, lease_until=told.at + timedelta(seconds=4))
    assert timedelta(seconds=3) <= told.at - row.started < timedelta(seconds=5)
    again = await store.leases.renew("a", 4.0)
    assert again is not None
    assert again.before == told.at
    assert await store.leases.renew("nobody", 4.0) is None


async def test_shards_are_taken_from_nobody_whose_lease_holds(store: Store, pass_time: PassTime) -> None:
    await store.leases.join(make_server("a"), 4.0)
    await store.leases.join(make_server("b"), 100.0)
    first = await store.leases.take("a", {0: 0})
    assert first == {0: 1}
    assert await store.leases.take("b", {0: 1}) == {}
    await pass_time(4.1)
    assert await store.leases.take("b", {0: 0}) == {}, "the epoch has moved"
    assert await store.leases.take("b", {0: 1}) == {0: 2}
    assert await store.leases.take("a", {0: 2}) == {}


async def test_a_server_without_a_lease_takes_nothing(store: Store, pass_time: PassTime) -> None:
    assert await store.leases.take("stranger", {0: 0}) == {}
    await store.leases.join(make_server("a"), 4.0)
    await pass_time(4.1)
    assert await store.leases.take("a", {0: 0}) == {}
    await store.leases.renew("a", 4.0)
    assert await store.leases.take("a", {0: 0}) == {0: 1}


async def test_what_is_given_up_is_free_at_once(store: Store) -> None:
    epochs = await lead(store, "a")
    await store.leases.join(make_server("b"), 100.0)
    await store.leases.release("b", [0])
    assert await store.leases.take("b", epochs) == {}
    await store.leases.release("a", [0])
    assert (await store.leases.standing()).shards[0].server == ""
    assert await store.leases.take("b", {0: epochs[0]}) == {0: epochs[0] + 1}


async def test_a_server_that_leaves_leaves_everything(store: Store) -> None:
    epochs = await lead(store, "a")
    await store.leases.join(make_server("b"), 100.0)
    await store.leases.leave("a")
    standing = await store.leases.standing()
    assert {shard.server for shard in standing.shards} == {""}
    assert [server.id for server in standing.servers if server.lease_until > standing.now] == ["b"]
    assert await store.leases.take("b", epochs) == {shard: epoch + 1 for shard, epoch in epochs.items()}


async def test_rows_of_servers_that_ended_long_ago_go(store: Store, pass_time: PassTime) -> None:
    await store.leases.join(make_server("old"), 4.0)
    await pass_time(86_400 + 10)
    await store.leases.join(make_server("new"), 4.0)
    assert [server.id for server in (await store.leases.standing()).servers] == ["new"]


async def test_fences_are_never_given_twice(store: Store) -> None:
    counts = [1, 5, 4096, 1, 9000, 3, 1]
    firsts = await asyncio.gather(*(store.leases.reserve_fences(count) for count in counts))
    ranges = [range(first, first + count) for first, count in zip(firsts, counts, strict=True)]
    for earlier, later in itertools.pairwise(ranges):
        assert earlier[-1] < later[0]
    assert firsts[0] // COUNTERS_PER_INCARNATION == 1
    assert ranges[-1][-1] < 2**53


async def test_a_new_incarnation_gives_higher_fences_than_any_before(store: Store) -> None:
    assert await store.leases.highest_fence() == 0
    first = await store.leases.reserve_fences(10)
    highest = await store.leases.highest_fence()
    assert highest >= first + 9
    assert await store.leases.raise_incarnation() == 2
    assert await store.leases.highest_fence() >= highest
    again = await store.leases.reserve_fences(10)
    assert again > highest
    assert again // COUNTERS_PER_INCARNATION == 2


async def test_facts_are_remembered(store: Store) -> None:
    assert await store.leases.fact("tzdata") is None
    await store.leases.remember("tzdata", "2025a")
    await store.leases.remember("tzdata", "2025b")
    assert await store.leases.fact("tzdata") == "2025b"


async def test_a_new_store_is_sound(store: Store) -> None:
    assert await store.leases.check() == []


async def test_the_stores_clock_never_goes_back(store: Store, pass_time: PassTime) -> None:
    first = await store.leases.now()
    await pass_time(300)
    later = await store.leases.now()
    assert timedelta(seconds=300) <= later - first < timedelta(seconds=310)


async def test_an_embedded_clock_set_back_stands_still(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    store = await open_sqlite(tmp_path / "rota.db", clock=clock)
    clock.advance(minutes=5)
    assert await store.leases.now() == after(300)
    clock.advance(timedelta(minutes=-3))
    assert await store.leases.now() == after(300)
    clock.advance(minutes=10)
    assert await store.leases.now() == after(720)
    await store.close()


async def test_a_clock_stepped_back_between_two_starts_stands_still(tmp_path: Path) -> None:
    clock = ManualClock(after(3600))
    store = await open_sqlite(tmp_path / "rota.db", clock=clock)
    given = await store.leases.now()
    fence = await store.leases.reserve_fences(10)
    epochs = await lead(store, "a")
    await store.close()
    store = await open_sqlite(tmp_path / "rota.db", clock=ManualClock(NOON))
    assert await store.leases.now() == given
    assert await store.leases.reserve_fences(1) >= fence + 10
    assert await lead(store, "b") == {0: epochs[0] + 1}
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
        make_worker(boot_id="boot-2", session=2, boot_session=2),
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
    await store.sessions.seen([Sign(name="w1", at=after(60), draining=True), Sign(name="w9", at=after(60))])
    await store.sessions.seen([Sign(name="w1", at=after(30), clock_offset=0.25)])
    first, second = await store.sessions.get()
    assert (first.last_seen, first.draining, first.clock_offset) == (after(60), False, 0.25)
    assert second == make_worker("w2", session=1)


async def test_a_second_process_of_a_connected_name_is_refused(store: Store, pass_time: PassTime) -> None:
    await store.leases.join(make_server("server-1"), 4.0)
    assert await store.sessions.connect(make_worker()) == 1
    with pytest.raises(TwinConnected):
        await store.sessions.connect(make_worker(boot_id="boot-2"))
    assert (await store.sessions.get())[0].boot_id == "boot-1"
    assert await store.sessions.connect(make_worker()) == 2, "the same process may connect as often as it likes"
    await store.sessions.disconnect("w1", 2, after(1))
    assert await store.sessions.connect(make_worker(boot_id="boot-2")) == 3
    await pass_time(4.1)
    assert await store.sessions.connect(make_worker(boot_id="boot-3")) == 4, "its server is dead"


async def test_a_hello_that_a_later_one_has_overtaken_opens_no_session(store: Store) -> None:
    assert await store.sessions.connect(make_worker(dial=3)) == 1
    with pytest.raises(HelloOvertaken):
        await store.sessions.connect(make_worker(dial=2, server="server-2"))
    assert await store.sessions.get() == [make_worker(session=1, dial=3)]
    assert await store.sessions.connect(make_worker(dial=4)) == 2
    assert await store.sessions.connect(make_worker(boot_id="boot-2", dial=1)) == 3, "a new process counts anew"
    assert (await store.sessions.get())[0].dial == 1


async def test_standing_counts_the_workers_of_each_server(store: Store, pass_time: PassTime) -> None:
    for name in ("w1", "w2", "w3", "w4"):
        await store.sessions.connect(make_worker(name))
    await store.sessions.connect(make_worker("w5", server="server-2"))
    now = await store.leases.now()
    await store.sessions.disconnect("w1", 1, now)
    await store.sessions.disconnect("w2", 1, now - timedelta(seconds=AWAY_SECONDS + 1))
    await store.sessions.settle("w3", 1, now)
    assert (await store.leases.standing()).workers == {"server-1": 2, "server-2": 1}
    await pass_time(AWAY_SECONDS + 0.1)
    assert (await store.leases.standing()).workers == {"server-1": 1, "server-2": 1}


async def test_the_sessions_of_a_server_that_are_not_settled(store: Store) -> None:
    for name in ("w1", "w2", "w3"):
        await store.sessions.connect(make_worker(name))
    await store.sessions.connect(make_worker("w1"))
    await store.sessions.connect(make_worker("w2", server="server-2"))
    await store.sessions.settle("w3", 1, after(5))
    assert await store.sessions.unsettled("server-1") == {"w1": 2}
    assert await store.sessions.unsettled("server-2") == {"w2": 2}
    assert await store.sessions.unsettled("server-3") == {}


async def test_settling_ends_the_newest_session_only(store: Store) -> None:
    await store.sessions.connect(make_worker())
    await store.sessions.connect(make_worker())
    assert not await store.sessions.settle("w1", 1, after(5))
    assert await store.sessions.settle("w1", 2, after(5))
    assert not await store.sessions.settle("w1", 2, after(6))
    (row,) = await store.sessions.get()
    assert (row.disconnected, row.settled) == (after(5), after(5))
    await store.sessions.connect(make_worker())
    (row,) = await store.sessions.get()
    assert (row.disconnected, row.settled) == (None, None)


async def test_workers_that_ended_long_ago_are_forgotten(store: Store) -> None:
    for number, name in enumerate(("w1", "w2", "w3", "w4")):
        await store.sessions.connect(make_worker(name))
        if name != "w4":
            await store.sessions.settle(name, 1, after(10 * number))
    assert await store.sessions.forget(after(0), 10) == []
    assert await store.sessions.forget(after(15), 1) == ["w1"]
    assert await store.sessions.forget(after(15), 10) == ["w2"]
    assert [worker.name for worker in await store.sessions.get()] == ["w3", "w4"]
    await store.sessions.connect(make_worker("w3"))
    assert await store.sessions.forget(after(1000), 10) == [], "it is here again"
    assert await store.sessions.connect(make_worker("w1")) == 1


async def test_workers_of_servers_that_ended_long_ago_are_orphans(store: Store, pass_time: PassTime) -> None:
    await store.leases.join(make_server("server-1"), 4.0)
    await store.leases.join(make_server("server-2"), 500.0)
    for name, server in (("w1", "server-1"), ("w2", "server-2"), ("w3", "server-1"), ("w4", "never-was")):
        await store.sessions.connect(make_worker(name, server=server))
    await store.sessions.settle("w3", 1, after(1))
    assert [worker.name for worker in await store.sessions.orphans(60.0, 10)] == ["w4"]
    await pass_time(63)
    assert [worker.name for worker in await store.sessions.orphans(60.0, 10)] == ["w4"]
    await pass_time(2)
    assert [worker.name for worker in await store.sessions.orphans(60.0, 10)] == ["w1", "w4"]
    assert [worker.name for worker in await store.sessions.orphans(60.0, 1)] == ["w1"]
    await store.leases.renew("server-1", 4.0)
    assert [worker.name for worker in await store.sessions.orphans(60.0, 10)] == ["w4"]
