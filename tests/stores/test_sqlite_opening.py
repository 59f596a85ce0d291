"""The SQLite file: what is refused at start, group commit, and what a full, locked or read-only disk means."""

import asyncio
import os
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
from store_values import NOON, add_jobs, after, make_job, make_run

from rota.clock import ManualClock
from rota.core.errors import Conflict, Invalid, StoreUnavailable, StoreUnusable, TooLarge
from rota.store.bundle import Store
from rota.store.jobs import JobWrite
from rota.stores.sqlite import open_sqlite
from rota.stores.sqlite.connection import open_reader, open_writer
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


async def test_a_new_file_is_its_owners_alone_and_so_is_what_lies_beside_it(path: Path, clock: ManualClock) -> None:
    before = os.umask(0)
    try:
        store = await open_sqlite(path, clock=clock)
        files = sorted(path.parent.iterdir())
        assert [one.name for one in files] == ["rota.db", "rota.db-shm", "rota.db-wal"]
        assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
        await store.close()
    finally:
        os.umask(before)


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


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    """Under WAL anything less than FULL forgets what was acknowledged when the power fails."""
    connection = open_writer(path)
    settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    connection.close()
    assert settings == ["wal", 2]


class HeldCommit:
    """A connection whose commits wait until they are let go."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.reached, self.go = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql == "COMMIT":
            self.reached.set()
            self.go.wait(10)
        return self._connection.execute(sql, *parameters)


async def test_nobody_is_told_before_the_commit(path: Path) -> None:
    connection: Any = HeldCommit(open_writer(path))
    database = ThreadedDatabase(connection, path)
    writing = asyncio.ensure_future(database.write(lambda held: held.execute("CREATE TABLE one (x)")))
    await asyncio.to_thread(connection.reached.wait, 10)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not writing.done()
    connection.go.set()
    await writing
    await database.close()


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
    long = endless.replace("FROM n)", "FROM n WHERE x < 2000000)")
    with pytest.raises(TooLarge):
        await database.read(lambda c: c.execute(long).fetchone())
    assert await database.read(lambda c: c.execute(long).fetchone(), patient=True) == (2000000,)
    await database.close()


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
