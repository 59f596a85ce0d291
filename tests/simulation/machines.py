"""Simulated machines: servers and workers of the real code, over simulated clocks, processes and ways to each other."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.history.probe import Event as ProbeEvent
from tests.simulation.database import Database
from tests.simulation.network import Connection, Weather
from tests.simulation.virtual import Node, VirtualLoop, pass_time

from rota.clock import Clock, FollowingClock
from rota.core.errors import RotaError
from rota.core.lease import MARGIN_SECONDS
from rota.core.model import ShellTask
from rota.events import Event
from rota.server.server import Server, ServerConfig
from rota.wire.channel import WorkerChannel
from rota.worker.agent import Agent
from rota.worker.attempt import Attempt, Outcome, failed, silenced
from rota.worker.executor import Executor
from rota.worker.keeper import LAST_SECONDS
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings

BEGINNING: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEEPER_LOOK: Final = 0.2
assert MARGIN_SECONDS > LAST_SECONDS


class Unreachable(RotaError):
    """No server can be reached."""

    retryable = True


class NoSecrets:
    async def values(self, names: Any) -> dict[str, str]:
        return {}


class Hardware:
    """Clocks of one machine: its monotonic clock runs a little fast or slow, its wall clock shows anything."""

    def __init__(self, loop: VirtualLoop, rng: Random) -> None:
        self._loop = loop
        self._rate = 1 + rng.uniform(-0.002, 0.002)
        self._origin = rng.uniform(0, 1e6)
        self.wall_error = rng.uniform(-300, 300)

    def monotonic(self) -> float:
        return self._origin + self._loop.time() * self._rate

    def wall(self) -> float:
        return BEGINNING.timestamp() + self._loop.time() + self.wall_error

    def clock(self) -> FollowingClock:
        return FollowingClock(self.monotonic, self.wall)


class StoreClock:
    """The database's own clock: true time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return datetime.fromtimestamp(BEGINNING.timestamp() + self._loop.time(), UTC)

    def monotonic(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return self.now().timestamp()


class SimulatedServer:
    """A server process that can be started, killed and stopped again and again."""

    def __init__(self, name: str, loop: VirtualLoop, database: Database, rng: Random, on_event: Any) -> None:
        self.name = name
        self._loop = loop
        self._database = database
        self._rng = rng
        self._on_event = on_event
        self._hardware = Hardware(loop, rng)
        self.node = Node(name)
        self.node.alive = False
        self.server: Server | None = None
        self.connections: list[Connection] = []

    @property
    def is_up(self) -> bool:
        """Whether it accepts connections."""
        return self.node.alive and self.server is not None

    def start(self) -> None:
        """Start the process."""
        self.node = Node(self.name)
        self._loop.spawn(self.node, self._run())

    async def _run(self) -> None:
        clock = self._hardware.clock()
        server = Server(
            self._database.seen_from(self.name),
            ServerConfig(name=self.name, follow_clock=clock.follow),
            secrets=NoSecrets(),
            publish=lambda topic: None,
            clock=clock,
            rng=Random(self._rng.getrandbits(64)),
            emit=lambda event: self._on_event(self.name, event),
        )
        while True:
            try:
                await server.start()
                break
            except RotaError:
                await pass_time(0.5)
        self.server = server

    def kill(self) -> None:
        """kill -9: the kernel closes its connections."""
        self._loop.kill(self.node)
        self.server = None
        self._database.listeners.pop(self.name, None)
        for connection in self.connections:
            connection.end_of("down")
        self.connections = []

    async def stop(self) -> None:
        """TERM: hand everything over, then end."""
        server = self.server
        if server is None:
            return
        await server.hand_over()
        self.server = None
        await server.stop()
        self.kill()

    def accept(self, connection: Connection) -> None:
        """A worker has connected."""
        server = self.server
        assert server is not None
        self.connections.append(connection)
        self._loop.spawn(self.node, self._serve(server, connection))

    async def _serve(self, server: Server, connection: Connection) -> None:
        try:
            await server.serve_worker(connection.server)
        except RotaError:
            await connection.server.close()  # what uvicorn would do when a handler raises


class Keeper:
    """The keeper's process: what runs lives here, and ends by itself, by order, at the deadline, or with the agent."""

    def __init__(
        self, node: Node, loop: VirtualLoop, hardware: Hardware, probe: Callable[[str, Attempt], None]
    ) -> None:
        self.node = node
        self._loop = loop
        self._hardware = hardware
        self._probe = probe
        self._living: dict[Attempt, Callable[[str | None], None]] = {}
        self._until: float | None = None
        self._looking = False

    def spawn(self, attempt: Attempt, seconds: float, over: Callable[[str | None], None]) -> None:
        """Start a process that would take so long; `over` is told, in the keeper, why it ended."""
        self._living[attempt] = over
        self._probe("start", attempt)
        self._loop.call_on(self.node, self._begin, attempt, seconds)

    def end(self, attempt: Attempt, after: float) -> None:
        """It will be dead so much later."""
        self._loop.call_on(self.node, self._kill_later, attempt, after)

    def live_until(self, moment: float) -> None:
        """The worker's deadline has moved."""
        self._until = moment
        if not self._looking:
            self._looking = True
            self._loop.call_on(self.node, self._look)

    def agent_gone(self) -> None:
        """The agent's pipe is closed: everything ends at once."""
        self._loop.call_on(self.node, self._end_all)

    def _begin(self, attempt: Attempt, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._ended, attempt, None)

    def _kill_later(self, attempt: Attempt, after: float) -> None:
        asyncio.get_running_loop().call_later(after, self._ended, attempt, "killed")

    def _look(self) -> None:
        now = self._hardware.monotonic()
        for attempt in list(self._living):
            if self._until is not None and now >= self._until - KEEPER_LOOK + attempt.order.continue_for:
                self._ended(attempt, "deadline")
        asyncio.get_running_loop().call_later(KEEPER_LOOK, self._look)

    def _end_all(self) -> None:
        for attempt in list(self._living):
            del self._living[attempt]
            self._probe("alive", attempt)

    def _ended(self, attempt: Attempt, why: str | None) -> None:
        over = self._living.pop(attempt, None)
        if over is not None:
            self._probe("end" if why is None else "alive", attempt)
            over(why)


class SimulatedExecutor:
    """Runs commands of the form `SECONDS EXIT`."""

    def __init__(self, capacity: int, keeper: Keeper, agent: Node, loop: VirtualLoop) -> None:
        self._capacity = capacity
        self._keeper = keeper
        self._agent = agent
        self._loop = loop
        self._running: set[Attempt] = set()

    def takes(self, attempt: Attempt, reserved: int) -> bool:
        return len(self._running) + reserved < self._capacity

    def prepare(self, attempt: Attempt) -> None:
        """Nothing can be done beforehand."""

    def start(self, attempt: Attempt) -> None:
        task = attempt.order.task
        assert isinstance(task, ShellTask)
        seconds, code = task.command.split()
        self._running.add(attempt)
        attempt.begin()

        def over(why: str | None) -> None:
            self._loop.call_on(self._agent, self._over, attempt, int(code), why)

        self._keeper.spawn(attempt, float(seconds), over)

    def ripen(self, attempt: Attempt) -> None:
        """Nothing is put off."""

    def stop(self, attempt: Attempt, grace: float) -> None:
        self._keeper.end(attempt, min(grace, 0.2))

    def withdraw(self, attempt: Attempt) -> bool:
        return False

    def take_back(self, taken_before: float) -> list[Attempt]:
        return []

    async def close(self) -> None:
        """Nothing is left open."""

    def _over(self, attempt: Attempt, code: int, why: str | None) -> None:
        self._running.discard(attempt)
        if why == "deadline":
            attempt.end(silenced())
        elif why is not None or attempt.stopping is not None:
            attempt.end(attempt.stopped() if why is not None else _outcome(code))
        else:
            attempt.end(_outcome(code))


def _outcome(code: int) -> Outcome:
    return Outcome(outcome="succeeded", exit=0) if code == 0 else failed("exit", f"exit code {code}", exit=code)


class Executors:
    """What the agent runs attempts with."""

    def __init__(self, of: dict[str, Executor], keeper: Keeper) -> None:
        self.of = of
        self._keeper = keeper

    def live_until(self, moment: float) -> None:
        self._keeper.live_until(moment)

    async def close(self) -> None:
        self._keeper.agent_gone()


class SimulatedWorker:
    """A worker's machine: agent and keeper, and the folder that outlives them."""

    def __init__(
        self, name: str, loop: VirtualLoop, rng: Random, folder: Path, connect: Callable[["SimulatedWorker"], Any]
    ) -> None:
        self.name = name
        self._loop = loop
        self._rng = rng
        self._folder = folder
        self._connect = connect
        self._hardware = Hardware(loop, rng)
        self.agent_node = Node(f"{name}/agent")
        self.agent_node.alive = False
        self.keeper_node = Node(f"{name}/keeper")
        self.keeper: Keeper | None = None
        self.agent: Agent | None = None
        self.connections: list[Connection] = []
        self.probes: list[ProbeEvent] = []
        self.on_probe: Callable[[ProbeEvent], None] = lambda event: None
        self.on_event: Callable[[str, Event], None] = lambda name, event: None

    @property
    def is_up(self) -> bool:
        return self.agent_node.alive

    def start(self) -> None:
        """Start agent and keeper."""
        self.agent_node, self.keeper_node = Node(f"{self.name}/agent"), Node(f"{self.name}/keeper")
        self.keeper = Keeper(self.keeper_node, self._loop, self._hardware, self._probed)
        self._loop.spawn(self.agent_node, self._run(self.keeper))

    async def _run(self, keeper: Keeper) -> None:
        clock = self._hardware.clock()
        settings = WorkerSettings(name=self.name, state=self._folder, capacity={"shell": 6})
        node = self.agent_node

        async def make(settings: WorkerSettings, gate: Gate, clock: Clock) -> Executors:
            executor: Executor = SimulatedExecutor(settings.capacity["shell"], keeper, node, self._loop)
            return Executors({"shell": executor}, keeper)

        async def dial() -> WorkerChannel:
            channel: WorkerChannel = await self._connect(self)
            return channel

        self.agent = Agent(
            settings,
            clock,
            dial,
            emit=lambda event: self.on_event(self.name, event),
            make=make,
            rng=Random(self._rng.getrandbits(64)),
        )
        self.agent.follow = clock.follow
        await self.agent.run()
        self._loop.kill(self.agent_node)

    def kill_agent(self) -> None:
        """kill -9 of the agent: the keeper sees its pipe close, the kernel closes the connections."""
        self._loop.kill(self.agent_node)
        if self.keeper is not None:
            self.keeper.agent_gone()
        for connection in self.connections:
            connection.end_of("up")
        self.connections = []

    def power_off(self) -> None:
        """The machine is gone: nobody is told."""
        self._loop.kill(self.agent_node)
        self._loop.kill(self.keeper_node)
        if self.keeper is not None:
            self.keeper._living.clear()
        self.connections = []

    def freeze(self) -> None:
        """The whole machine stands still."""
        self._loop.pause(self.agent_node)
        self._loop.pause(self.keeper_node)

    def thaw(self) -> None:
        """And goes on."""
        self._loop.resume(self.keeper_node)
        self._loop.resume(self.agent_node)

    def _probed(self, kind: str, attempt: Attempt) -> None:
        order = attempt.order
        event = ProbeEvent(
            kind=kind,
            uptime=self._loop.time(),
            job=order.job,
            run=order.run_id,
            attempt=order.attempt,
            fence=order.fence,
            pid=0,
        )
        self.on_probe(event)


def connect(
    worker: SimulatedWorker,
    servers: list[SimulatedServer],
    cut: Callable[[str, str, str], bool],
    weather: Weather,
    loop: VirtualLoop,
    rng: Random,
) -> Any:
    """One attempt over the list of servers, as the dialer makes it."""

    async def dial() -> WorkerChannel:
        order = servers.copy()
        rng.shuffle(order)
        for server in order:
            await pass_time(weather.delay(rng) * 2)
            if cut(worker.name, server.name, "up") or cut(worker.name, server.name, "down"):
                await pass_time(5.0)
                continue
            if not server.is_up or server.node.paused:
                continue

            def is_cut(way: str, server: SimulatedServer = server) -> bool:
                return cut(worker.name, server.name, way)

            connection = Connection(loop, rng, weather, is_cut)
            worker.connections.append(connection)
            server.accept(connection)
            return connection.worker
        raise Unreachable("no server answered")

    return dial()
