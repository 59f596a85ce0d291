"""Ways between processes that do as a script says: slow, silent in one direction, cut, or losing one answer.

A way is a TCP proxy on a loopback port that keeps its port for life. All ways of a `Ways` are served by one thread with
an event loop; whoever steers them calls plain methods from any other thread.

A way that is silent still takes what is sent, as a full network buffer would: the sender is told nothing.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from tests.postgres.between import Between

_PIECE: Final = 65_536
_STEER_SECONDS: Final = 30.0

_W = TypeVar("_W", bound="ScriptedWay")
_T = TypeVar("_T")


class Direction:
    """What happens to bytes on their way in one direction."""

    def __init__(self) -> None:
        self.delay = 0.0  # seconds; what follows waits behind, so order is kept
        self.passed = 0  # bytes
        self._open = asyncio.Event()
        self._open.set()

    def freeze(self) -> None:
        """Let nothing through; nobody is told."""
        self._open.clear()

    def thaw(self) -> None:
        """Let through again, what came meanwhile first."""
        self._open.set()

    async def let_through(self, size: int, arrived: float) -> None:
        """Wait as long as bytes that arrived then have to."""
        rest = arrived + self.delay - asyncio.get_running_loop().time()
        if rest > 0:
            await asyncio.sleep(rest)
        await self._open.wait()
        self.passed += size


class ScriptedWay(Between):
    """Passes bytes on: `toward` those of who dialled, `back` the answers."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.toward = Direction()
        self.back = Direction()
        self.closed = False  # whether new connections are refused
        self._streams: set[asyncio.StreamWriter] = set()

    def freeze(self) -> None:
        """Silence in both directions."""
        self.toward.freeze()
        self.back.freeze()

    def thaw(self) -> None:
        """Pass on again in both directions."""
        self.toward.thaw()
        self.back.thaw()

    def cut(self) -> None:
        """Break all connections there are; both ends are told."""
        for writer in self._streams:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.closed:
            writer.transport.abort()
            return
        await self.toward.let_through(0, 0.0)  # on a silent way nobody is reached
        theirs, ours = await self.dial()
        streams = {writer, ours}
        self._streams |= streams
        script = self.script(writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, ours, self.toward, script.toward))
                group.create_task(_pass_on(theirs, writer, self.back, script.back))
        except* ConnectionError:
            pass
        finally:
            self._streams -= streams
            for stream in streams:
                stream.transport.abort()

    def script(self, caller: asyncio.StreamWriter) -> "Script":
        """What is done to the bytes of a new connection."""
        return Script()


class Script:
    """Changes the bytes of one connection; this one does not."""

    async def toward(self, data: bytes) -> bytes:
        """What is passed on of what the caller sent."""
        return data

    async def back(self, data: bytes) -> bytes:
        """What is passed on of the answers."""
        return data


async def _pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    direction: Direction,
    change: Callable[[bytes], Awaitable[bytes]],
) -> None:
    """Pass bytes on until there are no more; then the connection is over in both directions."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue()

    async def take() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_PIECE):
                arrived.put_nowait((data, loop.time()))
        arrived.put_nowait((b"", loop.time()))

    taking = asyncio.create_task(take())
    try:
        while True:
            data, moment = await arrived.get()
            await direction.let_through(len(data), moment)
            if not data:
                raise ConnectionResetError
            writer.write(await change(data))
            await writer.drain()
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


class Ways:
    """All ways of a test, and the thread that serves them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ways", daemon=True)
        self._open: list[ScriptedWay] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for way in self._open:
                self._await(way.__aexit__(None, None, None))
            self._await(self._loop.shutdown_default_executor())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STEER_SECONDS)
            self._loop.close()

    def add(self, make: Callable[[], _W]) -> _W:
        """Open a way; it is made in the thread that serves it."""

        async def opened() -> _W:
            way = make()
            await way.__aenter__()
            return way

        way = self._await(opened())
        self._open.append(way)
        return way

    def do(self, act: Callable[[], _T]) -> _T:
        """Do something to ways, between two of their steps; returns what it returns."""

        async def acted() -> _T:
            return act()

        return self._await(acted())

    def _await(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_STEER_SECONDS)
