"""A store whose answers are timed and whose refusals are counted, for metrics and for the page of the system."""

import dataclasses
import inspect
import time
from collections.abc import Callable
from typing import Any, Final

from rota.core.errors import RotaError
from rota.server.vitals import StoreTimes
from rota.store.bundle import Store
from rota.telemetry import OperationMetrics

# People's searches and what has all the time it wants tell nothing of how the store fares.
_PATIENT: Final = frozenset({"views", "transfer"})
_LEFT: Final = frozenset({"signals"})  # nothing is awaited there


def timed(store: Store, metrics: OperationMetrics) -> tuple[Store, StoreTimes]:
    """The store as it is, but observed; and the times of those answers that loops wait for."""
    times = StoreTimes()

    def wrap(name: str, contract: Any) -> Any:
        histogram = metrics.store_seconds.labels(name)

        def observed(seconds: float) -> None:
            histogram.observe(seconds)
            if name not in _PATIENT:
                times.note(seconds)

        return _Timed(contract, observed, lambda code: metrics.store_refusals.labels(name, code).inc())

    contracts = {
        field.name: wrap(field.name, getattr(store, field.name))
        for field in dataclasses.fields(store)
        if field.name not in _LEFT | {"shards", "embedded", "close"}
    }
    return dataclasses.replace(store, **contracts), times


class _Timed:
    """One contract; each verb is wrapped when it is first asked for."""

    def __init__(self, contract: Any, observed: Callable[[float], None], refused: Callable[[str], None]) -> None:
        self._contract = contract
        self._observed = observed
        self._refused = refused

    def __getattr__(self, verb: str) -> Any:
        ask = getattr(self._contract, verb)
        if not inspect.iscoroutinefunction(ask):
            return ask

        async def ask_timed(*arguments: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return await ask(*arguments, **named)
            except RotaError as error:
                self._refused(error.code)
                raise
            finally:
                self._observed(time.perf_counter() - begun)

        setattr(self, verb, ask_timed)
        return ask_timed
