"""Ends what goes on in a token's name when the token ends: workers' sessions, live streams.

A request asks for its token once; what stays open for days must not outlive it. All of them are looked at together,
by one read of the store every few seconds, and not at all while nothing is open.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from rota.core.errors import StoreUnavailable
from rota.events import Emit
from rota.loop import Loop
from rota.server.access import AccessControl

LOOK: Final = timedelta(seconds=3)
IDLE: Final = timedelta(hours=1)


class TokenWatch(Loop):
    """Looks at the tokens of what is open."""

    def __init__(self, access: AccessControl, emit: Emit) -> None:
        super().__init__(emit)
        self._access = access
        self._open: dict[object, tuple[str, Callable[[], None]]] = {}

    @contextlib.contextmanager
    def hold(self, token_id: str, end: Callable[[], None]) -> Iterator[None]:
        """For as long as this lasts, call `end` when the token has ended."""
        key = object()
        if not self._open:
            self.wake()
        self._open[key] = (token_id, end)
        try:
            yield
        finally:
            del self._open[key]

    async def tick(self) -> timedelta:
        """Look once. While the store does not answer, what is open stays open."""
        if not self._open:
            return IDLE
        with contextlib.suppress(StoreUnavailable):
            ended = await self._access.ended(sorted({token_id for token_id, _ in self._open.values()}))
            for token_id, end in tuple(self._open.values()):
                if token_id in ended:
                    end()
        return LOOK
