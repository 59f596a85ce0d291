"""Carrying a whole store into another: everything arrives, in order, and nothing is given twice afterwards."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from store_values import (
    NOON,
    SPEC,
    add_jobs,
    after,
    audit,
    finished,
    make_chunk,
    make_gap,
    make_job,
    make_notice,
    make_run,
    make_server,
    make_stats,
    make_worker,
    start_and_finish,
    starting,
)
from tests.postgres.cluster import binaries
from tests.postgres.clusters import FOR_TESTS, Clusters

from rota.clock import ManualClock
from rota.core.errors import Conflict, Invalid
from rota.core.ids import shard_of
from rota.core.model import Condition, Pause, RunState, Trigger
from rota.store.access import LoginRecord, RememberedAnswer, SecretRecord, TokenRecord
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, RunChange
from rota.store.transfer import FenceCounter, Kind
from rota.store.views import RunQuery
from rota.stores.moving import move
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

WAYS = [
    ("sqlite", "sqlite"),
    *(pair for name in binaries() for pair in (("sqlite", name), (name, "sqlite"))),
    *((name, name) for name in binaries()),
]


class Stores:
    """Opens stores by kind; all are closed and removed in the end."""

    def __init__(self, stack: AsyncExitStack, clusters: Clusters, folder: Path) -> None:
        self._stack = stack
        self._clusters = clusters
        self._folder = folder
        self._count = 0

    async def open(self, kind: str) -> Store:
        """A new store."""
        self._count += 1
        if kind == "sqlite":
            store = await open_sqlite(self._folder / f"{self._count}.db", clock=ManualClock(NOON))
        else:
            url = self._stack.enter_context(self._clusters.database(kind))
            store = await open_postgres(url, FOR_TESTS)
        self._stack.push_async_callback(store.close)
        return store


@pytest.fixture
async def stores(clusters: Clusters, tmp_path: Path) -> AsyncIterator[Stores]:
    """Where stores come from."""
    async with AsyncExitStack() as stack:
        yield Stores(stack, clusters, tmp_path)


async def contents(store: Store, limit: int = 7) -> dict[Kind, list[Any]]:
    """Everything in a store, page by page; what differs by design (shards) is made equal."""
    found: dict[Kind, list[Any]] = {}
    for kind in Kind:
        values: list[Any] = []
        page = await store.transfer.read(kind, None, limit)
        values += page.values
        while page.next is not None:
            page = await store.transfer.read(kind, page.next, limit)
            values += page.values
        found[kind] = [replace(job, shard=0) for job in values] if kind is Kind.JOBS else values
    return found


async def fill(store: Store) -> None:
    """Something of everything."""
    jobs = [make_job(f"web/job-{number}", spec=replace(SPEC, title=f"Größe {number}")) for number in range(20)]
    jobs[3] = replace(jobs[3], pause=Pause(since=NOON, by="ann"), next_at=None)
    jobs[4] = replace(jobs[4], deleted=NOON, next_at=None)
    jobs[5] = replace(jobs[5], broken="no such zone", source="a.yaml")
    jobs = [replace(job, shard=shard_of(job.id, store.shards)) for job in jobs]
    await store.jobs.apply([JobWrite(job=job, expected_version=0) for job in jobs], [audit()])
    edited = replace(jobs[0], version=2, revision=2)
    gaps = (make_gap(jobs[0], after(-99), after(-9)), make_gap(jobs[0], after(-200), after(-99)))
    await store.jobs.apply([JobWrite(job=edited, expected_version=1, gaps=gaps)], [audit("job.edit")])
    await store.sessions.connect(make_worker())
    await store.sessions.connect(make_worker(boot_id="boot-2"))
    await store.sessions.connect(make_worker("w2", clock_offset=0.25, draining=True))
    past = [finished(make_run(job, after(number), version=2)) for number, job in enumerate(jobs)]
    await start_and_finish(store, *past)
    failing = starting(make_run(jobs[1], after(-50)))
    ended = finished(failing, RunState.FAILED, exit=3, error="Zeitüberschreitung\0")
    await start_and_finish(store, ended)
    manual = [make_run(jobs[1], trigger=Trigger.MANUAL, key=f"k{place}", created=after(place)) for place in range(4)]
    await store.runs.create([*manual, *(make_run(job, after(5000)) for job in jobs[:9])])
    await store.runs.record([RunChange(run=finished(manual[0], RunState.CANCELLED))], [], [])
    await store.runs.assign([RunChange(run=starting(manual[1], session=2))], {"w1": 2})
    stats = [make_stats(job.id, recent="s1", last_run=past[0].id, last_finished=NOON) for job in jobs[:8]]
    await store.runs.record([], stats, [make_notice("n1"), make_notice("n2", run_id=past[0].id, facts={"a": [1]})])
    chunks = [make_chunk(run.id, place, place, f"line {place}") for run in past[:4] for place in range(5)]
    await store.output.append(chunks)
    await store.output.merge([past[0].id])
    await store.alerts.raise_condition(Condition(key="disk", detail="full", since=NOON))
    token = TokenRecord(id="t1", digest=b"\x01" * 32, name="x", scopes=("admin",), created=NOON, labels={"a": "b"})
    await store.access.put_token(token, audit("token.create"))
    await store.access.put_token(replace(token, id="t2", digest=b"\xff", uses=3, worker="w1", scopes=()))
    for kind in ("code", "session"):
        await store.access.put_login(
            LoginRecord(digest=kind.encode(), kind=kind, token_id="t1", created=NOON, expires=after(600))
        )
    secret = SecretRecord(name="shop", key_id="k", nonce=b"\0\xff", ciphertext=b"\x80", updated=NOON)
    await store.access.put_secrets([secret, replace(secret, name="mail")])
    answer = RememberedAnswer(key="k", actor="ann", request_digest=b"1", status=201, body=b"{}", created=NOON)
    await store.access.remember(answer, NOON)
    await store.access.remember(replace(answer, actor="bob"), NOON)
    await store.access.audit([audit("token.use", f"t{number}") for number in range(30)])
    await store.leases.remember("tzdata", "2026a")
    await store.leases.raise_incarnation()
    await store.leases.reserve_fences(10)


@pytest.mark.parametrize(("source", "destination"), WAYS)
async def test_everything_arrives(stores: Stores, source: str, destination: str) -> None:
    one, two = await stores.open(source), await stores.open(destination)
    await fill(one)
    told: list[tuple[Kind, int]] = []
    moved = await move(one, two, lambda kind, count: told.append((kind, count)))
    before, there = await contents(one), await contents(two, 1000)
    assert there == before
    assert moved == {kind: len(values) for kind, values in before.items()}
    assert set(moved.values()) - {0} == set(moved.values()), "something of everything was carried"
    assert dict(told) == moved
    assert await two.leases.check() == []


@pytest.mark.parametrize(("source", "destination"), WAYS[:3])
async def test_the_new_store_goes_on_where_the_old_one_stopped(stores: Stores, source: str, destination: str) -> None:
    one, two = await stores.open(source), await stores.open(destination)
    await fill(one)
    last = await one.leases.reserve_fences(100) + 99
    await move(one, two, lambda kind, count: None)
    assert await two.leases.reserve_fences(1) > last
    assert await two.leases.highest_fence() >= await one.leases.highest_fence()
    job = (await two.jobs.get(["web/job-1"]))["web/job-1"]
    assert job.shard == shard_of(job.id, two.shards)
    again = make_run(job, trigger=Trigger.MANUAL, key="k2", created=after(77))
    (stored,) = await two.runs.create([again])
    assert stored.id != again.id, "a key that was used stays used"
    waiting = await two.runs.waiting(after(9000), None, 100, shards=[job.shard])
    assert job.id in waiting.jobs
    assert await two.sessions.connect(make_worker()) == 3
    assert (await two.sessions.get(["w1"]))[0].boot_session == 3
    chunk = make_chunk(waiting.runs[0].id, 0, 0, "x")
    await two.output.append([chunk])
    page = await two.views.runs(RunQuery(since=NOON - timedelta(days=1)), "-due", None, 100)
    assert len(page.items) == 34
    assert (await two.access.audit_trail(1))[0].object == "t29"


@pytest.mark.parametrize("kind", ["sqlite", *binaries()])
async def test_a_store_that_holds_something_takes_nothing(stores: Stores, kind: str) -> None:
    one, two = await stores.open("sqlite"), await stores.open(kind)
    await fill(one)
    assert await two.transfer.is_empty()
    await add_jobs(two, make_job("web/mine"))
    assert not await two.transfer.is_empty()
    with pytest.raises(Conflict, match="not empty"):
        await move(one, two, lambda kind, count: None)
    assert list(await two.jobs.get(["web/mine", "web/job-1"])) == ["web/mine"]


@pytest.mark.parametrize("kind", ["sqlite", *binaries()])
async def test_what_is_there_already_is_not_written_again(stores: Stores, kind: str) -> None:
    store = await stores.open(kind)
    job = make_job(shard=shard_of(make_job().id, store.shards))
    await store.transfer.write(Kind.JOBS, [job])
    for kind_of, value in ((Kind.JOBS, job), (Kind.NOTICES, make_notice("n")), (Kind.RUNS, make_run(job))):
        if kind_of is not Kind.JOBS:
            await store.transfer.write(kind_of, [value])
        with pytest.raises(Invalid):
            await store.transfer.write(kind_of, [value])


@pytest.mark.parametrize("kind", ["sqlite", *binaries()])
async def test_fences_only_grow(stores: Stores, kind: str) -> None:
    store = await stores.open(kind)
    await store.transfer.raise_fences(FenceCounter(incarnation=2, counter=500))
    assert await store.transfer.fences() == FenceCounter(incarnation=2, counter=500)
    for lower in (FenceCounter(incarnation=1, counter=9000), FenceCounter(incarnation=2, counter=3)):
        await store.transfer.raise_fences(lower)
        assert await store.transfer.fences() == FenceCounter(incarnation=2, counter=500)


@pytest.mark.parametrize("name", list(binaries()))
async def test_stores_at_work_are_not_carried(stores: Stores, name: str) -> None:
    one, two = await stores.open("sqlite"), await stores.open(name)
    await two.leases.join(make_server("busy"), 100.0)
    for source, destination in ((one, two), (two, one)):
        with pytest.raises(Conflict, match=r"a server works on the .*busy"):
            await move(source, destination, lambda kind, count: None)
    await two.leases.leave("busy")
    await move(two, one, lambda kind, count: None)


@pytest.mark.parametrize("name", list(binaries())[:1])
async def test_fifty_thousand_runs_there_and_back(stores: Stores, name: str) -> None:
    one, two, three = [await stores.open(kind) for kind in ("sqlite", name, "sqlite")]
    jobs = [make_job(f"web/job-{number}") for number in range(50)]
    await add_jobs(one, *jobs)
    for second in range(0, 1000, 100):
        runs = [make_run(job, after(second + place)) for job in jobs for place in range(100)]
        await one.transfer.write(Kind.RUNS, [finished(run) for run in runs])
    started = time.monotonic()
    assert (await move(one, two, lambda kind, count: None))[Kind.RUNS] == 50_000
    assert (await move(two, three, lambda kind, count: None))[Kind.RUNS] == 50_000
    assert time.monotonic() - started < 60
    for after_id in (None, ("past", runs[77].id)):
        pages = [await store.transfer.read(Kind.RUNS, after_id, 500) for store in (one, two, three)]
        assert pages[0].values == pages[1].values == pages[2].values
