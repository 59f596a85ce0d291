"""What an executor is: it knows how to run one kind of task."""

from typing import Protocol

from rota.worker.attempt import Attempt


class Executor(Protocol):
    """Runs attempts of one kind. All methods but `close` return at once; no method raises because of an attempt."""

    def takes(self, attempt: Attempt, reserved: int) -> bool:
        """Whether there is room to start this one now, `reserved` slots being promised to others."""

    def prepare(self, attempt: Attempt) -> None:
        """It will be started before long: do now what needs no slot. Whether it can be done shows at the start."""

    def start(self, attempt: Attempt) -> None:
        """Start it: call `attempt.begin()` when it runs and `attempt.end(…)` when nothing of it lives."""

    def ripen(self, attempt: Attempt) -> None:
        """It has been running for a while: do now what short attempts can do without."""

    def stop(self, attempt: Attempt, grace: float) -> None:
        """End it, with TERM first and KILL after `grace`; `attempt.stopping` says why."""

    def withdraw(self, attempt: Attempt) -> bool:
        """Let go of an attempt that has been handed over and has not begun; returns whether that was possible."""

    def take_back(self, taken_before: float) -> list[Attempt]:
        """Let go of attempts that were accepted long ago and could not begin; the caller gives them back."""

    async def close(self) -> None:
        """Let go of everything."""
