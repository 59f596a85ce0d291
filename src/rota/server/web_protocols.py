"""uvicorn's protocols, held to limits it does not have itself: connections, heads, slow senders, slow readers.

An HTTP connection is *busy* from a request's complete head to its answer's end, else *idle*. When there are too many,
the longest idle one goes: ten thousand sockets that say nothing only push each other out. What a client sends must
come at a pace; what it does not read is not kept for it for ever. Workers' connections are counted nowhere here.
"""

import asyncio
import functools
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from rota.core.model import Value
from rota.wire.sockets import keep_short

ABORT: Final = "rota.abort"
"""Where the state of a WebSocket's scope holds the function that ends its connection at once."""


class WebLimits(Value):
    """Limits of connections and of what comes over them before anybody looks at it."""

    connections: int = 2000  # over HTTP at once; workers are not counted
    head_bytes: int = 32 * 1024  # of all header lines
    head_lines: int = 100
    url_bytes: int = 16 * 1024
    head_seconds: float = 10.0  # from the first byte of a request, or the connection, to the end of the head
    pace_seconds: float = 10.0  # how often the pace of a body is looked at
    pace_bytes: int = 10 * 1024  # how much must have come in that time
    unread_seconds: float = 300.0  # how long a client may leave an answer unread


USUAL: Final = WebLimits()


class Room:
    """The HTTP connections of one server."""

    def __init__(self, limits: WebLimits) -> None:
        self.limits = limits
        self.turned_away = 0
        self.pushed_out = 0
        self._idle: dict[HttpProtocol, None] = {}  # the longest idle one first
        self._busy: set[HttpProtocol] = set()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._idle) + len(self._busy)

    def enter(self, one: "HttpProtocol") -> bool:
        """A new connection; False when there is no room and none can be made."""
        if self.connections >= self.limits.connections:
            if not self._idle:
                self.turned_away += 1
                return False
            oldest = next(iter(self._idle))
            self.leave(oldest)
            self.pushed_out += 1
            oldest.transport.abort()
        self._idle[one] = None
        return True

    def set_busy(self, one: "HttpProtocol") -> None:
        """It has a request that is worked on."""
        if one in self._idle:
            del self._idle[one]
            self._busy.add(one)

    def set_idle(self, one: "HttpProtocol") -> None:
        """Its answer is complete."""
        if one in self._busy:
            self._busy.discard(one)
            self._idle[one] = None

    def leave(self, one: "HttpProtocol") -> None:
        """It has ended, or has become something else."""
        self._idle.pop(one, None)
        self._busy.discard(one)


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection within its limits."""

    def __init__(self, room: Room, **given: Any) -> None:
        super().__init__(**given)
        self._room = room
        self._limits = room.limits
        self._refusal = HTTPStatus.BAD_REQUEST
        self._in_head = True
        self._head_bytes = 0
        self._in_message = False
        self._received = 0
        self._watch: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # ── the connection ───────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or be turned away; then the head of a request must come."""
        super().connection_made(transport)
        if not self._room.enter(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again")
            return
        self._after(self._limits.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._room.leave(self)
        self._watch = _cancel(self._watch)
        self._unread = _cancel(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count, and refuse a head that does not end."""
        if self.transport.is_closing():
            return
        self._received += len(data)
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        most = self._limits.head_bytes + self._limits.url_bytes
        if self._in_head and self._head_bytes > most and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too large")

    def handle_websocket_upgrade(self) -> None:
        """From here on it is a WebSocket, which has rules of its own."""
        self._room.leave(self)
        self._watch = _cancel(self._watch)
        super().handle_websocket_upgrade()

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Its first byte came."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._head_bytes = 0
        self._after(self._limits.head_seconds, self._head_is_late)

    def on_headers_complete(self) -> None:
        """Its head came; look whether it is one we read, then the body must come at a pace."""
        self._in_head = False
        limits = self._limits
        size = sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > limits.url_bytes:
            self._refusal = HTTPStatus.REQUEST_URI_TOO_LONG
            raise ValueError("address too long")
        if size > limits.head_bytes or len(self.headers) > limits.head_lines:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError("head too large")
        self._room.set_busy(self)
        self._after(limits.pace_seconds, functools.partial(self._look_at_pace, self._received))
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it came."""
        self._in_message = False
        self._watch = _cancel(self._watch)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered. A request that still comes has a moment to end: whoever sends it reads nothing before."""
        self._room.set_idle(self)
        super().on_response_complete()
        if self._in_message:
            self._after(self._limits.pace_seconds, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request of ours."""
        self._refuse(self._refusal, self._refusal.phrase if self._refusal is not HTTPStatus.BAD_REQUEST else msg)

    # ── who is slow ──────────────────────────────────────────────────────────────────────────────────────

    def pause_writing(self) -> None:
        """The client does not read what was answered."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._unread = _cancel(self._unread)
        super().resume_writing()

    def _after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do that, unless what is waited for comes first."""
        self._watch = _cancel(self._watch)
        self._watch = self.loop.call_later(seconds, do)

    def _head_is_late(self) -> None:
        if self._in_message:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not come")
        else:
            self.transport.close()

    def _look_at_pace(self, before: int) -> None:
        """Whether enough of the body came since the last look. While we do not read, nothing can come."""
        if self._received - before < self._limits.pace_bytes and not self.flow.read_paused:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly")
            return
        self._after(self._limits.pace_seconds, functools.partial(self._look_at_pace, self._received))

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer without the application and end the connection."""
        if self.transport.is_closing():
            return
        code = status.name
        problem = {"title": status.phrase, "status": int(status), "code": code, "detail": detail}
        body = json.dumps({"type": f"urn:rota:error:{code.lower().replace('_', '-')}", **problem}).encode()
        head = f"HTTP/1.1 {int(status)} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        retry = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
        head += f"{retry}content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
        if self.cycle is None or not self.cycle.response_started:
            self.transport.write(head.encode() + body)
        self.transport.close()


class WorkerProtocol(WebSocketsSansIOProtocol):
    """One WebSocket: nothing is read before it is accepted, and what is not read is not answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the kernel what kind of connection this is."""
        super().connection_made(transport)
        keep_short(transport)

    def handle_connect(self, event: Any) -> None:
        """A handshake came: hold what follows until the application has decided."""
        super().handle_connect(event)
        if not self.transport.is_closing():
            self.read_paused = True  # `receive` of the application lets it go on
            self.transport.pause_reading()

    async def run_asgi(self) -> None:
        """Run the application, which may end the connection at once."""
        self.scope["state"][ABORT] = self.transport.abort
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Pass on what the application says. A refusal is the whole answer; uvicorn would miss a handshake after it."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def shutdown(self) -> None:
        """The server ends; the other end may be closing at the same moment."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()

    def handle_ping(self) -> None:
        """Answer it, unless the other end does not even read the answers to those before."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()


def protocols(limits: WebLimits) -> tuple[Any, Any]:
    """What makes the HTTP connections and the WebSockets of one server."""
    return functools.partial(HttpProtocol, Room(limits)), WorkerProtocol


def _cancel(handle: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel what is waited for; returns what is waited for then: nothing."""
    if handle is not None:
        handle.cancel()
    return None
