"""Output of attempts on PostgreSQL: `rota.store.output.OutputStore`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rota.core.model import JobId, OutputChunk, RunId
from rota.store.output import OutputSize
from rota.stores.chunks import Group, chunk_from_row, chunk_row, first_id_kept, groups, merged_row
from rota.stores.postgres.lanes import Lane
from rota.stores.postgres.partitions import Partitions
from rota.stores.postgres.queries import load

SQL: Final = load("output.sql")
PRUNED_AT_ONCE: Final = 1_000


class PostgresOutput:
    """Chunks, kept compressed."""

    def __init__(self, verbs: Lane, partitions: Partitions) -> None:
        self._verbs = verbs
        self._partitions = partitions

    async def append(self, chunks: Sequence[OutputChunk]) -> None:
        """Add chunks; one that exists is left as it is."""
        if chunks:
            rows = sorted((chunk_row(chunk) for chunk in chunks), key=lambda row: row[:3])
            await self._verbs.rows(SQL["append"], rows)

    async def read(self, run: RunId, attempt: int, first_line: int, limit: int) -> list[OutputChunk]:
        """The chunks that hold lines from `first_line` on, until they hold `limit` lines."""
        rows = await self._verbs.rows(SQL["read"], run, attempt, first_line, limit)
        return [chunk_from_row(row) for row in rows]

    async def size(self, run: RunId, attempt: int) -> OutputSize:
        """How much there is."""
        row = await self._verbs.row(SQL["size"], run, attempt)
        lines, size = row or (0, 0)
        return OutputSize(lines=lines, bytes=size)

    async def merge(self, runs: Sequence[RunId]) -> None:
        """Join small chunks into large ones, one transaction per joined row."""
        pieces = await self._verbs.rows(SQL["pieces"], list(dict.fromkeys(runs)))
        for group in groups(pieces):
            await self._merge(group)

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete output of runs whose day is before `before`: whole days at once, else rows."""
        pruned = 0 if job is not None else await self._partitions.drop_output(before)
        bound = first_id_kept(before)
        while pruned < limit:
            at_once = min(PRUNED_AT_ONCE, limit - pruned)
            deleted = await self._verbs.value(SQL["prune"], bound, at_once, job)
            pruned += deleted
            if deleted < at_once:
                break
        return pruned

    async def _merge(self, group: Group) -> None:
        """Put one row in the place of a group's rows, unless some of them are gone meanwhile (pruned)."""
        rows = await self._verbs.rows(SQL["group"], *group)
        if len(rows) > 1:
            await self._verbs.rows(SQL["merge"], merged_row(rows), len(rows))
