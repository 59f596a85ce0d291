"""W5: shell runs a second, as a share of what this machine can spawn at all, measured in the same run."""

from typing import Any, Final

from bench import spawn
from bench.drain import drain
from bench.installation import installation

JOBS: Final = 50
RUNS: Final = 5_000
SMOKE_RUNS: Final = 100


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload."""
    runs = SMOKE_RUNS if smoke else RUNS
    ceiling = spawn.spawn_ceiling()
    with installation() as rota:
        names = [f"bench/shell-{index}" for index in range(JOBS)]
        rota.apply({name: {"shell": "true", "overlap": "allow"} for name in names})
        drain(rota, names, max(10, runs // 100))
        done = drain(rota, names, runs)
    ceiling = (ceiling + spawn.spawn_ceiling()) / 2
    return {
        "spawn_ceiling_per_s": {
            "value": round(ceiling, 1),
            "unit": "1/s",
            "better": "higher",
            "note": "the same command spawned by a loop that does nothing else",
        },
        "shell_runs_per_s": done.figure(f"{runs} runs of `true`"),
        "shell_share_of_ceiling": {
            "value": round(100 * done.per_second / ceiling, 1),
            "unit": "%",
            "better": "higher",
            "note": "shell runs a second, of the spawn ceiling",
        },
    }
