"""Storage contract: hints between the servers of one store. They wake loops and pages early; nothing needs them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

Listener = Callable[[Sequence[str]], None]


class Signals(Protocol):
    """Topics that changed, told to the other servers soon, or never."""

    def publish(self, topics: Iterable[str]) -> None:
        """Tell the other servers that what these topics stand for has changed. Returns at once; may be lost."""

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with topics that others published; with none at all when some may have been missed."""
