"""Checks the text of every file: nothing left undone, no path of somebody's machine, no host to fetch packages from.

The repository speaks of itself only and must mean the same on every machine.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What is refused, and why. The patterns are written so that this file does not match itself.
REFUSED = {
    r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b": "something left undone: do it, or open an issue",
    r"(?<![\w.])/(?:root|work)/\w": "a path of one machine",
    r"(?<![\w.])/home/(?!rota\b|you\b|alice\b|ada\b|me\b|USER\b|\w\b)\w": "a path of one machine",
    r"pypi\.or[g]|pythonhosted\.or[g]|registry\.npmj[s]\.": "a host that packages are fetched from",
    r"(?:\.\./)+share[d]\b": "something outside the repository",
}
# Files that are not ours to word, with the reason.
EXEMPT = {
    "LICENSE": "the text of the licence",
    "src/rota/server/ui/static/vendor/": "vendored as published",
}
BINARY = {".png", ".ico", ".woff2", ".gz", ".zst", ".db"}


def files(root: Path) -> list[str]:
    """The files of the repository: tracked ones, and new ones that are not ignored."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return sorted(name for name in listed.stdout.splitlines() if (root / name).is_file())
    skipped = {".git", ".venv", ".rota"}
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(root).parts)
    )


def problems_in(name: str, text: str) -> list[str]:
    """What is refused in one file, with file and line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, reason in REFUSED.items():
            if match := re.search(pattern, line):
                found.append(f"{name}:{number}: {match.group()!r}: {reason}")
    return found


def main() -> int:
    """Print what is refused; exit 1 if anything is."""
    problems: list[str] = []
    for name in files(ROOT):
        if Path(name).suffix in BINARY or any(name.startswith(prefix) for prefix in EXEMPT):
            continue
        problems += problems_in(name, (ROOT / name).read_text(errors="replace"))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
