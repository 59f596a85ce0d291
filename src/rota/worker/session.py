"""One session: what is said between hello and the end of the channel. Attempts outlive it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import Final

from rota.clock import Clock
from rota.core.errors import RotaError
from rota.core.lease import LEASE_SECONDS, RENEW_SECONDS
from rota.wire.channel import ChannelClosed, WorkerChannel
from rota.wire.messages import (
    Assign,
    Cancel,
    Drain,
    FromServer,
    Heartbeat,
    HeartbeatAcknowledged,
    Hello,
    Moving,
    OutputAcknowledged,
    Permit,
    Refused,
    ReportsAcknowledged,
    Revoke,
    Welcome,
)
from rota.worker.deadline import Deadline
from rota.worker.outbox import Outbox
from rota.worker.workload import Workload

BEAT: Final = 1.0
IDLE_BEATS: Final = 5
DISTANT_IDLE_BEATS: Final = 2  # over a network the silence of a server must be noticed too
PATIENCE: Final = 4.0  # seconds for the answer to a heartbeat, after which another server is tried
WELCOME_PATIENCE: Final = 10.0
STALE: Final = LEASE_SECONDS + 2 * RENEW_SECONDS
"""How old a server's last renewal may be. One whose lease has ended assigns nothing; others may."""

Follow = Callable[[float, float, datetime], object]
"""Takes in a reading of the server's clock; `rota.clock.FollowingClock.follow`."""
Look = Callable[[], Awaitable[bool]]
"""Whether another server says that it can do its duty."""


class WorkerRefused(RotaError):
    """The server does not accept this worker."""

    code = "WORKER_REFUSED"


class Session:
    """Serves one channel."""

    def __init__(
        self, channel: WorkerChannel, workload: Workload, outbox: Outbox, deadline: Deadline | None, clock: Clock
    ) -> None:
        self._channel = channel
        self._workload = workload
        self._outbox = outbox
        self._deadline = deadline
        self._clock = clock
        self._renewal_age = 0.0
        self._unanswered: float | None = None  # when the oldest heartbeat was sent that has no answer yet
        self.server = ""
        self.was_sent = False  # to another server
        self.follow: Follow = lambda sent, received, told: None
        self.on_drain: Callable[[float], None] = lambda grace: None
        self.another_is_ready: Look = nowhere
        self.on_moving: Callable[[], None] = lambda: None  # the server sends us to another
        self.on_renewal: Callable[[str, datetime | None], None] = lambda server, at: None
        self._handlers: Mapping[type, Callable[..., None]] = {
            Assign: lambda message: workload.take(message.orders),
            Permit: lambda message: workload.permit(message.run_id, message.fence, message.boot_id),
            Revoke: lambda message: workload.revoke(message.run_id, message.fence),
            Cancel: lambda message: workload.cancel(message.run_id, message.fence),
            Drain: lambda message: self.on_drain(message.grace),
            ReportsAcknowledged: lambda message: outbox.acknowledge_reports(message.sequence),
            OutputAcknowledged: lambda message: outbox.acknowledge_output(message.sequence),
            HeartbeatAcknowledged: self._answered,
        }

    async def open(self, hello: Hello) -> None:
        """Say hello and be welcomed; raises WorkerRefused, or ChannelClosed when nobody answers."""
        sent = self._clock.monotonic()
        await self._channel.send(hello)
        try:
            async with asyncio.timeout(WELCOME_PATIENCE):
                answer = await self._channel.receive()
        except TimeoutError:
            raise ChannelClosed("the server did not answer the hello") from None
        if isinstance(answer, Refused):
            raise WorkerRefused(answer.reason, hint=answer.hint, again=answer.again)
        if not isinstance(answer, Welcome):
            raise ChannelClosed("the server's first word was not a welcome")
        self.server = answer.server
        self.follow(sent, self._clock.monotonic(), answer.now)
        self.on_renewal(answer.server, answer.renewed)
        if self._deadline is not None:
            self._deadline.welcomed(sent, answer.renewal_age)
        self._workload.lose(answer.lost)

    async def serve(self) -> None:
        """Talk until the channel ends or the server is silent; returns, whatever the reason."""
        await self._outbox.attach(self._channel)
        parts: list[Coroutine[None, None, None]] = [self._receive(), self._beat()]
        if not self._channel.is_local:
            parts.append(self._look_around())
        running = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is not None and not isinstance(error, ChannelClosed):
                    raise error
        finally:
            self._outbox.detach()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._channel.close()

    async def _receive(self) -> None:
        while True:
            message: FromServer = await self._channel.receive()
            if isinstance(message, Moving):
                self.was_sent = True
                self.on_moving()
                return
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(message)

    def _answered(self, message: HeartbeatAcknowledged) -> None:
        self._unanswered = None
        self._renewal_age = message.renewal_age
        self.follow(message.sent, self._clock.monotonic(), message.now)
        self.on_renewal(self.server, message.renewed)
        if self._deadline is not None:
            self._deadline.acknowledged(message.sent, message.renewal_age)

    # ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────

    async def _beat(self) -> None:
        """Say that we live: each second while something goes on, rarely otherwise."""
        workload = self._workload
        silent = 0
        idle = IDLE_BEATS if self._channel.is_local else DISTANT_IDLE_BEATS
        while not self._is_deserted():
            for _ in range(4):
                await asyncio.sleep(BEAT / 4 if workload else BEAT)
                if not workload or workload.credit.has_changed_much():
                    break
            silent += 1
            if workload or silent >= idle or not workload.credit.is_said:
                silent = 0
                await self._say_alive()
            workload.return_blocked()
            await self._outbox.resend()

    async def _say_alive(self) -> None:
        now = self._clock.monotonic()
        if self._unanswered is None:
            self._unanswered = now
        offset = self._clock.wall() - self._clock.now().timestamp()
        credit = self._workload.credit.say()
        await self._channel.send(
            Heartbeat(sent=now, credit=credit, draining=self._workload.draining, clock_offset=round(offset, 4))
        )

    def _is_deserted(self) -> bool:
        """Whether the server has left a heartbeat unanswered for too long: it is gone, or the way to it is."""
        if self._channel.is_local or self._unanswered is None:
            return False
        return self._clock.monotonic() - self._unanswered > PATIENCE

    async def _look_around(self) -> None:
        """Return when our server cannot reach its store and another can: there is work to be had there.

        While no other can, stay: what runs here may go on as long as somebody answers.
        """
        while True:
            await asyncio.sleep(BEAT)
            if self._renewal_age > STALE and await self.another_is_ready():
                return


async def nowhere() -> bool:
    """There is no other server."""
    return False
