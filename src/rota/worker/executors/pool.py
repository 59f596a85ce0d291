"""The warm processes of a worker: which there are, which does the next attempt, and which has too much waiting."""

import contextlib
from collections.abc import Callable
from typing import Final

from rota.worker.environment import as_user, base_environment, identity_of
from rota.worker.executors.places import Place
from rota.worker.executors.runner_process import DEEP, PROGRAM, Answer, RunnerProcess
from rota.worker.folders import Folders
from rota.worker.keeper_link import KeeperLink, TreeEvent
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings

_UNEVEN: Final = 2 * DEEP  # attempts that one process has waiting more than another before they are shared anew


class RunnerPool:
    """At most one process per slot of kind python, and those that will take over from one."""

    def __init__(self, link: KeeperLink, folders: Folders, gate: Gate, settings: WorkerSettings) -> None:
        self._link = link
        self._folders = folders
        self._gate = gate
        self._settings = settings
        self.capacity = settings.capacity.get("python", 0)
        self.runners: list[RunnerProcess] = []
        self.on_answer: Callable[[RunnerProcess, Answer], None] = lambda runner, answer: None
        self.on_event: Callable[[RunnerProcess, TreeEvent], None] = lambda runner, event: None
        self.on_low: Callable[[RunnerProcess], None] = lambda runner: None

    def runner_for(self, place: Place, depth: int) -> RunnerProcess | None:
        """The process to give the next attempt to; a new one if there is room; None: later.

        `depth` is how many may wait in one. Raise UserRefused or OSError when none can be started.
        """
        fitting = [runner for runner in self.runners if runner.place == place and runner.is_in_use]
        best = min(fitting, key=lambda runner: runner.left, default=None)
        if best is not None and not best.left:
            return best
        if sum(runner.replaces is None for runner in self.runners) < self.capacity:
            return self.launch(place)
        idle = next((one for one in self.runners if not one.queue and one.is_in_use), None)
        if idle is not None:
            self.end(idle, 0.0)  # of another place; its end makes room
            return None
        if best is not None and best.left < depth:
            return best
        return None

    def overfull(self, runner: RunnerProcess) -> RunnerProcess | None:
        """The process of the same place that has far more waiting than this one, None: there is none."""
        others = [one for one in self.runners if one.place == runner.place and one.is_in_use and one.is_ready]
        fullest = max(others, key=lambda one: one.left, default=runner)
        return fullest if runner.is_in_use and fullest.left - runner.left > _UNEVEN else None

    def launch(self, place: Place) -> RunnerProcess:
        """Start a process; raise UserRefused or OSError when that cannot be done."""
        identity = identity_of(place.user, self._settings)
        with contextlib.ExitStack() as undo:
            work = self._folders.take(self._folders.work, identity) if place.cwd is None else None
            if work is not None:
                undo.callback(self._folders.give_back_work, work)
            runner = RunnerProcess(place, self._gate, self.on_answer, work)
            undo.callback(runner.close)
            descriptors, targets = runner.hand_over()
            undo.pop_all()
        runner.on_low = self.on_low
        runner.outs = f"{self._folders.out}/{self._folders.new_name()}"
        argv = as_user([place.interpreter, PROGRAM, runner.outs], identity)
        cwd = place.cwd if work is None else work.path
        order = {"argv": argv, "env": base_environment(identity), "cwd": cwd, "targets": targets}
        self.runners.append(runner)
        runner.key = self._link.spawn(order, descriptors, lambda event: self.on_event(runner, event))
        runner.listen()
        runner.output.listen()
        runner.errors.listen()
        return runner

    def end(self, runner: RunnerProcess, grace: float) -> None:
        """Have the keeper end it."""
        runner.is_ending = True
        self._link.end(runner.key, grace)

    def remove(self, runner: RunnerProcess) -> None:
        """It has ended."""
        runner.close()
        self.runners.remove(runner)
        if runner.work is not None:
            self._folders.give_back_work(runner.work)

    def close(self) -> None:
        """The keeper ends the processes; here only the descriptors go."""
        for runner in self.runners:
            runner.close()
        self.runners.clear()
