"""Life cycles of runs a second through the store's contract, on a file, as the server uses it."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.store import cycles, make_jobs, prepare
from rota.clock import SystemClock
from rota.stores.sqlite import open_sqlite

RUNS: Final = 20_000
SMOKE_RUNS: Final = 400
JOBS: Final = 1_000
BATCH: Final = 200


async def _seconds(path: Path, runs: int) -> float:
    store = await open_sqlite(path, clock=SystemClock())
    try:
        jobs = make_jobs(JOBS)
        await prepare(store, jobs)
        figures = await cycles(store, jobs, runs, BATCH, reads=False)
    finally:
        await store.close()
    return sum(figures.seconds.values())


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figure of this workload."""
    runs = SMOKE_RUNS if smoke else RUNS
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
        seconds = asyncio.run(_seconds(Path(folder) / "rota.db", runs))
    return {
        "store_cycles_per_s": {
            "value": round(runs / seconds, 1),
            "unit": "runs/s",
            "better": "higher",
            "note": f"create, assign, record in batches of {BATCH}, SQLite on a file",
        }
    }
