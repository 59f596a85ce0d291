"""The stores every test of the contract runs on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_values import NOON, PassTime

from rota.clock import ManualClock
from rota.store.bundle import Store
from rota.stores.sqlite import open_sqlite


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at noon."""
    return ManualClock(NOON)


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "sqlite-inline"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """An empty store."""
    path = tmp_path / "rota.db" if request.param == "sqlite-file" else None
    opened = await open_sqlite(path, clock=clock, inline=request.param == "sqlite-inline")
    yield opened
    await opened.close()


@pytest.fixture
def pass_time(clock: ManualClock) -> PassTime:
    """Lets time pass on the store's clock."""

    async def pass_seconds(seconds: float) -> None:
        clock.advance(seconds=seconds)

    return pass_seconds
