"""Leases: how long a server is believed to live, which shards it leads, and until when a worker may go on.

A server's lease is a row it renews; as long as it holds, the server leads its shards and judges its workers.

    alone ──renewed each RENEW_SECONDS──► live ──no renewal for LEASE_SECONDS──► ended: its shards are free
                                                                  └── GRACE_SECONDS later: anybody may call
                                                                      the workers of its sessions lost

A worker computes from what it was acknowledged until when its attempts may live, MARGIN_SECONDS before any server
may call them lost. So an attempt that is tried again elsewhere has ended where it was.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from rota.core.model import Server, Shard, Standing, Value

LEASE_SECONDS: Final = 4.0
RENEW_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 15.0  # of a worker, after which its own server may call it lost
GRACE_SECONDS: Final = 60.0  # after a server's lease has ended
MARGIN_SECONDS: Final = 3.0


class Balance(Value):
    """What a server should do about shards: take (shard → epoch as it is now), give up."""

    take: dict[int, int] = {}
    release: tuple[int, ...] = ()


def is_live(server: Server, now: datetime) -> bool:
    """Whether the server's lease holds."""
    return server.lease_until > now


def balance(standing: Standing, me: str) -> Balance:
    """A fair share for the server `me`. Servers that see the same standing want different shards.

    Shards are for the live servers that have workers, as only those can give runs away ahead of their time; for all
    while none has any. Free ones go one by one to the server that leads fewest. A server that leads more than its share
    gives up the rest, so that one that came later gets some; shares differ by at most one.
    """
    everybody = _live(standing)
    live = [server for server in everybody if standing.workers.get(server)] or everybody
    if me not in everybody:
        return Balance()
    if me not in live:
        return Balance(release=tuple(sorted(shard.number for shard in standing.shards if shard.server == me)))
    led = {server: [shard.number for shard in standing.shards if shard.server == server] for server in live}
    counts = {server: len(shards) for server, shards in led.items()}
    take: dict[int, int] = {}
    for shard in _free(standing.shards, everybody):
        receiver = min(live, key=lambda server: (counts[server], server))
        counts[receiver] += 1
        if receiver == me:
            take[shard.number] = shard.epoch
    share = _share(me, counts)
    surplus = max(0, len(led[me]) - share) if not take else 0
    return Balance(take=take, release=tuple(sorted(led[me])[len(led[me]) - surplus :]))


def surplus_workers(standing: Standing, me: str) -> int:
    """How many of its workers the server `me` should send to others now: some, so that all have about as many.

    After a restart of servers in turn the last one has none.
    """
    live = _live(standing)
    counts = {server: standing.workers.get(server, 0) for server in live}
    if me not in counts or counts[me] - min(counts.values()) < 2:
        return 0
    share = -(-sum(counts.values()) // len(live))
    return -(-max(0, counts[me] - share) // 4)


def worker_deadline(sent: float, renewed: float) -> float:
    """Until when a worker's attempts may live, on the clock of its arguments.

    `sent`: when the newest acknowledged heartbeat was sent; its server has heard it then or later. `renewed`: the
    server's last committed renewal is known to be of then or later.
    """
    return min(sent + SILENCE_SECONDS, renewed + LEASE_SECONDS + GRACE_SECONDS) - MARGIN_SECONDS


def _live(standing: Standing) -> list[str]:
    """The ids of the live servers, in order."""
    return sorted(server.id for server in standing.servers if is_live(server, standing.now))


def _free(shards: Collection[Shard], live: Collection[str]) -> list[Shard]:
    """The shards that no live server leads."""
    return sorted((shard for shard in shards if shard.server not in live), key=lambda shard: shard.number)


def _share(me: str, counts: dict[str, int]) -> int:
    """How many shards a server may keep: of the servers, those that lead most keep the remainder."""
    base, remainder = divmod(sum(counts.values()), len(counts))
    richest = sorted(counts, key=lambda server: (-counts[server], server))
    return base + (richest.index(me) < remainder)
