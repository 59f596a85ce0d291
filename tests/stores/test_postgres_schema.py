"""The PostgreSQL schema: migrations, columns, constraints, and that no verb scans or sorts what may be large."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from postgres_values import raw
from store_values import (
    LONG_AGO,
    NOON,
    add_jobs,
    after,
    audit,
    finished,
    lead,
    make_chunk,
    make_gap,
    make_job,
    make_notice,
    make_run,
    make_stats,
    make_worker,
    starting,
)
from tests.postgres.cluster import binaries
from tests.postgres.clusters import FOR_TESTS, Clusters

from rota.core.errors import StoreUnusable
from rota.core.ids import shard_of
from rota.core.model import RunState, Trigger
from rota.store.bundle import Store
from rota.store.jobs import Plan, RunChange
from rota.store.sessions import Sign
from rota.store.views import JobQuery, RunQuery
from rota.stores.filters import run_conditions
from rota.stores.job_rows import JOB_COLUMNS
from rota.stores.migrations import Migration
from rota.stores.postgres import open_postgres
from rota.stores.postgres.batches import SHARDS, run_batch
from rota.stores.postgres.connection import VERBS, VIEWS, Connector
from rota.stores.postgres.dialect import POSTGRES, statement
from rota.stores.postgres.migrate import known_migrations, migrate
from rota.stores.postgres.queries import load
from rota.stores.postgres.views import SQL as VIEWS_SQL
from rota.stores.rows import RUN_COLUMNS

FILES = ("access", "alerts", "check", "held", "jobs", "leases", "output", "partitions", "runs", "sessions", "views")


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


@pytest.fixture
async def empty(kind: str, clusters: Clusters) -> AsyncIterator[str]:
    """Where a database without the schema is."""
    made = clusters[kind].create()
    yield made
    clusters[kind].drop(made)


async def columns(connection: Any, table: str) -> tuple[str, ...]:
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'rota' AND table_name = $1"
        " ORDER BY ordinal_position",
        table,
    )
    return tuple(name for (name,) in rows)


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_rows_are_in_the_order_values_are_made_from(url: str) -> None:
    async with raw(url) as connection:
        assert await columns(connection, "runs_hot_1") == await columns(connection, "runs_history_1") == RUN_COLUMNS
        assert await columns(connection, "runs_history") == RUN_COLUMNS
        assert await columns(connection, "runs_hot") == (*RUN_COLUMNS, "shard")
        assert await columns(connection, "jobs_1") == JOB_COLUMNS


async def test_every_statement_is_understood(url: str) -> None:
    async with raw(url) as connection:
        for file in FILES:
            for name, sql in load(f"{file}.sql").items():
                text, _ = statement([(sql, [None] * sql.count("?"))]) if file == "views" else (sql, [])
                assert await connection.prepare(text), name


@pytest.mark.parametrize("state", list(RunState))
async def test_the_tables_know_which_states_are_final(url: str, state: RunState) -> None:
    runs = run_batch([replace(make_run(make_job()), state=state)])
    rows = runs.hot + runs.past
    right, wrong = (([], rows), (rows, [])) if state.is_final else ((rows, []), ([], rows))
    sql = "SELECT * FROM rota_add_runs_1($1, $2, $3, false)"
    async with raw(url) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.fetch(sql, *wrong, runs.ids)
        assert await connection.fetch(sql, *right, runs.ids) == []


async def test_time_goes_on_inside_a_transaction(url: str) -> None:
    async with raw(url) as connection, connection.transaction():
        before = await connection.fetchval("SELECT rota_now()")
        await connection.execute("SELECT pg_sleep(0.002)")
        assert await connection.fetchval("SELECT rota_now()") >= before + 2000
        assert await connection.fetchval("SELECT abs(rota_now() - extract(epoch FROM clock_timestamp()) * 1e6)") < 1e5
        assert await connection.fetchval("SELECT moment(1795435200123457) = '2026-11-23 12:00:00.123457+00'")


async def test_names_are_ordered_by_code_point_in_a_database_of_any_language(kind: str, clusters: Clusters) -> None:
    cluster = clusters[kind]
    if not cluster.execute("SELECT 1 FROM pg_collation WHERE collprovider = 'i' AND collname LIKE 'en%' LIMIT 1"):
        pytest.skip("this build of PostgreSQL knows no languages")
    cluster.execute("CREATE DATABASE english TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    store = await open_postgres(cluster.url("english"), FOR_TESTS)
    names = sorted(["web/ab", "web/a-b", "web/a.b", "web/a_b", "web/a", "w.eb/z", "w-eb/z"])
    await add_jobs(store, *(make_job(name) for name in names))
    page = await store.views.jobs(JobQuery(), "name", None, 100)
    assert [row.job.full_name for row in page.items] == names
    assert [job.full_name for job in await store.jobs.by_source(None)] == names
    kinds = ["shell-b", "shellb", "shell_b", "sh"]
    await store.runs.create([make_run(make_job("web/ab"), after(n), kind=kind) for n, kind in enumerate(kinds)])
    assert [run.kind for run in (await store.runs.waiting(after(9), None, 10)).runs] == kinds
    await store.close()
    cluster.drop(cluster.url("english"))


# ── migrations ───────────────────────────────────────────────────────────────────────────────────────────


def test_migrations_are_numbered_without_holes() -> None:
    steps = known_migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(1 <= step.oldest_server <= step.number for step in steps)


def test_a_parameter_type_or_function_is_made_once_and_not_changed() -> None:
    """Servers of two schemas work side by side: what one of them calls stays as it is."""
    text = "".join(step.sql for step in known_migrations())
    made = re.findall(r"CREATE (?:TYPE|FUNCTION) (\w+)", text)
    assert len(made) == len(set(made))
    assert not re.search(r"ALTER TYPE|OR REPLACE|DROP FUNCTION", text)
    assert all(re.search(r"_\d+$", name) for name in made if name not in ("rota_now", "moment"))
    queries = resources.files("rota.stores.postgres").joinpath("queries")
    statements = "".join(queries.joinpath(f"{file}.sql").read_text() for file in FILES)
    # `SELECT *`, but for views with a number: a column of a later schema would shift what is read.
    assert not re.search(r"SELECT \*\s+FROM (?!\w+_\d+\b)", statements)


async def test_a_database_is_migrated_once(empty: str) -> None:
    connection = await Connector(empty, "test").connect()
    assert await migrate(connection, "here") == len(known_migrations())
    assert await migrate(connection, "here") == 0
    await connection.close()


async def test_servers_that_start_at_once_prepare_the_database_once(empty: str) -> None:
    stores = await asyncio.gather(*(open_postgres(empty, FOR_TESTS) for _ in range(4)))
    async with raw(empty) as connection:
        numbers = await connection.fetch("SELECT number FROM migrations ORDER BY number")
        assert [number for (number,) in numbers] == [step.number for step in known_migrations()]
    for store in stores:
        assert await store.leases.check() == []
        await store.close()


async def test_a_later_step_is_added_and_older_servers_go_on(url: str) -> None:
    connection = await Connector(url, "test").connect()
    steps = known_migrations()
    later = Migration(steps[-1].number + 1, "more", 1, "CREATE TABLE more (id text); ALTER TABLE runs_hot ADD x text;")
    assert await migrate(connection, "here", [*steps, later]) == 1
    assert await columns(connection, "more") == ("id",)
    assert await migrate(connection, "here", steps) == 0
    await connection.close()
    older = await open_postgres(url, FOR_TESTS)
    job = make_job()
    await add_jobs(older, job)
    await older.runs.create([make_run(job)])
    assert await older.runs.unfinished([job.id]) == [make_run(job)]
    await older.close()


async def test_a_step_that_fails_leaves_nothing(url: str) -> None:
    connection = await Connector(url, "test").connect()
    steps = known_migrations()
    broken = Migration(steps[-1].number + 1, "broken", 1, "CREATE TABLE half (id text); CREATE TABLE jobs (x text);")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(connection, "here", [*steps, broken])
    assert await columns(connection, "half") == ()
    assert await migrate(connection, "here", steps) == 0
    await connection.close()


async def test_a_database_that_needs_a_newer_server_is_refused_untouched(url: str) -> None:
    connection = await Connector(url, "test").connect()
    number = known_migrations()[-1].number + 1
    await migrate(connection, "here", [*known_migrations(), Migration(number, "rename", number, "SELECT 1;")])
    await connection.close()
    with pytest.raises(StoreUnusable, match=f"needs schema {number}, this one knows {number - 1}") as caught:
        await open_postgres(url, FOR_TESTS)
    assert "127.0.0.1" in str(caught.value)
    assert caught.value.hint is not None


# ── the cost of questions ────────────────────────────────────────────────────────────────────────────────

LARGE = r"runs_hot|runs_history\w*|job_cursors|jobs|job_stats|run_keys|output\w*|gaps|revisions|notices|workers"
# Read from end to end, because all that is in them is wanted, in that order: what is late, pending, asked for.
WHOLE = (
    "runs_hot_late", "runs_hot_held", "runs_hot_asked", "jobs_at_start", "jobs_keeping", "notices_pending",
    "notices_next_try", "jobs_by_namespace", "workers_open",
)  # fmt: skip


def scans_of(plan: str) -> list[str]:
    """Scans of a plan that read a table which may be large without a step into an index."""
    lines = plan.splitlines()
    found = []
    for place, line in enumerate(lines):
        scan = re.search(rf"(?:Scan) (?:Backward )?(?:using (\w+) )?on ({LARGE})\b", line)
        if scan is None or scan.group(1) in WHOLE:
            continue
        detail = itertools.takewhile(lambda text: "->" not in text, lines[place + 1 :])
        if not any("Index Cond" in text for text in detail) and not _is_first_only(lines[place - 1]):
            found.append(line.strip())
    return found


def _is_first_only(line: str) -> bool:
    """Whether a scan stands under a limit: the first row in the order of its index is wanted."""
    return "Limit" in line


async def plan_of(url: str, sql: str, *, views: bool = False) -> str:
    """How a statement is executed, as the lane's settings have it: with parameters that are not known yet."""
    connection = await Connector(url, "test").connect(VIEWS if views else VERBS)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        prepared = await connection.prepare(sql)
        count = len(prepared.get_parameters())
        await connection.execute(f"PREPARE asked AS {sql}")
        rows = await connection.fetch(
            f"EXPLAIN EXECUTE asked ({', '.join(['NULL'] * count)})" if count else "EXPLAIN EXECUTE asked"
        )
        return "\n".join(row[0] for row in rows)
    finally:
        connection.terminate()


