"""Connections to one PostgreSQL: made with the right settings, one at a time, and never in a herd.

Settings are given by statement and not when connecting, so that a pooler in session mode can stand between. What the
verbs run on is pinned to index scans under generic plans: a table that was empty when its statistics were made must not
turn a batch into a scan of it. What people search on is planned anew for what they asked.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Mapping
from random import Random, SystemRandom
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg

from rota.core.errors import RotaError, StoreUnavailable
from rota.stores.postgres.failures import FOREIGN, mapped

CONNECT_SECONDS: Final = 3.0
STATEMENT_SECONDS: Final = 3.0
LOCK_SECONDS: Final = 1.0
PATIENT_SECONDS: Final = 60.0
_SHORTEST_PAUSE: Final = 0.1  # after a connection could not be made; doubled up to
_LONGEST_PAUSE: Final = 1.0  # the rest of a leaseholder's renewal
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}

Settings = Mapping[str, str]

_COMMON: Final = {
    "search_path": "rota, pg_temp",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",  # what the verbs are written for
    "idle_in_transaction_session_timeout": "3000",
    "idle_session_timeout": "0",  # they are kept for the next moment; whoever listens is idle by nature
    "lock_timeout": str(int(LOCK_SECONDS * 1000)),
    "statement_timeout": str(int(STATEMENT_SECONDS * 1000)),
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "jit": "off",
}
# Few rows of many are wanted: to join all of two tables for them is never the faster way.
_ROW_BY_ROW: Final = {"enable_hashjoin": "off", "enable_mergejoin": "off"}
VERBS: Final[Settings] = MappingProxyType(
    _COMMON
    | _ROW_BY_ROW
    | {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off"}
)
VIEWS: Final[Settings] = MappingProxyType(_COMMON | _ROW_BY_ROW | {"plan_cache_mode": "force_custom_plan"})
PATIENT: Final[Settings] = MappingProxyType(
    _COMMON | {"statement_timeout": str(int(PATIENT_SECONDS * 1000)), "lock_timeout": "10000"}
)
_SET_UP: Final = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS given (name, value)"
_IS_READ_ONLY: Final = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection that notices a silently dropped way to the database within seconds, not hours."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        _watch(transport.get_extra_info("socket"))


class Connector:
    """Makes connections. After one could not be made, nobody tries again for a moment: all are told what it was."""

    def __init__(self, url: str, application_name: str, rng: Random | None = None) -> None:
        self.where = words(url)
        self._url = url
        # Of several hosts, the primary: after a fail-over that is another one.
        is_one_of_many = "," in urlsplit(url).netloc and "target_session_attrs" not in url
        self._which = {"target_session_attrs": "read-write"} if is_one_of_many else {}
        self._application_name = application_name
        self._rng = rng or SystemRandom()
        self._making = asyncio.Lock()
        self._failure: RotaError | None = None
        self._pause = 0.0
        self._not_before = 0.0

    async def connect(self, settings: Settings = VERBS) -> Connection:
        """A connection with these settings; RotaError when there is none to be had now."""
        async with self._making:
            if self._failure is not None and time.monotonic() < self._not_before:
                raise StoreUnavailable(self._failure.detail, hint=self._failure.hint)
            try:
                connection = await self._connect(settings)
            except (*FOREIGN, ValueError) as error:
                self._note(mapped(error, self.where))
                raise mapped(error, self.where) from error
            except RotaError as error:
                self._note(error)
                raise
            self._failure, self._pause = None, 0.0
            return connection

    async def _connect(self, settings: Settings) -> Connection:
        """Connect and set up; a database that cannot be written is none."""
        connection: Connection = await asyncpg.connect(
            self._url,
            **self._which,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": self._application_name},
            connection_class=Connection,
            max_cached_statement_lifetime=0,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.fetch(_SET_UP, list(settings), list(settings.values()))
                read_only = await connection.fetchval(_IS_READ_ONLY)
        except BaseException:
            connection.terminate()
            raise
        if read_only:
            connection.terminate()
            raise StoreUnavailable(
                f"the database is read-only: {self.where}",
                hint="it is a standby, or set read-only: connect to the primary",
            )
        return connection

    def _note(self, failure: RotaError) -> None:
        """Let nobody try again for a moment, longer each time, and not at the same moment as other servers."""
        self._failure = failure
        self._pause = min(max(2 * self._pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause * self._rng.uniform(0.5, 1.0)


def words(url: str) -> str:
    """The database in words, for messages: without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"PostgreSQL {host or 'on a local socket'}, database {unquote(parts.path.lstrip('/')) or 'by default'}"


def _watch(raw: socket.socket | None) -> None:
    """Keep-alives, and a limit to how long sent bytes may stay unacknowledged; where the system has them."""
    if raw is None or raw.family == socket.AF_UNIX:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    names = _KEEPALIVE if sys.platform == "linux" else {}
    for name, value in names.items():
        raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
