"""What the API and the pages may know of the server they are part of."""

from collections.abc import Sequence
from typing import Protocol

from rota.server.restore import RestoreWatch
from rota.store.sessions import Sign
from rota.store.vitals import Readings


class Insight(Protocol):
    """The server behind the API; `rota.server.server.Server`."""

    @property
    def id(self) -> str:
        """Its id among servers."""

    @property
    def shards_led(self) -> int:
        """How many shards it leads."""

    @property
    def restore(self) -> RestoreWatch:
        """What lifts the hold after a restore."""

    async def readings(self) -> Readings:
        """What it measures of itself, now."""

    def signs(self) -> Sequence[Sign]:
        """What is known at this moment of the workers connected to it."""
