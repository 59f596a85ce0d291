"""The tutorial is true: every file of it is written, every command typed, every line it shows was printed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_blocks import Command, File, steps
from repo_scripts import ROOT

TUTORIAL = ROOT / "docs" / "tutorial" / "from-crontab-to-rota.md"
START_SECONDS = 30.0


class Reader:
    """Somebody who follows the page in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ""
        self._up: subprocess.Popen[bytes] | None = None
        (folder / "home").mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**kept, "HOME": str(folder / "home"), "NO_COLOR": "1", "PATH": path, "COLUMNS": "200"}

    def do(self, step: File | Command) -> None:
        """Write the file or type the command."""
        if isinstance(step, File):
            (self.folder / step.name).write_text(self._adapted(step.text))
        elif step.text == "make up":
            self._check(step, self._start())
        else:
            self._type(step)

    def close(self) -> None:
        """Stop what runs."""
        if self._up is not None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()

    def _start(self) -> str:
        """What `make up` does once everything is set up, on a port that is free here."""
        log = self.folder / "up.log"
        with log.open("wb") as output:
            command = ["rota", "up", "--no-open", "--port", "0"]
            self._up = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        facts = self.folder / ".rota" / "server.json"
        while not (facts.exists() and "login?code=" in log.read_text()):
            assert self._up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        self.port = json.loads(facts.read_text())["url"].rpartition(":")[2]
        return log.read_text()

    def _type(self, command: Command) -> None:
        done = subprocess.run(
            ["bash", "-c", self._adapted(command.text)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command.text}\n{printed}"
        self._check(command, printed)

    def _check(self, command: Command, printed: str) -> None:
        missing = Command("", [self._adapted(one) for one in command.output]).missing(printed)
        assert not missing, f"$ {command.text}\nshould show {missing}\nbut printed\n{printed}"

    def _adapted(self, text: str) -> str:
        """The page says the usual port; here it is another."""
        return text.replace("127.0.0.1:8700", f"127.0.0.1:{self.port}")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    following = Reader(tmp_path)
    yield following
    following.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_tutorial(reader: Reader) -> None:
    found = list(steps(TUTORIAL.read_text()))
    commands = [step for step in found if isinstance(step, Command)]
    assert len(commands) >= 15
    assert {step.name for step in found if isinstance(step, File)} == {"crontab.txt", "fetch.yaml"}
    for step in found:
        reader.do(step)


PAGE = """\
Text with `$ not a command`.

```yaml jobs.yaml
version: 1
```

```console
$ first
it says … here
$ second --flag

…end
```

```text
$ not a command either
```
"""


def test_a_page_is_read_in_order() -> None:
    assert list(steps(PAGE)) == [
        File("jobs.yaml", "version: 1\n"),
        Command("first", ["it says … here"]),
        Command("second --flag", ["…end"]),
    ]


@pytest.mark.parametrize(
    ("promised", "printed", "kept"),
    [
        ("it says … here", "x\nit  says so   here\ny", True),
        ("it says … here", "and it says so here", False),
        ("…end", "the end", True),
        ("…end", "the end of it", False),
        ("whole line", "whole line more", False),
        ("a.b", "axb", False),
    ],
)
def test_promised_output(promised: str, printed: str, kept: bool) -> None:
    assert (Command("", [promised]).missing(printed) == []) is kept
