"""`rota move`: everything of one store carried into another, while no server is at work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from rota.core.errors import Invalid, NotFound
from rota.core.model import Value
from rota.server.restore import explain
from rota.settings.database import DatabaseUrl
from rota.store.bundle import Store
from rota.store.transfer import Kind
from rota.stores.moving import Progress, move
from rota.wiring.stores import open_store

_KEY_FILE: Final = "secret-key"


class Moved(Value):
    """What was carried, by kind, and where the key for the secrets lies, if there are any and it is known."""

    counts: dict[Kind, int]
    key_file: Path | None


def move_store(source: DatabaseUrl, destination: DatabaseUrl, progress: Progress) -> Moved:
    """Copy all of `source` into `destination`, which is prepared if it is new; the source stays as it is.

    Raises Conflict when a server is at work on one of them or the destination holds something, Invalid when both are
    one, NotFound when the source holds nothing.
    """
    _check(source, destination)

    async def carry() -> Moved:
        async with _source(source) as one, _opened(destination) as two:
            if await one.transfer.is_empty():
                raise NotFound(f"{source.shown} holds nothing", hint="is it the right one?")
            counts = await move(one, two, progress)
            await explain(two)
        return Moved(counts=counts, key_file=_key_file(source) if counts[Kind.SECRETS] else None)

    return asyncio.run(carry())


@contextlib.asynccontextmanager
async def _opened(url: DatabaseUrl) -> AsyncIterator[Store]:
    """The store at an address."""
    async with open_store(url) as opened:
        yield opened.store


def _source(url: DatabaseUrl) -> contextlib.AbstractAsyncContextManager[Store]:
    """The store to read. A file that is missing is a mistake in its name, and none is made."""
    if url.scheme == "sqlite" and not url.path.is_file():
        raise NotFound(f"there is no file {url.path}", hint="rota up keeps it in its data folder: .rota/rota.db")
    return _opened(url)


def _check(source: DatabaseUrl, destination: DatabaseUrl) -> None:
    """Two addresses that cannot be two stores at once."""
    if source.reveal() == destination.reveal():
        raise Invalid("both addresses are the same", hint="rota move FROM TO")
    if {source.scheme, destination.scheme} != {"sqlite"}:
        return
    if source.path.absolute().parent == destination.path.absolute().parent:
        raise Invalid("a folder has room for one store", hint="let the new file lie in another folder")


def _key_file(source: DatabaseUrl) -> Path | None:
    """The key beside the old data, as `rota up` leaves it."""
    path = source.path.absolute().parent / _KEY_FILE if source.scheme == "sqlite" else None
    return path if path is not None and path.exists() else None
