"""Set-up: quick the second time, thorough when something changed, and plain about what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from repo_scripts import ROOT, load_script

set_up = load_script("set_up")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that needs nothing from anywhere: empty locks, a package without dependencies."""
    root = tmp_path / "checkout"
    (root / "src").mkdir(parents=True)
    (root / "src" / "code.py").write_text("x = 1\n")
    (root / "pyproject.toml").write_text("[project]\nname = 'thing'\nversion = '1'\n")
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-build.lock"):
        (root / name).write_text("")
    return root


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 10, 14), (2, 7, 18)])
def test_old_python_is_refused_by_name(version: tuple[int, ...]) -> None:
    with pytest.raises(set_up.CannotSetUp, match=r"needs Python 3.11 or newer, and /usr/bin/python3 is"):
        set_up.refuse_old_python(version, "/usr/bin/python3")


def test_this_python_is_taken() -> None:
    set_up.refuse_old_python((3, 11, 0), sys.executable)
    set_up.refuse_old_python((4, 0, 0), sys.executable)


def test_the_program_is_read_by_old_pythons_too() -> None:
    """It must get as far as saying that the Python is too old."""
    set_up_text = (ROOT / "scripts" / "set_up.py").read_text()
    compile(set_up_text, "set_up.py", "exec", flags=0, dont_inherit=True)
    assert "match " not in set_up_text
    set_up.importlib.import_module("ast").parse(set_up_text, feature_version=(3, 8))


def test_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get there
    with pytest.raises(set_up.CannotSetUp) as refusal:
        set_up.apt_install(["chromium"], "which the tests of the pages drive")
    assert str(refusal.value) == (
        "chromium is missing, which the tests of the pages drive. "
        "Install it and repeat: sudo apt-get install -y chromium"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_root_installs_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called = tmp_path / "called"
    fake = tmp_path / "apt-get"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {called}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    set_up.apt_install(["one", "two"], "for a test")
    assert called.read_text().splitlines() == ["update -q", "install -y -q one two"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_failing_installation_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(set_up.CannotSetUp, match="failed with exit code 100: one is needed"):
        set_up.apt_install(["one"], "for a test")


def test_browser_is_found_by_path_or_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROTA_TEST_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert set_up.find_browser() is None
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    assert set_up.find_browser() == str(tmp_path / "chromium")
    monkeypatch.setenv("ROTA_TEST_CHROMIUM", "/opt/browser")
    assert set_up.find_browser() == "/opt/browser"


def test_digest_changes_with_what_it_is_made_from(checkout: Path) -> None:
    before = {mode: set_up.digest(mode, checkout) for mode in ("run", "dev")}
    (checkout / "src" / "code.py").write_text("x = 2\n")
    assert set_up.digest("run", checkout) != before["run"]  # the installed copy is out of date
    assert set_up.digest("dev", checkout) == before["dev"]  # the editable one follows by itself
    (checkout / "requirements-dev.lock").write_text("# another\n")
    assert set_up.digest("dev", checkout) != before["dev"]


def test_packages_are_installed_by_hash_and_the_package_without_fetching(tmp_path: Path) -> None:
    for mode, lock in (("run", "requirements.lock"), ("dev", "requirements-dev.lock")):
        build, packages, own = set_up.install_commands(mode, tmp_path / "venv", tmp_path)
        assert "--require-hashes" in build
        assert "--require-hashes" in packages
        assert packages[-1] == str(tmp_path / lock)
        assert {"--no-deps", "--no-build-isolation"} <= set(own)
        assert ("--editable" in own) is (mode == "dev")


def finished(venv: Path, stamp: str) -> None:
    """A stand-in for a finished environment: a Python that starts, and the stamp."""
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / set_up.STAMP).write_text(stamp)


def test_second_call_does_nothing(checkout: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    venv = tmp_path / "venv"
    finished(venv, set_up.digest("run", checkout))
    set_up.set_up("run", venv, checkout)
    assert capfd.readouterr() == ("", "")


def test_development_environment_serves_to_run(
    checkout: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    venv = tmp_path / "venv"
    finished(venv, set_up.digest("dev", checkout))
    set_up.set_up("run", venv, checkout)
    assert capfd.readouterr().err == ""


def test_failed_installation_leaves_no_stamp(checkout: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    finished(venv, "run of something older")
    (checkout / "requirements.lock").write_text("nonsense without a hash\n")
    with pytest.raises(set_up.CannotSetUp, match="installing packages failed"):
        set_up.set_up("run", venv, checkout)
    assert set_up.read_stamp(venv) == ""


def test_menu_names_every_command() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in ("up", "test", "check", "bench", "cron-compare"):
        assert f"make {command}" in done.stdout


def test_ci_checks_then_tests() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert text.index("make check") < text.index("test\n")
    assert "set -euo pipefail" in text
