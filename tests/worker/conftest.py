"""A worker in this process, joined by a memory channel to a server that the test plays."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.worker.fake_server import FakeServer

from rota.worker.settings import WorkerSettings


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        name="w1",
        state=tmp_path / "state",
        capacity={"python": 2, "shell": 8, "http": 50},
        private_networks_allowed=True,
    )


@pytest.fixture
async def server(settings: WorkerSettings) -> AsyncIterator[FakeServer]:
    fake = FakeServer(settings)
    try:
        await fake.until(lambda: fake.hello)
        yield fake
    finally:
        await fake.close()
