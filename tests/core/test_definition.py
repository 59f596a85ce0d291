"""Changes of a job's definition, and promise P1: every instant of the schedule in force is answered exactly once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core.brute_force import Oracle
from tests.core.builders import NOON, at, later, make_held, make_job, make_run, make_spec, schedule_of

from rota.core import catch_up, definition
from rota.core.catch_up import CLOCKS_APART, LOOKAHEAD
from rota.core.definition import Change
from rota.core.model import (
    Attempt,
    AttemptState,
    Gap,
    HttpTask,
    Job,
    JobSpec,
    MissedMode,
    MissedPolicy,
    Pause,
    Run,
    RunId,
    RunState,
    Trigger,
)
from rota.core.run_state import Assign, advance, on_returned
from rota.core.schedule import Schedule, compile_schedule

# ── single changes ───────────────────────────────────────────────────────────────────────────────────────


def compiled(spec: JobSpec, anchor: datetime = NOON) -> Schedule:
    return compile_schedule(spec.schedule, at=spec.at, timezone=spec.timezone, name="team/job", anchor=anchor)


def create(spec: JobSpec, before: Job | None = None, now: datetime = NOON) -> Job:
    schedule = compiled(spec, now)
    return definition.create("team/job", spec, schedule, source=None, by="ada", before=before, now=now).job


def edit(job: Job, spec: JobSpec, *waiting: Run, now: datetime = NOON) -> Change:
    new = compiled(spec, job.created)
    return definition.edit(job, schedule_of(job), spec, new, source=None, waiting=waiting, now=now)


def pause(job: Job, *waiting: Run, until: datetime | None = None, now: datetime = NOON, why: str = "") -> Change:
    return definition.pause(job, schedule_of(job), until=until, why=why, by="ada", waiting=waiting, now=now)


def test_new_job_is_planned_from_now_on() -> None:
    job = create(make_spec(schedule="* * * * *"))
    assert (job.revision, job.version, job.cursor, job.next_at) == (1, 1, NOON, later(60))
    assert job.full_name == "team/job"


def test_new_job_may_start_paused() -> None:
    job = create(make_spec(schedule="* * * * *", paused=True))
    assert job.pause == Pause(since=NOON, by="ada", reason="starts paused")
    assert job.next_at is None


def test_deleted_job_comes_back_with_its_history() -> None:
    job = create(make_spec(schedule="* * * * *"))
    deleted = definition.delete(job, schedule_of(job), waiting=(), now=later(90)).job
    again = create(make_spec(schedule="*/5 * * * *"), before=deleted, now=later(100))
    assert (again.id, again.revision, again.deleted) == (job.id, 2, None)
    assert again.version > deleted.version
    assert again.cursor == later(100)


def test_job_that_comes_back_before_its_cursor_repeats_nothing() -> None:
    """The clock may stand behind what was planned (it was set back while the server was down)."""
    job = replace(create(make_spec(schedule="* * * * *")), cursor=later(600), deleted=NOON)
    again = create(make_spec(schedule="* * * * *"), before=job, now=later(60))
    assert (again.cursor, again.next_at) == (later(600), later(660))


def test_what_was_planned_ahead_is_planned_again_under_the_new_definition() -> None:
    ahead = make_job(schedule="* * * * * *", cursor=later(2))
    change = edit(ahead, make_spec(schedule="*/2 * * * * *"), make_run(later(1)), make_run(later(2)))
    assert (change.job.cursor, change.job.next_at) == (later(2), later(4))
    assert [run.state for run in change.waiting] == [RunState.SKIPPED, RunState.QUEUED]
    assert [(run.due, run.revision) for run in change.runs] == [(later(2), 2)], "the store keeps the row there is"
    deleted = definition.delete(ahead, schedule_of(ahead), waiting=(), now=NOON).job
    assert deleted.cursor == later(2)
    spec = make_spec(schedule="* * * * * *")
    again = definition.create("team/job", spec, compiled(spec), source=None, by="ada", before=deleted, now=later(1))
    assert [run.due for run in again.runs] == [later(2)]


def test_what_a_server_with_a_faster_clock_planned_ahead_is_planned_again_too() -> None:
    ahead = make_job(schedule="* * * * * *", cursor=later(0.005) + LOOKAHEAD)
    change = edit(ahead, make_spec(schedule="*/2 * * * * *"))
    assert [run.due for run in change.runs] == [later(2)]
    set_back = make_job(schedule="* * * * * *", cursor=later(3600))
    assert edit(set_back, make_spec(schedule="*/2 * * * * *")).runs == ()


def test_what_a_worker_has_already_is_asked_back_and_not_changed() -> None:
    job = make_job(schedule="* * * * * *", cursor=later(2))
    one, two = make_held(RunState.STARTING, later(1)), make_held(RunState.STARTING, later(2))
    assert one.is_staged(NOON)
    edited = edit(job, make_spec(schedule="*/2 * * * * *"), one, two).waiting
    paused = pause(job, one).waiting
    deleted = definition.delete(job, schedule_of(job), waiting=(one,), now=NOON).waiting
    changed = (*edited, *paused, *deleted)
    assert [run.withdrawn.code for run in changed if run.withdrawn] == ["EDITED", "REPINNED", "PAUSED", "DELETED"]
    assert {(run.state, run.version, run.revision) for run in changed} == {(RunState.STARTING, one.version + 1, 1)}


def test_a_run_that_came_back_follows_the_present_definition() -> None:
    job = make_job(revision=3, schedule="* * * * * *", task=HttpTask(method="GET", url="http://x/"), params={"a": "b"})
    back = definition.repinned(make_run(later(1)), job)
    assert (back.revision, back.kind, back.params, back.version) == (3, "http", {"a": "b"}, 2)


def test_edit_answers_the_past_under_the_old_schedule() -> None:
    change = edit(make_job(schedule="* * * * *"), make_spec(schedule="0 * * * *"), now=later(90))
    (run,) = change.runs
    assert (run.due, run.state, run.version) == (later(60), RunState.SKIPPED, 1)
    assert run.reason is not None
    assert run.reason.code == "EDITED"
    assert (change.job.revision, change.job.version, change.job.cursor) == (2, 2, later(90))
    assert (change.job.next_at, change.expected_version) == (later(3600), 1)


def test_edit_moves_waiting_runs_to_the_new_revision() -> None:
    job = make_job(schedule="* * * * *", params={"day": "old"})
    http = make_spec(
        schedule="*/2 * * * *", task=HttpTask(method="GET", url="http://x/"), params={"day": "new"}, late_after=30.0
    )
    stays, goes = make_run(later(120), params={"day": "old"}), make_run(later(60))
    change = edit(job, http, stays, goes, now=NOON)
    moved, ended = change.waiting
    assert (moved.revision, moved.kind, moved.version, moved.state) == (2, "http", 2, RunState.QUEUED)
    assert (moved.params, moved.late_at) == ({"day": "new"}, later(150))
    assert (ended.state, ended.version) == (RunState.SKIPPED, 2)
    assert change.ended == [ended]


def test_edit_keeps_manual_runs_and_their_params() -> None:
    manual = make_run(later(61), trigger=Trigger.MANUAL, params={"day": "mine"})
    (moved,) = edit(make_job(schedule="* * * * *"), make_spec(schedule="0 * * * *"), manual).waiting
    assert (moved.state, moved.revision, moved.params) == (RunState.QUEUED, 2, {"day": "mine"})


def test_edit_into_shadow_starts_no_waiting_run() -> None:
    spec = make_spec(schedule="* * * * *", shadow=True)
    (ended,) = edit(make_job(schedule="* * * * *"), spec, make_run(later(60))).waiting
    assert ended.state is RunState.SKIPPED
    assert ended.reason is not None
    assert ended.reason.code == "SHADOW"


def test_edit_mends_a_broken_job_and_keeps_a_pause() -> None:
    job = make_job(schedule="* * * * *", broken="no such zone", pause=Pause(since=NOON, by="ada", until=later(900)))
    change = edit(job, make_spec(schedule="*/5 * * * *"), now=later(300))
    assert change.job.broken is None
    assert change.job.pause == job.pause
    assert change.job.next_at == later(900) + LOOKAHEAD
    assert change.gaps[0].count == 5


def test_delete_ends_what_waits() -> None:
    job = make_job(schedule="* * * * *")
    between_tries = make_run(later(5), released=NOON)
    change = definition.delete(job, schedule_of(job), waiting=[make_run(later(3)), between_tries], now=later(90))
    assert [run.state for run in change.waiting] == [RunState.SKIPPED, RunState.CANCELLED]
    assert [run.state for run in change.runs] == [RunState.SKIPPED]
    assert (change.job.deleted, change.job.next_at, change.job.pause) == (later(90), None, None)
    assert len(change.ended) == 3


def test_pause_skips_scheduled_runs_only() -> None:
    manual = make_run(later(7), trigger=Trigger.MANUAL)
    job = make_job(schedule="* * * * *")
    change = pause(job, make_run(later(5)), manual, until=later(600), now=later(30), why="holiday")
    (skipped,) = change.waiting
    assert skipped.reason is not None
    assert skipped.reason.params == {"by": "ada", "why": ": holiday", "job": "team/job"}
    assert (change.job.next_at, change.job.pause) == (
        later(600) + LOOKAHEAD,
        Pause(since=later(30), by="ada", reason="holiday", until=later(600)),
    )


def test_changed_pause_keeps_its_beginning() -> None:
    job = pause(make_job(schedule="* * * * *")).job
    change = pause(job, until=later(900), now=later(300), why="longer")
    assert change.job.pause is not None
    assert change.job.pause.since == NOON
    assert change.gaps[0].count == 5
    assert change.job.cursor == later(300)


def test_resume_writes_one_gap_and_goes_on() -> None:
    job = pause(make_job(schedule="* * * * *")).job
    change = definition.resume(job, schedule_of(job), now=later(86_400))
    assert [gap.count for gap in change.gaps] == [1440]
    assert change.runs == ()
    assert (change.job.pause, change.job.next_at) == (None, later(86_460))


@pytest.mark.parametrize("name", ["edit", "delete", "pause", "resume"])
def test_every_change_raises_the_version_and_names_the_one_it_saw(name: str) -> None:
    job = make_job(schedule="* * * * *", version=41, pause=Pause(since=NOON, by="ada") if name == "resume" else None)
    change = {
        "edit": lambda: edit(job, make_spec()),
        "delete": lambda: definition.delete(job, schedule_of(job), waiting=(), now=NOON),
        "pause": lambda: pause(job),
        "resume": lambda: definition.resume(job, schedule_of(job), now=NOON),
    }[name]()
    assert (change.expected_version, change.job.version) == (41, 42)


# ── promise P1 ───────────────────────────────────────────────────────────────────────────────────────────

Instants = Callable[[datetime, datetime], list[datetime]]


def every(seconds: int, anchor: datetime, start: datetime, end: datetime) -> list[datetime]:
    """All multiples of an interval since the anchor, by walking."""
    found, moment = [], anchor
    while moment <= end:
        if moment > start:
            found.append(moment)
        moment += timedelta(seconds=seconds)
    return found


BERLIN = "Europe/Berlin"
CRONS = [
    ("*/10 * * * *", "UTC"),
    ("7,37 * * * *", "UTC"),
    ("0 3 * * *", BERLIN),
    ("30 2 * * *", BERLIN),  # in the gap of March, twice in October
    ("15 1-3 * * *", BERLIN),
    ("0 9 * * 1-5", "America/New_York"),
    ("30 0 1,15 * *", "Australia/Lord_Howe"),
]
STARTS = [at("2026-03-27 11:00"), at("2026-10-23 23:59"), at("2026-04-03 00:00"), at("2026-06-01 12:00")]

FURTHEST = LOOKAHEAD + CLOCKS_APART


class Ledger:
    """One job as its rows are stored, and what an independent enumeration says it should have."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.job: Job | None = None
        self.rows: dict[RunId, Run] = {}
        self.gaps: list[Gap] = []
        self.expected: list[datetime] = []
        self.oracle: Instants = lambda start, end: []
        self.asked_until = now
        self.changed = now  # when the definition last changed

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def plan(self, fast: float = 0.0) -> None:
        """What a planner does whose clock is so far before ours: it looks only at jobs whose `next_at` has come."""
        job, now = self.job, self.now + timedelta(seconds=fast)
        if job is None or job.deleted or job.next_at is None or job.next_at > now + LOOKAHEAD:
            return
        move = catch_up.plan(job, schedule_of(job), now, LOOKAHEAD)
        assert sum(run.state.is_final for run in move.runs) <= catch_up.ROWS_PER_CATCH_UP
        self.store(move.runs, move.gaps)
        self.job = replace(job, cursor=move.cursor, next_at=move.next_at, pause=move.pause, version=job.version + 1)

    def put(self, spec: JobSpec, oracle: Callable[[datetime], Instants]) -> None:
        """Create the job, edit it, or bring it back."""
        self.close()
        if self.job is None or self.job.deleted:
            schedule = compiled(spec, self.now)
            change = definition.create("team/job", spec, schedule, source=None, by="ada", before=self.job, now=self.now)
        else:
            change = edit(self.job, spec, *self.waiting(), now=self.now)
        self.changed = self.now
        self.apply(change)
        self.oracle = oracle(change.job.created)

    def delete(self) -> None:
        if self.job and not self.job.deleted:
            self.close()
            self.changed = self.now
            self.apply(definition.delete(self.job, schedule_of(self.job), waiting=self.waiting(), now=self.now))
            self.oracle = lambda start, end: []

    def pause(self, seconds: float | None) -> None:
        if self.job and not self.job.deleted:
            until = self.now + timedelta(seconds=seconds) if seconds else None
            self.apply(pause(self.job, *self.waiting(), until=until, now=self.now))

    def resume(self) -> None:
        if self.job and self.job.pause and not self.job.deleted:
            self.apply(definition.resume(self.job, schedule_of(self.job), now=self.now))

    def end_some(self, rng: Random) -> None:
        """Some of what waits is done."""
        for run in self.waiting():
            if run.due <= self.now and rng.random() < 0.5:
                self.rows[run.id] = replace(run, state=RunState.SUCCEEDED, version=run.version + 1)

    def stage_some(self, rng: Random) -> None:
        """Some of what was planned ahead is given to a worker; what is asked back comes back, or has started."""
        for run in self.waiting():
            if run.state is RunState.QUEUED and run.due > self.now and rng.random() < 0.7:
                attempt = Attempt(number=1, fence=1, worker="w1", state=AttemptState.STARTING, created=self.now)
                self.rows[run.id] = advance(run, Assign(attempt=attempt, session=1))

    def answer_withdrawals(self) -> None:
        """The worker gives back what it has not started."""
        for run in self.rows.values():
            if run.withdrawn is None or run.state is not RunState.STARTING:
                continue
            back = advance(run, on_returned(run, "revoked", self.now))
            assert back.state is RunState.SKIPPED or back.ready_at >= run.due
            self.rows[run.id] = back

    def waiting(self) -> list[Run]:
        return [run for run in self.rows.values() if run.state is RunState.QUEUED or run.is_staged(self.now)]

    def close(self) -> None:
        """The definition ends here: ask the oracle for all its instants up to now."""
        self.expected += self.oracle(self.asked_until, self.now)
        self.asked_until = self.now

    def apply(self, change: Change) -> None:
        before = self.job
        assert change.expected_version == (before.version if before and not before.deleted else 0)
        assert before is None or change.job.version > before.version
        self.store(change.runs, change.gaps)
        for run in change.waiting:
            assert run.version == self.rows[run.id].version + 1
            self.rows[run.id] = run
        self.job = change.job

    def store(self, runs: tuple[Run, ...], gaps: tuple[Gap, ...]) -> None:
        for run in runs:
            assert run.version == 1
            assert run.due <= self.now + FURTHEST
            if run.id in self.rows:  # the store keeps the row there is
                assert self.changed < run.due <= self.changed + FURTHEST, "an instant was answered twice"
                continue
            self.rows[run.id] = run
        self.gaps += gaps

    def check(self) -> None:
        """Rows and gaps partition what the oracle enumerates."""
        self.close()
        self.expected += self.oracle(self.now, self.now + FURTHEST)
        known = set(self.expected)
        dues = sorted(run.due for run in self.rows.values() if run.due in known)
        assert len(set(dues)) == len(dues)
        planned_for_nothing = [run for run in self.rows.values() if run.due not in known]
        assert {run.state for run in planned_for_nothing} <= {RunState.SKIPPED}
        places = [(gap.after, gap.until) for gap in sorted(self.gaps, key=lambda gap: gap.after)]
        assert all(one[1] <= two[0] for one, two in pairwise(places)), "gaps overlap"
        answered = list(dues)
        for gap in self.gaps:
            inside = [due for due in self.expected if gap.after < due <= gap.until]
            assert gap.count == len(inside) > 0
            assert not [due for due in dues if gap.after < due <= gap.until], "a row lies in a gap"
            answered += inside
        assert sorted(answered) == [due for due in self.expected if due <= self.now or due in dues]


