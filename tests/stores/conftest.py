"""The stores every test of the contract runs on."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from store_values import NOON, PassTime
from tests.postgres.cluster import binaries
from tests.postgres.clusters import FOR_TESTS, Clusters, pass_time_on

from rota.clock import ManualClock
from rota.store.bundle import Store
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

SQLITE = ("sqlite-file", "sqlite-memory", "sqlite-inline")
POSTGRES = tuple(binaries())


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
            await pass_time_on(database, seconds)

    return pass_seconds
