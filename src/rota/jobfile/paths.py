"""Which files below the given paths are job files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

SUFFIXES: Final = frozenset({".yaml", ".yml"})
MOST_FILES: Final = 10_000


def job_files(paths: Sequence[Path]) -> list[Path]:
    """The job files of `paths`, sorted, each once.

    A named file counts whatever it is called; a folder is searched for `*.yaml` and `*.yml` at every depth, without
    hidden files and folders and without what editors leave behind. Links to folders are not followed.
    """
    found: dict[Path, None] = {}
    for path in paths:
        for file in sorted(_below(path)) if path.is_dir() else [path]:
            found.setdefault(file)
    return list(found)


def _below(folder: Path) -> Iterable[Path]:
    """The job files of one folder and of the folders in it."""
    waiting = [folder]
    count = 0
    while waiting and count < MOST_FILES:
        try:
            inside = sorted(waiting.pop().iterdir())
        except OSError:
            continue
        for path in inside:
            if path.name.startswith((".", "#")) or path.name.endswith("~"):
                continue
            if path.is_dir():
                waiting += [path] if not path.is_symlink() else []
            elif path.suffix in SUFFIXES and path.is_file():
                count += 1
                yield path
