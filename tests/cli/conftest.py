"""A `rota` to run, and one installation for all tests of a module."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.e2e.running_rota import RunningRota


@pytest.fixture
def rota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`rota` without a server."""
    return Command(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRota]:
    """A real `rota up` without jobs of its own."""
    folder = tmp_path_factory.mktemp("installation")
    (folder / "empty").mkdir()
    with RunningRota(folder, "--jobs", str(folder / "empty")) as running:
        yield running
        running.stop()
    shutil.rmtree(folder)


@pytest.fixture
def live(rota: Command, installation: RunningRota) -> Command:
    """`rota` as the owner of the running installation."""
    rota.env(ROTA_DATA=str(installation.data))
    return rota
