"""Fences on PostgreSQL at their worst moment: a verb that waits for a lock while what it rests on changes.

A second connection does the other thing in an open transaction, so that the verb gets exactly as far as the lock, and
then commits. Whatever the verb had seen before it waited must not count.
"""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from postgres_values import raw, until_waiting
from store_values import (
    NOON,
    PassTime,
    add_jobs,
    after,
    finished,
    lead,
    make_job,
    make_run,
    make_server,
    make_stats,
    make_worker,
    starting,
)
from tests.postgres.cluster import binaries
from tests.postgres.clusters import FOR_TESTS

from rota.core.errors import Conflict, Fenced
from rota.core.model import Job, Reason, Run, RunState, Trigger
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, Plan, RunChange
from rota.store.runs import LossGuard
from rota.stores.postgres import open_postgres
from rota.stores.session_rows import worker_row


@pytest.fixture(params=tuple(binaries()))
def kind(request: pytest.FixtureRequest) -> str:
    """Which PostgreSQL."""
    found: str = request.param
    return found


@pytest.fixture
def url(database: str | None) -> str:
    """Where the database is."""
    assert database is not None
    return database


async def one_queued(store: Store) -> tuple[Job, Run]:
    """A job with a queued run, and a connected worker."""
    job = make_job()
    run = make_run(job)
    await add_jobs(store, job)
    await store.sessions.connect(make_worker())
    await store.runs.create([run])
    return job, run


# ── (a) the shard's epoch ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("taken_over", [True, False])
async def test_a_plan_that_waits_for_a_takeover_is_refused(store: Store, url: str, taken_over: bool) -> None:
    job = make_job()
    await add_jobs(store, job)
    epochs = await lead(store, "old")
    await store.leases.leave("old")
    await store.leases.join(make_server("new"), 100.0)
    plan = Plan(job_id=job.id, expected_version=1, cursor=NOON, next_at=after(60), runs=(make_run(job),))
    async with raw(url) as other:
        await other.execute("BEGIN")
        taken = await other.fetch("SELECT * FROM rota_take_1('new', $1, $2)", [0], [epochs[0]])
        assert [tuple(row) for row in taken] == [(0, epochs[0] + 1)]
        planning = asyncio.ensure_future(store.jobs.commit_plan([plan], {0: epochs[0]}))
        await until_waiting(other)
        await other.execute("COMMIT" if taken_over else "ROLLBACK")
        if taken_over:
            with pytest.raises(Fenced):
                await planning
            assert await store.jobs.by_id([job.id]) == {job.id: job}
            assert await store.runs.get([plan.runs[0].id]) == {}
        else:
            assert await planning == {job.id}


async def test_a_takeover_waits_for_a_plan_and_then_is_the_later(store: Store, url: str) -> None:
    epochs = await lead(store, "old")
    await store.leases.leave("old")
    await store.leases.join(make_server("new"), 100.0)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM shards WHERE shard = 0 FOR SHARE")  # as a plan does
        taking = asyncio.ensure_future(store.leases.take("new", {0: epochs[0]}))
        await until_waiting(other)
        assert not taking.done()
        await other.execute("COMMIT")
        assert await taking == {0: epochs[0] + 1}


async def test_of_two_takers_that_wait_for_each_other_one_wins(store: Store, url: str) -> None:
    for server in ("a", "b"):
        await store.leases.join(make_server(server), 100.0)
    second = await open_postgres(url, FOR_TESTS)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM shards WHERE shard = 5 FOR UPDATE")
        wanted = dict.fromkeys(range(8), 0)
        takers = [asyncio.ensure_future(one.leases.take(name, wanted)) for one, name in ((store, "a"), (second, "b"))]
        await until_waiting(other, 2)
        await other.execute("COMMIT")
        first, other_taken = await asyncio.gather(*takers)
    assert sorted((len(first), len(other_taken))) == [0, 8]
    await second.close()


async def test_a_taker_that_waits_while_the_leader_renews_gets_nothing(
    store: Store, url: str, pass_time: PassTime
) -> None:
    for server in ("a", "b"):
        await store.leases.join(make_server(server), 4.0)
    assert await store.leases.take("a", {0: 0}) == {0: 1}
    await pass_time(10)
    await store.leases.renew("b", 4.0)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.fetch("SELECT rota_renew_1('a', 4000000)")
        taking = asyncio.ensure_future(store.leases.take("b", {0: 1}))
        await until_waiting(other)
        await other.execute("COMMIT")
        assert await taking == {}


