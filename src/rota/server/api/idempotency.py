"""Idempotency-Key: a POST that is repeated with the same key gets the first answer again and changes nothing.

The same key with another body is refused. Keys belong to their actor and are forgotten after a day. Two requests
with one key at the same time wait for each other.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.errors import Conflict, Invalid
from rota.store.access import Access, RememberedAnswer

HEADER: Final = "idempotency-key"
LONGEST_KEY: Final = 255
_KEPT: Final = timedelta(days=1)


class Idempotency:
    """Remembers answers to POSTs that carry a key."""

    def __init__(self, store: Access, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._busy: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    async def answer(
        self, request: Request, actor: Actor, raw: bytes, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The remembered answer, or that of `work`, which is then remembered if it succeeded."""
        key = request.headers.get(HEADER)
        if key is None or request.method != "POST":
            return await work()
        if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
            raise Invalid(f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")
        owner = actor.token_id or actor.name
        digest = _digest(request, raw)
        async with self._alone(key, owner):
            known = await self._store.remembered(key, owner)
            if known is not None:
                return _replay(known, digest)
            response = await work()
            if response.status_code < 300:
                await self._remember(key, owner, digest, response)
            return response

    async def _remember(self, key: str, owner: str, digest: bytes, response: Response) -> None:
        now = self._clock.now()
        answer = RememberedAnswer(
            key=key,
            actor=owner,
            request_digest=digest,
            status=response.status_code,
            body=bytes(response.body),
            created=now,
        )
        await self._store.remember(answer, now - _KEPT)

    @asynccontextmanager
    async def _alone(self, key: str, owner: str) -> AsyncIterator[None]:
        """Hold the key: one request at a time."""
        lock, users = self._busy.get((key, owner), (asyncio.Lock(), 0))
        self._busy[key, owner] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._busy[key, owner]
            if users == 1:
                del self._busy[key, owner]
            else:
                self._busy[key, owner] = (lock, users - 1)


def run_key(request: Request, actor: Actor, index: int = 0) -> str | None:
    """The key of the run that a request with an Idempotency-Key makes; None without the header.

    A server can die after it made the run and before it remembered its answer. The key is stored with the run, in
    the same transaction, so the repeated request finds that run.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    owner = actor.token_id or actor.name
    return "request:" + hashlib.sha256(f"{owner}\0{key}\0{index}".encode()).hexdigest()[:40]


def _digest(request: Request, raw: bytes) -> bytes:
    target = f"{request.method} {request.url.path}?{request.url.query}\0".encode()
    return hashlib.sha256(target + raw).digest()


def _replay(known: RememberedAnswer, digest: bytes) -> Response:
    if known.request_digest != digest:
        raise Conflict("this Idempotency-Key was used for another request", hint="use a new key for every new request")
    headers = {"Idempotent-Replay": "true"}
    return Response(known.body, known.status, headers, media_type="application/json")
