"""Stores against a model that is too simple to be wrong: random commands, the same answers, the same contents.

Each command is given to all stores of the machine; all must answer alike, and as the model says.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace
from store_values import NOON, add_jobs, after, finished, lead, make_job, make_run, make_worker, starting
from tests.postgres.cluster import binaries
from tests.postgres.clusters import FOR_TESTS, Clusters

from rota.clock import ManualClock
from rota.core.errors import Conflict, Fenced
from rota.core.model import Job, JobId, Run, RunId, RunState, Trigger
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, Plan, RunChange
from rota.store.views import RunQuery
from rota.stores.postgres import open_postgres
from rota.stores.sqlite import open_sqlite

JOBS = [make_job(f"web/job-{number}") for number in range(3)]
SECONDS = st.integers(0, 12)
ENDS = st.sampled_from([state for state in RunState if state.is_final])
PICK = st.integers(0, 99)


class Model:
    """What a store holds, as plain dictionaries."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.runs: dict[RunId, Run] = {}
        self.sessions: dict[str, tuple[int, bool]] = {}
        self.epoch = 0

    def add(self, runs: list[Run]) -> list[Run]:
        """Add what is not there; returns what there is in the place of each."""
        stored = []
        for run in runs:
            there = self.of_key(run) or self.runs.setdefault(run.id, run)
            stored.append(there)
        return stored

    def of_key(self, run: Run) -> Run | None:
        """The run of the same job that has this run's key."""
        same = [other for other in self.runs.values() if run.key and (other.job_id, other.key) == (run.job_id, run.key)]
        return same[0] if same else None

    def hot(self) -> list[Run]:
        return [run for run in self.runs.values() if not run.state.is_final]

    def is_next(self, run: Run) -> bool:
        stored = self.runs.get(run.id)
        return stored is not None and not stored.state.is_final and stored.version == run.version - 1

    def may_assign(self, change: RunChange, sessions: dict[str, int]) -> bool:
        run = change.run
        if not self.is_next(run):
            return False
        if change.alone and any(
            other.released and other.id != run.id for other in self.hot() if other.job_id == run.job_id
        ):
            return False
        if run.state is not RunState.STARTING or run.current is None:
            return True
        number, live = self.sessions.get(run.current.worker, (0, False))
        return live and sessions.get(run.current.worker) == number


