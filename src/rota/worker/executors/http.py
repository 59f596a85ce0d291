"""HTTP attempts: one request with its redirects, inside the agent.

Every address is checked at the moment it is dialled, whatever the url, the name service or a redirect said. Nothing
that the other side sends can cost more than bounded memory and the attempt's time-out.
"""

import asyncio
import os
import socket
import ssl
from typing import Any, Final

import aiohttp

from rota.core.model import HttpExpect, HttpTask
from rota.core.template import BadTemplate
from rota.worker.addresses import AddressPolicy
from rota.worker.attempt import Attempt, Outcome, failed, timed_out
from rota.worker.executors.http_body import Body, BodyBroken, BodyTooLarge
from rota.worker.executors.http_course import Course, NothingSent, course_now, tracing
from rota.worker.executors.http_request import REDIRECTS, Request, RequestRefused, after_redirect, first_request
from rota.worker.expectations import BadExpectation, status_failure, status_matches, unmet
from rota.worker.output import STDOUT
from rota.worker.settings import WorkerSettings

DEFAULT_TIMEOUT: Final = 60.0
CONNECT_TIMEOUT: Final = 10.0
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_SHOWN_HEADERS: Final = ("content-type", "content-length", "content-encoding", "location", "retry-after", "server")


class _AddressRefused(OSError):
    """The policy does not allow this address."""


class HttpExecutor:
    """Runs http requests."""

    def __init__(self, settings: WorkerSettings, resolver: aiohttp.abc.AbstractResolver | None = None) -> None:
        self._capacity = settings.capacity.get("http", 0)
        self._policy = AddressPolicy(
            private_allowed=settings.private_networks_allowed, networks=settings.allowed_networks
        )
        self._resolver = resolver
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def takes(self, attempt: Attempt, reserved: int) -> bool:
        """Whether a slot is free."""
        return len(self._tasks) + reserved < self._capacity

    def prepare(self, attempt: Attempt) -> None:
        """There is nothing to be done beforehand."""

    def start(self, attempt: Attempt) -> None:
        """Start the request."""
        attempt.begin()
        self._tasks[attempt] = asyncio.create_task(self._run(attempt))

    def ripen(self, attempt: Attempt) -> None:
        """Nothing is put off."""

    def stop(self, attempt: Attempt, grace: float) -> None:
        """Drop the connection."""
        task = self._tasks.get(attempt)
        if task is not None:
            task.cancel()

    def withdraw(self, attempt: Attempt) -> bool:
        """What is accepted begins at once."""
        return False

    def take_back(self, taken_before: float) -> list[Attempt]:
        """What is accepted begins at once."""
        return []

    async def close(self) -> None:
        """Drop all connections."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in self._sessions.values():
            await session.close()

    async def _run(self, attempt: Attempt) -> None:
        timeout = attempt.order.timeout or DEFAULT_TIMEOUT
        course = Course(attempt)
        course_now.set(course)
        try:
            async with asyncio.timeout(timeout):
                outcome = await self._outcome(attempt, course, timeout)
        except NothingSent as short:
            del self._tasks[attempt]
            attempt.cannot_start(f"no connection could be made: {short}", short.errno)
            return
        except TimeoutError:
            outcome = timed_out(timeout)
        except asyncio.CancelledError:
            outcome = attempt.stopped()
        except Exception as error:  # noqa: BLE001 — the edge of one attempt: whatever it was, the others go on
            outcome = failed("protocol", f"{type(error).__name__}: {error}")
        del self._tasks[attempt]
        course.say()
        if outcome.error is not None:
            attempt.output.say(outcome.error)
        attempt.end(outcome)

    async def _outcome(self, attempt: Attempt, course: Course, timeout: float) -> Outcome:
        task = attempt.order.task
        assert isinstance(task, HttpTask)
        try:
            request = first_request(attempt.order, task)
            return await self._follow(attempt, course, task, request, timeout)
        except (RequestRefused, BadTemplate) as error:
            return failed("policy", error.detail + (f"; {error.hint}" if error.hint else ""))
        except aiohttp.InvalidURL as error:
            return failed("policy", f"{error} is not a url")
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ServerTimeoutError):
                raise
            if course.refusals:
                return failed("policy", f"not connected to {_host(error, task)}: {course.refusals[0]}")
            number = course.shortage(error)
            if number is not None:
                raise NothingSent(number, os.strerror(number)) from error
            return _transport_failure(error, timeout)

    async def _follow(
        self, attempt: Attempt, course: Course, task: HttpTask, request: Request, timeout: float
    ) -> Outcome:
        """Send the request and follow redirects as far as the job says."""
        for left in range(task.follow_redirects, -1, -1):
            course.turn_to(request)
            answer = self._session(request.method in _REPEATABLE).request(
                request.method,
                request.url,
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                timeout=_stages(timeout),
            )
            async with answer as response:
                location = response.headers.get("Location")
                is_redirect = response.status in REDIRECTS and location is not None and task.follow_redirects > 0
                if not is_redirect:
                    return await self._judge(attempt, task.expect, response)
                _describe(attempt, response)
                if not left:
                    return failed(
                        "http-status", f"more than {task.follow_redirects} redirects, the last to {location}",
                        exit=response.status,
                    )  # fmt: skip
                request = after_redirect(request, response.status, location or "")
        raise AssertionError("the loop returns")

    async def _judge(self, attempt: Attempt, expect: HttpExpect, response: aiohttp.ClientResponse) -> Outcome:
        """Read the answer and say whether it is as expected."""
        _describe(attempt, response)
        body = Body(expect, response.headers.get("Content-Encoding", ""))
        status = response.status
        try:
            async for raw in response.content.iter_any():
                body.feed(raw)
            body.finish()
        except BodyBroken as error:
            return failed("protocol", str(error), exit=status)
        except BodyTooLarge as error:
            return failed("expect", str(error), exit=status)
        finally:
            _log_body(attempt, body, response)
        try:
            if not status_matches(expect.status, status):
                wanted = ", ".join(expect.status)
                return failed(
                    status_failure(status), f"answered {status} {response.reason}; expected {wanted}", exit=status
                )
            problem = unmet(expect, response.headers, bytes(body.kept))
        except BadExpectation as error:
            return failed("policy", str(error), exit=status)
        if problem is not None:
            return failed("expect", problem, exit=status)
        return Outcome(outcome="succeeded", exit=status)

    def _session(self, repeatable: bool) -> aiohttp.ClientSession:
        """Connections are kept for methods that may be repeated: a kept one may turn out to be closed."""
        session = self._sessions.get(repeatable)
        if session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                force_close=not repeatable,
                resolver=self._resolver,
                socket_factory=self._dial,
                use_dns_cache=False,
            )
            session = self._sessions[repeatable] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                trace_configs=[tracing()],
            )
        return session

    def _dial(self, info: Any) -> socket.socket:
        """Make the socket for one address, or refuse it."""
        family, kind, protocol, _, address = info
        refusal = self._policy.refuse(str(address[0]))
        if refusal is not None:
            course_now.get().refusals.append(refusal)
            raise _AddressRefused(refusal)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def _stages(timeout: float) -> aiohttp.ClientTimeout:
    """Looking up the name and connecting have a limit of their own; the rest is limited by the attempt's."""
    connect = min(CONNECT_TIMEOUT, timeout)
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)


