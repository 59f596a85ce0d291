"""A store that was set back is noticed by what workers have seen; at-most-once work is held until a person accepts."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from tests.core.builders import NOON
from tests.postgres.clusters import FOR_TESTS, Clusters
from tests.server.world import ADA

from rota.clock import SystemClock
from rota.core.model import Server
from rota.events import Event, RestoreSuspected, WorkerMisspoke
from rota.server.restore import CONDITION, RestoreWatch, explain
from rota.store.bundle import Store
from rota.stores.postgres import open_postgres
from rota.wire.messages import Hello, SeenRenewal


@pytest.fixture
async def store(clusters: Clusters) -> AsyncIterator[Store]:
    with clusters.database() as url:
        opened = await open_postgres(url, FOR_TESTS)
        yield opened
        await opened.close()


class Watch:
    """One server's watch."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.events: list[Event] = []
        self.watch = RestoreWatch(store, SystemClock(), self.events.append)

    async def hears(self, server: str, at: datetime, worker: str = "w1") -> bool:
        """Whether work is held after a worker has told what it had seen."""
        seen = SeenRenewal(server=server, at=at)
        await self.watch.compare(Hello(worker=worker, boot_id="b", version="1", seen=seen))
        return await self.watch.refresh()


async def join(store: Store, name: str) -> datetime:
    """A server joins; returns the renewal as the store has it."""
    row = Server(id=name, name=name, url="", version="", started=NOON, renewed=NOON, lease_until=NOON)
    return (await store.leases.join(row, 4.0)).renewed


async def test_what_the_store_has_is_no_reason_to_wonder(store: Store) -> None:
    one = Watch(store)
    first = await join(store, "a")
    assert not await one.hears("a", first)
    told = await store.leases.renew("a", 4.0)
    assert told is not None
    assert not await one.hears("a", told.at)
    assert not await one.hears("a", first), "older news"
    await store.leases.leave("a")
    await join(store, "b")
    assert not await one.hears("a", told.at), "it has ended, and its row is there"


async def test_a_renewal_the_store_lacks_shows_that_it_was_set_back(store: Store) -> None:
    one = Watch(store)
    known = await join(store, "a")
    before = await store.leases.reserve_fences(1)
    assert await one.hears("a", known + timedelta(microseconds=1))
    assert await store.leases.reserve_fences(1) >= before + 2**40, "fences come from a new incarnation"
    assert [event for event in one.events if isinstance(event, RestoreSuspected)] == [
        RestoreSuspected(who="w1", fence=0)
    ]
    (condition,) = await store.alerts.conditions()
    assert condition.key == CONDITION
    assert await Watch(store).watch.refresh(), "every server knows"
    await one.hears("a", known + timedelta(seconds=1), worker="w2")
    assert len(one.events) == 2, "said once"


async def test_a_server_the_store_never_knew_shows_it_too(store: Store) -> None:
    now = await join(store, "a")
    assert not await Watch(store).hears("stranger", now - timedelta(days=1)), "its row may have been forgotten"
    assert await Watch(store).hears("stranger", now - timedelta(minutes=1))


async def test_what_is_yet_to_come_was_not_seen(store: Store) -> None:
    one = Watch(store)
    now = await join(store, "a")
    for server in ("a", "stranger"):
        assert not await one.hears(server, now + timedelta(days=365 * 70))
    assert {type(event) for event in one.events} == {WorkerMisspoke}


async def test_what_was_accepted_is_not_wondered_at_again(store: Store) -> None:
    one = Watch(store)
    now = await join(store, "a")
    assert await one.hears("stranger", now)
    assert await one.watch.accept(ADA)
    assert not await one.hears("stranger", now, worker="w2")
    later = await store.leases.now()
    assert await one.hears("stranger", later + timedelta(seconds=1)), "a second restore"


async def test_nor_is_what_was_seen_of_the_store_before_a_move(store: Store) -> None:
    now = await join(store, "a")
    await explain(store)
    assert not await Watch(store).hears("of the old store", now)


async def test_who_restores_says_so_before_anything_starts(store: Store) -> None:
    one = Watch(store)
    before = await store.leases.reserve_fences(1)
    await one.watch.hold(ADA)
    assert await one.watch.refresh()
    assert await store.leases.reserve_fences(1) > before + 2**40 - 10**6
    assert (await store.access.audit_trail(1))[0].verb == "restore.hold"
    assert [condition.key for condition in await store.alerts.conditions()] == [CONDITION]
    assert await one.watch.accept(ADA)


async def test_a_server_whose_own_renewal_is_missing_says_so_unless_that_is_explained(store: Store) -> None:
    one = Watch(store)
    known = await join(store, "a")
    before = await store.leases.reserve_fences(1)
    await one.watch.miss_renewal(known + timedelta(microseconds=1), "this server")
    assert await one.watch.refresh()
    assert await store.leases.reserve_fences(1) >= before + 2**40
    await one.watch.accept(ADA)
    await one.watch.miss_renewal(known + timedelta(microseconds=1), "this server")
    assert not await one.watch.refresh(), "a person has accepted that, and this server comes late"


async def test_before_at_most_once_work_is_given_away_the_store_must_have_the_own_renewal(store: Store) -> None:
    one = Watch(store)
    known = await join(store, "a")
    one.watch.own_renewal = lambda: SeenRenewal(server="a", at=known)
    assert not await one.watch.look()
    one.watch.own_renewal = lambda: SeenRenewal(server="a", at=known + timedelta(microseconds=1))
    assert await one.watch.look()
    assert await one.watch.accept(ADA)
    assert not await one.watch.look(), "that is explained now"
