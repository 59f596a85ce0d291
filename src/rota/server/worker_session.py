"""One connected worker as its server sees it: what it holds, how much more it takes, when it was last heard."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from rota.core.lease import SILENCE_SECONDS
from rota.core.model import JobId, Run, Worker
from rota.core.placement import WorkerRoom
from rota.store.sessions import Sign
from rota.wire.channel import ChannelClosed, ServerChannel
from rota.wire.messages import FromServer, Held, Moving

HESITATION_SECONDS: Final = 5.0  # workers over a network say something every 2 s at least

AttemptKey = tuple[str, int]
"""Run id and fence."""


class Holding(NamedTuple):
    """An attempt that a worker has been given and has not reported the end of."""

    kind: str
    job_id: JobId
    number: int
    continue_for: float


class WorkerSession:
    """One session, from its welcome until what it held is dealt with; its channel may end before that."""

    def __init__(self, worker: Worker, channel: ServerChannel, heard: float) -> None:
        self.worker = worker
        self.channel = channel
        self.heard = heard  # monotonic: when something last came from it
        self.credit = dict(worker.capacity)
        self.draining = False
        self.ended = False  # the channel is closed
        self.is_over = False  # its worker is gone for good: it said goodbye, or ended with this process's channel
        self.clock_offset: float | None = None
        self.early_cancels: set[AttemptKey] = set()  # asked for before the order was sent
        self.given_up: set[AttemptKey] = set()  # their order was not sent, and is not sent any more: they count as lost
        self.asked: dict[AttemptKey, str] = {}  # what it was told to "end" or to "give back"
        self._held: dict[AttemptKey, Holding] = {}
        self._counts: Counter[str] = Counter()

    @property
    def held(self) -> dict[AttemptKey, Holding]:
        """What it holds; change it by `hold` and `let_go`."""
        return self._held

    async def send(self, message: FromServer) -> bool:
        """Send a message; False when the channel has ended."""
        try:
            await self.channel.send(message)
        except ChannelClosed:
            return False
        return True

    async def send_elsewhere(self) -> None:
        """Ask the worker to connect to another server, with all it holds; give it nothing more until then."""
        self.draining = True
        await self.send(Moving())

    async def cut_off(self) -> None:
        """End the channel of a silent worker: from now on no heartbeat is answered; it must say hello again."""
        self.ended = True
        await self.channel.close()

    def hold(self, run: Run) -> None:
        """It has been given the run's current attempt, or says that it has it."""
        assert run.current is not None
        holding = Holding(run.kind, run.job_id, run.current.number, run.current.continue_for)
        if self._held.setdefault((run.id, run.fence), holding) is holding:
            self._counts[run.kind] += 1

    def note_returned(self, attempts: Iterable[AttemptKey]) -> None:
        """They come back. Where that was not asked the worker takes less than it said; its next heartbeat says what."""
        for attempt in attempts:
            holding = self._held.get(attempt)
            if holding is not None and attempt not in self.asked:
                self.asked[attempt] = "give back"
                self.credit[holding.kind] = max(0, self.credit.get(holding.kind, 0) - 1)

    def let_go(self, attempt: AttemptKey) -> bool:
        """It holds the attempt no more; returns whether it did."""
        holding = self._held.pop(attempt, None)
        if holding is None:
            return False
        self._counts[holding.kind] -= 1
        self.asked.pop(attempt, None)
        return True

    def sign(self, now: datetime, monotonic: float) -> Sign:
        """What is known of its worker, as of when it was last heard."""
        return Sign(
            name=self.worker.name,
            at=now - timedelta(seconds=monotonic - self.heard),
            draining=self.draining,
            clock_offset=self.clock_offset,
        )

    def room(self) -> WorkerRoom:
        """How many more attempts of each kind it takes.

        Where the worker keeps a stock of short attempts (its credit is above its capacity), room is only spoken of
        when a quarter of the stock is gone: the next ones then travel together and not one by one.
        """
        room = {kind: credit - self._counts[kind] for kind, credit in self.credit.items()}
        for kind, credit in self.credit.items():
            if credit > self.worker.capacity.get(kind, 0) and room[kind] < credit // 4:
                room[kind] = 0
        return WorkerRoom(name=self.worker.name, session=self.worker.session, room=room, draining=self.draining)

    def hesitates(self, now: float) -> bool:
        """Whether its worker has not been heard for so long that it is given nothing new until it is."""
        return not self.channel.is_local and now - self.heard >= HESITATION_SECONDS

    def is_silent(self, now: float) -> bool:
        """Whether its worker has not been heard for longer than a living one may be."""
        return now - self.heard >= SILENCE_SECONDS

    def overdue(self, now: float) -> list[Held]:
        """What it has been silent about for too long: attempts whose worker may be called lost."""
        silence = now - self.heard
        return self.as_held(
            key for key, holding in self._held.items() if silence >= SILENCE_SECONDS + holding.continue_for
        )

    def as_held(self, attempts: Iterable[AttemptKey]) -> list[Held]:
        """These attempts of the session in the words of the wire."""
        return [
            Held(run_id=run_id, attempt=self._held[run_id, fence].number, fence=fence) for run_id, fence in attempts
        ]
