"""What a warm python process is made for: an interpreter, a working folder, a user."""

import shutil
from pathlib import Path

import msgspec

from rota.wire.messages import AttemptOrder
from rota.worker.environment import identity_of, working_folder
from rota.worker.settings import WorkerSettings


class Place(msgspec.Struct, frozen=True):
    """Attempts share a process only if all of it is the same."""

    interpreter: str
    cwd: str | None
    user: str | None


class Places:
    """Finds the place of each attempt."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._interpreters: dict[str, str] = {}  # where they were found

    def place_of(self, order: AttemptOrder) -> Place:
        """What process the attempt needs; raise UserRefused, OSError or ValueError if there is none."""
        cwd = order.cwd
        if order.user is not None or cwd is not None:
            identity = identity_of(order.user, self._settings)
            cwd = None if cwd is None else working_folder(cwd, identity)
        return Place(self._interpreter(order.venv, order.interpreter), cwd, order.user)

    def _interpreter(self, venv: str | None, interpreter: str | None) -> str:
        if venv is not None:
            return str(Path(venv, "bin", "python"))
        wanted = interpreter or self._settings.interpreter
        if "/" in wanted:
            return wanted
        found = self._interpreters.get(wanted) or shutil.which(wanted)
        if found is None:
            raise ValueError(f"interpreter: {wanted} was not found on worker {self._settings.name}")
        self._interpreters[wanted] = found
        return found
