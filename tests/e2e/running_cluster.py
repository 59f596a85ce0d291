"""Real `rota server` and `rota worker` processes over one database, and the commands of their administrator."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.running_rota import rota_command

START_SECONDS = 20.0


class Part:
    """One process with its log; ended whatever happens."""

    def __init__(self, folder: Path, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*rota_command(), *arguments],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until_said(self, words: str, times: int = 1) -> None:
        """Wait until its log has these words so often."""
        until(lambda: self.said.count(words) >= times, lambda: f"{words!r} was not said:\n{self.said}")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 45) -> int:
        """End it by a signal; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)


class Cluster:
    """A database, servers, workers."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder}/store/rota.db"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("ROTA_")}
        self.environment |= {"NO_COLOR": "1", "HOME": str(folder)}
        self._parts: list[Part] = []

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            part.kill()

    def begin(self) -> None:
        """An administrator's token, and the first server."""
        self.environment["ROTA_TOKEN"] = self.rota("token", "create", "--database", self.database, "--scope", "admin")
        self.environment["ROTA_URL"] = self.url
        self.server()

    def start(self, name: str, *arguments: str, **environment: str) -> Part:
        """Start a process."""
        inherited = {key: text for key, text in self.environment.items() if key not in ("ROTA_TOKEN", "ROTA_URL")}
        part = Part(self.folder, name, list(arguments), {**inherited, **environment})
        self._parts.append(part)
        return part

    def server(self, *arguments: str, **environment: str) -> Part:
        """Start a server and wait until it is ready."""
        part = self.start(
            "server", "server", "--database", self.database, "--port", str(self.port), *arguments, **environment
        )
        until(lambda: part.process.poll() is not None or is_ready(self.url), lambda: f"not ready:\n{part.said}")
        assert part.process.poll() is None, part.said
        return part

    def worker(self, name: str, *arguments: str, **environment: str) -> Part:
        """Start a worker; it joins if it has no token of its own."""
        if not (self.folder / name / "worker-token").exists() and "ROTA_JOIN_TOKEN" not in environment:
            environment["ROTA_JOIN_TOKEN"] = self.rota("token", "create", "--join")
        state = str(self.folder / name)
        given = ["worker", "--name", name, "--state", state, *arguments]
        if "--server" not in arguments:
            given += ["--server", self.url]
        return self.start(name, *given, **environment)

    def rota(self, *arguments: str, expect: int | None = 0, stdin: str | None = None) -> str:
        """Run a command; returns its stdout."""
        return self.command(*arguments, expect=expect, stdin=stdin).stdout.strip()

    def command(self, *arguments: str, expect: int | None = 0, stdin: str | None = None) -> Any:
        """Run a command."""
        done = subprocess.run(
            [*rota_command(), *arguments], input=stdin, capture_output=True, text=True, timeout=90, check=False,
            cwd=self.folder, env=self.environment,
        )  # fmt: skip
        if expect is not None:
            assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def workers(self) -> dict[str, str]:
        """Name and state of all workers."""
        return {one["name"]: one["state"] for one in json.loads(self.rota("workers", "--json"))["items"]}

    def until_worker(self, name: str, state: str) -> None:
        until(lambda: self.workers().get(name) == state, lambda: f"{self.workers()}")


def until(good: Callable[[], bool], words: Callable[[], str], seconds: float = START_SECONDS) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline, words()
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    """Whether a server answers that it can do its duty."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def python(code: str, *arguments: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
