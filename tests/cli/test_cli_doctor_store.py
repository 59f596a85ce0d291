"""`rota doctor --database`: a look straight at a store, which changes nothing in it that is not asked for."""

import asyncio
import socket
import sqlite3
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from tests.cli.command import Command
from tests.core.builders import NOON
from tests.postgres.cluster import Cluster
from tests.postgres.clusters import FOR_TESTS, Clusters

from rota.clock import SystemClock
from rota.core.model import Server
from rota.server.folder import DataFolder
from rota.stores.migrations import Migration
from rota.stores.postgres import open_postgres
from rota.stores.postgres.migrate import known_migrations, migrate
from rota.stores.sqlite import open_sqlite


@pytest.fixture
def postgres(clusters: Clusters) -> Cluster:
    return clusters["postgres-18"]


@pytest.fixture
def url(postgres: Cluster, clusters: Clusters) -> Iterator[str]:
    with clusters.database() as made:
        yield made


def items(rota: Command, url: str, expect: int) -> dict[str, tuple[str, str, str]]:
    """What doctor finds, by subject: level, words, hint."""
    found = rota("doctor", "--json", "--database", url, expect=expect).json["items"]
    return {one["subject"]: (one["level"], one["words"], one["hint"]) for one in found}


async def join(url: str, *names: str, lease_seconds: float = 1000.0) -> None:
    """Servers that live and lead half of the shards each."""
    store = await open_postgres(url, FOR_TESTS)
    for place, name in enumerate(names):
        row = Server(id=name, name=name, url="", version="1.2.3", started=NOON, renewed=NOON, lease_until=NOON)
        await store.leases.join(row, lease_seconds)
        await store.leases.take(name, dict.fromkeys(range(place, store.shards, len(names)), 0))
    await store.close()


