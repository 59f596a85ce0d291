"""How many attempts a worker asks for: its capacity, and more while attempts are short, so the next are at hand.

The aim is about one second of work waiting per slot. One long attempt among them brings the credit back to the
capacity, so that nothing is kept waiting here that another worker could run. While the machine is short of what
attempts of a kind need, it asks for none, then for one more than run; when one that began since has ended, for as many
as there are slots.
"""

from collections.abc import Callable, Mapping
from typing import Final

from rota.worker.shortage import SHORT_SECONDS

_AHEAD: Final = 1.0  # seconds of work per slot
_LEAST: Final = 20e-6  # seconds that even an attempt which does nothing takes
_MOST: Final = {"python": 8192, "shell": 64}  # http attempts have slots enough
_WEIGHT: Final = 0.1


class Credit:
    """Follows the durations of each kind."""

    def __init__(self, capacity: Mapping[str, int], monotonic: Callable[[], float]) -> None:
        self._capacity = dict(capacity)
        self._monotonic = monotonic
        self._seconds = dict.fromkeys(capacity, 1.0)
        self._said = dict(capacity)
        self._short_until: dict[str, float] = {}  # monotonic, by kind; goes when one that began after it has ended
        self._must_say = False
        self.running: Callable[[str], int] = lambda kind: 0  # how many of a kind have begun

    def note(self, kind: str, seconds: float) -> None:
        """An attempt took, or has already taken, `seconds`."""
        self._seconds[kind] += _WEIGHT * (seconds - self._seconds[kind])
        until = self._short_until.get(kind)
        if until is not None and self._monotonic() - seconds >= until:  # it began after the shortage: there is enough
            del self._short_until[kind]

    def note_long(self, kind: str) -> None:
        """An attempt is running for long: its slot is not soon free."""
        self._seconds[kind] = max(self._seconds[kind], _AHEAD)

    def note_short(self, kind: str) -> bool:
        """The machine cannot start attempts of this kind now; returns whether that was not known."""
        now = self._monotonic()
        known = self._short_until.get(kind, 0.0) > now
        if not known:
            self._short_until[kind] = now + SHORT_SECONDS
            self.note_long(kind)  # when there is enough again, there may not be enough for more than the slots
        return not known

    def note_returned(self) -> None:
        """An attempt goes back: the server takes it that there is less room, until it hears how much."""
        self._must_say = True

    def wanted(self) -> dict[str, int]:
        """Attempts of each kind in all, running and waiting here."""
        return {kind: self._wanted(kind) for kind in self._capacity}

    def has_changed_much(self) -> bool:
        """Whether the credit differs by a factor of two from what was last said."""
        return self._must_say or any(
            wanted >= 2 * self._said[kind] or 2 * wanted <= self._said[kind]
            for kind, wanted in self.wanted().items()
            if wanted != self._said[kind]
        )

    def say(self) -> dict[str, int]:
        """The credit to tell the server now."""
        self._said = self.wanted()
        self._must_say = False
        return self._said

    @property
    def is_said(self) -> bool:
        """Whether the server knows the present credit."""
        return not self._must_say and self._said == self.wanted()

    def _wanted(self, kind: str) -> int:
        capacity = self._capacity[kind]
        most = max(capacity, _MOST.get(kind, 0))
        wanted = min(most, max(capacity, int(capacity * _AHEAD / max(self._seconds[kind], _LEAST))))
        until = self._short_until.get(kind)
        if until is None:
            return wanted
        return 0 if until > self._monotonic() else min(wanted, self.running(kind) + 1)
