"""Storage contract: runs that workers hold, in `starting` or `running`: what there is to settle when one is silent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import Run


class Held(Protocol):
    """Runs in `starting` or `running`."""

    async def by_worker(self, worker: str) -> list[Run]:
        """Those of this worker, whatever session they were assigned in, in order of due."""

    async def all(self) -> Sequence[Run]:
        """All of them, in order of due."""

    async def starting(self, before: datetime, limit: int) -> list[Run]:
        """Those in `starting` with `ready_at` < before, oldest first: long since given away and not heard of."""

    async def running(self, workers: Sequence[str]) -> list[Run]:
        """Those in `running` of these workers, in order of due."""

    async def asked(self) -> list[Run]:
        """Those whose end somebody asked for (`cancel`), or that somebody asked back (`withdrawn`), in order of due."""
