"""Bring a database to the schema this code knows: numbered files, each in one transaction, in order.

Several servers may start at once: each step is made under a lock, and who gets it later finds the step there.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from rota.core.errors import StoreUnusable
from rota.stores.migrations import Migration, SchemaState, missing_steps, read_migrations
from rota.stores.postgres.connection import Connection

# However long it takes: others wait for it, and nothing else runs yet.
_PATIENCE: Final = """
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('rota migrations', 0))"
_HAS_SCHEMA: Final = "SELECT to_regnamespace('rota') IS NOT NULL"
_HAS_TABLES: Final = "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'rota'::regnamespace)"
_HAS_STEPS: Final = "SELECT to_regclass('rota.migrations') IS NOT NULL"
_STEPS: Final = "SELECT number, oldest_server FROM rota.migrations"
_NOTE: Final = "INSERT INTO rota.migrations (number, name, oldest_server) VALUES ($1, $2, $3)"


def known_migrations() -> list[Migration]:
    """All migrations of this code, in order."""
    return read_migrations("rota.stores.postgres")


async def migrate(connection: Connection, where: str, migrations: Sequence[Migration] | None = None) -> int:
    """Apply what is missing; returns how many steps that took.

    Raises StoreUnusable, changing nothing, for a schema of another program, one that is too new, and a role that may
    not make it.
    """
    steps = known_migrations() if migrations is None else migrations
    made = 0
    try:
        while missing := missing_steps(await _present(connection, where), steps, where):
            made += await _apply(connection, missing[0], where)
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreUnusable(
            f"the role may not prepare {where}: {error}",
            hint="once, as a role that may: CREATE SCHEMA rota AUTHORIZATION the_role",
        ) from error
    return made


async def read_schema(connection: Connection, where: str) -> SchemaState:
    """Which schema the database has; changes nothing."""
    return SchemaState.of(await _present(connection, where), known_migrations())


async def _present(connection: Connection, where: str) -> dict[int, int]:
    """The steps the database has: number → oldest server."""
    if not await connection.fetchval(_HAS_SCHEMA):
        return {}
    if not await connection.fetchval(_HAS_STEPS):
        if await connection.fetchval(_HAS_TABLES):
            raise StoreUnusable(
                f"the schema rota of {where} is of another program", hint="name another database in the URL"
            )
        return {}
    return dict(await connection.fetch(_STEPS))


async def _apply(connection: Connection, step: Migration, where: str) -> int:
    """One step in one transaction, unless another server has made it meanwhile; returns how many were made."""
    async with connection.transaction():
        await connection.execute(_PATIENCE)
        await connection.execute(_LOCK)
        if step.number in await _present(connection, where):
            return 0
        await connection.execute(step.sql)
        await connection.execute(_NOTE, step.number, step.name, step.oldest_server)
    return 1
