"""The workload: attempts of this worker, from their order to their report.

It decides nothing about runs: it starts what it was told when there is room and its time has come, ends what it was
told to end, gives back what cannot begin, and hands every fact to the outbox. Connections come and go beside it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from rota.clock import Clock
from rota.core.retry import STOPPED
from rota.wire.messages import AttemptOrder, Finished, Held, Ready, Returned, Started
from rota.worker.attempt import Attempt, Outcome, failed
from rota.worker.credit import Credit
from rota.worker.executor import Executor
from rota.worker.outbox import Outbox
from rota.worker.output import Capture
from rota.worker.pace import Flushing, Ripening
from rota.worker.permits import PATIENCE, Permits
from rota.worker.settings import WorkerSettings
from rota.worker.staging import Staging

WAITED_TOO_LONG: Final = 2.0  # seconds behind attempts that do not end, after which another worker may have it
STOPPING: Final = "the worker is stopping"
SILENCED: Final = "no server was heard for too long"
_BEFORE_IT_BEGAN: Final = {"cancelled": "cancelled before it started", "lost": SILENCED, STOPPED: STOPPING}
REMEMBERED: Final = 10_000  # orders, the newest


class Workload:
    """All attempts, waiting and running."""

    def __init__(self, settings: WorkerSettings, clock: Clock, boot_id: str, outbox: Outbox) -> None:
        self._settings = settings
        self._clock = clock
        self._outbox = outbox
        self._executors: dict[str, Executor] = {}
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._taken: dict[tuple[str, int], None] = {}  # also of attempts that are over: none begins twice
        self._waiting: dict[str, deque[Attempt]] = {kind: deque() for kind in settings.capacity}
        self._staging = Staging(clock, self._due)
        self._permits = Permits(boot_id, lambda attempt: attempt.give_back("no permit came in time"))
        self._ripening = Ripening(clock.monotonic, self._ripened)
        self._flushing = Flushing()
        self._empty = asyncio.Event()
        self.credit = Credit(settings.capacity, clock.monotonic)
        self.credit.running = self._running
        self.highest_fence = 0
        self.draining = False
        self.on_short: Callable[[str, str], None] = lambda kind, error: None
        self.is_silenced: Callable[[], bool] = lambda: False  # the deadline has passed: nothing may begin

    def __bool__(self) -> bool:
        """Whether there is any attempt."""
        return bool(self._attempts)

    def use(self, executors: dict[str, Executor]) -> None:
        """What runs attempts, by kind."""
        self._executors = executors

    def close(self) -> None:
        """Start and tell nothing more."""
        self._staging.close()
        self._ripening.close()
        self._flushing.close()
        self._permits.close()

    def held(self) -> tuple[Held, ...]:
        """All attempts, in the words of a hello."""
        return tuple(
            Held(run_id=order.run_id, attempt=order.attempt, fence=order.fence)
            for order in (attempt.order for attempt in self._attempts.values())
        )

    # ── what a server says ───────────────────────────────────────────────────────────────────────────────

    def take(self, orders: Iterable[AttemptOrder]) -> None:
        """New attempts; an order that comes twice is one, even when its attempt is over."""
        for order in orders:
            self._take(order)
        for kind in self._waiting:
            self._start_waiting(kind)

    def permit(self, run_id: str, fence: int, boot_id: str) -> None:
        """An at-most-once attempt may start."""
        attempt = self._permits.use(run_id, fence, boot_id)
        if attempt is not None and self.is_silenced():
            attempt.give_back(SILENCED)
        elif attempt is not None:
            self._start(attempt)

    def cancel(self, run_id: str, fence: int) -> None:
        """End it: give it back when it has not started."""
        attempt = self._attempts.get((run_id, fence))
        if attempt is not None and attempt.stopping is None:
            self._stop(attempt, "cancelled", attempt.order.kill_grace)

    def revoke(self, run_id: str, fence: int) -> None:
        """Give it back unless it has started."""
        attempt = self._attempts.get((run_id, fence))
        if attempt is not None and self._withdraw(attempt):
            attempt.give_back("asked back")

    def lose(self, held: Iterable[Held]) -> None:
        """These are not ours any more: end them at once, as lost."""
        for one in held:
            attempt = self._attempts.get((one.run_id, one.fence))
            if attempt is not None:
                self._stop(attempt, "lost", 0.0)

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────

    def give_back_waiting(self, why: str) -> None:
        """Nothing that has not begun will begin here."""
        for attempt in [one for one in self._attempts.values() if one.begun is None]:
            if self._withdraw(attempt):
                attempt.give_back(why)

    def end_silenced(self, kind: str, silence: float) -> None:
        """End attempts of a kind that may not go on for so long beyond the worker's deadline."""
        for attempt in tuple(self._attempts.values()):
            if attempt.kind == kind and attempt.begun is not None and attempt.order.continue_for <= silence:
                self._stop(attempt, "lost", 0.0)

    async def drain(self, grace: float) -> None:
        """Take nothing new, let what runs finish for `grace` seconds, end the rest."""
        self.draining = True
        self.give_back_waiting(STOPPING)
        try:
            async with asyncio.timeout(grace):
                await self._until_empty()
        except TimeoutError:
            for attempt in tuple(self._attempts.values()):
                self._stop(attempt, STOPPED, 0.0)
            await self._until_empty()

    def return_blocked(self) -> None:
        """Give back what has waited for long behind attempts that do not end: another worker may have room."""
        since = self._clock.monotonic() - WAITED_TOO_LONG
        for kind, waiting in self._waiting.items():
            if self.credit.wanted()[kind] > self._settings.capacity[kind]:
                continue  # they are short: its turn comes soon
            blocked = self._executors[kind].take_back(since) if kind in self._executors else []
            while waiting and waiting[-1].taken < since:
                blocked.append(waiting.pop())
            for attempt in blocked:
                attempt.give_back("no slot became free")

    async def _until_empty(self) -> None:
        """Wait until there is no attempt."""
        while self._attempts:
            self._empty.clear()
            await self._empty.wait()

    def _stop(self, attempt: Attempt, outcome: str, grace: float) -> None:
        if self._withdraw(attempt):
            attempt.give_back(_BEFORE_IT_BEGAN[outcome])
        else:
            attempt.stopping = attempt.stopping or outcome
            self._executors[attempt.kind].stop(attempt, grace)

    def _withdraw(self, attempt: Attempt) -> bool:
        """Take an attempt that has not been handed to its executor out of where it waits; False: it has been."""
        order = attempt.order
        if self._permits.forget(order.run_id, order.fence) or self._staging.forget(attempt):
            return True
        if attempt in self._waiting.get(attempt.kind, ()):
            self._waiting[attempt.kind].remove(attempt)
            return True
        return self._executors[attempt.kind].withdraw(attempt) if attempt.kind in self._executors else False

    def _running(self, kind: str) -> int:
        return sum(attempt.kind == kind and attempt.begun is not None for attempt in self._attempts.values())

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, order: AttemptOrder) -> None:
        key = (order.run_id, order.fence)
        if key in self._taken:
            return  # a repeated order
        self._taken[key] = None
        if len(self._taken) > REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self.highest_fence = max(self.highest_fence, order.fence)
        capture = Capture(order, self._clock, self._outbox.output, self._flushing.add)
        attempt = Attempt(order, capture, self, self._clock.monotonic())
        self._attempts[key] = attempt
        if self.draining:
            attempt.give_back(STOPPING)
        elif attempt.kind not in self._waiting:
            attempt.end(failed("start", f"worker {self._settings.name} does not run {attempt.kind} jobs"))
        elif order.not_before is not None and order.not_before > self._clock.now():
            self._staging.add(attempt, order.not_before)
            if attempt.kind in self._executors:
                self._executors[attempt.kind].prepare(attempt)
        else:
            self._waiting[attempt.kind].append(attempt)

    def _due(self, attempts: list[Attempt]) -> None:
        """The time of staged attempts has come."""
        for attempt in attempts:
            attempt.taken = self._clock.monotonic()  # it begins to wait for a slot now
            self._waiting[attempt.kind].append(attempt)
        for kind in {attempt.kind for attempt in attempts}:
            self._start_waiting(kind)

    def _start_waiting(self, kind: str) -> None:
        """Start what there is room for, first come first served."""
        waiting = self._waiting[kind]
        if not waiting or kind not in self._executors:
            return
        executor = self._executors[kind]
        while waiting and executor.takes(waiting[0], self._permits.count(kind)):
            attempt = waiting.popleft()
            if self.is_silenced():  # asked at each beginning: this machine may just have woken from a long sleep
                attempt.give_back(SILENCED)
            elif attempt.order.permit:
                self._ask_permit(attempt)
            else:
                self._start(attempt)

    def _start(self, attempt: Attempt) -> None:
        try:
            self._executors[attempt.kind].start(attempt)
        except Exception as error:  # noqa: BLE001 — the edge of one attempt: whatever it was, the others go on
            attempt.cannot_start(f"the worker could not start the attempt: {type(error).__name__}: {error}")

    def _ask_permit(self, attempt: Attempt) -> None:
        order = attempt.order
        self._permits.wait_for(attempt, PATIENCE)
        self._outbox.report(Ready(run_id=order.run_id, attempt=order.attempt, fence=order.fence))

    # ── what becomes of attempts ─────────────────────────────────────────────────────────────────────────

    def attempt_began(self, attempt: Attempt, ago: float) -> None:
        """Note when; tell the server unless it ends at once."""
        attempt.begun = self._clock.monotonic() - ago
        attempt.started = self._clock.now() - timedelta(seconds=ago)
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
            self.credit.note(attempt.kind, (finished - attempt.started).total_seconds() if attempt.started else 0.0)
        self._over(attempt)

    def attempt_returned(self, attempt: Attempt, why: str, *, short: bool = False) -> None:
        """Give it back to the server; `short`: ask for no more of its kind for a while."""
        order = attempt.order
        self.credit.note_returned()
        if short and self.credit.note_short(attempt.kind):
            self.on_short(attempt.kind, why)
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
        self.credit.note_long(attempt.kind)
        if not attempt.order.permit:
            self._say_started(attempt)
        self._executors[attempt.kind].ripen(attempt)
