"""The SQLite file: its schema, what is refused at start, and what a full, locked or read-only disk means."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from store_values import LONG_AGO, NOON, add_jobs, after, make_job, make_run

from rota.clock import ManualClock
from rota.core.errors import Conflict, Invalid, StoreUnavailable, StoreUnusable, TooLarge
from rota.core.model import RunState, Trigger
from rota.store.bundle import Store
from rota.store.jobs import JobWrite
from rota.store.views import RunQuery
from rota.stores.sqlite import open_sqlite
from rota.stores.sqlite.connection import open_reader, open_writer
from rota.stores.sqlite.filters import run_conditions
from rota.stores.sqlite.job_rows import JOB_COLUMNS
from rota.stores.sqlite.migrate import Migration, known_migrations, migrate
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.rows import RUN_COLUMNS
from rota.stores.sqlite.views import SQL as VIEWS
from rota.stores.sqlite.writer import GROUP_VERBS, ThreadedDatabase

FILES = ("access", "alerts", "jobs", "leases", "output", "runs", "sessions", "views", "writes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "rota.db"


@pytest.fixture
async def file_store(path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """A store in a file."""
    opened = await open_sqlite(path, clock=clock)
    yield opened
    await opened.close()


def columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in connection.execute("SELECT * FROM pragma_table_info(?)", (table,)))


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_in_the_order_of_the_tables(path: Path) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    assert columns(connection, "runs_hot") == columns(connection, "runs_history") == RUN_COLUMNS
    assert columns(connection, "jobs") == JOB_COLUMNS
    connection.close()


def test_every_table_is_strict(path: Path) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    lax = connection.execute("SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE 'sqlite_%'")
    assert lax.fetchall() == []
    connection.close()


def test_every_statement_compiles(path: Path) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    for file in FILES:
        for name, sql in load(f"{file}.sql").items():
            count = max([sql.count("?")] + [int(number) for number in re.findall(r"\?(\d+)", sql)])
            numbered = re.search(r"\?\d", sql)
            highest = max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=0)
            parameters = [None] * (highest if numbered else count)
            connection.execute(f"EXPLAIN {sql}", parameters).fetchall()
            assert name
    connection.close()


@pytest.mark.parametrize("state", list(RunState))
def test_the_tables_know_which_states_are_final(path: Path, state: RunState) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    row: list[Any] = ["x"] * len(RUN_COLUMNS)
    for place, name in enumerate(RUN_COLUMNS):
        if name in ("due", "nominal", "created", "revision", "ready_at", "failures", "losses", "version"):
            row[place] = 1
        if name in ("late_at", "released", "session", "started", "finished", "exit"):
            row[place] = None
    row[RUN_COLUMNS.index("trigger")] = Trigger.SCHEDULE.value
    row[RUN_COLUMNS.index("state")] = state.value
    connection.execute("PRAGMA foreign_keys = OFF")
    writes = load("writes.sql")
    right, wrong = ("insert_history", "insert_hot") if state.is_final else ("insert_hot", "insert_history")
    connection.execute(writes[right], row)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute(writes[wrong], row)
    connection.close()


@pytest.mark.parametrize("trigger", list(Trigger))
async def test_the_tables_know_every_trigger(file_store: Store, trigger: Trigger) -> None:
    job = make_job()
    await add_jobs(file_store, job)
    run = make_run(job, trigger=trigger)
    assert await file_store.runs.create([run]) == [run]


def test_migrations_are_numbered_without_holes() -> None:
    steps = known_migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(1 <= step.oldest_server <= step.number for step in steps)


def test_a_database_is_migrated_once(path: Path) -> None:
    connection = open_writer(path)
    assert migrate(connection, "here") == len(known_migrations())
    assert migrate(connection, "here") == 0
    connection.close()


def test_a_later_step_is_added_to_an_older_database(path: Path) -> None:
    connection = open_writer(path)
    steps = known_migrations()
    migrate(connection, "here", steps)
    later = Migration(steps[-1].number + 1, "more", 1, ("CREATE TABLE more (id TEXT) STRICT",))
    assert migrate(connection, "here", [*steps, later]) == 1
    assert columns(connection, "more") == ("id",)
    assert migrate(connection, "here", steps) == 0  # an older server goes on working beside it
    connection.close()


def test_a_step_that_fails_leaves_nothing(path: Path) -> None:
    connection = open_writer(path)
    steps = known_migrations()
    migrate(connection, "here", steps)
    broken = Migration(
        steps[-1].number + 1, "broken", 1, ("CREATE TABLE half (id TEXT) STRICT", "CREATE TABLE jobs (x)")
    )
    with pytest.raises(StoreUnusable):
        migrate(connection, "here", [*steps, broken])
    assert columns(connection, "half") == ()
    assert migrate(connection, "here", steps) == 0
    connection.close()


def test_a_database_that_needs_a_newer_server_is_refused_untouched(path: Path) -> None:
    connection = open_writer(path)
    steps = known_migrations()
    number = steps[-1].number + 1
    migrate(connection, "here", [*steps, Migration(number, "rename", number, ("DROP TABLE conditions",))])
    with pytest.raises(StoreUnusable, match=f"needs schema {number}, this one knows {number - 1}") as caught:
        migrate(connection, str(path), steps)
    assert str(path) in str(caught.value)
    assert caught.value.hint is not None
    connection.close()


# ── files that are not as they should be ─────────────────────────────────────────────────────────────────


async def refused(path: Path, error: type[Exception], match: str) -> None:
    """Opening fails in those words, names the path, and leaves the file as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error, match=match) as caught:
        await open_sqlite(path, clock=ManualClock(NOON))
    assert str(path if before is not None else path.parent) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


