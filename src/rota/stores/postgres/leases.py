"""Ownership, fences and the store's clock on PostgreSQL: `rota.store.leases.Leases`.

What a server's life hangs on runs in a lane of its own: a renewal never waits behind a batch. Fence counters are taken
from the database in blocks: what is left of a block when the process ends is never used.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rota.core.ids import fence
from rota.core.model import Renewal, Server, Shard, Standing
from rota.store.leases import AWAY_SECONDS
from rota.stores.postgres.checks import warnings_of
from rota.stores.postgres.lanes import Lane, Lanes
from rota.stores.postgres.queries import load
from rota.stores.rows import EPOCH, from_micros, to_micros
from rota.stores.session_rows import server_from_row

SQL: Final = load("leases.sql")
CHECKS: Final = load("check.sql")
BLOCK: Final = 4096
FOR_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
REMEMBERED_SERVERS: Final = timedelta(days=1)
_MICROS: Final = 1_000_000


class PostgresLeases:
    """The counters that only grow."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._lane: Lane = lanes.leases
        self._verbs: Lane = lanes.verbs
        self._highest = EPOCH
        self._next_fence = 0
        self._end_of_block = 0
        self._taking = asyncio.Lock()

    async def now(self) -> datetime:
        """The database's clock; never earlier than any time given here before, should it be set back."""
        return self._told(await self._lane.value(SQL["now"]))

    async def join(self, server: Server, seconds: float | None, *, alone: bool = False) -> Server:
        """Write the server's row with a lease; `alone` ends all others."""
        lease, until = (0, to_micros(FOR_EVER)) if seconds is None else (round(seconds * _MICROS), None)
        row = await self._lane.row(
            SQL["join"], server.id, server.name, server.url, server.version, lease, until, alone,
            to_micros(EPOCH + REMEMBERED_SERVERS),
        )  # fmt: skip
        assert row is not None
        return server_from_row(row)

    async def renew(self, server: str, seconds: float) -> Renewal | None:
        """Let the server's lease end so many seconds from now."""
        row = await self._lane.row(SQL["renew"], server, round(seconds * _MICROS))
        assert row is not None
        before, told = row
        return None if told is None else Renewal(at=from_micros(told), before=from_micros(before), now=self._told(told))

    async def leave(self, server: str) -> None:
        """Give up the server's shards and end its lease now."""
        await self._lane.rows(SQL["leave"], server)

    async def standing(self) -> Standing:
        """All servers and all shards."""
        row = await self._lane.row(SQL["standing"], round(AWAY_SECONDS * _MICROS))
        assert row is not None
        now, servers, shards, workers = row
        return Standing(
            now=self._told(now),
            servers=tuple(server_from_row(one) for one in servers),
            shards=tuple(Shard(number=number, server=server, epoch=epoch) for number, server, epoch in shards),
            workers=dict(workers),
        )

    async def take(self, server: str, shards: Mapping[int, int]) -> dict[int, int]:
        """Make the server the leader of those of these shards that are free."""
        rows = await self._lane.rows(SQL["take"], server, list(shards), list(shards.values()))
        return dict(rows)

    async def release(self, server: str, shards: Sequence[int]) -> None:
        """Let nobody lead those of these shards that this server leads."""
        await self._lane.rows(SQL["release"], server, shards)

    async def reserve_fences(self, count: int) -> int:
        """Take `count` fence counters out of circulation for ever; returns the first of them."""
        async with self._taking:
            if self._next_fence + count > self._end_of_block:
                block = max(count, BLOCK)
                incarnation, counter = await self._one(SQL["take_fences"], block)
                self._next_fence = fence(incarnation, counter)
                self._end_of_block = self._next_fence + block
            first = self._next_fence
            self._next_fence += count
            return first

    async def highest_fence(self) -> int:
        """The highest fence taken out of circulation so far."""
        incarnation, counter = await self._one(SQL["fences"])
        return fence(incarnation, counter) - 1 if (incarnation, counter) != (1, 1) else 0

    async def raise_incarnation(self) -> int:
        """Begin a new incarnation; what is left of the present block is not used."""
        async with self._taking:
            self._next_fence = self._end_of_block = 0
            (incarnation,) = await self._one(SQL["raise_incarnation"])
            return int(incarnation)

    async def fact(self, key: str) -> str | None:
        """A remembered fact about this store."""
        if "\0" in key:
            return None
        found: str | None = await self._verbs.value(SQL["fact"], key)
        return found

    async def remember(self, key: str, value: str) -> None:
        """Remember a fact."""
        await self._verbs.rows(SQL["remember"], key, value)

    async def check(self) -> list[str]:
        """What a managed database lets one find out: settings, indexes, rows that miss what they belong to."""
        async with self._lanes.patient() as lane:
            problems = await warnings_of(lane)
            for sql in CHECKS.values():
                problems += [text for (text,) in await lane.rows(sql)]
        return problems

    async def _one(self, sql: str, *parameters: Any) -> tuple[Any, ...]:
        """The one row a statement gives."""
        row = await self._verbs.row(sql, *parameters)
        assert row is not None
        return row

    def _told(self, micros: int) -> datetime:
        """A time of the database, held still while it is behind what was given before."""
        self._highest = max(self._highest, from_micros(micros))
        return self._highest
