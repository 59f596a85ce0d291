"""The reaper: attempts whose worker is silent for too long are called lost, and asked-for ends are asked for again.

Who may call a worker lost: the server it is connected to, after SILENCE_SECONDS; when that server's own lease has
ended, any server, GRACE_SECONDS later. The worker reckons by the same times and ends its attempts before
(`rota.core.lease`).
Every verdict is written under the number of the session it is about: a worker that has connected again is safe.
"""

import contextlib
from datetime import timedelta
from typing import Final

from rota.clock import Clock
from rota.core.errors import Fenced
from rota.core.lease import GRACE_SECONDS, SILENCE_SECONDS
from rota.core.model import Run, Worker
from rota.events import Emit, WorkerLost
from rota.loop import Loop
from rota.server.hub import Hub
from rota.server.recorder import Recorder
from rota.server.session_record import strangers
from rota.server.worker_session import AttemptKey, WorkerSession
from rota.store.bundle import Store
from rota.store.runs import LossGuard
from rota.store.sessions import Sign
from rota.wire.messages import Held

NOTE_SECONDS: Final = 60.0
REST: Final = timedelta(seconds=1)
ALONE_REST: Final = timedelta(seconds=5)  # without a worker over the network nothing is pressing
ORPHANS_EVERY: Final = 5.0
PAUSE_SECONDS: Final = 3.0
"""After a pause of its own the server first hears what workers sent meanwhile, before it judges any silence."""
RECONNECT_SECONDS: Final = 10.0
"""After a pause of its own, or an outage of the store, workers of dead servers have so long to connect again: they
could not before, and what they finished meanwhile waits in their spools."""

_ORPHANS: Final = 100
_UNHELD: Final = 500
_WORKERS: Final = 50  # whose running attempts are looked at together


