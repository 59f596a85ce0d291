"""Clocks: the only place where the process asks what time it is.

`Clock` is an argument everywhere, so tests move time by hand. The server's clock follows the store's and never goes
backwards: a wall clock stepped back repeats no instant, it only stands still until it is caught up.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

JUMP_SECONDS: Final = 2.0  # a followed clock that moves by more has jumped; by less, it is brought in gently
_READINGS: Final = 8


class Clock(Protocol):
    """What time it is, and how much time has passed."""

    def now(self) -> datetime:
        """The present instant in UTC; never earlier than one given before."""

    def monotonic(self) -> float:
        """Seconds that only grow, of no particular origin."""

    def wall(self) -> float:
        """What the machine's own clock shows, in seconds since 1970; it may jump. For labels and for comparing."""


def boot_time() -> float:
    """Seconds since the machine started, those included in which it was suspended: the clock of workers."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SystemClock:
    """The machine's clock, held still while the wall clock is behind what was already said."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._highest = datetime.fromtimestamp(0, UTC)

    def now(self) -> datetime:
        """The present instant in UTC; never earlier than one given before."""
        self._highest = max(self._highest, datetime.now(UTC))
        return self._highest

    def wall(self) -> float:
        """What the machine's own clock shows."""
        return time.time()


class FollowingClock:
    """Another's clock (the store's), read now and then and carried on by the own monotonic one in between.

    Of the last readings the one with the shortest round trip is believed. Until the first, it is the machine's own;
    what that showed binds nobody afterwards.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self.wall = wall
        self._offset = wall() - monotonic()  # of the followed clock, in seconds since 1970, to the monotonic one
        self._readings: deque[tuple[float, float]] = deque(maxlen=_READINGS)  # (round trip, offset)
        self._highest = datetime.fromtimestamp(0, UTC)

    def now(self) -> datetime:
        """The present instant on the followed clock; never earlier than one given since it is followed."""
        self._highest = max(self._highest, _EPOCH + timedelta(seconds=self._monotonic() + self._offset))
        return self._highest

    def monotonic(self) -> float:
        """The own monotonic seconds."""
        return self._monotonic()

    def moment_of(self, instant: datetime) -> float:
        """When, on the own monotonic clock, the followed one will show (or showed) `instant`."""
        return (instant - _EPOCH).total_seconds() - self._offset

    def follow(self, sent: float, received: float, told: datetime) -> float | None:
        """Take in a reading: asked at `sent`, answered at `received` (own monotonic seconds), with `told`.

        Returns by how many seconds the clock jumped, where it did: then older readings count no more.
        """
        offset = (told - _EPOCH).total_seconds() - (sent + received) / 2
        first = not self._readings
        if first:
            self._highest = _EPOCH
        jump = offset - self._offset
        if abs(jump) - (received - sent) / 2 > JUMP_SECONDS:
            self._readings.clear()
        else:
            jump = 0.0
        self._readings.append((received - sent, offset))
        self._offset = min(self._readings)[1]
        return jump if jump and not first else None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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

    def wall(self) -> float:
        """As `now`."""
        return self._now.timestamp()

    def advance(self, duration: timedelta | None = None, **units: float) -> None:
        """Let time pass: `advance(minutes=5)`."""
        step = duration or timedelta(**units)
        self._now += step
        self._monotonic += step.total_seconds()
