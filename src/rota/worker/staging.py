"""Attempts that came ahead of their time: each is started by this worker's own timer, by the store's clock."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from rota.clock import Clock
from rota.worker.attempt import Attempt


class Staging:
    """Holds attempts until their moment; those of one moment share a timer."""

    def __init__(self, clock: Clock, on_due: Callable[[list[Attempt]], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._at: dict[datetime, dict[Attempt, None]] = {}
        self._timers: dict[datetime, asyncio.TimerHandle] = {}

    def add(self, attempt: Attempt, moment: datetime) -> None:
        """Hold an attempt until `moment`."""
        self._at.setdefault(moment, {})[attempt] = None
        if moment not in self._timers:
            self._set_timer(moment)

    def forget(self, attempt: Attempt) -> bool:
        """Hold it no more; returns whether it was held."""
        moment = attempt.order.not_before
        held = self._at.get(moment) if moment is not None else None
        if moment is None or held is None or attempt not in held:
            return False
        del held[attempt]
        if not held:
            del self._at[moment]
            self._timers.pop(moment).cancel()
        return True

    def close(self) -> None:
        """Let nothing begin any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._at.clear()

    def _set_timer(self, moment: datetime) -> None:
        wait = max(0.0, (moment - self._clock.now()).total_seconds())
        self._timers[moment] = asyncio.get_running_loop().call_later(wait, self._look, moment)

    def _look(self, moment: datetime) -> None:
        """The timer is over; the store's clock has the last word on whether the moment has come."""
        if self._clock.now() < moment:
            self._set_timer(moment)
            return
        del self._timers[moment]
        self._on_due(list(self._at.pop(moment)))
