"""W4: many jobs that are due every second, for a minute: does each fire each second, how late, at what cost?"""

import time
from datetime import timedelta
from typing import Any, Final

from bench import lateness
from bench.installation import Api, installation, now

JOBS: Final = 1_000
SECONDS: Final = 60
SMOKE: Final = (20, 3)
WARM: Final = 12.0  # seconds in which processes start and credits grow


def steady(rota: Api, jobs: int, seconds: int) -> tuple[lateness.Lateness, float]:
    """Run them; returns when they started and the CPU of all processes, as a share of one core."""
    spec, path = lateness.install(rota.folder)
    rota.apply({f"bench/steady-{index}": {**spec, "schedule": "* * * * * *"} for index in range(jobs)})
    time.sleep(WARM)
    first = (now() + timedelta(seconds=1)).replace(microsecond=0)
    time.sleep((first - now()).total_seconds())
    before, begin = rota.cpu_seconds(), time.perf_counter()
    time.sleep(seconds)
    cpu, elapsed = rota.cpu_seconds() - before, time.perf_counter() - begin
    time.sleep(2.0)
    instants = [(first + timedelta(seconds=index)).timestamp() for index in range(1, seconds)]
    return lateness.read(path, instants, jobs), cpu / elapsed


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    jobs, seconds = SMOKE if smoke else (JOBS, SECONDS)
    with installation() as rota:
        started, share = steady(rota, jobs, seconds)
        processes = len(rota.processes())
    fired = 100 * started.started / started.wanted
    return {
        "w4_lateness_p99": started.figure(f"{jobs} jobs due every second for {seconds} s"),
        "w4_fired": {"value": round(fired, 3), "unit": "%", "better": "higher", "note": "instants that were started"},
        "w4_cpu": {
            "value": round(100 * share, 1),
            "unit": "% of a core",
            "better": "lower",
            "processes": processes,
            "note": "all processes",
        },
    }
