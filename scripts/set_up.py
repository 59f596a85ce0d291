"""Sets up the virtual environment of a checkout: `run` for what Rota needs, `dev` for tests and checks too.

Runs under the system's Python with the standard library only. Every package is pinned with its hash. A second call
does nothing: the environment remembers (in a stamp) what it was made from. What must come from the operating system
(python3-venv, Chromium) is installed when we are root on a Debian-like system; otherwise one sentence says what is
missing.
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
STAMP = "rota-set-up.txt"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class CannotSetUp(Exception):
    """Something is missing that we may not, or cannot, put there ourselves."""


def refuse_old_python(version: "tuple[int, ...]", executable: str) -> None:
    """Say plainly that this Python is too old."""
    if tuple(version[:2]) < OLDEST_PYTHON:
        found = ".".join(str(part) for part in version[:3])
        raise CannotSetUp(
            f"Rota needs Python 3.11 or newer, and {executable} is {found}. "
            "Name a newer one: make PYTHON=/path/to/python3.11 …"
        )


def apt_install(packages: "list[str]", why: str) -> None:
    """Install packages of the operating system, or say which are missing and what for."""
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotSetUp(f"{names} is missing, {why}. Install it and repeat: sudo apt-get install -y {names}")
    print(f"installing {names} ({why})", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", *packages]):
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise CannotSetUp(
                f"`{' '.join(command)}` failed with exit code {done.returncode}: {names} is needed, {why}"
            )


def needs_venv_package() -> bool:
    """Whether this Python cannot make virtual environments (Debian splits that off)."""
    return any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip"))


def find_browser() -> "str | None":
    """The Chromium that the browser tests drive."""
    named = os.environ.get("ROTA_TEST_CHROMIUM")
    return named if named else next((found for name in BROWSERS if (found := shutil.which(name))), None)


def digest(mode: str, root: Path) -> str:
    """What an environment of this mode is made from; another digest means: set up again."""
    lock = "requirements-dev.lock" if mode == "dev" else "requirements.lock"
    files = [root / "pyproject.toml", root / "requirements-build.lock", root / lock]
    if mode == "run":  # installed as a copy, so that a running server does not change under an edit
        files += sorted(path for path in (root / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    summed = hashlib.sha256(f"{mode} {root} {sys.version}".encode())
    for path in files:
        summed.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{mode} {summed.hexdigest()}"


def read_stamp(venv: Path) -> str:
    """What the environment was made from, empty when it was not finished."""
    stamp = venv / STAMP
    return stamp.read_text() if stamp.exists() else ""


def works(venv: Path) -> bool:
    """Whether the environment's Python starts at all (the one it was made from may be gone)."""
    python = venv / "bin" / "python"
    return python.exists() and subprocess.run([str(python), "-c", ""], check=False).returncode == 0


def install_commands(mode: str, venv: Path, root: Path) -> "list[list[str]]":
    """The pip commands that fill the environment; the package itself is built without fetching anything."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    lock = "requirements-dev.lock" if mode == "dev" else "requirements.lock"
    package = ["--editable", str(root)] if mode == "dev" else ["--force-reinstall", str(root)]
    return [
        [*pip, "--require-hashes", "-r", str(root / "requirements-build.lock")],
        [*pip, "--require-hashes", "-r", str(root / lock)],
        [*pip, "--no-deps", "--no-build-isolation", *package],
    ]


def set_up(mode: str, venv: Path, root: Path = ROOT) -> None:
    """Bring the environment to `mode`. One that has the development tools keeps them."""
    stamp = read_stamp(venv)
    if stamp.startswith("dev "):
        mode = "dev"
    wanted = digest(mode, root)
    if stamp == wanted and works(venv):
        return
    print(f"setting up {venv.name} (once)", file=sys.stderr)
    if not works(venv):
        if needs_venv_package():
            apt_install(["python3-venv"], "which makes virtual environments")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    (venv / STAMP).unlink(missing_ok=True)
    for command in install_commands(mode, venv, root):
        if subprocess.run(command, cwd=root, check=False).returncode != 0:
            raise CannotSetUp(f"installing packages failed; the command was: {' '.join(command)}")
    (venv / STAMP).write_text(wanted)


def main() -> int:
    """Set up what was asked for; exit 1 with one sentence when that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "dev", "browser"))
    parser.add_argument("--venv", default=".venv")
    arguments = parser.parse_args()
    try:
        refuse_old_python(sys.version_info[:3], sys.executable)
        if arguments.what != "browser":
            set_up(arguments.what, (ROOT / arguments.venv).absolute())
        elif find_browser() is None:
            apt_install(["chromium"], "which the tests of the pages drive")
    except CannotSetUp as problem:
        print(f"cannot set up: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
