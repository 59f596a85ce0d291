"""How far an http attempt has come: while nothing was sent it may be given back, and from then on never.

Its next attempt would have the same number, and its output the same places: until then nothing is logged either.
"""

import contextvars
from typing import Final

import aiohttp

from rota.worker.attempt import Attempt
from rota.worker.executors.http_request import Request
from rota.worker.shortage import descriptor_shortage, is_shortage


class NothingSent(OSError):
    """The machine lacks what a connection needs."""


class Course:
    """What has become of an attempt's requests so far."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._line: str | None = None
        self.has_sent = False
        self.refusals: list[str] = []  # of addresses that a request would have gone to

    def turn_to(self, request: Request) -> None:
        """This one is next."""
        self._line = f"{request.method} {request.url}"

    def send(self) -> None:
        """There is a connection: the request goes out."""
        self.has_sent = True
        self.say()

    def say(self) -> None:
        """Log the request, once."""
        if self._line is not None:
            self._attempt.output.say(self._line)
            self._line = None

    def shortage(self, error: Exception) -> int | None:
        """What was lacking, as the system's error, when that is why nothing was sent."""
        if self.has_sent:
            return None
        number = getattr(error, "errno", None)
        if is_shortage(number):
            return number
        # What looks names up says anything but that it could open nothing.
        return descriptor_shortage() if isinstance(error, aiohttp.ClientConnectorDNSError) else None


course_now: Final[contextvars.ContextVar[Course]] = contextvars.ContextVar("course_now")
"""That of the attempt whose task this is."""


def tracing() -> aiohttp.TraceConfig:
    """Tells the course of each request that goes out, of those too that the client repeats by itself."""

    async def goes_out(*_: object) -> None:
        course_now.get().send()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(goes_out)
    return config
