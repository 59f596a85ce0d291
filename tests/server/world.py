"""A server's loops ticked by hand over SQLite in memory, with scripted workers at the other end of the channel."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from typing import Any

from tests.core.builders import NOON, make_spec

from rota.clock import ManualClock
from rota.core.actor import Actor
from rota.core.model import Gap, Job, JobStats, Notice, OutputChunk, OutputLine, Run, RunId, RunState, Server
from rota.events import Event
from rota.loop import NO_REST
from rota.server.admission import Admission, Identity
from rota.server.assigner import Assigner
from rota.server.commands import Commands, WantedJob
from rota.server.commands.base import Services
from rota.server.dispatcher import Dispatcher
from rota.server.hub import Hub
from rota.server.planner import Planner
from rota.server.reaper import Reaper
from rota.server.recorder import Recorder
from rota.server.restore import RestoreWatch
from rota.store.bundle import Store
from rota.store.views import RunQuery
from rota.stores.sqlite import open_sqlite
from rota.wire.channel import memory_channel
from rota.wire.messages import (
    Assign,
    AttemptOrder,
    Cancel,
    Finished,
    FromServer,
    Hello,
    Output,
    Permit,
    Ready,
    Report,
    Reports,
    Returned,
    Started,
)

ADA = Actor(name="ada", scopes=frozenset({"admin"}))
BEGINNING = datetime.fromtimestamp(0, NOON.tzinfo)


class StaticSecrets:
    """Secrets as a plain mapping."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def values(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self.known[name] for name in names if name in self.known}


