"""The data folder: one server at a time holds it, and a second one is told who does."""

import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Final

from rota.core.errors import RotaError

_LOCK: Final = "lock"


class FolderTaken(RotaError):
    """Another server uses this data folder."""

    code = "FOLDER_TAKEN"


class FolderUnusable(RotaError):
    """The data folder cannot be used."""

    code = "FOLDER_UNUSABLE"


class DataFolder:
    """A folder that this process holds from `with` to the end of it, whatever ends the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> "DataFolder":
        """Make the folder (mode 0700) if need be, and hold it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            hint = "give another folder with --data, or make this one writable"
            raise FolderUnusable(f"the data folder {self.path} cannot be used: {error.strerror}", hint=hint) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            hint = "use that one (rota open), stop it, or give another folder with --data"
            raise FolderTaken(f"{self.path} is already in use by {holder}", hint=hint) from error
        self._descriptor = descriptor
        self._write({"pid": os.getpid(), "host": socket.gethostname()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def announce(self, url: str) -> None:
        """Tell commands on this machine where the server is (`server.json`)."""
        facts = {"url": url, "pid": os.getpid(), "host": socket.gethostname()}
        target = self.path / "server.json"
        fresh = target.with_suffix(".new")
        fresh.write_text(json.dumps(facts) + "\n")
        fresh.replace(target)

    def withdraw(self) -> None:
        """The server is not there any more."""
        (self.path / "server.json").unlink(missing_ok=True)

    def _write(self, facts: dict[str, object]) -> None:
        """Say in the lock file who holds it."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(facts).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as the lock file tells."""
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {facts['pid']} on {facts['host']}"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
