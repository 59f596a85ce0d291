"""Both ends of a channel over a real socket: uvicorn with our protocols on one side, aiohttp on the other."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from rota.server.web import serve
from rota.server.web_protocols import ABORT
from rota.wire.client_socket import CONNECT_OPTIONS, worker_channel
from rota.wire.server_socket import server_channel
from rota.wire.socket_channel import SocketChannel

End = SocketChannel[Any, Any]


class Served:
    """A server whose channels are given to `serve_one`, and the clients of it."""

    def __init__(self, serve_one: Callable[[End], Awaitable[None]], *, send_seconds: float = 30.0) -> None:
        self._serve_one = serve_one
        self._send_seconds = send_seconds
        self.port = 0
        self.ends: list[End] = []
        self._stop = asyncio.Event()

    async def _accept(self, opened: WebSocket) -> None:
        await opened.accept()
        end = server_channel(opened, opened.scope["state"][ABORT], send_seconds=self._send_seconds)
        self.ends.append(end)
        try:
            await self._serve_one(end)
        finally:
            await end.close()

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Served"]:
        bound = asyncio.get_running_loop().create_future()
        app = Starlette(routes=[WebSocketRoute("/", self._accept)])
        task = asyncio.create_task(serve(app, "127.0.0.1", 0, stop=self._stop, bound=bound.set_result, tls=tls))
        self.port = await bound
        try:
            yield self
        finally:
            self._stop.set()
            await task

    @contextlib.asynccontextmanager
    async def client(
        self, *, port: int | None = None, ca: ssl.SSLContext | bool = True, send_seconds: float = 30.0
    ) -> AsyncIterator[End]:
        """A worker's end, through `port` if that is another (a proxy in between)."""
        seen: list[aiohttp.ClientResponse] = []

        async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            seen.append(await handler(request))
            return seen[-1]

        scheme = "http" if ca is True else "https"
        async with aiohttp.ClientSession(middlewares=[look]) as session:
            url = f"{scheme}://127.0.0.1:{port or self.port}/"
            opened = await session.ws_connect(url, ssl=ca, **CONNECT_OPTIONS)
            connection = seen[-1].connection
            assert connection is not None
            assert connection.transport is not None
            end: End = worker_channel(opened, connection.transport, send_seconds=send_seconds)
            try:
                yield end
            finally:
                await end.close()


class Wire:
    """A TCP proxy between both that does to bytes what the test says."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.port = 0
        self.rate: float | None = None  # bytes a second, in each direction
        self.passing = asyncio.Event()
        self.passing.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._cut_at: int | None = None
        self._up = 0

    def cut_after(self, count: int) -> None:
        """Reset both sides when so many more bytes came from the client."""
        self._cut_at = self._up + count

    def reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def client(self, served: Served, send_seconds: float = 30.0) -> contextlib.AbstractAsyncContextManager[End]:
        """A worker's end through this proxy."""
        return served.client(port=self.port, send_seconds=send_seconds)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.reset()
            server.close()
            await server.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._served.port)
        self._writers += [writer, away]
        with contextlib.suppress(OSError, RuntimeError):  # uvloop says the latter of a closed transport
            await asyncio.gather(self._copy(reader, away, up=True), self._copy(there, writer, up=False))
        for one in (writer, away):
            one.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while data := await reader.read(16 * 1024):
            await self.passing.wait()
            if up and self._cut_at is not None and self._up + len(data) >= self._cut_at:
                writer.write(data[: max(0, self._cut_at - self._up)])
                self.reset()
                return
            self._up += len(data) if up else 0
            if self.rate is not None:
                due = max(due, loop.time()) + len(data) / self.rate
                await _until(due)
            writer.write(data)
            await writer.drain()
        writer.close()


async def _until(moment: float) -> None:
    """Wait for a moment of the loop's clock."""
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()
    handle = loop.call_at(moment, reached.set)
    try:
        await reached.wait()
    finally:
        handle.cancel()
