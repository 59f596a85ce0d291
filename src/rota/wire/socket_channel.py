"""A channel over a network: `Channel` on top of a WebSocket, whichever library its end is of.

Beside the contract of every channel: a send waits while the other end takes nothing, at most SEND_SECONDS, then the
connection is given up; what is received and not understood ends it too, and the other end is told why. Whatever ends
a connection (close, reset, end of file, garbage, a frame too large) is `ChannelClosed`, with the reason in words.
There are no pings here: both ends hear of each other by heartbeats, which say more.
"""

import asyncio
from typing import Final, Generic, Protocol, TypeVar

from rota.wire.channel import ChannelClosed
from rota.wire.frames import FrameTooLarge, NotUnderstood, Reader, frames_of

SEND_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 5.0  # for what was sent last to arrive, after that the connection is not needed
NORMAL: Final = 1000
NOT_UNDERSTOOD: Final = 1008
TOKEN_ENDED: Final = 4401
TOO_SLOW: Final = 4408
_THEIR_FAULT: Final = frozenset({1002, 1003, 1007, 1009})  # no protocol, text, no UTF-8, too large
_LONGEST_REASON: Final = 120  # bytes; a close frame has no room for more

_S = TypeVar("_S", contravariant=True)
_R = TypeVar("_R", covariant=True)


class Socket(Protocol):
    """One end of an open WebSocket. Whatever ends it is ChannelClosed, with the close frame's code if there was one."""

    async def send(self, frame: bytes) -> None:
        """Hand over a frame; waits while the other end is too far behind."""

    async def receive(self) -> bytes:
        """The next frame; raises NotUnderstood for a text frame."""

    async def close(self, code: int, reason: str) -> None:
        """Say why, and close in order."""

    def abort(self) -> None:
        """End the connection at once, whatever is on its way; a waiting `receive` or `send` ends with it."""


class SocketChannel(Generic[_S, _R]):
    """One end of a channel over a network."""

    def __init__(self, socket: Socket, reader: Reader[_R], *, send_seconds: float = SEND_SECONDS) -> None:
        self._socket = socket
        self._reader = reader
        self._send_seconds = send_seconds
        self._sending = asyncio.Lock()  # first come, first served: what is sent in order leaves in order
        self._ended: str | None = None  # why nothing can be sent any more
        self._closing = False
        self.fault: str | None = None  # what the other end did wrong, if we ended the connection for it

    @property
    def is_local(self) -> bool:
        """The other end is somewhere else: the end of the channel is not the end of it."""
        return False

    async def send(self, message: _S) -> None:
        """Hand over `message`; waits while the other end is too far behind, but not for ever."""
        too_large: FrameTooLarge | None = None
        for frame in frames_of(message):
            if isinstance(frame, FrameTooLarge):
                too_large = frame
            else:
                await self._send(frame)
        if too_large is not None:
            raise too_large

    async def _send(self, frame: bytes) -> None:
        """One frame."""
        try:
            async with asyncio.timeout(self._send_seconds):
                async with self._sending:
                    self._check_open()
                    await self._socket.send(frame)
        except TimeoutError:
            await self._end(TOO_SLOW, f"the other end took nothing for {self._send_seconds:g} seconds")
            self._check_open()
        except ChannelClosed as error:
            self._ended = self._ended or error.detail
            raise

    async def receive(self) -> _R:
        """The next message of the other end."""
        try:
            return self._reader.read(await self._socket.receive())
        except ChannelClosed as error:
            if self._ended is None and error.facts.get("code") in _THEIR_FAULT:
                self.fault = error.detail
            self._ended = self._ended or error.detail  # what ended it first: why we closed it, if we did
            raise ChannelClosed(self._ended) from error
        except NotUnderstood as error:
            await self.refuse(error.detail)
            raise ChannelClosed(error.detail) from error

    async def refuse(self, fault: str) -> None:
        """End the connection for what the other end did."""
        self.fault = self.fault or fault
        await self._end(NOT_UNDERSTOOD, fault)

    async def close(self) -> None:
        """Close both directions; never fails."""
        await self._end(NORMAL, "closed")

    async def close_for(self, code: int, reason: str) -> None:
        """Close both directions and tell the other end why; never fails."""
        await self._end(code, reason)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ChannelClosed(self._ended)

    async def _end(self, code: int, reason: str) -> None:
        """Say goodbye if that goes quickly, else end it at once. What was sent before may still arrive."""
        if self._closing:
            return
        self._closing = True
        if self._ended is not None:  # the other end is gone already
            self._socket.abort()
            return
        self._ended = reason
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code, short_reason(reason))
        except (ChannelClosed, TimeoutError):
            self._socket.abort()
        except BaseException:
            self._socket.abort()
            raise
        else:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._socket.abort)


def short_reason(text: str) -> str:
    """As much of a reason as a close frame can carry."""
    return text.encode()[:_LONGEST_REASON].decode(errors="ignore")


def closed_by(code: int | None, reason: str) -> ChannelClosed:
    """The end of a connection, from what its close frame said (1006: there was none)."""
    if code in (None, 1005, 1006):
        return ChannelClosed("the connection broke", code=code)
    usual = {1000: "it is done", 1001: "going away", 1009: "a frame was too large", 1012: "restarting"}
    return ChannelClosed(f"the connection was closed: {reason or usual.get(code, 'no reason')} ({code})", code=code)


class TextFrame(NotUnderstood):
    """A text frame came; messages are binary."""
