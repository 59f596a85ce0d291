"""A background loop: `tick` works once and says how long it may rest.

Notifications only wake a loop early; polling alone is correct. A tick that raises is reported and tried again after
a rest that grows, so that one failing loop neither dies nor spins.
"""

import asyncio
import traceback
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Final

from rota.core.errors import StoreUnavailable
from rota.events import Emit, LoopFailed

NO_REST: Final = timedelta(0)
_FIRST_PENALTY: Final = 0.25
_LONGEST_PENALTY: Final = 5.0
_DOUBLINGS: Final = 5  # more reach the longest penalty anyway; without a limit the power would overflow one day


class Loop(ABC):
    """Base of the server's loops. `run` until `stop`; `wake` ends a rest early."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._wakeup = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failures = 0
        self.ticked = asyncio.Event()  # set after every tick; readiness and tests look at it

    @abstractmethod
    async def tick(self) -> timedelta:
        """Work once; return how long to rest at most."""

    def wake(self) -> None:
        """There may be something to do now."""
        self._wakeup.set()

    def stop(self) -> None:
        """Finish the present tick and return from `run`."""
        self._stopping.set()
        self._wakeup.set()

    @property
    def name(self) -> str:
        """The loop's name in logs and metrics."""
        return type(self).__name__.lower()

    @property
    def healthy(self) -> bool:
        """Whether its last tick succeeded."""
        return self._failures == 0

    async def run(self) -> None:
        """Tick and rest until stopped."""
        while not self._stopping.is_set():
            self._wakeup.clear()
            rest = await self._tick_safely()
            self.ticked.set()
            if not self._stopping.is_set():
                await self._rest(rest)

    async def _tick_safely(self) -> timedelta:
        """One tick; a failure becomes an event and a growing rest."""
        try:
            rest = await self.tick()
        except Exception as error:  # noqa: BLE001 — the edge of a loop: report, rest, go on
            self._failures += 1
            details = "" if isinstance(error, StoreUnavailable) else traceback.format_exc()
            self._emit(LoopFailed(loop=self.name, error=repr(error), in_row=self._failures, traceback=details))
            return timedelta(seconds=min(_FIRST_PENALTY * 2 ** min(self._failures, _DOUBLINGS), _LONGEST_PENALTY))
        self._failures = 0
        return rest

    async def _rest(self, rest: timedelta) -> None:
        """Wait for `rest`, a wake or a stop; after a failure only for the rest or a stop."""
        early = self._stopping if self._failures else self._wakeup
        if rest <= NO_REST:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(rest.total_seconds()):
                await early.wait()
        except TimeoutError:
            pass
