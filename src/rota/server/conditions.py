"""Standing conditions of the installation: raised once, said once, cleared when what was wrong is right again."""

from rota.clock import Clock
from rota.core.model import Condition
from rota.events import ConditionCleared, ConditionRaised, Emit
from rota.store.alerts import Alerts


class Conditions:
    """Raises and clears conditions in the store, and emits what changed."""

    def __init__(self, alerts: Alerts, clock: Clock, emit: Emit) -> None:
        self._alerts = alerts
        self._clock = clock
        self._emit = emit

    async def put(self, key: str, detail: str, hint: str | None = None) -> bool:
        """Say that something is wrong; returns whether that is new."""
        condition = Condition(key=key, detail=detail, since=self._clock.now(), hint=hint)
        fresh = await self._alerts.raise_condition(condition)
        if fresh:
            self._emit(ConditionRaised(key=key, detail=detail))
        return fresh

    async def clear(self, key: str) -> bool:
        """Say that it is right again; returns whether it had been wrong."""
        cleared = await self._alerts.clear_condition(key)
        if cleared:
            self._emit(ConditionCleared(key=key))
        return cleared
