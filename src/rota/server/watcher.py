"""The watcher: says when something did not happen in time, and when the clock cannot be trusted."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec.structs import replace

from rota.clock import Clock
from rota.core import alerting
from rota.core.errors import Conflict
from rota.core.job_stats import counters_of, written
from rota.core.model import Run
from rota.events import ClockStepped, Emit
from rota.loop import NO_REST, Loop
from rota.server.conditions import Conditions
from rota.store.bundle import Store
from rota.store.jobs import RunChange

LONGEST_REST: Final = timedelta(seconds=5)
BATCH: Final = 200
_QUIET: Final = 600.0  # seconds without another jump after which the clock is trusted again
_STEP: Final = 2.0  # seconds of difference between wall and monotonic clock that are called a jump


class Watcher(Loop):
    """Marks late runs and watches the wall clock."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        counters: asyncio.Lock,
        emit: Emit,
        *,
        wall: Callable[[], float] = time.time,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(emit)
        self._leads = leads  # whether late runs are this server's duty
        self._conditions = Conditions(store.alerts, clock, emit)
        self._wall = wall
        self._counters = counters
        self._store = store
        self._clock = clock
        self._offset: float | None = None
        self._stepped: float | None = -_QUIET  # a jump of an earlier life is over

    async def tick(self) -> timedelta:
        """One look at the clock and at what is late."""
        await self._watch_clock(self._wall(), self._clock.monotonic())
        if not self._leads():
            return LONGEST_REST
        now = self._clock.now()
        late = await self._store.runs.late(now, BATCH)
        if late:
            async with self._counters:
                await self._mark_late(late, now)
            return NO_REST
        upcoming = await self._store.runs.next_late()
        return LONGEST_REST if upcoming is None else min(max(upcoming - now, NO_REST), LONGEST_REST)

    async def _mark_late(self, late: list[Run], now: datetime) -> None:
        """Say of each run that it is late, once."""
        known = await self._store.runs.reported([run.id for run in late])
        for run in known.runs.values():
            job = known.jobs.get(run.job_id)
            if job is None:
                continue
            folded, notices = alerting.on_late(job, counters_of(job.id, known.stats), run, now)
            counters = written(folded, known.stats)
            said = replace(run, late_at=None, version=run.version + 1)
            try:
                await self._store.runs.record([RunChange(run=said)], [counters], notices)
                known.stats[run.job_id] = counters
            except Conflict:
                continue  # it ended or moved in this very moment; if it is still late, the next tick says so

    async def _watch_clock(self, wall: float, monotonic: float) -> None:
        """Notice a jump of the wall clock against the monotonic one."""
        offset = wall - monotonic
        before, self._offset = self._offset, offset
        if before is None or abs(offset - before) < _STEP:
            await self._trust_clock(monotonic)
            return
        self._stepped = monotonic
        seconds = offset - before
        at = datetime.fromtimestamp(wall, UTC)
        self._emit(ClockStepped(seconds=seconds, at=at))
        way = "forward: instants in between are late or missed" if seconds > 0 else "back: no instant is repeated"
        detail = f"the machine's clock jumped {abs(seconds):.0f} s {way}"
        await self._conditions.put("clock", detail, "look at the machine's time service")

    async def _trust_clock(self, monotonic: float) -> None:
        """After a quiet time, and at the start, no jump is worth a condition."""
        if self._stepped is not None and monotonic - self._stepped >= _QUIET:
            self._stepped = None
            await self._conditions.clear("clock")
