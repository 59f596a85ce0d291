"""How the installation stands, for metrics and for the other servers."""

from datetime import timedelta

import pytest
from tests.postgres.clusters import FOR_TESTS, Clusters
from tests.server.api_installation import START, Installation, open_installation

from rota.clock import ManualClock
from rota.core.errors import StoreUnavailable
from rota.core.model import RunState, Server
from rota.events import InstallationMeasured
from rota.server.measuring import measure
from rota.server.vitals import EVERY, StoreTimes, VitalsLoop
from rota.store.vitals import Readings
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite
from rota.telemetry import Metrics
from rota.wiring.timed import timed


async def measured(rota: Installation) -> InstallationMeasured:
    return await measure(rota.store, rota.server, rota.clock)


async def test_what_waits_and_who_leads() -> None:
    async with open_installation() as rota:
        assert (await measured(rota)).shards_unled == 1
        await rota.server.leaseholder.join()
        job = await rota.apply("web/page")
        await rota.add_run(job, START - timedelta(minutes=2), RunState.QUEUED)
        found = await measured(rota)
    assert (found.store_answers, found.servers, found.shards_unled, found.shards_led) == (True, 1, 0, 1)
    assert found.runs == {"queued": 1, "starting": 0, "running": 0}
    assert found.oldest_wait_seconds == 120
    assert found.workers == {"up": 0, "draining": 0, "lost": 0}


async def test_while_the_store_is_away_the_rest_is_measured() -> None:
    async with open_installation() as rota:
        rota.server.planner.lag = 7.0
        await rota.store.close()
        found = await measured(rota)
    assert not found.store_answers
    assert found.planner_lag == 7.0


async def test_metrics_are_measured_when_they_are_asked_for() -> None:
    async with open_installation() as rota, rota.client("metrics") as client:
        assert (await client.get("/metrics")).status_code == 200
        assert any(isinstance(event, InstallationMeasured) for event in rota.events)


def test_gauges_keep_what_the_store_does_not_say() -> None:
    metrics = Metrics()
    metrics.count(InstallationMeasured(store_answers=True, runs={"queued": 3}, servers=2, planner_lag=1.0))
    metrics.count(InstallationMeasured(store_answers=False, planner_lag=9.0))
    read = metrics.registry.get_sample_value
    assert read("rota_store_answers") == 0
    assert read("rota_runs", {"state": "queued"}) == 3
    assert read("rota_servers") == 2
    assert read("rota_planner_lag_seconds") == 9


async def test_answers_of_a_store_are_timed_and_its_refusals_counted() -> None:
    metrics = Metrics()
    plain = await open_sqlite(None, clock=ManualClock(START), inline=True)
    store, times = timed(plain, metrics.operation)
    assert (times.typical, times.slow) == (0.0, 0.0)
    assert await store.jobs.get(["a/b"]) == {}
    assert store.embedded
    assert store.signals is plain.signals
    await store.views.summary()
    assert times.slow > 0
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.leases.remember("a", "b")
    read = metrics.registry.get_sample_value
    assert read("rota_store_seconds_count", {"contract": "jobs"}) == 1
    assert read("rota_store_seconds_count", {"contract": "views"}) == 1
    assert read("rota_store_refusals_total", {"contract": "leases", "code": "STORE_UNAVAILABLE"}) == 1


def test_times_of_a_store() -> None:
    times = StoreTimes()
    for place in range(1000):
        times.note(5.0 if place < 500 else place / 1000)
    assert times.typical == pytest.approx(0.75)
    assert times.slow == pytest.approx(0.995)


async def test_a_server_tells_the_others_how_it_fares(clusters: Clusters) -> None:
    async def read() -> Readings:
        return Readings(planner_lag=2.0)

    with clusters.database() as url:
        store = await open_postgres(url, FOR_TESTS)
        row = Server(id="a", name="a", url="", version="", started=START, renewed=START, lease_until=START)
        await store.leases.join(row, 100.0)
        loop = VitalsLoop(store, "a", read, lambda event: None)
        assert await loop.tick() == EVERY
        assert (await store.vitals.all())["a"].readings == Readings(planner_lag=2.0)
        await store.close()
        assert await loop.tick() == EVERY, "what cannot be told is not told"


async def test_a_server_alone_has_nobody_to_tell() -> None:
    async def read() -> Readings:
        raise AssertionError("nobody reads it")

    async with open_installation() as rota:
        assert await VitalsLoop(rota.store, "a", read, lambda event: None).tick() > EVERY
