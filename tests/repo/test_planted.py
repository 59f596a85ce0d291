"""The planted bugs are kept alive: each applies to the present code, names tests that exist, and is in the page."""

import ast
import subprocess
from pathlib import Path

import pytest
from repo_scripts import ROOT, load_script

plant = load_script("plant")
BUGS = plant.all_bugs()
HEAD = "Bug: it goes wrong.\nBreaks: P1\nCaught by: tests/test_it.py::test_it\n"
PATCH = """
--- a/src/it.py
+++ b/src/it.py
@@ -1 +1 @@
-RIGHT = True
+RIGHT = False
"""


def names_of_tests(path: Path) -> set[str]:
    """The names of a file's tests."""
    names = (getattr(node, "name", "") for node in ast.parse(path.read_text()).body)
    return {name for name in names if name.startswith("test_")}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_it_applies_and_names_what_exists(bug) -> None:
    assert plant.apply(bug, ROOT, only_check=True) == ""
    for test in bug.tests:
        path, _, name = test.partition("::")
        assert name.partition("[")[0] in names_of_tests(ROOT / path), test
    for command in bug.commands:
        assert command.startswith("python -m tests.")


def test_each_has_a_number_of_its_own() -> None:
    numbers = [bug.name.partition("-")[0] for bug in BUGS]
    assert len(set(numbers)) == len(numbers)
    assert all(number.isdigit() for number in numbers)


def test_the_page_is_in_step() -> None:
    assert plant.main(["--page", "--check"]) == 0


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with one planted bug."""
    for name, text in {
        "src/rota/__init__.py": "",
        "src/rota/wiring/up.py": "",
        "src/rota/wiring/worker.py": "",
        "src/it.py": "RIGHT = True\n",
        "tests/__init__.py": "",
        "tests/test_it.py": "import it\n\n\ndef test_it():\n    assert it.RIGHT\n\n\ndef test_other():\n    pass\n",
        "planted/01-wrong.patch": HEAD + PATCH,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(plant, "ROOT", tmp_path)
    monkeypatch.setattr(plant, "PAGE", tmp_path / "page.md")
    return tmp_path


def verdict_of(small: Path, head: str = HEAD, patch: str = PATCH) -> tuple[str, str]:
    path = small / "planted" / "01-wrong.patch"
    path.write_text(head + patch)
    with plant.copy_of_repository() as folder:
        return plant._judge(plant.read_bug(path), folder, whole=False)


def test_verdicts(small: Path) -> None:
    word, detail = verdict_of(small)
    assert (word, "assert" in detail) == (plant.CAUGHT, True)
    both = HEAD + "Caught by: tests/test_it.py::test_other\n"
    assert verdict_of(small, both) == (plant.NOT_CAUGHT, "silent: tests/test_it.py::test_other")
    assert verdict_of(small, patch=PATCH.replace("-RIGHT", "-LEFT"))[0] == plant.DOES_NOT_APPLY
    assert verdict_of(small, patch=PATCH.replace("+RIGHT", "+RIGHT =="))[0] == plant.BROKEN


def test_a_command_catches_too(small: Path) -> None:
    head = HEAD.replace("tests/test_it.py::test_it", "python -c 'import it; assert it.RIGHT'")
    assert verdict_of(small, head)[0] == plant.CAUGHT


def test_a_test_that_fails_without_the_bug_proves_nothing(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "src" / "it.py").write_text("RIGHT = None\n")
    assert plant.main([]) == 1
    assert "without any bug planted" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["", "Bug: x\nCaught by: y\n", HEAD.replace("Bug", "Bugs"), HEAD + HEAD])
def test_a_patch_without_its_head_is_refused(tmp_path: Path, head: str) -> None:
    path = tmp_path / "01-x.patch"
    path.write_text(head + PATCH)
    with pytest.raises(plant.BadPatch):
        plant.read_bug(path)


def test_the_page_lists_every_bug(small: Path) -> None:
    plant.PAGE.write_text(f"# Bugs\n{plant.BEGIN}\nold\n{plant.END}\nend\n")
    assert plant.main(["--page", "--check"]) == 1
    assert plant.main(["--page"]) == 0
    assert plant.main(["--page", "--check"]) == 0
    assert "| 01 | it goes wrong. | P1 | `tests/test_it.py::test_it` |" in plant.PAGE.read_text()
