"""What tests of every package may ask for."""

from collections.abc import Iterator

import pytest
from tests.postgres.clusters import Clusters


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    """PostgreSQL, started when a test first asks for it: `clusters.database()` gives a fresh database's URL."""
    running = Clusters()
    yield running
    running.close()
