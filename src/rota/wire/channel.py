"""A channel carries messages both ways between one worker and one server; here the one inside a process.

Contract of every channel: messages arrive in order and at most once; `receive` raises `ChannelClosed` after the
other end closed or died and everything that had arrived was received; `send` on a closed channel raises it too.
"""

import asyncio
from typing import Any, Generic, Protocol, TypeVar

from rota.core.errors import RotaError
from rota.wire.messages import FromServer, FromWorker

Sent = TypeVar("Sent", contravariant=True)
Received = TypeVar("Received", covariant=True)


class ChannelClosed(RotaError):
    """The other end of the channel is gone."""

    code = "CHANNEL_CLOSED"
    retryable = True


class Channel(Protocol[Sent, Received]):
    """One end of a connection."""

    @property
    def is_local(self) -> bool:
        """Whether both ends are in one process: then the end of the channel is the end of the other side."""

    async def send(self, message: Sent) -> None:
        """Hand over `message`; waits while the other end is too far behind."""

    async def receive(self) -> Received:
        """The next message of the other end."""

    async def close(self) -> None:
        """Close both directions; never fails."""


WorkerChannel = Channel[FromWorker, FromServer]
ServerChannel = Channel[FromServer, FromWorker]

_S = TypeVar("_S")
_R = TypeVar("_R")
_WINDOW = 1024  # messages in flight before the sender waits


class EndedChannel:
    """A channel whose other end is gone from the beginning."""

    is_local = False

    async def send(self, _message: object) -> None:
        """Raises ChannelClosed."""
        raise ChannelClosed("the channel has ended")

    async def receive(self) -> Any:
        """Raises ChannelClosed."""
        raise ChannelClosed("the channel has ended")

    async def close(self) -> None:
        """It is."""


class MemoryChannel(Generic[_S, _R]):
    """One end of a channel inside a process; `memory_channel()` makes the pair."""

    def __init__(self, outgoing: "asyncio.Queue[_S | None]", incoming: "asyncio.Queue[_R | None]") -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = asyncio.Event()
        self.peer: MemoryChannel[_R, _S] | None = None

    @property
    def is_local(self) -> bool:
        """Both ends are here."""
        return True

    async def send(self, message: _S) -> None:
        """Hand over `message`; waits while the other end is too far behind."""
        if self._closed.is_set():
            raise ChannelClosed
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            await self._send_when_there_is_room(message)

    async def _send_when_there_is_room(self, message: _S) -> None:
        """Wait for room, but not for ever: a channel that is closed meanwhile will have none."""
        put = asyncio.ensure_future(self._outgoing.put(message))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((put, closed), return_when=asyncio.FIRST_COMPLETED)
            if not put.done():
                raise ChannelClosed
        finally:
            put.cancel()
            closed.cancel()

    async def receive(self) -> _R:
        """The next message of the other end."""
        if self._closed.is_set() and self._incoming.empty():
            raise ChannelClosed
        message = await self._incoming.get()
        if message is None:
            self._closed.set()
            raise ChannelClosed
        return message

    async def close(self) -> None:
        """Close both directions; messages already sent can still be received."""
        for end in (self, self.peer):
            if end is not None and not end._closed.is_set():
                end._closed.set()
                _wake(end._incoming)


def _wake(queue: asyncio.Queue[Any]) -> None:
    """Let a waiting receiver see the end."""
    if not queue.full():
        queue.put_nowait(None)


def memory_channel() -> tuple[WorkerChannel, ServerChannel]:
    """The two ends of a channel inside this process: the worker's, the server's."""
    up: asyncio.Queue[FromWorker | None] = asyncio.Queue(_WINDOW)
    down: asyncio.Queue[FromServer | None] = asyncio.Queue(_WINDOW)
    worker: MemoryChannel[FromWorker, FromServer] = MemoryChannel(up, down)
    server: MemoryChannel[FromServer, FromWorker] = MemoryChannel(down, up)
    worker.peer, server.peer = server, worker
    return worker, server
