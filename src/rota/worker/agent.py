"""The agent: one worker. It keeps a session with some server, and its attempts beside it, from start to drain.

When a session ends the next one is sought; what runs goes on meanwhile, until its deadline, and the next server is
told of it.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random, SystemRandom
from typing import Final, Protocol

import rota
from rota.clock import Clock
from rota.core.errors import RotaError
from rota.events import (
    DeadlinePassed,
    Emit,
    Event,
    MachineShort,
    ServerLost,
    ServerReached,
    ServerUnreachable,
    SpoolBroken,
)
from rota.wire.channel import ChannelClosed, WorkerChannel
from rota.wire.messages import Goodbye, Hello, SeenRenewal
from rota.worker.deadline import Deadline
from rota.worker.executor import Executor
from rota.worker.executors import make_executors
from rota.worker.outbox import Outbox
from rota.worker.pipes import Gate
from rota.worker.session import Follow, Look, Session, WorkerRefused, nowhere
from rota.worker.settings import WorkerSettings
from rota.worker.shortage import SHORT_SECONDS
from rota.worker.spool import Spool
from rota.worker.workload import SILENCED, Workload

__all__ = ["Agent", "Dial", "NoMoreServers", "WorkerRefused"]

FIRST_REST: Final = 0.2  # seconds before the second try to connect; doubles
LONGEST_REST: Final = 5.0
REFUSED_REST: Final = 15.0

Dial = Callable[[], Awaitable[WorkerChannel]]
"""Connects to some server; raises RotaError when none can be reached, NoMoreServers when there will be none."""


class NoMoreServers(RotaError):
    """There is no server to connect to any more: the worker ends."""

    code = "NO_MORE_SERVERS"


class RunsAttempts(Protocol):
    """What an agent runs attempts with: one executor per kind, and who ends processes at the deadline."""

    @property
    def of(self) -> dict[str, Executor]:
        """The executors by kind."""

    def live_until(self, moment: float) -> None:
        """End all processes at this moment (boot-time seconds) unless told of a later one."""

    async def close(self) -> None:
        """End everything; when it returns no process is left."""


Make = Callable[[WorkerSettings, Gate, Clock], Awaitable[RunsAttempts]]


class Agent:
    """Runs one worker."""

    def __init__(
        self,
        settings: WorkerSettings,
        clock: Clock,
        dial: Dial,
        *,
        emit: Emit | None = None,
        make: Make = make_executors,
        rng: Random | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._dial = dial
        self._emit: Emit = emit or _ignore
        self._make = make
        self._rng = rng or SystemRandom()
        self._boot_id = f"{self._rng.getrandbits(64):016x}" if rng else secrets.token_hex(8)
        self._gate = Gate()
        self._spool = Spool(settings.state / "spool")
        self._outbox = Outbox(self._gate, self._spool, clock.monotonic)
        self._hellos = 0
        self._workload = Workload(settings, clock, self._boot_id, self._outbox)
        self._executors: RunsAttempts | None = None
        self._deadline = Deadline(clock.monotonic, self._live_until, self._silenced)
        self._workload.on_short = self._short
        self._workload.is_silenced = lambda: self._deadline.has_passed
        self._channel: WorkerChannel | None = None
        self._connected_once = False
        self._knows_silence = False
        self._stopped = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None
        self.follow: Follow = lambda sent, received, told: None
        self.another_is_ready: Look = nowhere
        self.on_moving: Callable[[], None] = lambda: None
        self._seen: SeenRenewal | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until `stop` is called, a drain has ended, or there are no more servers; leaves no process behind."""
        self._executors = await self._make(self._settings, self._gate, self._clock)
        self._workload.use(self._executors.of)
        self._outbox.recover()
        parts = [asyncio.create_task(part) for part in (self._connect(), self._outbox.run(), self._stopped_set())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except NoMoreServers:
            pass
        finally:
            for task in parts:
                task.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self._workload.close()
            self._deadline.close()
            await self._executors.close()
            self._spool.close()

    async def stop(self) -> None:
        """End now: what runs is killed and lost; the server learns it from the closed channel."""
        self._stopped.set()

    async def drain(self, grace: float) -> None:
        """Take nothing new, let what runs finish for `grace` seconds, end the rest, say goodbye."""
        await self._workload.drain(grace)
        await self._outbox.settled()
        if self._channel is not None:
            try:
                await self._channel.send(Goodbye())
            except ChannelClosed:
                pass  # it was the last word anyway
        self._stopped.set()

    async def _stopped_set(self) -> None:
        await self._stopped.wait()

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self) -> None:
        """One session after another."""
        rest = 0.0
        while True:
            await asyncio.sleep(rest * self._rng.uniform(0.5, 1.0))
            try:
                channel = await self._dial()
                await self._serve(channel)
                rest = 0.0
            except NoMoreServers:
                raise
            except WorkerRefused as error:
                self._note_failure(error)
                rest = self._longer(rest) if error.facts.get("again") else REFUSED_REST
                continue
            except RotaError as error:
                self._note_failure(error)
            rest = self._longer(rest)

    async def _serve(self, channel: WorkerChannel) -> None:
        """One session, from hello to its end."""
        deadline = None if channel.is_local else self._deadline
        session = Session(channel, self._workload, self._outbox, deadline, self._clock)
        session.follow = self.follow
        session.another_is_ready = self.another_is_ready
        session.on_moving = self.on_moving
        session.on_drain = self._drain_asked
        session.on_renewal = self._saw_renewal
        try:
            await session.open(self._hello())
        except BaseException:
            await channel.close()
            raise
        self._connected_once = True
        self._channel = channel
        self._emit(ServerReached(server=session.server, worker=self._settings.name))
        try:
            await session.serve()
        finally:
            self._channel = None
        self._emit(ServerLost(server=session.server, worker=self._settings.name, was_sent=session.was_sent))

    def _note_failure(self, error: RotaError) -> None:
        """No session: say so. Refused for good before there ever was one, it is an error of the settings."""
        if isinstance(error, WorkerRefused) and not error.facts.get("again") and not self._connected_once:
            raise error
        self._emit(ServerUnreachable(worker=self._settings.name, error=error.detail, hint=error.hint or ""))

    def _longer(self, rest: float) -> float:
        return min(max(rest * 2, FIRST_REST), LONGEST_REST)

    def _hello(self) -> Hello:
        offered = self._settings
        self._hellos += 1
        return Hello(
            worker=offered.name,
            boot_id=self._boot_id,
            dial=self._hellos,
            version=rota.__version__,
            labels=offered.labels,
            capacity=offered.capacity,
            cpus=offered.cpus or os.cpu_count() or 1,
            memory=offered.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            highest_fence=self._workload.highest_fence,
            seen=self._seen,
            held=(*self._workload.held(), *self._outbox.ended()),
        )

    def _saw_renewal(self, server: str, at: datetime | None) -> None:
        """A server has told of a renewal in the store."""
        if at is not None and (self._seen is None or at > self._seen.at):
            self._seen = SeenRenewal(server=server, at=at)

    def _drain_asked(self, grace: float) -> None:
        self._workload.draining = True
        if self._draining is None:
            self._draining = asyncio.create_task(self.drain(grace))

    # ── without a server ─────────────────────────────────────────────────────────────────────────────────

    def _live_until(self, moment: float) -> None:
        """The deadline has moved."""
        self._knows_silence = self._knows_silence and self._deadline.has_passed
        if self._executors is not None:
            self._executors.live_until(moment)
        if self._spool.is_broken:
            self._emit(SpoolBroken(worker=self._settings.name, folder=str(self._settings.state)))

    def _short(self, kind: str, error: str) -> None:
        """The machine lacks what attempts of this kind need."""
        self._emit(MachineShort(worker=self._settings.name, kind=kind, error=error, seconds=SHORT_SECONDS))

    def _silenced(self, silence: float) -> None:
        """The deadline passed so long ago: nothing begins, and what is not ended by the keeper is ended here."""
        if not self._knows_silence:
            self._knows_silence = True
            self._emit(DeadlinePassed(worker=self._settings.name, attempts=len(self._workload.held())))
            self._workload.give_back_waiting(SILENCED)
        self._workload.end_silenced("http", silence)


def _ignore(event: Event) -> None:
    """Nobody listens."""
