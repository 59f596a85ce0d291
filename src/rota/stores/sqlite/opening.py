"""Open and close a store on SQLite: bring the schema up to date, start the lanes, join the contracts."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from rota.clock import Clock
from rota.core.errors import StoreUnavailable
from rota.store.bundle import Store
from rota.store.signals import Listener
from rota.stores.migrations import SchemaState
from rota.stores.sqlite.access import SqliteAccess
from rota.stores.sqlite.alerts import SqliteAlerts
from rota.stores.sqlite.connection import Database, open_reader, open_writer, words
from rota.stores.sqlite.failures import FOREIGN, mapped
from rota.stores.sqlite.held import SqliteHeld
from rota.stores.sqlite.jobs import SqliteJobs
from rota.stores.sqlite.leases import SqliteLeases, highest_time
from rota.stores.sqlite.migrate import migrate, read_schema
from rota.stores.sqlite.output import SqliteOutput
from rota.stores.sqlite.runs import SqliteRuns
from rota.stores.sqlite.sessions import SqliteSessions
from rota.stores.sqlite.transfer import SqliteTransfer
from rota.stores.sqlite.views import SqliteViews
from rota.stores.sqlite.vitals import SqliteVitals
from rota.stores.sqlite.writer import InlineDatabase, ThreadedDatabase


class NoSignals:
    """`rota.store.signals.Signals` of a store that one process has for itself: there is nobody to tell."""

    def publish(self, topics: Iterable[str]) -> None:
        """Nobody listens."""

    def subscribe(self, listener: Listener) -> None:
        """Nobody else publishes."""


async def open_sqlite(path: Path | None, *, clock: Clock, inline: bool = False) -> Store:
    """The store in the database file `path` (made where it is missing), or in memory.

    `inline` runs every verb in its caller, without threads: for simulations and tests of loops. Raises StoreUnusable
    when the file is damaged, of another program or too new, StoreUnavailable when it cannot be opened now.
    """
    connection = open_writer(path)
    try:
        migrate(connection, words(path))
        highest = highest_time(connection)
        database: Database = (InlineDatabase if inline else ThreadedDatabase)(connection, path)
    except BaseException:
        connection.close()
        raise
    leases = SqliteLeases(database, clock, highest)

    async def close() -> None:
        await _close(database, leases)

    return Store(
        jobs=SqliteJobs(database),
        runs=SqliteRuns(database, leases),
        held=SqliteHeld(database),
        leases=leases,
        sessions=SqliteSessions(database, leases),
        output=SqliteOutput(database),
        alerts=SqliteAlerts(database),
        access=SqliteAccess(database),
        views=SqliteViews(database),
        signals=NoSignals(),
        transfer=SqliteTransfer(database),
        vitals=SqliteVitals(database, leases),
        shards=1,
        embedded=True,
        close=close,
    )


def schema_of(path: Path) -> SchemaState:
    """Which schema a database file has; changes nothing. Raises StoreUnusable when it is damaged or not ours."""
    connection = open_reader(path)
    try:
        return read_schema(connection, words(path))
    except FOREIGN as error:
        raise mapped(error, words(path)) from error
    finally:
        connection.close()


async def _close(database: Database, leases: SqliteLeases) -> None:
    """Remember the time, finish what was accepted, close."""
    if database.is_closed:
        return
    with contextlib.suppress(StoreUnavailable):  # a full disk must not keep the process from ending
        await leases.remember_now()
    await database.close()