rarely = st.integers(0, 7).map(lambda number: number == 7)


@st.composite
def definitions(draw: st.DrawFn) -> tuple[JobSpec, Callable[[datetime], Instants]]:
    """A spec, and for the moment of its job's creation the independent enumeration of its instants."""
    missed = MissedPolicy(
        mode=draw(st.sampled_from(MissedMode)),
        within=draw(st.sampled_from([None, 30.0, 3600.0, 86_400.0])),
        at_most=draw(st.sampled_from([1, 5, 100])),
    )
    fields: dict[str, Any] = {"missed": missed, "shadow": draw(rarely), "paused": draw(rarely)}
    if draw(st.booleans()):
        text, zone = draw(st.sampled_from(CRONS))
        oracle = Oracle(text, ZoneInfo(zone))
        return make_spec(schedule=text, timezone=zone, **fields), lambda anchor: oracle.between
    minutes = draw(st.sampled_from([7, 50, 11 * 60, 35 * 60]))
    return make_spec(
        schedule=f"every {minutes}m", **fields
    ), lambda anchor: lambda start, end: every(minutes * 60, anchor, start, end)


@st.composite
def quick_definitions(draw: st.DrawFn) -> tuple[JobSpec, Callable[[datetime], Instants]]:
    """Instants so close that there is always one within the lookahead."""
    seconds = draw(st.sampled_from([1, 7, 11]))
    spec = make_spec(schedule=f"every {seconds}s", shadow=draw(rarely), paused=draw(rarely))
    return spec, lambda anchor: lambda start, end: every(seconds, anchor, start, end)


