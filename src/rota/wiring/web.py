"""The API, the pages and the workers' door in front of a server, as every process that serves them has it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import rota
from rota.server.access import AccessControl
from rota.server.api.app import build_app
from rota.server.api.limits import Limiter, Rates
from rota.server.api.services import ApiServices, ApiSettings
from rota.server.definitions import Definitions
from rota.server.enrolment import Enrolment
from rota.server.hints import Hints
from rota.server.queries.service import Queries
from rota.server.secrets import Vault
from rota.server.server import Server
from rota.server.token_watch import TokenWatch
from rota.server.web import Tls, serve_on, tls_context
from rota.server.web_protocols import WebLimits
from rota.settings.values import LimitOptions, WebOptions
from rota.store.bundle import Store
from rota.wiring.process import Process

_SPARE_FILES = 100  # for the store, the log and the workers, beside clients


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is served where. `hosts` are names it is called by beside those of the settings."""

    options: WebOptions
    listener: socket.socket
    vault: Vault
    hints: Hints
    access: AccessControl
    watch: TokenWatch
    tls: ssl.SSLContext | None = None
    hosts: tuple[str, ...] = ()
    reserved: frozenset[str] = field(default_factory=frozenset)  # names no worker can join under
    most_files: int = 65_536


def make_access(store: Store, process: Process) -> tuple[AccessControl, TokenWatch]:
    """Who may come in, and the loop that ends what outlives its token; it runs with the server's loops."""
    access = AccessControl(store.access, process.clock)
    return access, TokenWatch(access, process.emit)


def make_tls(options: WebOptions) -> ssl.SSLContext | None:
    """What speaks TLS, where a certificate is given."""
    tls = tls_files(options)
    return tls_context(tls) if tls else None


def tls_files(options: WebOptions) -> Tls | None:
    """The certificate and its key, where they are given."""
    if options.tls_certificate is None or options.tls_key is None:
        return None
    return Tls(certificate=options.tls_certificate, key=options.tls_key)


@contextlib.asynccontextmanager
async def serving(site: Site, server: Server, process: Process) -> AsyncIterator[None]:
    """The API and the pages, from the first request to the last."""
    stop = asyncio.Event()
    app = build_app(_services(site, server, process))
    connections = max(16, min(site.options.limits.connections, site.most_files - _SPARE_FILES))
    limits = WebLimits(connections=connections)
    task = asyncio.create_task(serve_on(app, [site.listener], stop=stop, tls=site.tls, limits=limits), name="web")
    try:
        yield
    finally:
        site.hints.close()
        stop.set()
        await task


def _services(site: Site, server: Server, process: Process) -> ApiServices:
    """What the API and the pages work with."""
    store, options, clock = server.store, site.options, process.clock
    return ApiServices(
        store=store,
        server=server,
        commands=server.commands,
        queries=Queries(store, clock, Definitions(), options.timezone),
        access=site.access,
        enrolment=Enrolment(store, site.access, clock, process.emit, reserved=site.reserved),
        watch=site.watch,
        limits=_limiter(options, process),
        vault=site.vault,
        hints=site.hints,
        clock=clock,
        settings=ApiSettings(
            version=rota.__version__,
            host=options.host,
            hosts=(*options.allowed_hosts, *site.hosts),
            timezone=options.timezone,
            tls=options.is_https,
        ),
        metrics=process.metrics.registry,
        emit=process.emit,
        health=server.health,
        wake=server.wake_background,
        serve_worker=server.serve_worker,
    )


def _limiter(options: WebOptions, process: Process) -> Limiter:
    return Limiter(rates_of(options.limits), process.clock, process.emit, options.trusted_proxies)


def rates_of(limits: LimitOptions) -> Rates:
    """The rates of some settings."""
    return Rates(
        token=limits.token_requests,
        token_burst=limits.token_burst,
        address=limits.address_requests,
        address_burst=limits.address_burst,
        failures_per_minute=limits.failed_logins,
        failure_burst=limits.failed_logins,
        streams=limits.streams,
    )


def own_url(listener: socket.socket, *, https: bool = False) -> str:
    """Where the listener is reached from this machine."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{'https' if https else 'http'}://{name}:{port}"
