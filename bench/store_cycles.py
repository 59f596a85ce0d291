"""Life cycles of runs a second through the stores' contract, as a server uses them: on disk, whatever is acknowledged.

SQLite on a file, and each PostgreSQL there is with its own settings, in the same minute on the same machine.
"""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from tests.postgres.cluster import Cluster, binaries

from bench.store import cycles, make_jobs, prepare
from rota.clock import SystemClock
from rota.store.bundle import Store
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

RUNS: Final = 20_000
SMOKE_RUNS: Final = 500
JOBS: Final = 1_000
BATCH: Final = 500


async def _seconds(opening: Callable[[], Coroutine[Any, Any, Store]], runs: int) -> float:
    store = await opening()
    try:
        jobs = make_jobs(JOBS)
        await prepare(store, jobs)
        figures = await cycles(store, jobs, runs, BATCH)
    finally:
        await store.close()
    return sum(figures.seconds.values())


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    runs = SMOKE_RUNS if smoke else RUNS
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
        seconds = asyncio.run(_seconds(lambda: open_sqlite(Path(folder) / "rota.db", clock=SystemClock()), runs))
    figures = {"store_cycles_per_s": _figure(runs / seconds, "SQLite on a file")}
    for name, folder_of_binaries in binaries().items():
        with Cluster(folder_of_binaries, on_disk=True) as cluster:
            url = cluster.create()
            seconds = asyncio.run(_seconds(lambda: open_postgres(url), runs))  # noqa: B023 - run before the next turn
        key = f"store_cycles_{name.replace('-', '_')}_per_s"
        figures[key] = _figure(runs / seconds, f"{name}, its own settings, over loopback")
    return figures


def _figure(rate: float, where: str) -> dict[str, Any]:
    return {
        "value": round(rate, 1),
        "unit": "runs/s",
        "better": "higher",
        "note": f"create, assign, record in batches of {BATCH}, {where}",
    }
