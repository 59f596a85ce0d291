"""Several servers over one store: who leads what, and what happens when one stops, dies, or is cut off."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from tests.core.builders import NOON, make_spec
from tests.server.world import ADA, StaticSecrets, World, open_world

from rota.clock import ManualClock
from rota.core.errors import StoreUnavailable
from rota.core.lease import LEASE_SECONDS
from rota.core.model import Server, Worker
from rota.events import ClockStepped, Event, LeaseLapsed, LeaseRenewed, ShardsReleased, ShardsTaken
from rota.server.commands import WantedJob
from rota.server.leaseholder import Leaseholder
from rota.server.server import Server as WholeServer
from rota.server.server import ServerConfig
from rota.server.tzdata import FACT
from rota.store.bundle import Store
from rota.stores.sqlite import open_sqlite


class Shared:
    """The store as several servers have it: not embedded, with shards to share out, and able to fail."""

    def __init__(self, store: Store) -> None:
        self.leases = FailingLeases(store.leases)
        self.jobs, self.alerts = store.jobs, store.alerts
        self.embedded = False


class FailingLeases:
    """Leases of a store that can be away."""

    def __init__(self, leases: Any) -> None:
        self._leases = leases
        self.away = False

    def __getattr__(self, verb: str) -> Any:
        if self.away:
            raise StoreUnavailable("the database is away")
        return getattr(self._leases, verb)


class Cluster:
    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.shared = Shared(store)
        self.clock = clock
        self.events: list[Event] = []
        self.epochs: dict[str, dict[int, int]] = {}
        self.jump: float | None = None
        self.given_up = 0

    def server(self, name: str) -> Leaseholder:
        row = Server(id=name, name=name, url="", version="0", started=NOON, renewed=NOON, lease_until=NOON)
        epochs = self.epochs[name] = {}
        store: Any = self.shared
        server = Leaseholder(store, row, self.clock, epochs, self.events.append, follow=self.follow)
        server.on_given_up = self.count_given_up
        return server

    async def connect(self, worker: str, server: str) -> None:
        row = Worker(name=worker, boot_id="b", session=0, server=server, version="0", connected=NOON, last_seen=NOON)
        await self.store.sessions.connect(row)

    def count_given_up(self) -> None:
        self.given_up += 1

    def follow(self, asked: float, answered: float, told: datetime) -> float | None:
        return self.jump

    def of_kind(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    clock = ManualClock(NOON)
    store = await open_sqlite(None, clock=clock, inline=True)
    yield Cluster(store, clock)
    await store.close()


async def test_a_server_leads_what_is_free(cluster: Cluster) -> None:
    first = cluster.server("a")
    await first.join()
    assert cluster.epochs["a"] == {0: 1}
    assert ShardsTaken(server="a", shards=(0,)) in cluster.events
    second = cluster.server("b")
    await second.join()
    assert cluster.epochs["b"] == {}


async def test_a_dead_server_s_shards_are_taken_over_when_its_lease_ends(cluster: Cluster) -> None:
    first, second = cluster.server("a"), cluster.server("b")
    await first.join()
    await second.join()
    for _ in range(int(LEASE_SECONDS)):
        await second.tick()
        assert cluster.epochs["b"] == {}
        cluster.clock.advance(seconds=1)
    await second.tick()
    assert cluster.epochs["b"] == {0: 2}


async def test_a_server_that_was_paused_finds_out_and_leads_no_more(cluster: Cluster) -> None:
    first, second = cluster.server("a"), cluster.server("b")
    await first.join()
    await second.join()
    cluster.clock.advance(seconds=LEASE_SECONDS)
    await second.tick()
    assert cluster.epochs["a"] == {0: 1}, "it does not know yet; the fence in the store does"
    await first.tick()
    assert cluster.epochs["a"] == {}
    assert ShardsReleased(server="a", shards=(0,), why="taken by another server") in cluster.events


async def test_shards_go_to_the_server_that_has_the_workers(cluster: Cluster) -> None:
    first, second = cluster.server("a"), cluster.server("b")
    await first.join()
    await second.join()
    await cluster.connect("w1", "b")
    await first.tick()
    assert cluster.epochs["a"] == {}
    assert cluster.given_up == 1
    await second.tick()
    assert cluster.epochs["b"] == {0: 2}


async def test_a_surplus_of_workers_is_sent_to_others(cluster: Cluster) -> None:
    first, second = cluster.server("a"), cluster.server("b")
    sent: list[int] = []

    async def note(surplus: int) -> None:
        sent.append(surplus)

    first.on_surplus = note
    await first.join()
    for name in ("w1", "w2"):
        await cluster.connect(name, "a")
    await first.tick()
    assert sent == [], "there is no other server"
    await second.join()
    await first.tick()
    assert sent == [1]


async def test_stopping_hands_over_at_once(cluster: Cluster) -> None:
    first, second = cluster.server("a"), cluster.server("b")
    await first.join()
    await second.join()
    await first.leave()
    assert cluster.epochs["a"] == {}
    assert cluster.given_up == 1
    await second.tick()
    assert cluster.epochs["b"] == {0: 2}
    await first.tick()
    assert cluster.epochs["a"] == {}, "one that is leaving takes nothing back"


async def test_cut_off_from_the_store_it_leads_nothing_after_its_lease(cluster: Cluster) -> None:
    server = cluster.server("a")
    await server.join()
    cluster.shared.leases.away = True
    for second in range(1, int(LEASE_SECONDS) + 3):
        cluster.clock.advance(seconds=1)
        assert await server.tick() == timedelta(seconds=1)
        assert cluster.epochs["a"] == ({0: 1} if second < LEASE_SECONDS else {})
        assert server.renewal_age == second
    assert len(cluster.of_kind(LeaseLapsed)) == 1
    cluster.shared.leases.away = False
    await server.tick()
    assert cluster.epochs["a"] == {0: 1}, "nobody has taken it meanwhile"
    assert server.renewal_age == 0


async def test_a_wall_clock_set_back_renews_no_lease(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = 0.0
    monkeypatch.setattr(cluster.clock, "wall", lambda: wall)
    server = cluster.server("a")
    await server.join()
    await server.tick()
    cluster.shared.leases.away = True
    for second in range(1, int(LEASE_SECONDS) + 1):
        cluster.clock.advance(seconds=1)
        wall -= 3600.0
        await server.tick()
        assert server.renewal_age == second
    assert cluster.epochs["a"] == {}


async def test_workers_are_told_how_old_the_last_renewal_is(cluster: Cluster) -> None:
    store = replace(cluster.store, leases=cluster.shared.leases, embedded=False)
    server = WholeServer(
        store,
        ServerConfig(name="a"),
        secrets=StaticSecrets(),
        publish=lambda topic: None,
        clock=cluster.clock,
        rng=Random(1),
        emit=cluster.events.append,
    )
    assert server.hub.renewal_age() == float("inf")
    await server.leaseholder.join()
    cluster.clock.advance(seconds=3)
    assert server.hub.renewal_age() == 3.0


async def test_a_row_that_is_gone_is_written_again(cluster: Cluster) -> None:
    server = cluster.server("a")
    await server.join()
    cluster.clock.advance(days=2)
    await cluster.server("b").join()  # removes rows of the long dead
    await server.tick()
    assert cluster.of_kind(LeaseRenewed)
    assert server.renewal_age == 0


async def test_a_server_with_older_time_zones_gives_up_what_it_leads(cluster: Cluster) -> None:
    server = cluster.server("a")
    await server.join()
    before = await cluster.shared.leases.fact(FACT)
    await cluster.shared.leases.remember(FACT, "2999a")
    await server.tick()
    assert cluster.epochs["a"] == {}
    (condition,) = await cluster.shared.alerts.conditions()
    assert "2999a" in condition.detail
    await cluster.shared.leases.remember(FACT, before)
    await server.tick()
    assert cluster.epochs["a"] == {0: 2}
    assert await cluster.shared.alerts.conditions() == []


async def test_a_jump_of_the_store_s_clock_is_said(cluster: Cluster) -> None:
    server = cluster.server("a")
    await server.join()
    cluster.jump = -3600.0
    await server.tick()
    assert len(cluster.of_kind(ClockStepped)) == 1
    (condition,) = await cluster.shared.alerts.conditions()
    assert condition.detail == "the database's clock jumped 3600 s back"


async def test_jobs_know_their_shard() -> None:
    async with open_world() as world:
        await world.commands.apply([WantedJob(full_name="team/a", spec=make_spec())], actor=ADA)
        assert (await world.stored_job("team/a")).shard == 0
        assert world.store.shards == 1
        assert isinstance(world, World)


async def test_a_row_that_has_gone_is_said_before_it_is_written_anew(cluster: Cluster) -> None:
    server = cluster.server("a")
    missing: list[datetime | None] = []

    async def note(renewed: datetime | None) -> None:
        missing.append(renewed)

    server.on_row_missing = note
    await server.join()
    await server.tick()
    last = server.renewed
    assert missing == []
    assert last is not None
    cluster.clock.advance(days=2)
    other = cluster.server("b")
    await other.join()  # rows of servers that ended long ago go
    await server.tick()
    assert missing == [last]
    assert server.renewed == cluster.clock.now()


async def test_a_renewal_that_the_store_lacks_is_said_until_it_was_heard(cluster: Cluster) -> None:
    server = cluster.server("a")
    told: list[datetime | None] = []

    async def note(renewed: datetime | None) -> None:
        told.append(renewed)
        if len(told) == 1:
            raise StoreUnavailable("not now")

    server.on_renewal_missing = note
    await server.join()
    await server.tick()
    cluster.clock.advance(seconds=1)
    await server.tick()
    assert told == []
    assert server.renewed is not None
    seen = server.renewed = server.renewed + timedelta(seconds=1)  # the store went back to before that
    cluster.clock.advance(seconds=2)
    await server.tick()
    await server.tick()
    await server.tick()
    assert told == [seen, seen]
