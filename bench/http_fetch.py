"""W6: http runs a second with keep-alive, against a server of a few lines in a process of its own."""

import asyncio
import contextlib
import multiprocessing
import socket
from collections.abc import Iterator
from typing import Any, Final

from bench.drain import drain
from bench.installation import installation

JOBS: Final = 50
RUNS: Final = 10_000
SMOKE_RUNS: Final = 200
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"


class Fixed(asyncio.Protocol):
    """Answers every request with the same few bytes and keeps the connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def data_received(self, data: bytes) -> None:
        """Answer once per end of a request's head; there are no bodies."""
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if heads and self._transport is not None:
            self._transport.write(ANSWER * len(heads))


def _serve(listener: socket.socket) -> None:
    """The life of the server's process."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Fixed, sock=listener)
        await server.serve_forever()

    asyncio.run(forever())


@contextlib.contextmanager
def target() -> Iterator[str]:
    """The URL of a running server."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            process.kill()
            process.join()


def run(*, smoke: bool = False) -> dict[str, Any]:
    """The figure of this workload."""
    runs = SMOKE_RUNS if smoke else RUNS
    with target() as url, installation() as rota:
        names = [f"bench/fetch-{index}" for index in range(JOBS)]
        rota.apply({name: {"http": {"get": url}, "overlap": "allow"} for name in names})
        drain(rota, names, max(20, runs // 100))
        done = drain(rota, names, runs)
    return {"http_runs_per_s": done.figure(f"{runs} fetches with keep-alive from a local server")}
