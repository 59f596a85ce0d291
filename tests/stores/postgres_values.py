"""What tests of the PostgreSQL adapter share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Any]:
    """A plain connection to the same database, with the schema in its path."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET search_path = rota, pg_temp")
        yield connection
    finally:
        connection.terminate()


async def until_waiting(connection: Any, count: int = 1) -> None:
    """Return once so many others wait for a lock (in this cluster, of which a process tests one thing at a time)."""
    async with asyncio.timeout(10):
        while await connection.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") < count:
            pass