spans = st.sampled_from([0, 0, 1, 30, 59, 60, 61, 600, 1800, 7 * 3600, 86_400, 3 * 86_400]) | st.integers(0, 20_000)
steps = st.one_of(
    st.tuples(st.just("time"), spans),
    st.tuples(st.just("tick"), spans),
    st.tuples(st.just("tick"), spans),
    st.tuples(st.just("tick"), spans),
    st.tuples(st.just("put"), definitions()),
    st.tuples(st.just("pause"), st.none() | st.integers(1, 200_000)),
    st.tuples(st.just("resume"), st.none()),
    st.tuples(st.just("delete"), st.none()),
    st.tuples(st.just("end"), st.integers(0, 99)),
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(STARTS), definitions(), st.lists(steps, min_size=4, max_size=25), spans)
def test_rows_and_gaps_partition_the_instants_of_the_schedule_in_force(
    start: datetime, first: tuple[JobSpec, Callable[[datetime], Instants]], history: list[tuple[str, Any]], last: int
) -> None:
    play(Ledger(start), first, [*history, ("time", last)])


quick_steps = st.one_of(
    st.tuples(st.just("tick"), st.integers(0, 3)),
    st.tuples(st.just("tick"), st.integers(0, 3)),
    st.tuples(st.just("fast"), st.sampled_from([0.005, 0.6, 1.5])),
    st.tuples(st.just("put"), quick_definitions()),
    st.tuples(st.just("pause"), st.none() | st.integers(1, 5)),
    st.tuples(st.just("resume"), st.none()),
    st.tuples(st.just("delete"), st.none()),
    st.tuples(st.just("stage"), st.integers(0, 99)),
    st.tuples(st.just("stage"), st.integers(0, 99)),
    st.tuples(st.just("end"), st.integers(0, 99)),
)


