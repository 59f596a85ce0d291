"""Whole clusters on virtual time: 200 seeds hold their promises, and got to where it is interesting.

`make simulate` runs more. A seed that fails does so again: `python -m tests.simulation --seeds SEED`.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# What must have happened somewhere among fifty seeds, or they prove little.
REACHED = (
    "ClockStepped",
    "DeadlinePassed",
    "LeaseLapsed",
    "ServerStopped",
    "ShardsReleased",
    "WorkerLost",
    "WorkerRefused",
    "fence rejections",
    "gaps",
    "reason CANCELLED",
    "reason CATCHUP_SKIPPED",
    "reason EDITED",
    "reason OUTCOME_UNKNOWN",
    "reason OVERLAP_SKIP",
    "reason PAUSED",
    "reason TOO_LATE",
    "said Moving",
    "said Permit",
    "said Revoke",
    "staged",
    "tried again",
    "unknown commits",
)


def simulate(seeds: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", seeds, *options]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)


def report(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.stdout, process.stderr
    summary: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return summary


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", ["1-50", "51-100", "101-150", "151-200"])
def test_promises_hold_whatever_befalls_a_cluster(seeds: str) -> None:
    process = simulate(seeds)
    assert process.returncode == 0, process.stderr
    sometimes = report(process)["sometimes"]
    assert [what for what in REACHED if not sometimes.get(what)] == []


def test_a_seed_is_the_same_life_every_time() -> None:
    first, second = (simulate("7-8", "--verbose") for _ in range(2))
    assert first.stdout.count("trace") == 2
    assert first.stdout.splitlines()[:2] == second.stdout.splitlines()[:2]
