"""A life for each test, over a database of its own."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom

import pytest
from tests.chaos.life import Life
from tests.postgres.clusters import Clusters

Begin = Callable[..., Life]


@pytest.fixture
def seed() -> int:
    """Printed with every failure; ROTA_SEED repeats it."""
    seed = int(os.environ.get("ROTA_SEED", SystemRandom().randrange(2**32)))
    print(f"seed {seed}: repeat with ROTA_SEED={seed}")
    return seed


@pytest.fixture
def begin(clusters: Clusters, tmp_path: Path, seed: int) -> Iterator[Begin]:
    """Starts servers and workers over a fresh database; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **sizes: stack.enter_context(
            Life(tmp_path, stack.enter_context(clusters.database()), seed, **sizes)
        )
