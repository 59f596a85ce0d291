"""The stores every test of the contract runs on."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from store_values import NOON, PassTime
from tests.postgres.cluster import binaries
from tests.postgres.clusters import FOR_TESTS, Clusters

from rota.clock import ManualClock
from rota.store.bundle import Store
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

SQLITE = ("sqlite-file", "sqlite-memory", "sqlite-inline")
POSTGRES = tuple(binaries())

# The store's clock with a hand on it: the seam is the one function that all verbs ask.
MOVABLE_CLOCK = """
CREATE TABLE IF NOT EXISTS rota.moved (micros bigint NOT NULL);
CREATE OR REPLACE FUNCTION rota.rota_now() RETURNS bigint LANGUAGE sql VOLATILE AS
'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    + coalesce((SELECT sum(micros)::bigint FROM rota.moved), 0)'
"""


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at noon, for stores that follow their process."""
    return ManualClock(NOON)


@pytest.fixture(params=[*SQLITE, *POSTGRES])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store."""
    found: str = request.param
    return found


@pytest.fixture
def database(kind: str, clusters: Clusters) -> Iterator[str | None]:
    """The URL of a fresh database with the schema; None where there is none."""
    if kind not in POSTGRES:
        yield None
        return
    with clusters.database(kind) as url:
        yield url


@pytest.fixture
async def store(kind: str, database: str | None, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """An empty store."""
    if database is not None:
        opened = await open_postgres(database, FOR_TESTS)
    else:
        path = tmp_path / "rota.db" if kind == "sqlite-file" else None
        opened = await open_sqlite(path, clock=clock, inline=kind == "sqlite-inline")
    yield opened
    await opened.close()


@pytest.fixture
def pass_time(database: str | None, clock: ManualClock) -> PassTime:
    """Lets time pass on the store's clock."""

    async def pass_seconds(seconds: float) -> None:
        clock.advance(seconds=seconds)
        if database is not None:
            connection = await asyncpg.connect(database)
            await connection.execute(MOVABLE_CLOCK)
            await connection.execute("INSERT INTO rota.moved VALUES ($1)", round(seconds * 1_000_000))
            await connection.close()

    return pass_seconds
