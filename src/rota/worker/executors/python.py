"""Python attempts: functions called in warm processes, a few of them waiting in each while they are short."""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from rota.clock import Clock
from rota.core.model import Usage
from rota.worker.attempt import Attempt, Outcome, failed, rejected, silenced, timed_out
from rota.worker.environment import UserRefused
from rota.worker.executors.places import Place, Places
from rota.worker.executors.pool import RunnerPool
from rota.worker.executors.runner_process import Answer, RunnerProcess, request_name, request_text
from rota.worker.failures import describe_exit, describe_signal
from rota.worker.folders import Folders
from rota.worker.keeper_link import KeeperLink, SpawnFailed, Swept, TreeEvent, TreeOver
from rota.worker.pace import RIPE
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings

_AHEAD: Final = 0.2  # seconds of work that wait inside one process
_DEEPEST: Final = 4096
_LEAST: Final = 20e-6  # seconds that even an attempt which does nothing takes
_AT_ONCE: Final = 64  # attempts queued for a process before it is given them
_FIRST: Final = 256  # attempts of one moment before the first of them are given
_WEIGHT: Final = 0.1
_SHORT_TIMEOUT: Final = 0.2  # a longer time-out is set only for attempts that turn out not to be short


class _Prepared(NamedTuple):
    """What is made of an attempt before it is started."""

    place: Place
    text: bytes


