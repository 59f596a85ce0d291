"""What a server measures of itself, and says to the others through the store, so that each can show all of them.

Nothing is decided by it, and an embedded store, which has one server, is told nothing.
"""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from rota.core.errors import StoreUnavailable
from rota.events import Emit
from rota.loop import Loop
from rota.store.bundle import Store
from rota.store.vitals import Readings

EVERY: Final = timedelta(seconds=5)
_NEVER: Final = timedelta(minutes=10)
_REMEMBERED: Final = 500
_SLOW: Final = 0.99


class StoreTimes:
    """How long the store took for the last few hundred things that were asked of it."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, seconds: float) -> None:
        """The store has answered after so long."""
        self._last.append(seconds)

    @property
    def typical(self) -> float:
        """Half of them took less."""
        return self._at(0.5)

    @property
    def slow(self) -> float:
        """One in a hundred took longer."""
        return self._at(_SLOW)

    def _at(self, share: float) -> float:
        ordered = sorted(self._last)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class VitalsLoop(Loop):
    """Tells the store what this server measures of itself."""

    def __init__(self, store: Store, server: str, read: Callable[[], Awaitable[Readings]], emit: Emit) -> None:
        super().__init__(emit)
        self._store = store
        self._server = server
        self._read = read

    async def tick(self) -> timedelta:
        """Tell it once; what cannot be told now is of no use later."""
        if self._store.embedded:
            return _NEVER
        with contextlib.suppress(StoreUnavailable):
            await self._store.vitals.note(self._server, await self._read())
        return EVERY
