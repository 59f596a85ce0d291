"""The systemd unit: valid, hardened, back after any end, and naming what `rota up` really takes."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repo_scripts import ROOT

UNIT = ROOT / "packaging" / "systemd" / "rota.service"


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    copy = tmp_path / "rota.service"
    text = UNIT.read_text().replace("/opt/rota/bin/rota", str(shutil.which("true")))
    copy.write_text(text.replace("User=rota", "User=root").replace("Group=rota\n", ""))  # it looks whether they exist
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "rota.service" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


def test_it_comes_back_and_starts_with_the_machine(unit: configparser.RawConfigParser) -> None:
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # never gives up
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_it_does_not_run_as_root_and_writes_only_its_data(unit: configparser.RawConfigParser) -> None:
    service = unit["Service"]
    assert service["User"] == "rota"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == "rota"
    assert service["StateDirectoryMode"] == "0700"


def test_stopping_leaves_running_work_its_grace(unit: configparser.RawConfigParser) -> None:
    assert unit["Service"]["KillMode"] == "mixed"  # TERM goes to the server alone, which lets its children finish
    assert int(unit["Service"]["TimeoutStopSec"]) > 30


def test_its_command_is_one_that_rota_takes(unit: configparser.RawConfigParser) -> None:
    _, verb, *flags = unit["Service"]["ExecStart"].split()
    rota = str(Path(sys.executable).with_name("rota"))
    shown = subprocess.run([rota, verb, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    for flag in (flag for flag in flags if flag.startswith("--")):
        assert flag in shown


def test_the_guide_installs_this_unit() -> None:
    guide = (ROOT / "docs" / "how-to" / "run-as-a-service.md").read_text()
    assert "packaging/systemd/rota.service" in guide
    assert "/opt/rota" in guide
