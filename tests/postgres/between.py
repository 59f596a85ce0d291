"""What may stand between a server and its database: a way that breaks, and a pooler that breaks sessions."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

_PASSED_ON: Final = 65_536


class Between:
    """A TCP server on a loopback port, in front of a database."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._dialled: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The database's URL by way of this."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._parts.username}@" if self._parts.username else ""
        return urlunsplit(self._parts._replace(netloc=f"{user}127.0.0.1:{port}"))

    def lead_to(self, url: str) -> None:
        """Lead new connections there from now on."""
        self._parts = urlsplit(url)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the database itself."""
        reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._dialled.append(writer)
        return reader, writer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._dialled:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.serve(reader, writer)
        writer.close()


class Way(Between):
    """A way to the database that can be frozen (packets are dropped, nobody is told) and cut."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def freeze(self) -> None:
        """Pass nothing on any more, in either direction."""
        self._open.clear()

    def thaw(self) -> None:
        """Pass on again, also what came meanwhile."""
        self._open.set()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on both ways."""
        theirs, ours = await self.dial()
        self._writers |= {writer, ours}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, ours))
                group.create_task(self._pass_on(theirs, writer))
        except* ConnectionError:
            pass
        finally:
            self._writers -= {writer, ours}
            ours.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PASSED_ON):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


class TransactionPooler(Between):
    """As pgbouncer in transaction mode: a client has a connection of the database from one ReadyForQuery to the next.

    Knows as much of the protocol as that takes: messages have a byte of type and four of length; `Z I` says that no
    transaction is open. The connection given back last is given out first.
    """

    def __init__(self, url: str, size: int) -> None:
        super().__init__(url)
        self._free = asyncio.Semaphore(size)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let a client in, then serve its transactions, each by some connection."""
        length = int.from_bytes(await reader.readexactly(4))
        start = length.to_bytes(4) + await reader.readexactly(length - 4)
        if len(start) == 8:  # it asks for TLS
            writer.write(b"N")
            length = int.from_bytes(await reader.readexactly(4))
            start = length.to_bytes(4) + await reader.readexactly(length - 4)
        backend = await self.dial()
        backend[1].write(start)
        await _until_idle(backend[0], writer)
        self._idle.append(backend)
        while True:
            first = await _message(reader)
            async with self._free:
                backend = self._idle.pop()
                await _transaction(first, reader, writer, backend)
                self._idle.append(backend)


async def _transaction(
    first: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    backend: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Pass on both ways, beginning with a message of the client, until no transaction is open any more."""
    backend[1].write(first)
    asking = asyncio.create_task(_ask(reader, backend[1]))
    try:
        await _until_idle(backend[0], writer)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask(client: asyncio.StreamReader, backend: asyncio.StreamWriter) -> None:
    """Pass on what the client sends."""
    while True:
        backend.write(await _message(client))


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One message: a byte of type, four of length, content."""
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _until_idle(backend: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """Pass on what the database answers, up to the message that says that no transaction is open."""
    while True:
        message = await _message(backend)
        client.write(message)
        if message[:1] == b"Z":
            await client.drain()
            if message[5:] == b"I":
                return
