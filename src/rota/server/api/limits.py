"""Limits of what clients may ask for: requests by token and by address, failed credentials, streams, bodies in memory.

Each lane has buckets of its own. What is refused in one takes nothing from another: a flood of requests, or of wrong
tokens, costs no worker its connection and no probe its answer. Lanes only decide how much; who may do what is decided
by the gate alone.

A client that failed too often waits even with a credential that might be right, so guessing gains nothing; who was
let in before is let in all the same, because others may share the address.
"""

import contextlib
import hashlib
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from rota.clock import Clock
from rota.core.model import Value
from rota.events import ClientLimited, Emit, RequestLimited
from rota.server.api.problems import Busy
from rota.server.rates import Buckets

_WORKERS: Final = "/api/v1/worker"
_HEALTH: Final = "/healthz"
_LOGIN: Final = "/login"
_KNOWN: Final = 4096
_KNOWN_GOOD: Final = "rota.known"
_TURNED_AWAY: Final = "rota.turned-away"
_SAID_EVERY: Final = 60.0
_MEBIBYTE: Final = 1024 * 1024


class Rates(Value):
    """What clients may do, a second and at once. Generous: they keep one client from being all there is."""

    token: float = 500.0
    token_burst: float = 2000.0
    address: float = 1000.0
    address_burst: float = 4000.0
    failures_per_minute: float = 20.0
    failure_burst: float = 20.0
    streams: int = 1000
    streams_each: int = 100
    bodies: int = 256 * _MEBIBYTE  # of all requests, in memory at once


class Limiter:
    """Counts and refuses."""

    def __init__(self, rates: Rates, clock: Clock, emit: Emit, proxies: tuple[str, ...] = ()) -> None:
        """`proxies`: networks of proxies that say truly, in X-Forwarded-For, whom they speak for."""
        self._clock = clock
        self._emit = emit
        self._rates = rates
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._tokens: Buckets[bytes] = Buckets(rates.token, rates.token_burst)
        self._addresses: Buckets[str] = Buckets(rates.address, rates.address_burst)
        self._failures: Buckets[str] = Buckets(rates.failures_per_minute / 60, rates.failure_burst)
        self._workers: Buckets[bytes] = Buckets(1.0, 30.0)
        self._probes: Buckets[str] = Buckets(100.0, 500.0)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._said: OrderedDict[str, float] = OrderedDict()
        self._streams: Counter[str] = Counter()
        self._body_bytes = 0

    def check(self, scope: Scope, headers: Headers) -> None:
        """Count a request; raises Busy, with when to come again, where there are too many."""
        client, now = self.client(scope, headers), self._clock.monotonic()
        if scope["path"] == _HEALTH:
            self._refuse_after(self._probes.take(client, now), client, "too many probes from this address")
            return
        credential = _credential(scope, headers)
        if credential is not None and credential not in self._good:
            seconds = self._failures.wait(client, now)
            self._refuse_after(seconds, client, "too many wrong tokens or logins from this address")
        if scope["path"] == _WORKERS:
            if credential is not None:
                self._refuse_after(self._workers.take(credential, now), client, "this worker connects too often")
            return
        rates = self._rates
        if credential:  # first: who asks too often takes nothing from others behind the same address
            seconds = self._tokens.take(credential, now)
            self._refuse_after(seconds, client, f"more than {rates.token:g} requests a second with this token")
        seconds = self._addresses.take(client, now)
        self._refuse_after(seconds, client, f"more than {rates.address:g} requests a second from this address")

    def note(self, scope: Scope, headers: Headers, status: int) -> None:
        """How a request was answered: remember who was let in, and count who was not.

        Known as good is only what the gate said so of (`note_known`): that some page answered shows nothing.
        """
        credential = _credential(scope, headers)
        if credential is None:
            return
        state = scope.get("state", {})
        if status == 401 or _TURNED_AWAY in state:
            self._good.pop(credential, None)
            self._failures.take(self.client(scope, headers), self._clock.monotonic())
        elif credential and _KNOWN_GOOD in state:
            self._good[credential] = None
            self._good.move_to_end(credential)
            while len(self._good) > _KNOWN:
                self._good.popitem(last=False)

    @contextlib.contextmanager
    def stream(self, token_id: str) -> Iterator[None]:
        """For as long as a live stream is open; raises Busy where there are too many."""
        if self._streams.total() >= self._rates.streams or self._streams[token_id] >= self._rates.streams_each:
            each, most = self._rates.streams_each, self._rates.streams
            hint = f"{each} for one token, {most} in all; close some, or ask for more topics on one"
            raise Busy("there are too many live streams", hint=hint, after=5)
        self._streams[token_id] += 1
        try:
            yield
        finally:
            self._streams[token_id] -= 1
            if not self._streams[token_id]:
                del self._streams[token_id]

    @contextlib.contextmanager
    def body(self) -> Iterator["BodyShare"]:
        """For as long as a request's body is in memory."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._body_bytes -= share.size

    def grow(self, size: int) -> None:
        """So many more bytes of bodies come into memory; raises Busy where it is too much."""
        if self._body_bytes + size > self._rates.bodies:
            raise Busy("too many large requests at this moment", hint="send it again in a second", after=1)
        self._body_bytes += size

    def client(self, scope: Scope, headers: Headers) -> str:
        """Who asks: the address, or the network where one customer has many (a /64 of IPv6)."""
        address = (scope.get("client") or ("", 0))[0]
        forwarded = headers.get("x-forwarded-for") if self._is_proxy(address) else None
        for hop in reversed((forwarded or "").split(",")[-20:]):
            address = hop.strip() or address
            if not self._is_proxy(address):
                break
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return address[:64]
        if parsed.version == 4:
            return str(parsed)
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _refuse_after(self, seconds: float, client: str, why: str) -> None:
        """Refuse when there is something to wait for."""
        if seconds <= 0:
            return
        self._emit(RequestLimited(client=client, why=why))
        now = self._clock.monotonic()
        if now - self._said.get(client, -_SAID_EVERY) >= _SAID_EVERY:
            self._said[client] = now
            self._said.move_to_end(client)
            while len(self._said) > _KNOWN:
                self._said.popitem(last=False)
            self._emit(ClientLimited(client=client, why=why))
        raise Busy(why, hint=f"come again in {max(1, round(seconds))} s", after=seconds)


class BodyShare:
    """What one request has in memory."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.size = 0

    def take(self, size: int) -> None:
        """Take in so many more bytes; raises Busy."""
        self._limiter.grow(size)
        self.size += size


def note_known(scope: Scope) -> None:
    """The credential of this request was found valid."""
    scope.setdefault("state", {})[_KNOWN_GOOD] = True


def note_turned_away(scope: Scope) -> None:
    """The credential of this request was found invalid, though the answer is no 401 (a page leads to the login)."""
    scope.setdefault("state", {})[_TURNED_AWAY] = True


def _credential(scope: Scope, headers: Headers) -> bytes | None:
    """What a request shows to be let in, as a key; empty for a login form, None where it shows nothing."""
    if scope["path"] == _LOGIN:
        return b"" if scope.get("method") == "POST" else None
    shown = headers.get("authorization")
    if shown is None:
        cookie = headers.get("cookie", "")
        shown = cookie if "rota_session" in cookie else None
    return None if shown is None else hashlib.sha256(shown.encode()).digest()[:16]
