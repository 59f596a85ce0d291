"""Run seeds of the simulation: `python -m tests.simulation --seeds 1-200`; `make simulate`.

Each seed is a whole cluster's life: what it does and what befalls it follow from the number alone, so a seed that
fails fails again. Sets of texts are walked in an order that Python draws per process, so it must be told not to.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter

from tests.simulation.cluster import Simulation, Unsafe, simulate


def main() -> int:
    """Run the seeds asked for; 1 when one of them showed something that must never be."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], _fixed_order())
    options = _parser().parse_args()
    first, _, last = options.seeds.partition("-")
    sometimes: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    for seed in range(int(first), int(last or first) + 1):
        simulation = simulate(seed)
        sometimes += simulation.sometimes
        if simulation.verdict is not None:
            failed.append(seed)
            _tell(simulation, simulation.verdict)
        elif options.verbose:
            print(f"seed {seed}: nothing that must never be; trace {simulation.trace}", flush=True)
    seconds = time.monotonic() - began
    print(json.dumps({"failed": failed, "seconds": round(seconds, 1), "sometimes": sometimes}, sort_keys=True))
    return 1 if failed else 0


def _fixed_order() -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0"}


def _tell(simulation: Simulation, verdict: Unsafe) -> None:
    """What was seen, after what."""
    print(f"seed {simulation.seed} failed: {verdict}", file=sys.stderr)
    for moment, what in simulation.log:
        print(f"  {moment:9.3f} s  {what}", file=sys.stderr)
    print(f"  again: python -m tests.simulation --seeds {simulation.seed}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate clusters.")
    parser.add_argument("--seeds", default="1-200", help="one number, or FIRST-LAST (default: 1-200)")
    parser.add_argument("--verbose", action="store_true", help="a line for every seed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
