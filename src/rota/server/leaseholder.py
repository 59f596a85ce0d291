"""The leaseholder: keeps this server's lease, its fair share of the shards, and its idea of the store's clock.

Whoever plans does it for the shards in `epochs`, which this loop alone changes: a shard appears there when it has
been taken and its jobs follow this server's time zone database, and goes when it was given up, was taken by another,
or when the lease could not be renewed in time. The fences in the store decide; this only spares the attempts.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from rota.clock import Clock
from rota.core import lease
from rota.core.errors import StoreUnavailable, StoreUnusable
from rota.core.model import Renewal, Server, Standing
from rota.events import (
    ClockStepped,
    Emit,
    LeaseLapsed,
    LeaseRenewed,
    ShardsReleased,
    ShardsTaken,
)
from rota.loop import Loop
from rota.server.conditions import Conditions
from rota.server.tzdata import check_tzdata, follow_tzdata
from rota.store.bundle import Store

RENEW: Final = timedelta(seconds=lease.RENEW_SECONDS)
EMBEDDED_REST: Final = timedelta(minutes=10)
_READINGS: Final = 4
Follow = Callable[[float, float, datetime], float | None]
"""Takes in a reading of the store's clock; `rota.clock.FollowingClock.follow`."""


class Leaseholder(Loop):
    """Renews, balances, follows the clock. Alone on an embedded store it takes all shards once, and then rests."""

    def __init__(
        self,
        store: Store,
        server: Server,
        clock: Clock,
        epochs: dict[int, int],
        emit: Emit,
        *,
        follow: Follow = lambda asked, answered, told: None,
    ) -> None:
        super().__init__(emit)
        self._follow_clock = follow
        self._conditions = Conditions(store.alerts, clock, emit)
        self._outdated = False
        self._store = store
        self._server = server
        self._clock = clock
        self._epochs = epochs
        self.on_shards: Callable[[], None] = lambda: None
        self.on_given_up: Callable[[], None] = lambda: None
        self.on_surplus: Callable[[int], Awaitable[None]] = _keep_them
        self.on_row_missing: Callable[[datetime | None], Awaitable[None]] = _leave_it
        self.on_renewal_missing: Callable[[datetime | None], Awaitable[None]] = _leave_it
        self._missing: datetime | None = None  # a committed renewal that the store lacks, and nobody was told yet
        self._renewed: float | None = None  # own monotonic seconds at which the last committed renewal was asked for
        self.renewed: datetime | None = None  # that renewal, as the store has it; None where there are none
        self._lapsed = False
        self._leaving = False
        self.standing = Standing(now=datetime.fromtimestamp(0, UTC), servers=(), shards=())

    @property
    def renewal_age(self) -> float:
        """Seconds since the last committed renewal was asked for; 0 where the lease needs none."""
        if self._store.embedded:
            return 0.0
        return float("inf") if self._renewed is None else self._clock.monotonic() - self._renewed

    async def join(self) -> None:
        """Become one of the servers; take what is free. Raises StoreUnusable when this server may not plan here."""
        for _ in range(_READINGS):
            await self._read_clock()
        await check_tzdata(self._store)
        seconds = None if self._store.embedded else lease.LEASE_SECONDS
        asked = self._clock.monotonic()
        row = await self._store.leases.join(self._server, seconds, alone=self._store.embedded)
        self._renewed = asked
        self.renewed = None if self._store.embedded else row.renewed
        await self._balance()

    async def leave(self) -> None:
        """Give up everything at once, so that others take over without waiting for the lease to end."""
        self._leaving = True
        self._drop(tuple(self._epochs), "stopping")
        await self._store.leases.leave(self._server.id)
        self.on_given_up()

    async def tick(self) -> timedelta:
        """Renew and balance; while the store does not answer, try again each second."""
        if self._store.embedded:
            return EMBEDDED_REST
        if self._leaving:
            return RENEW
        try:
            await self._renew()
            await self._balance()
        except StoreUnavailable as error:
            self._note_silence(error)
        return RENEW

    async def _renew(self) -> None:
        """Renew the lease, and read the store's clock by it."""
        asked = self._clock.monotonic()
        told = await self._store.leases.renew(self._server.id, lease.LEASE_SECONDS)
        if told is None:  # the row was removed: a day without a renewal, or a restored database
            await self.on_row_missing(self.renewed)
            joined = await self._store.leases.join(self._server, lease.LEASE_SECONDS)
            told = Renewal(at=joined.renewed, before=joined.renewed, now=joined.renewed)
        answered = self._clock.monotonic()
        if self.renewed is not None and told.before < self.renewed:
            self._missing = self.renewed
        self._renewed = asked
        self.renewed = told.at
        self._lapsed = False
        if self._missing is not None:
            await self.on_renewal_missing(self._missing)
            self._missing = None
        await self._follow(asked, answered, told.now)
        self._emit(LeaseRenewed(seconds=answered - asked, shards=len(self._epochs)))

    async def _balance(self) -> None:
        """Take and give up shards so that every live server leads about as many."""
        standing = self.standing = await self._store.leases.standing()
        epochs = {shard.number: shard.epoch for shard in standing.shards if shard.server == self._server.id}
        lost = tuple(shard for shard in self._epochs if epochs.get(shard) != self._epochs[shard])
        if lost:
            self._drop(lost, "taken by another server")
        if not await self._may_plan():
            await self._release(tuple(epochs))
            return
        wanted = lease.balance(standing, self._server.id)
        if wanted.release:
            await self._release(wanted.release)
        taken = await self._store.leases.take(self._server.id, wanted.take) if wanted.take else {}
        led = {shard: epoch for shard, epoch in epochs.items() if shard not in wanted.release} | taken
        fresh = {shard: epoch for shard, epoch in led.items() if shard not in self._epochs}
        for shard, epoch in sorted(fresh.items()):
            await follow_tzdata(self._store, shard, epoch)
            self._epochs[shard] = epoch
        if fresh:
            self._emit(ShardsTaken(server=self._server.id, shards=tuple(sorted(fresh))))
            self.on_shards()
        surplus = lease.surplus_workers(standing, self._server.id)
        if surplus:
            await self.on_surplus(surplus)

    async def _release(self, shards: tuple[int, ...]) -> None:
        """Stop planning for these shards, then let others have them."""
        if not shards:
            return
        self._drop(shards, "given up")
        await self._store.leases.release(self._server.id, shards)
        self.on_given_up()

    def _drop(self, shards: tuple[int, ...], why: str) -> None:
        """Lead these shards no more."""
        led = tuple(sorted(shard for shard in shards if self._epochs.pop(shard, None) is not None))
        if led:
            self._emit(ShardsReleased(server=self._server.id, shards=led, why=why))

    async def _may_plan(self) -> bool:
        """Whether this server's time zones are not older than those the store has seen."""
        key = f"tzdata/{self._server.name}"
        try:
            await check_tzdata(self._store)
        except StoreUnusable as error:
            self._outdated = True
            await self._conditions.put(key, error.detail, error.hint)
            return False
        if self._outdated:
            self._outdated = False
            await self._conditions.clear(key)
        return True

    def _note_silence(self, error: StoreUnavailable) -> None:
        """Without a renewal for as long as the lease lasts, lead nothing: others do by now."""
        if self.renewal_age < lease.LEASE_SECONDS:
            return
        if not self._lapsed:
            self._lapsed = True
            self._emit(LeaseLapsed(server=self._server.id, error=error.detail))
        self._drop(tuple(self._epochs), "the lease could not be renewed")

    async def _read_clock(self) -> None:
        """One reading of the store's clock."""
        asked = self._clock.monotonic()
        told = await self._store.leases.now()
        await self._follow(asked, self._clock.monotonic(), told)

    async def _follow(self, asked: float, answered: float, told: datetime) -> None:
        """Bring the clock to the store's; a jump is said."""
        jump = self._follow_clock(asked, answered, told)
        if jump is None:
            return
        self._emit(ClockStepped(seconds=jump, at=told))
        detail = f"the database's clock jumped {abs(jump):.0f} s {'forward' if jump > 0 else 'back'}"
        await self._conditions.put("store-clock", detail, "look at the time service of the database's machine")


async def _keep_them(surplus: int) -> None:
    """Nobody can send workers elsewhere."""


async def _leave_it(renewed: datetime | None) -> None:
    """Nobody wants to know that a server's row has gone, or lacks a renewal."""
