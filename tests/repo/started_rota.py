"""`rota up` in a folder of somebody's own, and what it prints, heard as it is printed."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

START_SECONDS = 30.0
LINK = re.compile(r"http://127\.0\.0\.1:\d+/login\?code=\S+")


def clean_environment(home: Path) -> dict[str, str]:
    """As in a fresh terminal in which `rota` is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "HOME": str(home), "NO_COLOR": "1", "PATH": path, "COLUMNS": "200"}


class StartedRota:
    """Started as a person starts it, on a port that is free; ended by `stop`."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["rota", "up", "--no-open", "--port", "0"],
            cwd=folder,
            env=clean_environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._printed: list[str] = []
        self._greeted = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="listener")
        self._listener.start()

    @property
    def printed(self) -> str:
        """All that it printed so far."""
        return "".join(self._printed)

    def link(self) -> str:
        """The printed login link, once it is there."""
        assert self._greeted.wait(START_SECONDS), self.printed
        found = LINK.search(self.printed)
        assert found is not None, self.printed
        return found.group()

    def stop(self) -> int:
        """Ctrl-C; the second one does not wait for the job that runs."""
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)
            return self._process.wait(timeout=30)
        finally:
            self._listener.join(timeout=10)
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._printed.append(line)
            if LINK.search(line):
                self._greeted.set()
        self._greeted.set()  # it ended: whoever waits shall see what it said
