"""The dialer: connects a worker to one of its servers, and has it join first when it has no token of its own.

One attempt goes over the whole list, from a place taken by chance: a worker that comes back does not prefer the server
it had, so workers spread by themselves. The certificate of a server is always checked; redirects are not followed.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, ClassVar, Final, TypeVar

import aiohttp
import msgspec

from rota.core.errors import RotaError
from rota.files import others_can_read, write_private
from rota.wire.channel import WorkerChannel
from rota.wire.client_socket import CONNECT_OPTIONS, worker_channel
from rota.worker.session import WorkerRefused

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
TOKEN_NAME: Final = "worker-token"  # noqa: S105 — the name of a file
LOOK_SECONDS: Final = 2.0
_JOIN: Final = "/api/v1/workers:join"
_READY: Final = "/readyz"
_CHANNEL: Final = "/api/v1/worker"
_LARGEST_ANSWER: Final = 64 * 1024
_T = TypeVar("_T")
_LATER: Final = frozenset({409, 429, 503})  # refusals that may end by themselves


class Unreachable(RotaError):
    """No server answers."""

    code: ClassVar[str] = "UNREACHABLE"
    retryable: ClassVar[bool] = True


class FileUnusable(WorkerRefused):
    """A file this worker needs to connect cannot be used; that does not end by itself."""

    code: ClassVar[str] = "WORKER_FILE"


class DialSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker dials, as whom, and whom it believes."""

    servers: tuple[str, ...]
    name: str
    state: Path
    ca: Path | None = None  # the only root of trust; None: the system's
    join_token: str | None = None


