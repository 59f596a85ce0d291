"""Where the adapters are named: `rota up` is one server and one worker in a process, over SQLite.

Nothing else in the package knows which store, channel, executor or alert channel is behind a contract.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final

import uvloop

import rota
from rota.alerts.registry import make_channels
from rota.clock import Clock, SystemClock
from rota.core.actor import Actor
from rota.core.model import Run
from rota.events import Emit
from rota.server.access import AccessControl, prepare_admin_token
from rota.server.alerter import Alerter
from rota.server.api.app import build_app
from rota.server.api.services import ApiServices, ApiSettings
from rota.server.definitions import Definitions
from rota.server.demo import write_hello
from rota.server.folder import DataFolder
from rota.server.hints import Hints
from rota.server.queries.service import Queries
from rota.server.secrets import Vault, load_key
from rota.server.server import Server, ServerConfig
from rota.server.web import PortTaken, bind, serve_on
from rota.settings.values import UpSettings
from rota.store.bundle import Store
from rota.stores.sqlite import open_sqlite
from rota.telemetry import Metrics, Telemetry, make_log
from rota.wire.channel import WorkerChannel, memory_channel
from rota.worker.agent import Agent, NoMoreServers
from rota.worker.settings import WorkerSettings, default_capacity

DRAIN_SECONDS: Final = 30.0
PORTS_TRIED: Final = 20


@dataclass(frozen=True, kw_only=True)
class Process:
    """What is shared by everything in this process."""

    clock: Clock
    emit: Emit
    metrics: Metrics
    hints: Hints
    stop: asyncio.Event
    hurry: asyncio.Event


def run_up(settings: UpSettings, say: Callable[[str], None]) -> int:
    """Run one server and one worker until a signal ends them; returns the exit code.

    `say` is given the lines a person at the terminal should read. The first TERM or INT lets running work finish
    (DRAIN_SECONDS), the second ends it at once.
    """
    with DataFolder(settings.data) as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_up(settings, folder, say))


async def _up(settings: UpSettings, folder: DataFolder, say: Callable[[str], None]) -> int:
    """Open everything, serve, close everything."""
    process = _process(settings)
    _catch_signals(process)
    async with contextlib.AsyncExitStack() as stack:
        store = await open_sqlite(folder.path / "rota.db", clock=process.clock)
        stack.push_async_callback(store.close)
        say(f"✓ database   sqlite, {folder.path / 'rota.db'}")
        listener = _listen(settings, say)
        vault = Vault(store.access, load_key(folder.path / "secret-key", os.environ), process.clock)
        for problem in await vault.self_test():
            say(f"! secrets    {problem}")
        server = await stack.enter_async_context(_server(settings, folder, store, vault, process))
        await stack.enter_async_context(_web(settings, listener, server, vault, process))
        await stack.enter_async_context(_worker(settings, folder, server, process))
        await _greet(settings, folder, listener, server, process, say)
        await process.stop.wait()
        say("stopping: running work may finish; once more stops at once")
        await _finish(server, process)
    folder.withdraw()
    return 0


def _process(settings: UpSettings) -> Process:
    """Clock, telemetry and hints of this process."""
    metrics = Metrics()
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    log = make_log(sys.stderr, json=settings.log_format == "json", level=level)
    return Process(
        clock=SystemClock(),
        emit=Telemetry(metrics, log, level).emit,
        metrics=metrics,
        hints=Hints(),
        stop=asyncio.Event(),
        hurry=asyncio.Event(),
    )


def _catch_signals(process: Process) -> None:
    """TERM and INT: first finish, then hurry."""

    def on_signal() -> None:
        (process.hurry if process.stop.is_set() else process.stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _listen(settings: UpSettings, say: Callable[[str], None]) -> socket.socket:
    """A bound socket. A taken port that nobody asked for gives way to the next free one."""
    try:
        return bind(settings.host, settings.port)
    except PortTaken:
        if settings.port_was_asked_for:
            raise
    for port in range(settings.port + 1, settings.port + PORTS_TRIED):
        with contextlib.suppress(PortTaken):
            listener = bind(settings.host, port)
            say(f"! port       {settings.port} is taken by another program; using {port}")
            return listener
    raise PortTaken(f"ports {settings.port} to {settings.port + PORTS_TRIED - 1} are all taken", hint="give --port")


@contextlib.asynccontextmanager
async def _server(
    settings: UpSettings, folder: DataFolder, store: Store, vault: Vault, process: Process
) -> AsyncIterator[Server]:
    """The server's loops, from start to stop."""
    config = ServerConfig(
        job_paths=await _job_paths(settings, folder, store),
        history=settings.keep_history,
        logs=settings.keep_logs,
    )
    server = Server(
        store,
        config,
        secrets=vault,
        publish=process.hints.publish,
        clock=process.clock,
        rng=SystemRandom(),
        emit=process.emit,
    )
    server.add(Alerter(store, make_channels(settings.channels), process.clock, process.emit, settings.public_url or ""))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _job_paths(settings: UpSettings, folder: DataFolder, store: Store) -> list[Path]:
    """The watched paths: what was asked for, else the data folder's own jobs, with the first job in a new one."""
    if settings.jobs:
        return list(settings.jobs)
    own = folder.path / "jobs"
    if not own.exists() and not await store.jobs.by_source(None):
        write_hello(own)
    return [own] if own.exists() else []