@pytest.mark.parametrize(
    ("file", "name", "indexes", "sorts"),
    [
        ("runs", "waiting", ("runs_hot_waiting", "runs_hot_pkey", "jobs_pkey"), True),
        ("runs", "next_ready", ("runs_hot_waiting",), False),
        ("runs", "holders", ("runs_hot_job",), True),
        ("runs", "unfinished", ("runs_hot_job",), True),
        ("runs", "reported", ("runs_hot_pkey", "jobs_pkey", "job_stats_pkey"), True),
        ("runs", "by_id", ("runs_hot_pkey", "Subplans Removed"), False),
        ("runs", "stats", ("job_stats_pkey",), False),
        ("runs", "late", ("runs_hot_late",), False),
        ("runs", "next_late", ("runs_hot_late",), False),
        ("held", "by_worker", ("runs_hot_held",), True),
        ("held", "all", ("runs_hot_held",), True),
        ("held", "starting", ("runs_hot_starting",), False),
        ("held", "asked", ("runs_hot_asked",), False),
        ("sessions", "orphans", ("workers_open",), False),
        ("jobs", "due", ("job_cursors_due", "jobs_pkey"), True),
        ("jobs", "next_due", ("job_cursors_due",), False),
        ("jobs", "by_id", ("jobs_pkey", "job_cursors_pkey"), False),
        ("jobs", "by_name", ("jobs_full_name_key",), False),
        ("jobs", "by_source", ("jobs_by_source",), True),
        ("jobs", "in_shard", ("job_cursors_in_shard",), True),
        ("jobs", "at_start", ("jobs_at_start",), True),
        ("jobs", "keeping", ("jobs_keeping",), True),
        ("jobs", "revisions", ("revisions_pkey",), False),
        ("alerts", "pending", ("notices_pending",), False),
        ("alerts", "next_try", ("notices_next_try",), False),
        ("alerts", "recent", ("notices_created",), False),
        ("views", "namespaces", ("jobs_by_namespace",), False),
    ],
)
async def test_questions_of_the_loops_use_their_index(
    url: str, file: str, name: str, indexes: tuple[str, ...], sorts: bool
) -> None:
    """`sorts`: an answer that is bounded by the caller's limit, or by what workers hold, is put in order."""
    plan = await plan_of(url, load(f"{file}.sql")[name])
    for index in indexes:
        assert index in plan, plan
    assert scans_of(plan) == [], plan
    assert sorts or "Sort  (" not in plan, plan


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(since=LONG_AGO), "due_id"),
        (RunQuery(since=LONG_AGO, jobs=("web/fetch",)), "job_id_due"),
        (RunQuery(since=LONG_AGO, states=(RunState.FAILED,)), "due_id"),
        (RunQuery(since=LONG_AGO, jobs=("web/fetch",), states=(RunState.FAILED,)), "job_id_due"),
        (RunQuery(since=LONG_AGO, text="timeout"), "due_id"),
    ],
)
async def test_pages_of_runs_are_read_in_order_of_an_index(url: str, query: RunQuery, index: str) -> None:
    """Of each partition: its index gives the order, so that a page costs what it shows, whatever there is."""
    async with raw(url) as connection:
        await connection.execute("SELECT rota_add_partition_1('runs_history', 'id', '2026-11-01')")
        await connection.execute("SET enable_seqscan = off")  # the tables are empty: a scan would cost nothing
        await connection.execute("SET enable_bitmapscan = off")
        sql, parameters = statement([run_conditions(query, POSTGRES).of(VIEWS_SQL["past_newest_first"], 50)])
        rows = await connection.fetch(f"EXPLAIN {sql}", *parameters)
    plan = "\n".join(row[0] for row in rows)
    assert re.search(rf"runs_history_default_{index}\w*_idx\d*\b", plan), plan
    assert re.search(rf"runs_history_20261101_{index}\w*_idx\d*\b", plan), plan
    assert "Seq Scan" not in plan
    assert not re.search("(?<!Incremental )Sort  \\(", plan), (
        plan
    )  # at most runs of one moment are sorted: incrementally


