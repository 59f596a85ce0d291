"""Floods over real sockets: whatever strangers and friends do too much of, workers keep their sessions and time."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.pausing import pause
from tests.server.served_installation import Served, Worker, open_served

from rota.server.access import new_token_text
from rota.server.web_protocols import WebLimits
from rota.wire.messages import Heartbeat, HeartbeatAcknowledged

RATE, BURST = 100.0, 200.0  # of one token: small, so that a slow machine gets there, too
FLOOD_SECONDS = 2.5
LATEST = 1.5  # seconds until a heartbeat must be answered; a worker waits for four


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with open_served(limits=WebLimits(connections=100), token=RATE, token_burst=BURST) as one:
        yield one


class Beats:
    """Beats like a worker and notes how long the answers take."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.waited: list[float] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await self._worker.channel.send(Heartbeat(sent=before))
            answer = await self._worker.channel.receive()
            assert isinstance(answer, HeartbeatAcknowledged)
            self.waited.append(loop.time() - before)
            await pause(0.1)


async def flood(served: Served, heads: bytes, seen: Counter[bytes]) -> None:
    """Ask on one connection as fast as it goes, and again on another when that ends."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            try:
                while True:
                    writer.write(heads)
                    await writer.drain()
                    data = await reader.read(1 << 16)
                    if not data:
                        break
                    for line in data.split(b"\r\n"):
                        if line.startswith(b"HTTP/1.1 "):
                            seen[line[9:12]] += 1
            finally:
                writer.transport.abort()


def ask(token: str, path: str = "/api/v1/me") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def under(served: Served, *floods: bytes, connections: int = 8) -> tuple[list[float], Counter[bytes]]:
    """How long heartbeats waited while all this came, and what was answered to it."""
    seen: Counter[bytes] = Counter()
    async with served.worker("w1") as worker:
        beats = Beats(worker)
        tasks = [asyncio.create_task(flood(served, heads, seen)) for heads in floods for _ in range(connections)]
        tasks.append(asyncio.create_task(beats.run()))
        done, _ = await asyncio.wait(tasks, timeout=FLOOD_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        assert [session.worker.name for session in served.rota.server.hub.sessions()] == ["w1"]
    return beats.waited, seen


async def test_a_flood_with_one_token(served: Served) -> None:
    waited, seen = await under(served, ask(served.rota.tokens["read"]) * 20)
    assert seen[b"429"] > 50
    assert 50 < seen[b"200"] < BURST + RATE * (FLOOD_SECONDS + 1)
    assert len(waited) > 5
    assert max(waited) < LATEST


async def test_a_flood_of_wrong_tokens_and_of_nobody(served: Served) -> None:
    nobody = b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    guesses = b"".join(ask(new_token_text(), path) for path in ("/api/v1/me", "/api/v1/worker") for _ in range(10))
    waited, seen = await under(served, guesses, nobody * 20)
    assert seen[b"401"] <= 30
    assert seen[b"429"] > 50
    assert max(waited) < LATEST


async def test_sockets_that_only_connect(served: Served) -> None:
    async def connect_and_stay() -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as held:
            for _ in range(100_000):
                one = held.enter_context(socket.socket())
                one.setblocking(False)
                await loop.sock_connect(one, ("127.0.0.1", served.port))
                if one.fileno() > 800:
                    held.pop_all().close()

    staying = asyncio.create_task(connect_and_stay())
    waited, _ = await under(served, ask(served.rota.tokens["read"]))
    async with served.worker("w2"):  # a new one comes in meanwhile
        assert not staying.done()
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)
    assert max(waited) < LATEST


async def test_probes_are_answered_in_a_flood(served: Served) -> None:
    seen: Counter[bytes] = Counter()
    heads = ask(served.rota.tokens["read"]) * 20
    flooding = [asyncio.create_task(flood(served, heads, seen)) for _ in range(8)]
    while seen[b"429"] < 100:
        await pause(0.05)
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.read(), LATEST)
        writer.close()
    for task in flooding:
        task.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
