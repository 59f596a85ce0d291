"""Hints between servers by LISTEN and NOTIFY: `rota.store.signals.Signals`.

One connection listens and notifies. What is published is gathered for a moment and sent as one notification, so that no
transaction of a verb pays for it; more than fits in one is sent as "something was missed". A lost connection is made
anew, and listeners are told that they may have missed something. Losing all of it harms nothing.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from rota.core.errors import RotaError
from rota.store.signals import Listener
from rota.stores.postgres.connection import VIEWS, Connection, Connector
from rota.stores.postgres.failures import FOREIGN
from rota.stores.postgres.lanes import close_quietly

CHANNEL: Final = "rota"
GATHERED_SECONDS: Final = 0.05  # at most twenty notifications a second
LONGEST_PAYLOAD: Final = 7_999  # bytes
_MISSED: Final = "[]"
_RETRY_SECONDS: Final = 1.0
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[str]).decode


class PostgresSignals:
    """Topics that changed, told to the other servers soon, or never."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._listeners: list[Listener] = []
        self._topics: dict[str, None] = {}
        self._wanted = asyncio.Event()
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def publish(self, topics: Iterable[str]) -> None:
        """Tell the other servers soon. Returns at once; may be lost."""
        self._topics.update(dict.fromkeys(topics))
        if self._topics:
            self._wanted.set()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with topics that others published; with none at all when some may have been missed."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._serve(), name="store signals")

    async def close(self) -> None:
        """Stop listening; what was not sent yet is lost."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _serve(self) -> None:
        """Listen and notify, over one connection after another."""
        is_first = True
        while True:
            try:
                connection = await self._connector.connect(VIEWS)
            except RotaError:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                await self._listen(connection)
                if not is_first:
                    self._tell([])
                is_first = False
                await self._notify(connection)
            except FOREIGN:
                connection.terminate()
            finally:
                await close_quietly(connection)

    async def _listen(self, connection: Connection) -> None:
        """Let the connection listen, and say when it is lost."""
        lost = self._lost = asyncio.Event()

        def on_end(_: Any) -> None:
            lost.set()
            self._wanted.set()

        connection.add_termination_listener(on_end)
        await connection.add_listener(CHANNEL, self._on_notification)

    async def _notify(self, connection: Connection) -> None:
        """Send what is published, until the connection is lost."""
        while True:
            await self._wanted.wait()
            if self._lost.is_set():
                return
            await asyncio.sleep(GATHERED_SECONDS)
            self._wanted.clear()
            topics, self._topics = self._topics, {}
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload_of(topics), timeout=_RETRY_SECONDS)

    def _on_notification(self, connection: Connection, sender: int, channel: str, payload: str) -> None:
        """A notification came; one's own are passed over."""
        if sender == connection.get_server_pid():
            return
        try:
            self._tell(_decode(payload))
        except msgspec.MsgspecError:
            self._tell([])

    def _tell(self, topics: list[str]) -> None:
        for listener in self._listeners:
            listener(topics)


def payload_of(topics: Iterable[str]) -> str:
    """Topics as the text of a notification; the form that says "something" where they do not fit in one."""
    payload = _encode(list(topics))
    return payload.decode() if len(payload) <= LONGEST_PAYLOAD else _MISSED