class Dialer:
    """Connects, again and again. Use with `async with`."""

    def __init__(self, settings: DialSettings, *, version: str = "", rng: Random | None = None) -> None:
        self._settings = settings
        self._rng = rng or SystemRandom()
        self._tls = _trust(settings.ca)
        self._join_key = secrets.token_hex(16)  # an answer that is lost on its way costs no second use
        self._upgraded: aiohttp.ClientResponse | None = None
        self._agent = f"rota-worker/{version}"
        self._session: aiohttp.ClientSession | None = None
        self._connected = ""  # the server of the last channel
        self._ready = ""  # the one that has just said that it is ready: it is dialled first, once
        self._left = ""  # the one that has sent us away: it is dialled last, once

    async def __aenter__(self) -> "Dialer":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def dial(self) -> WorkerChannel:
        """A channel to some server. Raises Unreachable, or WorkerRefused with the words of the server that did.

        `again` among the facts of a refusal says that it may end by itself.
        """
        token = self._kept_token() or await self._join()
        headers = {"Authorization": f"Bearer {token}"}
        return await self._any_of(lambda url: self._connect(url, headers))

    async def another_is_ready(self) -> bool:
        """Whether a server other than that of the last channel says that it can do its duty; it is dialled next."""
        others = [url for url in self._in_some_order() if url != self._connected]
        for url in others:
            with contextlib.suppress(Unreachable, WorkerRefused), self._in_words(url):
                async with asyncio.timeout(LOOK_SECONDS), self._http.get(url + _READY):
                    self._ready = url
                    return True
        return False

    def leave(self) -> None:
        """The server of the last channel has sent us away: the others are dialled before it."""
        self._left = self._connected

    # ── over the list ────────────────────────────────────────────────────────────────────────────────────

    async def _any_of(self, attempt: Callable[[str], Awaitable[_T]]) -> _T:
        """What the first server gives that gives anything; else why none did."""
        failures: list[RotaError] = []
        for url in self._in_some_order():
            try:
                return await attempt(url)
            except (Unreachable, WorkerRefused) as error:
                failures.append(error)
        refusals = [error for error in failures if isinstance(error, WorkerRefused)]
        if refusals:
            # What only may end by itself says less than what a person must put right.
            raise min(refusals, key=lambda error: bool(error.facts.get("again")))
        first, *others = failures
        more = "".join(f"; {error.detail}" for error in others)
        raise Unreachable(first.detail + more, hint=first.hint)

    def _in_some_order(self) -> Sequence[str]:
        """All servers, from one on that chance chooses, or that is known to be ready; last the one that was left."""
        servers = self._settings.servers
        start = servers.index(self._ready) if self._ready else self._rng.randrange(len(servers))
        order = sorted([*servers[start:], *servers[:start]], key=lambda url: url == self._left)
        self._ready = self._left = ""
        return order

    # ── one server ───────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self, url: str, headers: dict[str, str]) -> WorkerChannel:
        """A channel to this server."""
        with self._in_words(url):
            opened = await self._http.ws_connect(url + _CHANNEL, headers=headers, **CONNECT_OPTIONS)
        assert self._upgraded is not None
        connection = self._upgraded.connection
        if connection is None or connection.transport is None:
            raise Unreachable(f"{url} closed the connection at once")
        self._connected = url
        return worker_channel(opened, connection.transport)

    async def _join_at(self, url: str, join_token: str) -> str:
        """A token of our own from this server."""
        headers = {"Authorization": f"Bearer {join_token}", "Idempotency-Key": self._join_key}
        with self._in_words(url):
            async with self._http.post(url + _JOIN, json={"name": self._settings.name}, headers=headers) as response:
                answer = await _small(response)
        try:
            token = str(msgspec.json.decode(answer)["token"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise _not_rota(url) from error
        if not _is_token(token):
            raise _not_rota(url)
        return token

    async def _look(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Turn an answer that is no success into the server's words; follow nothing, the token is for this server."""
        response = await send(request)
        if response.status < 300:
            self._upgraded = response
            return response
        url = str(request.url.origin())
        try:
            raise _refusal(url, response.status, await _small(response), response.headers.get("Content-Type", ""))
        finally:
            response.close()

    @contextlib.contextmanager
    def _in_words(self, url: str) -> Iterator[None]:
        """Say what is wrong with a connection so that it can be put right."""
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            hint = "give the certificate of its authority with --ca, or call it by a name that its certificate has"
            raise Unreachable(f"the certificate of {url} is not believed: {why}", hint=hint) from error
        except aiohttp.ClientConnectorSSLError as error:
            hint = "if it has no TLS, write http:// (this machine, or plain_http); else look at its certificate"
            raise Unreachable(f"{url} does not speak TLS as expected: {_reason(error)}", hint=hint) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise self._closed(url, error) from error
        except TimeoutError as error:
            raise Unreachable(f"{url} does not answer in time", hint="look at the network between") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise _not_rota(url) from error

    def _closed(self, url: str, error: Exception) -> Unreachable:
        """The connection could not be made, or ended before an answer."""
        if isinstance(error, aiohttp.ClientConnectorError):
            why = getattr(error.os_error, "strerror", None) or str(error.os_error)
            return Unreachable(f"{url} cannot be reached: {why}", hint="is it started, and is the address right?")
        hint = "if it speaks TLS, write https://" if url.startswith("http://") else "look at the server's log"
        return Unreachable(f"{url} closed the connection without an answer", hint=hint)

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, connect=2 * CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS
            )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, limit=0, force_close=True),
                headers={"User-Agent": self._agent},
                timeout=timeout,
                middlewares=[self._look],
            )
        return self._session

    # ── the worker's own token ───────────────────────────────────────────────────────────────────────────

    async def _join(self) -> str:
        """Exchange the join token for one of our own, and keep it before it is used."""
        join_token = self._settings.join_token
        path = self._settings.state / TOKEN_NAME
        if not join_token:
            raise WorkerRefused(
                f"worker {self._settings.name} has no token: there is no {path}, and no join token was given",
                hint="ROTA_JOIN_TOKEN=$(rota token create --join) rota worker …, or ROTA_JOIN_TOKEN_FILE",
            )
        token = await self._any_of(lambda url: self._join_at(url, join_token))
        try:
            self._settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, token.encode() + b"\n")
        except OSError as error:
            hint = "make the folder writable, revoke the worker (rota workers revoke) and let it join again"
            raise FileUnusable(f"{path} cannot be written: {error.strerror}", hint=hint) from error
        return token

    def _kept_token(self) -> str | None:
        """The token this worker was given when it joined."""
        path = self._settings.state / TOKEN_NAME
        try:
            text = path.read_text(encoding="ascii", errors="replace").strip()
            if others_can_read(path):
                raise FileUnusable(f"{path} can be read by others", hint=f"chmod 600 {path}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileUnusable(f"{path} cannot be read: {error.strerror}") from error
        if not _is_token(text):
            hint = f"remove it, revoke the worker (rota workers revoke {self._settings.name}) and let it join again"
            raise FileUnusable(f"{path} holds no token", hint=hint)
        return text


def _is_token(text: str) -> bool:
    """Whether it is written like a token, and can stand in a header."""
    return text.startswith("rota_") and len(text) <= 200 and text.isascii() and text.isprintable()


def _trust(ca: Path | None) -> ssl.SSLContext:
    """What believes in servers: this authority alone, or those of the system."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise FileUnusable(f"{ca} holds no certificates", hint="give the authority's certificate in PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _small(response: aiohttp.ClientResponse) -> bytes:
    """An answer, as far as it is of a size that we can have been meant by."""
    return await response.content.read(_LARGEST_ANSWER)


def _refusal(url: str, status: int, body: bytes, kind: str) -> RotaError:
    """Why a server did not let us in, in its words."""
    if not kind.startswith("application/problem+json"):
        return _not_rota(url, f"it answered {status}")
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return _not_rota(url, f"it answered {status}")
    detail = str(problem.get("detail") or problem.get("title") or status)
    hint = problem.get("hint")
    words = f"{url} refused: {detail[:500]}"
    if status == 503:
        return Unreachable(words, hint=str(hint) if hint else None)
    return WorkerRefused(words, hint=str(hint) if hint else None, again=status in _LATER, status=status)


def _not_rota(url: str, how: str = "its answer makes no sense") -> Unreachable:
    return Unreachable(f"{url} is not a Rota server that takes workers: {how}", hint="check --server")


def _reason(error: aiohttp.ClientConnectorSSLError) -> str:
    """The kernel of what the TLS library said."""
    below = error.os_error
    return str(getattr(below, "reason", None) or below).replace("_", " ").lower()
