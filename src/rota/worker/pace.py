"""What happens a little later to attempts that are not short: they are said to be started, their output is sent."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rota.worker.attempt import Attempt
from rota.worker.output import Capture

RIPE: Final = 0.05  # seconds after which an attempt is not short
FLUSH: Final = 0.5  # seconds after which output is sent though its chunk is not full


class Ripening:
    """Tells of each attempt that still runs `RIPE` seconds after it began, with one timer for all."""

    def __init__(self, monotonic: Callable[[], float], on_ripe: Callable[[Attempt], None]) -> None:
        self._monotonic = monotonic
        self._on_ripe = on_ripe
        self._attempts: deque[Attempt] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, attempt: Attempt) -> None:
        """It has just begun."""
        self._attempts.append(attempt)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RIPE, self._look)

    def close(self) -> None:
        """Tell of no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        ripe = self._monotonic() - RIPE + 0.001
        while self._attempts:
            attempt = self._attempts[0]
            if not attempt.is_over and attempt.begun is not None and attempt.begun > ripe:
                self._timer = asyncio.get_running_loop().call_later(attempt.begun - ripe, self._look)
                return
            self._attempts.popleft()
            if not attempt.is_over and attempt.begun is not None:  # it may have been taken back, to begin anew
                self._on_ripe(attempt)


class Flushing:
    """Flushes captures that hold output, `FLUSH` seconds after the first of them got some."""

    def __init__(self) -> None:
        self._captures: set[Capture] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, capture: Capture) -> None:
        """It holds output."""
        self._captures.add(capture)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    def remove(self, capture: Capture) -> None:
        """It has sent all it had."""
        self._captures.discard(capture)

    def close(self) -> None:
        """Flush no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self) -> None:
        self._timer = None
        captures, self._captures = self._captures, set()
        for capture in captures:
            capture.flush()
