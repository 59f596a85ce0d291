"""The SQLite schema: migrations, columns, constraints, and the indexes that the questions of loops and people use."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store_values import LONG_AGO, add_jobs, make_job, make_run

from rota.core.errors import StoreUnavailable, StoreUnusable
from rota.core.model import RunState, Trigger
from rota.store.bundle import Store
from rota.store.views import RunQuery
from rota.stores.filters import run_conditions
from rota.stores.job_rows import JOB_COLUMNS
from rota.stores.migrations import Migration
from rota.stores.rows import RUN_COLUMNS
from rota.stores.sqlite.connection import open_writer
from rota.stores.sqlite.dialect import SQLITE
from rota.stores.sqlite.migrate import known_migrations, migrate
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.views import SQL as VIEWS

FILES = ("access", "alerts", "jobs", "leases", "output", "runs", "sessions", "views", "writes")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An empty database with our schema."""
    opened = open_writer(tmp_path / "rota.db")
    migrate(opened, "here")
    yield opened
    opened.close()


def columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in connection.execute("SELECT * FROM pragma_table_info(?)", (table,)))


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_in_the_order_of_the_tables(connection: sqlite3.Connection) -> None:
    assert columns(connection, "runs_hot") == columns(connection, "runs_history") == RUN_COLUMNS
    assert columns(connection, "jobs") == JOB_COLUMNS


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    lax = connection.execute("SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE 'sqlite_%'")
    assert lax.fetchall() == []


def test_every_statement_compiles(connection: sqlite3.Connection) -> None:
    for file in FILES:
        for name, sql in load(f"{file}.sql").items():
            count = max([sql.count("?")] + [int(number) for number in re.findall(r"\?(\d+)", sql)])
            numbered = re.search(r"\?\d", sql)
            highest = max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=0)
            parameters = [None] * (highest if numbered else count)
            connection.execute(f"EXPLAIN {sql}", parameters).fetchall()
            assert name


@pytest.mark.parametrize("state", list(RunState))
def test_the_tables_know_which_states_are_final(connection: sqlite3.Connection, state: RunState) -> None:
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


@pytest.mark.parametrize("trigger", list(Trigger))
async def test_the_tables_know_every_trigger(store: Store, trigger: Trigger) -> None:
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job, trigger=trigger)
    assert await store.runs.create([run]) == [run]


def test_migrations_are_numbered_without_holes() -> None:
    steps = known_migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(1 <= step.oldest_server <= step.number for step in steps)


def test_a_database_is_migrated_once(tmp_path: Path) -> None:
    new = open_writer(tmp_path / "new.db")
    assert migrate(new, "here") == len(known_migrations())
    assert migrate(new, "here") == 0
    new.close()


def test_a_database_that_can_only_be_read_is_refused(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="read-only"):
        migrate(connection, "here")
    assert not connection.in_transaction


def test_a_later_step_is_added_to_an_older_database(connection: sqlite3.Connection) -> None:
    steps = known_migrations()
    migrate(connection, "here", steps)
    later = Migration(steps[-1].number + 1, "more", 1, "CREATE TABLE more (id TEXT) STRICT;")
    assert migrate(connection, "here", [*steps, later]) == 1
    assert columns(connection, "more") == ("id",)
    assert migrate(connection, "here", steps) == 0  # an older server goes on working beside it


def test_a_step_that_fails_leaves_nothing(connection: sqlite3.Connection) -> None:
    steps = known_migrations()
    migrate(connection, "here", steps)
    broken = Migration(steps[-1].number + 1, "broken", 1, "CREATE TABLE half (id TEXT) STRICT;\nCREATE TABLE jobs (x);")
    with pytest.raises(StoreUnusable):
        migrate(connection, "here", [*steps, broken])
    assert columns(connection, "half") == ()
    assert migrate(connection, "here", steps) == 0


def test_a_database_that_needs_a_newer_server_is_refused_untouched(connection: sqlite3.Connection) -> None:
    steps = known_migrations()
    number = steps[-1].number + 1
    migrate(connection, "here", [*steps, Migration(number, "rename", number, "DROP TABLE conditions;")])
    with pytest.raises(StoreUnusable, match=f"needs schema {number}, this one knows {number - 1}") as caught:
        migrate(connection, "/data/rota.db", steps)
    assert "/data/rota.db" in str(caught.value)
    assert caught.value.hint is not None


# ── the cost of questions ────────────────────────────────────────────────────────────────────────────────


def plan_of(connection: sqlite3.Connection, sql: str, parameters: list[Any]) -> str:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("file", "name", "index"),
    [
        ("runs", "waiting_of_kind", "runs_hot_waiting"),
        ("runs", "next_ready", "runs_hot_waiting"),
        ("runs", "queued_kinds", "runs_hot_waiting"),
        ("runs", "holders", "runs_hot_released"),
        ("runs", "unfinished", "runs_hot_job"),
        ("held", "by_worker", "runs_hot_held"),
        ("held", "all", "runs_hot_held"),
        ("held", "starting", "runs_hot_starting"),
        ("held", "asked", "runs_hot_asked"),
        ("sessions", "orphans", "workers_open"),
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
def test_questions_of_the_loops_use_their_index(
    connection: sqlite3.Connection, file: str, name: str, index: str
) -> None:
    sql = load(f"{file}.sql")[name]
    count = max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=0)
    plan = plan_of(connection, sql, [1] * count)
    assert index in plan
    assert not re.search(r"SCAN (runs|jobs|past|hot|job)\w*$", plan, re.MULTILINE), plan


def test_waiting_runs_are_read_in_order_of_their_index(connection: sqlite3.Connection) -> None:
    plan = plan_of(connection, load("runs.sql")["waiting_of_kind"], ["http", 0, 1, 10])
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
def test_pages_of_runs_are_read_in_order_of_an_index(
    connection: sqlite3.Connection, query: RunQuery, index: str
) -> None:
    plan = plan_of(connection, *run_conditions(query, SQLITE).of(VIEWS["past_newest_first"], 50))
    assert f"INDEX {index} " in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan  # at most runs of the same moment are sorted
