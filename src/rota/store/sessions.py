"""Storage contract: workers and their sessions. One row per worker, written at connect, never per heartbeat."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import Worker


class Sessions(Protocol):
    """Which worker is connected where."""

    async def connect(self, worker: Worker) -> int:
        """Write the worker's row with a session number one higher than any it had; returns the number.

        `worker.session` is ignored. An older session of the same name ends with it.
        """

    async def disconnect(self, name: str, session: int, at: datetime) -> bool:
        """Mark the session ended, if it is still the worker's newest. Returns whether it was."""

    async def seen(self, names: Sequence[str], at: datetime) -> None:
        """Note that these workers are alive; called at most once a minute."""

    async def get(self, names: Sequence[str] | None = None) -> list[Worker]:
        """These workers, or all, in order of name."""