async def test_a_text_file_is_refused(path: Path) -> None:
    path.write_text("version: 1\nnamespace: web\n" * 100)
    await refused(path, StoreUnusable, "not a database")


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    await refused(tmp_path / "none" / "rota.db", StoreUnavailable, "no folder")


async def test_a_folder_in_the_files_place_is_said(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await open_sqlite(path, clock=ManualClock(NOON))


async def test_the_database_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE notes (text)")
    other.close()
    await refused(path, StoreUnusable, "another program")


async def test_a_damaged_schema_is_refused(path: Path, clock: ManualClock) -> None:
    store = await open_sqlite(path, clock=clock)
    await store.close()
    content = bytearray(path.read_bytes())
    content[100:8000] = os.urandom(7900)
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match="damaged"):
        await open_sqlite(path, clock=clock)


async def test_damage_inside_is_found_by_the_check(path: Path, clock: ManualClock) -> None:
    store = await open_sqlite(path, clock=clock)
    await add_jobs(store, *(make_job(f"web/job-{number}") for number in range(500)))
    await store.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 8192 * 8192
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    store = await open_sqlite(path, clock=clock)
    try:
        found = await store.leases.check()
    except StoreUnusable:
        found = ["damaged beyond a list"]
    assert found
    await store.close()


async def test_an_empty_file_becomes_a_database(path: Path, clock: ManualClock) -> None:
    path.touch()
    store = await open_sqlite(path, clock=clock)
    await add_jobs(store, make_job())
    await store.close()
    assert path.stat().st_size > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
async def test_a_file_that_may_not_be_written_is_said(path: Path, clock: ManualClock) -> None:
    await (await open_sqlite(path, clock=clock)).close()
    path.chmod(0o400)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await open_sqlite(path, clock=clock)


# ── opening again ────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_written_is_there_after_a_restart(path: Path, clock: ManualClock) -> None:
    store = await open_sqlite(path, clock=clock)
    job = make_job()
    await add_jobs(store, job)
    await store.runs.create([make_run(job)])
    await store.close()
    store = await open_sqlite(path, clock=clock)
    assert await store.jobs.by_id([job.id]) == {job.id: job}
    assert await store.runs.unfinished([job.id]) == [make_run(job)]
    await store.close()


async def test_closing_folds_the_log_into_the_file(path: Path, clock: ManualClock) -> None:
    store = await open_sqlite(path, clock=clock)
    await add_jobs(store, make_job())
    await store.close()
    await store.close()
    assert [file.name for file in path.parent.iterdir()] == ["rota.db"]


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.leases.remember("a", "b")
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.jobs.by_source(None)


