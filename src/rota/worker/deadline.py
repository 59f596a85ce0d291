"""Until when this worker's attempts may live without a word from its server (`rota.core.lease`).

The keeper enforces it on processes, also while the agent is frozen; http attempts end here. An attempt whose job says
`on-disconnect: continue for` has so much more. Over a channel inside the process there is no deadline: its end is the
end of the other side.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from rota.core.lease import worker_deadline

_LOOK: Final = 0.2  # seconds between looks at the clock: it goes on while the machine is suspended, timers do not


class Deadline:
    """Moves with every acknowledgement; tells when it has passed. Times are the clock's `monotonic`."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        on_moved: Callable[[float], None],
        on_silence: Callable[[float], None],
    ) -> None:
        self._monotonic = monotonic
        self._on_moved = on_moved
        self._on_silence = on_silence  # told again and again how long the deadline has passed
        self._sent = self._renewed = float("-inf")
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_passed(self) -> bool:
        """Whether nothing may run here now."""
        return self._until is not None and self._monotonic() >= self._until

    def welcomed(self, sent: float, renewal_age: float) -> None:
        """A server has answered the hello sent then: from now on it is the one that judges."""
        self._sent = self._renewed = float("-inf")
        self.acknowledged(sent, renewal_age)

    def acknowledged(self, sent: float, renewal_age: float) -> None:
        """The server has answered what was sent then; its last renewal was so old when it did."""
        self._sent = max(self._sent, sent)
        self._renewed = max(self._renewed, sent - renewal_age)
        self._until = worker_deadline(self._sent, self._renewed)
        self._on_moved(self._until)
        if self._timer is None:
            self._look()

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._until is not None
        silence = self._monotonic() - self._until
        if silence >= 0:
            self._on_silence(silence)
        self._timer = asyncio.get_running_loop().call_later(max(_LOOK, min(-silence, 5.0)), self._look)
