"""The commands as a person meets them: real programs on a real pseudo-terminal."""

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.e2e.running_rota import RunningRota, rota_command

SECONDS = 20.0
# Takes the terminal as its own, which a prompt for a password needs, and then becomes the command.
BECOME = """\
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Screen:
    """What stands on the terminal."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor, self.process, self.text = descriptor, process, ""

    def wait_for(self, text: str) -> None:
        while text not in self.text:
            assert self._read(), f"never seen: {text!r} in {self.text!r}"

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def rest(self) -> str:
        """Everything until the command has ended."""
        while self._read():
            pass
        self.process.wait(SECONDS)
        return self.text

    def _read(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], SECONDS)
        assert ready, f"silent for {SECONDS} s after {self.text!r}"
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # Linux says so when the last program has left the terminal
            return False
        self.text += data.decode().replace("\r\n", "\n")
        return bool(data)


@contextmanager
def on_a_terminal(folder: Path, *arguments: str, **environment: str) -> Iterator[Screen]:
    """Run a command on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    variables = {**inherited, "TERM": "xterm", "COLUMNS": "100", **environment}
    command = [sys.executable, "-c", BECOME, *rota_command(), *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, cwd=folder)
    os.close(theirs)
    try:
        yield Screen(ours, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(SECONDS)
        os.close(ours)


def seen(live: Command, installation: RunningRota, *arguments: str, **environment: str) -> str:
    """Everything a command shows."""
    with on_a_terminal(live.folder, *arguments, "--data", str(installation.data), **environment) as screen:
        return screen.rest()


JOBS = """\
version: 1
namespace: terminal
jobs:
  daily: { shell: "true", schedule: every day at 03:00, timezone: Europe/Berlin }
  colours: { shell: "printf '\\\\033]0;title\\\\007\\\\033[31mred\\\\033[0m\\\\n'" }
"""


@pytest.fixture
def jobs(live: Command, installation: RunningRota) -> Command:
    live("apply", str(installation.jobs(JOBS, "terminal.yaml")), "--quiet")
    live("run", "terminal/colours", "--wait", "--quiet")
    return live


def test_tables_have_colour_and_relative_times(jobs: Command, installation: RunningRota) -> None:
    text = seen(jobs, installation, "ls", "-q", "ns:terminal")
    assert "\x1b[32mhealthy\x1b[0m" in text or "\x1b[2mnew\x1b[0m" in text
    assert re.search(r"in \d+[hm]", text)
    assert not re.search(r"\d{4}-\d\d-\d\dT", text)


def test_no_color_is_obeyed(jobs: Command, installation: RunningRota) -> None:
    assert "\x1b" not in seen(jobs, installation, "ls", "-q", "ns:terminal", "--no-color")
    assert "\x1b" not in seen(jobs, installation, "ls", "-q", "ns:terminal", NO_COLOR="1")


def test_next_says_the_zone_of_the_job(jobs: Command, installation: RunningRota) -> None:
    text = seen(jobs, installation, "next", "-q", "ns:terminal")
    assert re.search(r"03:00 CES?T", text)
    assert "03:00" not in seen(jobs, installation, "next", "-q", "ns:terminal", "--utc").partition("every")[0]


def test_a_log_keeps_its_colours_and_nothing_else(jobs: Command, installation: RunningRota) -> None:
    text = seen(jobs, installation, "logs", "terminal/colours")
    assert "\x1b[31mred\x1b[0m" in text
    assert "\x1b]0;" not in text
    assert "\\x1b]0;title\\x07" in text


def test_a_secret_is_asked_for_and_not_shown(live: Command, installation: RunningRota) -> None:
    arguments = ("secret", "set", "PROMPTED", "--data", str(installation.data))
    with on_a_terminal(live.folder, *arguments) as screen:
        screen.wait_for("value of PROMPTED (not shown): ")
        screen.type("hunter22hunter\n")
        text = screen.rest()
        assert screen.process.returncode == 0
    assert "hunter22" not in text
    assert "is set" in text
    live("secret", "rm", "PROMPTED")


def test_open_starts_the_browser_of_the_user(live: Command, installation: RunningRota, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    text = seen(live, installation, "open", BROWSER=f"{browser} %s")
    (link,) = re.findall(r"http://\S+/login\?code=\S+", text)
    assert (tmp_path / "opened").read_text() == link
    (tmp_path / "opened").unlink()
    seen(live, installation, "open", "--no-browser", BROWSER=f"{browser} %s")
    assert not (tmp_path / "opened").exists()


def test_ctrl_c_at_the_keyboard_ends_quietly(live: Command, installation: RunningRota) -> None:
    text = "version: 1\nnamespace: terminal\njobs:\n  long: { shell: 'echo begun; sleep 60' }\n"
    live("apply", str(live.write("long.yaml", text)), "--quiet")
    run = live("run", "terminal/long").out.strip()
    with on_a_terminal(live.folder, "logs", "-f", run, "--data", str(installation.data)) as screen:
        screen.wait_for("begun")
        screen.type("\x03")
        shown = screen.rest()
        assert screen.process.returncode == 130
    assert "Traceback" not in shown
    live("cancel", run, "--wait")