class Reaper(Loop):
    """Judges silences."""

    def __init__(self, store: Store, hub: Hub, recorder: Recorder, clock: Clock, emit: Emit) -> None:
        super().__init__(emit)
        self._store = store
        self._hub = hub
        self._recorder = recorder
        self._clock = clock
        now = clock.monotonic()
        self._noted = now
        self._looked = now - ORPHANS_EVERY
        self._expected = now
        self._judges_from = now
        self._buries_from = now + RECONNECT_SECONDS
        self._unheld: set[AttemptKey] = set()
        self._once_more: list[str] = []
        self._last = ""
        self._strangers: set[tuple[str, int]] = set()

    def look_now(self) -> None:
        """Another server asked for something that may be about a worker of ours."""
        self._looked -= ORPHANS_EVERY
        self.wake()

    async def tick(self) -> timedelta:
        """Judge the silent sessions of this server, now and then those of dead servers; repeat what was asked."""
        now = self._clock.monotonic()
        if now - self._expected > PAUSE_SECONDS:
            self._judges_from = now + PAUSE_SECONDS
            self._buries_from = now + RECONNECT_SECONDS
        if now >= self._judges_from:
            for session in self._hub.all_sessions():
                await self._judge(session, now)
        if now - self._looked >= ORPHANS_EVERY:
            self._looked = now
            if now >= self._buries_from:
                await self._bury_orphans()
            await self._ask_again()
            await self._find_unheld()
            await self._find_strangers()
        await self._note_who_is_here(now)
        rest = REST if any(not session.channel.is_local for session in self._hub.all_sessions()) else ALONE_REST
        self._expected = self._clock.monotonic() + rest.total_seconds()
        return rest

    async def _judge(self, session: WorkerSession, now: float) -> None:
        """Call lost what a silent session has held for too long; be done with it once it holds nothing."""
        if session.is_over:
            await self._hub.settle(session)
        if session.channel.is_local or session.is_over:
            return
        overdue = session.overdue(now)
        worker = session.worker
        try:
            if overdue:
                await session.cut_off()
                lost = await self._recorder.lose(overdue, LossGuard(sessions={worker.name: worker.session}))
                self._hub.let_go([(held.run_id, held.fence) for held in overdue])
                if lost:  # else the worker is elsewhere, and has ended what it took with it
                    self._emit(WorkerLost(worker=worker.name, session=worker.session, lost=lost))
            if session.is_silent(now) and not session.held:
                await self._store.sessions.settle(worker.name, worker.session, self._clock.now())
                self._hub.forget(session)
                await session.channel.close()
        except Fenced:
            self._hub.forget(session)  # the worker has connected elsewhere; that server has all it held
            await session.channel.close()

    async def _bury_orphans(self) -> None:
        for worker in await self._store.sessions.orphans(GRACE_SECONDS, _ORPHANS):
            await self._bury(worker)

    async def _bury(self, worker: Worker) -> None:
        """Call lost what the worker of a dead server held; be done with it once it holds nothing."""
        verdicts = [await self._bury_run(worker, run) for run in await self._store.held.by_worker(worker.name)]
        if lost := sum(verdict or 0 for verdict in verdicts):
            self._emit(WorkerLost(worker=worker.name, session=worker.session, lost=lost))
        if None not in verdicts:
            await self._store.sessions.settle(worker.name, worker.session, self._clock.now())

    async def _bury_run(self, worker: Worker, run: Run) -> int | None:
        """Call one run of it lost; returns how many were lost by that (it may have ended), None when it may go on."""
        if run.current is None:
            return 0
        lapsed = GRACE_SECONDS + run.current.continue_for
        guard = LossGuard(sessions={worker.name: worker.session}, lapsed={worker.server: lapsed})
        try:
            return await self._recorder.lose([Held(run_id=run.id, attempt=run.attempt, fence=run.fence)], guard)
        except Fenced:
            return None

    async def _ask_again(self) -> None:
        """Ends that were asked for at another server, or of which the word was lost."""
        for run in await self._store.held.asked():
            if self._hub.holds(run):
                await (self._hub.cancel(run) if run.cancel is not None else self._hub.revoke(run))

    async def _find_unheld(self) -> None:
        """Attempts on record as with a worker of ours that has them no more, or never did.

        Of one that is starting the commit was done and its answer lost: the worker was never told. One that is running
        has ended, was acknowledged, and the store has lost that since, in a fail-over: nobody will say it again.
        Seen at two looks, so it is not just being sent or recorded.
        """
        before = self._clock.now() - timedelta(seconds=SILENCE_SECONDS)
        running = await self._store.held.running(self._next_workers())
        seen: set[AttemptKey] = set()
        for run in (*await self._store.held.starting(before, _UNHELD), *running):
            session = self._hub.session_of(run)
            if session is None or self._hub.holds(run):
                continue
            seen.add((run.id, run.fence))
            if (run.id, run.fence) in self._unheld:
                held = Held(run_id=run.id, attempt=run.attempt, fence=run.fence)
                guard = LossGuard(sessions={session.worker.name: session.worker.session})
                session.given_up.add((run.id, run.fence))  # an order that is just being made stays here
                with contextlib.suppress(Fenced):
                    await self._recorder.lose([held], guard)
        self._unheld = seen

    def _next_workers(self) -> list[str]:
        """Whose running attempts are looked at now: a few workers at a time, each twice in a row."""
        if self._once_more:
            again, self._once_more = self._once_more, []
            return again
        names = [session.worker.name for session in self._hub.all_sessions()]
        self._once_more = [name for name in names if name > self._last][:_WORKERS]
        self._last = self._once_more[-1] if self._once_more else ""
        return self._once_more

    async def _find_strangers(self) -> None:
        """Sessions on record as ours that we do not have, at two looks: so they are not just being opened."""
        found = {(worker.name, worker.session): worker for worker in await strangers(self._store, self._hub)}
        for key in found.keys() & self._strangers:
            await self._hub.adopt(found[key])
        self._strangers = set(found)

    async def _note_who_is_here(self, now: float) -> None:
        """Write down, once a minute for all, that the connected workers are alive."""
        sessions = self._hub.sessions()
        if sessions and now - self._noted >= NOTE_SECONDS:
            self._noted = now
            at = self._clock.now()
            await self._store.sessions.seen(
                [
                    Sign(name=session.worker.name, at=at, draining=session.draining, clock_offset=session.clock_offset)
                    for session in sessions
                ]
            )
