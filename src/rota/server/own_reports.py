"""A worker speaks for its own attempts only: reports and output about others' change nothing and are counted.

Fences are numbers that grow, so they can be guessed; that a report carries the right one does not show who sent it.
What a session holds does: the server gave it, or the store said so when the worker said hello.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from rota.core.model import OutputChunk, Run
from rota.events import Emit, ReportRefused
from rota.server.worker_session import WorkerSession
from rota.store.bundle import Store
from rota.store.runs import LossGuard
from rota.wire.messages import FromWorker, Held, Output, Reports


class Recording(Protocol):
    """Who commits what workers say (`rota.server.recorder`)."""

    async def take(self, session: WorkerSession, message: FromWorker) -> None:
        """A message of a worker."""

    async def lose(self, held: Sequence[Held], guard: LossGuard) -> int:
        """These attempts are lost; raises Fenced when somebody else judges them. Returns how many were."""

    async def give_back(self, held: Sequence[Held], why: str, guard: LossGuard) -> None:
        """These attempts never started; raises Fenced when somebody else judges them."""


class OwnReports:
    """`rota.server.hub.Reports` that leaves out what is about other workers' attempts."""

    def __init__(self, recording: Recording, store: Store, emit: Emit) -> None:
        self._recording = recording
        self._store = store
        self._emit = emit

    async def take(self, session: WorkerSession, message: FromWorker) -> None:
        """Pass on what the session may say. What is left out is acknowledged with the rest: it is settled."""
        if isinstance(message, Reports):
            message = self._own_reports(session, message)
        elif isinstance(message, Output):
            message = await self._own_output(session, message)
        await self._recording.take(session, message)

    async def lose(self, held: Sequence[Held], guard: LossGuard) -> int:
        """These attempts are lost; raises Fenced when somebody else judges them. Returns how many were."""
        return await self._recording.lose(held, guard)

    async def give_back(self, held: Sequence[Held], why: str, guard: LossGuard) -> None:
        """These attempts never started; raises Fenced when somebody else judges them."""
        await self._recording.give_back(held, why, guard)

    def _own_reports(self, session: WorkerSession, message: Reports) -> Reports:
        """The reports about attempts that the session holds."""
        own = tuple(item for item in message.items if (item.run_id, item.fence) in session.held)
        if len(own) == len(message.items):
            return message
        for item in message.items:
            if (item.run_id, item.fence) not in session.held:
                self._emit(ReportRefused(run=item.run_id, fence=item.fence))
        return replace(message, items=own)

    async def _own_output(self, session: WorkerSession, message: Output) -> Output:
        """The output of attempts that the session holds, or that its worker has had: output may come late."""
        held = {(run_id, holding.number) for (run_id, _), holding in session.held.items()}
        strange = [chunk for chunk in message.chunks if (chunk.run_id, chunk.attempt) not in held]
        if not strange:
            return message
        runs = await self._store.runs.get(list({chunk.run_id for chunk in strange}))
        worker = session.worker.name
        refused = {id(chunk) for chunk in strange if not _had(runs.get(chunk.run_id), chunk, worker)}
        for chunk in strange:
            if id(chunk) in refused:
                self._emit(ReportRefused(run=chunk.run_id, fence=0))
        return replace(message, chunks=tuple(chunk for chunk in message.chunks if id(chunk) not in refused))


def _had(run: Run | None, chunk: OutputChunk, worker: str) -> bool:
    """Whether the worker has, or had, the attempt that the chunk is of."""
    if run is None:
        return False
    attempts = (*run.attempts, *([run.current] if run.current else []))
    return any(attempt.number == chunk.attempt and attempt.worker == worker for attempt in attempts)
