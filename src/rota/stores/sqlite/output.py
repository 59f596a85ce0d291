"""Output of attempts on SQLite: `rota.store.output.OutputStore`.

The lines of a chunk are packed with msgpack and, unless they are few, compressed with zstd. Merging joins whole
chunks; the joined row remembers which sequence numbers it stands for, so a chunk sent again after that adds nothing.
"""

import sqlite3
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import msgspec

from rota.core.ids import run_day
from rota.core.model import JobId, OutputChunk, OutputLine, RunId
from rota.store.output import OutputSize
from rota.stores.sqlite.connection import Database
from rota.stores.sqlite.queries import load
from rota.stores.sqlite.rows import Row, ids_json, to_micros

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SQL: Final = load("output.sql")
MERGED_BYTES: Final = 256 * 1024
PRUNED_AT_ONCE: Final = 500
_SMALL: Final = 256  # bytes below which compressing costs more than it saves

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[OutputLine, ...]).decode


class _Group(NamedTuple):
    """Neighbouring chunks of one attempt that fit in one row."""

    run_id: RunId
    attempt: int
    first: int
    last: int


class SqliteOutput:
    """Chunks, kept compressed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, chunks: Sequence[OutputChunk]) -> None:
        """Add chunks; one that exists is left as it is."""

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(SQL["append"], [_chunk_row(chunk) for chunk in chunks])

        await self._database.write(write)

    async def read(self, run: RunId, attempt: int, first_line: int, limit: int) -> list[OutputChunk]:
        """The chunks that hold lines from `first_line` on, until they hold `limit` lines."""

        def read(connection: sqlite3.Connection) -> list[OutputChunk]:
            chunks: list[OutputChunk] = []
            missing = limit
            rows = connection.execute(SQL["read"], (run, attempt, first_line))
            while missing > 0 and (row := rows.fetchone()) is not None:
                chunk = _chunk(run, attempt, row)
                chunks.append(chunk)
                missing -= len(chunk.lines) - max(0, first_line - chunk.first_line)
            return chunks

        return await self._database.read(read)

    async def size(self, run: RunId, attempt: int) -> OutputSize:
        """How much there is."""

        def read(connection: sqlite3.Connection) -> OutputSize:
            lines, size = connection.execute(SQL["size"], (run, attempt)).fetchone()
            return OutputSize(lines=lines, bytes=size)

        return await self._database.read(read)

    async def merge(self, runs: Sequence[RunId]) -> None:
        """Join small chunks into large ones, one transaction per joined row."""
        ids = ids_json(dict.fromkeys(runs))
        pieces = await self._database.read(lambda connection: connection.execute(SQL["pieces"], (ids,)).fetchall())
        for group in _groups(pieces):
            await self._database.write(partial(_merge, group=group))

    async def prune(self, before: datetime, limit: int, *, job: JobId | None = None) -> int:
        """Delete output of runs whose day is before `before`, a few hundred chunks per transaction."""
        bound, pruned = _first_id_kept(before), 0
        while pruned < limit:
            at_once = min(PRUNED_AT_ONCE, limit - pruned)
            deleted = await self._database.write(partial(_prune, bound=bound, limit=at_once, job=job))
            pruned += deleted
            if deleted < at_once:
                break
        return pruned


def _chunk_row(chunk: OutputChunk) -> Row:
    """A chunk as the parameters of an insert."""
    size = sum(len(line.data) for line in chunk.lines)
    packed = _compress(chunk.lines)
    return (
        chunk.run_id, chunk.attempt, chunk.sequence, chunk.first_line, len(chunk.lines), chunk.offset, size, *packed,
    )  # fmt: skip


def _compress(lines: tuple[OutputLine, ...]) -> tuple[bool, bytes]:
    """Lines as bytes, and whether those are compressed."""
    raw = _pack(lines)
    if len(raw) < _SMALL:
        return False, raw
    return True, zstd.compress(raw)


def _lines(compressed: int, data: bytes) -> tuple[OutputLine, ...]:
    """The lines of `_compress`."""
    return _unpack(zstd.decompress(data) if compressed else data)


def _chunk(run: RunId, attempt: int, row: Row) -> OutputChunk:
    """The chunk of a row."""
    sequence, first_line, _, offset, compressed, data = row
    return OutputChunk(
        run_id=run,
        attempt=attempt,
        sequence=sequence,
        first_line=first_line,
        offset=offset,
        lines=_lines(compressed, data),
    )


def _groups(pieces: Sequence[tuple[RunId, int, int, int, int]]) -> list[_Group]:
    """Which rows to join: of one attempt, without a hole between them, up to MERGED_BYTES; alone ones stay."""
    groups: list[_Group] = []
    size, count = 0, 0
    for run_id, attempt, sequence, last_sequence, length in pieces:
        open_ = groups[-1] if groups else None
        joins = (
            open_ is not None
            and (open_.run_id, open_.attempt, open_.last + 1) == (run_id, attempt, sequence)
            and size + length <= MERGED_BYTES
        )
        if joins and open_ is not None:
            groups[-1] = open_._replace(last=last_sequence)
            size, count = size + length, count + 1
            continue
        if count == 1:
            groups.pop()
        groups.append(_Group(run_id, attempt, sequence, last_sequence))
        size, count = length, 1
    if count == 1:
        groups.pop()
    return groups


def _merge(connection: sqlite3.Connection, group: _Group) -> None:
    """Put one row in the place of a group's rows; what it does not find any more (pruned) it leaves so."""
    rows = connection.execute(SQL["group"], group).fetchall()
    if len(rows) < 2:
        return
    lines = tuple(line for row in rows for line in _lines(row[6], row[7]))
    connection.execute(SQL["delete_group"], group)
    first = rows[0]
    merged = (
        group.run_id, group.attempt, first[0], rows[-1][1], first[2], len(lines), first[4],
        sum(row[5] for row in rows), *_compress(lines),
    )  # fmt: skip
    connection.execute(SQL["put_merged"], merged)


def _prune(connection: sqlite3.Connection, bound: str, limit: int, job: JobId | None) -> int:
    """One transaction's worth of old chunks."""
    if job is None:
        return connection.execute(SQL["prune"], (bound, limit)).rowcount
    return connection.execute(SQL["prune_of_job"], (bound, limit, job)).rowcount


def _first_id_kept(before: datetime) -> str:
    """The lowest id a run of the first day that is not before `before` can have."""
    day = before.replace(hour=0, minute=0, second=0, microsecond=0)
    if day < before:
        day += timedelta(days=1)
    digits = f"{max(to_micros(day) // 1000, 0):012x}"
    bound = RunId(f"{digits[:8]}-{digits[8:]}")
    assert run_day(RunId(bound + "-8000-8000-000000000000")) == day
    return bound
