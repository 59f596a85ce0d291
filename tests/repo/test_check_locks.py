"""Lock files: out of step, without hashes, or naming a place is reported; the repository's own are in order."""

import tomllib
from typing import Any

import pytest
from repo_scripts import ROOT, load_script

locks = load_script("check_locks")
HASH = " \\\n    --hash=sha256:" + "0" * 64


def project(*dependencies: str, development: tuple[str, ...] = ()) -> dict[str, Any]:
    """A pyproject.toml with these requirements."""
    return {
        "project": {"dependencies": list(dependencies)},
        "dependency-groups": {"dev": list(development)},
        "build-system": {"requires": []},
    }


def check(wanted: dict[str, Any], runtime: str, development: str | None = None) -> list[str]:
    """What is wrong with these locks."""
    found = locks.check(
        wanted,
        {
            "requirements.lock": runtime,
            "requirements-dev.lock": runtime if development is None else development,
            "requirements-build.lock": "",
        },
    )
    assert isinstance(found, list)
    return found


def test_in_step() -> None:
    assert check(project("Some.Thing>=1,<3"), f"some-thing==2.1{HASH}\n") == []


def test_not_pinned() -> None:
    assert any("other, which is not pinned" in one for one in check(project("other"), f"some==1{HASH}\n"))


def test_pinned_at_a_version_that_is_not_accepted() -> None:
    found = check(project("some>=2"), f"some==1.9{HASH}\n")
    assert "requirements.lock: pins some 1.9, pyproject.toml wants some>=2" in found


def test_requirement_for_another_python_is_not_asked_for() -> None:
    assert check(project("old; python_version < '3'"), f"some==1{HASH}\n") == []


def test_without_hash() -> None:
    assert "requirements.lock: some has no hash" in check(project(), "some==1\n")


def test_development_differs() -> None:
    found = check(project(), f"some==1{HASH}\n", f"some==2{HASH}\n")
    assert found == ["requirements-dev.lock: some differs from requirements.lock (1)"]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "--extra-index-url=https://example.org/simple",
        "-i https://example.org",
        "--find-links wheels",
        "--trusted-host example.org",
        "some @ https://example.org/some.whl",
    ],
)
def test_place_to_fetch_from(line: str) -> None:
    assert any("names a place" in one for one in check(project(), f"{line}\nsome==1{HASH}\n"))


def test_something_that_is_not_a_pin() -> None:
    assert any("not a pin" in one for one in check(project(), f"some>=1{HASH}\n"))


def test_the_repository_is_in_order() -> None:
    names = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert locks.check(wanted, {name: (ROOT / name).read_text() for name in names}) == []
