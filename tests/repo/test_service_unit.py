"""The systemd units: valid, hardened, back after any end, and naming what the commands really take."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repo_scripts import ROOT

from rota.settings import Sources, load_server_settings, load_worker_settings

FOLDER = ROOT / "packaging" / "systemd"
UNITS = {
    "rota.service": "run-as-a-service.md",
    "rota-server.service": "run-several-servers.md",
    "rota-worker.service": "add-workers.md",
}
Unit = tuple[str, configparser.RawConfigParser]


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> Unit:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / request.param)
    return request.param, parser


def test_there_are_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(UNITS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(tmp_path: Path, name: str) -> None:
    copy = tmp_path / name
    text = (FOLDER / name).read_text().replace("/opt/rota/bin/rota", str(shutil.which("true")))
    copy.write_text(text.replace("User=rota", "User=root").replace("Group=rota\n", ""))  # it looks whether they exist
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if name in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


def test_it_comes_back_and_starts_with_the_machine(unit: Unit) -> None:
    _, sections = unit
    assert sections["Service"]["Restart"] == "always"
    assert sections["Unit"]["StartLimitIntervalSec"] == "0"  # never gives up
    assert sections["Install"]["WantedBy"] == "multi-user.target"


def test_it_does_not_run_as_root_and_writes_only_its_data(unit: Unit) -> None:
    name, sections = unit
    service = sections["Service"]
    assert service["User"] == "rota"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == ("rota-worker" if name == "rota-worker.service" else "rota")
    assert service["StateDirectoryMode"] == "0700"


def test_stopping_leaves_running_work_its_grace(unit: Unit) -> None:
    name, sections = unit
    if name == "rota-server.service":  # it runs nothing itself: its workers go on elsewhere
        assert int(sections["Service"]["TimeoutStopSec"]) > 15
        return
    assert sections["Service"]["KillMode"] == "mixed"  # TERM goes to it alone, and it lets its children finish
    assert int(sections["Service"]["TimeoutStopSec"]) > 40


def test_its_command_is_one_that_rota_takes(unit: Unit) -> None:
    _, sections = unit
    _, verb, *flags = sections["Service"]["ExecStart"].split()
    rota = str(Path(sys.executable).with_name("rota"))
    shown = subprocess.run([rota, verb, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    for flag in (flag for flag in flags if flag.startswith("--")):
        assert flag in shown


def test_no_command_line_holds_a_secret(unit: Unit) -> None:
    _, sections = unit
    command = sections["Service"]["ExecStart"]
    assert "--database" not in command
    assert "token" not in command.lower()


@pytest.mark.parametrize(("name", "guide"), UNITS.items())
def test_the_guide_installs_this_unit(name: str, guide: str) -> None:
    text = (ROOT / "docs" / "how-to" / guide).read_text()
    assert f"packaging/systemd/{name}" in text
    files = [word for word in (FOLDER / name).read_text().split() if word.startswith("/etc/rota/")]
    for file in files:
        assert file in text


@pytest.mark.parametrize("name", ["rota-server.service", "rota-worker.service"])
def test_the_guide_begins_with_what_the_unit_needs(name: str) -> None:
    before = guide_of(name).partition(f"packaging/systemd/{name}")[0]
    assert "(run-as-a-service.md#install)" in before  # the user, and /opt/rota
    assert "sudo install -d -m 0750 -o root -g rota /etc/rota" in guide_of(name)
    install = guide_of("rota.service").partition("## Install")[2].partition("\n## ")[0]
    assert "useradd --system" in install
    assert "venv /opt/rota" in install
    assert "systemctl" not in install  # whoever installs a server or a worker does not start `rota up`


def test_the_settings_that_guides_write_are_taken(tmp_path: Path) -> None:
    for file in ("server.pem", "server.key", "secret-key", "ca.pem"):
        (tmp_path / file).touch()
    server = load_server_settings(Sources({"ROTA_DATABASE": "sqlite:///x.db"}, {}, written("server.toml", tmp_path)))
    assert server.is_https
    assert server.secret_key_file == tmp_path / "secret-key"
    worker = load_worker_settings(Sources({}, {}, written("worker.toml", tmp_path)), tmp_path / "state")
    assert len(worker.servers) == 2
    assert worker.ca == tmp_path / "ca.pem"


def test_a_join_token_is_only_removed_once_the_worker_has_its_own() -> None:
    removals = [line for line in guide_of("rota-worker.service").splitlines() if "rm /etc/rota/join-token" in line]
    assert removals == ["sudo test -s /var/lib/rota-worker/worker-token && sudo rm /etc/rota/join-token"]


def guide_of(name: str) -> str:
    return (ROOT / "docs" / "how-to" / UNITS[name]).read_text()


def written(name: str, folder: Path) -> Path:
    """The settings file that a guide writes into /etc/rota, as one in `folder`."""
    guide = guide_of(f"rota-{name.removesuffix('.toml')}.service")
    text = guide.partition(f"sudo tee /etc/rota/{name} <<'END'\n")[2].partition("END\n")[0]
    path = folder / name
    path.write_text(text.replace("/etc/rota/", f"{folder}/"))
    return path
