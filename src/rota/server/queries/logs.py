"""Windows of an attempt's output, by line number, and the whole of it as bytes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from rota.core.model import OutputChunk, OutputLine, Run, RunState
from rota.server.queries.shapes import Moment, View, moment
from rota.store.bundle import Store

STREAMS: Final = ("stdout", "stderr", "rota")
_PAGE_LINES: Final = 1000
_MOST_SCANNED: Final = 200_000


class LogLine(View, kw_only=True):
    """A piece of output. `offset` is its number from 0; `more`: the program's line goes on in the next piece."""

    offset: int
    time: Moment
    stream: str
    text: str
    more: bool


class LogWindow(View, kw_only=True):
    """Lines `from` on. `total` is how many there are so far; `next` is where to go on, null at the end of an
    attempt that has ended."""

    run: str
    attempt: int
    start: int = msgspec.field(name="from")
    lines: list[LogLine]
    total: int
    size: int
    next: int | None
    ended: bool
    first_error: int | None


async def read_window(store: Store, run: Run, attempt: int, start: int, limit: int) -> LogWindow:
    """At most `limit` lines from `start` on; a negative `start` counts from the end."""
    size = await store.output.size(run.id, attempt)
    if start < 0:
        start = max(0, size.lines + start)
    lines: list[LogLine] = []
    for chunk in await store.output.read(run.id, attempt, start, limit):
        lines += [
            _line(number, line)
            for number, line in enumerate(chunk.lines, chunk.first_line)
            if start <= number and len(lines) < limit
        ]
    lines = lines[:limit]
    ended = attempt_ended(run, attempt)
    after = lines[-1].offset + 1 if lines else start
    return LogWindow(
        run=run.id,
        attempt=attempt,
        start=start,
        lines=lines,
        total=size.lines,
        size=size.bytes,
        next=None if ended and after >= size.lines else after,
        ended=ended,
        first_error=None,
    )


async def first_error(store: Store, run: Run, attempt: int) -> int | None:
    """The number of the first line on the error stream, looking at the first 200,000 lines."""
    start = 0
    while start < _MOST_SCANNED:
        chunks = await store.output.read(run.id, attempt, start, _PAGE_LINES)
        for chunk in chunks:
            for number, line in enumerate(chunk.lines, chunk.first_line):
                if line.stream == 1:
                    return number
        if not chunks:
            return None
        start = _after(chunks[-1])
    return None


async def raw_output(store: Store, run: Run, attempt: int) -> AsyncIterator[bytes]:
    """The attempt's output as it was written, stdout and stderr interleaved as they came."""
    start = 0
    while chunks := await store.output.read(run.id, attempt, start, _PAGE_LINES):
        for chunk in chunks:
            yield b"".join(line.data for number, line in enumerate(chunk.lines, chunk.first_line) if number >= start)
        start = _after(chunks[-1])


def attempt_ended(run: Run, attempt: int) -> bool:
    """Whether the attempt will write nothing more."""
    if run.state in (RunState.STARTING, RunState.RUNNING) and run.current is not None:
        return run.current.number != attempt
    return run.state.is_final or any(past.number == attempt for past in run.attempts)


def _after(chunk: OutputChunk) -> int:
    return chunk.first_line + len(chunk.lines)


def _line(number: int, line: OutputLine) -> LogLine:
    return LogLine(
        offset=number,
        time=moment(datetime.fromtimestamp(line.time / 1_000_000, UTC)),
        stream=STREAMS[line.stream] if 0 <= line.stream < len(STREAMS) else "rota",
        text=line.data.rstrip(b"\r\n").decode("utf-8", "replace"),
        more=not line.data.endswith(b"\n"),
    )
