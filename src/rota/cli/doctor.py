"""`doctor`: looks at the installation from this machine and says what is wrong with it."""

import asyncio
import os
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rota.alerts.channel import NotTaken
from rota.alerts.registry import make_channels
from rota.cli import exits
from rota.cli.common import Show
from rota.cli.connection import Server
from rota.cli.terminal import Screen, plain
from rota.client.client import BlockingClient
from rota.client.discovery import find_data
from rota.core.errors import RotaError
from rota.settings import SettingsRefused, Sources, load_up_settings

_CLOCK_SECONDS = 2.0
_LOW_DISK = 0.05
_SIGNS = {"ok": ("✓", "good"), "warning": ("!", "warn"), "problem": ("✕", "bad")}


class Finding(NamedTuple):
    """What was found: `level` is ok, warning or problem."""

    level: str
    subject: str
    words: str
    hint: str = ""


def doctor(*, server: Server = Server(), show: Show = Show()) -> int:
    """Look at data folder, settings, server, clock, workers and mail; exit 40 when something is wrong.

    rota doctor · rota doctor --json
    """
    data = find_data(server.data, os.environ, Path.cwd())
    findings = [*_data(data), *_settings(data), *_server(server)]
    screen = show.screen()
    problems = sum(finding.level == "problem" for finding in findings)
    if show.is_data:
        show.emit(screen, {"items": [finding._asdict() for finding in findings], "problems": problems})
        return exits.DOCTOR if problems else exits.SUCCESS
    for finding in findings:
        _tell(finding, screen)
    warnings = sum(finding.level == "warning" for finding in findings)
    if problems or warnings:
        screen.line(f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    else:
        screen.line("all is well")
    return exits.DOCTOR if problems else exits.SUCCESS


def _tell(finding: Finding, screen: Screen) -> None:
    sign, style = _SIGNS[finding.level]
    screen.line(f"{screen.painted(sign, style)} {finding.subject:<9} {plain(finding.words)}")
    if finding.hint:
        screen.line(f"            = {plain(finding.hint)}")


def _data(data: Path | None) -> Iterable[Finding]:
    """The data folder: there, ours, private, with room."""
    if data is None:
        yield Finding("warning", "data", "there is no data folder here", "rota up makes one, or name it with --data")
        return
    try:
        facts = data.stat()
        filesystem = os.statvfs(data)
    except OSError as error:
        yield Finding("problem", "data", f"{data}: {error.strerror}", "rota up makes one, or name it with --data")
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "problem", "data", f"{data} cannot be written by this user", f"run as its owner (uid {facts.st_uid})"
        )
    elif stat.S_IMODE(facts.st_mode) & 0o077:
        hint = f"chmod 700 {data}"
        yield Finding("problem", "data", f"{data} is open to other users; it holds tokens and keys", hint)
    else:
        yield Finding("ok", "data", str(data))
    free = filesystem.f_bavail / max(filesystem.f_blocks, 1)
    if free < _LOW_DISK:
        yield Finding(
            "warning", "disk", f"only {free:.0%} of the disk of {data} is free", "make room before it is full"
        )
    for name in ("admin-token", "secret-key"):
        path = data / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("problem", "data", f"{path} is readable by other users", f"chmod 600 {path}")


def _settings(data: Path | None) -> Iterable[Finding]:
    """The settings, and where mail would leave."""
    try:
        settings = load_up_settings(Sources(os.environ), data)
    except SettingsRefused as error:
        for problem in error.problems:
            yield Finding("problem", "settings", f"{problem.where}: {problem.message}", problem.hint)
        return
    yield Finding("ok", "settings", f"{len(settings.channels)} channels defined" if settings.channels else "defaults")
    for name, channel in make_channels(settings.channels).items():
        try:
            words = asyncio.run(channel.probe())
        except NotTaken as error:
            level = "problem" if name in settings.channels else "warning"
            yield Finding(level, "mail", f"[channels.{name}] {error.detail}", error.hint or "rota alerts test ROUTE")
        else:
            yield Finding("ok", "mail", f"{words} (rota alerts test {name}:ADDRESS sends one)")


def _server(server: Server) -> Iterable[Finding]:
    """The server: reached, ready, of one time with us, with workers and without conditions."""
    try:
        with server.connect() as rota:
            ready, problems = rota.run(rota.api.system.ready())
            yield Finding("ok", "server", rota.api.target.url)
            for problem in problems:
                yield Finding("problem", "store", problem, "the server's log holds the cause")
            if ready:
                yield Finding("ok", "store", "the store answers and the loops work")
            for look in _LOOKS:
                yield from look(rota)
    except RotaError as error:
        yield Finding("problem", "server", error.detail, error.hint or "")


def _clock(rota: BlockingClient) -> Iterable[Finding]:
    before = datetime.now(UTC)
    summary = rota.run(rota.api.system.read("/summary"))
    middle = before + (datetime.now(UTC) - before) / 2
    offset = (datetime.fromisoformat(summary["now"]) - middle).total_seconds()
    if abs(offset) > _CLOCK_SECONDS:
        hint = "look at the time service of both machines"
        yield Finding("problem", "clock", f"the server's clock is {abs(offset):.1f} s away from this machine's", hint)
    else:
        yield Finding("ok", "clock", f"offset {abs(offset) * 1000:.0f} ms to the server")
    if summary["failing"] or summary["late"]:
        hint = "rota ls -q is:failing,late"
        yield Finding("warning", "jobs", f"{summary['failing']} failing, {summary['late']} late", hint)


def _workers(rota: BlockingClient) -> Iterable[Finding]:
    workers = rota.run(rota.api.system.read("/workers"))["items"]
    up = [worker["name"] for worker in workers if worker["state"] == "up"]
    if not up:
        yield Finding("problem", "workers", "no worker is connected; nothing can run", "rota up has one of its own")
    else:
        yield Finding("ok", "workers", ", ".join(up))


def _conditions(rota: BlockingClient) -> Iterable[Finding]:
    for condition in rota.run(rota.api.system.read("/alerts", limit=1))["conditions"]:
        yield Finding("problem", "condition", condition["detail"], condition["hint"] or "")


_LOOKS: tuple[Callable[[BlockingClient], Iterable[Finding]], ...] = (_clock, _workers, _conditions)
