"""The clusters of a test session: each is started when it is first asked for, and all end with the session."""

import contextlib
from collections.abc import Iterator
from typing import Final

import asyncpg
from tests.postgres.cluster import Cluster, binaries

from rota.stores.postgres import PostgresOptions, open_postgres

PREPARED: Final = "rota_prepared"  # a database with the schema of this code, to be copied
FOR_TESTS: Final = PostgresOptions(days_ahead=0)  # partitions are files: copying them takes most of the time
NEWEST: Final = next(iter(binaries()), "postgres-18")


# The store's clock with a hand on it: the seam is the one function that all verbs ask.
_MOVABLE_CLOCK: Final = """
CREATE TABLE IF NOT EXISTS rota.moved (micros bigint NOT NULL);
CREATE OR REPLACE FUNCTION rota.rota_now() RETURNS bigint LANGUAGE sql VOLATILE AS
'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    + coalesce((SELECT sum(micros)::bigint FROM rota.moved), 0)'
"""


class Clusters:
    """PostgreSQL by name, shared by all tests of a process."""

    def __init__(self) -> None:
        self._running: dict[str, Cluster] = {}

    def __getitem__(self, name: str) -> Cluster:
        """The running cluster of that name, with a prepared database in it."""
        if name not in self._running:
            cluster = self._running[name] = Cluster(binaries()[name]).start()
            prepare(cluster)
        return self._running[name]

    @contextlib.contextmanager
    def database(self, name: str = NEWEST) -> Iterator[str]:
        """A fresh database with the schema, removed afterwards; gives its URL."""
        cluster = self[name]
        url = cluster.create(template=PREPARED)
        try:
            yield url
        finally:
            cluster.drop(url)

    def close(self) -> None:
        """End all of them."""
        for cluster in self._running.values():
            cluster.remove()
        self._running.clear()


def prepare(cluster: Cluster) -> str:
    """Make the prepared database of a cluster; returns its URL."""

    async def open_and_close() -> None:
        store = await open_postgres(url, FOR_TESTS)
        await store.close()

    url = cluster.create(PREPARED)
    cluster.call(open_and_close())
    cluster.execute("CHECKPOINT")  # copying what is not on disk yet takes ten times as long
    return url


async def pass_time_on(url: str, seconds: float) -> None:
    """Let so many seconds pass on the clock of the store in this database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_MOVABLE_CLOCK)
        await connection.execute("INSERT INTO rota.moved VALUES ($1)", round(seconds * 1_000_000))
    finally:
        await connection.close()
