"""Storage contract: workers and their sessions. One row per worker, written at connect, never per heartbeat.

The row is the session's fence: whoever gives a worker something, or calls it lost, does so under the number it knows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Protocol

from rota.core.errors import Conflict
from rota.core.model import Value, Worker


class TwinConnected(Conflict):
    """Another process of this worker's name is connected."""

    code: ClassVar[str] = "WORKER_TWIN"


class HelloOvertaken(Conflict):
    """The worker's process has connected again since it said this hello."""

    code: ClassVar[str] = "WORKER_OVERTAKEN"


class Sign(Value):
    """A sign of life of a worker."""

    name: str
    at: datetime
    draining: bool = False
    clock_offset: float | None = None


class Sessions(Protocol):
    """Which worker is connected where."""

    async def connect(self, worker: Worker) -> int:
        """Write the worker's row with a session number one higher than any it had; returns the number.

        `worker.session` is ignored, and so is `worker.boot_session`: it stays while the boot id stays, else it is the
        new number. An older session of the same name ends with it. Raises TwinConnected, writing
        nothing, while the name's present session has another boot id, is not disconnected, and its server lives; and
        HelloOvertaken when the same process connected with a higher `worker.dial`: a server that stood still reads the
        hello of a worker that has long been elsewhere, and what it said it holds is not what it holds.
        """

    async def disconnect(self, name: str, session: int, at: datetime) -> bool:
        """Note that the session's channel has ended, if it is still the worker's newest. Returns whether it was."""

    async def settle(self, name: str, session: int, at: datetime) -> bool:
        """Note that the session has ended and what it held has been dealt with, if it is still the newest.

        Returns whether it was.
        """

    async def orphans(self, grace: float, limit: int) -> list[Worker]:
        """Workers that are not settled and whose server's lease ended at least `grace` seconds ago, by name.

        A server that has no row counts as ended long ago.
        """

    async def unsettled(self, server: str) -> dict[str, int]:
        """The sessions on record as this server's that are not settled: worker → number."""

    async def seen(self, signs: Sequence[Sign]) -> None:
        """Note that workers are alive; called at most once a minute for each. `last_seen` never goes back."""

    async def forget(self, before: datetime, limit: int) -> list[str]:
        """Delete the rows of workers that were settled before then, at most `limit`; returns their names.

        Nothing of such a worker is unfinished. One that comes back is a new worker, with session 1.
        """

    async def get(self, names: Sequence[str] | None = None) -> list[Worker]:
        """These workers, or all, in order of name."""
