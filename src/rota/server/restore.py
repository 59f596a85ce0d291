"""Notices that the store is older than what was done with it: a backup was restored, or a fail-over lost commits.

Workers are the witnesses. Each is told, again and again, of the newest renewal of its server's lease that the store
has committed; a store without it is from before it. And fences only grow: a worker that has seen a higher one than the
store ever gave knows a later life of the store. From then on fences come from a new incarnation, and at-most-once work
is held: what the lost life of the store started is not known. Everything else goes on. A person lifts the hold. What
no number of restores explains is not believed.

A worker that was started anew has seen nothing, so who restores a database says so before starting servers (`hold`).

The hold is a fact in the store, and whoever is about to give away at-most-once work looks at it: what one server was
told, all know.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.ids import COUNTERS_PER_INCARNATION
from rota.events import Emit, RestoreAccepted, RestoreSuspected, WorkerMisspoke
from rota.server.conditions import Conditions
from rota.store.bundle import Store
from rota.store.jobs import AuditEntry
from rota.wire.messages import Hello, SeenRenewal

FACT: Final = "restore"
SUSPECTED: Final = "suspected"
CONDITION: Final = "store-restored"
EXPLAINED: Final = "explained"  # until when nobody wonders what was seen and is not here
_REMEMBERED: Final = timedelta(hours=23)  # for so long at least the store keeps the rows of servers that have ended
_AHEAD: Final = timedelta(minutes=1)  # so much may the clock of a restored store be behind that of the one before
MOST_LIVES: Final = 16  # so often may one backup have been restored before anybody looked


async def explain(store: Store) -> None:
    """From now on nobody wonders that what was seen until now is not in the store."""
    await store.leases.remember(EXPLAINED, (await store.leases.now()).isoformat())


class RestoreWatch:
    """Compares what workers have seen with what the store holds. `holds`: whether work was held at the last look."""

    def __init__(self, store: Store, clock: Clock, emit: Emit) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._conditions = Conditions(store.alerts, clock, emit)
        self.holds = False
        self.on_accepted: Callable[[], None] = lambda: None
        self.own_renewal: Callable[[], SeenRenewal | None] = lambda: None  # the newest committed one of this server

    async def refresh(self) -> bool:
        """Ask the store whether anybody suspects a restore, and nobody has accepted it."""
        self.holds = await self._store.leases.fact(FACT) == SUSPECTED
        return self.holds

    async def look(self) -> bool:
        """Whether at-most-once work is held; asked before it is given away, when the store may just have gone back."""
        seen = self.own_renewal()
        if seen is not None:
            await self.compare_renewal(seen, "this server")
        return await self.refresh()

    async def compare(self, hello: Hello) -> None:
        """Hold what a worker has seen against what the store holds."""
        if hello.seen is not None:
            await self.compare_renewal(hello.seen, hello.worker)
        if hello.highest_fence:
            await self._compare_fence(hello.highest_fence, hello.worker)

    async def compare_renewal(self, seen: SeenRenewal, who: str) -> None:
        """Hold a renewal that `who` knows to have been committed against what the store holds."""
        if await self._lacks(seen, who):
            await self._suspect(who, 0, _older_than(who))

    async def miss_renewal(self, renewed: datetime, who: str) -> None:
        """The row of `who`, this server, lacked a renewal that it knows to be committed."""
        if not await self._is_explained(renewed):
            await self._suspect(who, 0, _older_than(who))

    async def hold(self, actor: Actor) -> None:
        """A person has restored the store, and says so before anything starts."""
        await self._store.access.audit([self._entry(actor, "restore.hold")])
        await self._suspect(actor.name, 0, f"{actor.name} says that the database was restored")

    async def accept(self, actor: Actor) -> bool:
        """A person knows and accepts it: at-most-once work goes on. Returns whether anything was held."""
        held = await self.refresh()
        await self._conditions.clear(CONDITION)
        if not held:
            return False
        await self._store.access.audit([self._entry(actor, "restore.accept")])
        await explain(self._store)
        await self._store.leases.remember(FACT, "")
        self.holds = False
        self._emit(RestoreAccepted(actor=actor.name))
        self.on_accepted()
        return True

    async def _lacks(self, seen: SeenRenewal, who: str) -> bool:
        """Whether the store knows nothing of a renewal that was committed: then it is from before it.

        Rows of servers are forgotten a day after their end, and are not carried into another store.
        """
        if self._store.embedded:
            return False
        if await self._is_explained(seen.at):
            return False
        standing = await self._store.leases.standing()
        if seen.at > standing.now + _AHEAD:
            what = f"it has seen a renewal of {seen.at.isoformat()}, which is yet to come"
            self._emit(WorkerMisspoke(worker=who, what=what, cut_off=False))
            return False
        renewed = next((server.renewed for server in standing.servers if server.id == seen.server), None)
        return seen.at > (standing.now - _REMEMBERED if renewed is None else renewed)

    async def _is_explained(self, moment: datetime) -> bool:
        """Whether nobody wonders that what was seen then is not here."""
        explained = await self._store.leases.fact(EXPLAINED)
        return bool(explained) and moment <= datetime.fromisoformat(explained or "")

    async def _compare_fence(self, highest: int, who: str) -> None:
        """Hold the highest fence that `who` has seen against the store's own."""
        own = await self._store.leases.highest_fence()
        if highest <= own:
            return
        if highest // COUNTERS_PER_INCARNATION - own // COUNTERS_PER_INCARNATION > MOST_LIVES:
            # Raised for it, the numbers would soon be used up: one worker could end them for all.
            what = f"it has seen fence {highest}, which no life of this store can have given"
            self._emit(WorkerMisspoke(worker=who, what=what, cut_off=False))
            return
        await self._suspect(who, highest, _older_than(who))
        while highest > await self._store.leases.highest_fence():
            await self._store.leases.raise_incarnation()

    async def _suspect(self, who: str, fence: int, detail: str) -> None:
        """Hold at-most-once work, and tell people; once, until it is accepted."""
        if await self.refresh():
            return
        await self._store.leases.raise_incarnation()  # before others learn of it and take fences anew
        await self._store.leases.remember(FACT, SUSPECTED)
        self.holds = True
        self._emit(RestoreSuspected(who=who, fence=fence))
        hint = "at-most-once jobs are held; look at what they did since, then: rota doctor --accept-restore"
        await self._conditions.put(CONDITION, detail, hint)

    def _entry(self, actor: Actor, verb: str) -> AuditEntry:
        return AuditEntry(
            at=self._clock.now(), actor=actor.name, verb=verb, object="store", request_id=actor.request_id
        )


def _older_than(who: str) -> str:
    """What is said of it."""
    return f"the database is older than what {who} has seen: it was restored, or a fail-over lost commits"