@contextlib.asynccontextmanager
async def _web(
    settings: UpSettings, listener: socket.socket, server: Server, vault: Vault, process: Process
) -> AsyncIterator[None]:
    """The API and the pages, from the first request to the last."""
    store = server.store
    services = ApiServices(
        store=store,
        commands=server.commands,
        queries=Queries(store, process.clock, Definitions(), settings.timezone),
        access=AccessControl(store.access, process.clock),
        vault=vault,
        hints=process.hints,
        clock=process.clock,
        settings=ApiSettings(
            version=rota.__version__,
            host=settings.host,
            hosts=settings.allowed_hosts,
            timezone=settings.timezone,
            tls=settings.tls_ends_at_proxy,
        ),
        metrics=process.metrics.registry,
        emit=process.emit,
        health=server.health,
        wake=server.wake_background,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(serve_on(build_app(services), [listener], stop=stop), name="web")
    try:
        yield
    finally:
        process.hints.close()
        stop.set()
        await task


@contextlib.asynccontextmanager
async def _worker(settings: UpSettings, folder: DataFolder, server: Server, process: Process) -> AsyncIterator[None]:
    """The worker of this process, joined to the server by a channel in memory."""
    ours, theirs = memory_channel()
    own = iter([ours])

    async def dial() -> WorkerChannel:
        channel = next(own, None)
        if channel is None:
            raise NoMoreServers("the server of this process has ended")
        return channel

    agent = Agent(_worker_settings(settings, folder.path / "worker"), process.clock, dial, emit=process.emit)
    serving = asyncio.create_task(server.serve_worker(theirs), name="worker session")
    running = asyncio.create_task(agent.run(), name="agent")
    running.add_done_callback(lambda task: process.stop.set())  # without its worker this process is of no use
    try:
        yield
    finally:
        await agent.stop()
        await asyncio.gather(running, serving)


async def _greet(
    settings: UpSettings,
    folder: DataFolder,
    listener: socket.socket,
    server: Server,
    process: Process,
    say: Callable[[str], None],
) -> None:
    """Tell commands and people where the server is; the link signs a browser in, once."""
    access = AccessControl(server.store.access, process.clock)
    token = await prepare_admin_token(access, folder.path / "admin-token")
    actor = await access.authenticate_token(token)
    code = await access.create_login_code(actor.token_id or "")
    url = settings.public_url or _url(listener)
    folder.announce(_url(listener))
    link = f"{url}/login?code={code}"
    say(f"✓ worker     {settings.worker.name}, {os.cpu_count()} cpus")
    say(f"✓ web        {link}  (signs this browser in; works once, for ten minutes)")
    if server.job_files is not None:
        paths = ", ".join(str(path) for path in server.job_files.paths)
        say(f"✓ job files  {paths}  (saved changes apply by themselves)")
    run = await _first_run(server, actor)
    if run is not None:
        say(f"▶ first run  demo/hello starts now: rota logs -f {run.id}")
    if settings.open_browser:
        webbrowser.open(link)


def _worker_settings(settings: UpSettings, state: Path) -> WorkerSettings:
    """The settings of the worker inside this process."""
    options = settings.worker
    return WorkerSettings(
        name=options.name,
        state=state,
        labels=options.labels,
        capacity={**default_capacity(), **options.slots},
        allowed_users=options.allowed_users,
        private_networks_allowed=options.private_networks,
        allowed_networks=options.allowed_networks,
    )


async def _first_run(server: Server, actor: Actor) -> Run | None:
    """In a new installation the first job runs at once: nobody should wait a minute to see something."""
    applied = server.job_files.last if server.job_files else None
    if applied is None or "demo/hello" not in applied.created:
        return None
    return await server.commands.trigger("demo/hello", params={}, key=None, at=None, actor=actor)


def _url(listener: socket.socket) -> str:
    """Where the listener is reached from this machine."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


async def _finish(server: Server, process: Process) -> None:
    """Let running work end within the grace, unless a second signal says to hurry."""
    draining = asyncio.create_task(server.drain(DRAIN_SECONDS))
    hurrying = asyncio.create_task(process.hurry.wait())
    await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurrying):
        task.cancel()
    await asyncio.gather(draining, hurrying, return_exceptions=True)
