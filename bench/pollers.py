"""Why workers lock no rows: the same work by N polling workers with SKIP LOCKED, and by servers that assign in batches.

Each poller is a worker as such queues have it: a connection of its own, one row claimed by an update of the first free
one (`FOR UPDATE SKIP LOCKED`), one more update at its end, and a look each 200 ms while there is nothing. Ours is what
two servers do with the same database, in the same rows and batches as in life (`bench.store`). No job does anything.
"""

import asyncio
import time
from typing import Any, Final, NamedTuple

import asyncpg
from tests.postgres.cluster import Cluster, binaries

from bench.cluster import GIVEN
from bench.installation import cpu_seconds
from bench.store import cycles, make_jobs, prepare
from rota.stores.postgres import open_postgres

POLLERS: Final = (8, 64, 256)
RUNS: Final = 10_000
SMOKE_RUNS: Final = 200
IDLE_SECONDS: Final = 5.0
POLL: Final = 0.2
_TABLE: Final = """
CREATE TABLE queue (id bigint PRIMARY KEY, due timestamptz NOT NULL, state text NOT NULL, worker text, payload text);
CREATE INDEX queue_free ON queue (due, id) WHERE state = 'queued';
"""
_FILL: Final = (
    "INSERT INTO queue SELECT n, now(), 'queued', NULL, repeat('x', 200) FROM generate_series(1, $1::int) AS n"
)
_CLAIM: Final = """
UPDATE queue SET state = 'running', worker = $1 WHERE id = (
    SELECT id FROM queue WHERE state = 'queued' AND due <= now() ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id
"""
_END: Final = "UPDATE queue SET state = 'succeeded' WHERE id = $1"


class Measured(NamedTuple):
    """What one way cost: runs a second, CPU of the database for a run, and while there is nothing to do."""

    per_second: float
    cpu_ms: float
    idle_percent: float


class Work:
    """What is left to do."""

    def __init__(self, runs: int) -> None:
        self._left = runs
        self.done = asyncio.Event()
        self.stop = asyncio.Event()

    def ended(self) -> None:
        """One run less."""
        self._left -= 1
        if not self._left:
            self.done.set()


async def poll(url: str, name: str, work: Work) -> None:
    """One worker: claim, end, and look again."""
    connection = await asyncpg.connect(url)
    try:
        while not work.stop.is_set():
            claimed = await connection.fetchval(_CLAIM, name)
            if claimed is None:
                await asyncio.sleep(POLL)
                continue
            await connection.execute(_END, claimed)
            work.ended()
    finally:
        await connection.close()


async def by_pollers(cluster: Cluster, workers: int, runs: int) -> Measured:
    """Let so many workers empty a queue, then watch them idle."""
    url, work = cluster.create(), Work(runs)
    connection = await asyncpg.connect(url)
    await connection.execute(_TABLE)
    tasks = [asyncio.create_task(poll(url, f"w{number}", work)) for number in range(workers)]
    await asyncio.sleep(1.0)  # all are connected
    before, begin = cpu_seconds(cluster.pids()), time.perf_counter()
    await connection.execute(_FILL, runs)
    await work.done.wait()
    took, cpu = time.perf_counter() - begin, cpu_seconds(cluster.pids()) - before
    before = cpu_seconds(cluster.pids())
    await asyncio.sleep(IDLE_SECONDS)
    idle = (cpu_seconds(cluster.pids()) - before) / IDLE_SECONDS
    work.stop.set()
    await asyncio.gather(*tasks)
    await connection.close()
    return Measured(runs / took, 1000 * cpu / runs, 100 * idle)


async def by_batches(cluster: Cluster, runs: int) -> Measured:
    """The store's verbs as a server uses them: created, assigned, recorded with counters and history."""
    store = await open_postgres(cluster.create())
    jobs = make_jobs(1_000)
    await prepare(store, jobs)
    before, begin = cpu_seconds(cluster.pids()), time.perf_counter()
    await cycles(store, jobs, runs, 500, reads=True)
    took, cpu = time.perf_counter() - begin, cpu_seconds(cluster.pids()) - before
    before = cpu_seconds(cluster.pids())
    await asyncio.sleep(IDLE_SECONDS)
    idle = (cpu_seconds(cluster.pids()) - before) / IDLE_SECONDS
    await store.close()
    return Measured(runs / took, 1000 * cpu / runs, 100 * idle)


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    runs, pollers = (SMOKE_RUNS, POLLERS[:1]) if smoke else (RUNS, POLLERS)
    figures: dict[str, Any] = {}
    with Cluster(binaries()[GIVEN], {"max_connections": "400"}, on_disk=True) as cluster:
        for workers in pollers:
            found = asyncio.run(by_pollers(cluster, workers, runs))
            figures[f"pollers_{workers}_runs_per_s"] = _figure(found, f"{workers} workers that poll with SKIP LOCKED")
        found = asyncio.run(by_batches(cluster, runs))
        figures["batches_runs_per_s"] = _figure(found, "assigned by a server in batches, counters and history kept")
    return figures


def _figure(found: Measured, what: str) -> dict[str, Any]:
    return {
        "value": round(found.per_second, 1),
        "unit": "runs/s",
        "better": "higher",
        "database_cpu_ms_per_run": round(found.cpu_ms, 4),
        "database_idle_percent": round(found.idle_percent, 1),
        "note": f"{what}; the database used {found.cpu_ms:.3f} ms of CPU for a run, idle {found.idle_percent:.1f} %",
    }
