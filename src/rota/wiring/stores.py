"""The one place where a store is opened by its address: a table from the scheme to what opens it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from rota.clock import Clock, FollowingClock, SystemClock
from rota.core.errors import StoreUnusable
from rota.server.folder import DataFolder
from rota.server.leaseholder import Follow
from rota.settings.database import DatabaseUrl
from rota.store.bundle import Store
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

Warn = Callable[[str], None]
Open = Callable[[DatabaseUrl, Clock, Warn], AbstractAsyncContextManager[Store]]


@dataclass(frozen=True, kw_only=True)
class OpenStore:
    """An open store, the clock of a process that works with it, and what keeps that clock on the store's."""

    store: Store
    clock: Clock
    follow: Follow


@contextlib.asynccontextmanager
async def _sqlite(url: DatabaseUrl, clock: Clock, warn: Warn) -> AsyncIterator[Store]:
    """The file, held by this process alone from here on; made where it is missing."""
    path = url.path.absolute()
    with DataFolder(path.parent):
        store = await open_sqlite(path, clock=clock)
        try:
            yield store
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def _postgres(url: DatabaseUrl, clock: Clock, warn: Warn) -> AsyncIterator[Store]:
    """The database, shared with other servers; an empty one is prepared."""
    store = await open_postgres(url.reveal(), warn=warn)
    try:
        yield store
    finally:
        await store.close()


OPENERS: Final[Mapping[str, Open]] = {
    "postgresql": _postgres,
    "sqlite": _sqlite,
}


@contextlib.asynccontextmanager
async def open_store(url: DatabaseUrl, warn: Warn = lambda warning: None) -> AsyncIterator[OpenStore]:
    """The store at this address. One that is embedded has the clock of its process, any other has its own.

    `warn` is given what the operator should know of it.
    """
    opener = OPENERS.get(url.scheme)
    if opener is None:
        raise StoreUnusable(f"{url.scheme} is not known here", hint=f"known: {', '.join(OPENERS)}")
    clock = FollowingClock()
    plain = SystemClock()
    async with opener(url, plain, warn) as store:
        if store.embedded:
            yield OpenStore(store=store, clock=plain, follow=lambda asked, answered, told: None)
        else:
            yield OpenStore(store=store, clock=clock, follow=clock.follow)
