"""Serving the web application inside our own event loop: bind first, serve until told to stop.

uvicorn does the HTTP. Its own main loop wakes ten times a second to refresh a header and look at a flag, which costs
an idle installation more than everything else together; here it waits for an event instead, and the application
writes its own Date header. Signals belong to the process, not to the web server.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from rota.core.errors import RotaError
from rota.core.model import Value
from rota.server.web_protocols import USUAL, WebLimits, protocols
from rota.wire.frames import FRAME_LIMIT

_BACKLOG: Final = 1024
_GRACE_SECONDS: Final = 5
_HANDSHAKE_SECONDS: Final = 10.0
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class PortTaken(RotaError):
    """Another program listens on this address."""

    code = "PORT_TAKEN"


class TlsUnusable(RotaError):
    """The certificate or its key cannot be used."""

    code = "TLS_UNUSABLE"


class Tls(Value):
    """Where the certificate chain and its key are (PEM)."""

    certificate: Path
    key: Path


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PortTaken, or RotaError when there is no such address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise RotaError(f"cannot listen on {host}: {error.strerror}", hint="use --host 127.0.0.1") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == 98 or "in use" in str(error):
            raise PortTaken(f"port {port} on {host} is taken by another program", host=host, port=port) from error
        raise RotaError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What speaks TLS with this certificate; raises TlsUnusable with what is wrong with the files."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, tls)
    return context


def load_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    """Read the files, at the start or again after the certificate was renewed; raises TlsUnusable."""
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except FileNotFoundError as error:
        missing = next((path for path in (tls.certificate, tls.key) if not path.exists()), tls.certificate)
        hint = "tls.certificate is the chain in PEM, tls.key its key"
        raise TlsUnusable(f"there is no file {missing}", hint=hint) from error
    except ssl.SSLError as error:
        why = "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "they are not PEM, or damaged"
        raise TlsUnusable(f"{tls.certificate} and {tls.key} cannot be used: {why}") from error
    except OSError as error:
        raise TlsUnusable(f"{tls.certificate} or {tls.key} cannot be read: {error.strerror}") from error


def _no_password() -> str:
    """Nobody is there to type one."""
    raise TlsUnusable("the key of the certificate is encrypted", hint="decrypt it: openssl pkey -in KEY -out KEY.plain")


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    stop: asyncio.Event,
    bound: Callable[[int], None] | None = None,
    tls: ssl.SSLContext | None = None,
    limits: WebLimits = USUAL,
) -> None:
    """Serve `app` until `stop` is set, then let open requests finish for up to five seconds.

    `bound` is called with the real port once connections are accepted.
    """
    await serve_on(app, [bind(host, port)], stop=stop, bound=bound, tls=tls, limits=limits)


async def serve_on(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    *,
    stop: asyncio.Event,
    bound: Callable[[int], None] | None = None,
    tls: ssl.SSLContext | None = None,
    limits: WebLimits = USUAL,
) -> None:
    """As `serve`, on sockets that are bound already."""
    # Its warnings say that a stranger sent what is no HTTP: one line for each would be the stranger's to write.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    http, websocket = protocols(limits)
    config = uvicorn.Config(
        app,
        http=http,
        ws=websocket,
        ws_max_size=FRAME_LIMIT,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    port = int(listeners[0].getsockname()[1])
    await _Server(config, tls, stop, lambda: bound(port) if bound else None).serve(sockets=list(listeners))


class _Server(uvicorn.Server):
    """uvicorn without its clock tick and without its signal handlers, impatient with TLS handshakes."""

    def __init__(
        self, config: uvicorn.Config, tls: ssl.SSLContext | None, stop: asyncio.Event, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._stop = stop
        self._report_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections on the sockets. A handshake that does not come is not waited for as long as usual."""
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state={}
            )
            return made

        patience = _HANDSHAKE_SECONDS if self._tls else None
        self.servers = [
            await loop.create_server(
                connection, sock=one, ssl=self._tls, backlog=_BACKLOG, ssl_handshake_timeout=patience
            )
            for one in sockets or []
        ]
        self.started = True

    async def main_loop(self) -> None:
        """Serve until stopped."""
        self._report_started()
        await self._stop.wait()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to whoever runs the process."""
        yield
