"""How many attempts a worker asks for: its capacity, and more while attempts are short, so the next are at hand.

The aim is about one second of work waiting per slot. One long attempt among them brings the credit back to the
capacity, so that nothing is kept waiting here that another worker could run.
"""

from collections.abc import Mapping
from typing import Final

_AHEAD: Final = 1.0  # seconds of work per slot
_LEAST: Final = 20e-6  # seconds that even an attempt which does nothing takes
_MOST: Final = {"python": 8192, "shell": 64}  # http attempts have slots enough
_WEIGHT: Final = 0.1


class Credit:
    """Follows the durations of each kind."""

    def __init__(self, capacity: Mapping[str, int]) -> None:
        self._capacity = dict(capacity)
        self._seconds = dict.fromkeys(capacity, 1.0)
        self._said = dict(capacity)

    def note(self, kind: str, seconds: float) -> None:
        """An attempt took, or has already taken, `seconds`."""
        self._seconds[kind] += _WEIGHT * (seconds - self._seconds[kind])

    def note_long(self, kind: str) -> None:
        """An attempt is running for long: its slot is not soon free."""
        self._seconds[kind] = max(self._seconds[kind], _AHEAD)

    def wanted(self) -> dict[str, int]:
        """Attempts of each kind in all, running and waiting here."""
        return {kind: self._wanted(kind) for kind in self._capacity}

    def has_changed_much(self) -> bool:
        """Whether the credit differs by a factor of two from what was last said."""
        return any(
            wanted >= 2 * self._said[kind] or 2 * wanted <= self._said[kind]
            for kind, wanted in self.wanted().items()
            if wanted != self._said[kind]
        )

    def say(self) -> dict[str, int]:
        """The credit to tell the server now."""
        self._said = self.wanted()
        return self._said

    @property
    def is_said(self) -> bool:
        """Whether the server knows the present credit."""
        return self._said == self.wanted()

    def _wanted(self, kind: str) -> int:
        capacity = self._capacity[kind]
        most = max(capacity, _MOST.get(kind, 0))
        return min(most, max(capacity, int(capacity * _AHEAD / max(self._seconds[kind], _LEAST))))
