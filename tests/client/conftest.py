"""A server beside the test, for code that has no loop."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from tests.client.scripted_server import answer, scripted


@pytest.fixture
def blocking_server() -> Iterator[str]:
    """The address of a server in another thread that lists one job."""
    started, url = threading.Event(), ""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        nonlocal url
        page = {"items": [{"job": "a/b"}], "next": None, "count": {"value": 1, "kind": "exact"}}
        async with scripted(answer(200, page)) as server:
            url = server.url
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield url
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()
