"""What all commands share: the services they use and the trying again when something moved meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Final, Protocol, TypeVar

from rota.clock import Clock
from rota.core.actor import Actor
from rota.core.errors import Conflict, NotFound
from rota.core.model import Job, Run
from rota.events import Emit
from rota.store.bundle import Store
from rota.store.jobs import AuditEntry

_TRIES: Final = 20
_T = TypeVar("_T")


class RunSettler(Protocol):
    """Commits runs that end without an attempt, with what follows from that."""

    async def settle(self, runs: Sequence[Run], audit: Sequence[AuditEntry] = ()) -> None:
        """Commit them with what is said of it; one that has moved on is left alone."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What commands work with.

    `planning` is held while definitions change, so that the planner of this server does not move the same cursors;
    between servers the compare-and-set decides. `counters` is held while counters of jobs are read and written back.
    """

    store: Store
    clock: Clock
    settler: RunSettler
    cancel_attempt: Callable[[Run], Awaitable[bool]]
    revoke_attempt: Callable[[Run], Awaitable[bool]]
    wake: Callable[[], None]
    publish: Callable[[str], None]
    emit: Emit
    is_watched: Callable[[str], bool] = lambda source: False
    planning: asyncio.Lock = field(default_factory=asyncio.Lock)
    counters: asyncio.Lock = field(default_factory=asyncio.Lock)
    rng: Random = field(default_factory=SystemRandom)


class Command:
    """Base of the command groups."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._clock = services.clock

    async def _job(self, full_name: str) -> Job:
        """The job of that name, or NotFound."""
        job = (await self._store.jobs.get([full_name])).get(full_name)
        if job is None:
            raise NotFound(f"there is no job {full_name}", hint="rota ls shows all jobs", job=full_name)
        return job

    async def _until_settled(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Run `attempt`; when something moved while it decided, decide anew."""
        for _ in range(_TRIES - 1):
            try:
                return await attempt()
            except Conflict as error:
                if not error.facts.get("moved"):
                    raise
        return await attempt()

    def _fresh_key(self) -> str:
        """A key that no other run has."""
        return f"{self._services.rng.getrandbits(64):016x}"

    def _audit(self, actor: Actor, verb: str, thing: str, detail: str = "") -> AuditEntry:
        """The audit entry of an act."""
        now = self._clock.now()
        return AuditEntry(at=now, actor=actor.name, verb=verb, object=thing, detail=detail, request_id=actor.request_id)
