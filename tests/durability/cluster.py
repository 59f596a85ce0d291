"""A real `rota up`, started, killed and asked over HTTP; nothing of the package is imported here."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

from tests.history import processes
from tests.history.processes import Process

START_SECONDS = 30.0
CHILDREN_MAY_LIVE = 1.0  # seconds after the kill


class Unanswered(Exception):
    """The server went away: whether the call took effect is not known."""


class Refused(Exception):
    """The server answered, and not what was wanted."""


class Cluster:
    """One data folder and the server over it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "up.log"
        self._arguments = arguments
        self._server: subprocess.Popen[bytes] | None = None
        self._address: tuple[str, int] | None = None
        self._token = ""

    # ── life and death ───────────────────────────────────────────────────────────────────────────────────

    def spawn(self) -> None:
        """Start the process; it is not ready yet."""
        self._address = None
        (self.data / "server.json").unlink(missing_ok=True)
        command = [str(Path(sys.executable).with_name("rota")), "up", "--data", str(self.data), "--port", "0"]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [*command, "--no-open", *self._arguments],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={name: value for name, value in os.environ.items() if not name.startswith("ROTA_")},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.ends_within(0.02):
                raise AssertionError(f"rota up ended with {self.server.returncode}:\n{self.tail()}")
            with contextlib.suppress(OSError, ValueError, KeyError, Unanswered, Refused):
                self._find()
                self.get("/readyz")
                return
        raise AssertionError(f"rota up was not ready within {START_SECONDS:g} s:\n{self.tail()}")

    def ends_within(self, seconds: float) -> bool:
        """Whether the process has ended by itself, waiting so long for it."""
        try:
            self.server.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.spawn()
        self.wait_ready()

    def stop(self) -> int:
        """End it as an operator would; the exit code."""
        self.server.send_signal(signal.SIGTERM)
        return self.server.wait(timeout=60)

    def kill_server(self) -> list[Process]:
        """kill -9 the server alone, and return what lived below it or for it at that moment."""
        below = processes.descendants(self.server.pid)
        self.server.kill()
        self.server.wait(timeout=10)
        known = {process.pid for process in below}
        return below + [process for process in processes.marked(f"{self.data}/") if process.pid not in known]

    def kill_keeper(self) -> list[Process] | None:
        """kill -9 the keeper alone, and return what lived below it; None when there was no keeper to kill."""
        keeper = self.keeper()
        if keeper is None:
            return None
        below = processes.descendants(keeper.pid)
        try:
            os.kill(keeper.pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return [keeper, *below]

    def keeper(self) -> Process | None:
        """The keeper of the worker inside: the server's own child that says so, however it was started."""
        for process in processes.children(self.server.pid):
            if "keeper" in processes.describe(process):
                return process
        return None

    def end(self) -> None:
        """Leave nothing behind."""
        if self._server is not None and self._server.poll() is None:
            processes.survivors(self.kill_server(), 5.0)

    @property
    def server(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._server is not None
        return self._server

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    # ── talk ─────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, path: str) -> Any:
        """A GET's answer."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """One request on a connection of its own. Raises Unanswered or Refused."""
        if self._address is None:
            raise Unanswered("no server")
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status == 503:
            raise Unanswered(f"{method} {path}: 503 {raw[:300]!r}")
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status} {raw[:600]!r}")
        return json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()

    def pages(self, path: str) -> list[Any]:
        """All items of a list."""
        items: list[Any] = []
        cursor: str | None = None
        while True:
            join = "&" if "?" in path else "?"
            page = self.get(path if cursor is None else f"{path}{join}cursor={urllib.parse.quote(cursor)}")
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items

    def _find(self) -> None:
        """Learn where this server is and by which token it lets us in."""
        facts = json.loads((self.data / "server.json").read_text())
        if facts["pid"] != self.server.pid:
            raise ValueError("the note of an earlier server")
        self._token = (self.data / "admin-token").read_text().strip()
        url = urllib.parse.urlsplit(facts["url"])
        self._address = (str(url.hostname), int(url.port or 80))

    # ── the database, while nobody writes ────────────────────────────────────────────────────────────────

    def integrity(self) -> str:
        """What SQLite says of a copy of the database as it lies there now, its log replayed: "ok" or the damage."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.data.glob("rota.db*"):
            shutil.copy(path, copy / path.name)
        try:
            with contextlib.closing(sqlite3.connect(copy / "rota.db")) as database:
                damage = [row[0] for row in database.execute("PRAGMA integrity_check")]
                damage += [f"foreign key: {row}" for row in database.execute("PRAGMA foreign_key_check")]
        except sqlite3.DatabaseError as error:
            return f"unreadable: {error}"
        return "ok" if damage == ["ok"] else "; ".join(damage)
