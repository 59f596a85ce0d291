"""Storage contract: what attempts wrote. Chunks are kept compressed, keyed by (run, attempt, sequence)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from rota.core.model import JobId, OutputChunk, RunId, Value


class OutputSize(Value):
    """How much one attempt has written so far, as kept."""

    lines: int = 0
    bytes: int = 0


class OutputStore(Protocol):
    """Output of attempts."""

    async def append(self, chunks: Sequence[OutputChunk]) -> None:
        """Add chunks; one that exists is left as it is (a re-sent batch changes nothing). One insert for all."""

    async def read(self, run: RunId, attempt: int, first_line: int, limit: int) -> list[OutputChunk]:
        """The chunks that hold lines from `first_line` on, until they hold `limit` lines (whole chunks, in order)."""

    async def size(self, run: RunId, attempt: int) -> OutputSize:
        """How much there is."""

    async def merge(self, runs: Sequence[RunId]) -> None:
        """Join the many small chunks of ended attempts into few large ones; what is read stays the same."""

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete output of runs whose day is before `before`; returns how many chunks.

        About `limit` at a time, or more where a store can drop many at once. With `job` only that job's.
        """
