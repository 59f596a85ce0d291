"""A cluster whose every way leads through our hands: servers, workers, and who talks to whom."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.api import Api
from tests.chaos.frames import FrameWay
from tests.chaos.statements import StatementWay
from tests.chaos.ways import Ways
from tests.e2e.running_cluster import Cluster, Part, free_port, is_ready, until
from tests.history import processes
from tests.history.processes import Process

READY_SECONDS: Final = 60.0
SHARDS: Final = 64
WORKER_SETTINGS: Final = 'allowed_networks = ["127.0.0.0/8"]\n'  # where the targets of http jobs are


@dataclass(kw_only=True)
class ServerMachine:
    """One server, and its way to the database."""

    name: str
    port: int
    database: StatementWay
    part: Part | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it is, without anything between."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> Part:
        """Its process."""
        assert self.part is not None
        return self.part


@dataclass(kw_only=True)
class WorkerMachine:
    """One worker, and its way to each server."""

    name: str
    ways: dict[str, FrameWay]
    part: Part | None = None
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def running(self) -> Part:
        """Its process: the agent."""
        assert self.part is not None
        return self.part

    def below(self) -> list[Process]:
        """Keeper and attempts, as of now."""
        return processes.descendants(self.running.process.pid)


class Machines:
    """The whole cluster, apart from its database."""

    def __init__(self, folder: Path, database: str, ways: Ways, rng: Random) -> None:
        self.folder = folder
        self.ways = ways
        self.rng = rng
        self.servers: list[ServerMachine] = []
        self.workers: list[WorkerMachine] = []
        self._cluster = Cluster(folder, database)
        self._cluster.environment |= {"ROTA_LOG_FORMAT": "json"}
        self._join_token = ""
        self._database = database

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *_: object) -> None:
        """End every process, frozen ones too, and what fell from them."""
        below = [process for worker in self.workers if worker.part is not None for process in worker.below()]
        self._cluster.__exit__(*_)
        for process in processes.survivors(below, 3.0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def begin(self, servers: int, workers: int) -> Api:
        """Start everything and wait until it works."""
        token = self._cluster.rota("token", "create", "--database", self._database, "--scope", "admin")
        self._cluster.environment["ROTA_TOKEN"] = token
        for number in range(1, servers + 1):
            self.add_server(f"s{number}")
        for server in self.servers:
            self.await_server(server)
        self._cluster.environment["ROTA_URL"] = self.servers[0].url
        self._join_token = self._cluster.rota("token", "create", "--join", "--uses", "100", "--expires", "1h")
        for number in range(1, workers + 1):
            self.add_worker(f"w{number}")
        for worker in self.workers:
            self.await_worker(worker)
        return Api([server.url for server in self.servers], token, Random(self.rng.getrandbits(64)))

    # ── servers ──────────────────────────────────────────────────────────────────────────────────────────

    def add_server(self, name: str) -> ServerMachine:
        """One more server; it is not ready yet."""
        way = self.ways.add(lambda: StatementWay(self._database))
        server = ServerMachine(name=name, port=free_port(), database=way)
        self.servers.append(server)
        self.start_server(server)
        return server

    def start_server(self, server: ServerMachine) -> None:
        """Start its process, again or for the first time."""
        arguments = ["server", "--database", server.database.url, "--port", str(server.port)]
        server.part = self._cluster.start(server.name, *arguments, **server.environment)

    def await_server(self, server: ServerMachine) -> None:
        """Wait until it is ready."""
        part = server.running
        until(
            lambda: part.process.poll() is not None or is_ready(server.url),
            lambda: f"{server.name} is not ready:\n{part.said}",
            READY_SECONDS,
        )
        assert part.process.poll() is None, part.said

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────

    def add_worker(self, name: str, *arguments: str) -> WorkerMachine:
        """One more worker, with ways of its own; it has not connected yet."""
        worker = WorkerMachine(name=name, ways={}, arguments=list(arguments))
        for server in self.servers:
            rng = Random(self.rng.getrandbits(64))
            worker.ways[server.name] = self.ways.add(lambda url=server.url, rng=rng: FrameWay(url, rng))  # type: ignore[misc]
        self.workers.append(worker)
        self.start_worker(worker)
        return worker

    def start_worker(self, worker: WorkerMachine) -> None:
        """Start its process, again or for the first time."""
        given = [text for way in worker.ways.values() for text in ("--server", way.url)]
        state = self.state_of(worker)
        state.mkdir(mode=0o700, exist_ok=True)
        (state / "rota.toml").write_text(WORKER_SETTINGS)
        environment = dict(worker.environment)
        if not (state / "worker-token").exists():
            environment["ROTA_JOIN_TOKEN"] = self._join_token
        arguments = ["worker", "--name", worker.name, "--state", str(state), *given, *worker.arguments]
        worker.part = self._cluster.start(worker.name, *arguments, **environment)

    def state_of(self, worker: WorkerMachine) -> Path:
        """Its folder: token, spool, the attempts' files."""
        return self.folder / f"state-{worker.name}"

    def restart_worker(self, worker: WorkerMachine) -> None:
        """TERM, and start it again."""
        times = self.stop_worker(worker)
        self.start_worker(worker)
        self.await_worker(worker, times + 1)

    def stop_worker(self, worker: WorkerMachine) -> int:
        """TERM; returns how often it has connected until now."""
        times = len(self.events(worker.running, "ServerReached"))
        assert worker.running.stop() == 0, worker.running.said[-3000:]
        return times

    def await_worker(self, worker: WorkerMachine, times: int = 1) -> None:
        """Wait until it has connected so often."""
        until(
            lambda: len(self.events(worker.running, "ServerReached")) >= times,
            lambda: f"{worker.name} has not connected {times} times:\n{worker.running.said[-3000:]}",
            READY_SECONDS,
        )

    # ── what they said ───────────────────────────────────────────────────────────────────────────────────

    def events(self, part: Part, name: str) -> list[dict[str, Any]]:
        """All events of this name in a process's log, those of its forerunners included."""
        found = []
        for line in part.said.splitlines():
            if f'"{name}"' in line and line.startswith("{"):
                entry = json.loads(line)
                found += [entry] if entry.get("event") == name else []
        return found

    def everywhere(self, name: str) -> list[dict[str, Any]]:
        """All events of this name in all logs."""
        parts = [machine.running for machine in (*self.servers, *self.workers)]
        return [event for part in parts for event in self.events(part, name)]

    def led(self, server: ServerMachine) -> int:
        """How many shards its present process says that it leads."""
        shards: set[int] = set()
        process = ""
        for line in server.running.said.splitlines():
            if not line.startswith("{") or '"Shards' not in line:
                continue
            entry = json.loads(line)
            if entry["server"] != process:
                process, shards = entry["server"], set()
            change = numbers(entry["shards"])
            shards = shards | change if entry["event"] == "ShardsTaken" else shards - change
        return len(shards)

    def until_led_by(self, servers: list[ServerMachine], seconds: float = 30.0) -> None:
        """Wait until these servers lead all shards between them, each that has workers some."""
        until(
            lambda: (
                sum(map(self.led, servers)) >= SHARDS and all(self.led(one) for one in servers if self.sessions(one))
            ),
            lambda: f"shards are led so: { ({one.name: self.led(one) for one in servers}) }",
            seconds,
        )

    def sessions(self, server: ServerMachine) -> list[WorkerMachine]:
        """The workers whose newest session is with this server."""
        newest = {}
        for worker in self.workers:
            reached = self.events(worker.running, "ServerReached")
            newest[worker.name] = reached[-1]["server"] if reached else ""
        started = self.events(server.running, "ServerStarted")
        return [worker for worker in self.workers if started and newest[worker.name] == started[-1]["server"]]

    # ── freezing ─────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def stopped(self, pids: list[int]) -> Iterator[None]:
        """These processes stand still meanwhile."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def numbers(ranges: str) -> set[int]:
    """The numbers of a list as a log line has it: "0-3, 7"."""
    spans = [span.strip().partition("-") for span in ranges.split(",") if span.strip()]
    return {number for first, _, last in spans for number in range(int(first), int(last or first) + 1)}
