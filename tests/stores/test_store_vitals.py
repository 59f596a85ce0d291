"""The contract of what servers say of themselves: the newest readings, for as long as the server's row is there."""

from datetime import timedelta

from store_values import PassTime, make_server

from rota.store.bundle import Store
from rota.store.vitals import Readings

BUSY = Readings(clock_offset=-0.25, planner_lag=1.5, store_slow=0.5, workers=3, problems=("the planner fails",))


async def test_the_newest_readings_of_each_server_are_kept(store: Store, pass_time: PassTime) -> None:
    assert await store.vitals.all() == {}
    for name in ("a", "b"):
        await store.leases.join(make_server(name), 100.0)
    assert await store.vitals.note("a", Readings(workers=1))
    first = (await store.vitals.all())["a"]
    assert first.readings == Readings(workers=1)
    await pass_time(5)
    assert await store.vitals.note("a", BUSY)
    assert await store.vitals.note("b", Readings())
    found = await store.vitals.all()
    assert {name: one.readings for name, one in found.items()} == {"a": BUSY, "b": Readings()}
    assert timedelta(seconds=4) < found["a"].at - first.at < timedelta(seconds=7)


async def test_readings_go_with_their_server(store: Store, pass_time: PassTime) -> None:
    assert not await store.vitals.note("stranger", BUSY)
    await store.leases.join(make_server("a"), 4.0)
    await store.vitals.note("a", BUSY)
    await pass_time(2 * 86_400)
    await store.leases.join(make_server("b"), 4.0)
    assert await store.vitals.all() == {}
