"""The tutorial is true: every file of it is written, every command typed, every line it shows was printed."""

import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_blocks import Command, File, steps
from repo_scripts import ROOT
from started_rota import StartedRota, clean_environment

TUTORIAL = ROOT / "docs" / "tutorial" / "from-crontab-to-rota.md"


class Reader:
    """Somebody who follows the page in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ""
        self._up: StartedRota | None = None

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
            self._up.stop()

    def _start(self) -> str:
        """What `make up` does once everything is set up, on a port that is free here."""
        self._up = StartedRota(self.folder)
        self.port = str(urllib.parse.urlsplit(self._up.link()).port)
        return self._up.printed

    def _type(self, command: Command) -> None:
        done = subprocess.run(
            ["bash", "-c", self._adapted(command.text)],
            cwd=self.folder,
            env=clean_environment(self.folder),
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
