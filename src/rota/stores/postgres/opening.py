"""Open and close a store on PostgreSQL: look at the database, bring the schema up to date, join the contracts."""

import contextlib
from collections.abc import Callable
from typing import Final

from rota.core.errors import StoreUnavailable
from rota.store.bundle import Store
from rota.stores.migrations import SchemaState
from rota.stores.postgres.access import PostgresAccess
from rota.stores.postgres.alerts import PostgresAlerts
from rota.stores.postgres.batches import SHARDS
from rota.stores.postgres.checks import examine, refuse
from rota.stores.postgres.connection import Connection, Connector
from rota.stores.postgres.failures import FOREIGN, at_opening, mapped
from rota.stores.postgres.held import PostgresHeld
from rota.stores.postgres.jobs import PostgresJobs
from rota.stores.postgres.lanes import Lanes, close_quietly, open_lanes
from rota.stores.postgres.leases import PostgresLeases
from rota.stores.postgres.migrate import migrate, read_schema
from rota.stores.postgres.options import PostgresOptions
from rota.stores.postgres.output import PostgresOutput
from rota.stores.postgres.partitions import Partitions
from rota.stores.postgres.runs import PostgresRuns
from rota.stores.postgres.sessions import PostgresSessions
from rota.stores.postgres.signals import PostgresSignals
from rota.stores.postgres.transfer import PostgresTransfer
from rota.stores.postgres.views import PostgresViews
from rota.stores.postgres.vitals import PostgresVitals

_DEFAULTS: Final = PostgresOptions()


async def open_postgres(
    url: str, options: PostgresOptions = _DEFAULTS, *, warn: Callable[[str], None] = lambda warning: None
) -> Store:
    """The store in the database of `url`; its schema is made, or brought up to date.

    `warn` is given what its operator should know. Raises StoreUnusable when the database cannot keep what it
    acknowledges (unless that is `unsafe`), is too old or too new, is reached through a pooler that breaks sessions, or
    is not ours to prepare; StoreUnavailable when it cannot be reached now.
    """
    connector = Connector(url, options.application_name)
    lanes = open_lanes(connector, options)
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(lanes.close)
        try:
            for connection in await _prepare(connector, options, warn):
                lanes.verbs.adopt(connection)
            partitions = Partitions(lanes, options.days_ahead)
            await partitions.make()
        except StoreUnavailable as error:
            raise at_opening(error) from error
        undo.pop_all()
    signals = PostgresSignals(connector)
    signals.start()
    return _join(lanes, partitions, signals)


async def schema_of(url: str) -> SchemaState:
    """Which schema the database of `url` has; changes nothing. Raises as `open_postgres`."""
    connector = Connector(url, _DEFAULTS.application_name)
    try:
        connection = await connector.connect()
    except StoreUnavailable as error:
        raise at_opening(error) from error
    try:
        return await read_schema(connection, connector.where)
    except FOREIGN as error:
        raise mapped(error, connector.where) from error
    finally:
        await close_quietly(connection)


async def _prepare(
    connector: Connector, options: PostgresOptions, warn: Callable[[str], None]
) -> tuple[Connection, Connection]:
    """Look at the database and bring its schema up to date; returns the connections that took, for further use."""
    first = await connector.connect()
    try:
        second = await connector.connect()
    except BaseException:
        first.terminate()
        raise
    try:
        findings = await examine(first, second)
        for warning in refuse(findings, connector.where, unsafe=options.unsafe):
            warn(warning)
        await migrate(first, connector.where)
    except BaseException as error:
        first.terminate()
        second.terminate()
        if isinstance(error, FOREIGN):
            raise mapped(error, connector.where) from error
        raise
    return first, second


def _join(lanes: Lanes, partitions: Partitions, signals: PostgresSignals) -> Store:
    """All contracts over these lanes."""

    async def close() -> None:
        await signals.close()
        await lanes.close()

    return Store(
        jobs=PostgresJobs(lanes),
        runs=PostgresRuns(lanes, partitions),
        held=PostgresHeld(lanes.verbs),
        leases=PostgresLeases(lanes),
        sessions=PostgresSessions(lanes.verbs),
        output=PostgresOutput(lanes.verbs, partitions),
        alerts=PostgresAlerts(lanes.verbs),
        access=PostgresAccess(lanes.verbs),
        views=PostgresViews(lanes.views),
        signals=signals,
        transfer=PostgresTransfer(lanes, partitions),
        vitals=PostgresVitals(lanes.verbs),
        shards=SHARDS,
        embedded=False,
        close=close,
    )
