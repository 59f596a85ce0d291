"""What a stranger's connection may do before anybody looks at it: real sockets that are slow, silent, endless, many."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from tests.pausing import pause

from rota.server.web import serve
from rota.server.web_protocols import WebLimits

QUICK = WebLimits(
    connections=20, head_seconds=0.4, pace_seconds=0.3, pace_bytes=10_000, unread_seconds=0.6, head_bytes=4096,
    url_bytes=1024, head_lines=20,
)  # fmt: skip


class Site:
    """A served application, and raw connections to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open.append(writer)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> bytes:
        """Everything that is answered until the connection ends."""
        reader, _ = await self.connect(data)
        return await rest(reader)

    async def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def read_all(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def endless(request: Request) -> StreamingResponse:
    async def content() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield bytes(65536)

    return StreamingResponse(content())


async def reads_nothing(request: Request) -> PlainTextResponse:
    return PlainTextResponse("no", 413)


@contextlib.asynccontextmanager
async def site(limits: WebLimits = QUICK) -> AsyncIterator[Site]:
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    routes = [Route("/", read_all, methods=["GET", "POST"]), Route("/endless", endless)]
    routes.append(Route("/no", reads_nothing, methods=["POST"]))
    serving = asyncio.create_task(
        serve(Starlette(routes=routes), "127.0.0.1", 0, stop=stop, bound=bound.set_result, limits=limits)
    )
    one = Site(await bound)
    try:
        yield one
    finally:
        await one.close()
        stop.set()
        await serving


GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    async with site() as web:
        for begun in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n"):
            before = time.monotonic()
            answer = await web.ask(begun)
            assert time.monotonic() - before < 2
            assert answer == b"" if not begun else answer.startswith(b"HTTP/1.1 408 ")
        assert b"200 OK" in await web.ask(LAST)


async def test_a_head_that_comes_by_drops_is_not_waited_for_either() -> None:
    async with site() as web:
        reader, writer = await web.connect(b"GET / HTTP/1.1\r\n")
        ended = asyncio.create_task(rest(reader))
        before = time.monotonic()
        while not ended.done() and time.monotonic() - before < 5:
            with contextlib.suppress(ConnectionError):
                writer.write(b"X: y\r\n")
                await writer.drain()
            await asyncio.wait({ended}, timeout=0.05)
        assert time.monotonic() - before < 2
        assert b" 408 " in await ended


async def test_a_body_must_come_at_a_pace() -> None:
    async with site() as web:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        before = time.monotonic()
        assert b" 408 " in await web.ask(head + b"abc")
        assert time.monotonic() - before < 2
        reader, writer = await web.connect(head)
        for _ in range(10):  # slower than one pace allows for all, and never too slow
            writer.write(bytes(100_000))
            await pause(0.1)
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 30 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000, b"431"),
        (b"GET /" + b"x" * 200_000, b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"HELLO\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", b"400"),
    ],
)
async def test_heads_that_are_too_large_or_none(request_: bytes, status: bytes) -> None:
    async with site() as web:
        answer = await web.ask(request_)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"application/problem+json" in answer
        assert b"200 OK" in await web.ask(LAST)


async def test_sockets_that_say_nothing_push_each_other_out_and_nobody_else() -> None:
    async with site(WebLimits(connections=20, head_seconds=60)) as web:
        busy, _ = await web.connect(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await busy.read(100)
        silent = [await web.connect() for _ in range(200)]
        assert b"200 OK" in await web.ask(LAST)
        ended = [asyncio.create_task(reader.read(1)) for reader, _ in silent]
        done, pending = await asyncio.wait(ended, timeout=1)
        assert len(done) >= 180
        assert len(pending) <= 20
        for task in pending:
            task.cancel()
        assert await busy.read(65536)


async def test_when_all_are_busy_the_next_is_told_to_come_again() -> None:
    async with site(WebLimits(connections=5, head_seconds=60)) as web:
        readers = [(await web.connect(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"))[0] for _ in range(5)]
        for reader in readers:
            assert await reader.read(100)
        answer = await web.ask(LAST)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer


async def test_an_answer_that_is_not_read_is_not_kept_for_ever() -> None:
    async with site() as web:
        reader, _ = await web.connect(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await pause(1.5)
        read = 0
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(1 << 20):
                    read += len(data)
        assert read < 64 * 1024 * 1024  # it ended


async def test_a_request_that_goes_on_after_its_answer_ends() -> None:
    async with site() as web:
        head = b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        before = time.monotonic()
        answer = await web.ask(head + bytes(1000))
        assert answer.startswith(b"HTTP/1.1 413")
        assert time.monotonic() - before < 3


async def test_requests_on_one_connection_and_pipelined_ones_are_answered() -> None:
    async with site() as web:
        reader, writer = await web.connect(GOOD * 3)
        answers = b""
        while answers.count(b"200 OK") < 3:
            answers += await asyncio.wait_for(reader.read(65536), 5)
        writer.write(LAST)
        assert b"200 OK" in await rest(reader)
