"""Fences for new attempts, taken from the store in blocks so that no assignment waits for a counter."""

from typing import Final

from rota.store.leases import Leases

BLOCK: Final = 10_000


class Fences:
    """Hands out fences, each once, growing; what is left of a block at a crash is never used.

    Several servers have a block each, so of two fences of different servers the later may be the lower one. An attempt
    that follows another of its run must have a higher fence: where the block does not give it, a new one is taken.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._next = 0
        self._end = 0

    def drop(self) -> None:
        """Give none of the block in hand any more: a lost life of the store may have given higher ones."""
        self._end = self._next

    async def take(self, count: int, above: int = 0) -> list[int]:
        """The next `count` fences, all higher than `above`, which some attempt has or had."""
        if self._next <= above:
            self._end = self._next
        taken: list[int] = []
        while len(taken) < count:
            if self._next == self._end:
                size = max(BLOCK, count)
                self._next = await self._leases.reserve_fences(size)
                self._end = self._next + size
            step = min(count - len(taken), self._end - self._next)
            taken.extend(range(self._next, self._next + step))
            self._next += step
        return taken
