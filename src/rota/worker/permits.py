"""At-most-once attempts that wait for their permit: honoured once, in time, in the boot it was given for."""

import asyncio
from collections.abc import Callable
from typing import Final

from rota.worker.attempt import Attempt

PATIENCE: Final = 5.0  # seconds


class Permits:
    """Who waits for a permit; each holds a slot meanwhile."""

    def __init__(self, boot_id: str, on_late: Callable[[Attempt], None]) -> None:
        self._boot_id = boot_id
        self._on_late = on_late
        self._waiting: dict[tuple[str, int], tuple[Attempt, asyncio.TimerHandle]] = {}

    def wait_for(self, attempt: Attempt, patience: float) -> None:
        """Wait; tell when it came too late."""
        key = (attempt.order.run_id, attempt.order.fence)

        def too_late() -> None:
            del self._waiting[key]
            self._on_late(attempt)

        self._waiting[key] = (attempt, asyncio.get_running_loop().call_later(patience, too_late))

    def use(self, run_id: str, fence: int, boot_id: str) -> Attempt | None:
        """The attempt that may start by this permit; None when nobody waits for it, or no longer."""
        return self.forget(run_id, fence) if boot_id == self._boot_id else None

    def forget(self, run_id: str, fence: int) -> Attempt | None:
        """Wait no longer; the attempt if it was waiting."""
        attempt, timer = self._waiting.pop((run_id, fence), (None, None))
        if timer is not None:
            timer.cancel()
        return attempt

    def count(self, kind: str) -> int:
        """How many of this kind wait."""
        return sum(attempt.kind == kind for attempt, _ in self._waiting.values()) if self._waiting else 0

    def close(self) -> None:
        """Tell of no more."""
        for _, timer in self._waiting.values():
            timer.cancel()
