"""`doctor`: looks at the installation from this machine and says what is wrong with it."""

import asyncio
import importlib
import os
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from rota.alerts.channel import NotTaken
from rota.alerts.registry import make_channels
from rota.cli.common import Flag, Show
from rota.cli.connection import Server
from rota.cli.findings import CLOCK_SECONDS, Finding, clock_finding, tell
from rota.cli.hiding import hide_password
from rota.client.client import BlockingClient
from rota.client.discovery import find_data
from rota.core.errors import Invalid, NotFound, RotaError
from rota.settings import SettingsRefused, Sources, load_up_settings
from rota.settings.database import DatabaseUrl, find_database

VARIABLE_OF_DOCTOR: Final = "ROTA_DOCTOR_DATABASE"  # where --database goes that shows a password
_LOW_DISK: Final = 0.05
_LATE_SECONDS: Final = 5.0
_SLOW_SECONDS: Final = 1.0


def doctor(
    *,
    database: Annotated[
        str | None, Parameter(help="Look straight at this store, too: postgresql://… or sqlite:///PATH.")
    ] = None,
    accept_restore: Annotated[
        Flag, Parameter(help="The store was restored, and that is accepted: held runs go on.")
    ] = False,
    restored: Annotated[Flag, Parameter(help="With --database: it was just restored; hold at-most-once runs.")] = False,
    server: Server = Server(),
    show: Show = Show(),
) -> int:
    """Look at data folder, settings, servers, clocks, workers and mail; exit 40 when something is wrong.

    rota doctor · rota doctor --database postgresql://rota@db/rota · rota doctor --accept-restore
    """
    hide_password(database, VARIABLE_OF_DOCTOR)
    url = find_database(database or os.environ.get(VARIABLE_OF_DOCTOR), {})
    if restored:
        return _hold(url, show)
    if accept_restore:
        return _accept(url, server, show)
    named = server.url is not None or bool(os.environ.get("ROTA_URL"))
    if url is not None:
        return tell([*_store().store_findings(url), *(_server(server) if named else ())], show)
    data = find_data(server.data, os.environ, Path.cwd())
    here = [] if data is None and named else [*_data(data), *_settings(data)]
    return tell([*here, *_server(server)], show)


def _store() -> Any:
    """The part that opens a store: much code, which no other use of this verb needs."""
    return importlib.import_module("rota.cli.doctor_store")


def _hold(url: DatabaseUrl | None, show: Show) -> int:
    """Hold at-most-once work before the servers of a restored database start."""
    if url is None:
        raise Invalid(
            "which database was restored?", hint="rota doctor --restored --database URL, before servers start"
        )
    _store().hold(url)
    screen = show.screen()
    screen.line("at-most-once jobs are held")
    screen.next_step("start the servers; look at what these jobs did since the backup; rota doctor --accept-restore")
    return 0


def _accept(url: DatabaseUrl | None, server: Server, show: Show) -> int:
    """Lift the hold on at-most-once work."""
    if url is not None:
        was_held = bool(_store().accept(url))
    else:
        with server.connect() as rota:
            was_held = rota.run(rota.api.system.accept_restore())
    screen = show.screen()
    if show.is_data:
        show.emit(screen, {"was_held": was_held})
    elif was_held:
        screen.line("accepted: at-most-once jobs go on within seconds")
    else:
        screen.line("nothing was held")
    return 0


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
    yield clock_finding(offset, "server")
    if summary["failing"] or summary["late"]:
        hint = "rota ls -q is:failing,late"
        yield Finding("warning", "jobs", f"{summary['failing']} failing, {summary['late']} late", hint)


def _servers(rota: BlockingClient) -> Iterable[Finding]:
    """Who leads what, and how each fares by its own account."""
    try:
        found = rota.run(rota.api.system.read("/servers"))
    except NotFound:
        yield Finding("warning", "servers", "the server that answers is of an older version and does not list them")
        return
    live = [one for one in found["items"] if one["state"] == "up"]
    led = " ".join(str(len(one["shards"])) for one in live)
    words = f"{', '.join(one['name'] for one in live)}; {found['shards']} shards led ({led})"
    versions = sorted({one["version"] for one in live})
    if found["unled"]:
        yield Finding("problem", "servers", f"{len(found['unled'])} of {found['shards']} shards are led by nobody")
    elif live:
        yield Finding("ok", "servers", words)
    if len(versions) > 1:
        hint = "for the time of an upgrade that is as it should be"
        yield Finding("warning", "servers", f"they are of different versions: {', '.join(versions)}", hint)
    for one in live:
        yield from _own_account(one)


def _own_account(one: dict[str, Any]) -> Iterable[Finding]:
    """What a server says of itself."""
    for problem in one["problems"]:
        yield Finding("problem", "servers", f"{one['name']}: {problem}", "its log holds the cause")
    if abs(one["clock_offset"] or 0) > CLOCK_SECONDS:
        words = f"{one['name']}: its clock is {abs(one['clock_offset']):.1f} s away from the store's"
        yield Finding("warning", "clock", words, "nothing is decided by it, but its log is dated wrongly")
    if (one["planner_lag"] or 0) > _LATE_SECONDS:
        words = f"{one['name']}: planning is {one['planner_lag']:.0f} s late"
        yield Finding("warning", "servers", words, "it should catch up by itself; more servers share the work")
    if (one["store_slow"] or 0) > _SLOW_SECONDS:
        words = f"{one['name']}: the store takes up to {one['store_slow']:.1f} s for an answer"
        yield Finding("warning", "store", words, "look at the database's load and disk")


def _workers(rota: BlockingClient) -> Iterable[Finding]:
    workers = rota.run(rota.api.system.read("/workers"))["items"]
    for worker in workers:
        offset = worker.get("clock_offset") or 0
        if worker["state"] != "lost" and abs(offset) > CLOCK_SECONDS:
            words = f"worker {worker['name']}: its clock is {abs(offset):.1f} s away from the store's"
            yield Finding("warning", "clock", words, "runs start in time all the same, but what they write is dated so")
    up = [worker["name"] for worker in workers if worker["state"] == "up"]
    if not up:
        yield Finding("problem", "workers", "no worker is connected; nothing can run", "rota worker --server URL")
    else:
        yield Finding("ok", "workers", ", ".join(up))


def _conditions(rota: BlockingClient) -> Iterable[Finding]:
    for condition in rota.run(rota.api.system.read("/alerts", limit=1))["conditions"]:
        yield Finding("problem", "condition", condition["detail"], condition["hint"] or "")


_LOOKS: tuple[Callable[[BlockingClient], Iterable[Finding]], ...] = (_clock, _servers, _workers, _conditions)
