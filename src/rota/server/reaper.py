"""The reaper: attempts that no connected worker holds are called lost after a silence."""

from datetime import timedelta
from typing import Final

from rota.clock import Clock
from rota.events import Emit
from rota.loop import Loop
from rota.server.hub import Hub
from rota.server.recorder import Recorder
from rota.store.bundle import Store
from rota.wire.messages import Held

SILENCE_SECONDS: Final = 15.0
NOTE_SECONDS: Final = 60.0
REST: Final = timedelta(seconds=5)


class Reaper(Loop):
    """Looks for attempts that nobody will ever report on.

    A session that ends here takes its attempts with it at once (the hub sees to that). What is left are attempts of
    an earlier life of the server whose worker has not come back, and attempts that were committed but never ordered.
    """

    def __init__(self, store: Store, hub: Hub, recorder: Recorder, clock: Clock, emit: Emit) -> None:
        super().__init__(emit)
        self._store = store
        self._hub = hub
        self._recorder = recorder
        self._clock = clock
        self._noted = clock.monotonic()
        self._silent_since: dict[tuple[str, int], float] = {}

    async def tick(self) -> timedelta:
        """Note whose worker is silent; call lost what was silent for long enough."""
        now = self._clock.monotonic()
        silent: dict[tuple[str, int], float] = {}
        lost: list[Held] = []
        for run in await self._store.runs.held():
            if self._hub.holds(run):
                continue
            since = silent.setdefault((run.id, run.fence), self._silent_since.get((run.id, run.fence), now))
            if now - since >= SILENCE_SECONDS:
                lost.append(Held(run_id=run.id, attempt=run.attempt, fence=run.fence))
        self._silent_since = silent
        await self._recorder.lose(lost)
        await self._note_who_is_here(now)
        return REST

    async def _note_who_is_here(self, now: float) -> None:
        """Write down, once a minute for all, that the connected workers are alive."""
        workers = [session.worker.name for session in self._hub.sessions()]
        if workers and now - self._noted >= NOTE_SECONDS:
            self._noted = now
            await self._store.sessions.seen(workers, self._clock.now())
