"""An installation behind a real port, and workers that say only what the test says, over real sockets."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from socket import create_server
from typing import Any

import aiohttp
from tests.server.api_installation import ADMIN, Installation, open_installation

from rota.clock import SystemClock
from rota.server.web import serve_on
from rota.server.web_protocols import WebLimits
from rota.wire.client_socket import CONNECT_OPTIONS, worker_channel
from rota.wire.messages import Assign, AttemptOrder, FromServer, Hello, Welcome
from rota.wire.socket_channel import SocketChannel


class Refusal(Exception):
    """The door stayed shut."""

    def __init__(self, status: int, problem: dict[str, Any], headers: Any) -> None:
        self.status, self.problem, self.headers = status, problem, headers
        super().__init__(f"{status} {problem}")


class Served:
    """A running server with its door."""

    def __init__(self, rota: Installation, port: int) -> None:
        self.rota = rota
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def worker_token(self, name: str, labels: dict[str, str] | None = None) -> str:
        """A token for a worker of this name."""
        access, enrolment = self.rota.services.access, self.rota.services.enrolment
        joining = await access.create_token("fleet", ["join"], labels=labels, actor=ADMIN)
        return (await enrolment.join(joining.text, name)).text

    @contextlib.asynccontextmanager
    async def door(self, token: str | None, path: str = "/api/v1/worker", **headers: str) -> AsyncIterator["Channel"]:
        """An open channel; raises Refusal."""
        seen: list[aiohttp.ClientResponse] = []

        async def look(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            response = await send(request)
            if response.status != 101:
                problem = await response.json(content_type=None)
                raise Refusal(response.status, problem, response.headers)
            seen.append(response)
            return response

        shown = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with aiohttp.ClientSession(middlewares=[look]) as session:
            opened = await session.ws_connect(self.url + path, headers={**shown, **headers}, **CONNECT_OPTIONS)
            connection = seen[0].connection
            assert connection is not None
            assert connection.transport is not None
            channel = worker_channel(opened, connection.transport)
            try:
                yield channel
            finally:
                await channel.close()

    @contextlib.asynccontextmanager
    async def worker(self, name: str = "w1", **fields: Any) -> AsyncIterator["Worker"]:
        """A worker that was welcomed."""
        async with self.door(await self.worker_token(name)) as channel:
            await channel.send(hello(name, **fields))
            welcome = await channel.receive()
            assert isinstance(welcome, Welcome), welcome
            yield Worker(name, channel)


Channel = SocketChannel[Any, FromServer]


class Worker:
    """A welcomed worker."""

    def __init__(self, name: str, channel: Channel) -> None:
        self.name, self.channel = name, channel

    async def order(self) -> AttemptOrder:
        """The next order, whatever else comes before."""
        async with asyncio.timeout(10):
            while True:
                message = await self.channel.receive()
                if isinstance(message, Assign):
                    return message.orders[0]


def hello(name: str = "w1", **fields: Any) -> Hello:
    return Hello(**{"worker": name, "boot_id": "boot-1", "version": "0", "capacity": {"shell": 4}, **fields})


@contextlib.asynccontextmanager
async def open_served(
    *, tls: ssl.SSLContext | None = None, limits: WebLimits | None = None, **rates: Any
) -> AsyncIterator[Served]:
    """A server with its loops over SQLite in memory, on a free port; `rates` are those of its limits."""
    async with open_installation(SystemClock(), rates=rates) as rota:
        listener = create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        stop = asyncio.Event()
        rota.server.add(rota.services.watch)
        await rota.server.start()
        serving = asyncio.create_task(serve_on(rota.app, [listener], stop=stop, tls=tls, limits=limits or WebLimits()))
        try:
            yield Served(rota, listener.getsockname()[1])
        finally:
            rota.services.hints.close()
            stop.set()
            await serving
            await rota.server.stop()
