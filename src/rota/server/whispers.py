"""What servers of one store tell each other through its signals: there may be something to do; a page has changed.

Nothing depends on a word arriving. Topics of loops begin with `~`; all others are topics of pages
(`rota.server.hints`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from rota.store.signals import Signals

SHARDS: Final = "~shards"  # there are shards to be taken
WORK: Final = "~work"  # there are runs to be released, or jobs to be planned
HELD: Final = "~held"  # an end was asked for, or a run asked back, at another server than the worker's
NOTICES: Final = "~notices"  # there are messages to be sent
_PAGES: Final = "~pages"  # so many topics of pages changed that they are not told one by one
_MOST_HINTS: Final = 100  # they fit into one signal, beside other words
_GATHERED_SECONDS: Final = 0.1

Wake = Callable[[], None]


class Whispers:
    """Publishes topics to the other servers and lets loops and pages hear theirs."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._wakes: dict[str, list[Wake]] = {}
        self.on_hint: Callable[[str], None] = lambda topic: None
        self.on_missed: Wake = lambda: None  # hints may have been lost
        self._hints: dict[str, None] = {}
        signals.subscribe(self._heard)

    def listen(self, topic: str, wake: Wake) -> None:
        """Call `wake` when another server says this topic."""
        self._wakes.setdefault(topic, []).append(wake)

    def say(self, topic: str) -> None:
        """Tell the others."""
        self._signals.publish((topic,))

    def hint(self, topic: str) -> None:
        """Tell the others' pages, soon. Of a flood they learn only that it was one."""
        if not self._hints:
            asyncio.get_running_loop().call_later(_GATHERED_SECONDS, self._tell_hints)
        if len(self._hints) <= _MOST_HINTS:
            self._hints[topic] = None

    def _tell_hints(self) -> None:
        self._signals.publish(tuple(self._hints) if len(self._hints) <= _MOST_HINTS else (_PAGES,))
        self._hints.clear()

    def _heard(self, topics: Sequence[str]) -> None:
        if not topics:
            for wakes in self._wakes.values():
                for wake in wakes:
                    wake()
            self.on_missed()
        for topic in topics:
            if topic == _PAGES:
                self.on_missed()
            elif not topic.startswith("~"):
                self.on_hint(topic)
            for wake in self._wakes.get(topic, ()):
                wake()
