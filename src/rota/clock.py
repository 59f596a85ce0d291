"""Clocks: the only place where the process asks what time it is.

`Clock` is an argument everywhere, so tests move time by hand. The server's clock follows the store's and never goes
backwards: a wall clock stepped back repeats no instant, it only stands still until it is caught up.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how much time has passed."""

    def now(self) -> datetime:
        """The present instant in UTC; never earlier than one given before."""

    def monotonic(self) -> float:
        """Seconds that only grow, of no particular origin."""


class SystemClock:
    """The machine's clock, held still while the wall clock is behind what was already said."""

    def __init__(self) -> None:
        self._highest = datetime.fromtimestamp(0, UTC)

    def now(self) -> datetime:
        """The present instant in UTC; never earlier than one given before."""
        self._highest = max(self._highest, datetime.now(UTC))
        return self._highest

    def monotonic(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told, for tests and simulations."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The present instant in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._monotonic

    def advance(self, duration: timedelta | None = None, **units: float) -> None:
        """Let time pass: `advance(minutes=5)`."""
        step = duration or timedelta(**units)
        self._now += step
        self._monotonic += step.total_seconds()
