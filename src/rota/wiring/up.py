"""`rota up`: one server and one worker in a process, over SQLite, joined by a channel in memory."""

import asyncio
import contextlib
import os
import socket
import webbrowser
from collections.abc import AsyncIterator
from pathlib import Path
from random import SystemRandom
from typing import Final

import uvloop

import rota
from rota.alerts.registry import make_channels
from rota.clock import SystemClock
from rota.core.actor import Actor
from rota.core.model import Run
from rota.server.access import prepare_admin_token
from rota.server.alerter import Alerter
from rota.server.demo import write_hello
from rota.server.folder import DataFolder
from rota.server.hints import Hints
from rota.server.secrets import Vault, load_key
from rota.server.server import Server, ServerConfig
from rota.server.web import PortTaken, bind
from rota.settings.values import UpSettings
from rota.store.bundle import Store
from rota.stores.sqlite import open_sqlite
from rota.wire.channel import WorkerChannel, memory_channel
from rota.wiring.process import Process, Say, calm_collector, make_process, unless_hurried
from rota.wiring.timed import timed
from rota.wiring.web import Site, make_access, make_tls, own_url, serving
from rota.worker.agent import Agent, NoMoreServers
from rota.worker.settings import WorkerSettings, default_capacity

DRAIN_SECONDS: Final = 30.0
PORTS_TRIED: Final = 20


def run_up(settings: UpSettings, say: Say) -> int:
    """Run one server and one worker until a signal ends them; returns the exit code.

    `say` is given the lines a person at the terminal should read. The first TERM or INT lets running work finish
    (DRAIN_SECONDS), the second ends it at once.
    """
    with DataFolder(settings.data) as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_up(settings, folder, say))


async def _up(settings: UpSettings, folder: DataFolder, say: Say) -> int:
    """Open everything, serve, close everything."""
    process = make_process(settings, SystemClock())
    async with contextlib.AsyncExitStack() as stack:
        store = await open_sqlite(folder.path / "rota.db", clock=process.clock)
        stack.push_async_callback(store.close)
        store, times = timed(store, process.metrics.operation)
        say(f"✓ database   sqlite, {folder.path / 'rota.db'}")
        site = await _site(settings, folder, store, process, say)
        server = await _server(settings, folder, store, site, process)
        server.store_times = times
        server.add(site.watch)
        await server.start()
        stack.push_async_callback(server.stop)
        await stack.enter_async_context(serving(site, server, process))
        await stack.enter_async_context(_worker(settings, folder, server, process))
        await _greet(settings, folder, site, server, say)
        calm_collector()
        await process.stop.wait()
        say("stopping: running work may finish; once more stops at once")
        await unless_hurried(process, server.drain(DRAIN_SECONDS))
    folder.withdraw()
    return 0


async def _site(settings: UpSettings, folder: DataFolder, store: Store, process: Process, say: Say) -> Site:
    """What is served, and where."""
    tls = make_tls(settings)
    listener = _listen(settings, say)
    vault = Vault(store.access, load_key(folder.path / "secret-key", os.environ), process.clock)
    for problem in await vault.self_test():
        say(f"! secrets    {problem}")
    access, watch = make_access(store, process)
    return Site(
        options=settings,
        listener=listener,
        vault=vault,
        hints=Hints(),
        access=access,
        watch=watch,
        tls=tls,
        reserved=frozenset({settings.worker.name}),
    )


def _listen(settings: UpSettings, say: Say) -> socket.socket:
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


async def _server(settings: UpSettings, folder: DataFolder, store: Store, site: Site, process: Process) -> Server:
    """The server's loops, not yet started."""
    config = ServerConfig(
        url=settings.public_url or own_url(site.listener, https=site.tls is not None),
        version=rota.__version__,
        job_paths=await _job_paths(settings, folder, store),
        history=settings.keep_history,
        logs=settings.keep_logs,
    )
    server = Server(
        store,
        config,
        secrets=site.vault,
        publish=site.hints.publish,
        clock=process.clock,
        rng=SystemRandom(),
        emit=process.emit,
    )
    server.add(Alerter(store, make_channels(settings.channels), process.clock, process.emit, settings.public_url or ""))
    return server


async def _job_paths(settings: UpSettings, folder: DataFolder, store: Store) -> list[Path]:
    """The watched paths: what was asked for, else the data folder's own jobs, with the first job in a new one."""
    if settings.jobs:
        return list(settings.jobs)
    own = folder.path / "jobs"
    if not own.exists() and not await store.jobs.by_source(None):
        write_hello(own)
    return [own] if own.exists() else []


@contextlib.asynccontextmanager
async def _worker(settings: UpSettings, folder: DataFolder, server: Server, process: Process) -> AsyncIterator[None]:
    """The worker of this process, joined to the server by a channel in memory; a new one if that is ever given up."""
    sessions: set[asyncio.Task[None]] = set()

    async def dial() -> WorkerChannel:
        if process.stop.is_set():
            raise NoMoreServers("the server of this process has ended")
        ours, theirs = memory_channel()
        session = asyncio.create_task(server.serve_worker(theirs), name="worker session")
        sessions.add(session)
        session.add_done_callback(sessions.discard)
        return ours

    agent = Agent(_worker_settings(settings, folder.path / "worker"), process.clock, dial, emit=process.emit)
    running = asyncio.create_task(agent.run(), name="agent")
    running.add_done_callback(lambda task: process.stop.set())  # without its worker this process is of no use
    try:
        yield
    finally:
        await agent.stop()
        await asyncio.gather(running, *sessions)


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


async def _greet(settings: UpSettings, folder: DataFolder, site: Site, server: Server, say: Say) -> None:
    """Tell commands and people where the server is; the link signs a browser in, once."""
    token = await prepare_admin_token(site.access, folder.path / "admin-token")
    actor = await site.access.authenticate_token(token)
    code = await site.access.create_login_code(actor.token_id or "")
    own = own_url(site.listener, https=site.tls is not None)
    folder.announce(own)
    link = f"{settings.public_url or own}/login?code={code}"
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


async def _first_run(server: Server, actor: Actor) -> Run | None:
    """In a new installation the first job runs at once: nobody should wait a minute to see something."""
    applied = server.job_files.last if server.job_files else None
    if applied is None or "demo/hello" not in applied.created:
        return None
    return await server.commands.trigger("demo/hello", params={}, key=None, at=None, actor=actor)
