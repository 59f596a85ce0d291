"""The attempts' private folders below the worker's state folder: one to work in, one (ROTA_OUT) for files to keep.

Making and removing a folder waits for the disk's journal, which a busy database keeps occupied. So a folder that an
attempt did not touch serves the next one. What is left in ROTA_OUT stays where the attempt put it, reachable as
`attempts/<fence>`, until it is pruned by age.
"""

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

import msgspec

from rota.worker.environment import Identity
from rota.worker.settings import WorkerSettings


class Folder(msgspec.Struct, frozen=True):
    """A private folder and the moment of its last change when it was handed out."""

    path: str
    owner: int
    changed: int


class Folders:
    """Hands out private folders and takes them back."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.out = settings.state.absolute() / "attempts"
        self.work = settings.state.absolute() / "work"
        self._spare: dict[tuple[Path, int], list[Folder]] = {}
        self._names = 0
        self._boot = secrets.token_hex(4)

    def prepare(self) -> None:
        """Make the parents, remove what an earlier worker left, prune kept files by age."""
        for folder in (self.out, self.work):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)  # another user may pass through to its own folder, and list nothing
        if self._settings.allowed_users:
            self._settings.state.chmod(0o711)
        for left in self.work.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        oldest = time.time() - self._settings.keep_files
        kept = sorted(self.out.iterdir(), key=lambda path: path.is_symlink())
        for path in kept:
            _prune(path, oldest)

    def new_name(self) -> str:
        """A name that no other folder has."""
        self._names += 1
        return f"{self._boot}-{self._names}"

    def take(self, parent: Path, identity: Identity) -> Folder:
        """An empty folder below `parent` (`self.out` or `self.work`) that belongs to `identity`."""
        spare = self._spare.get((parent, identity.uid))
        if spare:
            return spare.pop()
        path = f"{parent}/{self.new_name()}"
        os.mkdir(path, 0o700)  # noqa: PTH102 — once per attempt: no Path needed
        if identity.switch:
            os.chown(path, identity.uid, identity.gid)
        return Folder(path, identity.uid, _changed(path))

    def give_back_work(self, folder: Folder) -> None:
        """Keep an untouched folder for the next attempt, remove another with all in it."""
        if _changed(folder.path) == folder.changed:
            self._spare.setdefault((self.work, folder.owner), []).append(folder)
        else:
            shutil.rmtree(folder.path, ignore_errors=True)

    def give_back_out(self, folder: Folder, fence: int) -> None:
        """Keep an untouched folder for the next attempt; what holds files stays, under the attempt's fence."""
        if _changed(folder.path) == folder.changed:
            self._spare.setdefault((self.out, folder.owner), []).append(folder)
        else:
            self._settle(Path(folder.path), fence)

    def settle_all(self, prefix: str, fence: int) -> None:
        """Do so for the folders `prefix…` that a process made itself and left when it ended."""
        for path in self.out.glob(f"{prefix}.*"):
            if not path.is_symlink():
                self._settle(path, fence)

    def _settle(self, path: Path, fence: int) -> None:
        try:
            path.rmdir()
        except OSError:  # it holds files
            with contextlib.suppress(OSError):  # only the short name is missing
                (self.out / str(fence)).symlink_to(path.name)


def _changed(path: str) -> int:
    """When anything about the folder or its list of entries changed last; 0 when it is gone."""
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116 — once per attempt: no Path needed
    except OSError:
        return 0


def _prune(path: Path, oldest: float) -> None:
    """Remove what is empty, old, or a link to nothing."""
    if path.is_symlink():
        if not path.exists():
            path.unlink()
    elif not path.is_dir():
        path.unlink()
    elif not any(path.iterdir()):
        path.rmdir()
    elif path.stat().st_mtime < oldest:
        shutil.rmtree(path, ignore_errors=True)
