"""One installation per test, in memory."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from api_installation import Installation, open_installation


@pytest.fixture
async def rota() -> AsyncIterator[Installation]:
    """An installation without jobs."""
    async with open_installation() as installation:
        yield installation