def _describe(attempt: Attempt, response: aiohttp.ClientResponse) -> None:
    """Log the status and the headers that explain most."""
    shown = [f"{name}: {response.headers[name]}" for name in _SHOWN_HEADERS if name in response.headers]
    attempt.output.say(f"→ {response.status} {response.reason} ({'; '.join(shown)})")


def _log_body(attempt: Attempt, body: Body, response: aiohttp.ClientResponse) -> None:
    """Log the beginning of the body as text."""
    kept = bytes(body.kept[: 64 * 1024])
    if not kept:
        return
    try:
        kept.decode(response.charset or "utf-8")
        is_text = b"\0" not in kept
    except UnicodeDecodeError as error:
        is_text = error.start > len(kept) - 4 and b"\0" not in kept  # only the last character is cut
    except LookupError:
        is_text = b"\0" not in kept
    if not is_text:
        attempt.output.say(f"a binary body of {body.size} bytes, not shown")
        return
    attempt.output.write(STDOUT, kept if kept.endswith(b"\n") else kept + b"\n")
    if body.is_cut or body.size > len(kept):
        attempt.output.say("… the rest of the body is not kept (only its first 64 KiB)")


def _host(error: Exception, task: HttpTask) -> str:
    return str(getattr(error, "host", None) or task.url)


def _transport_failure(error: Exception, timeout: float) -> Outcome:
    """The kind of failure that an exception of the client is."""
    match error:
        case aiohttp.ServerTimeoutError():
            return failed("timeout", f"no connection within {min(CONNECT_TIMEOUT, timeout):g} s: {error}")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return failed("tls", f"the certificate or TLS was not accepted: {error}")
        case aiohttp.ClientConnectorDNSError():
            return failed("connect", f"the name {error.host} was not found: {error.os_error.strerror or error}")
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or error.os_error
            return failed("connect", f"no connection to {error.host}:{error.port}: {reason}")
        case aiohttp.ServerDisconnectedError():
            return failed("protocol", "the connection was closed before there was an answer")
        case aiohttp.ClientPayloadError():
            return failed("protocol", f"the answer was broken off: {error}")
        case aiohttp.ClientResponseError():
            return failed("protocol", f"the answer was not HTTP: {error.message}")
        case aiohttp.ClientOSError():
            return failed("protocol", f"the connection broke: {error}")
    return failed("connect", f"{type(error).__name__}: {error}")
