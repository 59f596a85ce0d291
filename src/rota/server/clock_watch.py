"""Says when a clock is away from the store's: this server's own, or that of a worker connected to it.

Nothing is decided by either: runs start by the store's clock. But what they write down is dated by them, and every log.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from rota.clock import Clock
from rota.events import Emit
from rota.loop import Loop
from rota.server.conditions import Conditions
from rota.store.bundle import Store
from rota.store.sessions import Sign

EVERY: Final = timedelta(seconds=5)
MOST_SECONDS: Final = 2.0
_HINT: Final = "look at the time service of that machine; runs start in time all the same"


class ClockWatch(Loop):
    """Raises a condition for each clock that is away; clears it when it is right again, or not here any more."""

    def __init__(
        self, store: Store, server: str, signs: Callable[[], Sequence[Sign]], clock: Clock, emit: Emit
    ) -> None:
        super().__init__(emit)
        self._alerts = store.alerts
        self._conditions = Conditions(store.alerts, clock, emit)
        self._key = f"server-clock/{server}"
        self._server = server
        self._signs = signs
        self._clock = clock
        self._raised: set[str] = set()
        self._watched: set[str] = set()

    async def tick(self) -> timedelta:
        """Look at all clocks that are known here."""
        own = self._clock.wall() - self._clock.now().timestamp()
        offsets = {
            f"worker-clock/{sign.name}": (f"worker {sign.name}", sign.clock_offset)
            for sign in self._signs()
            if sign.clock_offset is not None  # it has just come and has not said
        }
        offsets[self._key] = (f"server {self._server}", own)
        if fresh := offsets.keys() - self._watched:
            # An earlier life of this server, or another server that heard the worker, may have died with it raised.
            self._raised |= fresh & {condition.key for condition in await self._alerts.conditions()}
        self._watched = set(offsets)
        away = {key: (who, offset) for key, (who, offset) in offsets.items() if abs(offset) > MOST_SECONDS}
        for key, (who, offset) in away.items():
            if key not in self._raised:
                await self._conditions.put(key, f"the clock of {who} is {_words(offset)} the store's", _HINT)
                self._raised.add(key)
        for key in sorted(self._raised - away.keys()):
            await self._conditions.clear(key)
            self._raised.discard(key)
        return EVERY


def _words(offset: float) -> str:
    """How far, and which way."""
    return f"{abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'}"
