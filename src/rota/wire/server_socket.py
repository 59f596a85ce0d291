"""The server's end of a WebSocket, on Starlette. Workers never import this."""

from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect

from rota.wire.frames import from_worker
from rota.wire.messages import FromServer, FromWorker
from rota.wire.socket_channel import SEND_SECONDS, SocketChannel, TextFrame, closed_by


def server_channel(
    opened: WebSocket, abort: Callable[[], None], *, send_seconds: float = SEND_SECONDS
) -> SocketChannel[FromServer, FromWorker]:
    """The server's end of a channel over an accepted connection; `abort` ends it below, at once."""
    return SocketChannel(ServerSocket(opened, abort), from_worker, send_seconds=send_seconds)


class ServerSocket:
    """`rota.wire.socket_channel.Socket` on Starlette."""

    def __init__(self, opened: WebSocket, abort: Callable[[], None]) -> None:
        self._opened = opened
        self._abort = abort

    async def send(self, frame: bytes) -> None:
        """Hand over a frame; waits while the other end is too far behind."""
        try:
            await self._opened.send({"type": "websocket.send", "bytes": frame})
        except (WebSocketDisconnect, RuntimeError) as error:
            raise closed_by(None, "") from error

    async def receive(self) -> bytes:
        """The next frame."""
        try:
            message = await self._opened.receive()
        except RuntimeError as error:  # the end was received before
            raise closed_by(None, "") from error
        if message["type"] == "websocket.disconnect":
            raise closed_by(message.get("code"), message.get("reason") or "")
        data = message.get("bytes")
        if data is None:
            raise TextFrame
        return bytes(data)

    async def close(self, code: int, reason: str) -> None:
        """Say why, and close in order."""
        try:
            await self._opened.close(code, reason)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise closed_by(None, "") from error

    def abort(self) -> None:
        """End the connection at once."""
        self._abort()