async def exercise(store: Store, number: int) -> None:
    """Every verb of the loops once, in batches."""
    jobs = [make_job(f"web/job-{number}-{place}") for place in range(40)]
    jobs = [replace(job, shard=shard_of(job.id, SHARDS)) for job in jobs]
    await add_jobs(store, *jobs)
    epochs = await lead(store)
    session = await store.sessions.connect(make_worker())
    await store.sessions.seen([Sign(name="w1", at=NOON)])
    shards = list(range(SHARDS))
    await store.jobs.due(shards, after(1), 500)
    await store.jobs.next_due(shards)
    plans = [
        Plan(
            job_id=job.id, expected_version=1, cursor=NOON, next_at=after(60),
            runs=(make_run(job), finished(make_run(job, after(-30)), RunState.MISSED)),
            gaps=(make_gap(job, after(-600), after(-60)),), stats=make_stats(job.id), notices=(make_notice(job.id),),
        )
        for job in jobs
    ]  # fmt: skip
    assert len(await store.jobs.commit_plan(plans, epochs)) == len(jobs)
    manual = [make_run(job, trigger=Trigger.MANUAL, key="k", created=after(2)) for job in jobs]
    await store.runs.create(manual, [audit()])
    found = await store.runs.waiting(after(1), {"http": 9000}, 9000, shards=shards)
    await store.runs.next_ready(NOON, shards)
    await store.runs.holders([job.id for job in jobs])
    await store.runs.unfinished([job.id for job in jobs])
    ours = {job.id for job in jobs}
    held = [starting(run, session=session) for run in found.runs if run.job_id in ours and not run.key]
    written = await store.runs.assign([RunChange(run=run, alone=True) for run in held], {"w1": session})
    assert len(written) == len(held)
    await store.held.by_worker("w1")
    await store.runs.reported([run.id for run in held])
    stats = [replace(one, version=2) for one in (await store.runs.stats([run.job_id for run in held])).values()]
    ended = [RunChange(run=finished(run)) for run in held]
    await store.runs.record(ended, stats, [make_notice(f"{number}")], [audit()])
    await store.runs.record([RunChange(run=finished(run, RunState.CANCELLED)) for run in manual], [], [])
    await store.output.append([make_chunk(run.id, place, place, "x") for run in held for place in range(3)])
    await store.output.merge([run.id for run in held[:3]])
    await store.output.read(held[0].id, 1, 0, 10)
    await store.runs.get([run.id for run in held])
    await store.runs.late(NOON, 10)
    await store.held.starting(NOON, 10)
    await store.held.running(["w1"])
    await store.held.asked()
    await store.alerts.pending(NOON, 10)
    await store.runs.prune(after(-5000), 100)
    await store.output.prune(LONG_AGO, 100)
    await store.sessions.orphans(60.0, 10)
    await store.sessions.forget(LONG_AGO, 10)


