"""Shell attempts: `/bin/sh -c` in a clean environment, below the keeper."""

import contextlib
import errno
import os

from rota.core.model import ShellTask, Usage
from rota.worker.attempt import Attempt, Outcome, failed, rejected, silenced, timed_out
from rota.worker.environment import (
    SHELL,
    Identity,
    UserRefused,
    as_user,
    attempt_environment,
    base_environment,
    identity_of,
    working_folder,
)
from rota.worker.failures import describe_exit, describe_signal
from rota.worker.folders import Folder, Folders
from rota.worker.keeper_link import KeeperDied, KeeperLink, SpawnFailed, TreeEvent, TreeOver, memory_file
from rota.worker.output import STDERR, STDOUT
from rota.worker.pipes import Gate, OutputPipe
from rota.worker.settings import WorkerSettings


class _Running:
    """The process of one attempt, seen from here."""

    __slots__ = ("errors", "key", "out", "output", "work")

    def __init__(self, output: OutputPipe, errors: OutputPipe, out: Folder) -> None:
        self.output = output
        self.errors = errors
        self.out = out
        self.work: Folder | None = None
        self.key = 0


class ShellExecutor:
    """Runs scripts of /bin/sh."""

    def __init__(self, link: KeeperLink, folders: Folders, gate: Gate, settings: WorkerSettings) -> None:
        self._link = link
        self._folders = folders
        self._gate = gate
        self._settings = settings
        self._capacity = settings.capacity.get("shell", 0)
        self._running: dict[Attempt, _Running] = {}

    def takes(self, attempt: Attempt, reserved: int) -> bool:
        """Whether a slot is free."""
        return len(self._running) + reserved < self._capacity

    def prepare(self, attempt: Attempt) -> None:
        """There is nothing to be done beforehand."""

    def start(self, attempt: Attempt) -> None:
        """Start the script."""
        order = attempt.order
        assert isinstance(order.task, ShellTask)
        try:
            self._launch(attempt, order.task, identity_of(order.user, self._settings))
        except UserRefused as refusal:
            attempt.end(rejected(str(refusal)))
        except OSError as error:
            self._forget(attempt)
            attempt.cannot_start(f"the worker could not prepare the attempt: {error}", error.errno)

    def ripen(self, attempt: Attempt) -> None:
        """Follow its output from now on; a short attempt's output is read when it has ended."""
        running = self._running.get(attempt)
        if running is not None:
            running.output.listen()
            running.errors.listen()

    def stop(self, attempt: Attempt, grace: float) -> None:
        """End the whole tree."""
        running = self._running.get(attempt)
        if running is not None:
            self._link.end(running.key, grace)

    def withdraw(self, attempt: Attempt) -> bool:
        """What is accepted begins at once."""
        return False

    def take_back(self, taken_before: float) -> list[Attempt]:
        """What is accepted begins at once."""
        return []

    async def close(self) -> None:
        """The keeper ends the processes; here only the descriptors go."""
        for running in self._running.values():
            running.output.close()
            running.errors.close()
        self._running.clear()

    def _launch(self, attempt: Attempt, task: ShellTask, identity: Identity) -> None:
        order = attempt.order
        capture = attempt.output
        with contextlib.ExitStack() as undo:
            out = self._folders.take(self._folders.out, identity)
            undo.callback(self._folders.give_back_out, out, order.fence)
            output = OutputPipe(self._gate, lambda data: capture.write(STDOUT, data))
            undo.callback(output.close)
            errors = OutputPipe(self._gate, lambda data: capture.write(STDERR, data))
            undo.pop_all()
        running = self._running[attempt] = _Running(output, errors, out)
        if order.cwd is None:
            running.work = self._folders.take(self._folders.work, identity)
            cwd = running.work.path
        else:
            cwd = working_folder(order.cwd, identity)
        environment = base_environment(identity) | attempt_environment(order, self._settings.name, out.path)
        descriptors: list[int] = []
        if task.stdin is not None:
            descriptors.append(memory_file("stdin", task.stdin.encode("utf-8", "surrogateescape")))
        targets = [*range(len(descriptors)), 1, 2]
        descriptors += [output.hand_over(), errors.hand_over()]
        details = {
            "argv": as_user([SHELL, "-c", task.command], identity),
            "env": environment,
            "cwd": cwd,
            "targets": targets,
            "timeout": order.timeout,
            "grace": order.kill_grace,
            "continue_for": order.continue_for,
        }
        attempt.begin()
        running.key = self._link.spawn(details, descriptors, lambda event: self._happened(attempt, event))

    def _happened(self, attempt: Attempt, event: TreeEvent) -> None:
        running = self._running[attempt]
        for pipe in (running.output, running.errors):
            pipe.drain()
        self._forget(attempt)
        if isinstance(event, SpawnFailed):
            attempt.cannot_start(_why_not_started(event), event.errno)
        else:
            attempt.end(_outcome(attempt, event))

    def _forget(self, attempt: Attempt) -> None:
        running = self._running.pop(attempt, None)
        if running is not None:
            running.output.close()
            running.errors.close()
            self._folders.give_back_out(running.out, attempt.order.fence)
            if running.work is not None:
                self._folders.give_back_work(running.work)


def _outcome(attempt: Attempt, event: TreeEvent) -> Outcome:
    if isinstance(event, TreeOver):
        return _outcome_of_end(attempt, event)
    assert isinstance(event, KeeperDied)
    return Outcome(outcome="lost", error="the keeper process of this worker died, and the attempt with it")


def _outcome_of_end(attempt: Attempt, event: TreeOver) -> Outcome:
    usage = Usage(cpu_seconds=event.cpu_seconds, peak_memory=event.peak_memory)
    if event.why is None and event.left:
        attempt.output.say(
            f"{event.left} process(es) that the command had left running were ended: an attempt is over with its "
            "command. Put `wait` at the end of the command, or run daemons under a service manager."
        )
    if event.why == "deadline":
        return silenced(exit=event.exit, signal=event.signal, usage=usage)
    if event.why == "timeout":
        return timed_out(attempt.order.timeout, exit=event.exit, signal=event.signal, usage=usage)
    if event.why == "ended":
        return attempt.stopped(exit=event.exit, signal=event.signal, usage=usage)
    if event.signal is not None:
        return failed("signal", describe_signal(event.signal), signal=event.signal, usage=usage)
    if event.exit:
        return failed("exit", describe_exit(event.exit), exit=event.exit, usage=usage)
    return Outcome(outcome="succeeded", exit=0, usage=usage)


def _why_not_started(event: SpawnFailed) -> str:
    if event.where == "cwd":
        reason = os.strerror(event.errno)
        return f"the working folder {event.message} cannot be entered: {reason}; `cwd:` must exist on the worker"
    if event.errno == errno.E2BIG:
        return (
            "the command, its environment and its parameters are too long for this machine "
            "(128 KiB each): use a file or `stdin:`"
        )
    if not event.errno:
        return f"the command or its environment cannot be passed on: {event.message} (a NUL byte?)"
    return f"{SHELL} could not be started: {os.strerror(event.errno)}"
