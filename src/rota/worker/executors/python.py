"""Python attempts: functions called in warm processes, a few of them waiting in each while they are short."""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rota.clock import Clock
from rota.core.model import Usage
from rota.worker.attempt import Attempt, Outcome, failed, rejected, silenced, timed_out
from rota.worker.environment import (
    UserRefused,
    as_user,
    base_environment,
    identity_of,
)
from rota.worker.executors.places import Place, Places
from rota.worker.executors.runner_process import PROGRAM, Answer, RunnerProcess, request_text
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
_WEIGHT: Final = 0.1
_SHORT_TIMEOUT: Final = 0.2  # a longer time-out is set only for attempts that turn out not to be short


class PythonExecutor:
    """Keeps warm processes and gives them attempts."""

    def __init__(self, link: KeeperLink, folders: Folders, gate: Gate, settings: WorkerSettings, clock: Clock) -> None:
        self._link = link
        self._folders = folders
        self._gate = gate
        self._settings = settings
        self._clock = clock
        self._capacity = settings.capacity.get("python", 0)
        self._runners: list[RunnerProcess] = []
        self._at: dict[Attempt, RunnerProcess] = {}
        self._backlog: deque[Attempt] = deque()
        self._places = Places(settings)
        self._seconds = 1.0  # how long attempts take of late
        self._watch: asyncio.TimerHandle | None = None
        self._dispatching: asyncio.Handle | None = None
        self._closing = False

    def takes(self, attempt: Attempt, reserved: int) -> bool:
        """Whether it would be at hand soon."""
        return len(self._at) + len(self._backlog) + reserved < self._capacity * self._depth()

    def prepare(self, attempt: Attempt) -> None:
        """Write the request."""
        if attempt.prepared is None:
            attempt.prepared = request_text(attempt.order, self._settings.name)

    def start(self, attempt: Attempt) -> None:
        """Queue it for a process; those of one moment are given together."""
        self._backlog.append(attempt)
        if self._dispatching is None:
            self._dispatching = asyncio.get_running_loop().call_soon(self._dispatch)

    def ripen(self, attempt: Attempt) -> None:
        """It is not short: let nobody wait behind it, follow its time-out."""
        self._seconds = max(self._seconds, 0.05)
        runner = self._at.get(attempt)
        if runner is None or runner.head is not attempt:
            return
        self._arm(runner, attempt)
        self._requeue(runner.take_back())
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
            self._end(runner, grace)
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
        for runner in self._runners:
            asyncio.get_running_loop().remove_reader(runner.socket)
            runner.close()
        self._runners.clear()

    # ── giving attempts to processes ─────────────────────────────────────────────────────────────────────

    def _depth(self) -> int:
        return max(1, min(_DEEPEST, int(_AHEAD / max(self._seconds, _LEAST))))

    def _dispatch(self) -> None:
        self._dispatching = None
        given: dict[RunnerProcess, None] = {}
        while self._backlog and not self._closing:
            attempt = self._backlog[0]
            try:
                runner = self._runner_for(self._places.place_of(attempt.order))
                if runner is None:
                    break
                self._give(runner, attempt)
            except UserRefused as refusal:
                self._backlog.popleft().end(rejected(str(refusal)))
                continue
            except (OSError, ValueError) as error:
                self._backlog.popleft().cannot_start(str(error), getattr(error, "errno", None))
                continue
            self._backlog.popleft()
            given[runner] = None
            if runner.unsent >= _AT_ONCE and (left := runner.send()):
                self._requeue(left)
                break
        for runner in given:
            self._requeue(runner.send())

    def _runner_for(self, place: Place) -> RunnerProcess | None:
        """The process to give the next attempt to; a new one if there is room; None: later."""
        fitting = [runner for runner in self._runners if runner.place == place and runner.is_in_use]
        best = min(fitting, key=lambda runner: len(runner.queue), default=None)
        if best is not None and not best.queue:
            return best
        if sum(runner.replaces is None for runner in self._runners) < self._capacity:
            return self._launch(place)
        idle = next((one for one in self._runners if not one.queue and one.is_in_use), None)
        if idle is not None:
            self._end(idle, 0.0)  # of another place; its end makes room
            return None
        if best is not None and len(best.queue) < self._depth():
            return best
        return None

    def _launch(self, place: Place) -> RunnerProcess:
        identity = identity_of(place.user, self._settings)
        work = self._folders.take(self._folders.work, identity) if place.cwd is None else None
        cwd = place.cwd if work is None else work.path
        runner = RunnerProcess(place, self._gate, self._answered, work)
        runner.outs = f"{self._folders.out}/{self._folders.new_name()}"
        descriptors, targets = runner.hand_over()
        argv = as_user([place.interpreter, PROGRAM, runner.outs], identity)
        order = {"argv": argv, "env": base_environment(identity), "cwd": cwd, "targets": targets}
        self._runners.append(runner)
        runner.key = self._link.spawn(order, descriptors, lambda event: self._happened(runner, event))
        runner.listen()
        runner.output.listen()
        runner.errors.listen()
        return runner

    def _give(self, runner: RunnerProcess, attempt: Attempt) -> None:
        self.prepare(attempt)
        runner.add(attempt)
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
        for runner in tuple(self._runners):
            runner.receive()
        busy = [runner for runner in self._runners if runner.queue and runner.is_ready]
        for runner in busy:
            if runner.queue[0].begun is None and now - runner.head_since >= RIPE:
                runner.queue[0].begin(ago=now - runner.head_since)
        if busy and self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(RIPE, self._look)

    def _arm(self, runner: RunnerProcess, attempt: Attempt) -> None:
        """Give the attempt's time-out to the keeper."""
        timeout = attempt.order.timeout
        if timeout is not None and attempt.begun is not None:
            runner.is_armed = True
            passed = self._clock.monotonic() - attempt.begun
            self._link.arm(runner.key, max(0.0, timeout - passed), attempt.order.kill_grace)

    def _end(self, runner: RunnerProcess, grace: float) -> None:
        runner.is_ending = True
        self._link.end(runner.key, grace)

    def _requeue(self, attempts: Iterable[Attempt]) -> None:
        """Put back in front, in order, what never began."""
        for attempt in reversed(list(attempts)):
            self._at.pop(attempt, None)
            self._backlog.appendleft(attempt)

    # ── what processes say ───────────────────────────────────────────────────────────────────────────────

    def _answered(self, runner: RunnerProcess, answer: Answer) -> None:
        if answer.ready is not None:
            runner.is_ready = True
            if runner.replaces is not None and runner.replaces in self._runners:
                self._retire(runner.replaces)
            runner.replaces = None
            runner.head_since = time.monotonic()
            if runner.head is not None:
                self._begin(runner, runner.head)
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
        self._end(runner, 0.0)

    def _finish(self, runner: RunnerProcess, answer: Answer) -> None:
        """The head is over; the next one begins."""
        attempt = runner.queue[0]
        runner.next()
        self._at.pop(attempt, None)
        runner.done += 1
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
            self._end(runner, 0.0)
            return
        if answer.wait:
            runner.go()

    def _relieve(self, runner: RunnerProcess) -> None:
        """It has done enough: start the one that takes over once it is up."""
        if not runner.is_ending and not any(one.replaces is runner for one in self._runners):
            with contextlib.suppress(UserRefused, OSError, ValueError):  # then this one goes on
                self._launch(runner.place).replaces = runner

    def _retire(self, runner: RunnerProcess) -> None:
        """It is to do nothing more than what runs in it."""
        self._requeue(runner.take_back())
        if not runner.queue:
            self._end(runner, 0.0)
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
        asyncio.get_running_loop().remove_reader(runner.socket)
        runner.close()
        self._runners.remove(runner)
        if runner.work is not None:
            self._folders.give_back_work(runner.work)
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
