"""`rota server`: one of several equal servers over one store. Its workers come over the network."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import Mapping
from random import SystemRandom
from typing import Final
from urllib.parse import urlsplit

import uvloop

import rota
from rota.alerts.registry import make_channels
from rota.core.errors import RotaError
from rota.server.alerter import Alerter
from rota.server.conditions import Conditions
from rota.server.hints import Hints
from rota.server.secrets import KEY_VARIABLE, Vault, VaultKey, load_key
from rota.server.server import Server, ServerConfig
from rota.server.shared_key import compare_key
from rota.server.web import bind, load_certificate
from rota.settings.values import ServerSettings
from rota.store.bundle import Store
from rota.wiring.process import Process, Say, allow_many_files, calm_collector, make_process, unless_hurried
from rota.wiring.stores import OpenStore, open_store
from rota.wiring.timed import timed
from rota.wiring.web import Site, make_access, make_tls, own_url, serving, tls_files

_KEY_HINT: Final = f"give every server the same {KEY_VARIABLE} or secret_key_file (head -c 32 /dev/urandom | base64)"
_MOVE_SECONDS: Final = 10.0


def run_server(settings: ServerSettings, say: Say) -> int:
    """Run one server until a signal ends it; returns the exit code.

    At the first TERM or INT the workers are sent to the other servers with all they hold, what they reported is
    committed, and the shards are handed over; the second does not wait for that.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, say))


async def _serve(settings: ServerSettings, say: Say) -> int:
    """Open everything, serve, close everything."""
    tls = make_tls(settings)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        opened = await stack.enter_async_context(
            open_store(settings.database, lambda warning: say(f"! database   {warning}"))
        )
        process = make_process(settings, opened.clock)
        store, times = timed(opened.store, process.metrics.operation)
        opened = dataclasses.replace(opened, store=store)
        say(f"✓ database   {settings.database.shown}")
        access, watch = make_access(opened.store, process)
        advertised = _advertised(settings, listener)
        site = Site(
            options=settings,
            listener=listener,
            vault=Vault(opened.store.access, _key(settings, os.environ), process.clock),
            hints=Hints(),
            access=access,
            watch=watch,
            tls=tls,
            hosts=_names(settings, advertised),
            most_files=allow_many_files(),
        )
        await _look_at_key(site, opened.store, process, advertised, say)
        server = _server(settings, site, opened, process, advertised)
        server.store_times = times
        await server.start()
        stack.push_async_callback(server.stop)
        await stack.enter_async_context(serving(site, server, process))
        _reload_on_hangup(settings, site, say)
        await _greet(site, advertised, say)
        calm_collector()
        await process.stop.wait()
        say("stopping: workers go on at other servers, or wait for this one")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOVE_SECONDS):
                await unless_hurried(process, server.hand_over())
    return 0


def _server(settings: ServerSettings, site: Site, opened: OpenStore, process: Process, advertised: str) -> Server:
    """The server's loops, not yet started."""
    config = ServerConfig(
        name=_name(advertised),
        url=advertised,
        version=rota.__version__,
        history=settings.keep_history,
        logs=settings.keep_logs,
        follow_clock=opened.follow,
    )
    server = Server(
        opened.store,
        config,
        secrets=site.vault,
        publish=site.hints.publish,
        clock=process.clock,
        rng=SystemRandom(),
        emit=process.emit,
    )
    server.whispers.on_hint, server.whispers.on_missed = site.hints.hear, site.hints.forget
    site.hints.tell_others = server.whispers.hint
    server.add(
        Alerter(
            opened.store,
            make_channels(settings.channels),
            process.clock,
            process.emit,
            settings.public_url or "",
            leads=server.leads_singletons,
        )
    )
    server.add(site.watch)
    return server


def _key(settings: ServerSettings, environment: Mapping[str, str]) -> VaultKey | None:
    """The key for secrets, where one was given: a server makes none, because the others would not have it."""
    if settings.secret_key_file is None and not environment.get(KEY_VARIABLE):
        return None
    return load_key(settings.secret_key_file, environment)


async def _look_at_key(site: Site, store: Store, process: Process, advertised: str, say: Say) -> None:
    """Say what is wrong with the key for secrets; what concerns all servers stands as a condition, too."""
    if site.vault.key is None:
        say(f"! secrets    there is no key: rota secret set is refused here; {_KEY_HINT}")
    for problem in await site.vault.self_test():
        say(f"! secrets    {problem}")
    conditions = Conditions(store.alerts, process.clock, process.emit)
    condition = f"secret-key/{_name(advertised)}"
    difference = await compare_key(store, site.vault.key)
    if difference is None:
        await conditions.clear(condition)
        return
    say(f"! secrets    {difference}")
    await conditions.put(condition, f"{advertised}: {difference}", _KEY_HINT)


def _reload_on_hangup(settings: ServerSettings, site: Site, say: Say) -> None:
    """HUP reads a renewed certificate; connections that are open keep the old one."""
    files, context = tls_files(settings), site.tls
    if files is None or context is None:
        return

    def reload() -> None:
        try:
            load_certificate(context, files)
        except RotaError as error:
            say(f"! tls        the old certificate stays: {error.detail}")
        else:
            say(f"✓ tls        read again: {files.certificate}")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


async def _greet(site: Site, advertised: str, say: Say) -> None:
    """Tell people where it is, and what they need first."""
    where = own_url(site.listener, https=site.tls is not None)
    say(f"✓ web        {where}" + (f", for others {advertised}" if advertised != where else ""))
    if not any(token.revoked is None and "admin" in token.scopes for token in await site.access.tokens()):
        say("! tokens     nobody can come in yet: rota token create --database URL --scope admin")


def _advertised(settings: ServerSettings, listener: socket.socket) -> str:
    """Where others reach this server."""
    if settings.advertise:
        return settings.advertise
    scheme = "https" if settings.is_https else "http"
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 — compared with, not bound to
    name = socket.gethostname() if everywhere else settings.host
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}"


def _names(settings: ServerSettings, advertised: str) -> tuple[str, ...]:
    """The names it may be called by: what it says of itself to others."""
    urls = [url for url in (advertised, settings.public_url) if url]
    return tuple(name for name in (urlsplit(url).hostname for url in urls) if name)


def _name(advertised: str) -> str:
    """What it is called among servers."""
    return urlsplit(advertised).netloc
