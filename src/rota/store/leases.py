"""Storage contract: which servers live, who leads which shard under which epoch; fences; facts about the store.

A server lives while its lease holds: a row of its own that it renews. Only `take` and `release` write shards. All
times are the store's clock at the moment of the statement, not at its start: waiting for a lock makes nobody younger.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from rota.core.model import Renewal, Server, Standing

AWAY_SECONDS: Final = 5.0


class Leases(Protocol):
    """Ownership and the counters that only grow."""

    async def now(self) -> datetime:
        """The store's clock, in UTC; never earlier than any time it gave before.

        An embedded store that was closed keeps this promise over the restart; one that was killed, to within a second.
        """

    async def join(self, server: Server, seconds: float | None, *, alone: bool = False) -> Server:
        """Write the server's row with a lease of so many seconds (None: for as long as the process lives).

        Of `server`, the times are the store's to fill in; returns the row as written. `alone`: the caller knows that
        no other server lives, because it holds the lock on the store's folder: the leases of all others end now.
        Rows whose lease ended more than a day ago are removed on the way.
        """

    async def renew(self, server: str, seconds: float) -> Renewal | None:
        """Let the server's lease end so many seconds from now; returns this renewal, None without a row.

        Writes this one row and nothing else; a lease that has ended is begun anew.
        """

    async def leave(self, server: str) -> None:
        """Give up the server's shards and end its lease now. Lock order: server, shard."""

    async def standing(self) -> Standing:
        """All servers, ended ones included, and all shards, on one snapshot, with the store's time of it.

        A worker whose session has ended counts as connected for AWAY_SECONDS more: it is on its way back.
        """

    async def take(self, server: str, shards: Mapping[int, int]) -> dict[int, int]:
        """Make the server the leader of those of these shards (shard → epoch as it was seen) that are free.

        A shard is taken when its epoch is still that one, when nobody leads it or its leader's lease has ended, and
        when the taker's own lease holds; all this is looked at under the locks of the rows. Returns shard → new
        epoch, one higher, of those taken. Lock order: server, shard.
        """

    async def release(self, server: str, shards: Sequence[int]) -> None:
        """Let nobody lead those of these shards that this server leads. Their epochs are raised by who takes them."""

    async def reserve_fences(self, count: int) -> int:
        """Take `count` fence counters out of circulation for ever; returns the first of them, incarnation included."""

    async def highest_fence(self) -> int:
        """The highest fence taken out of circulation so far, incarnation included; 0 before the first."""

    async def raise_incarnation(self) -> int:
        """Begin a new incarnation (the store was restored and somebody has accepted that); returns its number.

        Every fence given from now on is higher than any that was given before, in whatever life of the store.
        """

    async def fact(self, key: str) -> str | None:
        """A remembered fact about this store (`tzdata`, `created`, …)."""

    async def remember(self, key: str, value: str) -> None:
        """Remember a fact."""

    async def check(self) -> list[str]:
        """Problems of the store's own consistency (integrity, references, careless settings); empty when sound."""
