"""W7: how late jobs are when a server is killed, when servers are restarted one by one, and when a worker is lost."""

import contextlib
import os
import signal
import time
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from bench import lateness
from bench.cluster import Cluster, cluster
from bench.installation import below, now

JOBS: Final = 200
WARM: Final = 8.0
WATCHED: Final = 14.0  # seconds after a fault in which starts are looked at
PATIENCE: Final = 60.0


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    jobs = 20 if smoke else JOBS
    with cluster(servers=2, workers=2) as rota:
        spec, path = lateness.install(rota.folder)
        rota.apply({f"bench/each-{index}": {**spec, "schedule": "* * * * * *"} for index in range(jobs)})
        time.sleep(WARM)
        restart = _rolling_restart(rota, path, jobs)
        failover = _kill_server(rota, path, jobs)
        lost = _lose_worker(rota)
    return {
        "w7_rolling_restart": restart.figure(f"{jobs} jobs due every second while both servers are restarted in turn"),
        "w7_server_killed_s": {
            "value": round(failover, 3),
            "unit": "s max",
            "better": "lower",
            "note": f"longest time without a start of one of {jobs} jobs due every second, one of two servers killed",
        },
        "w7_worker_lost_s": {
            "value": round(lost, 3),
            "unit": "s",
            "better": "lower",
            "note": "kill -9 of a worker with its keeper to the retry running on another",
        },
    }


def _rolling_restart(rota: Cluster, path: Any, jobs: int) -> lateness.Lateness:
    """TERM and start each server; returns how late everything was from before the first to after the last."""
    first = _next_second()
    time.sleep(2.0)
    for port in rota.ports:
        rota.servers[port].send_signal(signal.SIGTERM)
        rota.servers[port].wait(timeout=45)
        rota.start_server(port)
        time.sleep(2.0)
    seconds = int((now() - first).total_seconds())
    time.sleep(2.0)
    return lateness.read(path, [(first + timedelta(seconds=index)).timestamp() for index in range(seconds)], jobs)


def _kill_server(rota: Cluster, path: Any, jobs: int) -> float:
    """Kill the second server; returns the longest time that a job, due every second, was not started."""
    killed = time.time()
    rota.servers[rota.ports[1]].kill()
    time.sleep(WATCHED)
    starts: dict[bytes, list[float]] = {}
    for _, start, job in lateness.records(path):
        if start > killed - 2.0:
            starts.setdefault(job, []).append(start)
    ended = time.time()
    if len(starts) < jobs:
        raise RuntimeError(f"{jobs - len(starts)} jobs did not start again within {WATCHED} s")
    return max(later - earlier for found in starts.values() for earlier, later in pairwise([*sorted(found), ended]))


def _lose_worker(rota: Cluster) -> float:
    """Kill a worker that runs something; returns how long it took until that ran again."""
    rota.apply({"bench/long": {"shell": "sleep 120", "retry": {"tries": 3}}})
    run = rota.call("POST", "/api/v1/jobs/bench/long/runs", {})["id"]
    first = _attempt(rota, run, 1)
    for pid in reversed(below([rota.workers[first["worker"]].pid])):
        with contextlib.suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)
    killed = now()
    again = _attempt(rota, run, 2)
    rota.call("POST", f"/api/v1/runs/{run}/cancel", {})
    return (datetime.fromisoformat(again["started"]) - killed).total_seconds()


def _attempt(rota: Cluster, run: str, number: int) -> dict[str, Any]:
    """The attempt of that number, once it is running."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        attempts = rota.call("GET", f"/api/v1/runs/{run}")["attempts"]
        if len(attempts) >= number and attempts[number - 1]["started"]:
            return dict(attempts[number - 1])
        time.sleep(0.1)
    raise RuntimeError(f"attempt {number} did not start within {PATIENCE} s")


def _next_second() -> datetime:
    return (now() + timedelta(seconds=1)).replace(microsecond=0)
