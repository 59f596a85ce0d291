"""Serving the web application inside our own event loop: bind first, serve until told to stop.

uvicorn does the HTTP. Its own main loop wakes ten times a second to refresh a header and look at a flag, which costs
an idle installation more than everything else together; here it waits for an event instead, and the application
writes its own Date header. Signals belong to the process, not to the web server.
"""

import asyncio
import contextlib
import importlib.util
import ipaddress
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from rota.core.errors import RotaError
from rota.core.model import Value

_BACKLOG: Final = 1024
_GRACE_SECONDS: Final = 5
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class PortTaken(RotaError):
    """Another program listens on this address."""

    code = "PORT_TAKEN"


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


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    stop: asyncio.Event,
    bound: Callable[[int], None] | None = None,
    tls: Tls | None = None,
) -> None:
    """Serve `app` until `stop` is set, then let open requests finish for up to five seconds.

    `bound` is called with the real port once connections are accepted.
    """
    await serve_on(app, [bind(host, port)], stop=stop, bound=bound, tls=tls)


async def serve_on(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    *,
    stop: asyncio.Event,
    bound: Callable[[int], None] | None = None,
    tls: Tls | None = None,
) -> None:
    """As `serve`, on sockets that are bound already."""
    config = uvicorn.Config(
        app,
        http="httptools" if importlib.util.find_spec("httptools") else "h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
    )
    port = int(listeners[0].getsockname()[1])
    await _Server(config, stop, lambda: bound(port) if bound else None).serve(sockets=list(listeners))


class _Server(uvicorn.Server):
    """uvicorn without its clock tick and without its signal handlers."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop
        self._report_started = started

    async def main_loop(self) -> None:
        """Serve until stopped."""
        self._report_started()
        await self._stop.wait()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to whoever runs the process."""
        yield
