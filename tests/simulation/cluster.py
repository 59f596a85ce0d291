"""One simulation: a cluster, its users, what goes wrong, and the verdict."""

import asyncio
import hashlib
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.history.checker import check
from tests.history.probe import Event as ProbeEvent
from tests.history.records import GapRow, History, Row
from tests.simulation.client import Client
from tests.simulation.database import SHARDS, Database
from tests.simulation.machines import BEGINNING, SimulatedServer, SimulatedWorker, StoreClock, connect
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Weather
from tests.simulation.virtual import VirtualLoop, pass_time

from rota.core.model import Gap
from rota.events import Event, ReportRefused
from rota.store.bundle import Store
from rota.store.views import RunQuery
from rota.stores.sqlite import open_sqlite

HARM_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 240.0
SERVERS: Final = 3
WORKERS: Final = 4


class Unsafe(AssertionError):
    """Something was seen that must never be."""


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self._folder = folder
        self._rng = Random(seed)
        self.loop = VirtualLoop(self._fork())
        self.history = History(only_kills_lose=False, clock_error=timedelta(seconds=0.25), asks_in_vain=True)
        self.sometimes: Counter[str] = Counter()
        self._events: list[tuple[float, str, Event]] = []
        self._started: Counter[str] = Counter()
        self._violations: list[str] = []  # what was seen while it ran
        self._trace = hashlib.sha256()
        self.log: list[tuple[float, str]] = []
        self.verdict: Unsafe | None = None

    @property
    def trace(self) -> str:
        """A digest of all that happened, in order."""
        return self._trace.hexdigest()[:16]

    def _fork(self) -> Random:
        return Random(self._rng.getrandbits(64))

    def run(self) -> None:
        """Run it; raises Unsafe with what was wrong."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._run())
        finally:
            self.loop.abandon()
            asyncio.set_event_loop(None)

    async def _run(self) -> None:
        store = await open_sqlite(None, clock=StoreClock(self.loop), inline=True)
        await _add_shards(store)
        database = Database(store, self.loop, self._fork())
        servers = [
            SimulatedServer(f"s{number}", self.loop, database, self._fork(), self._on_event)
            for number in range(1, SERVERS + 1)
        ]
        workers = self._make_workers(servers)
        nemesis = Nemesis(self.loop, servers, workers, database, self.history, self._fork())
        self._cut = nemesis.is_cut
        self.log = nemesis.log
        client = Client(self.loop, servers, self.history, self._fork())
        for machine in [*servers, *workers]:
            machine.start()
        await client.define()
        working = asyncio.ensure_future(client.work())
        harming = asyncio.ensure_future(nemesis.work())
        await pass_time(HARM_SECONDS)
        client.stopping = nemesis.stopping = True
        await asyncio.wait([harming])
        nemesis.mend()
        for machine in [*servers, *workers]:
            if not (machine.node.alive if isinstance(machine, SimulatedServer) else machine.is_up):
                machine.start()
        await asyncio.wait([working], timeout=60.0)
        if not working.done():
            raise Unsafe("a user's call was not answered within a minute after everything was mended")
        working.result()
        await client.finish()
        await self._settle(store)
        await self._collect(store)
        self._count(database)
        for worker in workers:
            with suppress(AttributeError):
                worker.agent._spool._close_segment()  # type: ignore[union-attr]
        violations = [*self._violations, *check(self.history)]
        if violations:
            raise Unsafe("\n".join(violations[:20]))

    def _make_workers(self, servers: list[SimulatedServer]) -> list[SimulatedWorker]:
        weather_of = self._fork()
        workers = []
        for number in range(1, WORKERS + 1):
            rng = self._fork()
            weather = Weather(
                slowest=weather_of.choice([0.002, 0.02, 0.3]),
                repeats=weather_of.choice([0.0, 0.2]),
                reorders=weather_of.choice([0.0, 0.0, 0.5]),
            )

            def dial(worker: SimulatedWorker, weather: Weather = weather, rng: Random = rng) -> Any:
                return connect(worker, servers, self._cut, weather, self.loop, rng)

            worker = SimulatedWorker(f"w{number}", self.loop, rng, self._folder / f"w{number}", dial)
            worker.on_probe = self._on_probe
            worker.on_event = self._on_event
            workers.append(worker)
        return workers

    # ── what is seen while it runs ───────────────────────────────────────────────────────────────────────

    def _on_probe(self, event: ProbeEvent) -> None:
        self.history.events.append(event)
        self._note(f"{event.kind} {event.job} {event.run} {event.fence}")
        if event.kind != "start":
            return
        self._started[event.run] += 1
        job = self.history.jobs.get(event.job)
        if job is not None and job.at_most_once and self._started[event.run] > 1:
            self._violations.append(f"{event.job}: run {event.run} was started twice at {self.loop.time():.3f}")

    def _on_event(self, node: str, event: Event) -> None:
        self.sometimes[type(event).__name__] += 1
        if isinstance(event, ReportRefused):
            self.sometimes["fence rejections"] += 1
        self._note(f"{node} {type(event).__name__}")
        self._events.append((self.loop.time(), node, event))

    def _note(self, text: str) -> None:
        self._trace.update(f"{self.loop.time():.6f} {text}\n".encode())

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    async def _settle(self, store: Store) -> None:
        """Wait until nothing is unfinished."""
        deadline = self.loop.time() + SETTLE_SECONDS
        while True:
            summary = await store.views.summary()
            if summary.queued + summary.starting + summary.running == 0:
                return
            if self.loop.time() > deadline:
                left = [run async for run in _all_runs(store) if not run.state.is_final]
                shown = [(run.job, run.state.value, run.reason, run.due, run.current) for run in left[:5]]
                raise Unsafe(
                    f"{len(left)} runs are unfinished {SETTLE_SECONDS:g} s after everything was mended: {shown}"
                )
            await pass_time(1.0)

    async def _collect(self, store: Store) -> None:
        """What the store says became of everything."""
        self.history.until = BEGINNING + timedelta(seconds=self.loop.time())
        async for run in _all_runs(store):
            attempts = [*run.attempts, *([run.current] if run.current else [])]
            self.history.rows.append(
                Row(
                    id=run.id,
                    job=run.job,
                    due=run.due,
                    trigger=run.trigger.value,
                    state=run.state.value,
                    attempts=tuple((attempt.number, attempt.fence) for attempt in attempts),
                )
            )
            self.sometimes[f"run {run.state.value}"] += 1
            self.sometimes["tried again"] += len(run.attempts) > 1
            self.sometimes["staged"] += bool(attempts) and attempts[0].created < run.due
            if run.reason is not None:
                self.sometimes[f"reason {run.reason.code}"] += 1
        jobs = await store.jobs.get(list(self.history.jobs))
        for name, job in jobs.items():
            entries, _ = await store.views.ledger(job.id, BEGINNING, self.history.until, None, 100_000)
            for gap in (entry for entry in entries if isinstance(entry, Gap)):
                self.sometimes["gaps"] += 1
                self.history.gaps.append(GapRow(job=name, after=gap.after, until=gap.until, count=gap.count))

    def _count(self, database: Database) -> None:
        self.sometimes["unknown commits"] = database.unknown
        self.sometimes.update({f"said {kind}": count for kind, count in self.loop.said.items()})
        self.sometimes["attempts seen"] = len({(event.run, event.fence) for event in self.history.events})


async def _all_runs(store: Store) -> Any:
    after = None
    since = datetime.fromtimestamp(0, BEGINNING.tzinfo)
    while True:
        page = await store.views.runs(RunQuery(since=since), "due", after, 1000)
        for run in page.items:
            yield run
        after = page.next
        if after is None:
            return


async def _add_shards(store: Store) -> None:
    """The embedded store has one shard; here several servers share out more."""

    def add(connection: Any) -> None:
        for shard in range(1, SHARDS):
            connection.execute("INSERT INTO shards (shard, server, epoch) VALUES (?, '', 0)", (shard,))

    await store.leases._database.write(add)  # type: ignore[attr-defined]


def simulate(seed: int) -> Simulation:
    """Run one seed; `verdict` says what was seen that must never be."""
    with tempfile.TemporaryDirectory(prefix="rota-simulation-") as folder:
        simulation = Simulation(seed, Path(folder))
        try:
            simulation.run()
        except Unsafe as error:
            simulation.verdict = error
    return simulation
