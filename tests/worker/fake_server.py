"""A worker in this process, joined by a memory channel to a server that the test plays."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rota.clock import SystemClock, boot_time
from rota.core.model import ShellTask
from rota.events import Event
from rota.wire.channel import ChannelClosed, WorkerChannel, memory_channel
from rota.wire.messages import (
    Assign,
    AttemptOrder,
    Finished,
    Heartbeat,
    HeartbeatAcknowledged,
    Held,
    Hello,
    Output,
    OutputAcknowledged,
    Reports,
    ReportsAcknowledged,
    Welcome,
)
from rota.worker.agent import Agent, NoMoreServers
from rota.worker.settings import WorkerSettings

DUE = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


async def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for something in the world outside (a file, a process) that tells nobody; return it."""
    async with asyncio.timeout(seconds):
        while not (found := holds()):
            await asyncio.sleep(0.005)
    return found


async def written(path: Path) -> str:
    """What stands in a file, once something does."""
    return str(await eventually(lambda: path.exists() and path.read_text().strip()))


class Distant:
    """The worker's end of a channel that is not inside one process, as far as the worker can tell."""

    is_local = False

    def __init__(self, channel: WorkerChannel) -> None:
        self.send, self.receive, self.close = channel.send, channel.receive, channel.close


class FakeServer:
    """Plays the server: sends orders, acknowledges everything, remembers what it heard.

    `distant`: the worker may connect again when its channel has ended; otherwise that is its end too.
    """

    def __init__(self, settings: WorkerSettings, *, distant: bool = False) -> None:
        self.settings = settings
        self.distant = distant
        self.heard = asyncio.Condition()
        self.hellos: list[Hello] = []
        self.heartbeats: list[Heartbeat] = []
        self.reports: list[Any] = []
        self.chunks: dict[str, list[Any]] = {}
        self.acknowledging = True
        self.answering = True  # heartbeats
        self.renewal_age = 0.0
        self.lost: tuple[Held, ...] = ()  # what the next welcome calls lost
        self.fence = 100
        self.channel: Any = None
        self.listening: list[asyncio.Task[None]] = []
        self.events: list[Event] = []
        self.agent = Agent(settings, SystemClock(boot_time), self.dial, emit=self.events.append)
        self.running = asyncio.create_task(self.agent.run())

    @property
    def hello(self) -> Hello | None:
        """The newest hello."""
        return self.hellos[-1] if self.hellos else None

    async def dial(self) -> Any:
        """The worker connects."""
        if self.channel is not None and not self.distant:
            raise NoMoreServers
        ours, self.channel = memory_channel()
        self.listening.append(asyncio.create_task(self._listen(self.channel)))
        return Distant(ours) if self.distant else ours

    async def _listen(self, channel: Any) -> None:
        try:
            while True:
                await self._hear(await channel.receive(), channel)
        except ChannelClosed:
            pass

    async def _hear(self, message: Any, channel: Any) -> None:
        async with self.heard:
            match message:
                case Hello():
                    self.hellos.append(message)
                    await channel.send(Welcome(session=1, server="s", now=datetime.now(UTC), lost=self.lost))
                case Heartbeat():
                    self.heartbeats.append(message)
                    if self.answering:
                        answer = HeartbeatAcknowledged(
                            sent=message.sent, now=datetime.now(UTC), renewal_age=self.renewal_age
                        )
                        await channel.send(answer)
                case Reports():
                    self.reports += message.items
                    if self.acknowledging:
                        await channel.send(ReportsAcknowledged(sequence=message.sequence))
                case Output():
                    for chunk in message.chunks:
                        self.chunks.setdefault(chunk.run_id, []).append(chunk)
                    if self.acknowledging:
                        await channel.send(OutputAcknowledged(sequence=message.sequence))
                case _:
                    self.reports.append(message)
            self.heard.notify_all()

    def order(self, task: Any = None, **facts: Any) -> AttemptOrder:
        """An order for `task` (text: a shell command) with a fence of its own."""
        self.fence += 1
        if isinstance(task, str):
            task = ShellTask(command=task)
        defaults = {"run_id": f"run-{self.fence}", "job": "test/job", "due": DUE, "attempt": 1, "fence": self.fence}
        return AttemptOrder(task=task, **{**defaults, **facts})

    async def assign(self, *orders: AttemptOrder) -> None:
        await self.channel.send(Assign(orders=orders))

    async def until(self, found: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Wait until `found()` is true, looked at after each message; return it."""
        async with asyncio.timeout(seconds), self.heard:
            await self.heard.wait_for(found)
            return found()

    def report_of(self, order: AttemptOrder, kind: type = Finished) -> Any:
        """The report of this kind about the order's run, None before it came."""
        return next((r for r in self.reports if isinstance(r, kind) and r.run_id == order.run_id), None)

    async def finished(self, order: AttemptOrder, seconds: float = 20.0) -> Finished:
        """Wait for the end of an attempt."""
        return await self.until(lambda: self.report_of(order), seconds)

    async def run(self, task: Any, **facts: Any) -> tuple[Finished, str]:
        """Run one attempt; its end and all that it printed on stdout and stderr."""
        order = self.order(task, **facts)
        await self.assign(order)
        return await self.finished(order), self.text(order)

    def lines(self, order_or_id: AttemptOrder | str) -> list[Any]:
        """The output lines of a run so far."""
        run_id = order_or_id if isinstance(order_or_id, str) else order_or_id.run_id
        return [line for chunk in self.chunks.get(run_id, []) for line in chunk.lines]

    def text(self, order: AttemptOrder, *streams: int) -> str:
        """What a run printed, by default on stdout and stderr."""
        wanted = streams or (0, 1)
        return b"".join(line.data for line in self.lines(order) if line.stream in wanted).decode(errors="replace")

    async def close(self) -> None:
        await self.agent.stop()
        await self.running
        for listening in self.listening:
            listening.cancel()
        await asyncio.gather(*self.listening, return_exceptions=True)
