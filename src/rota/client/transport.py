"""Requests to the API: JSON in, JSON out, errors as typed errors, repeated where a repeat can do no harm.

Every POST carries an Idempotency-Key of its own, so it may be repeated like any other request: after a 503 (as long
as its Retry-After says, within the patience), after a 429 likewise, and when the connection broke before the answer.
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final

import httpx2
import msgspec

from rota.client.discovery import Target
from rota.client.errors import NotRota, Unreachable, error_of
from rota.core.errors import Invalid, RotaError

PREFIX: Final = "/api/v1"
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 15.0
_MOST_REPEATS: Final = 3
_LONGEST_RETRY_AFTER: Final = 5.0


class Transport:
    """One open client. Use with `async with`."""

    def __init__(
        self,
        target: Target,
        *,
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.target = target
        self._clock = clock
        self._patience = patience
        headers = {"User-Agent": f"rota/{version}", "Accept": "application/json, application/problem+json"}
        if target.token:
            headers["Authorization"] = f"Bearer {target.token}"
        self._http = httpx2.AsyncClient(
            base_url=target.url,
            headers=headers,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            verify=_trust(target) if target.ca is not None else True,
        )

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        """Read; arguments that are None are left out."""
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Any:
        """Do something, once, however often the request has to be sent."""
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        return await self.request("POST", path, query=query, body=body, headers=headers)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """One request of the API; returns the decoded answer, None for an empty one."""
        content = None if body is None else msgspec.json.encode(body)
        sent = dict(headers or {})
        if content is not None:
            sent["Content-Type"] = "application/json"
        parameters = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        response = await self._patiently(
            lambda: self._http.request(method, PREFIX + path, params=parameters, content=content, headers=sent)
        )
        return _decoded(response, self.target.url)

    async def plain(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a path outside the API (health); errors of the server are an answer, too."""
        response = await self._connected(lambda: self._http.get(path))
        try:
            return response.status_code, msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise NotRota(f"{self.target.url} answers, but it is not a Rota server") from error

    @asynccontextmanager
    async def stream(self, path: str, **query: Any) -> AsyncIterator[httpx2.Response]:
        """An open answer whose body is read as it comes; it may be silent for a while."""
        parameters = {name: _text(value) for name, value in query.items() if value is not None}
        timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self._http.stream("GET", PREFIX + path, params=parameters, timeout=timeout) as response:
                if response.status_code >= 300:
                    await response.aread()
                    _decoded(response, self.target.url)
                yield response
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def _patiently(self, send: Callable[[], Any]) -> httpx2.Response:
        """Send, and again after 503, 429 or a broken connection, within the patience."""
        deadline = self._clock() + self._patience
        for number in range(1_000_000):
            try:
                response: httpx2.Response = await send()
            except httpx2.ConnectError as error:
                raise self._unreachable(error) from error
            except httpx2.HTTPError as error:
                if number >= _MOST_REPEATS or self._clock() >= deadline or isinstance(error, httpx2.TimeoutException):
                    raise self._unreachable(error) from error
                await asyncio.sleep(0.1 * 2**number)
                continue
            if response.status_code not in (429, 503) or self._clock() >= deadline:
                return response
            await asyncio.sleep(min(_retry_after(response), max(0.0, deadline - self._clock())))
        raise AssertionError("unreachable: the deadline ends the loop")

    async def _connected(self, send: Callable[[], Any]) -> httpx2.Response:
        """Send once."""
        try:
            response: httpx2.Response = await send()
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        return response

    def _unreachable(self, error: Exception) -> RotaError:
        """Why there was no answer, in words."""
        url = self.target.url
        if isinstance(error, httpx2.TimeoutException):
            return Unreachable(f"{url} did not answer in time", hint="rota doctor looks at the installation")
        start = f"start it with: rota up --data {self.target.found_in}" if self.target.found_in else "check --url"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            start = "give the certificate of its authority with --ca or ROTA_CA"
        return Unreachable(f"{url} cannot be reached: {str(error) or type(error).__name__}", hint=start)


def _trust(target: Target) -> ssl.SSLContext:
    """What believes in the target's own authority, and in no other."""
    try:
        return ssl.create_default_context(cafile=target.ca)
    except (ssl.SSLError, OSError) as error:
        hint = "give the authority's certificate in PEM, with --ca or ROTA_CA"
        raise Invalid(f"{target.ca} holds no certificates", hint=hint) from error


def _decoded(response: httpx2.Response, url: str) -> Any:
    """The answer's value; raises what a problem stands for."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.status_code < 300:
        if not response.content:
            return None
        if kind != "application/json":
            raise NotRota(f"{url} answers with {kind or 'no content type'}: it is not a Rota server")
        return msgspec.json.decode(response.content)
    if kind != "application/problem+json":
        raise NotRota(f"{url} answered {response.status_code} as no Rota server would", hint="check --url")
    problem = msgspec.json.decode(response.content)
    raise error_of(response.status_code, problem if isinstance(problem, dict) else {})


def _retry_after(response: httpx2.Response) -> float:
    """Seconds to wait as the server asks."""
    try:
        asked = float(response.headers.get("retry-after", "1"))
    except ValueError:
        asked = 1.0
    return min(max(asked, 0.05), _LONGEST_RETRY_AFTER)


def _text(value: Any) -> str:
    """A value as it stands in a query."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
