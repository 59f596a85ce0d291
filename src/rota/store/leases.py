"""Storage contract: which server decides for which shard, under which epoch; fences; facts about the store."""

from datetime import datetime
from typing import Protocol


class Leases(Protocol):
    """Ownership and the counters that only grow."""

    async def now(self) -> datetime:
        """The store's clock, in UTC; never earlier than any time it gave before.

        A store that was closed keeps this promise over the restart; one that was killed, to within a second.
        """

    async def take_shards(self, server: str) -> dict[int, int]:
        """Make this server the owner of all shards and raise their epochs; returns shard → epoch.

        On SQLite there is one shard and one server, which holds the folder's lock; the epoch still fences out any
        statement of a server that ran before.
        """

    async def reserve_fences(self, count: int) -> int:
        """Take `count` fence counters out of circulation for ever; returns the first of them, incarnation included."""

    async def fact(self, key: str) -> str | None:
        """A remembered fact about this store (`tzdata`, `created`, …)."""

    async def remember(self, key: str, value: str) -> None:
        """Remember a fact."""

    async def check(self) -> list[str]:
        """Problems of the store's own consistency (integrity check, foreign keys); empty when sound."""
