"""Carry everything from one store into another that is empty."""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from rota.core.errors import Conflict
from rota.core.ids import shard_of
from rota.core.lease import is_live
from rota.store.bundle import Store
from rota.store.transfer import Kind

AT_ONCE: Final = 2_000
OUTPUT_AT_ONCE: Final = 100  # of up to 256 KiB
Progress = Callable[[Kind, int], None]
"""Is told after each page how many values of a kind have been carried."""


async def move(source: Store, destination: Store, progress: Progress) -> dict[Kind, int]:
    """Copy all of `source` into `destination`; returns how many values of each kind that was.

    Neither may be at work. Raises Conflict, writing nothing, when a server lives on one of them or the destination
    holds something. What was begun and not finished leaves a destination that is of no use: begin again with an empty
    one.
    """
    await refuse_live(source, "source")
    await refuse_live(destination, "destination")
    if not await destination.transfer.is_empty():
        raise Conflict("the destination is not empty", hint="name a new database or file; nothing is ever merged")
    await destination.transfer.raise_fences(await source.transfer.fences())
    moved = {kind: await _move_kind(source, destination, kind, progress) for kind in Kind}
    await refuse_live(source, "source")  # one that was started meanwhile: what it did since may be missing
    await refuse_live(destination, "destination")
    return moved


async def _move_kind(source: Store, destination: Store, kind: Kind, progress: Progress) -> int:
    """Copy all values of a kind."""
    limit = OUTPUT_AT_ONCE if kind is Kind.OUTPUT else AT_ONCE
    moved = 0
    page = await source.transfer.read(kind, None, limit)
    while True:
        if page.values:
            await destination.transfer.write(kind, _as_of(destination, kind, page.values))
            moved += len(page.values)
            progress(kind, moved)
        if page.next is None:
            return moved
        page = await source.transfer.read(kind, page.next, limit)


def _as_of(destination: Store, kind: Kind, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as the destination wants them: its jobs are cut into its own number of shards."""
    if kind is not Kind.JOBS:
        return values
    return tuple(replace(job, shard=shard_of(job.id, destination.shards)) for job in values)


async def refuse_live(store: Store, name: str) -> None:
    """Raise Conflict when a server works on the store. Of an embedded one, the lock on its folder has told already."""
    if store.embedded:
        return
    standing = await store.leases.standing()
    live = [server.name for server in standing.servers if is_live(server, standing.now)]
    if live:
        raise Conflict(f"a server works on the {name}: {', '.join(live)}", hint="stop all servers first")
