"""What every process of Rota has: a log, metrics, and two signals. The first lets work finish, the second hurries."""

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from rota.clock import Clock
from rota.events import Emit
from rota.settings.values import LogOptions
from rota.telemetry import Metrics, Telemetry, make_log

MOST_FILES: Final = 65_536
_COLLECT_AFTER: Final = (10_000, 10, 10)  # newly made objects; collections of the young; of the middle-aged
Say = Callable[[str], None]
"""Takes the lines that a person at the terminal should read."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """What is shared by everything in this process."""

    clock: Clock
    emit: Emit
    metrics: Metrics
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


def make_process(options: LogOptions, clock: Clock) -> Process:
    """Log and metrics of this process; TERM and INT set its events. Needs the running loop."""
    metrics = Metrics()
    level = logging.getLevelNamesMapping()[options.log_level.upper()]
    log = make_log(sys.stderr, json=options.log_format == "json", level=level)
    process = Process(clock=clock, emit=Telemetry(metrics, log, level).emit, metrics=metrics)

    def on_signal() -> None:
        (process.hurry if process.stop.is_set() else process.stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return process


async def unless_hurried(process: Process, work: Awaitable[object]) -> bool:
    """Wait for the end of `work`, or for the second signal, which cancels it. Returns whether it ended by itself."""
    working = asyncio.ensure_future(work)
    hurrying = asyncio.create_task(process.hurry.wait())
    await asyncio.wait({working, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    ended = working.done()
    for task in (working, hurrying):
        task.cancel()
    await asyncio.gather(working, hurrying, return_exceptions=True)
    return ended


def calm_collector() -> None:
    """Let the garbage collector leave alone what was made at the start, and look less often at the rest.

    A look at everything takes 70 ms, in which nothing starts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def allow_many_files() -> int:
    """Ask the system for as many open files as it gives without asking anybody; returns how many may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft
