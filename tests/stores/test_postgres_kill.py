"""kill -9 of the whole database under load: what was acknowledged is there, the rest is there whole or not at all."""

import asyncio
import random
from typing import NamedTuple

import pytest
from store_values import add_jobs, after, audit, finished, make_job, make_notice, make_run
from tests.postgres.cluster import Cluster, binaries
from tests.postgres.clusters import FOR_TESTS, prepare

from rota.core.errors import Conflict, StoreUnavailable
from rota.core.ids import shard_of
from rota.core.model import Job, Run
from rota.store.bundle import Store
from rota.store.jobs import RunChange
from rota.stores.postgres import open_postgres
from rota.stores.postgres.batches import SHARDS

ROUNDS = 4
LANES = 6
BATCH = 7


class Cycle(NamedTuple):
    """Runs that were created together, and ended together but for the first, with a notice and an audit entry."""

    name: str
    runs: list[Run]


class Acknowledged:
    """What the store said it has done."""

    def __init__(self) -> None:
        self.tried: list[Cycle] = []
        self.created: set[str] = set()
        self.ended: set[str] = set()
        self.failures = 0


async def write(store: Store, job: Job, lane: int, seen: Acknowledged, stop: asyncio.Event) -> None:
    """One cycle after another until told to stop; a verb that fails is not tried again."""
    number = 0
    while not stop.is_set():
        number += 1
        name = f"{len(seen.tried)}-{lane}"
        first = len(seen.tried) * BATCH
        cycle = Cycle(name, [make_run(job, after(first + place)) for place in range(BATCH)])
        seen.tried.append(cycle)
        try:
            await store.runs.create(cycle.runs)
            seen.created.add(name)
            ended = [RunChange(run=finished(run)) for run in cycle.runs[1:]]
            await store.runs.record(ended, [], [make_notice(name)], [audit("run.end", name)])
            seen.ended.add(name)
        except StoreUnavailable:
            seen.failures += 1


async def judge(store: Store, seen: Acknowledged) -> None:
    """Hold what is stored to what was acknowledged."""
    notices = {notice.id for notice in await store.alerts.recent(100_000)}
    entries = {entry.object for entry in await store.access.audit_trail(100_000)}
    for cycle in seen.tried:
        stored = await store.runs.get([run.id for run in cycle.runs])
        assert len(stored) in (0, BATCH), "created whole or not at all"
        assert len(stored) == BATCH or cycle.name not in seen.created
        ends = [run.state.is_final for run in stored.values()]
        assert sum(ends) in (0, BATCH - 1), "ended whole or not at all"
        is_ended = any(ends)
        assert is_ended or cycle.name not in seen.ended
        assert is_ended == (cycle.name in notices) == (cycle.name in entries), "with all that follows"


@pytest.mark.parametrize("kind", tuple(binaries()))
async def test_nothing_acknowledged_is_lost_when_the_database_is_killed(kind: str) -> None:
    rng, seen = random.Random(7), Acknowledged()
    job = make_job(shard=shard_of(make_job().id, SHARDS))
    with Cluster(binaries()[kind]) as cluster:
        url = prepare(cluster)
        store = await open_postgres(url, FOR_TESTS)
        await add_jobs(store, job)
        fences = [await store.leases.reserve_fences(10)]
        for _ in range(ROUNDS):
            stop = asyncio.Event()
            writers = [asyncio.ensure_future(write(store, job, lane, seen, stop)) for lane in range(LANES)]
            wanted = len(seen.ended) + rng.randrange(20, 120)
            async with asyncio.timeout(30):
                while len(seen.ended) < wanted:
                    await asyncio.sleep(0)
            await asyncio.to_thread(cluster.kill)
            failed = seen.failures
            async with asyncio.timeout(30):
                while seen.failures < failed + LANES:
                    await asyncio.sleep(0)
            stop.set()
            await asyncio.gather(*writers)
            await asyncio.to_thread(cluster.restart)
            async with asyncio.timeout(5):  # the same store recovers by itself
                while not await is_back(store):
                    await asyncio.sleep(0)
            await judge(store, seen)
            assert await store.leases.check() == []
        await store.close()
        store = await open_postgres(url, FOR_TESTS)
        fences.append(await store.leases.reserve_fences(10))
        await judge(store, seen)
        await store.close()
    assert fences == sorted(set(fences))
    assert len(seen.ended) > ROUNDS * 20
    assert len(seen.ended) < len(seen.tried), "the kill never hit anything"


async def is_back(store: Store) -> bool:
    """Whether the store answers; a verb that is repeated finds what it did."""
    try:
        await store.leases.remember("back", "yes")
    except (StoreUnavailable, Conflict):
        return False
    return True
