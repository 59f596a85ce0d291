"""HTTP calls to whichever server answers, as a careful program makes them: repeated until acknowledged."""

import contextlib
import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from tests.history.records import Window

CALL_SECONDS: Final = 8.0
PATIENCE_SECONDS: Final = 120.0


class Unanswered(Exception):
    """No answer, or "not now": whether the call took effect is not known."""


class Refused(Exception):
    """The server answered, and not what was wanted."""


class Api:
    """The servers of one cluster, seen from outside."""

    def __init__(self, urls: list[str], token: str, rng: Random) -> None:
        self.calls = 0
        self._urls = urls
        self._token = token
        self._rng = rng
        self._avoided: set[str] = set()
        self._calling = threading.RLock()
        self._patience = threading.Event()

    @contextlib.contextmanager
    def avoiding(self, url: str) -> Iterator[None]:
        """Ask this server nothing: what a frozen one was asked it may yet do, when nobody waits for it any more."""
        with self._calling:
            self._avoided.add(url)
        try:
            yield
        finally:
            self._avoided.discard(url)

    def until_answered(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[Any, Window]:
        """The answer, and between which moments the call took effect."""
        asked = now()
        deadline = time.monotonic() + PATIENCE_SECONDS
        failure: Exception | None = None
        while time.monotonic() < deadline:
            with self._calling:
                url = self._rng.choice([url for url in self._urls if url not in self._avoided])
                try:
                    answer = self.call(url, method, path, body, headers)
                except Unanswered as error:
                    failure = error
                else:
                    self.calls += 1
                    return answer, Window(asked=asked, answered=now())
            self._patience.wait(0.1)
        raise AssertionError(f"{method} {path} was not answered for {PATIENCE_SECONDS:g} s: {failure}")

    def get(self, path: str) -> Any:
        """A GET's answer, from any server."""
        return self.until_answered("GET", path)[0]

    def pages(self, path: str) -> list[Any]:
        """All items of a list."""
        items: list[Any] = []
        cursor: str | None = None
        while True:
            join = "&" if "?" in path else "?"
            page = self.get(path if cursor is None else f"{path}{join}cursor={urllib.parse.quote(cursor)}")
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items

    def call(self, url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """One request of one server. Raises Unanswered or Refused."""
        address = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=CALL_SECONDS)
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{method} {url}{path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status in (429, 503):
            raise Unanswered(f"{method} {url}{path}: {answer.status} {raw[:300]!r}")
        if answer.status >= 400:
            raise Refused(f"{method} {url}{path}: {answer.status} {raw[:600]!r}")
        return json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()


def now() -> datetime:
    """This moment, on the clock of this machine, which is the database's as well."""
    return datetime.now(UTC)
