"""The agent: one worker's session with its server. Takes orders, starts them when there is room, reports what became
of them.

It decides nothing about runs: it starts what it is told, ends what it is told to end, and says what happened, each
fact until it is acknowledged. An attempt that cannot be run ends as failed with the reason; it never hurts another.
"""

import asyncio
import os
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from typing import Final

from rota.clock import Clock
from rota.core.errors import RotaError
from rota.wire.channel import ChannelClosed, WorkerChannel
from rota.wire.messages import (
    Assign,
    AttemptOrder,
    Cancel,
    Drain,
    Finished,
    FromServer,
    Goodbye,
    Heartbeat,
    HeartbeatAcknowledged,
    Hello,
    OutputAcknowledged,
    Permit,
    Ready,
    Refused,
    ReportsAcknowledged,
    Returned,
    Started,
    Welcome,
)
from rota.worker.attempt import Attempt, Outcome, failed
from rota.worker.credit import Credit
from rota.worker.executor import Executor
from rota.worker.executors import Executors, make_executors
from rota.worker.outbox import Outbox
from rota.worker.output import Capture
from rota.worker.pace import RIPE, Flushing, Ripening
from rota.worker.permits import PATIENCE, Permits
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings

_WAITED_TOO_LONG: Final = 2.0
_BEAT: Final = 1.0
_IDLE_BEATS: Final = 5


class WorkerRefused(RotaError):
    """The server does not accept this worker."""

    code = "WORKER_REFUSED"


