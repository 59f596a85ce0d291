"""Notices that the store is older than what was done with it: a backup was restored, or a fail-over lost commits.

Fences only grow. A worker that has seen a higher one than the store ever gave knows a later life of the store. From
then on fences come from a new incarnation, above all that were ever given, and at-most-once work is held: what the
lost life of the store started is not known. Everything else goes on. A person lifts the hold. What no number of
restores explains is not believed.

The hold is a fact in the store, and whoever is about to give away at-most-once work looks at it: what one server was
told, all know.
"""

from collections.abc import Callable
from typing import Final

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.ids import COUNTERS_PER_INCARNATION
from rota.events import Emit, RestoreAccepted, RestoreSuspected, WorkerMisspoke
from rota.server.conditions import Conditions
from rota.store.bundle import Store
from rota.store.jobs import AuditEntry

FACT: Final = "restore"
SUSPECTED: Final = "suspected"
CONDITION: Final = "store-restored"
MOST_LIVES: Final = 16  # so often may one backup have been restored before anybody looked


class RestoreWatch:
    """Compares fences, and knows whether at-most-once work is held: `holds`, as of the last look."""

    def __init__(self, store: Store, clock: Clock, emit: Emit) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._conditions = Conditions(store.alerts, clock, emit)
        self.holds = False
        self.on_accepted: Callable[[], None] = lambda: None

    async def refresh(self) -> bool:
        """Ask the store whether anybody suspects a restore, and nobody has accepted it."""
        self.holds = await self._store.leases.fact(FACT) == SUSPECTED
        return self.holds

    async def compare(self, highest: int, who: str) -> None:
        """Hold the highest fence that `who` has seen against the store's own."""
        if not highest:
            return
        own = await self._store.leases.highest_fence()
        if highest <= own:
            return
        if highest // COUNTERS_PER_INCARNATION - own // COUNTERS_PER_INCARNATION > MOST_LIVES:
            # Raised for it, the numbers would soon be used up: one worker could end them for all.
            what = f"it has seen fence {highest}, which no life of this store can have given"
            self._emit(WorkerMisspoke(worker=who, what=what, cut_off=False))
            return
        await self._store.leases.remember(FACT, SUSPECTED)
        self.holds = True
        while highest > await self._store.leases.highest_fence():
            await self._store.leases.raise_incarnation()
        self._emit(RestoreSuspected(who=who, fence=highest))
        detail = f"the database is older than what {who} has seen: it was restored, or a fail-over lost commits"
        hint = "at-most-once jobs are held; look at what they did since, then: rota doctor --accept-restore"
        await self._conditions.put(CONDITION, detail, hint)

    async def accept(self, actor: Actor) -> bool:
        """A person knows and accepts it: at-most-once work goes on. Returns whether anything was held."""
        held = await self.refresh()
        await self._conditions.clear(CONDITION)
        if not held:
            return False
        entry = AuditEntry(
            at=self._clock.now(), actor=actor.name, verb="restore.accept", object="store", request_id=actor.request_id
        )
        await self._store.access.audit([entry])
        await self._store.leases.remember(FACT, "")
        self.holds = False
        self._emit(RestoreAccepted(actor=actor.name))
        self.on_accepted()
        return True
