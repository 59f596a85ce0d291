"""Serving: an ephemeral port, a taken port, no idle ticking, a graceful end."""

import asyncio
import socket

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from rota.core.errors import RotaError
from rota.server.web import PortTaken, bind, is_loopback, serve


async def start(app: Starlette) -> tuple[str, asyncio.Event, asyncio.Task[None]]:
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, "127.0.0.1", 0, stop=stop, bound=bound.set_result))
    return f"http://127.0.0.1:{await bound}", stop, task


async def test_it_serves_on_a_free_port_and_lets_open_requests_finish() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> PlainTextResponse:
        entered.set()
        await leave.wait()
        return PlainTextResponse("done")

    url, stop, task = await start(Starlette(routes=[Route("/", slow)]))
    async with httpx2.AsyncClient() as client:
        asked = asyncio.create_task(client.get(url))
        await entered.wait()
        stop.set()
        await asyncio.sleep(0)
        leave.set()
        assert (await asked).text == "done"
    await task
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1)


async def test_it_sleeps_while_nobody_asks() -> None:
    _, stop, task = await start(Starlette())
    loop = asyncio.get_running_loop()
    scheduled = list(getattr(loop, "_scheduled", []))
    assert [timer for timer in scheduled if not timer.cancelled()] == []
    stop.set()
    await task


def test_a_taken_port_is_said() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
            bind("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_said() -> None:
    with pytest.raises(RotaError, match="cannot listen"):
        bind("203.0.113.7", 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("rota.example", False),
    ],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
