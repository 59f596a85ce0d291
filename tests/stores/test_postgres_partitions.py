"""History by days on PostgreSQL: made ahead, dropped whole when all of it is old, deleted by rows otherwise."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec.structs import replace
from postgres_values import raw
from store_values import add_jobs, finished, make_chunk, make_job, make_run, start_and_finish
from tests.postgres.cluster import binaries

from rota.core.ids import run_day, shard_of
from rota.core.model import Job, Run, RunState, Trigger
from rota.store.bundle import Store
from rota.store.views import RunQuery
from rota.stores.chunks import first_id_kept
from rota.stores.postgres import PostgresOptions, open_postgres

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NO_FILES_YET = PostgresOptions(days_ahead=2)


@pytest.fixture(params=tuple(binaries()))
def kind(request: pytest.FixtureRequest) -> str:
    """Which PostgreSQL."""
    found: str = request.param
    return found


@pytest.fixture
def url(database: str | None) -> str:
    """Where a prepared database is."""
    assert database is not None
    return database


async def days(url: str, table: str = "runs_history") -> list[date]:
    """The days that have a partition."""
    async with raw(url) as connection:
        return sorted(day for (day,) in await connection.fetch("SELECT day FROM rota_partitions_1($1)", table))


async def add_day(url: str, day: datetime) -> None:
    """Make the partitions of a day in the past, as if the server had run then."""
    async with raw(url) as connection:
        for table, column in (("runs_history", "id"), ("output", "run_id")):
            assert await connection.fetchval("SELECT rota_add_partition_1($1, $2, $3)", table, column, day.date())


async def where(url: str, run: Run) -> str:
    """In which partition a run lies."""
    async with raw(url) as connection:
        found = await connection.fetchval("SELECT tableoid::regclass::text FROM runs_history WHERE id = $1", run.id)
        return str(found)


def of_day(job: Job, day: datetime, number: int = 0, *, finish: datetime | None = None) -> Run:
    """A past run due on that day."""
    due = day + timedelta(seconds=number + 1)
    return finished(make_run(job, due, version=2), at=finish or due + timedelta(seconds=1))


async def test_days_are_made_ahead_once_however_many_servers_start(url: str) -> None:
    stores = await asyncio.gather(*(open_postgres(url, NO_FILES_YET) for _ in range(3)))
    late = await open_postgres(url, NO_FILES_YET)  # who could not make them then, makes them later
    wanted = [(TODAY + DAY * ahead).date() for ahead in range(3)]
    assert await days(url) == await days(url, "output") == wanted
    for store in (*stores, late):
        assert await store.leases.check() == []
        await store.close()


async def test_runs_and_output_lie_in_their_day(url: str) -> None:
    store = await open_postgres(url, NO_FILES_YET)
    job = make_job()
    await add_jobs(store, job)
    runs = [of_day(job, TODAY), of_day(job, TODAY + DAY), of_day(job, TODAY - 40 * DAY), of_day(job, TODAY + 9 * DAY)]
    await start_and_finish(store, *runs)
    names = [await where(url, run) for run in runs]
    assert names == [
        f"runs_history_{TODAY:%Y%m%d}", f"runs_history_{TODAY + DAY:%Y%m%d}", "runs_history_default",
        "runs_history_default",
    ]  # fmt: skip
    assert await store.runs.get([run.id for run in runs]) == {run.id: run for run in runs}
    page = await store.views.runs(RunQuery(since=TODAY - 100 * DAY), "due", None, 10)
    assert list(page.items) == sorted(runs, key=lambda run: run.due)
    await store.close()


async def test_the_first_id_of_a_day_is_the_same_in_the_database(url: str) -> None:
    async with raw(url) as connection:
        for day in (TODAY, datetime(1970, 1, 1, tzinfo=UTC), datetime(2400, 2, 29, tzinfo=UTC)):
            there = await connection.fetchval("SELECT rota_first_id_1($1)", day.date())
            assert str(there) == first_id_kept(day)
            assert run_day(first_id_kept(day)) == day


async def test_a_day_with_rows_in_the_default_partition_stays_there(url: str) -> None:
    store = await open_postgres(url, PostgresOptions(days_ahead=0))
    job = make_job()
    await add_jobs(store, job)
    run = of_day(job, TODAY)
    await start_and_finish(store, run)
    await store.close()
    store = await open_postgres(url, NO_FILES_YET)
    assert await days(url) == [(TODAY + DAY).date(), (TODAY + 2 * DAY).date()]
    assert (TODAY.date() in await days(url, "output")) is True
    assert await store.runs.get([run.id]) == {run.id: run}
    await store.close()


async def aged(store: Store, url: str) -> tuple[Job, list[Run]]:
    """Ten runs with output of each of three days long past, whose partitions exist."""
    job = make_job()
    job = replace(job, shard=shard_of(job.id, store.shards))
    await add_jobs(store, job)
    runs: list[Run] = []
    for age in (30, 29, 28):
        await add_day(url, TODAY - age * DAY)
        runs += [of_day(job, TODAY - age * DAY, number) for number in range(10)]
    await start_and_finish(store, *runs)
    await store.output.append([make_chunk(run.id, 0, 0, "x") for run in runs])
    return job, runs


async def test_old_days_are_dropped_whole(url: str) -> None:
    store = await open_postgres(url, NO_FILES_YET)
    job, runs = await aged(store, url)
    keyed = replace(of_day(job, TODAY - 30 * DAY, 99), trigger=Trigger.MANUAL, key="k")
    await store.runs.create([keyed])
    assert await store.runs.prune(TODAY - 28 * DAY, 1) == 21
    assert (TODAY - 30 * DAY).date() not in await days(url)
    assert (TODAY - 29 * DAY).date() not in await days(url, "output")
    assert set(await store.runs.get([run.id for run in [*runs, keyed]])) == {run.id for run in runs[20:]}
    assert (await store.output.size(runs[0].id, 1)).lines == 0
    assert (await store.output.size(runs[20].id, 1)).lines == 1
    again = make_run(job, TODAY, trigger=Trigger.MANUAL, key="k", created=TODAY)
    assert await store.runs.create([again]) == [again], "the key of a run that is gone is free"
    assert await store.runs.prune(TODAY - 28 * DAY, 100) == 0
    assert await store.leases.check() == []
    await store.close()


async def test_a_day_with_a_run_that_ended_later_is_deleted_by_rows(url: str) -> None:
    store = await open_postgres(url, NO_FILES_YET)
    job, runs = await aged(store, url)
    long = of_day(job, TODAY - 30 * DAY, 500, finish=TODAY - DAY)
    await start_and_finish(store, long)
    assert await store.runs.prune(TODAY - 28 * DAY, 4) == 10, "the other day, dropped"
    assert (TODAY - 30 * DAY).date() in await days(url)
    assert await store.runs.prune(TODAY - 28 * DAY, 4) == 4
    assert await store.runs.prune(TODAY - 28 * DAY, 100) == 6
    assert set(await store.runs.get([run.id for run in [*runs, long]])) == {run.id for run in [*runs[20:], long]}
    await store.close()


async def test_a_day_of_which_a_run_is_unfinished_keeps_its_output(url: str) -> None:
    store = await open_postgres(url, NO_FILES_YET)
    job, runs = await aged(store, url)
    hot = make_run(job, TODAY - 30 * DAY + timedelta(hours=5))
    await store.runs.create([hot])
    await store.output.append([make_chunk(hot.id, 0, 0, "still going")])
    assert await store.runs.prune(TODAY - 28 * DAY, 100) == 20
    assert (await store.output.size(hot.id, 1)).lines == 1
    assert (await store.output.size(runs[0].id, 1)).lines == 0
    await store.close()


async def test_a_run_that_ends_while_its_day_is_dropped_is_not_lost(url: str) -> None:
    """It comes into the partition after it was looked at, and before it is locked."""
    store = await open_postgres(url, NO_FILES_YET)
    job, _ = await aged(store, url)
    day = TODAY - 30 * DAY
    hot = make_run(job, day + timedelta(hours=5))
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute(
            "INSERT INTO runs_history (id, job_id, job, due, nominal, trigger, created, key, revision, kind, ready_at,"
            " failures, losses, state, finished, version) SELECT $1, job_id, job, due, nominal, trigger, created, key,"
            " revision, kind, ready_at, failures, losses, state, 9e15::bigint, version FROM runs_history LIMIT 1",
            hot.id,
        )
        pruning = asyncio.ensure_future(store.runs.prune(TODAY - 29 * DAY, 0))
        async with asyncio.timeout(30):
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
        await other.execute("COMMIT")
        assert await pruning == 0
    assert (await store.runs.get([hot.id]))[hot.id].state is RunState.SUCCEEDED
    await store.close()


async def test_a_lock_that_is_not_to_be_had_puts_dropping_off(url: str) -> None:
    store = await open_postgres(url, NO_FILES_YET)
    await aged(store, url)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.fetch("SELECT count(*) FROM runs_history")  # a long search, say
        asked = asyncio.get_running_loop().time()
        assert await store.runs.prune(TODAY - 29 * DAY, 0) == 0
        assert asyncio.get_running_loop().time() - asked < 3
        await other.execute("COMMIT")
    assert await store.runs.prune(TODAY - 29 * DAY, 0) == 10
    await store.close()


async def test_output_is_dropped_by_days_and_before_its_runs(url: str) -> None:
    store = await open_postgres(url, NO_FILES_YET)
    _, runs = await aged(store, url)
    assert await store.output.prune(TODAY - 29 * DAY + timedelta(hours=1), 5) == 10 + 0
    assert await days(url, "output") == [
        (TODAY + DAY * ahead).date() for ahead in (-29, -28, 0, 1, 2)
    ]  # fmt: skip
    assert len(await store.runs.get([run.id for run in runs])) == 30
    assert (await store.output.size(runs[10].id, 1)).lines == 1
    await store.close()


async def test_a_role_that_may_not_make_tables_goes_on_without_days(url: str) -> None:
    async with raw(url) as connection:
        await connection.execute("DROP ROLE IF EXISTS user_only")
        await connection.execute("CREATE ROLE user_only LOGIN")
        await connection.execute("GRANT USAGE ON SCHEMA rota TO user_only")
        await connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA rota TO user_only")
    store = await open_postgres(url.replace("rota@", "user_only@"), NO_FILES_YET)
    assert await days(url) == []
    job = make_job()
    await add_jobs(store, job)
    run = of_day(job, TODAY - 5 * DAY)
    await start_and_finish(store, run)
    assert await store.runs.prune(TODAY, 100) == 1
    await store.close()
    async with raw(url) as connection:
        await connection.execute("DROP OWNED BY user_only; DROP ROLE user_only")
