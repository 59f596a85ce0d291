"""`rota move`: everything of one store carried into another, while no server is at work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

from rota.core.errors import Invalid, NotFound
from rota.core.model import Value
from rota.server.restore import explain
from rota.settings.database import DatabaseUrl
from rota.store.bundle import Store
from rota.store.transfer import Kind
from rota.stores.moving import Progress, move, refuse_live
from rota.wiring.inspection import schema_of
from rota.wiring.stores import open_store

_KEY_FILE: Final = "secret-key"
_FILES: Final = ("", "-wal", "-shm")  # of SQLite, by what follows the name


class Moved(Value):
    """What was carried, by kind, and where the key for the secrets lies, if there are any and it is known."""

    counts: dict[Kind, int]
    key_file: Path | None


def move_store(source: DatabaseUrl, destination: DatabaseUrl, progress: Progress) -> Moved:
    """Copy all of `source` into `destination`, which is prepared if it is new; the source stays as it is.

    Raises Conflict when a server is at work on one of them or the destination holds something, Invalid when both are
    one, NotFound when the source holds nothing or there is no folder for the destination. Then, and when it is
    interrupted, no file is left that was not there before.
    """
    _check(source, destination)
    _check_source(source)
    _check_destination(destination)

    async def carry() -> Moved:
        async with _opened(source) as one:
            if await one.transfer.is_empty():
                raise _nothing_in(source)
            await refuse_live(one, "source")
            async with _made(destination) as two:
                counts = await move(one, two, progress)
                await explain(two)
        return Moved(counts=counts, key_file=_key_file(source) if counts[Kind.SECRETS] else None)

    return asyncio.run(carry())


@contextlib.asynccontextmanager
async def _opened(url: DatabaseUrl) -> AsyncIterator[Store]:
    """The store at an address."""
    async with open_store(url) as opened:
        yield opened.store


@contextlib.asynccontextmanager
async def _made(url: DatabaseUrl) -> AsyncIterator[Store]:
    """The store to write. A file that was made for it goes again, while it is still ours, if not all arrived."""
    files = [url.path.with_name(url.path.name + ending) for ending in _FILES] if url.scheme == "sqlite" else []
    new = [file for file in files if not url.path.exists()]
    async with contextlib.AsyncExitStack() as opened, contextlib.AsyncExitStack() as undo:
        undo.callback(_remove, new)
        store = await opened.enter_async_context(_opened(url))
        undo.push_async_callback(store.close)  # a file is removed when nobody writes to it any more
        yield store
        undo.pop_all()


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _check_source(url: DatabaseUrl) -> None:
    """Refuse what is no store before anything is made beside it. A file that is missing is a mistake in its name."""
    if url.scheme == "sqlite" and not url.path.is_file():
        raise NotFound(f"there is no file {url.path}", hint="rota up keeps it in its data folder: .rota/rota.db")
    if schema_of(url).present == 0:
        raise _nothing_in(url)


def _check_destination(url: DatabaseUrl) -> None:
    """Refuse a file that is no store, and a folder that is not there: it is a mistake in its name."""
    if url.scheme != "sqlite":
        return
    if not url.path.absolute().parent.is_dir():
        folder = url.path.parent
        raise NotFound(f"there is no folder {folder} for the new database", hint=f"mkdir -m 700 {folder}")
    if url.path.is_file():
        schema_of(url)


def _nothing_in(url: DatabaseUrl) -> NotFound:
    return NotFound(f"{url.shown} holds nothing", hint="is it the right one?")


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