class Agent:
    """Runs one worker over one channel."""

    def __init__(self, channel: WorkerChannel, settings: WorkerSettings, clock: Clock) -> None:
        self._channel = channel
        self._settings = settings
        self._clock = clock
        self._boot_id = secrets.token_hex(8)
        self._gate = Gate()
        self._outbox = Outbox(channel, self._gate, clock.monotonic)
        self._credit = Credit(settings.capacity)
        self._executors: Executors | None = None
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._waiting: dict[str, deque[Attempt]] = {kind: deque() for kind in settings.capacity}
        self._permits = Permits(self._boot_id, lambda attempt: attempt.give_back("no permit came in time"))
        self._ripening = Ripening(clock.monotonic, self._ripened)
        self._flushing = Flushing()
        self._highest_fence = 0
        self._draining = False
        self._drain_task: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()
        self._handlers: Mapping[type, Callable[[FromServer], None]] = self._table()

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve until the channel closes, `stop` is called or a drain has ended; leaves no process behind."""
        self._executors = await make_executors(self._settings, self._gate, self._clock)
        try:
            await self._channel.send(self._hello())
            await self._first_end_of(self._receive(), self._outbox.run(), self._beat(), self._stopped.wait())
        finally:
            self._cancel_timers()
            await self._executors.close()
            await self._channel.close()

    async def stop(self) -> None:
        """End now: what runs is killed and lost; the server learns it from the closed channel."""
        self._stopped.set()

    async def drain(self, grace: float) -> None:
        """Take nothing new, let what runs finish for `grace` seconds, end the rest, say goodbye."""
        self._draining = True
        for waiting in self._waiting.values():
            while waiting:
                waiting.popleft().give_back("the worker is stopping")
        try:
            async with asyncio.timeout(grace):
                await self._all_over()
        except TimeoutError:
            for attempt in tuple(self._attempts.values()):
                self._stop_attempt(attempt, "lost", 0.0)
            await self._all_over()
        await self._outbox.settled()
        await self._channel.send(Goodbye())
        self._stopped.set()

    async def _first_end_of(self, *parts: Coroutine[None, None, object]) -> None:
        """Run the parts until one ends, which ends the others; the end of the channel is an ordinary end."""
        running = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, ChannelClosed):
                    raise error
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _hello(self) -> Hello:
        return Hello(
            worker=self._settings.name,
            boot_id=self._boot_id,
            version=version("rota"),
            labels=self._settings.labels,
            capacity=self._settings.capacity,
            cpus=os.cpu_count() or 1,
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            highest_fence=self._highest_fence,
        )

    async def _all_over(self) -> None:
        while self._attempts:
            self._empty.clear()
            await self._empty.wait()

    def _cancel_timers(self) -> None:
        self._ripening.close()
        self._flushing.close()
        self._permits.close()

    # ── what the server says ─────────────────────────────────────────────────────────────────────────────

    def _table(self) -> "Mapping[type, Callable[[FromServer], None]]":
        return {
            Assign: self._assigned,
            Permit: self._permitted,
            Cancel: self._cancelled,
            Drain: self._drain_asked,
            Welcome: self._welcomed,
            ReportsAcknowledged: lambda message: self._outbox.acknowledge_reports(message.sequence),  # type: ignore[union-attr]
            OutputAcknowledged: lambda message: self._outbox.acknowledge_output(message.sequence),  # type: ignore[union-attr]
            HeartbeatAcknowledged: lambda _: None,
        }

    async def _receive(self) -> None:
        while True:
            message = await self._channel.receive()
            if isinstance(message, Refused):
                raise WorkerRefused(message.reason, hint=message.hint)
            self._handlers[type(message)](message)

    def _assigned(self, message: FromServer) -> None:
        assert isinstance(message, Assign)
        for order in message.orders:
            self._take(order)
        for kind in self._waiting:
            self._start_waiting(kind)

    def _take(self, order: AttemptOrder) -> None:
        key = (order.run_id, order.fence)
        if key in self._attempts:
            return  # a repeated order
        self._highest_fence = max(self._highest_fence, order.fence)
        attempt = Attempt(order, self._capture(order), self, self._clock.monotonic())
        self._attempts[key] = attempt
        if self._draining:
            attempt.give_back("the worker is stopping")
        elif attempt.kind not in self._waiting:
            attempt.end(failed("start", f"worker {self._settings.name} does not run {attempt.kind} jobs"))
        else:
            self._waiting[attempt.kind].append(attempt)

    def _welcomed(self, message: FromServer) -> None:
        assert isinstance(message, Welcome)
        for held in message.lost:
            attempt = self._attempts.get((held.run_id, held.fence))
            if attempt is not None:
                self._stop_attempt(attempt, "lost", 0.0)

    def _cancelled(self, message: FromServer) -> None:
        assert isinstance(message, Cancel)
        attempt = self._attempts.get((message.run_id, message.fence))
        if attempt is not None:
            self._stop_attempt(attempt, "cancelled", attempt.order.kill_grace)

    def _drain_asked(self, message: FromServer) -> None:
        assert isinstance(message, Drain)
        self._draining = True
        self._drain_task = asyncio.create_task(_until_closed(self.drain(message.grace)))

    def _stop_attempt(self, attempt: Attempt, outcome: str, grace: float) -> None:
        if self._permits.forget(attempt.order.run_id, attempt.order.fence):
            attempt.give_back("cancelled before it started")
        elif attempt in self._waiting[attempt.kind]:
            self._waiting[attempt.kind].remove(attempt)
            attempt.give_back("cancelled before it started")
        else:
            attempt.stopping = attempt.stopping or outcome
            self._executor(attempt.kind).stop(attempt, grace)

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────

    def _executor(self, kind: str) -> Executor:
        assert self._executors is not None
        return self._executors.of[kind]

    def _start_waiting(self, kind: str) -> None:
        """Start what there is room for, first come first served."""
        waiting = self._waiting[kind]
        if not waiting:
            return
        executor = self._executor(kind)
        while waiting and executor.takes(waiting[0], self._permits.count(kind)):
            attempt = waiting.popleft()
            if attempt.order.permit:
                self._ask_permit(attempt)
            else:
                self._start(attempt)

    def _start(self, attempt: Attempt) -> None:
        try:
            self._executor(attempt.kind).start(attempt)
        except Exception as error:  # noqa: BLE001 — the edge of one attempt: whatever it was, the others go on
            attempt.end(failed("start", f"the worker could not start the attempt: {type(error).__name__}: {error}"))

    def _ask_permit(self, attempt: Attempt) -> None:
        order = attempt.order
        self._permits.wait_for(attempt, PATIENCE)
        self._outbox.report(Ready(run_id=order.run_id, attempt=order.attempt, fence=order.fence))

    def _permitted(self, message: FromServer) -> None:
        assert isinstance(message, Permit)
        attempt = self._permits.use(message.run_id, message.fence, message.boot_id)
        if attempt is not None:
            self._start(attempt)

    # ── what becomes of attempts ─────────────────────────────────────────────────────────────────────────

    def attempt_began(self, attempt: Attempt) -> None:
        """Note when; tell the server unless it ends at once."""
        attempt.begun = self._clock.monotonic()
        attempt.started = self._clock.now()
        if attempt.order.permit:
            self._say_started(attempt)
        self._ripening.add(attempt)

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Report it, its output first, and start the next."""
        order = attempt.order
        if outcome.outcome == "rejected" and outcome.error:
            attempt.output.say(outcome.error)
        attempt.output.finish()
        self._flushing.remove(attempt.output)
        finished = attempt.finished or self._clock.now()
        self._outbox.report(
            Finished(
                run_id=order.run_id,
                attempt=order.attempt,
                fence=order.fence,
                outcome=outcome.outcome,
                started=attempt.started or finished,
                finished=finished,
                exit=outcome.exit,
                signal=outcome.signal,
                failure=outcome.failure,
                error=attempt.output.masked(outcome.error),
                result=outcome.result,
                usage=outcome.usage,
                wrote_output=attempt.output.wrote,
            )
        )
        if attempt.begun is not None:
            self._credit.note(attempt.kind, (finished - attempt.started).total_seconds() if attempt.started else 0.0)
        self._over(attempt)

    def attempt_returned(self, attempt: Attempt, why: str) -> None:
        """Give it back to the server."""
        order = attempt.order
        self._outbox.report(Returned(run_id=order.run_id, attempt=order.attempt, fence=order.fence, why=why))
        self._over(attempt)

    def _over(self, attempt: Attempt) -> None:
        self._attempts.pop((attempt.order.run_id, attempt.order.fence), None)
        if self._waiting.get(attempt.kind):
            asyncio.get_running_loop().call_soon(self._start_waiting, attempt.kind)
        if not self._attempts:
            self._empty.set()

    def _say_started(self, attempt: Attempt) -> None:
        order = attempt.order
        assert attempt.started is not None
        self._outbox.report(
            Started(run_id=order.run_id, attempt=order.attempt, fence=order.fence, started=attempt.started)
        )

    def _ripened(self, attempt: Attempt) -> None:
        """It has run for a while: say that it started, and follow it closely."""
        self._credit.note_long(attempt.kind, RIPE)
        if not attempt.order.permit:
            self._say_started(attempt)
        self._executor(attempt.kind).ripen(attempt)

    def _capture(self, order: AttemptOrder) -> Capture:
        return Capture(order, self._clock, self._outbox.output, self._flushing.add)

    # ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────

    async def _beat(self) -> None:
        """Say that we live: each second while something goes on, rarely otherwise."""
        silent = 0
        while True:
            for _ in range(4):
                await asyncio.sleep(_BEAT / 4 if self._attempts else _BEAT)
                if not self._attempts or self._credit.has_changed_much():
                    break
            silent += 1
            if self._attempts or silent >= _IDLE_BEATS or not self._credit.is_said:
                silent = 0
                await self._channel.send(Heartbeat(sent=self._clock.monotonic(), credit=self._credit.say()))
            self._return_blocked()
            await self._outbox.resend()

    def _return_blocked(self) -> None:
        """Give back what has waited for long behind attempts that do not end: another worker may have room."""
        since = self._clock.monotonic() - _WAITED_TOO_LONG
        for kind, waiting in self._waiting.items():
            if self._credit.wanted()[kind] > self._settings.capacity[kind]:
                continue  # they are short: its turn comes soon
            blocked = self._executors.of[kind].take_back(since) if self._executors else []
            while waiting and waiting[-1].taken < since:
                blocked.append(waiting.pop())
            for attempt in blocked:
                attempt.give_back("no slot became free")


async def _until_closed(part: Coroutine[None, None, None]) -> None:
    """Run a part of the agent; the end of the channel is its ordinary end."""
    try:
        await part
    except ChannelClosed:
        pass
