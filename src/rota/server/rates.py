"""Token buckets: so many at once, so many a second in the long run. Pure but for the time they are given."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

_K = TypeVar("_K")
MOST_KEYS: Final = 20_000


class Bucket:
    """One bucket. It is full at first."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """`rate` is what comes back a second, `burst` what there is at most."""
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until there is one to be taken; 0 when there is."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._level >= 1 else (1 - self._level) / self._rate

    def take(self, now: float) -> float:
        """Take one if there is one; returns the seconds to wait where there is none."""
        seconds = self.wait(now)
        if seconds == 0:
            self._level -= 1
        return seconds


class Buckets(Generic[_K]):
    """A bucket for each key. Of so many keys that memory would be the next thing to run out, the oldest go."""

    def __init__(self, rate: float, burst: float, most: int = MOST_KEYS) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[_K, Bucket] = OrderedDict()

    def take(self, key: _K, now: float) -> float:
        """Take one from the key's bucket; returns the seconds to wait where there is none."""
        return self._of(key, now).take(now)

    def wait(self, key: _K, now: float) -> float:
        """Seconds until the key's bucket has one; takes none."""
        held = self._buckets.get(key)
        return 0.0 if held is None else held.wait(now)

    def _of(self, key: _K, now: float) -> Bucket:
        held = self._buckets.get(key)
        if held is None:
            held = self._buckets[key] = Bucket(self._rate, self._burst, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return held
