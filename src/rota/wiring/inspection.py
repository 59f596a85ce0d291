"""`rota doctor --database`: a look straight at a store, beside or without any server; and the hold after a restore.

A database is looked at as it is: one without a schema, or with another one than this code's, is not changed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from rota.core.actor import Actor
from rota.core.errors import Conflict, NotFound
from rota.core.lease import LEASE_SECONDS, is_live
from rota.core.model import Condition, Server, Standing, Value
from rota.server.restore import RestoreWatch
from rota.settings.database import DatabaseUrl
from rota.store.bundle import Store
from rota.stores.migrations import SchemaState
from rota.stores.postgres import schema_of as postgres_schema
from rota.stores.sqlite import schema_of as sqlite_schema
from rota.wiring.stores import open_store

_READINGS = 5
_LOOK_AGAIN_SECONDS = 0.25


class StoreReport(Value):
    """What was seen in a store. `seconds`: of the quickest answer; `clock_offset`: its clock is ahead of this one's."""

    problems: tuple[str, ...]
    seconds: float
    clock_offset: float
    servers: tuple[Server, ...]  # those that live
    shards: dict[str, int]  # server → how many it leads
    unled: int
    conditions: tuple[Condition, ...]
    embedded: bool


def schema_of(url: DatabaseUrl) -> SchemaState:
    """Which schema the database has, and which this code knows. NotFound where there is no such file."""
    if url.scheme != "sqlite":
        return asyncio.run(postgres_schema(url.reveal()))
    if not url.path.is_file():
        raise NotFound(f"there is no file {url.path}")
    return sqlite_schema(url.path)


def look_at_store(url: DatabaseUrl) -> StoreReport:
    """Look at a store whose schema is that of this code."""

    async def look() -> StoreReport:
        async with open_store(url) as opened:
            return await _report(opened.store)

    return asyncio.run(look())


def hold_restored(url: DatabaseUrl, actor: Actor) -> None:
    """Hold at-most-once work of a store that somebody has restored, before its servers start.

    Raises Conflict when one is at work: it may have given away what should have been held. NotFound where there is
    no store.
    """
    _check_is_there(url)

    async def hold() -> None:
        async with open_store(url) as opened:
            await _refuse_servers(opened.store)
            await RestoreWatch(opened.store, opened.clock, lambda event: None).hold(actor)

    asyncio.run(hold())


def accept_restore(url: DatabaseUrl, actor: Actor) -> bool:
    """Let at-most-once work go on; servers notice before they next give some away. Returns whether it was held."""
    _check_is_there(url)

    async def accept() -> bool:
        async with open_store(url) as opened:
            return await RestoreWatch(opened.store, opened.clock, lambda event: None).accept(actor)

    return asyncio.run(accept())


def _check_is_there(url: DatabaseUrl) -> None:
    """Raise NotFound where opening would make a store: nobody has restored it."""
    if schema_of(url).present == 0:
        raise NotFound(f"{url.shown} holds nothing", hint="is it the right one?")


async def _refuse_servers(store: Store) -> None:
    """Raise Conflict when a server is at work on the store.

    A backup holds the leases of its time, and one that is restored quickly still has them for seconds. So a lease
    counts once it is renewed, or has outlasted what any that nobody renews could.
    """
    _, live = await _live(store)
    renewed = {server.id: server.renewed for server in live}
    end = time.monotonic() + LEASE_SECONDS
    while live and all(renewed.get(server.id) == server.renewed for server in live) and time.monotonic() < end:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        _, live = await _live(store)
    if live:
        names = ", ".join(server.name for server in live)
        raise Conflict(
            f"servers are at work on it: {names}; nothing was changed",
            hint="stop all servers, put the backup back once more, then say so; or is another database meant?",
        )


async def _live(store: Store) -> tuple[Standing, tuple[Server, ...]]:
    """Who is at work on the store; nobody else on one that is embedded."""
    standing = await store.leases.standing()
    return standing, tuple(one for one in standing.servers if is_live(one, standing.now) and not store.embedded)


async def _report(store: Store) -> StoreReport:
    seconds, offset = await _time(store.leases.now)
    standing, live = await _live(store)
    return StoreReport(
        problems=tuple(await store.leases.check()),
        seconds=seconds,
        clock_offset=0.0 if store.embedded else offset,
        servers=live,
        shards=_led(standing, live),
        unled=len(standing.shards) - sum(_led(standing, live).values()),
        conditions=tuple(await store.alerts.conditions()),
        embedded=store.embedded,
    )


def _led(standing: Standing, live: tuple[Server, ...]) -> dict[str, int]:
    """How many shards each of these servers leads."""
    return {server.id: sum(shard.server == server.id for shard in standing.shards) for server in live}


async def _time(now: Callable[[], Awaitable[datetime]]) -> tuple[float, float]:
    """Of a few readings of the store's clock, the quickest: how long it took, how far it is ahead of ours."""
    readings: list[tuple[float, float]] = []
    for _ in range(_READINGS):
        asked, before = time.time(), time.monotonic()
        told = await now()
        seconds = time.monotonic() - before
        readings.append((seconds, told.timestamp() - (asked + seconds / 2)))
    return min(readings)
