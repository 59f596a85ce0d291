"""Words that must not stand in the repository are found with file and line."""

import subprocess
from pathlib import Path

import pytest
from repo_scripts import load_script

words = load_script("check_words")


@pytest.mark.parametrize(
    "line",
    [
        "# TO" + "DO: later",
        "x = 1  # FIX" + "ME",
        "see /ro" + "ot/thing",
        "cd /wo" + "rk/main",
        "data in /ho" + "me/someone/data",
        "from https://py" + "pi.org/simple",
        "https://files.python" + "hosted.org/x",
        "see ../sha" + "red/design",
    ],
)
def test_refused(line: str) -> None:
    found = words.problems_in("docs/a.md", f"fine\n{line}\n")
    assert len(found) == 1
    assert found[0].startswith("docs/a.md:2: ")


@pytest.mark.parametrize(
    "line", ["home is /home/rota", "a root/folder", "the network/work split", "todo list", "/var/lib/rota"]
)
def test_fine(line: str) -> None:
    assert words.problems_in("docs/a.md", line) == []


def test_files_are_those_that_git_keeps(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("kept.md", "ignored.txt", ".gitignore"):
        (tmp_path / name).write_text("ignored.txt\n")
    assert words.files(tmp_path) == [".gitignore", "kept.md"]


def test_files_without_git(tmp_path: Path) -> None:
    for name in ("kept.md", ".venv/lib.py", ".rota/rota.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert words.files(tmp_path) == ["kept.md"]
