"""A real server's commands and read models over SQLite in memory, with the web application in front."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx2
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from rota.clock import Clock, ManualClock
from rota.core.actor import Actor
from rota.core.ids import run_id
from rota.core.model import (
    Attempt,
    AttemptState,
    Job,
    OutputChunk,
    OutputLine,
    Reason,
    Run,
    RunState,
    Trigger,
    Usage,
)
from rota.core.run_state import Assign, Finish, Requeue, Start, advance
from rota.events import Event
from rota.jobfile.parse import parse_spec
from rota.server.access import AccessControl
from rota.server.api.app import build_app
from rota.server.api.limits import Limiter, Rates
from rota.server.api.services import ApiServices, ApiSettings
from rota.server.commands import WantedJob
from rota.server.definitions import Definitions
from rota.server.enrolment import Enrolment
from rota.server.hints import Hints
from rota.server.queries.service import Queries
from rota.server.secrets import Vault, VaultKey
from rota.server.server import Server, ServerConfig
from rota.server.token_watch import TokenWatch
from rota.store.bundle import Store
from rota.store.jobs import RunChange
from rota.stores.sqlite import open_sqlite

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KEY = VaultKey(bytes(range(32)))
ADMIN = Actor(name="admin", scopes=frozenset({"admin"}))
SHELL = {"schedule": "every day at 03:00", "shell": "echo hello"}


@dataclass
class Installation:
    """Everything a test of the API touches."""

    store: Store
    server: Server
    services: ApiServices
    app: Starlette
    clock: Any
    tokens: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def client(self, scope: str | None = "admin", **headers: str) -> httpx2.AsyncClient:
        """A client with the token of that scope (None: without one)."""
        if scope is not None:
            headers["Authorization"] = f"Bearer {self.tokens[scope]}"
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700", headers=headers)

    async def apply(self, *names: str, **keys: Any) -> Job:
        """Define jobs of these full names; returns the last one."""
        wanted = []
        for name in names:
            namespace, _, short = name.partition("/")
            spec = parse_spec(namespace, short, {**SHELL, **keys})
            wanted.append(WantedJob(full_name=name, spec=spec))
        await self.services.commands.apply(wanted, actor=ADMIN)
        return (await self.store.jobs.get([names[-1]]))[names[-1]]

    async def trigger(self, name: str, **params: str) -> Run:
        """Start a job by hand."""
        return await self.services.commands.trigger(name, params=params, key=None, at=None, actor=ADMIN)

    async def add_run(self, job: Job, due: datetime, state: RunState = RunState.SUCCEEDED, **more: Any) -> Run:
        """A scheduled run that has ended so, without the loops: stored queued and then settled or carried through."""
        run = Run(
            id=run_id(job.id, due, Trigger.SCHEDULE, "", due),
            job_id=job.id,
            job=job.full_name,
            revision=job.revision,
            due=due,
            nominal=due,
            trigger=Trigger.SCHEDULE,
            state=RunState.QUEUED,
            kind="shell",
            created=due,
            ready_at=due,
        )
        if state in (RunState.MISSED, RunState.SKIPPED):
            reason = Reason(code="CATCHUP_SKIPPED", params={"policy": "skip"})
            done = replace(run, state=state, reason=reason, finished=due + timedelta(minutes=5))
            return (await self.store.runs.create([done]))[0]
        run = (await self.store.runs.create([run]))[0]
        return await self.carry(run, state, **more)

    async def carry(
        self, run: Run, state: RunState, *, took: float = 3.0, error: str | None = None, failures: int = 0
    ) -> Run:
        """Take a queued run through its attempts to `state`; with `failures` attempts that failed before."""
        at = run.due
        for _ in range(failures):
            run = await self.started(run, at)
            closed = self._closed(run, AttemptState.FAILED, at + timedelta(seconds=took), error or "exit 1")
            at += timedelta(seconds=took + 30)
            reason = Reason(code="RETRY_WAIT", params={"attempt": run.attempt, "failure": "exit", "at": at.isoformat()})
            move = Requeue(attempt=closed, ready_at=at, reason=reason, failures=run.failures + 1, losses=run.losses)
            run = await self._record(advance(run, move))
        if state is RunState.QUEUED:
            return run
        run = await self.started(run, at)
        if state is RunState.RUNNING:
            return run
        return await self.carry_on(run, state, took=took, error=error)

    async def carry_on(self, run: Run, state: RunState, *, took: float = 3.0, error: str | None = None) -> Run:
        """End a running run."""
        assert run.current is not None
        end = run.current.created + timedelta(seconds=took)
        closed = self._closed(run, AttemptState(state.value), end, error)
        reason = None if state is RunState.SUCCEEDED else Reason(code="FAILED", params={"error": error or ""})
        return await self._record(advance(run, Finish(state=state, attempt=closed, at=end, reason=reason)))

    async def write(self, run: Run, *lines: tuple[int, bytes], attempt: int = 1) -> None:
        """Add output to an attempt."""
        begin = int((run.started or run.due).timestamp() * 1_000_000)
        pieces = tuple(
            OutputLine(time=begin + index * 100_000, stream=stream, data=data)
            for index, (stream, data) in enumerate(lines)
        )
        size = await self.store.output.size(run.id, attempt)
        chunk = OutputChunk(
            run_id=run.id, attempt=attempt, sequence=size.lines, first_line=size.lines, offset=size.bytes, lines=pieces
        )
        await self.store.output.append([chunk])

    async def started(self, run: Run, at: datetime) -> Run:
        """The run with a worker that has started it."""
        attempt = Attempt(
            number=run.attempt + 1, fence=run.attempt + 1, worker="w-1", state=AttemptState.STARTING, created=at
        )
        assigned = advance(run, Assign(attempt=attempt, session=1))
        await self._record(assigned)
        return await self._record(advance(assigned, Start(started=at + timedelta(milliseconds=200))))

    def _closed(self, run: Run, state: AttemptState, at: datetime, error: str | None) -> Attempt:
        assert run.current is not None
        return replace(
            run.current,
            state=state,
            finished=at,
            exit=0 if state is AttemptState.SUCCEEDED else 1,
            error=error,
            usage=Usage(cpu_seconds=0.42, peak_memory=23 * 1024 * 1024),
        )

    async def _record(self, run: Run) -> Run:
        await self.store.runs.record([RunChange(run=run)], [], [])
        return run


@contextlib.asynccontextmanager
async def open_installation(
    clock: Clock | None = None, rates: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Installation]:
    """An installation in memory with one token of each scope."""
    clock = clock or ManualClock(START)
    store = await open_sqlite(None, clock=clock, inline=True)
    hints, events = Hints(), list[Event]()
    vault = Vault(store.access, KEY, clock)
    server = Server(
        store, ServerConfig(), secrets=vault, publish=hints.publish, clock=clock, rng=Random(1), emit=events.append
    )
    access = AccessControl(store.access, clock)
    registry = CollectorRegistry()
    Counter("rota_probe", "counts nothing", registry=registry)
    services = ApiServices(
        store=store,
        server=server,
        commands=server.commands,
        queries=Queries(store, clock, Definitions()),
        access=access,
        vault=vault,
        hints=hints,
        clock=clock,
        settings=ApiSettings(version="1.2.3", **settings),
        metrics=registry,
        emit=events.append,
        enrolment=Enrolment(store, access, clock, events.append),
        watch=TokenWatch(access, events.append),
        limits=Limiter(Rates(**(rates or {})), clock, events.append),
        serve_worker=server.serve_worker,
    )
    installation = Installation(
        store=store, server=server, services=services, app=build_app(services), clock=clock, events=events
    )
    for scope in ("admin", "write", "read", "metrics"):
        made = await access.create_token(scope, [scope], actor=ADMIN)
        installation.tokens[scope] = made.text
    joining = await access.create_token("fleet", ["join"], uses=5, actor=ADMIN)
    installation.tokens["join"] = joining.text
    installation.tokens["worker"] = (await services.enrolment.join(joining.text, "w-api")).text
    try:
        yield installation
    finally:
        hints.close()
        await store.close()
        await asyncio.sleep(0)
