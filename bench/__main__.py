"""`make bench`: runs every workload, prints a table, writes bench/results.json.

    python -m bench [--smoke] [--only NAME ...] [--out FILE]

Figures depend on the machine, which is described beside them. Nothing here passes or fails on a time; a workload
fails only when runs were lost or doubled.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench import (
    burst,
    channel,
    cron,
    drain,
    failures,
    heartbeats,
    http_fetch,
    idle,
    pg_load,
    pollers,
    shell,
    steady,
    store_cycles,
)

Figures = dict[str, dict[str, Any]]
RESULTS: Final = Path(__file__).with_name("results.json")
WORKLOADS: Final[dict[str, Callable[[bool], Figures]]] = {
    "cron": lambda smoke: cron.run(),
    "store": lambda smoke: store_cycles.run(smoke=smoke),
    "drain": lambda smoke: drain.run(smoke=smoke),
    "burst": lambda smoke: burst.run(smoke=smoke),
    "steady": lambda smoke: steady.run(smoke=smoke),
    "shell": lambda smoke: shell.run(smoke=smoke),
    "http": lambda smoke: http_fetch.run(smoke=smoke),
    "channel": lambda smoke: channel.run(smoke=smoke),
    "pg-load": lambda smoke: pg_load.run(smoke=smoke),
    "pollers": lambda smoke: pollers.run(smoke=smoke),
    "failures": lambda smoke: failures.run(smoke=smoke),
    "heartbeats": lambda smoke: heartbeats.run(smoke=smoke),
    "idle": lambda smoke: idle.run(smoke=smoke),
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "value": os.cpu_count() or 1,
        "unit": "cpus",
        "better": "none",
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def table(figures: Figures) -> str:
    """The figures for people."""
    lines = []
    for name, figure in figures.items():
        extra = [f"{key} {figure[key]}" for key in ("cpu_ms_per_run", "processes", "lost", "doubled") if key in figure]
        said = "; ".join([str(figure.get("note", "")), *extra]).strip("; ")
        lines.append(f"{name:26} {figure['value']:>12,} {figure['unit']:<12} {said}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Measure, print, write; exit 1 when runs were lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Rota.")
    parser.add_argument("--smoke", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--only", nargs="+", choices=sorted(WORKLOADS), help="some workloads")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go")
    chosen = parser.parse_args(arguments)
    figures: Figures = {"machine": machine()}
    for name, workload in WORKLOADS.items():
        if chosen.only and name not in chosen.only:
            continue
        print(f"measuring {name} …", file=sys.stderr)
        figures |= workload(chosen.smoke)
    print(table(figures))
    chosen.out.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    wrong = [name for name, figure in figures.items() if figure.get("lost") or figure.get("doubled")]
    for name in wrong:
        print(f"{name}: {figures[name]['lost']} runs lost, {figures[name]['doubled']} doubled", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
