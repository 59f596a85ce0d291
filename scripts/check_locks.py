"""Checks that the lock files are in step with pyproject.toml, carry hashes, and name no place to fetch from.

In step means: every requirement is pinned at a version that satisfies it, every pin has a hash, and the lock of the
development tools pins what the lock of the servers pins.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
PLACE = re.compile(r"://|--(extra-)?index-url|--find-links|--trusted-host|^\s*-[if]\b|\s@\s")


def read_pins(name: str, text: str, problems: list[str]) -> dict[str, str]:
    """The pinned versions of a lock file; what is wrong with its lines goes to `problems`."""
    pins: dict[str, str] = {}
    for entry in re.split(r"(?<!\\)\n", text):
        line = entry.strip()
        if not line or line.startswith("#"):
            continue
        if PLACE.search(line):
            problems.append(f"{name}: names a place to fetch from: {line[:60]}")
        elif (pin := PIN.match(line)) is None:
            problems.append(f"{name}: not a pin of the form name==version: {line[:60]}")
        else:
            pins[canonicalize_name(pin["name"])] = pin["version"]
            if "--hash=sha256:" not in line:
                problems.append(f"{name}: {pin['name']} has no hash")
    return pins


def check_satisfied(name: str, wanted: list[str], pins: dict[str, str], problems: list[str]) -> None:
    """Every requirement that applies here is pinned at a version it accepts."""
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        pinned = pins.get(canonicalize_name(requirement.name))
        if pinned is None:
            problems.append(f"{name}: pyproject.toml wants {requirement}, which is not pinned: compile the lock again")
        elif not requirement.specifier.contains(pinned, prereleases=True):
            problems.append(f"{name}: pins {requirement.name} {pinned}, pyproject.toml wants {requirement}")


def check(project: dict[str, Any], locks: dict[str, str]) -> list[str]:
    """What is wrong with the lock files `run`, `dev` and `build`."""
    problems: list[str] = []
    pins = {name: read_pins(name, text, problems) for name, text in locks.items()}
    runtime = project["project"]["dependencies"]
    check_satisfied("requirements.lock", runtime, pins["requirements.lock"], problems)
    development = [*runtime, *project["dependency-groups"]["dev"]]
    check_satisfied("requirements-dev.lock", development, pins["requirements-dev.lock"], problems)
    build = project["build-system"]["requires"]
    check_satisfied("requirements-build.lock", build, pins["requirements-build.lock"], problems)
    for name, version in pins["requirements.lock"].items():
        if pins["requirements-dev.lock"].get(name) != version:
            problems.append(f"requirements-dev.lock: {name} differs from requirements.lock ({version})")
    return problems


def main() -> int:
    """Print what is wrong; exit 1 if anything is."""
    names = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    problems = check(project, {name: (ROOT / name).read_text() for name in names})
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
