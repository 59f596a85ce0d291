"""W2: runs that are all due at once, loaded beforehand, then drained through server and worker, full history kept."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from bench.installation import Api, installation, now

JOBS: Final = 200
RUNS: Final = 20_000
SMOKE_RUNS: Final = 400
LOADED_PER_SECOND: Final = 1_500  # a careful guess, so that all are loaded before the first is due
POLL: Final = 0.25
PATIENCE: Final = 300.0  # what has not ended then is lost


@dataclass(frozen=True, kw_only=True)
class Drained:
    """What became of a load."""

    wanted: int
    succeeded: int
    doubled: int  # runs that were tried more than once
    seconds: float
    cpu_seconds: float
    processes: int

    @property
    def per_second(self) -> float:
        """Runs a second."""
        return self.succeeded / self.seconds

    def figure(self, note: str) -> dict[str, Any]:
        """As a result."""
        return {
            "value": round(self.per_second, 1),
            "unit": "runs/s",
            "better": "higher",
            "runs": self.wanted,
            "seconds": round(self.seconds, 3),
            "cpu_ms_per_run": round(1000 * self.cpu_seconds / self.wanted, 4),
            "processes": self.processes,
            "lost": self.wanted - self.succeeded,
            "doubled": self.doubled,
            "note": note,
        }


def drain(rota: Api, names: list[str], runs: int) -> Drained:
    """Load `runs` runs over these jobs, let them fall due together, and time until the last has ended."""
    wanted = [names[index % len(names)] for index in range(runs)]
    due = now() + timedelta(seconds=2 + runs / LOADED_PER_SECOND)
    rota.trigger(wanted, due)
    begin = max(due, now())
    time.sleep(max(0.0, (due - now()).total_seconds()))
    before = rota.cpu_seconds()
    deadline = time.monotonic() + PATIENCE
    while rota.unfinished() and time.monotonic() < deadline:
        time.sleep(POLL)
    cpu = rota.cpu_seconds() - before
    processes = len(rota.processes())
    return _counted(rota, due, begin, runs, cpu, processes)


def _counted(rota: Api, due: datetime, begin: datetime, wanted: int, cpu: float, processes: int) -> Drained:
    """Count what the history holds of this load."""
    found = [run for run in rota.runs(due - timedelta(seconds=1)) if run["trigger"] == "manual"]
    succeeded = [run for run in found if run["state"] == "succeeded"]
    last = max(datetime.fromisoformat(run["finished"]) for run in succeeded)
    return Drained(
        wanted=wanted,
        succeeded=len({run["id"] for run in succeeded}),
        doubled=sum(len(run["attempts"]) > 1 for run in found) + max(0, len(found) - wanted),
        seconds=max((last - begin).total_seconds(), 0.001),
        cpu_seconds=cpu,
        processes=processes,
    )


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figure of this workload."""
    runs = SMOKE_RUNS if smoke else RUNS
    with installation() as rota:
        (rota.folder / "bench_noop.py").write_text("def noop() -> None:\n    pass\n")
        spec = {"python": "bench_noop:noop", "cwd": str(rota.folder), "overlap": "allow"}
        names = [f"bench/noop-{index}" for index in range(JOBS)]
        rota.apply(dict.fromkeys(names, spec))
        drain(rota, names, max(20, runs // 100))  # warm: interpreters started, caches filled
        done = drain(rota, names, runs)
    return {"w2_python_runs_per_s": done.figure(f"{runs} no-op python runs of {JOBS} jobs, due at once")}
