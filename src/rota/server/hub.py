"""The hub: worker sessions of this server. Who is connected, what each holds, how much more each takes.

A session begins with the worker's hello, which the store numbers. What a worker sends is handed to the recorder. When
a channel inside the process ends, what the worker held is lost with it. When a network channel ends, the worker may
be alive: it connects again, here or elsewhere, and says what it holds; only after a silence is it called lost (the
reaper does that).
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, Protocol

from rota.clock import Clock
from rota.core.errors import Fenced, StoreUnavailable
from rota.core.model import Run, RunState, Worker
from rota.core.placement import WorkerRoom
from rota.events import Emit, RunAskedBack, WorkerConnected, WorkerDisconnected
from rota.server.admission import Admission, Identity, NotAdmitted
from rota.server.worker_session import AttemptKey, WorkerSession
from rota.store.bundle import Store
from rota.store.runs import LossGuard
from rota.wire.channel import ChannelClosed, EndedChannel, ServerChannel
from rota.wire.messages import (
    Assign,
    AttemptOrder,
    Cancel,
    Drain,
    FromWorker,
    Goodbye,
    Heartbeat,
    HeartbeatAcknowledged,
    Held,
    Hello,
    Moving,
    Refused,
    Revoke,
    Welcome,
)

_HELLO_SECONDS: Final = 10.0


class Reports(Protocol):
    """Who commits what workers say, and what follows from their silence."""

    async def take(self, session: WorkerSession, message: FromWorker) -> None:
        """A message of a worker."""

    async def lose(self, held: Sequence[Held], guard: LossGuard) -> int:
        """These attempts are lost; raises Fenced when somebody else judges them. Returns how many were."""

    async def give_back(self, held: Sequence[Held], why: str, guard: LossGuard) -> None:
        """These attempts never started; raises Fenced when somebody else judges them."""


class Hub:
    """All worker sessions of this server."""

    def __init__(
        self, store: Store, clock: Clock, server: str, admission: Admission, reports: Reports, emit: Emit
    ) -> None:
        self._store = store
        self._clock = clock
        self.server = server
        self._admission = admission
        self._reports = reports
        self._emit = emit
        self._sessions: dict[str, WorkerSession] = {}  # by worker; of some the channel has ended
        self._holders: dict[AttemptKey, WorkerSession] = {}
        self._moving = False
        self.on_room: Callable[[], None] = lambda: None
        self.on_workers: Callable[[], None] = lambda: None  # one has come or gone
        self.renewal_age: Callable[[], float] = lambda: 0.0
        self.renewed: Callable[[], datetime | None] = lambda: None

    def sessions(self) -> list[WorkerSession]:
        """The connected workers, by name."""
        return [session for session in self.all_sessions() if not session.ended]

    def all_sessions(self) -> list[WorkerSession]:
        """The sessions that are not dealt with, those with an ended channel included, by name."""
        return [self._sessions[name] for name in sorted(self._sessions)]

    def rooms(self) -> list[WorkerRoom]:
        """What placement needs to know of the connected workers."""
        now = self._clock.monotonic()
        return [session.room() for session in self.sessions() if not session.hesitates(now)]

    def holds(self, run: Run) -> bool:
        """Whether a worker of this server has the run's current attempt."""
        return (run.id, run.fence) in self._holders

    def session_of(self, run: Run) -> WorkerSession | None:
        """The present session of the worker that the run's current attempt was given to, when it is of this server."""
        return self._sessions.get(run.current.worker) if run.current else None

    async def serve(self, channel: ServerChannel, identity: Identity | None = None) -> None:
        """Serve one worker's channel until it ends; `identity` is what its token says of it."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await channel.receive()
        except (ChannelClosed, TimeoutError):
            await channel.close()
            return
        session = await self._welcome(hello, channel, identity)
        if session is None:
            await channel.close()
            return
        try:
            while True:
                message = await channel.receive()
                session.heard = self._clock.monotonic()
                await self._handle(session, message)
        except ChannelClosed:
            pass
        finally:
            await self._end(session)

    async def assign(self, worker: str, runs: list[Run], orders: list[AttemptOrder]) -> bool:
        """Send orders to a worker; False when the session they were made for is gone.

        What was not sent then comes back when the worker says hello again and does not name it.
        """
        session = self._sessions.get(worker)
        if session is None or any(run.session != session.worker.session for run in runs):
            return False
        runs = [run for run in runs if (run.id, run.fence) not in session.given_up]
        orders = [order for order in orders if (order.run_id, order.fence) not in session.given_up]
        for run in runs:
            self._hold(session, run)
        sent = await session.send(Assign(orders=tuple(orders)))
        for run in runs:
            if (run.id, run.fence) in session.early_cancels:
                session.early_cancels.discard((run.id, run.fence))
                await session.send(Cancel(run_id=run.id, fence=run.fence))
        return sent

    async def cancel(self, run: Run) -> bool:
        """Ask the worker that holds the run to end it; False when it is not connected here."""
        current = run.current
        session = self._sessions.get(current.worker) if current else None
        if session is None or current is None or session.ended:
            return False
        key = (run.id, run.fence)
        if session.asked.get(key) == "end":
            return True
        if key not in session.held:
            # The order is on its way; a worker knows nothing of an attempt before it has come.
            session.early_cancels.add(key)
        session.asked[key] = "end"
        return await session.send(Cancel(run_id=run.id, fence=current.fence))

    async def revoke(self, run: Run) -> bool:
        """Ask the worker that holds the run to give it back unless it has started; False when it is not here."""
        session = self._holders.get((run.id, run.fence))
        if session is None or session.ended:
            return False
        if (run.id, run.fence) in session.asked:
            return True
        session.asked[run.id, run.fence] = "give back"
        self._emit(RunAskedBack(run=run.id, worker=session.worker.name))
        return await session.send(Revoke(run_id=run.id, fence=run.fence))

    async def adopt(self, worker: Worker) -> None:
        """Keep the session of a stranger as one whose channel has just ended: it is judged like those."""
        held = await self._store.held.by_worker(worker.name)
        present = self._sessions.get(worker.name)
        if present is not None and present.worker.session >= worker.session:
            return
        if present is not None:
            self.forget(present)
        session = WorkerSession(worker, EndedChannel(), self._clock.monotonic())
        self._sessions[worker.name] = session
        for run in held:
            self._hold(session, run)
        await self._end(session)

    def let_go(self, attempts: Iterable[AttemptKey]) -> None:
        """Nobody holds these attempts any more."""
        freed = False
        for attempt in attempts:
            session = self._holders.pop(attempt, None)
            freed = (session is not None and session.let_go(attempt)) or freed
        if freed:
            self.on_room()

    def forget(self, session: WorkerSession) -> None:
        """The session is dealt with: what it held is settled, or the worker has connected elsewhere."""
        if self._sessions.get(session.worker.name) is session:
            del self._sessions[session.worker.name]
        for key in [key for key, holder in self._holders.items() if holder is session]:
            del self._holders[key]

    async def drain(self, grace: float) -> None:
        """Ask every worker to take nothing new and finish."""
        for session in self.sessions():
            session.draining = True
            # A worker elsewhere has a life of its own: it finds another server, or waits for this one.
            await session.send(Drain(grace=grace) if session.channel.is_local else Moving())

    async def move(self) -> None:
        """Send the workers to other servers, with all they hold; take no new ones."""
        self._moving = True
        for session in self.sessions():
            await session.send_elsewhere()
            await session.channel.close()

    # ── hello ────────────────────────────────────────────────────────────────────────────────────────────

    async def _welcome(
        self, message: FromWorker, channel: ServerChannel, identity: Identity | None
    ) -> WorkerSession | None:
        """Open the session, or refuse it."""
        refused = Refused(reason="this server is stopping", hint="connect to another one", again=True)
        if not self._moving:
            try:
                hello, worker = await self._admission.admit(message, identity)
                return await self._open(hello, worker, channel)
            except NotAdmitted as error:
                refused = Refused(reason=error.detail, hint=error.hint, again=bool(error.facts.get("again")))
            except (StoreUnavailable, Fenced) as error:
                refused = Refused(reason=f"not now: {error.detail}", again=True)
        with contextlib.suppress(ChannelClosed):  # a worker that has gone meanwhile needs no answer
            await channel.send(refused)
        return None

    async def _open(self, hello: Hello, worker: Worker, channel: ServerChannel) -> WorkerSession:
        """Settle what the worker held before and holds now; from then on it is one of ours."""
        older = self._sessions.get(worker.name)
        session = WorkerSession(worker, channel, self._clock.monotonic())
        lost = await self._reconcile(session, hello)
        if older is not None:
            self.forget(older)
            await older.channel.close()  # one worker, one session: whoever still uses the old one is cut off
        self._sessions[worker.name] = session
        for key in session.held:
            self._holders[key] = session
        welcome = Welcome(
            session=worker.session,
            server=self.server,
            now=self._clock.now(),
            lost=tuple(lost),
            renewal_age=self.renewal_age(),
            renewed=self.renewed(),
        )
        await session.send(welcome)
        self._emit(WorkerConnected(worker=worker.name, session=worker.session))
        self.on_workers()
        self.on_room()
        return session

    async def _reconcile(self, session: WorkerSession, hello: Hello) -> list[Held]:
        """Compare what the store thinks the worker holds with what it says; returns what it must end.

        What it does not name never reached it, when it was given to this very process and has not started; else it
        died with an earlier one. Raises Fenced when the worker has connected again meanwhile.
        """
        stored = await self._store.held.by_worker(hello.worker)
        said = {(held.run_id, held.fence) for held in hello.held}
        gone: list[Held] = []
        unheard: list[Held] = []
        for run in stored:
            if (run.id, run.fence) in said:
                session.hold(run)
            else:
                of_this_boot = (run.session or 0) >= session.worker.boot_session
                dropped = unheard if of_this_boot and run.state is RunState.STARTING else gone
                dropped.append(Held(run_id=run.id, attempt=run.attempt, fence=run.fence))
        guard = LossGuard(sessions={session.worker.name: session.worker.session})
        await self._reports.give_back(unheard, "the order did not reach the worker", guard)
        await self._reports.lose(gone, guard)
        return [held for held in hello.held if (held.run_id, held.fence) not in session.held]

    # ── an open session ──────────────────────────────────────────────────────────────────────────────────

    async def _handle(self, session: WorkerSession, message: FromWorker) -> None:
        """One message of an open session."""
        match message:
            case Heartbeat():
                await self._heartbeat(session, message)
            case Goodbye():
                session.is_over = True
                raise ChannelClosed
            case _:
                await self._reports.take(session, message)

    async def _heartbeat(self, session: WorkerSession, message: Heartbeat) -> None:
        """Answer it, with how long this server may still be believed; note what the worker says of itself."""
        grown = any(message.credit.get(kind, 0) > old for kind, old in session.credit.items())
        session.credit = {**session.worker.capacity, **message.credit}
        session.draining = message.draining or session.draining
        session.clock_offset = message.clock_offset
        if session.ended:  # it came too late: what the worker held is being called lost, so it must not live on
            return
        answer = HeartbeatAcknowledged(
            sent=message.sent, now=self._clock.now(), renewal_age=self.renewal_age(), renewed=self.renewed()
        )
        await session.send(answer)
        if grown:
            self.on_room()

    async def _end(self, session: WorkerSession) -> None:
        """The channel has ended. Inside the process that is the worker's end; over the network it may come back."""
        worker = session.worker
        session.ended = True
        session.is_over = session.is_over or session.channel.is_local
        await session.channel.close()
        self._emit(WorkerDisconnected(worker=worker.name, session=worker.session, held=len(session.held)))
        with contextlib.suppress(StoreUnavailable):  # the reaper tries again, and judges its silence in any case
            await self._store.sessions.disconnect(worker.name, worker.session, self._clock.now())
            if session.is_over:
                await self.settle(session)
        self.on_workers()

    async def settle(self, session: WorkerSession) -> None:
        """Call lost what the session still holds, and be done with it."""
        await self._lose(session, session.as_held(session.held))
        await self._store.sessions.settle(session.worker.name, session.worker.session, self._clock.now())
        self.forget(session)

    async def _lose(self, session: WorkerSession, held: list[Held]) -> None:
        """Call attempts lost, unless the worker has connected again meanwhile: then they are that session's."""
        with contextlib.suppress(Fenced):
            await self._reports.lose(held, LossGuard(sessions={session.worker.name: session.worker.session}))

    def _hold(self, session: WorkerSession, run: Run) -> None:
        session.hold(run)
        self._holders[run.id, run.fence] = session
