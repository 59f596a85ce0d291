"""Sends some workers to other servers, so that all servers have about as many."""

from typing import Final

from rota.clock import Clock
from rota.server.hub import Hub

ASKED_AGAIN: Final = 60.0  # seconds after which a worker that came back is asked again: it may reach no other server


class Spread:
    """Who was sent elsewhere, and when."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub = hub
        self._clock = clock
        self._asked: dict[str, float] = {}

    async def send_elsewhere(self, count: int) -> None:
        """Ask so many workers, those that hold least, to connect to another server; what they hold they keep."""
        now = self._clock.monotonic()
        self._asked = {name: at for name, at in self._asked.items() if now - at < ASKED_AGAIN}
        staying = [
            session
            for session in self._hub.sessions()
            if not session.draining and not session.channel.is_local and session.worker.name not in self._asked
        ]
        for session in sorted(staying, key=lambda session: len(session.held))[:count]:
            self._asked[session.worker.name] = now
            await session.send_elsewhere()
