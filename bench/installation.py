"""A real `rota up` to measure: started in its own folder, loaded over the API, its CPU time read in /proc."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

START_SECONDS: Final = 30.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
BATCH: Final = 5_000


class Api:
    """A running installation, loaded and asked over the API of one of its servers."""

    folder: Path
    address: tuple[str, int]
    token: str

    def cpu_seconds(self) -> float:
        """CPU seconds of all its processes, ended children included."""
        return cpu_seconds(self.processes())

    def processes(self) -> list[int]:
        """All its processes."""
        raise NotImplementedError

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; its answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=120)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw[:500]!r}")
        return json.loads(raw)

    def apply(self, specs: dict[str, dict[str, Any]]) -> None:
        """Define jobs."""
        items = [{"job": name, "spec": spec} for name, spec in specs.items()]
        for start in range(0, len(items), BATCH):
            answer = self.call("POST", "/api/v1/jobs:batch", {"jobs": items[start : start + BATCH]})
            if answer["refused"]:
                raise RuntimeError(f"refused: {[item for item in answer['items'] if item['problem']][:1]}")

    def trigger(self, names: Sequence[str], at: datetime) -> None:
        """Make one run of each name, due at `at`."""
        due = at.isoformat()
        items = [{"job": name, "at": due, "key": f"{due}-{index}"} for index, name in enumerate(names)]
        for start in range(0, len(items), BATCH):
            answer = self.call("POST", "/api/v1/runs:batch", {"runs": items[start : start + BATCH]})
            if answer["refused"]:
                raise RuntimeError(f"refused: {[item for item in answer['items'] if item['problem']][:1]}")

    def unfinished(self) -> int:
        """How many runs are not ended (at least)."""
        answer = self.call("GET", "/api/v1/runs?q=state:queued,starting,running&limit=1")
        return int(answer["count"]["value"])

    def runs(self, since: datetime) -> Iterator[dict[str, Any]]:
        """All runs due since then."""
        path = f"/api/v1/runs?limit=1000&since={urllib.parse.quote(since.isoformat())}"
        cursor: str | None = None
        while True:
            page = self.call("GET", path + (f"&cursor={urllib.parse.quote(cursor)}" if cursor else ""))
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return


class Installation(Api):
    """One server and one worker over an empty data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        (folder / "jobs").mkdir()
        command = [str(Path(sys.executable).with_name("rota")), "up", "--data", str(self._data), "--port", "0"]
        with (folder / "up.log").open("wb") as log:
            self._server = subprocess.Popen(
                [*command, "--no-open", "--jobs", str(folder / "jobs")],
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("ROTA_")},
                cwd=folder,
            )
        self.address = self._find()

    def _find(self) -> tuple[str, int]:
        """Wait until it listens."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                url = urllib.parse.urlsplit(json.loads((self._data / "server.json").read_text())["url"])
                self.token = (self._data / "admin-token").read_text().strip()
                return str(url.hostname), int(url.port or 80)
            time.sleep(0.05)
        raise RuntimeError(f"rota up did not start:\n{(self.folder / 'up.log').read_text()}")

    def processes(self) -> list[int]:
        """The server and everything below it."""
        return below([self._server.pid])

    def close(self) -> None:
        """Stop it; nothing is left."""
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


@contextlib.contextmanager
def installation() -> Iterator[Installation]:
    """An installation that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as folder:
        running = Installation(Path(folder))
        try:
            yield running
        finally:
            running.close()


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def below(pids: Sequence[int]) -> list[int]:
    """These processes and everything below them."""
    found = list(pids)
    for pid in found:  # grows while we walk it
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU seconds of these processes, and of their children that have ended."""
    return sum(_cpu(pid) for pid in pids)


def _cpu(pid: int) -> float:
    """CPU seconds of one process and its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS
