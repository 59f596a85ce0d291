"""The lanes statements run on: a few connections for one purpose, each statement a transaction of its own.

Four purposes, so that none waits for another: verbs; the heartbeat of a server's lease, which must not queue behind big
batches; lists and searches of people; and now and then something patient. A statement that was begun is finished, even
when its caller has given up: its connection is then good for the next one. No statement takes longer than VERB_SECONDS,
waiting for a connection and repetitions included.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Any, Final

import asyncpg

from rota.core.errors import StoreUnavailable
from rota.stores.postgres.connection import (
    LOCK_SECONDS,
    PATIENT,
    PATIENT_SECONDS,
    VERBS,
    VIEWS,
    Connection,
    Connector,
    Settings,
)
from rota.stores.postgres.failures import FOREIGN, REPEATED, mapped
from rota.stores.postgres.options import PostgresOptions
from rota.stores.rows import Row

VERB_SECONDS: Final = 5.0
TIMES: Final = 5  # a verb that lost a race is tried
_PAUSE: Final = 0.02  # seconds at most before the second time, doubled with each
_CLOSED: Final = "the store is closed"


class Lane:
    """Connections for one purpose, made when they are needed first."""

    def __init__(
        self,
        connector: Connector,
        settings: Settings,
        size: int,
        *,
        search: bool = False,
        rng: Random | None = None,
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._search = search
        self._rng = rng or SystemRandom()
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """The rows a statement gives, once it is committed."""
        if self._closed:
            raise StoreUnavailable(_CLOSED)
        task = asyncio.create_task(self._repeat(sql, parameters))
        self._under_way.add(task)
        task.add_done_callback(self._end)
        return await asyncio.shield(task)

    async def row(self, sql: str, *parameters: Any) -> Row | None:
        """The first row a statement gives."""
        found = await self.rows(sql, *parameters)
        return found[0] if found else None

    async def value(self, sql: str, *parameters: Any) -> Any:
        """The first value of the first row a statement gives; None without a row."""
        found = await self.rows(sql, *parameters)
        return found[0][0] if found else None

    def adopt(self, connection: Connection) -> None:
        """Take over a connection that was made with this lane's settings, as far as there is room for it."""
        if len(self._idle) < self._size:
            self._put_back(connection)
        else:
            connection.terminate()

    async def close(self) -> None:
        """Let end what is under way, then close the connections."""
        self._closed = True
        if self._under_way:
            await asyncio.wait(self._under_way)
        idle, self._idle = self._idle, []
        for connection in idle:
            await close_quietly(connection)

    async def _repeat(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        """Run the statement; once more, and once more, while others are faster."""
        now = asyncio.get_running_loop().time
        end = now() + VERB_SECONDS
        for time in range(1, TIMES + 1):
            try:
                async with asyncio.timeout_at(end):
                    return await self._run(sql, parameters)
            except REPEATED as error:
                pause = self._rng.uniform(0, _PAUSE * 2**time)
                if time == TIMES or now() + pause + LOCK_SECONDS > end:
                    raise mapped(error, self._connector.where, search=self._search) from error
                await asyncio.sleep(pause)
            except FOREIGN as error:
                raise mapped(error, self._connector.where, search=self._search) from error
        raise AssertionError("the last time raises")

    async def _run(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        """Run the statement on one of the connections."""
        found: list[Row] = await self._with_connection(lambda connection: connection.fetch(sql, *parameters))
        return found

    async def _with_connection(self, work: Callable[[Connection], Awaitable[Any]]) -> Any:
        """Do something on one of the connections; one that is not known to be sound afterwards is dropped."""
        async with self._free:
            connection = await self._take()
            try:
                found = await work(connection)
            except BaseException as error:
                if _is_sound_after(error):
                    self._put_back(connection)
                else:
                    connection.terminate()
                raise
            self._put_back(connection)
            return found

    async def _take(self) -> Connection:
        """A connection that is open, the one used last first."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connector.connect(self._settings)

    def _put_back(self, connection: Connection) -> None:
        """Keep the connection, unless it is closed or nobody will want it."""
        if connection.is_closed() or self._closed:
            connection.terminate()
        else:
            self._idle.append(connection)

    def _end(self, task: asyncio.Task[Any]) -> None:
        """Forget a statement; its error, if its caller has given up, is nobody's."""
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()


def _is_sound_after(error: BaseException) -> bool:
    """Whether a connection can be used after this: the database has answered, and not with a farewell.

    One that has become read-only is a primary no more; a new connection may lead to the one that is.
    """
    if isinstance(error, asyncpg.DataError):  # found before anything was sent
        return True
    is_answer = isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"
    return is_answer and not isinstance(error, asyncpg.ReadOnlySQLTransactionError)


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """All lanes of one store."""

    connector: Connector
    verbs: Lane
    leases: Lane
    views: Lane

    @contextlib.asynccontextmanager
    async def patient(self) -> AsyncIterator["PatientLane"]:
        """A lane with one connection of its own, made for this and closed after it, on which a minute is allowed."""
        if self.verbs.is_closed:
            raise StoreUnavailable(_CLOSED)
        lane = PatientLane(self.connector, PATIENT, 1)
        try:
            yield lane
        finally:
            await lane.close()

    async def close(self) -> None:
        """Let end what is under way, then close all connections."""
        await asyncio.gather(self.verbs.close(), self.leases.close(), self.views.close())


class PatientLane(Lane):
    """A lane whose statements may take a minute."""

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows to a table, the fastest way there is."""
        if not rows:
            return
        try:
            async with asyncio.timeout(PATIENT_SECONDS):
                await self._with_connection(
                    lambda connection: connection.copy_records_to_table(
                        table, records=rows, columns=columns, schema_name="rota"
                    )
                )
        except FOREIGN as error:
            raise mapped(error, self._connector.where) from error

    async def _repeat(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        try:
            async with asyncio.timeout(PATIENT_SECONDS + VERB_SECONDS):
                return await self._run(sql, parameters)
        except FOREIGN as error:
            raise mapped(error, self._connector.where) from error


def open_lanes(connector: Connector, options: PostgresOptions) -> Lanes:
    """The lanes of a store; no connection is made yet."""
    return Lanes(
        connector=connector,
        verbs=Lane(connector, VERBS, options.verbs),
        leases=Lane(connector, VERBS, 1),
        views=Lane(connector, VIEWS, options.views, search=True),
    )


async def close_quietly(connection: Connection) -> None:
    """Say goodbye, unless the database does not listen any more."""
    try:
        await connection.close(timeout=1.0)
    except FOREIGN:
        connection.terminate()
