"""Live hints: an in-process hub that says "this has changed, fetch it again", and nothing else.

Hints carry topics, never data, so losing or doubling one does no harm. Each subscription coalesces: a topic is
given at most once a second, a log being followed at most four times a second. The newest hints are remembered, so
that a stream which breaks for a moment goes on where it stopped; an older position is answered by `reset`.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

_REMEMBERED: Final = 4096
_REST_SECONDS: Final = 1.0
_LOG_REST_SECONDS: Final = 0.25


class Hints:
    """Topics: `jobs`, `runs`, `workers`, `job:<ns/name>`, `run:<id>`, `log:<run id>`."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._sequence = 0
        self._newest: deque[tuple[int, str]] = deque(maxlen=_REMEMBERED)
        self._subscriptions: set[Subscription] = set()
        self._closed = False
        self.tell_others: Callable[[str], None] = lambda topic: None  # servers whose pages may show it, too

    @property
    def position(self) -> str:
        """Where the hub stands now; a reconnecting stream names the position it saw last."""
        return f"{self._epoch}-{self._sequence}"

    @property
    def listeners(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def publish(self, topic: str) -> None:
        """Say that what `topic` stands for has changed."""
        self.hear(topic)
        self.tell_others(topic)

    def hear(self, topic: str) -> None:
        """What `topic` stands for has changed at another server."""
        self._sequence += 1
        self._newest.append((self._sequence, topic))
        for subscription in self._subscriptions:
            subscription.note(topic)

    def forget(self) -> None:
        """Hints of others may have been lost: everything may have changed, and no older position is known."""
        self._epoch = secrets.token_hex(4)
        self._newest.clear()
        for subscription in self._subscriptions:
            subscription.note_all()

    def missed(self, position: str, topics: frozenset[str]) -> set[str] | None:
        """What was published after `position` on `topics`; None when that is not known any more."""
        epoch, _, number = position.partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 19):
            return None
        last = int(number)
        oldest = self._newest[0][0] if self._newest else self._sequence + 1
        if last > self._sequence or last < oldest - 1:
            return None
        return {topic for sequence, topic in self._newest if sequence > last and topic in topics}

    async def subscribe(self, topics: Iterable[str], first: Iterable[str] = ()) -> AsyncGenerator[set[str], None]:
        """Yield the topics that changed, coalesced, `first` at once; ends when the hub is closed."""
        subscription = Subscription(frozenset(topics))
        for topic in first:
            subscription.note(topic)
        self._subscriptions.add(subscription)
        try:
            while not self._closed and (changed := await subscription.changed()):
                yield changed
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all subscriptions."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end()


class Subscription:
    """One listener: what changed since it last asked, and when it may be told again."""

    def __init__(self, topics: frozenset[str]) -> None:
        self._topics = topics
        self._pending: set[str] = set()
        self._told: dict[str, float] = {}
        self._wakeup = asyncio.Event()
        self._ended = False

    def note(self, topic: str) -> None:
        """Something was published."""
        if topic in self._topics:
            self._pending.add(topic)
            self._wakeup.set()

    def note_all(self) -> None:
        """Anything may have been published."""
        self._pending |= self._topics
        self._wakeup.set()

    def end(self) -> None:
        """Tell the listener that nothing will come any more."""
        self._ended = True
        self._wakeup.set()

    async def changed(self) -> set[str]:
        """The changed topics, as soon as one may be told; empty at the end."""
        while not self._ended:
            self._wakeup.clear()
            now = asyncio.get_running_loop().time()
            ready = {topic for topic in self._pending if self._due(topic) <= now}
            if ready:
                self._pending -= ready
                self._told.update(dict.fromkeys(ready, now))
                return ready
            rest = min((self._due(topic) for topic in self._pending), default=None)
            await self._wait(None if rest is None else rest - now)
        return set()

    def _due(self, topic: str) -> float:
        rest = _LOG_REST_SECONDS if topic.startswith("log:") else _REST_SECONDS
        return self._told.get(topic, -rest) + rest

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()
        except TimeoutError:
            return
