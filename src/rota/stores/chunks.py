"""Output chunks as rows, and how small ones are joined.

The lines of a chunk are packed with msgpack and, unless they are few, compressed with zstd. Merging joins whole
chunks; the joined row remembers which sequence numbers it stands for, so a chunk sent again after that adds nothing.
"""

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from rota.core.ids import run_day
from rota.core.model import OutputChunk, OutputLine, RunId
from rota.stores.rows import Row, to_micros

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MERGED_BYTES: Final = 256 * 1024
_SMALL: Final = 256  # bytes below which compressing costs more than it saves

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[OutputLine, ...]).decode


class Group(NamedTuple):
    """Neighbouring chunks of one attempt that fit in one row."""

    run_id: RunId
    attempt: int
    first: int
    last: int


def chunk_row(chunk: OutputChunk) -> Row:
    """A chunk as a row: run, attempt, first and last sequence, first line, lines, offset, bytes, data."""
    size = sum(len(line.data) for line in chunk.lines)
    place = (chunk.run_id, chunk.attempt, chunk.sequence, chunk.sequence)
    return (*place, chunk.first_line, len(chunk.lines), chunk.offset, size, *_compress(chunk.lines))


def chunk_from_row(row: Row) -> OutputChunk:
    """The chunk of a row; one of many sequence numbers counts as its first."""
    run_id, attempt, sequence, _, first_line, _, offset, _, compressed, data = row
    return OutputChunk(
        run_id=RunId(str(run_id)),
        attempt=attempt,
        sequence=sequence,
        first_line=first_line,
        offset=offset,
        lines=_lines(compressed, data),
    )


def merged_row(rows: Sequence[Row]) -> Row:
    """One row in the place of several of one attempt that follow each other."""
    lines = tuple(line for row in rows for line in _lines(row[8], row[9]))
    run_id, attempt, sequence, _, first_line, _, offset, *_ = rows[0]
    place = (run_id, attempt, sequence, rows[-1][3])
    return (*place, first_line, len(lines), offset, sum(row[7] for row in rows), *_compress(lines))


def groups(pieces: Sequence[Row]) -> list[Group]:
    """Which rows to join: of one attempt, without a hole between them, up to MERGED_BYTES; alone ones stay.

    A piece is a row without its content: run, attempt, first and last sequence, bytes.
    """
    found: list[Group] = []
    size, count = 0, 0
    for run_id, attempt, sequence, last_sequence, length in pieces:
        open_ = found[-1] if found else None
        joins = (
            open_ is not None
            and (open_.run_id, open_.attempt, open_.last + 1) == (run_id, attempt, sequence)
            and size + length <= MERGED_BYTES
        )
        if joins and open_ is not None:
            found[-1] = open_._replace(last=last_sequence)
            size, count = size + length, count + 1
            continue
        if count == 1:
            found.pop()
        found.append(Group(run_id, attempt, sequence, last_sequence))
        size, count = length, 1
    if count == 1:
        found.pop()
    return found


def first_id_kept(before: datetime) -> RunId:
    """The lowest id a run of the first day that is not before `before` can have."""
    day = before.replace(hour=0, minute=0, second=0, microsecond=0)
    if day < before:
        day += timedelta(days=1)
    return lowest_id(day)


def lowest_id(day: datetime) -> RunId:
    """The lowest id a run of this day can have: ids begin with the milliseconds of their day."""
    digits = f"{max(to_micros(day) // 1000, 0):012x}"
    bound = RunId(f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000")
    assert run_day(bound) == day
    return bound


def _compress(lines: tuple[OutputLine, ...]) -> tuple[bool, bytes]:
    """Whether the lines are compressed, and their bytes."""
    raw = _pack(lines)
    if len(raw) < _SMALL:
        return False, raw
    return True, zstd.compress(raw)


def _lines(compressed: int, data: bytes) -> tuple[OutputLine, ...]:
    """The lines of `_compress`."""
    return _unpack(zstd.decompress(data) if compressed else data)
