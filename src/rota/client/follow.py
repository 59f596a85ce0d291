"""Following what happens: hints that something changed, a run to its end, a log as it is written.

Hints only say where to look again, so a lost stream costs time and no truth: on every reconnection everything is
read anew, and when no hint comes the reader looks now and then anyway.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from rota.client.calls import Document, RunCalls
from rota.client.errors import Unreachable
from rota.client.transport import Transport
from rota.core.errors import StoreUnavailable

FINAL_STATES: Final = frozenset({"succeeded", "failed", "timed-out", "cancelled", "skipped", "missed", "lost"})
OUTAGE_SECONDS: Final = 60.0
_FIRST_REST: Final = 0.25
_LONGEST_REST: Final = 5.0


async def hints(
    transport: Transport,
    topics: Sequence[str],
    *,
    outage: float = OUTAGE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[None]:
    """Yield whenever something may have changed: at each connection, hint and beat.

    A stream that breaks is opened again; raises Unreachable when the server stays away for `outage` seconds.
    """
    lost_at: float | None = None
    rest = _FIRST_REST
    while True:
        try:
            async for _ in _events(transport, topics):
                lost_at, rest = None, _FIRST_REST
                yield None
        except (Unreachable, StoreUnavailable):
            lost_at = clock() if lost_at is None else lost_at
            if clock() - lost_at >= outage:
                raise
        await asyncio.sleep(rest)
        rest = min(rest * 2, _LONGEST_REST)


async def _events(transport: Transport, topics: Sequence[str]) -> AsyncIterator[None]:
    """One connection's events, until it breaks."""
    async with transport.stream("/stream", topics=",".join(topics)) as response:
        async for line in response.aiter_lines():
            if line.startswith("event:"):
                yield None


async def follow_run(transport: Transport, run_id: str) -> AsyncIterator[Document]:
    """The run now, then each time it has changed, until it is final."""
    calls = RunCalls(transport)
    seen: Document | None = None
    stream = hints(transport, [f"run:{run_id}"])
    try:
        while True:
            run = await _patiently(lambda: calls.get(run_id), stream)
            if run != seen:
                seen = run
                yield run
                if run["state"] in FINAL_STATES:
                    return
            await anext(stream)
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


async def follow_log(
    transport: Transport, run_id: str, *, attempt: int = 0, start: int = 0, follow: bool = True
) -> AsyncIterator[Document]:
    """The lines of a run's output; with `follow` as they come, attempt after attempt, until the run is final.

    Each line also tells its `attempt`. `attempt` 0 means: from the newest on. Without `follow`, what is there.
    """
    calls = RunCalls(transport)
    stream = hints(transport, [f"log:{run_id}", f"run:{run_id}"]) if follow else None
    number, position = attempt, start
    try:
        while True:
            run = await _patiently(lambda: calls.get(run_id), stream)
            number = number or run["attempt"]
            if number:
                read_on = partial(calls.log_window, run_id, attempt=number, start=position)
                window = await _patiently(read_on, stream)
                for line in window["lines"]:
                    yield {**line, "attempt": number}
                position = window["next"] if window["next"] is not None else window["total"]
                if window["lines"] and position < window["total"]:
                    continue
                if window["ended"] and not attempt and run["attempt"] > number:
                    number, position = number + 1, 0
                    continue
            if stream is None or run["state"] in FINAL_STATES or (attempt and _is_past(run, attempt)):
                return
            await anext(stream)
    finally:
        if stream is not None:
            await stream.aclose()  # type: ignore[attr-defined]


def _is_past(run: Document, attempt: int) -> bool:
    """Whether this attempt will write nothing more."""
    return any(one["number"] == attempt and one["finished"] for one in run["attempts"])


async def _patiently(read: Callable[[], Awaitable[Document]], stream: AsyncIterator[None] | None) -> Document:
    """What is read, once the server answers; the stream of hints, if there is one, decides when that is too long."""
    while True:
        try:
            return await read()
        except (Unreachable, StoreUnavailable):
            if stream is None:
                raise
            await anext(stream)
