"""W1: many jobs that are all due at one instant: how late does each start?"""

import time
from datetime import datetime, timedelta
from typing import Any, Final

from bench import lateness
from bench.drain import drain
from bench.installation import Api, installation, now

JOBS: Final = 5_000
SMOKE_JOBS: Final = 50
AHEAD: Final = 10.0  # seconds from the last definition to the instant
PATIENCE: Final = 120.0


def burst(rota: Api, jobs: int) -> lateness.Lateness:
    """Define the jobs, let their instant come, read when they started."""
    spec, path = lateness.install(rota.folder)
    names = [f"bench/warm-{index}" for index in range(20)]
    rota.apply({name: {**spec, "overlap": "allow"} for name in names})
    drain(rota, names, 2_000 if jobs > SMOKE_JOBS else 40)
    due = _soon(jobs)
    rota.apply({f"bench/burst-{index}": {**spec, "schedule": _only(due)} for index in range(jobs)})
    time.sleep(max(0.0, (due - now()).total_seconds() + 0.5))
    deadline = time.monotonic() + PATIENCE
    while rota.unfinished() and time.monotonic() < deadline:
        time.sleep(0.25)
    return lateness.read(path, [due.timestamp()], jobs)


def _soon(jobs: int) -> datetime:
    """A whole second that leaves time to define so many jobs."""
    return (now() + timedelta(seconds=AHEAD + jobs / 1_000)).replace(microsecond=0)


def _only(due: datetime) -> str:
    """The schedule whose next instant this is."""
    return f"{due.second} {due.minute} {due.hour} {due.day} {due.month} *"


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figure of this workload."""
    jobs = SMOKE_JOBS if smoke else JOBS
    with installation() as rota:
        started = burst(rota, jobs)
    return {"w1_lateness_p99": started.figure(f"{jobs} jobs due at one instant, from due to the function's first line")}
