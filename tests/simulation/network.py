"""Channels between simulated workers and servers: delays, cuts, partitions; repeated and reordered batches."""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.simulation.virtual import VirtualLoop

from rota.wire.channel import ChannelClosed
from rota.wire.messages import (
    Heartbeat,
    HeartbeatAcknowledged,
    Output,
    OutputAcknowledged,
    Reports,
    ReportsAcknowledged,
)

# What may come twice, or overtake: everything about it is said under numbers and fences.
SHUFFLED: Final = (Reports, Output, Heartbeat, ReportsAcknowledged, OutputAcknowledged, HeartbeatAcknowledged)
AGAIN_AFTER: Final = 0.3  # seconds between tries to get something through a cut
NOTICED_AFTER: Final = 8.0  # seconds until an end learns that the way to the other is gone, if nothing else tells it


class Wire:
    """One direction of a connection. What is sent into a cut gets through when it heals, as TCP does it."""

    def __init__(self, loop: VirtualLoop, rng: Random, settings: "Weather", is_cut: Callable[[], bool]) -> None:
        self._loop = loop
        self._rng = rng
        self._weather = settings
        self._is_cut = is_cut
        self._stuck: list[Any] = []
        self._arrived: deque[Any] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._last = 0.0
        self.closed = False

    def send(self, message: Any) -> None:
        """Put a message on its way."""
        if self._stuck or self._is_cut():
            if not self._stuck:
                self._loop.later(AGAIN_AFTER, self._send_again)
            self._stuck.append(message)
            return
        copies = 1
        delay = self._weather.delay(self._rng)
        if isinstance(message, SHUFFLED):
            copies += self._rng.random() < self._weather.repeats
            delay += self._rng.random() * self._weather.reorders
            moments = [self._loop.time() + delay * (1 + copy) for copy in range(copies)]
        else:  # in order
            moments = [max(self._last, self._loop.time() + delay)]
            self._last = moments[0]
        for moment in moments:
            self._loop.later(moment - self._loop.time(), self._arrive, message)

    async def receive(self) -> Any:
        """The next message that arrived."""
        while not self._arrived:
            if self.closed:
                raise ChannelClosed
            self._waiting = self._loop.create_future()
            await self._waiting
        return self._arrived.popleft()

    def close(self) -> None:
        """Nothing arrives any more."""
        self.closed = True
        self._wake()

    def _send_again(self) -> None:
        if self._is_cut():
            self._loop.later(AGAIN_AFTER, self._send_again)
            return
        stuck, self._stuck = self._stuck, []
        for message in stuck:
            self.send(message)

    def _arrive(self, message: Any) -> None:
        if not self.closed:
            self._arrived.append(message)
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Weather:
    """How the network behaves."""

    def __init__(self, *, slowest: float = 0.02, repeats: float = 0.0, reorders: float = 0.0) -> None:
        self.slowest = slowest
        self.repeats = repeats
        self.reorders = reorders

    def delay(self, rng: Random) -> float:
        """Seconds on the way."""
        return rng.random() ** 3 * self.slowest


class End:
    """One end of a connection, with the contract of a channel."""

    is_local = False

    def __init__(self, connection: "Connection", outgoing: Wire, incoming: Wire, way: str) -> None:
        self._connection = connection
        self._outgoing = outgoing
        self._incoming = incoming
        self._way = way

    async def send(self, message: Any) -> None:
        """Send, unless the connection is known to be gone."""
        if self._outgoing.closed or self._incoming.closed:
            raise ChannelClosed
        self._connection.said[type(message).__name__] += 1
        self._outgoing.send(message)

    async def receive(self) -> Any:
        """The next message."""
        return await self._incoming.receive()

    async def close(self) -> None:
        """Close; the other end learns it, unless the way to it is cut."""
        self._incoming.close()
        self._connection.end_of(self._way)


class Connection:
    """Both directions between a worker and a server."""

    def __init__(self, loop: VirtualLoop, rng: Random, weather: Weather, is_cut: Callable[[str], bool]) -> None:
        self._loop = loop
        self.is_cut = is_cut
        self.said = loop.said
        self._up = Wire(loop, rng, weather, lambda: is_cut("up"))
        self._down = Wire(loop, rng, weather, lambda: is_cut("down"))
        self.worker = End(self, self._up, self._down, "up")
        self.server = End(self, self._down, self._up, "down")

    def end_of(self, way: str) -> None:
        """One end was closed, or its process died: the kernel tells the other, where it can."""
        wire = self._up if way == "up" else self._down
        if self.is_cut(way):
            self._loop.later(NOTICED_AFTER, wire.close)
        else:
            self._loop.later(0.001, wire.close)

    def break_off(self) -> None:
        """Both ends find it gone."""
        self._up.close()
        self._down.close()