async def test_a_lease_that_ends_while_its_server_waits_takes_nothing(
    store: Store, url: str, pass_time: PassTime
) -> None:
    await store.leases.join(make_server("a"), 4.0)
    await pass_time(0)  # the clock can be moved from now on
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM shards WHERE shard = 0 FOR UPDATE")
        taking = asyncio.ensure_future(store.leases.take("a", {0: 0}))
        await until_waiting(other)
        await pass_time(5)
        await other.execute("COMMIT")
        assert await taking == {}, "the time counts at which the locks were got"


# ── (b) the worker's session ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["connected elsewhere", "disconnected", "nothing"])
async def test_an_assignment_that_waits_for_a_connection_gives_it_nothing(store: Store, url: str, what: str) -> None:
    _, run = await one_queued(store)
    async with raw(url) as other:
        await other.execute("BEGIN")
        if what == "disconnected":
            await other.execute("UPDATE workers SET disconnected = 1 WHERE name = 'w1'")
        else:
            await other.fetch("SELECT * FROM rota_connect_1($1)", worker_row(make_worker(server="server-2")))
        assigning = asyncio.ensure_future(store.runs.assign([RunChange(run=starting(run))], {"w1": 1}))
        await until_waiting(other)
        await other.execute("ROLLBACK" if what == "nothing" else "COMMIT")
        assert await assigning == ({run.id} if what == "nothing" else set())
    stored = (await store.runs.get([run.id]))[run.id]
    assert (stored == run) is (what != "nothing")


async def test_a_connection_waits_for_an_assignment_to_the_session_before_it(store: Store, url: str) -> None:
    await one_queued(store)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM workers WHERE name = 'w1' FOR SHARE")  # as an assignment does
        connecting = asyncio.ensure_future(store.sessions.connect(make_worker()))
        await until_waiting(other)
        await other.execute("COMMIT")
        assert await connecting == 2


async def test_a_twin_that_connects_while_another_waits_is_seen(store: Store, url: str) -> None:
    await store.leases.join(make_server("server-1"), 100.0)
    await store.sessions.connect(make_worker(boot_id="boot-0"))
    await store.sessions.disconnect("w1", 1, NOON)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.fetch("SELECT * FROM rota_connect_1($1)", worker_row(make_worker(boot_id="boot-9")))
        connecting = asyncio.ensure_future(store.sessions.connect(make_worker()))
        await until_waiting(other)
        await other.execute("COMMIT")
        with pytest.raises(Conflict, match="another process named w1"):
            await connecting
    (row,) = await store.sessions.get()
    assert (row.boot_id, row.session) == ("boot-9", 2)


async def test_two_first_connections_of_one_name_do_not_both_come_in(store: Store, url: str) -> None:
    await store.leases.join(make_server("server-1"), 100.0)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.fetch("SELECT * FROM rota_connect_1($1)", worker_row(make_worker(boot_id="boot-9")))
        connecting = asyncio.ensure_future(store.sessions.connect(make_worker()))
        await until_waiting(other)
        await other.execute("COMMIT")
        with pytest.raises(Conflict, match="another process named w1"):
            await connecting
    (row,) = await store.sessions.get()
    assert (row.boot_id, row.session) == ("boot-9", 1)


# ── (c) who may call a worker lost ───────────────────────────────────────────────────────────────────────


async def lost_run(store: Store, pass_time: PassTime) -> list[RunChange]:
    """The loss of a run whose worker's server ended long ago."""
    _, run = await one_queued(store)
    await store.leases.join(make_server("server-1"), 4.0)
    held = starting(run)
    assert await store.runs.assign([RunChange(run=held)], {"w1": 1}) == {run.id}
    await pass_time(100)
    return [RunChange(run=finished(held, RunState.LOST))]


