"""A thousand workers that only beat: what they cost one server and its database.

The workers are real agents over real sockets, without anything that runs attempts, all in one process of their own.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.cluster import cluster
from bench.installation import cpu_seconds
from rota.clock import FollowingClock
from rota.worker.agent import Agent
from rota.worker.dialer import Dialer, DialSettings
from rota.worker.executor import Executor
from rota.worker.settings import WorkerSettings

WORKERS: Final = 1_000
SMOKE_WORKERS: Final = 10
SECONDS: Final = 30.0


class NoAttempts:
    """Runs nothing."""

    of: dict[str, Executor] = {}

    def live_until(self, moment: float) -> None:
        """There is nothing to end."""

    async def close(self) -> None:
        """There is nothing to close."""


async def beat(url: str, join_token: str, folder: Path, workers: int) -> None:
    """Connect so many workers and keep them until this process is ended."""

    async def make(*_: Any) -> NoAttempts:
        return NoAttempts()

    async def one(number: int) -> None:
        name = f"beat-{number}"
        state = folder / name
        clock = FollowingClock()
        state.mkdir(mode=0o700)
        dialing = DialSettings(servers=(url,), name=name, state=state, join_token=join_token)
        async with Dialer(dialing, version="bench") as dialer:
            agent = Agent(WorkerSettings(name=name, state=state, capacity={}), clock, dialer.dial, make=make)
            agent.follow = clock.follow
            await agent.run()

    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(one(number))
            await asyncio.sleep(0.01)


async def _writes(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        return int(
            await connection.fetchval(
                "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables"
            )
        )
    finally:
        await connection.close()


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    workers, seconds = (SMOKE_WORKERS, 3.0) if smoke else (WORKERS, SECONDS)
    with cluster(servers=1, workers=0) as rota:
        url = f"http://127.0.0.1:{rota.ports[0]}"
        arguments = [url, rota.join_token(uses=1000), str(rota.folder), str(workers)]
        agents = subprocess.Popen([sys.executable, "-m", "bench.heartbeats", *arguments])
        try:
            rota.until_up(workers, seconds=180.0)
            time.sleep(3.0)
            server = [one.pid for one in rota.servers.values()]
            written, cpu, begin = asyncio.run(_writes(rota.database)), cpu_seconds(server), time.perf_counter()
            time.sleep(seconds)
            took, cpu = time.perf_counter() - begin, cpu_seconds(server) - cpu
            time.sleep(1.5)  # the database's own figures come a second late
            written = asyncio.run(_writes(rota.database)) - written
        finally:
            agents.kill()
            agents.wait()
    return {
        "heartbeat_rows_per_s": {
            "value": round(written / took, 1),
            "unit": "rows/s",
            "better": "lower",
            "note": f"rows written in the database for {workers} idle workers and one idle server",
        },
        "heartbeat_cpu": {
            "value": round(100 * cpu / took, 1),
            "unit": "% of a core",
            "better": "lower",
            "note": f"the server of {workers} idle workers",
        },
    }


if __name__ == "__main__":
    server_url, token, state_folder, count = sys.argv[1:]
    asyncio.run(beat(server_url, token, Path(state_folder), int(count)))
