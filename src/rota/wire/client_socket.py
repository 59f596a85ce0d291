"""The worker's end of a WebSocket, on aiohttp."""

import asyncio
from typing import Any, Final

from aiohttp import ClientError, ClientWebSocketResponse, ClientWSTimeout, WSMsgType

from rota.wire.channel import ChannelClosed
from rota.wire.frames import FRAME_LIMIT, from_server
from rota.wire.messages import FromServer, FromWorker
from rota.wire.socket_channel import CLOSE_SECONDS, SEND_SECONDS, SocketChannel, TextFrame, closed_by
from rota.wire.sockets import keep_short

CONNECT_OPTIONS: Final[dict[str, Any]] = {
    "max_msg_size": FRAME_LIMIT,
    "compress": 0,
    "heartbeat": None,
    "autoping": True,
    "timeout": ClientWSTimeout(ws_receive=None, ws_close=CLOSE_SECONDS),
}
"""How `ClientSession.ws_connect` is to open the connection: no compression, no pings, frames up to the limit."""

Open = ClientWebSocketResponse[Any]


def worker_channel(
    opened: Open, transport: asyncio.Transport, *, send_seconds: float = SEND_SECONDS
) -> SocketChannel[FromWorker, FromServer]:
    """The worker's end of a channel over an open connection; `transport` is what lies below it."""
    keep_short(transport)
    return SocketChannel(ClientSocket(opened, transport), from_server, send_seconds=send_seconds)


class ClientSocket:
    """`rota.wire.socket_channel.Socket` on aiohttp."""

    def __init__(self, opened: Open, transport: asyncio.Transport) -> None:
        self._opened = opened
        self._transport = transport

    async def send(self, frame: bytes) -> None:
        """Hand over a frame; waits while the other end is too far behind."""
        try:
            await self._opened.send_bytes(frame)
        except (ClientError, OSError, RuntimeError) as error:
            raise self._ended() from error

    async def receive(self) -> bytes:
        """The next frame."""
        try:
            message = await self._opened.receive()
        except (ClientError, OSError, RuntimeError) as error:
            raise self._ended() from error
        if message.type is WSMsgType.BINARY:
            data: bytes = message.data
            return data
        if message.type is WSMsgType.TEXT:
            raise TextFrame
        if message.type is WSMsgType.CLOSE:
            raise closed_by(message.data, str(message.extra or ""))
        raise self._ended()

    async def close(self, code: int, reason: str) -> None:
        """Say why, and close in order."""
        try:
            await self._opened.close(code=code, message=reason.encode())
        except (ClientError, OSError, RuntimeError) as error:
            raise self._ended() from error

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _ended(self) -> ChannelClosed:
        """How it ended, as far as that is known."""
        return closed_by(self._opened.close_code, "")
