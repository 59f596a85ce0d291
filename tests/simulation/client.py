"""People and programs that use the cluster: they define, edit, pause, trigger and cancel, through whatever server."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, TypeVar

from tests.history.records import Acknowledged, Definition, History, JobHistory, Window
from tests.simulation.machines import BEGINNING, SimulatedServer
from tests.simulation.virtual import VirtualLoop, pass_time

from rota.core.actor import Actor
from rota.core.errors import Conflict, Fenced, RotaError, StoreUnavailable
from rota.core.model import Delivery, JobSpec, MissedMode, MissedPolicy, Overlap, RetryPolicy, RunId, ShellTask
from rota.server.commands import WantedJob
from rota.server.server import Server

T = TypeVar("T")
SOMEBODY: Final = Actor(name="ada", scopes=frozenset({"admin"}))
EXPRESSIONS: Final = ("* * * * * *", "*/2 * * * * *", "*/5 * * * * *", "1-40/3 * * * * *", "*/20 * * * * *")
HAND: Final = "s/by-hand"


def specs(rng: Random) -> dict[str, JobSpec]:
    """The jobs of one simulation."""
    jobs: dict[str, JobSpec] = {}
    for number in range(10):
        overlap = rng.choice([Overlap.SKIP, Overlap.SKIP, Overlap.QUEUE, Overlap.QUEUE_LATEST, Overlap.ALLOW])
        seconds = rng.choice([0.01, 0.2, 0.7, 1.5, 4.0])
        at_most_once = rng.random() < 0.25
        jobs[f"s/job-{number}"] = JobSpec(
            task=ShellTask(command=f"{seconds} {rng.choice([0, 0, 0, 3])}"),
            schedule=rng.choice(EXPRESSIONS),
            overlap=overlap,
            delivery=Delivery.AT_MOST_ONCE if at_most_once else Delivery.AT_LEAST_ONCE,
            retry=RetryPolicy(tries=1 if at_most_once else rng.choice([1, 3]), wait_min=0.5, wait_max=2.0),
            missed=MissedPolicy(mode=rng.choice(list(MissedMode)), within=rng.choice([None, 30.0, 3600.0]), at_most=5),
            on_disconnect=rng.choice([None, None, 10.0]),
            timeout=None,
        )
    jobs["s/long"] = JobSpec(task=ShellTask(command="25 0"), schedule="*/30 * * * * *", overlap=Overlap.SKIP)
    jobs[HAND] = JobSpec(task=ShellTask(command="0.3 0"), overlap=Overlap.ALLOW)
    return jobs


class Client:
    """Does one thing after another, each until it is answered, and writes down what was acknowledged when."""

    def __init__(self, loop: VirtualLoop, servers: list[SimulatedServer], history: History, rng: Random) -> None:
        self._loop = loop
        self._servers = servers
        self._history = history
        self._rng = rng
        self._specs = specs(rng)
        self._paused: dict[str, Window] = {}
        self._calls = 0
        self.stopping = False

    async def define(self) -> None:
        """Make the jobs."""
        for name, spec in self._specs.items():
            window = await self._until_answered(self._put(name, spec))
            job = JobHistory(
                name=name,
                at_most_once=spec.delivery is Delivery.AT_MOST_ONCE,
                overlaps=spec.overlap is Overlap.ALLOW or name == HAND,
            )
            job.definitions.append(Definition(window=window, expression=spec.schedule))
            self._history.jobs[name] = job

    async def work(self) -> None:
        """Trigger, edit, pause, cancel until told to stop."""
        acts = [self._trigger] * 5 + [self._edit, self._edit, self._turn_pause, self._turn_pause, self._cancel]
        while not self.stopping:
            await pass_time(self._rng.expovariate(1.5))
            await self._rng.choice(acts)()

    async def finish(self) -> None:
        """Resume what is paused, then pause everything: nothing is due any more."""
        for name in list(self._paused):
            await self._resume(name)
        for name, job in self._history.jobs.items():
            window = await self._until_answered(self._pause(name))
            job.definitions.append(Definition(window=window, expression=None))

    async def _trigger(self) -> None:
        self._calls += 1
        key = f"key-{self._calls}"
        name = HAND if self._rng.random() < 0.5 else self._rng.choice(list(self._specs))
        for _ in range(self._rng.choice((1, 1, 2))):
            run = await self._answer(
                lambda server: server.commands.trigger(name, params={}, key=key, at=None, actor=SOMEBODY)
            )
            self._history.acknowledged.append(Acknowledged(key=key, run=run.id))

    async def _edit(self) -> None:
        name = self._rng.choice([one for one in self._specs if one != HAND])
        before = self._specs[name]
        spec = JobSpec(**{**_fields(before), "schedule": self._rng.choice(EXPRESSIONS)})
        self._specs[name] = spec
        window = await self._until_answered(self._put(name, spec))
        self._history.jobs[name].definitions.append(Definition(window=window, expression=spec.schedule))

    async def _turn_pause(self) -> None:
        name = self._rng.choice([one for one in self._specs if one != HAND])
        if name in self._paused:
            await self._resume(name)
            return
        self._paused[name] = await self._until_answered(self._pause(name))
        self._history.jobs[name].pauses.append((self._paused[name], None))

    async def _cancel(self) -> None:
        server = self._any_server()
        if server is None:
            return
        try:
            held = list(await server.store.held.all())
            if held:
                await server.commands.cancel(RunId(self._rng.choice(held).id), reason="", actor=SOMEBODY)
        except RotaError:
            return  # it had ended, or nobody answered: a cancel that is not acknowledged promises nothing

    async def _resume(self, name: str) -> None:
        window = await self._until_answered(lambda server: server.commands.resume(name, actor=SOMEBODY))
        pauses = self._history.jobs[name].pauses
        pauses[-1] = (self._paused.pop(name), window)

    def _put(self, name: str, spec: JobSpec) -> Callable[[Server], Awaitable[Any]]:
        return lambda server: server.commands.apply([WantedJob(full_name=name, spec=spec)], actor=SOMEBODY)

    def _pause(self, name: str) -> Callable[[Server], Awaitable[Any]]:
        return lambda server: server.commands.pause(name, until=None, reason="a test", actor=SOMEBODY)

    async def _until_answered(self, call: Callable[[Server], Awaitable[Any]]) -> Window:
        asked = self._now()
        await self._answer(call)
        return Window(asked=asked, answered=self._now())

    async def _answer(self, call: Callable[[Server], Awaitable[T]]) -> T:
        """The answer of some server; those that are down, or cannot do it now, are tried again."""
        while True:
            machine = self._rng.choice(self._servers)
            if machine.is_up and not machine.node.paused and machine.server is not None:
                node = machine.node
                part = self._loop.spawn(node, _as_coroutine(call(machine.server)))
                while node.alive and not part.done():  # what stands still may yet do it: it is not asked elsewhere
                    await asyncio.wait([part], timeout=0.5)
                if part.done():
                    try:
                        return part.result()
                    except (StoreUnavailable, Fenced, Conflict):
                        pass
            await pass_time(self._rng.uniform(0.05, 0.5))

    def _any_server(self) -> Server | None:
        up = [one.server for one in self._servers if one.is_up and not one.node.paused]
        return self._rng.choice(up) if up else None

    def _now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._loop.time())


async def _as_coroutine(part: Awaitable[T]) -> T:
    return await part


def _fields(spec: JobSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}
