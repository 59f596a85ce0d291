"""The assigner: places released runs, writes that, and sends the orders. Nothing is sent that is not on record.

What was written and could not be sent (the answer to something needed for the order did not come) is sent at the
next opportunity, while its session lasts. When the answer to the writing itself did not come, the runs are read at that
opportunity: what is on record as it was to be written was written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from rota.core.errors import RotaError, StoreUnavailable
from rota.core.model import Attempt, AttemptState, Job, JobId, JobSpec, Run, RunId
from rota.core.placement import Placed, WorkerRoom, place
from rota.core.release import Ready
from rota.core.run_state import Assign, advance
from rota.events import Emit, RunsAssigned
from rota.server.fences import Fences
from rota.server.hub import Hub
from rota.server.orders import make_order, secret_names
from rota.server.session_record import end_unknown
from rota.store.bundle import Store
from rota.store.jobs import RunChange
from rota.wire.messages import AttemptOrder

Specs = Mapping[tuple[JobId, int], JobSpec]


class SecretValues(Protocol):
    """Where secrets are read for an order."""

    async def values(self, names: Sequence[str]) -> dict[str, str]:
        """The values of those of these secrets that exist."""


class FailedOrders(Protocol):
    """Who records that a run's attempt could not even be ordered."""

    async def fail(self, run: Run, error: RotaError) -> None:
        """The attempt fails as if it had been tried."""


class Assigner:
    """Gives runs to the workers of this server."""

    def __init__(self, store: Store, hub: Hub, secrets: SecretValues, ends: FailedOrders, emit: Emit) -> None:
        self._store = store
        self._hub = hub
        self._secrets = secrets
        self._ends = ends
        self._emit = emit
        self.fences = Fences(store.leases)
        self._unsent: list[Run] = []
        self._unsent_specs: dict[tuple[JobId, int], JobSpec] = {}
        self._unanswered: list[Run] = []

    async def assign(
        self, ready: Sequence[Ready], jobs: Mapping[JobId, Job], rooms: Sequence[WorkerRoom], now: datetime
    ) -> set[RunId]:
        """Place, write and send; returns the runs that were given to a worker."""
        await self.send_unsent()
        placement = place([one.run for one in ready], rooms)
        if not placement.placed:
            return set()
        specs = await self._specs([placed.run for placed in placement.placed], jobs)
        earlier = (attempt.fence for placed in placement.placed for attempt in placed.run.attempts)
        fences = await self.fences.take(len(placement.placed), above=max(earlier, default=0))
        assigned = [
            _assigned(placed, fence, specs[placed.run.job_id, placed.run.revision], now)
            for placed, fence in zip(placement.placed, fences, strict=True)
        ]
        alone = {one.run.id for one in ready if one.alone}
        changes = [RunChange(run=run, alone=run.id in alone) for run in assigned]
        sessions = {placed.worker: placed.session for placed in placement.placed}
        self._unsent_specs = dict(specs)
        try:
            written = await self._store.runs.assign(changes, sessions)
        except StoreUnavailable:
            self._unanswered = assigned
            raise
        self._unsent = [run for run in assigned if run.id in written]
        await self.send_unsent()
        self._emit(RunsAssigned(runs=len(written), left_out=len(changes) - len(written)))
        if len(written) < len(changes):
            refused = {placed.worker for placed in placement.placed if placed.run.id not in written}
            await end_unknown(self._store, self._hub, refused, self._emit)
        return written

    async def send_unsent(self) -> None:
        """Make the orders and hand them to the sessions, one message per worker."""
        if self._unanswered:
            stored = await self._store.runs.get([run.id for run in self._unanswered])
            self._unsent += [run for run in self._unanswered if _is_on_record(run, stored.get(run.id))]
            self._unanswered = []
        if not self._unsent:
            return
        specs = self._unsent_specs
        names = {name for run in self._unsent for name in secret_names(specs[run.job_id, run.revision])}
        values = await self._secrets.values(sorted(names)) if names else {}
        runs, self._unsent = self._unsent, []
        batches: dict[str, tuple[list[Run], list[AttemptOrder]]] = {}
        for run in runs:
            try:
                order = make_order(run, specs[run.job_id, run.revision], values)
            except RotaError as error:
                await self._ends.fail(run, error)
                continue
            of_worker = batches.setdefault(run.current.worker if run.current else "", ([], []))
            of_worker[0].append(run)
            of_worker[1].append(order)
        for worker, (sent, orders) in batches.items():
            await self._hub.assign(worker, sent, orders)

    async def _specs(self, runs: Sequence[Run], jobs: Mapping[JobId, Job]) -> Specs:
        """The definition each run belongs to: usually the job's present one."""
        specs = {(job.id, job.revision): job.spec for job in jobs.values()}
        older = {(run.job_id, run.revision) for run in runs} - specs.keys()
        if older:
            specs |= await self._store.jobs.specs(sorted(older))
        return specs


def _is_on_record(written: Run, stored: Run | None) -> bool:
    """Whether what is stored is what was to be written, and nobody has moved it since."""
    return stored is not None and (stored.version, stored.fence) == (written.version, written.fence)


def _assigned(placed: Placed, fence: int, spec: JobSpec, now: datetime) -> Run:
    """The run with its next attempt."""
    run = placed.run
    attempt = Attempt(
        number=run.attempt + 1,
        fence=fence,
        worker=placed.worker,
        state=AttemptState.STARTING,
        created=now,
        continue_for=spec.on_disconnect or 0.0,
    )
    return advance(run, Assign(attempt=attempt, session=placed.session))
