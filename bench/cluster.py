"""A real cluster to measure: PostgreSQL with its own settings, servers and workers, all on this machine."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.postgres.cluster import Cluster as Postgres
from tests.postgres.cluster import binaries

from bench.installation import START_SECONDS, Api, below, cpu_seconds

ROTA: Final = str(Path(sys.executable).with_name("rota"))
GIVEN: Final = "postgres-18"


class Cluster(Api):
    """Equal servers and workers over one database. What is asked of it, the first server answers."""

    def __init__(self, folder: Path, postgres: Postgres, *, servers: int, workers: int) -> None:
        self.folder = folder
        self.postgres = postgres
        self.database = postgres.create()
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith("ROTA_")}
        self._environment["ROTA_SECRET_KEY"] = base64.b64encode(os.urandom(32)).decode()
        self.ports = [_free_port() for _ in range(servers)]
        self.servers: dict[int, subprocess.Popen[bytes]] = {}
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.token = self._rota("token", "create", "--database", self.database, "--scope", "admin")
        self.address = ("127.0.0.1", self.ports[0])
        for port in self.ports:
            self.start_server(port)
        for number in range(workers):
            self.start_worker(f"w{number + 1}")
        self.until_up(workers)

    def start_server(self, port: int) -> None:
        """Start the server of this port and wait until it is ready."""
        command = ["server", "--database", self.database, "--port", str(port)]
        self.servers[port] = self._start(f"server-{port}", command, self._environment)
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(port):
            if time.monotonic() > deadline or self.servers[port].poll() is not None:
                raise RuntimeError(f"no server:\n{(self.folder / f'server-{port}.log').read_text()}")
            time.sleep(0.05)

    def start_worker(self, name: str) -> None:
        """Start a worker; it joins if it has not before."""
        environment = dict(self._environment)
        if not (self.folder / name / "worker-token").exists():
            environment["ROTA_JOIN_TOKEN"] = self.join_token()
        command = ["worker", "--name", name, "--state", str(self.folder / name)]
        command += [word for port in self.ports for word in ("--server", f"http://127.0.0.1:{port}")]
        self.workers[name] = self._start(name, command, environment)

    def join_token(self, uses: int = 1) -> str:
        """A token with which workers join."""
        known = {"ROTA_TOKEN": self.token, "ROTA_URL": f"http://{self.address[0]}:{self.address[1]}"}
        return self._rota("token", "create", "--join", "--uses", str(uses), **known)

    def until_up(self, workers: int, seconds: float = START_SECONDS) -> None:
        """Wait until so many workers are connected."""
        deadline = time.monotonic() + seconds
        while sum(one["state"] == "up" for one in self.call("GET", "/api/v1/workers")["items"]) < workers:
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(log.read_text()[-2000:] for log in self.folder.glob("*.log")))
            time.sleep(0.1)

    def processes(self) -> list[int]:
        """Servers, workers and everything below them."""
        return below([one.pid for one in (*self.servers.values(), *self.workers.values())])

    def cpu_of_parts(self) -> dict[str, float]:
        """CPU seconds of the servers, of the workers with all they run, and of the database."""
        return {
            "servers": cpu_seconds([one.pid for one in self.servers.values()]),
            "workers": cpu_seconds(below([one.pid for one in self.workers.values()])),
            "postgres": cpu_seconds(self.postgres.pids()),
        }

    def close(self) -> None:
        """Stop all; nothing is left."""
        for process in (*self.workers.values(), *self.servers.values()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in (*self.workers.values(), *self.servers.values()):
            try:
                process.wait(timeout=45)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, arguments: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [ROTA, *arguments], stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )

    def _rota(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [ROTA, *arguments], capture_output=True, text=True, check=True, env={**self._environment, **environment}
        )
        return done.stdout.strip()


@contextlib.contextmanager
def cluster(*, servers: int = 2, workers: int = 2) -> Iterator[Cluster]:
    """A cluster that is gone afterwards, over PostgreSQL on disk with its own settings."""
    with (
        tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as folder,
        Postgres(binaries()[GIVEN], on_disk=True) as postgres,
    ):
        Path(folder).chmod(0o755)
        running = Cluster(Path(folder), postgres, servers=servers, workers=workers)
        try:
            yield running
        finally:
            running.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
