"""Storage contract: what each server says of itself, so that any of them can show all. Nothing is decided by it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from rota.core.model import Value


class Readings(Value):
    """What a server measures of itself. Seconds where nothing else is said; one from a newer server may say more."""

    clock_offset: float = 0.0  # its wall clock is ahead of the store's by
    planner_lag: float = 0.0  # how late its planner is
    renewal_age: float = 0.0  # since it last renewed its lease
    store_typical: float = 0.0  # half of what it asks of the store takes less
    store_slow: float = 0.0  # one in a hundred takes longer
    workers: int = 0  # connected to it
    problems: tuple[str, ...] = ()  # what keeps it from being ready, in words


class Vitals(Value):
    """The readings of a server, as of a moment of the store's clock."""

    at: datetime
    readings: Readings


class VitalsBook(Protocol):
    """The newest readings of each server, gone with the server's row."""

    async def note(self, server: str, readings: Readings) -> bool:
        """Keep these readings instead of those before; returns whether there is such a server."""

    async def all(self) -> Mapping[str, Vitals]:
        """The readings of all servers that said any, by id."""
