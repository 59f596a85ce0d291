"""An event loop on virtual time that runs several machines: seeded order between them, pauses, crashes.

Each callback belongs to the node that scheduled it (a context variable). Between nodes the order is chance; within a
node it is the order of asyncio, as in a real process. Time moves only when nobody has anything to do.
"""

import asyncio
import contextvars
import heapq
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

RESOLUTION: Final = 1e-9


class Node:
    """A process: what runs in it can be paused, and dies with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.queue: deque[asyncio.Handle] = deque()

    def __repr__(self) -> str:
        return self.name


_node: contextvars.ContextVar[Node] = contextvars.ContextVar("node")


def current_node() -> Node:
    """The node whose code runs."""
    return _node.get()


async def pass_time(seconds: float) -> None:
    """Let virtual time pass for the task that asks; nobody waits for it."""
    await asyncio.sleep(seconds)


class Stuck(Exception):
    """Nobody has anything to do, ever again."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Virtual time, several nodes."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self._now = 0.0
        self.world = Node("world")
        self._busy: list[Node] = []  # nodes with something in their queue that may run
        self.steps = 0
        self.said: Counter[str] = Counter()  # messages of each kind that were put on their way
        self._clock_resolution = RESOLUTION
        self._tasks: list[asyncio.Task[Any]] = []  # all that ever were: what died must not be cleaned up by chance
        self.set_task_factory(self._make_task)

    def _make_task(self, loop: asyncio.AbstractEventLoop, part: Any, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(part, loop=loop, context=context)
        self._tasks.append(task)
        return task

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def spawn(self, node: Node, part: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """Run a coroutine as code of a node."""
        context = contextvars.copy_context()
        context.run(_node.set, node)
        return context.run(lambda: self.create_task(part, name=name or None))

    def call_on(self, node: Node, callback: Callable[..., object], *arguments: Any) -> None:
        """Run a callback soon as code of a node."""
        context = contextvars.copy_context()
        context.run(_node.set, node)
        self.call_soon(callback, *arguments, context=context)

    def later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Run a callback after some time as code of nobody: of the wire, of the weather."""
        context = contextvars.Context()
        self.call_later(max(seconds, 0.0), callback, *arguments, context=context)

    def pause(self, node: Node) -> None:
        """Stop a node where it is; what happens meanwhile waits for it."""
        node.paused = True
        if node in self._busy:
            self._busy.remove(node)

    def resume(self, node: Node) -> None:
        """Let a paused node go on."""
        node.paused = False
        if node.queue and node.alive and node not in self._busy:
            self._busy.append(node)

    def kill(self, node: Node) -> None:
        """End a node at once: nothing of it runs any more, not even what would clean up."""
        node.alive = False
        node.queue.clear()
        if node in self._busy:
            self._busy.remove(node)

    def abandon(self) -> None:
        """Let go of all that is not over, without a word of it."""
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            task._log_traceback = False  # type: ignore[attr-defined]
            _throw_away(task.get_coro())
        self.close()

    # ── the machinery of BaseEventLoop ───────────────────────────────────────────────────────────────────

    def _run_once(self) -> None:
        self._share_out()
        if not self._busy:
            self._advance()
            self._share_out()
            if not self._busy:
                return
        node = self._busy[self._rng.randrange(len(self._busy))] if len(self._busy) > 1 else self._busy[0]
        handle = node.queue.popleft()
        if not node.queue:
            self._busy.remove(node)
        self.steps += 1
        if not handle._cancelled:
            handle._run()

    def _share_out(self) -> None:
        """Move what is ready to the queues of its nodes."""
        ready = self._ready  # type: ignore[attr-defined]
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            node = handle._context.get(_node, self.world)
            if not node.alive:
                continue
            node.queue.append(handle)
            if not node.paused and len(node.queue) == 1:
                self._busy.append(node)

    def _advance(self) -> None:
        """Go to the next moment at which a timer is over."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and (scheduled[0]._cancelled or not self._lives(scheduled[0])):
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            raise Stuck("nothing is scheduled")
        self._now = max(self._now, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._now + RESOLUTION:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)  # type: ignore[attr-defined]

    def _lives(self, handle: asyncio.TimerHandle) -> bool:
        return handle._context.get(_node, self.world).alive

    def _process_events(self, event_list: Any) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """There are no threads."""


def _throw_away(part: Any) -> None:
    """Close a coroutine whatever it would rather do."""
    for _ in range(20):
        with suppress(Exception):
            part.close()
            return