class StoreMachine(RuleBasedStateMachine):
    """Commands to stores, each also given to the model."""

    def __init__(self, clusters: Clusters | None = None, kinds: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.ExitStack()
        self.model = Model()
        self.stores: list[Store] = [self.wait(open_sqlite(None, clock=ManualClock(NOON), inline=True))]
        if clusters is not None:
            urls = [self.stack.enter_context(clusters.database(kind)) for kind in kinds]
            self.stores += [self.wait(open_postgres(url, FOR_TESTS)) for url in urls]

    def wait(self, verb: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(verb)

    def call(self, verb: Callable[[Store], Awaitable[Any]]) -> Any:
        """What all stores answer, or raise."""

        async def ask(store: Store) -> Any:
            return (await asyncio.gather(verb(store), return_exceptions=True))[0]

        answers = [self.wait(ask(store)) for store in self.stores]
        first = answers[0]
        for answer in answers[1:]:
            assert answer == first or (isinstance(answer, Exception) and type(answer) is type(first)), answers
        if isinstance(first, Exception):
            raise first
        return first

    def teardown(self) -> None:
        for store in self.stores:
            self.wait(store.close())
        self.stack.close()
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        self.call(lambda store: add_jobs(store, *JOBS))
        self.model.jobs = {job.id: job for job in JOBS}
        epochs = {self.wait(lead(store))[0] for store in self.stores}
        (self.model.epoch,) = epochs

    def stale(self, run: Run, by: int) -> Run:
        """The run as somebody saw it who did not look for some writes."""
        return replace(run, version=max(1, run.version - by))

    def pick(self, place: int) -> Run | None:
        runs = sorted(self.model.runs.values(), key=lambda run: run.id)
        return runs[place % len(runs)] if runs else None

    # ── commands ──

    @rule(picks=st.lists(st.tuples(st.integers(0, 2), SECONDS), max_size=4), late=st.booleans())
    def create(self, picks: list[tuple[int, int]], late: bool) -> None:
        runs = [
            make_run(JOBS[job], after(seconds), late_at=after(seconds + 5) if late else None) for job, seconds in picks
        ]
        stored = self.call(lambda store: store.runs.create(runs))
        assert stored == self.model.add(runs)

    @rule(picks=st.lists(st.tuples(st.integers(0, 1), SECONDS, st.sampled_from("ab")), max_size=4))
    def trigger(self, picks: list[tuple[int, int, str]]) -> None:
        """Runs with keys: one key of a job is one run, whenever it was asked for."""
        runs = [
            make_run(JOBS[job], after(seconds), trigger=Trigger.MANUAL, key=key, created=after(seconds))
            for job, seconds, key in picks
        ]
        stored = self.call(lambda store: store.runs.create(runs))
        assert stored == self.model.add(runs)

    @rule(place=PICK, alone=st.booleans(), session=st.integers(0, 2), by=st.integers(0, 1), more=PICK)
    def assign(self, place: int, alone: bool, session: int, by: int, more: int) -> None:
        picked = [run for run in (self.pick(place), self.pick(more)) if run is not None]
        sessions = {"w1": session}
        changes = [
            RunChange(run=starting(self.stale(run, by), session=session), alone=alone)
            for run in picked
            if not run.state.is_final
        ]
        expected = set()
        for change in changes:
            if self.model.may_assign(change, sessions):
                self.model.runs[change.run.id] = change.run
                expected.add(change.run.id)
        assert self.call(lambda store: store.runs.assign(changes, sessions)) == expected

    @rule(places=st.lists(PICK, max_size=3, unique=True), state=ENDS, by=st.integers(0, 1))
    def record(self, places: list[int], state: RunState, by: int) -> None:
        picked = {run.id: run for place in places if (run := self.pick(place)) is not None}
        ended = [finished(self.stale(run, by), state) for run in picked.values()]
        fits = all(self.model.is_next(run) for run in ended)
        try:
            written = self.call(lambda store: store.runs.record([RunChange(run=run) for run in ended], [], []))
        except Conflict:
            assert not fits
            return
        assert fits
        assert written == {run.id for run in ended}
        self.model.runs.update((run.id, run) for run in ended)

    @rule(place=PICK, seconds=SECONDS)
    def requeue(self, place: int, seconds: int) -> None:
        run = self.pick(place)
        if run is None or run.current is None:
            return
        waiting = replace(
            run,
            state=RunState.QUEUED,
            attempts=(*run.attempts, run.current),
            current=None,
            ready_at=after(seconds),
            version=run.version + 1,
        )
        self.call(lambda store: store.runs.record([RunChange(run=waiting)], [], []))
        self.model.runs[run.id] = waiting

    @rule()
    def connect(self) -> None:
        number = self.call(lambda store: store.sessions.connect(make_worker()))
        assert number == self.model.sessions.get("w1", (0, False))[0] + 1
        self.model.sessions["w1"] = (number, True)

    @rule(session=st.integers(1, 2))
    def disconnect(self, session: int) -> None:
        ended = self.call(lambda store: store.sessions.disconnect("w1", session, NOON))
        assert ended == (self.model.sessions.get("w1") == (session, True))
        if ended:
            self.model.sessions["w1"] = (session, False)

    @rule(place=st.integers(0, 2), by=st.integers(0, 1), fenced=st.booleans(), seconds=SECONDS)
    def plan(self, place: int, by: int, fenced: bool, seconds: int) -> None:
        job = self.model.jobs[JOBS[place].id]
        run = make_run(job, after(seconds), state=RunState.QUEUED)
        plan = Plan(
            job_id=job.id, expected_version=job.version - by, cursor=after(seconds), next_at=after(99), runs=(run,)
        )
        try:
            moved = self.call(lambda store: store.jobs.commit_plan([plan], {0: self.model.epoch - fenced}))
        except Fenced:
            assert fenced
            return
        assert not fenced
        fits = by == 0 and job.deleted is None
        assert moved == ({job.id} if fits else set())
        if fits:
            self.model.jobs[job.id] = replace(job, version=job.version + 1, cursor=after(seconds), next_at=after(99))
            self.model.add([run])

    @rule(place=st.integers(0, 2), expected=st.integers(-1, 1), gone=st.booleans())
    def edit(self, place: int, expected: int, gone: bool) -> None:
        job = self.model.jobs[JOBS[place].id]
        version = 0 if expected < 0 else job.version + expected
        edited = replace(
            job, version=job.version + 1, revision=job.revision + 1, deleted=NOON if gone else None, updated=NOON
        )
        try:
            self.call(lambda store: store.jobs.apply([JobWrite(job=edited, expected_version=version)], []))
        except Conflict:
            assert version != job.version
            assert version != 0 or job.deleted is None
            return
        assert version == job.version or (version == 0 and job.deleted is not None)
        self.model.jobs[job.id] = edited

    @rule(seconds=SECONDS)
    def prune(self, seconds: int) -> None:
        old = [
            run.id
            for run in self.model.runs.values()
            if run.state.is_final and run.finished is not None and run.finished < after(seconds)
        ]
        assert self.call(lambda store: store.runs.prune(after(seconds), 1000)) == len(old)
        for id_ in old:
            del self.model.runs[id_]

    # ── what must be equal at every moment ──

    @invariant()
    def the_same_runs(self) -> None:
        page = self.call(lambda store: store.views.runs(RunQuery(since=after(-60)), "due", None, 1000))
        assert list(page.items) == sorted(self.model.runs.values(), key=lambda run: (run.due, run.id))

    @invariant()
    def the_same_jobs(self) -> None:
        ids = [job.id for job in JOBS]
        assert self.call(lambda store: store.jobs.by_id(ids)) == self.model.jobs

    @invariant()
    def the_same_waiting_and_held(self) -> None:
        hot = self.model.hot()
        waiting = self.call(lambda store: store.runs.waiting(after(6), {"http": 1000}, 1000)).runs
        ready = [run for run in hot if run.state is RunState.QUEUED and run.ready_at <= after(6)]
        assert list(waiting) == sorted(ready, key=lambda run: (run.ready_at, run.id))
        later = [run.ready_at for run in hot if run.state is RunState.QUEUED and run.ready_at > after(6)]
        assert self.call(lambda store: store.runs.next_ready(after(6))) == min(later, default=None)
        held = [run for run in hot if run.state is not RunState.QUEUED]
        assert self.call(lambda store: store.held.all()) == sorted(held, key=lambda run: (run.due, run.id))
        late = [run.late_at for run in hot if run.late_at is not None]
        assert self.call(lambda store: store.runs.next_late()) == min(late, default=None)


def drive(examples: int, clusters: Clusters | None = None, kinds: tuple[str, ...] = ()) -> None:
    """Let the machine run."""
    chosen = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(lambda: StoreMachine(clusters, kinds), settings=chosen)  # type: ignore[no-untyped-call]


def test_sqlite_against_the_model() -> None:
    drive(60)


def test_all_stores_against_the_model(clusters: Clusters) -> None:
    drive(12, clusters, tuple(binaries()))