async def test_closing_waits_for_what_was_accepted(path: Path, clock: ManualClock) -> None:
    store = await open_sqlite(path, clock=clock)
    writes = [asyncio.ensure_future(store.leases.remember(f"k{number}", "v")) for number in range(300)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    store = await open_sqlite(path, clock=clock)
    assert await store.leases.fact("k299") == "v"
    await store.close()


async def test_no_thread_is_left(path: Path, clock: ManualClock) -> None:
    before = set(threading.enumerate())
    store = await open_sqlite(path, clock=clock)
    started = set(threading.enumerate()) - before
    assert {thread.name for thread in started} == {"rota-store-reader", "rota-store-writer"}
    await store.close()
    for thread in started:
        await asyncio.to_thread(thread.join, 30)
    assert not any(thread.is_alive() for thread in started)


def test_the_process_may_end_without_closing(path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom rota.clock import SystemClock\n"
        "from rota.stores.sqlite import open_sqlite\n"
        "async def main():\n"
        "    store = await open_sqlite(Path(sys.argv[1]), clock=SystemClock())\n"
        "    await store.leases.remember('a', 'b')\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=30)


# ── group commit ─────────────────────────────────────────────────────────────────────────────────────────


async def test_verbs_that_wait_share_a_commit(path: Path) -> None:
    connection = open_writer(path)
    connection.execute("CREATE TABLE notes (text TEXT)")
    commits: list[str] = []
    connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    database = ThreadedDatabase(connection, path)
    gate = threading.Event()
    first = asyncio.ensure_future(database.write(lambda _: gate.wait(30)))
    rest = [
        asyncio.ensure_future(database.write(lambda c: c.execute("INSERT INTO notes VALUES ('x')").rowcount))
        for _ in range(600)
    ]
    await asyncio.sleep(0)
    gate.set()
    assert await first
    assert await asyncio.gather(*rest) == [1] * 600
    assert len(commits) < 600 / 10
    assert len(commits) >= 600 // GROUP_VERBS
    await database.close()


async def test_a_verb_that_fails_undoes_itself_alone(file_store: Store) -> None:
    job = make_job()
    verbs: list[Any] = []
    for number in range(50):
        verbs.append(file_store.leases.remember(f"good{number}", "v"))
        bad = replace(make_job(f"web/bad{number}"), version=7)
        verbs.append(
            file_store.jobs.apply([JobWrite(job=job, expected_version=5), JobWrite(job=bad, expected_version=0)], [])
        )
        verbs.append(file_store.runs.create([make_run(make_job(f"web/nobody{number}"))]))
    answers = await asyncio.gather(*verbs, return_exceptions=True)
    assert {type(answer) for answer in answers[0::3]} == {type(None)}
    assert {type(answer) for answer in answers[1::3]} == {Conflict}
    assert {type(answer) for answer in answers[2::3]} == {Invalid}
    assert await file_store.jobs.by_source(None) == []
    assert await file_store.leases.fact("good49") == "v"


async def test_a_mistake_in_a_verb_reaches_its_caller_only(path: Path) -> None:
    connection = open_writer(path)
    connection.execute("CREATE TABLE notes (text TEXT UNIQUE)")
    database = ThreadedDatabase(connection, path)

    def mistaken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes VALUES ('mistaken')")
        raise KeyError("mistake")

    good, bad = await asyncio.gather(
        database.write(lambda c: c.execute("INSERT INTO notes VALUES ('good')").rowcount),
        database.write(mistaken),
        return_exceptions=True,
    )
    assert (good, type(bad)) == (1, KeyError)
    with pytest.raises(KeyError):
        await database.read(lambda _: {}["nothing"])
    assert await database.read(lambda c: c.execute("SELECT text FROM notes").fetchall()) == [("good",)]
    await database.close()


async def test_a_caller_that_gives_up_disturbs_nobody(file_store: Store) -> None:
    verbs = [asyncio.ensure_future(file_store.leases.remember(f"k{number}", "v")) for number in range(100)]
    await asyncio.sleep(0)
    for verb in verbs[::2]:
        verb.cancel()
    answers = await asyncio.gather(*verbs, return_exceptions=True)
    assert {type(answer) for answer in answers[1::2]} == {type(None)}
    assert await file_store.leases.fact("k99") == "v"


async def test_reads_see_one_state(path: Path) -> None:
    connection = open_writer(path)
    connection.execute("CREATE TABLE notes (text TEXT)")
    database = ThreadedDatabase(connection, path)
    reading, written = threading.Event(), threading.Event()

    def twice(connection: sqlite3.Connection) -> tuple[int, int]:
        before = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
        reading.set()
        written.wait(30)
        return before, connection.execute("SELECT count(*) FROM notes").fetchone()[0]

    counts = asyncio.ensure_future(database.read(twice))
    await asyncio.to_thread(reading.wait, 30)
    await database.write(lambda c: c.execute("INSERT INTO notes VALUES ('x')"))
    written.set()
    assert await counts == (0, 0)
    assert await database.read(lambda c: c.execute("SELECT count(*) FROM notes").fetchone()[0]) == 1
    await database.close()


# ── trouble under way ────────────────────────────────────────────────────────────────────────────────────


async def test_a_full_disk_is_said_and_work_goes_on_when_there_is_room(path: Path, clock: ManualClock) -> None:
    await (await open_sqlite(path, clock=clock)).close()
    connection = open_writer(path)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    database = ThreadedDatabase(connection, path)

    def write(text: str) -> Any:
        row = (text, "x" * 50_000)
        return database.write(lambda c: c.execute("INSERT INTO facts VALUES (?, ?)", row).rowcount)

    with pytest.raises(StoreUnavailable, match="full") as caught:
        await write("big")
    assert caught.value.retryable
    answers = await asyncio.gather(*(write(f"k{number}") for number in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert await database.read(lambda c: c.execute("SELECT key FROM facts WHERE value LIKE 'x%'").fetchall()) == []
    await database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1000}"))
    assert await write("fits") == 1
    await database.close()


async def test_a_file_locked_by_another_program_is_said(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rota.stores.sqlite.connection.BUSY_SECONDS", 0.05)
    store = await open_sqlite(path, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.leases.remember("a", "b")
    assert await store.leases.fact("a") is None  # reading goes on
    clock.advance(minutes=1)
    assert await store.leases.now() == after(60)  # so does time
    other.execute("ROLLBACK")
    await store.leases.remember("a", "b")
    assert await store.leases.fact("a") == "b"
    other.close()
    await store.close()


async def test_the_reader_cannot_write(file_store: Store, path: Path) -> None:
    await add_jobs(file_store, make_job())
    reader = open_reader(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM jobs")
    reader.close()


async def test_a_search_without_end_is_stopped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.stores.sqlite.connection.SEARCH_SECONDS", 0.05)
    connection = open_writer(path)
    connection.execute("CREATE TABLE notes (text TEXT)")
    database = ThreadedDatabase(connection, path)
    endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(TooLarge):
        await database.read(lambda c: c.execute(endless).fetchall())
    assert await database.read(lambda c: c.execute("SELECT 1").fetchone()) == (1,)
    await database.close()


# ── the cost of questions ────────────────────────────────────────────────────────────────────────────────


def plan_of(path: Path, sql: str, parameters: list[Any]) -> str:
    connection = sqlite3.connect(path)
    connection.create_function("contains", 2, lambda *_: True)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    connection.close()
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("file", "name", "index"),
    [
        ("runs", "waiting_of_kind", "runs_hot_waiting"),
        ("runs", "next_ready", "runs_hot_waiting"),
        ("runs", "queued_kinds", "runs_hot_waiting"),
        ("runs", "holders", "runs_hot_released"),
        ("runs", "unfinished", "runs_hot_job"),
        ("runs", "held_by", "runs_hot_held"),
        ("runs", "held", "runs_hot_held"),
        ("runs", "late", "runs_hot_late"),
        ("runs", "next_late", "runs_hot_late"),
        ("runs", "finished_before", "runs_history_finished"),
        ("jobs", "due_between", "jobs_due"),
        ("jobs", "next_due", "jobs_due"),
        ("jobs", "by_source", "jobs_by_source"),
        ("jobs", "at_start", "jobs_at_start"),
        ("alerts", "pending", "notices_pending"),
        ("alerts", "next_try", "notices_pending"),
        ("writes", "runs_by_key", "runs_history_key"),
        ("views", "namespaces", "jobs_by_namespace"),
    ],
)
def test_questions_of_the_loops_use_their_index(path: Path, file: str, name: str, index: str) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    connection.close()
    sql = load(f"{file}.sql")[name]
    count = max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=0)
    plan = plan_of(path, sql, [1] * count)
    assert index in plan
    assert not re.search(r"SCAN (runs|jobs|past|hot|job)\w*$", plan, re.MULTILINE), plan


def test_waiting_runs_are_read_in_order_of_their_index(path: Path) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    connection.close()
    plan = plan_of(path, load("runs.sql")["waiting_of_kind"], ["http", 0, 1, 10])
    assert "INDEX runs_hot_waiting (kind=? AND ready_at>? AND ready_at<?)" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(since=LONG_AGO), "runs_history_due"),
        (RunQuery(since=LONG_AGO, jobs=("web/fetch",)), "runs_history_job"),
        (RunQuery(since=LONG_AGO, states=(RunState.FAILED,)), "runs_history_trouble"),
        (RunQuery(since=LONG_AGO, jobs=("web/fetch",), states=(RunState.FAILED,)), "runs_history_job_trouble"),
        (RunQuery(since=LONG_AGO, text="timeout"), "runs_history_due"),
    ],
)
def test_pages_of_runs_are_read_in_order_of_an_index(path: Path, query: RunQuery, index: str) -> None:
    connection = open_writer(path)
    migrate(connection, "here")
    connection.close()
    plan = plan_of(path, *run_conditions(query).of(VIEWS["past_newest_first"], 50))
    assert f"INDEX {index} " in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan  # at most runs of the same moment are sorted


async def test_a_copy_of_the_closed_file_is_a_backup(path: Path, clock: ManualClock) -> None:
    store = await open_sqlite(path, clock=clock)
    job = make_job()
    await add_jobs(store, job)
    await store.close()
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    store = await open_sqlite(copy, clock=clock)
    assert await store.jobs.by_source(None) == [job]
    assert await store.leases.check() == []
    await store.close()