class PythonExecutor:
    """Keeps warm processes and gives them attempts."""

    def __init__(self, link: KeeperLink, folders: Folders, gate: Gate, settings: WorkerSettings, clock: Clock) -> None:
        self._link = link
        self._folders = folders
        self._settings = settings
        self._clock = clock
        self._pool = RunnerPool(link, folders, gate, settings)
        self._pool.on_answer, self._pool.on_event, self._pool.on_low = self._answered, self._happened, self._level
        self._at: dict[Attempt, RunnerProcess] = {}
        self._backlog: deque[Attempt] = deque()
        self._places = Places(settings)
        self._seconds = 1.0  # how long attempts take of late
        self._watch: asyncio.TimerHandle | None = None
        self._dispatching: asyncio.Handle | None = None
        self._closing = False

    def takes(self, attempt: Attempt, reserved: int) -> bool:
        """Whether it would be at hand soon."""
        return len(self._at) + len(self._backlog) + reserved < self._pool.capacity * self._depth()

    def prepare(self, attempt: Attempt) -> None:
        """Find its place and write the request."""
        if attempt.prepared is None:
            with contextlib.suppress(UserRefused, OSError, ValueError):  # then its start says so
                attempt.prepared = self._prepared(attempt)

    def start(self, attempt: Attempt) -> None:
        """Queue it for a process; those of one moment are given together."""
        self.prepare(attempt)
        self._backlog.append(attempt)
        if len(self._backlog) == _FIRST:
            self._dispatch()
        elif self._dispatching is None:
            self._dispatching = asyncio.get_running_loop().call_soon(self._dispatch)

    def ripen(self, attempt: Attempt) -> None:
        """It is not short: let nobody wait behind it, follow its time-out."""
        runner = self._at.get(attempt)
        if runner is None:
            return
        runner.receive()
        if runner.head is not attempt or attempt.is_over:
            return
        self._seconds = max(self._seconds, 0.05)
        self._requeue(runner.take_back())
        if runner.head is attempt:
            self._arm(runner, attempt)
        self._dispatch()

    def withdraw(self, attempt: Attempt) -> bool:
        """Take it out of the backlog, or out of the socket of the process that has not read it."""
        runner = self._at.get(attempt)
        if runner is not None:
            runner.receive()
            self._requeue(runner.take_back())
        found = attempt in self._backlog
        if found:
            self._backlog.remove(attempt)
        self._dispatch()
        return found

    def stop(self, attempt: Attempt, grace: float) -> None:
        """End its process."""
        runner = self._at.get(attempt)
        if runner is not None and not attempt.is_over:
            self._pool.end(runner, grace)
            self._requeue(runner.take_back())
            self._dispatch()

    def take_back(self, taken_before: float) -> list[Attempt]:
        """Attempts for which no process became free."""
        old = [attempt for attempt in self._backlog if attempt.taken < taken_before]
        for attempt in old:
            self._backlog.remove(attempt)
        return old

    async def close(self) -> None:
        """The keeper ends the processes; here only the descriptors go."""
        self._closing = True
        for handle in (self._watch, self._dispatching):
            if handle is not None:
                handle.cancel()
        self._pool.close()

    # ── giving attempts to processes ─────────────────────────────────────────────────────────────────────

    def _depth(self) -> int:
        return max(1, min(_DEEPEST, int(_AHEAD / max(self._seconds, _LEAST))))

    def _prepared(self, attempt: Attempt) -> _Prepared:
        return _Prepared(self._places.place_of(attempt.order), request_text(attempt.order, self._settings.name))

    def _dispatch(self) -> None:
        """Give waiting attempts to processes, evenly, as long as there is one for the first."""
        if self._dispatching is not None:
            self._dispatching.cancel()
            self._dispatching = None
        given: dict[RunnerProcess, None] = {}
        while self._backlog and not self._closing:
            attempt = self._backlog[0]
            try:
                if attempt.prepared is None:
                    attempt.prepared = self._prepared(attempt)
                place = attempt.prepared.place
                runner = self._pool.runner_for(place, self._depth())
                if runner is None:
                    break
            except UserRefused as refusal:
                self._backlog.popleft().end(rejected(str(refusal)))
                continue
            except (OSError, ValueError) as error:
                self._backlog.popleft().cannot_start(str(error), getattr(error, "errno", None))
                continue
            self._give_share(runner, place)
            given[runner] = None
            if runner.unsent >= _AT_ONCE and (left := runner.send()):
                self._requeue(left)
                break
        for runner in given:
            self._requeue(runner.send())

    def _give_share(self, runner: RunnerProcess, place: Place) -> None:
        """Give it the first of the backlog, and as many of the same place behind it as leave the others their part."""
        share = min(_AT_ONCE, self._depth() - runner.left, len(self._backlog) // self._pool.capacity)
        self._give(runner, self._backlog.popleft())
        for _ in range(share - 1):
            if not self._backlog or self._backlog[0].prepared is None or self._backlog[0].prepared.place != place:
                break
            self._give(runner, self._backlog.popleft())

    def _level(self, runner: RunnerProcess) -> None:
        """It has little left to do: let it have a part of what waits in the fullest of its place."""
        overfull = None if self._backlog else self._pool.overfull(runner)
        if overfull is not None:
            self._requeue(overfull.take_back())
            self._dispatch()

    def _give(self, runner: RunnerProcess, attempt: Attempt) -> None:
        runner.add(attempt, attempt.prepared.text)
        self._at[attempt] = runner
        if runner.is_ready and runner.head is attempt:
            self._begin(runner, attempt)

    def _begin(self, runner: RunnerProcess, attempt: Attempt) -> None:
        """It is the one that runs; of most it is enough to say so when they turn out not to be short."""
        order = attempt.order
        if order.permit or order.continue_for:
            attempt.begin()
        if order.continue_for:
            self._link.extend(runner.key, order.continue_for)
        if order.timeout is not None and order.timeout <= _SHORT_TIMEOUT:
            attempt.begin()
            self._arm(runner, attempt)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(RIPE, self._look)

    def _look(self) -> None:
        """Say of each attempt that has been running for a while that it began, and when."""
        self._watch = None
        now = time.monotonic()
        for runner in [one for one in self._pool.runners if one.is_ready and one.is_slow(now - RIPE)]:
            runner.receive()
            head = runner.head
            if head is not None and head.begun is None and now - runner.head_since >= RIPE:
                head.begin(ago=now - runner.head_since)
        if self._watch is None and any(runner.queue and runner.is_ready for runner in self._pool.runners):
            self._watch = asyncio.get_running_loop().call_later(RIPE, self._look)

    def _arm(self, runner: RunnerProcess, attempt: Attempt) -> None:
        """Give the attempt's time-out to the keeper."""
        timeout = attempt.order.timeout
        if timeout is not None and attempt.begun is not None:
            runner.is_armed = True
            passed = self._clock.monotonic() - attempt.begun
            self._link.arm(runner.key, max(0.0, timeout - passed), attempt.order.kill_grace)

    def _requeue(self, attempts: Iterable[Attempt]) -> None:
        """Put back in front, in order, what never began."""
        for attempt in reversed(list(attempts)):
            self._at.pop(attempt, None)
            attempt.begun = attempt.started = None  # should it have been said too early
            self._backlog.appendleft(attempt)

    # ── what processes say ───────────────────────────────────────────────────────────────────────────────

    def _answered(self, runner: RunnerProcess, answer: Answer) -> None:
        if answer.ready is not None:
            runner.is_ready = True
            if runner.replaces is not None and runner.replaces in self._pool.runners:
                self._retire(runner.replaces)
            runner.replaces = None
            runner.head_since = time.monotonic()
            if runner.head is not None:
                self._begin(runner, runner.head)
        elif runner.head is None or answer.id != request_name(runner.head.order):
            # The function wrote where only its process may: what else it says is not to be trusted either.
            self._requeue(runner.take_back())
            self._pool.end(runner, 0.0)
        elif answer.stale:
            self._replace(runner)
        elif answer.sweep:
            runner.held_answer = answer
            self._link.sweep(runner.key)
        else:
            if answer.wait:
                runner.drain()
            self._finish(runner, answer)
        self._dispatch()

    def _replace(self, runner: RunnerProcess) -> None:
        """The code has changed: nothing of its queue began; a fresh process takes it."""
        runner.take_back()
        waiting = list(runner.queue)
        runner.queue.clear()
        self._requeue(waiting)
        self._pool.end(runner, 0.0)

    def _finish(self, runner: RunnerProcess, answer: Answer) -> None:
        """The head is over; the next one begins."""
        attempt = runner.queue[0]
        runner.next(time.monotonic() if answer.wait else answer.end)  # it stood still until now
        self._at.pop(attempt, None)
        runner.done += 1
        if answer.errno is None:
            self._seconds += _WEIGHT * (_took(answer) - self._seconds)
        if attempt.order.continue_for:
            self._link.extend(runner.key, 0.0)
        if runner.is_armed:
            runner.is_armed = False
            self._link.arm(runner.key, None, 0.0)
        _end_as_told(attempt, answer, self._clock.now())
        if answer.memory > self._settings.runner_memory:
            self._requeue(runner.take_back())
            runner.is_ending = True
        elif runner.done >= self._settings.runner_attempts:
            self._relieve(runner)
        if runner.head is not None:
            self._begin(runner, runner.head)
        elif runner.is_ending:
            self._pool.end(runner, 0.0)
            return
        if answer.wait:
            runner.go()

    def _relieve(self, runner: RunnerProcess) -> None:
        """It has done enough: start the one that takes over once it is up."""
        if not runner.is_ending and not any(one.replaces is runner for one in self._pool.runners):
            with contextlib.suppress(UserRefused, OSError, ValueError):  # then this one goes on
                self._pool.launch(runner.place).replaces = runner

    def _retire(self, runner: RunnerProcess) -> None:
        """It is to do nothing more than what runs in it."""
        self._requeue(runner.take_back())
        if not runner.queue:
            self._pool.end(runner, 0.0)
        runner.is_ending = True

    def _happened(self, runner: RunnerProcess, event: TreeEvent) -> None:
        if isinstance(event, Swept):
            answer, runner.held_answer = runner.held_answer, None
            if answer is not None:
                runner.drain()
                self._finish(runner, answer)
            self._dispatch()
            return
        self._gone(runner, event)

    def _gone(self, runner: RunnerProcess, event: TreeEvent) -> None:
        """The process has ended: what ran in it is over, what waited in it goes to another."""
        if self._closing:
            return
        runner.drain()
        runner.receive()
        if runner.held_answer is not None:
            self._finish(runner, runner.held_answer)
        unstarted = runner.take_back()
        self._pool.remove(runner)
        outcome = _outcome_of_end(runner, event)
        was_ended = isinstance(event, TreeOver) and event.why is not None
        if not runner.is_ready and not was_ended:
            runner.queue.extend(unstarted)  # it never came up, and would not for them either
            unstarted = []
        self._requeue(unstarted)
        self._folders.settle_all(Path(runner.outs).name, runner.queue[0].order.fence if runner.queue else 0)
        for attempt in tuple(runner.queue):
            self._at.pop(attempt, None)
            if isinstance(event, SpawnFailed):
                attempt.cannot_start(outcome.error or "", event.errno)
            else:
                attempt.end(_of_one(attempt, outcome, event))
        self._dispatch()


def _took(answer: Answer) -> float:
    """Seconds from the beginning to the end, as the process told them."""
    return max(0.0, answer.end - answer.begin)


def _end_as_told(attempt: Attempt, answer: Answer, now: datetime) -> None:
    """End the attempt; the times are the process's own, brought to the clock that says `now`."""
    attempt.finished = now - timedelta(seconds=max(0.0, time.monotonic() - answer.end))
    attempt.started = attempt.finished - timedelta(seconds=_took(answer))
    if answer.errno is not None:
        attempt.cannot_start(answer.error or "", answer.errno)
        return
    if attempt.begun is None:
        attempt.begun = answer.begin
    attempt.end(_outcome(answer))


def _outcome(answer: Answer) -> Outcome:
    usage = Usage(cpu_seconds=answer.cpu, peak_memory=answer.memory)
    if answer.failure is None:
        return Outcome(outcome="succeeded", exit=answer.exit, result=answer.result, usage=usage)
    return failed(answer.failure, answer.error or answer.failure, exit=answer.exit, usage=usage)


def _outcome_of_end(runner: RunnerProcess, event: TreeEvent) -> Outcome:
    """What the end of its process means for the attempt in it."""
    if isinstance(event, SpawnFailed):
        place = runner.place
        what = f"the folder {place.cwd}" if event.where == "cwd" else f"the interpreter {place.interpreter}"
        reason = os.strerror(event.errno) if event.errno else event.message
        return failed("start", f"{what} could not be used: {reason}")
    if not isinstance(event, TreeOver):
        return Outcome(outcome="lost", error="the keeper process of this worker died, and the attempt with it")
    usage = Usage(cpu_seconds=event.cpu_seconds, peak_memory=event.peak_memory)
    how = describe_signal(event.signal) if event.signal is not None else describe_exit(event.exit or 0)
    if not runner.is_ready:
        return failed("start", f"the interpreter {runner.place.interpreter} did not come up: {how}")
    kind = "exit" if event.signal is None else "signal"
    return failed(kind, f"the function ended its process: {how}", exit=event.exit, signal=event.signal, usage=usage)


def _of_one(attempt: Attempt, outcome: Outcome, event: TreeEvent) -> Outcome:
    if not isinstance(event, TreeOver) or event.why is None:
        return outcome
    usage = outcome.usage
    if event.why == "deadline":
        return silenced(exit=event.exit, signal=event.signal, usage=usage)
    if attempt.stopping is not None:
        return attempt.stopped(exit=event.exit, signal=event.signal, usage=usage)
    if event.why == "timeout":
        return timed_out(attempt.order.timeout, exit=event.exit, signal=event.signal, usage=usage)
    return Outcome(outcome="lost", error="its process was ended because of another attempt", usage=usage)
