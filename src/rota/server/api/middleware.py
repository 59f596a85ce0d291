"""What holds for every request before any route is looked at, and for every answer.

Before: a request id; not too many of them; the Host header must name this server (a foreign name that resolves to our
address would let another site's page read us); no token in the address. After: the headers that keep browsers from
guessing, framing, or running anything that is not ours.
"""

import ipaddress
import re
import secrets
import time
from email.utils import formatdate
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rota.core.errors import NotAuthenticated, RotaError
from rota.server.api.limits import Limiter
from rota.server.api.problems import WrongHost, problem_response
from rota.server.api.services import ApiSettings

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_TOKEN_NAMES: Final = frozenset({"token", "access_token", "api_key", "apikey", "authorization"})
_TOKEN_LIKE: Final = re.compile(r"rota_[A-Za-z0-9_-]{30,}", re.ASCII)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def request_id_of(scope: Scope) -> str:
    """The id given to this request."""
    return str(scope.get("state", {}).get("request_id", ""))


class Guard:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, settings: ApiSettings, limits: Limiter) -> None:
        self._app = app
        self._limits = limits
        self._names = _LOOPBACK | {name.lower() for name in (settings.host, *settings.hosts)}
        self._any_address = settings.host in _WILDCARDS
        self._always = {**_HEADERS}
        if settings.tls:
            self._always["strict-transport-security"] = "max-age=31536000"
        self._date: tuple[int, str] = (0, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, and add what every answer carries. A WebSocket is refused by an answer, too."""
        if scope["type"] not in ("http", "websocket"):
            return
        headers = Headers(scope=scope)
        offered = headers.get("x-request-id", "")
        request_id = offered if _REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                self._limits.note(scope, headers, message["status"])
                answer = MutableHeaders(scope=message)
                for name, value in self._always.items():
                    answer.setdefault(name, value)
                answer.setdefault("cache-control", "no-store")
                answer["x-request-id"] = request_id
                answer["date"] = self._today()
            elif message["type"] == "websocket.accept":
                self._limits.note(scope, headers, 101)
            await send(message)

        try:
            self._check(scope, headers)
        except RotaError as error:
            await problem_response(error, request_id)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise what keeps a request out before any route is looked at."""
        self._limits.check(scope, headers)
        if not self._is_ours(headers.get("host", "")):
            raise WrongHost(
                "the Host header names another server",
                hint="call it by its address, or list the name under allowed_hosts in its settings",
            )
        if _has_token(scope.get("query_string", b"")):
            raise NotAuthenticated(
                "tokens in an address are refused: addresses end up in logs and histories",
                hint="send Authorization: Bearer <token>, and revoke this token",
            )

    def _is_ours(self, host: str) -> bool:
        name = re.sub(r":[0-9]{1,5}$", "", host.strip().lower())
        if name in self._names or name.strip("[]") in self._names:
            return True
        return self._any_address and _is_address(name.strip("[]"))

    def _today(self) -> str:
        """The Date header, made once a second at most."""
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _has_token(query: bytes) -> bool:
    if not query:
        return False
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(name.lower() in _TOKEN_NAMES or _TOKEN_LIKE.search(name + value) for name, value in pairs)