async def test_no_verb_scans_a_table_whatever_its_statistics(kind: str, clusters: Clusters, url: str) -> None:
    """Plans are made while the tables are empty, then with statistics of full and of huge ones: an index is read."""
    cluster, name = clusters[kind], url.rpartition("/")[2]
    for setting in (
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_nested_statements = on",
    ):
        cluster.execute(f'ALTER DATABASE "{name}" SET {setting}')
    log = Path(cluster.folder / "log")
    plans = ""
    for number, command in enumerate(("SELECT", "ANALYZE", HUGE, "VACUUM ANALYZE")):
        if command == "VACUUM ANALYZE":  # the worst: the planner has been told that there is nothing
            cluster.call(_execute(url, "DELETE FROM rota.runs_hot"))
        if command == HUGE:  # the planner believes that there are thousands of times as many rows
            cluster.call(_execute(url, HUGE))
        elif command != "SELECT":
            cluster.call(_execute(url, *(f"{command} rota.{table}" for table in TABLES)))
        start = log.stat().st_size
        store = await open_postgres(url, FOR_TESTS)
        await exercise(store, number)
        await store.close()
        plans += log.read_bytes()[start:].decode()
        await fill(url, number)
    assert plans.count("Query Text") > 300
    assert scans_of(plans) == []
    assert "Hash Join" not in plans
    assert "Merge Join" not in plans


async def fill(url: str, number: int) -> None:
    """Some thousand runs, unfinished and past."""
    store = await open_postgres(url, FOR_TESTS)
    job = make_job(f"web/full-{number}")
    await add_jobs(store, job)
    await store.runs.create([make_run(job, after(-place)) for place in range(3000)])
    old = [finished(make_run(job, after(-place), version=2)) for place in range(4000, 7000)]
    await store.runs.create(old)
    await store.close()


HUGE = "UPDATE pg_class SET reltuples = reltuples * 1000 WHERE relnamespace = 'rota'::regnamespace AND reltuples > 0"
TABLES = ("runs_hot", "runs_history", "job_cursors", "jobs", "job_stats", "run_keys", "output", "gaps", "notices")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for sql in statements:
        await connection.execute(sql)
    await connection.close()