@pytest.mark.parametrize("what", ["the worker comes back", "its server renews", "nothing"])
async def test_a_loss_that_waits_while_somebody_comes_back_is_refused(
    store: Store, url: str, pass_time: PassTime, what: str
) -> None:
    lost = await lost_run(store, pass_time)
    guard = LossGuard(sessions={"w1": 1}, lapsed={"server-1": 60.0})
    async with raw(url) as other:
        await other.execute("BEGIN")
        if what == "the worker comes back":
            await other.fetch("SELECT * FROM rota_connect_1($1)", worker_row(make_worker()))
        else:
            await other.fetch("SELECT rota_renew_1('server-1', 4000000)")
        recording = asyncio.ensure_future(store.runs.record(lost, [], [], guard=guard))
        await until_waiting(other)
        await other.execute("ROLLBACK" if what == "nothing" else "COMMIT")
        if what == "nothing":
            assert await recording == {lost[0].run.id}
            return
        with pytest.raises(Fenced):
            await recording
    assert [run.state for run in await store.held.all()] == [RunState.STARTING]


# ── (d) one run of a job at a time ───────────────────────────────────────────────────────────────────────


async def test_of_two_lonely_runs_assigned_at_once_exactly_one_goes(store: Store, url: str) -> None:
    job, first = await one_queued(store)
    second = make_run(job, after(1))
    await store.runs.create([second])
    twin = await open_postgres(url, FOR_TESTS)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM job_cursors FOR UPDATE")
        assigning = [
            asyncio.ensure_future(one.runs.assign([RunChange(run=starting(run), alone=True)], {"w1": 1}))
            for one, run in ((store, first), (twin, second))
        ]
        await until_waiting(other, 2)
        await other.execute("COMMIT")
        written = await asyncio.gather(*assigning)
    assert sorted(map(len, written)) == [0, 1]
    assert len(await store.held.all()) == 1
    await twin.close()


async def test_lonely_runs_race_without_a_gate(store: Store, url: str) -> None:
    jobs = [make_job(f"web/job-{number}") for number in range(30)]
    await add_jobs(store, *jobs)
    await store.sessions.connect(make_worker())
    pairs = [(make_run(job), make_run(job, after(1))) for job in jobs]
    await store.runs.create([run for pair in pairs for run in pair])
    twin = await open_postgres(url, FOR_TESTS)
    batches = ([first for first, _ in pairs], [second for _, second in reversed(pairs)])
    written = await asyncio.gather(
        *(
            one.runs.assign([RunChange(run=starting(run), alone=True) for run in batch], {"w1": 1})
            for one, batch in zip((store, twin), batches, strict=True)
        )
    )
    assert sum(map(len, written)) == len(jobs)
    assert len({run.job_id for run in await store.held.all()}) == len(jobs)
    await twin.close()


# ── (e) created once ─────────────────────────────────────────────────────────────────────────────────────


async def test_of_two_creates_with_one_key_at_once_there_is_one_run(store: Store, url: str) -> None:
    job = make_job()
    await add_jobs(store, job)
    runs = [make_run(job, after(5 * n), trigger=Trigger.MANUAL, key="k", created=after(5 * n)) for n in range(2)]
    twin = await open_postgres(url, FOR_TESTS)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM job_cursors FOR UPDATE")
        creating = [asyncio.ensure_future(one.runs.create([run])) for one, run in zip((store, twin), runs, strict=True)]
        await until_waiting(other, 2)
        await other.execute("COMMIT")
        (first,), (second,) = await asyncio.gather(*creating)
    assert first == second
    assert first in runs
    assert await store.runs.unfinished([job.id]) == [first]
    await twin.close()


async def test_a_create_that_waits_while_its_run_begins_and_ends_makes_no_second(store: Store, url: str) -> None:
    """Not in the hot table any more, not yet looked for in the history: the moment at which a run could be twice."""
    job = make_job()
    await add_jobs(store, job)
    run = make_run(job)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM job_cursors FOR UPDATE")
        creating = asyncio.ensure_future(store.runs.create([run]))
        await until_waiting(other)
        ended = finished(replace(run, version=2))
        values = "id, job_id, job, due, nominal, trigger, created, key, revision, kind, ready_at, failures, losses"
        await other.execute(
            f"INSERT INTO runs_history ({values}, state, finished, version) VALUES ($1, $2, 'web/fetch', $3, $3,"
            " 'schedule', $3, '', 1, 'http', $3, 0, 0, 'succeeded', $4, 3)",
            run.id, job.id, micros(run.due), micros(ended.finished or NOON),
        )  # fmt: skip
        await other.execute("COMMIT")
        (stored,) = await creating
    assert stored.state is RunState.SUCCEEDED
    assert await store.runs.unfinished([job.id]) == []


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


