"""A real `rota up` in a process of its own, and the commands a person would type against it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

START_SECONDS = 20.0


class RunningRota:
    """`rota up` on a free port over a folder of its own. Ends with the test, whatever happens."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.data = folder / "data"
        self.folder = folder
        self.log = folder / "up.log"
        self._arguments = arguments
        self._environment = {**os.environ, "NO_COLOR": "1", **(environment or {})}
        self._environment.pop("ROTA_URL", None)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RunningRota":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start and wait until it answers."""
        (self.data / "server.json").unlink(missing_ok=True)
        command = [*rota_command(), "up", "--data", str(self.data), "--port", "0", "--no-open", *self._arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self.data / "server.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"rota up did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """End it as an operator would; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait(timeout=10)

    def rota(
        self, *arguments: str, stdin: str | None = None, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of this installation would."""
        done = subprocess.run(
            [*rota_command(), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=self.folder,
            env={**self._environment, "ROTA_DATA": str(self.data)},
        )
        if expect is not None:
            assert done.returncode == expect, (
                f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log.read_text()[-3000:]}"
            )
        return done

    def json(self, *arguments: str) -> Any:
        """A command's `--json` document."""
        return json.loads(self.rota(*arguments, "--json").stdout)

    def jobs(self, text: str, name: str = "jobs.yaml") -> Path:
        """Write a job file into the working folder."""
        path = self.folder / name
        path.write_text(text)
        return path


def rota_command() -> list[str]:
    """The `rota` of this environment."""
    return [str(Path(sys.executable).with_name("rota"))]
