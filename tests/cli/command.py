"""Running `rota` inside the test's own process, as a script would see it."""

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rota.cli.main import run


class Done(NamedTuple):
    """What a command left: exit code, data, talk."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Stdin(io.TextIOWrapper):
    """A stdin that is not a terminal."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")


class Command:
    """`rota` with an environment and a working folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(folder)
        for name in ("ROTA_URL", "ROTA_TOKEN", "ROTA_DATA", "ROTA_CONFIG", "TZ"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_COLOR", "1")

    def __call__(self, *arguments: str, stdin: bytes | str | None = None, expect: int | None = 0) -> Done:
        if stdin is not None:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            self._monkeypatch.setattr(sys, "stdin", Stdin(data))
        self._capsys.readouterr()
        code = run(arguments)
        done = Done(code, *self._capsys.readouterr())
        if expect is not None:
            assert done.code == expect, done
        assert "Traceback" not in done.err, done.err
        return done

    def env(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
