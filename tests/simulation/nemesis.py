"""What goes wrong: crashes, pauses, frozen machines, partitions, a database away or silent, clocks that jump."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from tests.history.records import History, Kill
from tests.simulation.database import Database
from tests.simulation.machines import SimulatedServer, SimulatedWorker
from tests.simulation.virtual import VirtualLoop, pass_time


class Nemesis:
    """Does one harm after another, and mends each after a while."""

    def __init__(
        self,
        loop: VirtualLoop,
        servers: list[SimulatedServer],
        workers: list[SimulatedWorker],
        database: Database,
        history: History,
        rng: Random,
    ) -> None:
        self._loop = loop
        self._servers = servers
        self._workers = workers
        self._database = database
        self._history = history
        self._rng = rng
        self._busy: set[str] = set()  # machines that something is being done to
        self._cuts: set[tuple[str, str, str]] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self.log: list[tuple[float, str]] = []
        self.stopping = False

    def is_cut(self, worker: str, server: str, way: str) -> bool:
        """Whether nothing gets from the one to the other (way "up") or back ("down")."""
        return (worker, server, way) in self._cuts

    async def work(self) -> None:
        """Until told to stop; then everything is mended."""
        harms: list[Callable[[], Awaitable[None]]] = [
            self._kill_server,
            self._kill_server,
            self._pause_server,
            self._stop_server,
            self._kill_agent,
            self._freeze_worker,
            self._pause_agent,
            self._power_off,
            self._partition,
            self._partition,
            self._cut_database,
            self._database_away,
            self._silent_commits,
            self._jump_clocks,
            self._drain_worker,
        ]
        while not self.stopping:
            await pass_time(self._rng.expovariate(1 / 4.0))
            task = asyncio.ensure_future(self._rng.choice(harms)())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _note(self, what: str) -> None:
        self.log.append((round(self._loop.time(), 3), what))

    def _free_server(self) -> SimulatedServer | None:
        free = [one for one in self._servers if one.name not in self._busy and one.is_up]
        return self._rng.choice(free) if free else None

    def _free_worker(self) -> SimulatedWorker | None:
        free = [one for one in self._workers if one.name not in self._busy and one.is_up]
        return self._rng.choice(free) if free else None

    async def _rest(self, most: float) -> None:
        await pass_time(self._rng.uniform(0.1, most))

    # ── servers ──────────────────────────────────────────────────────────────────────────────────────────

    async def _kill_server(self) -> None:
        server = self._free_server()
        if server is None:
            return
        self._busy.add(server.name)
        self._note(f"kill {server.name}")
        server.kill()
        await self._rest(20.0)
        server.start()
        self._busy.discard(server.name)

    async def _pause_server(self) -> None:
        server = self._free_server()
        if server is None:
            return
        self._busy.add(server.name)
        self._note(f"pause {server.name}")
        self._loop.pause(server.node)
        await self._rest(30.0)
        self._note(f"resume {server.name}")
        self._loop.resume(server.node)
        self._busy.discard(server.name)

    async def _stop_server(self) -> None:
        server = self._free_server()
        if server is None:
            return
        self._busy.add(server.name)
        self._note(f"stop {server.name}")
        stopping = self._loop.spawn(server.node, server.stop())
        await asyncio.wait([stopping], timeout=30.0)
        if server.node.alive:
            server.kill()
        await self._rest(5.0)
        server.start()
        self._busy.discard(server.name)

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────

    async def _kill_agent(self) -> None:
        worker = self._free_worker()
        if worker is None:
            return
        self._busy.add(worker.name)
        self._note(f"kill {worker.name}/agent")
        worker.kill_agent()
        await self._rest(10.0)
        worker.start()
        self._busy.discard(worker.name)

    async def _drain_worker(self) -> None:
        worker = self._free_worker()
        if worker is None or worker.agent is None:
            return
        self._busy.add(worker.name)
        self._note(f"drain {worker.name}")
        self._loop.spawn(worker.agent_node, worker.agent.drain(self._rng.uniform(0.0, 10.0)))
        await self._rest(40.0)
        if worker.is_up:
            worker.kill_agent()
            await pass_time(0.5)
        worker.start()
        self._busy.discard(worker.name)

    async def _freeze_worker(self) -> None:
        worker = self._free_worker()
        if worker is None:
            return
        self._busy.add(worker.name)
        self._note(f"freeze {worker.name}")
        struck = self._loop.time()
        worker.freeze()
        await self._rest(60.0)
        worker.thaw()
        self._note(f"thaw {worker.name}")
        self._history.frozen.append(Kill(struck=struck, buried=self._loop.time()))
        self._busy.discard(worker.name)

    async def _pause_agent(self) -> None:
        worker = self._free_worker()
        if worker is None:
            return
        self._busy.add(worker.name)
        self._note(f"pause {worker.name}/agent")
        self._loop.pause(worker.agent_node)
        await self._rest(40.0)
        self._note(f"resume {worker.name}/agent")
        self._loop.resume(worker.agent_node)
        self._busy.discard(worker.name)

    async def _power_off(self) -> None:
        worker = self._free_worker()
        if worker is None:
            return
        self._busy.add(worker.name)
        self._note(f"power off {worker.name}")
        worker.power_off()
        await self._rest(30.0)
        worker.start()
        self._busy.discard(worker.name)

    # ── ways ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _partition(self) -> None:
        workers = [one.name for one in self._workers if self._rng.random() < 0.5]
        servers = [one.name for one in self._servers if self._rng.random() < 0.6]
        ways = self._rng.choice([("up",), ("down",), ("up", "down"), ("up", "down")])
        cuts = {(worker, server, way) for worker in workers for server in servers for way in ways}
        self._note(f"cut {workers} {servers} {ways}")
        self._cuts |= cuts
        await self._rest(40.0)
        self._note(f"heal {workers} {servers} {ways}")
        self._cuts -= cuts

    async def _cut_database(self) -> None:
        server = self._rng.choice(self._servers)
        self._note(f"cut {server.name} from the database")
        self._database.cut_off.add(server.name)
        await self._rest(20.0)
        self._note(f"join {server.name} to the database")
        self._database.cut_off.discard(server.name)

    async def _database_away(self) -> None:
        if self._database.is_away:
            return
        self._note("database away")
        self._database.is_away = True
        await self._rest(self._rng.choice([2.0, 15.0, 90.0]))
        self._note("database back")
        self._database.is_away = False

    async def _silent_commits(self) -> None:
        self._note("answers of the database get lost")
        self._database.silent_commits = 0.1
        await self._rest(5.0)
        self._database.silent_commits = 0.0

    async def _jump_clocks(self) -> None:
        for machine in [*self._servers, *self._workers]:
            if self._rng.random() < 0.5:
                machine._hardware.wall_error += self._rng.choice([-3600.0, 3600.0, 5.0])
        self._note("clocks jump")
        await pass_time(0)

    def mend(self) -> None:
        """Everything as it should be."""
        self._cuts.clear()
        self._database.cut_off.clear()
        self._database.is_away = False
        self._database.silent_commits = 0.0
        self._note("all mended")
