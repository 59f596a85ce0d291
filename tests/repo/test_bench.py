"""`make bench` measures, tells, and writes what it found; no time decides anything here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from repo_scripts import ROOT

WANTED = {
    "store_cycles_per_s",
    "w2_python_runs_per_s",
    "w1_lateness_p99",
    "w4_lateness_p99",
    "w4_fired",
    "w4_cpu",
    "w2_pg_runs_per_s",
    "w1_pg_lateness_p99",
    "w7_rolling_restart",
    "w7_server_killed_s",
    "w7_worker_lost_s",
    "heartbeat_rows_per_s",
    "heartbeat_cpu",
    "pollers_8_runs_per_s",
    "batches_runs_per_s",
    "spawn_ceiling_per_s",
    "shell_runs_per_s",
    "shell_share_of_ceiling",
    "http_runs_per_s",
    "channel_up_1_per_s",
    "channel_up_100_per_s",
    "channel_down_1_per_s",
    "channel_down_100_per_s",
    "idle_cpu",
}


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_smoke_run_measures_everything_and_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    only = [
        "drain",
        "burst",
        "steady",
        "shell",
        "http",
        "channel",
        "store",
        "pg-load",
        "pollers",
        "failures",
        "heartbeats",
    ]
    command = [sys.executable, "-m", "bench", "--smoke", "--out", str(out), "--only", *only, "idle"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(out.read_text())
    assert set(figures) >= WANTED
    assert figures["machine"]["value"] >= 1
    for name in WANTED:
        figure = figures[name]
        assert figure["better"] in ("higher", "lower")
        assert figure["unit"]
        assert name in done.stdout
    for name in ("w2_python_runs_per_s", "shell_runs_per_s", "http_runs_per_s"):
        assert figures[name]["value"] > 0
        assert (figures[name]["lost"], figures[name]["doubled"]) == (0, 0)
        assert figures[name]["processes"] >= 2


def test_unknown_workload_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "--only", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
