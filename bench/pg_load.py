"""W2 and W1 on PostgreSQL: a load due at once, and many jobs due at one instant, through real servers and workers."""

from typing import Any, Final

from bench.burst import burst
from bench.cluster import Cluster, cluster
from bench.drain import JOBS, Drained, drain

RUNS: Final = 20_000
BURST: Final = 10_000
SMOKE: Final = 200


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figures of this workload: two servers with two workers, and one server with the same."""
    runs, jobs = (SMOKE, SMOKE) if smoke else (RUNS, BURST)
    with cluster(servers=2, workers=2) as rota:
        two, said = _drain(rota, runs)
        started = burst(rota, jobs)
    with cluster(servers=1, workers=2) as rota:
        one, said_of_one = _drain(rota, runs)
    return {
        "w2_pg_runs_per_s": two.figure(f"2 servers, 2 workers, full history; {said}"),
        "w2_pg_one_server_runs_per_s": one.figure(f"1 server, 2 workers; {said_of_one}"),
        "w2_pg_two_servers_to_one": {
            "value": round(two.per_second / one.per_second, 2),
            "unit": "times",
            "better": "higher",
            "note": "all on this machine: once its cores are full, another server adds nothing",
        },
        "w1_pg_lateness_p99": started.figure(f"{jobs} jobs due at one instant, 2 servers, 2 workers"),
    }


def _drain(rota: Cluster, runs: int) -> tuple[Drained, str]:
    """Load and drain; returns what became of it, and who used the processors."""
    (rota.folder / "bench_noop.py").write_text("def noop() -> None:\n    pass\n")
    spec = {"python": "bench_noop:noop", "cwd": str(rota.folder), "overlap": "allow"}
    names = [f"bench/noop-{index}" for index in range(JOBS)]
    rota.apply(dict.fromkeys(names, spec))
    drain(rota, names, max(20, runs // 50))
    before = rota.cpu_of_parts()
    done = drain(rota, names, runs)
    after = rota.cpu_of_parts()
    shares = (f"{part} {1000 * (after[part] - before[part]) / runs:.3f}" for part in after)
    return done, f"ms of CPU for a run, loading included: {', '.join(shares)}"
