"""The hub: worker sessions of this server. Who is connected, what each holds, how much more each takes.

A session begins with the worker's hello, which the store numbers, and ends with its channel. What a worker sends is
handed to the recorder; what it held when its channel ended is lost.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from msgspec.structs import replace

from rota.clock import Clock
from rota.core.model import Run, Worker
from rota.core.placement import WorkerRoom
from rota.events import Emit, WorkerConnected, WorkerDisconnected
from rota.store.bundle import Store
from rota.wire.channel import ChannelClosed, ServerChannel
from rota.wire.messages import (
    PROTOCOL,
    Assign,
    AttemptOrder,
    Cancel,
    Drain,
    FromServer,
    FromWorker,
    Goodbye,
    Heartbeat,
    HeartbeatAcknowledged,
    Held,
    Hello,
    Refused,
    Welcome,
)

_HELLO_SECONDS: Final = 10.0


class WorkerSession:
    """One connected worker."""

    def __init__(self, worker: Worker, channel: ServerChannel) -> None:
        self.worker = worker
        self.channel = channel
        self.credit = dict(worker.capacity)
        self.held: dict[tuple[str, int], str] = {}  # (run id, fence) → kind
        self.early_cancels: set[tuple[str, int]] = set()  # asked for before the order was sent
        self.draining = False

    def room(self) -> WorkerRoom:
        """How many more attempts of each kind it takes.

        Where the worker keeps a stock of short attempts (its credit is above its capacity), room is only spoken of
        when a quarter of the stock is gone: the next ones then travel together and not one by one.
        """
        room = dict(self.credit)
        for kind in self.held.values():
            room[kind] = room.get(kind, 0) - 1
        for kind, credit in self.credit.items():
            if credit > self.worker.capacity.get(kind, 0) and room[kind] < credit // 4:
                room[kind] = 0
        return WorkerRoom(name=self.worker.name, session=self.worker.session, room=room, draining=self.draining)


class Hub:
    """All worker sessions of this server."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        server: str,
        on_message: Callable[[WorkerSession, FromWorker], Awaitable[None]],
        emit: Emit,
    ) -> None:
        self._store = store
        self._clock = clock
        self._server = server
        self._on_message = on_message
        self._emit = emit
        self._sessions: dict[str, WorkerSession] = {}
        self.on_room: Callable[[], None] = lambda: None
        self.on_lost: Callable[[list[Held]], Awaitable[None]] = _ignore

    def sessions(self) -> list[WorkerSession]:
        """The connected workers, by name."""
        return [self._sessions[name] for name in sorted(self._sessions)]

    def rooms(self) -> list[WorkerRoom]:
        """What placement needs to know of them."""
        return [session.room() for session in self.sessions()]

    def holds(self, run: Run) -> bool:
        """Whether the run's worker is connected here and has its current attempt."""
        session = self._sessions.get(run.current.worker) if run.current else None
        return session is not None and (run.id, run.fence) in session.held

    async def serve(self, channel: ServerChannel) -> None:
        """Serve one worker's channel until it ends."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await channel.receive()
        except (ChannelClosed, TimeoutError):
            await channel.close()
            return
        session = await self._welcome(hello, channel)
        if session is None:
            await channel.close()
            return
        try:
            while True:
                await self._handle(session, await channel.receive())
        except ChannelClosed:
            pass
        finally:
            await self._end(session)

    async def assign(self, worker: str, runs: list[Run], orders: list[AttemptOrder]) -> bool:
        """Send orders to a worker; False when the session they were made for is gone: the runs are lost with it."""
        session = self._sessions.get(worker)
        if session is None or any(run.session != session.worker.session for run in runs):
            return False
        for run in runs:
            session.held[run.id, run.fence] = run.kind
        sent = await self._send(session, Assign(orders=tuple(orders)))
        for run in runs:
            if (run.id, run.fence) in session.early_cancels:
                session.early_cancels.discard((run.id, run.fence))
                await self._send(session, Cancel(run_id=run.id, fence=run.fence))
        return sent

    async def cancel(self, run: Run) -> bool:
        """Ask the worker that holds the run to end it; False when it is not connected here."""
        current = run.current
        session = self._sessions.get(current.worker) if current else None
        if session is None or current is None:
            return False
        if (run.id, run.fence) not in session.held:
            # The order is on its way; a worker knows nothing of an attempt before it has come.
            session.early_cancels.add((run.id, run.fence))
        return await self._send(session, Cancel(run_id=run.id, fence=current.fence))

    async def send(self, session: WorkerSession, message: FromServer) -> bool:
        """Send a message on a session; False when it is gone."""
        return await self._send(session, message)

    def let_go(self, attempts: Iterable[tuple[str, int]]) -> None:
        """Nobody holds these attempts (run id, fence) any more."""
        freed = [session.held.pop(attempt, None) for attempt in attempts for session in self._sessions.values()]
        if any(freed):
            self.on_room()

    async def drain(self, grace: float) -> None:
        """Ask every worker to take nothing new and finish."""
        for session in self.sessions():
            session.draining = True
            await self._send(session, Drain(grace=grace))

    async def _welcome(self, hello: FromWorker, channel: ServerChannel) -> WorkerSession | None:
        """Open the session, or refuse it."""
        if not isinstance(hello, Hello):
            await self._refuse(channel, Refused(reason="the first message was not a hello"))
            return None
        if hello.protocol != PROTOCOL:
            hint = f"this server speaks version {PROTOCOL}; run the same version of Rota on both"
            await self._refuse(
                channel, Refused(reason=f"protocol version {hello.protocol} is not spoken here", hint=hint)
            )
            return None
        worker, lost, taken_over = await self._open(hello)
        session = WorkerSession(worker, channel)
        session.held = {(run.id, run.fence): run.kind for run in taken_over}
        older = self._sessions.get(worker.name)
        self._sessions[worker.name] = session
        if older is not None:
            await older.channel.close()  # one worker, one session: whoever still uses the old one is cut off
        welcome = Welcome(session=worker.session, server=self._server, now=self._clock.now(), lost=tuple(lost))
        await self._send(session, welcome)
        self._emit(WorkerConnected(worker=worker.name, session=worker.session))
        self.on_room()
        return session

    async def _open(self, hello: Hello) -> tuple[Worker, list[Held], list[Run]]:
        """Number the session; settle what the worker held before and holds now.

        Runs the store thinks it holds and it does not say it holds are lost; what it holds and is no longer its
        own it must end.
        """
        now = self._clock.now()
        worker = Worker(
            name=hello.worker,
            boot_id=hello.boot_id,
            session=0,
            server=self._server,
            version=hello.version,
            labels=hello.labels,
            capacity=hello.capacity,
            cpus=hello.cpus,
            memory=hello.memory,
            connected=now,
            last_seen=now,
        )
        number = await self._store.sessions.connect(worker)
        stored = await self._store.runs.held_by(hello.worker)
        said = {(held.run_id, held.fence) for held in hello.held}
        kept = [run for run in stored if (run.id, run.fence) in said]
        gone = [Held(run_id=run.id, attempt=run.attempt, fence=run.fence) for run in stored if run not in kept]
        await self.on_lost(gone)
        ours = {(run.id, run.fence) for run in kept}
        foreign = [held for held in hello.held if (held.run_id, held.fence) not in ours]
        return _with_session(worker, number), foreign, kept

    async def _handle(self, session: WorkerSession, message: FromWorker) -> None:
        """One message of an open session."""
        match message:
            case Heartbeat():
                grown = any(message.credit.get(kind, 0) > old for kind, old in session.credit.items())
                session.credit = {**session.worker.capacity, **message.credit}
                await self._send(session, HeartbeatAcknowledged(sent=message.sent, now=self._clock.now()))
                if grown:
                    self.on_room()
            case Goodbye():
                raise ChannelClosed
            case _:
                await self._on_message(session, message)

    async def _end(self, session: WorkerSession) -> None:
        """The channel has ended: forget the session and call what it held lost."""
        worker = session.worker
        if self._sessions.get(worker.name) is session:
            del self._sessions[worker.name]
        await session.channel.close()
        self._emit(WorkerDisconnected(worker=worker.name, session=worker.session, held=len(session.held)))
        if await self._store.sessions.disconnect(worker.name, worker.session, self._clock.now()):
            # The worker may be back already, in a newer session, and have said what it still runs.
            newer = self._sessions.get(worker.name)
            kept = newer.held if newer is not None else {}
            held = [run for run in await self._store.runs.held_by(worker.name) if (run.id, run.fence) not in kept]
            await self.on_lost([Held(run_id=run.id, attempt=run.attempt, fence=run.fence) for run in held])

    async def _refuse(self, channel: ServerChannel, refused: Refused) -> None:
        """Say why; a worker that has gone meanwhile needs no answer."""
        with contextlib.suppress(ChannelClosed):
            await channel.send(refused)

    async def _send(self, session: WorkerSession, message: FromServer) -> bool:
        """Send, telling whether the session was still there."""
        try:
            await session.channel.send(message)
        except ChannelClosed:
            return False
        return True


async def _ignore(held: list[Held]) -> None:
    """Nobody listens yet."""


def _with_session(worker: Worker, number: int) -> Worker:
    """The worker's row as the store numbered it."""
    return replace(worker, session=number)