class World:
    """One server, ticked by hand."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        self.events: list[Event] = []
        self.published: list[str] = []
        self.watched: set[str] = set()
        self.secrets = StaticSecrets()
        self.epochs: dict[int, int] = {}
        self.workers: list[ScriptedWorker] = []
        emit = self.events.append
        self.restore = RestoreWatch(store, clock, emit)
        self.recorder = Recorder(store, clock, Random(1), self.published.append, emit)
        self.hub = self.new_hub()
        planning = asyncio.Lock()
        services = Services(
            store=store,
            clock=clock,
            settler=self.recorder,
            cancel_attempt=self.hub.cancel,
            revoke_attempt=self.hub.revoke,
            wake=lambda: None,
            publish=self.published.append,
            emit=emit,
            is_watched=self.watched.__contains__,
            planning=planning,
            counters=self.recorder.counters,
        )
        self.commands = Commands(services)
        assigner = Assigner(store, self.hub, self.secrets, self.recorder, emit)
        self.dispatcher = Dispatcher(store, self.hub, assigner, self.recorder, self.commands.replace_runs, clock, emit)
        self.dispatcher.restore = self.restore
        planned, counters = self.dispatcher.planned, self.recorder.counters
        self.planner = Planner(store, clock, self.epochs, planning, counters, planned, emit)
        self.recorder.on_ended = self.dispatcher.freed
        self.reaper = Reaper(store, self.hub, self.recorder, clock, emit)

    def new_hub(self) -> Hub:
        """A hub that knows nothing yet, as after a restart."""
        emit = self.events.append
        admission = Admission(self.store, "s1", self.restore, self.clock, emit)
        hub = self.recorder.hub = Hub(self.store, self.clock, "s1", admission, self.recorder, emit)
        return hub

    async def work(self) -> None:
        """Tick until nothing is left to do; a loop that never rests is a failure."""
        for _ in range(300):
            await breathe()
            rests = [await self.planner.tick(), await self.dispatcher.tick(), await self.recorder.tick()]
            if min(rests) > NO_REST and not any(worker.is_unheard() for worker in self.workers):
                return
        raise AssertionError("the loops never come to rest")

    async def pass_time(self, **units: float) -> None:
        self.clock.advance(**units)
        await self.work()

    async def worker(self, name: str = "w1", **fields: Any) -> "ScriptedWorker":
        """A connected worker."""
        worker = ScriptedWorker(self, name)
        await worker.connect(**fields)
        return worker

    async def job(self, name: str = "team/job", **spec: Any) -> Job:
        """Create or change a job by the command that users use."""
        await self.commands.apply([WantedJob(full_name=name, spec=make_spec(**spec))], actor=ADA)
        return await self.stored_job(name)

    async def stored_job(self, name: str = "team/job") -> Job:
        return (await self.store.jobs.get([name]))[name]

    async def trigger(self, name: str = "team/job", **fields: Any) -> Run:
        wanted = {"params": {}, "key": None, "at": None, **fields}
        return await self.commands.trigger(name, **wanted, actor=ADA)

    async def run(self, run_id: str) -> Run:
        return (await self.store.runs.get([RunId(run_id)]))[RunId(run_id)]

    async def runs(self) -> list[Run]:
        """All runs, oldest first."""
        page = await self.store.views.runs(RunQuery(since=BEGINNING), "due", None, 1000)
        return list(page.items)

    async def states(self) -> list[tuple[str, str]]:
        """State and reason of all runs, oldest first."""
        return [(run.state.value, run.reason.code if run.reason else "") for run in await self.runs()]

    async def gaps(self, name: str = "team/job") -> list[Gap]:
        job = (await self.store.jobs.get_with_deleted([name]))[name]
        rows, _ = await self.store.views.ledger(job.id, BEGINNING, self.clock.now(), None, 1000)
        return [row for row in rows if isinstance(row, Gap)]

    async def stats(self, name: str = "team/job") -> JobStats:
        job = await self.stored_job(name)
        return (await self.store.runs.stats([job.id]))[job.id]

    async def notices(self) -> list[Notice]:
        return (await self.store.alerts.recent(100))[::-1]


class DistantChannel:
    """A channel that ends without its other end having ended, as one over a network may."""

    is_local = False

    def __init__(self, channel: Any) -> None:
        self.send, self.receive, self.close = channel.send, channel.receive, channel.close


class ScriptedWorker:
    """A worker that does only what the test says."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.channel, self._server_end = memory_channel()
        self.served: asyncio.Task[None] | None = None
        self.sequence = 0
        self.seen: list[FromServer] = []
        world.workers.append(self)

    async def connect(self, *, distant: bool = False, identity: Identity | None = None, **fields: Any) -> None:
        """Say hello: fields of a Hello, all others are capacities; `distant`: as over a network."""
        end: Any = DistantChannel(self._server_end) if distant else self._server_end
        self.served = asyncio.create_task(self.world.hub.serve(end, identity))
        said = {name: fields.pop(name) for name in list(fields) if name in Hello.__struct_fields__}
        room = fields or {"shell": 4, "http": 4, "python": 4}
        await self.channel.send(
            Hello(**{"worker": self.name, "boot_id": "boot-1", "version": "0", "capacity": room, **said})
        )
        await breathe()

    def is_unheard(self) -> bool:
        """Whether something it sent has not been received."""
        return not self._server_end._incoming.empty() and self.served is not None and not self.served.done()

    async def vanish(self) -> None:
        """Its end of the channel dies."""
        await self.channel.close()
        assert self.served is not None
        await self.served

    async def report(self, *reports: Report) -> None:
        self.sequence += 1
        await self.channel.send(Reports(sequence=self.sequence, items=reports))

    async def finish(self, order: AttemptOrder, outcome: str = "succeeded", **fields: Any) -> None:
        now = self.world.clock.now()
        values = {"started": now, "finished": now, "failure": "exit" if outcome == "failed" else None, **fields}
        await self.report(Finished(**attempt(order), outcome=outcome, **values))
        await self.world.work()

    async def start(self, order: AttemptOrder) -> None:
        await self.report(Started(**attempt(order), started=self.world.clock.now()))
        await self.world.work()

    async def give_back(self, order: AttemptOrder) -> None:
        await self.report(Returned(**attempt(order), why="not today"))
        await self.world.work()

    async def ask_permit(self, order: AttemptOrder) -> None:
        await self.report(Ready(**attempt(order)))
        await self.world.work()

    async def write(self, order: AttemptOrder, text: str) -> None:
        self.sequence += 1
        line = OutputLine(time=0, stream=0, data=text.encode())
        chunk = OutputChunk(
            run_id=RunId(order.run_id), attempt=order.attempt, sequence=0, first_line=0, offset=0, lines=(line,)
        )
        await self.channel.send(Output(sequence=self.sequence, chunks=(chunk,)))

    def heard(self) -> list[FromServer]:
        """Everything the server sent since last asked."""
        new: list[FromServer] = []
        while not self.channel._incoming.empty():
            message = self.channel._incoming.get_nowait()
            if message is not None:
                new.append(message)
        self.seen += new
        return new

    def orders(self) -> list[AttemptOrder]:
        """The orders among what is new."""
        return [order for message in self.heard() if isinstance(message, Assign) for order in message.orders]

    def order(self) -> AttemptOrder:
        """The only new order."""
        (order,) = self.orders()
        return order

    def cancels(self) -> list[Cancel]:
        return [message for message in self.heard() if isinstance(message, Cancel)]

    def permits(self) -> list[Permit]:
        return [message for message in self.heard() if isinstance(message, Permit)]


def attempt(order: AttemptOrder) -> dict[str, Any]:
    return {"run_id": order.run_id, "attempt": order.attempt, "fence": order.fence}


async def breathe() -> None:
    """Let every task that can go on do so."""
    for _ in range(12):
        await asyncio.sleep(0)


async def lead(store: Store, server: str = "s1") -> dict[int, int]:
    """Let a server lead everything, alone."""
    row = Server(id=server, name=server, url="", version="0", started=NOON, renewed=NOON, lease_until=NOON)
    await store.leases.join(row, None, alone=True)
    shards = (await store.leases.standing()).shards
    return await store.leases.take(server, {shard.number: shard.epoch for shard in shards})


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    clock = ManualClock(NOON)
    store = await open_sqlite(None, clock=clock, inline=True)
    world = World(store, clock)
    world.epochs |= await lead(store)
    try:
        yield world
    finally:
        for worker in world.workers:
            await worker.channel.close()
        await asyncio.gather(*(worker.served for worker in world.workers if worker.served), return_exceptions=True)
        await store.close()


FINAL = [state for state in RunState if state.is_final]