@settings(max_examples=1000, deadline=None)
@given(quick_definitions(), st.lists(quick_steps, min_size=4, max_size=25))
def test_planning_ahead_answers_each_instant_once_whatever_changes_meanwhile(
    first: tuple[JobSpec, Callable[[datetime], Instants]], history: list[tuple[str, Any]]
) -> None:
    play(Ledger(NOON), first, [*history, ("time", 5)])


def play(ledger: Ledger, first: tuple[JobSpec, Callable[[datetime], Instants]], history: list[tuple[str, Any]]) -> None:
    """Let a history happen, then end pauses, plan once more and look at the rows."""
    ledger.put(*first)
    for name, value in history:
        note(f"{ledger.now} {name} {value if name != 'put' else value[0].schedule}")
        match name:
            case "time":
                ledger.pass_time(value)
            case "tick":
                ledger.pass_time(value)
                ledger.plan()
            case "fast":
                ledger.plan(value)
            case "put":
                ledger.put(*value)
            case "pause":
                ledger.pause(value)
            case "resume":
                ledger.resume()
            case "delete":
                ledger.delete()
            case "stage":
                ledger.stage_some(Random(value))
            case "end":
                ledger.end_some(Random(value))
        ledger.answer_withdrawals()
    ledger.resume()
    ledger.plan()
    ledger.check()