async def test_two_first_applies_of_one_job_at_once_are_a_conflict(store: Store, url: str) -> None:
    twin = await open_postgres(url, FOR_TESTS)
    jobs = [make_job(f"web/job-{number}") for number in range(20)]
    done = await asyncio.gather(
        add_jobs(store, *jobs), add_jobs(twin, *reversed([replace(job, source="x") for job in jobs])),
        return_exceptions=True,
    )  # fmt: skip
    assert sorted(type(one) for one in done if one is not None) == [Conflict]
    assert len({job.source for job in await store.jobs.by_source(None)}) == 1
    await twin.close()


async def test_first_counters_written_at_once_are_written_once(store: Store, url: str) -> None:
    job, run = await one_queued(store)
    twin = await open_postgres(url, FOR_TESTS)
    done = await asyncio.gather(
        *(one.runs.record([], [make_stats(job.id, recent=text)], []) for one, text in ((store, "s1"), (twin, "f1"))),
        return_exceptions=True,
    )
    assert sorted(type(one) for one in done if one != set()) == [Conflict]
    assert (await store.runs.stats([job.id]))[job.id].version == 1
    assert await store.runs.unfinished([job.id]) == [run]
    await twin.close()


async def test_edits_and_outcomes_in_any_order_leave_no_deadlock(store: Store, url: str) -> None:
    """Batches that lock the same rows from both ends end all the same, each whole or refused."""
    jobs = [make_job(f"web/job-{number}") for number in range(12)]
    await add_jobs(store, *jobs)
    twin = await open_postgres(url, FOR_TESTS)
    runs = [make_run(job) for job in jobs]
    await store.runs.create(runs)
    asked = [replace(run, cancel=Reason(code="CANCELLED"), version=2) for run in runs]
    for _ in range(10):
        verbs: list[Any] = [
            store.runs.record([RunChange(run=run) for run in asked], [], []),
            twin.runs.record([RunChange(run=run) for run in reversed(asked)], [], []),
            store.runs.create(list(reversed(runs))),
            twin.runs.assign([RunChange(run=run) for run in reversed(asked)], {}),
            twin.jobs.apply([JobWrite(job=replace(job, version=9), expected_version=8) for job in reversed(jobs)], []),
        ]
        answers = await asyncio.gather(*verbs, return_exceptions=True)
        assert {type(answer) for answer in answers} <= {set, list, Conflict}, answers
    assert await store.runs.unfinished([job.id for job in jobs]) == sorted(asked, key=lambda run: run.id)
    await twin.close()


# ── (f) a stopped server ─────────────────────────────────────────────────────────────────────────────────

STOPPED_SERVER = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[2])
from store_values import finished, make_job, make_run
from rota.store.jobs import RunChange
from rota.stores.postgres import PostgresOptions, open_postgres

async def main():
    store = await open_postgres(sys.argv[1], PostgresOptions(days_ahead=0))
    run = make_run(make_job())
    await store.runs.record([], [], [])  # the way is known now: the next verb is sent at once
    recording = asyncio.ensure_future(store.runs.record([RunChange(run=finished(run))], [], []))
    for _ in range(10):
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGSTOP)
    await recording

asyncio.run(main())
"""


async def test_a_server_stopped_right_after_it_sent_a_verb_holds_no_lock(store: Store, url: str) -> None:
    job, run = await one_queued(store)
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT * FROM runs_hot FOR UPDATE")  # the verb gets this far before its client is stopped
        command = [sys.executable, "-c", STOPPED_SERVER, url, str(Path(__file__).parent)]
        with subprocess.Popen(command) as process:
            try:
                _, status = await asyncio.to_thread(os.waitpid, process.pid, os.WUNTRACED)
                assert os.WIFSTOPPED(status)
                await until_waiting(other)
                await other.execute("COMMIT")
                recorded = {run.id: finished(run)}
                async with asyncio.timeout(10):
                    while await store.runs.get([run.id]) != recorded:
                        pass
                held = await other.fetchval(
                    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity AS who USING (pid) WHERE who.datname ="
                    " current_database() AND pid <> pg_backend_pid() AND transactionid IS NOT NULL"
                )
                assert held == 0
                await other.execute("SELECT * FROM job_cursors FOR UPDATE NOWAIT")
            finally:
                process.send_signal(signal.SIGCONT)
                assert process.wait(30) == 0
    assert await store.runs.unfinished([job.id]) == []