async def on(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_a_cluster_in_order(rota: Command, url: str) -> None:
    asyncio.run(join(url, "a", "b"))
    found = items(rota, url, 0)
    assert found["database"][0] == "ok"
    assert f"schema {known_migrations()[-1].number}" in found["database"][1]
    assert found["servers"][:2] == ("ok", "a 1.2.3 (32 shards), b 1.2.3 (32 shards)")
    assert found["clock"][0] == "ok"


def test_nobody_at_work_and_rows_that_miss_what_they_belong_to(rota: Command, url: str) -> None:
    assert items(rota, url, 40)["servers"][:2] == ("problem", "no server is at work on it")
    asyncio.run(on(url, "DELETE FROM rota.shards WHERE shard = 7"))
    found = rota("doctor", "--database", url, expect=40)
    assert "shard" in found.out
    assert found.out.count("✕ database") == 1


def test_a_database_that_is_not_prepared_stays_so(rota: Command, postgres: Cluster) -> None:
    empty = postgres.create()
    assert items(rota, empty, 40)["database"][0] == "problem"
    assert asyncio.run(on(empty, "SELECT to_regnamespace('rota')")) is None


def test_an_older_schema_is_not_brought_up_to_date(rota: Command, postgres: Cluster) -> None:
    older = postgres.create()
    steps = known_migrations()

    async def prepare() -> None:
        connection = await asyncpg.connect(older, server_settings={"search_path": "rota"})
        await migrate(connection, "here", steps[:-1])
        await connection.close()

    asyncio.run(prepare())
    level, words, _ = items(rota, older, 0)["database"]
    assert level == "warning"
    assert f"has schema {steps[-2].number}; the next server to start makes it {steps[-1].number}" in words
    count = "SELECT max(number) FROM rota.migrations"
    assert asyncio.run(on(older, count)) == steps[-2].number
    asyncio.run(join(older, "a"))
    assert asyncio.run(on(older, count)) == steps[-1].number


def test_a_schema_that_needs_a_newer_rota(rota: Command, postgres: Cluster, clusters: Clusters) -> None:
    with clusters.database() as newer:
        number = known_migrations()[-1].number + 1

        async def raise_schema() -> None:
            connection = await asyncpg.connect(newer, server_settings={"search_path": "rota"})
            await migrate(connection, "here", [*known_migrations(), Migration(number, "new", number, "SELECT 1;")])
            await connection.close()

        asyncio.run(raise_schema())
        level, words, hint = items(rota, newer, 40)["database"]
        assert (level, hint) == ("problem", "install the newer Rota here")
        assert f"has schema {number}, this Rota knows {number - 1}" in words
        refused = rota("server", "--database", newer, "--port", "0", expect=2)
        assert f"it needs schema {number}, this one knows {number - 1}" in refused.err
        assert "install the newer version again" in refused.err


def test_a_role_that_may_only_read_is_refused_with_what_to_do(rota: Command, postgres: Cluster, url: str) -> None:
    name = url.rpartition("/")[2]
    for right in (
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA rota TO reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA rota TO reader",
    ):
        asyncio.run(on(url, right))
    try:
        started = rota("server", "--database", postgres.url(name, "reader"), "--port", "0", expect=None)
        assert started.code != 0
        assert "permission denied" in started.err
        assert "Traceback" not in started.err
    finally:
        for right in ("DROP OWNED BY reader", "DROP ROLE reader"):
            asyncio.run(on(url, right))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["server", "--port", "0"], 6), (["token", "create"], 6), (["doctor"], 40), (["doctor", "--restored"], 6)],
)
def test_of_a_database_that_does_not_answer_nobody_says_that_work_goes_on(
    rota: Command, arguments: list[str], code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"postgresql://rota@127.0.0.1:{listening.getsockname()[1]}/rota"
    done = rota(*arguments, "--database", nobody, expect=code)
    assert "the database cannot be reached" in done.out + done.err
    assert "= look at its address and at the database, then try again" in done.out + done.err
    assert "by itself" not in done.out + done.err


def test_a_table_without_a_column_is_said_and_nothing_is_migrated(rota: Command, url: str) -> None:
    asyncio.run(on(url, "ALTER TABLE rota.servers DROP COLUMN url CASCADE"))
    started = rota("server", "--database", url, "--port", "0", expect=None)
    assert started.code != 0
    assert "url" in started.err
    assert "Traceback" not in started.err


def test_files(rota: Command) -> None:
    assert items(rota, "sqlite:///none/rota.db", 40)["database"][1] == "there is no file none/rota.db"
    folder = rota.folder / "data"
    folder.mkdir(mode=0o700)

    async def make() -> None:
        await (await open_sqlite(folder / "rota.db", clock=SystemClock())).close()

    asyncio.run(make())
    assert items(rota, "sqlite:///data/rota.db", 0)["database"][0] == "ok"
    with DataFolder(folder):
        level, words, _ = items(rota, "sqlite:///data/rota.db", 0)["database"]
        assert level == "warning"
        assert "already in use by process" in words
    (rota.folder / "other.db").write_bytes(b"x" * 5000)
    assert items(rota, "sqlite:///other.db", 40)["database"][0] == "problem"
    with sqlite3.connect(rota.folder / "foreign.db") as other:
        other.execute("CREATE TABLE a (b)")
    assert "another program" in items(rota, "sqlite:///foreign.db", 40)["database"][1]


def test_a_restore_is_said_and_accepted_without_a_server(rota: Command, url: str) -> None:
    assert rota("doctor", "--restored", expect=2).err.startswith("error")
    assert rota("doctor", "--restored", "--database", url).out == "at-most-once jobs are held\n"
    found = items(rota, url, 40)
    assert "says that the database was restored" in found["condition"][1]
    assert "at-most-once jobs go on" in rota("doctor", "--accept-restore", "--database", url).out
    assert "condition" not in items(rota, url, 40)
    assert rota("doctor", "--accept-restore", "--database", url, "--json").json == {"was_held": False}


def test_a_restore_is_not_said_while_servers_are_at_work(rota: Command, url: str) -> None:
    asyncio.run(join(url, "a", "b"))
    refused = rota("doctor", "--restored", "--database", url, expect=5)
    assert refused.out == ""
    assert refused.err.startswith("error[CONFLICT]: servers are at work on it: a, b; nothing was changed\n  = stop all")
    assert "condition" not in items(rota, url, 0)


@pytest.mark.parametrize("flag", ["--restored", "--accept-restore"])
def test_what_is_no_store_becomes_none_by_a_restore(rota: Command, postgres: Cluster, flag: str) -> None:
    assert "there is no file" in rota("doctor", flag, "--database", "sqlite:///none/rota.db", expect=3).err
    assert not (rota.folder / "none").exists()
    empty = postgres.create()
    assert "holds nothing" in rota("doctor", flag, "--database", empty, expect=3).err
    assert asyncio.run(on(empty, "SELECT to_regnamespace('rota')")) is None


def test_a_lease_that_came_with_the_backup_is_waited_for(rota: Command, url: str) -> None:
    asyncio.run(join(url, "a", lease_seconds=0.5))
    assert rota("doctor", "--restored", "--database", url).out == "at-most-once jobs are held\n"
