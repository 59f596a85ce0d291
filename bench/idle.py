"""W3: what it costs to hold many jobs of which none is due: CPU of all processes over a stretch of quiet."""

import time
from typing import Any, Final

from bench.installation import installation

JOBS: Final = 10_000
SECONDS: Final = 20.0
SETTLE: Final = 5.0
SMOKE: Final = (100, 1.0, 1.0)


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    jobs, seconds, settle = SMOKE if smoke else (JOBS, SECONDS, SETTLE)
    with installation() as rota:
        specs = {
            f"bench/held-{index}": {"shell": "true", "schedule": f"{index % 60} {index // 60 % 24} 29 2 *"}
            for index in range(jobs)
        }
        begin = time.perf_counter()
        rota.apply(specs)
        applied = time.perf_counter() - begin
        time.sleep(settle)
        before, start = rota.cpu_seconds(), time.perf_counter()
        time.sleep(seconds)
        cpu, elapsed = rota.cpu_seconds() - before, time.perf_counter() - start
        processes = len(rota.processes())
    return {
        "idle_cpu": {
            "value": round(100 * cpu / elapsed, 3),
            "unit": "% of a core",
            "better": "lower",
            "processes": processes,
            "note": f"{jobs} jobs held, none due, over {seconds:g} s",
        },
        "jobs_applied_per_s": {
            "value": round(jobs / applied, 1),
            "unit": "jobs/s",
            "better": "higher",
            "note": "definitions over the API, in batches",
        },
    }
