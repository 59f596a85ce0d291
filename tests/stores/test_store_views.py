"""The contract of views: filters, orders, pages by key, the ledger; what users type is only ever data."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from store_values import (
    LONG_AGO,
    NOON,
    SPEC,
    add_jobs,
    after,
    finished,
    make_gap,
    make_job,
    make_notice,
    make_run,
    make_stats,
    make_worker,
    start_and_finish,
    starting,
)

from rota.core.errors import Invalid, NotFound
from rota.core.model import Gap, Job, JobStats, Pause, Run, RunState, Trigger
from rota.store.bundle import Store
from rota.store.jobs import JobWrite, RunChange
from rota.store.views import Count, JobQuery, RunQuery, Summary

ANY = RunQuery(since=LONG_AGO)
METACHARACTERS = [
    "%", "_", "*", "?", "[a-z]", "[", "]", "\\", "'", '"', "';--", "' OR 1=1 --", "); DROP TABLE jobs; --", "?1", ":x",
    "\x00", "ü%", "a" * 900, "**********************", "$.x", "/* conditions */",
]  # fmt: skip


async def job_names(store: Store, **query: Any) -> list[str]:
    page = await store.views.jobs(JobQuery(**query), "name", None, 100)
    assert page.count == Count(value=len(page.items))
    return [row.job.full_name for row in page.items]


async def all_jobs(store: Store, sort: str, limit: int) -> list[str]:
    """All names, page after page."""
    names: list[str] = []
    key = None
    while True:
        page = await store.views.jobs(JobQuery(), sort, key, limit)
        assert 0 < len(page.items) <= limit
        names += [row.job.name for row in page.items]
        if page.next is None:
            return names
        key = page.next


async def all_runs(store: Store, query: RunQuery, sort: str, limit: int) -> list[Run]:
    """All runs, page after page."""
    runs: list[Run] = []
    key = None
    while True:
        page = await store.views.runs(query, sort, key, limit)
        runs += page.items
        if page.next is None:
            return runs
        assert len(page.items) == limit
        key = page.next


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────


async def add_varied_jobs(store: Store) -> dict[str, Job]:
    """One job for each thing a query can ask for."""
    jobs = {
        "web/plain": make_job("web/plain"),
        "web/paused": make_job("web/paused", pause=Pause(since=NOON, by="ann"), next_at=None),
        "web/shadow": make_job("web/shadow", spec=replace(SPEC, shadow=True)),
        "web/broken": make_job("web/broken", broken="no such zone"),
        "ops/labelled": make_job(
            "ops/labelled", spec=replace(SPEC, labels={"team": "web", "tier": "1"}), source="a.yaml"
        ),
        "ops/owned": make_job("ops/owned", spec=replace(SPEC, owner="ann", title="Größe Prüfen", schedule="every 7m")),
        "ops/gone": make_job("ops/gone", deleted=NOON),
    }
    await add_jobs(store, *jobs.values())
    broken = make_run(jobs["web/broken"])
    stats = [
        make_stats(jobs["web/plain"].id, last_run=make_run(jobs["web/plain"]).id, last_state=RunState.SUCCEEDED),
        make_stats(jobs["web/broken"].id, fails_in_row=2, last_run=broken.id, last_state=RunState.FAILED),
        make_stats(jobs["ops/owned"].id, late_since=NOON),
        make_stats(jobs["ops/gone"].id, fails_in_row=2, late_since=NOON),
    ]
    await store.runs.record([], stats, [])
    return jobs


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"namespaces": ("web",)}, "web/broken web/paused web/plain web/shadow"),
        ({"names": ("web/p*",)}, "web/paused web/plain"),
        ({"names": ("p*", "ops/owned")}, "ops/owned web/paused web/plain"),
        ({"names": ("*/s*ow",)}, "web/shadow"),
        ({"names": ("plain",)}, "web/plain"),
        ({"names": ("lain",)}, ""),
        ({"not_names": ("web/*", "owned")}, "ops/labelled"),
        ({"last_states": (RunState.FAILED, RunState.LOST)}, "web/broken"),
        ({"conditions": ("paused",)}, "web/paused"),
        ({"conditions": ("failing",)}, "web/broken"),
        ({"conditions": ("late",)}, "ops/owned"),
        ({"conditions": ("broken", "shadow")}, "web/broken web/shadow"),
        ({"conditions": ("new",), "namespaces": ("ops",)}, "ops/labelled ops/owned"),
        ({"labels": {"team": "web"}}, "ops/labelled"),
        ({"labels": {"team": "web", "tier": "2"}}, ""),
        ({"owner": "ann"}, "ops/owned"),
        ({"source": "a.yaml"}, "ops/labelled"),
        ({"text": "GRÖßE pr"}, "ops/owned"),
        ({"text": "PLAIN"}, "web/plain"),
        ({"text": "7m"}, "ops/owned"),
        ({"namespaces": ("web",), "conditions": ("paused",), "names": ("plain",)}, ""),
    ],
)
async def test_jobs_by_query(store: Store, query: dict[str, Any], expected: str) -> None:
    await add_varied_jobs(store)
    assert await job_names(store, **query) == expected.split()


async def test_a_row_brings_the_job_and_its_counters(store: Store) -> None:
    job, fresh = make_job("web/a"), make_job("web/b")
    await add_jobs(store, job, fresh)
    stats = make_stats(job.id, recent="s1f2", fails_in_row=1, last_finished=NOON, last_due=NOON, last_success=NOON)
    await store.runs.record([], [stats], [])
    page = await store.views.jobs(JobQuery(), "name", None, 10)
    assert [(row.job, row.stats) for row in page.items] == [(job, stats), (fresh, JobStats(job_id=fresh.id))]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("sort", ["name", "next", "last"])
async def test_pages_of_jobs_join_to_the_whole_list(store: Store, sort: str, limit: int) -> None:
    moments = {"a": 50, "b": None, "c": 10, "d": 10, "e": None, "f": 99}
    jobs = {name: make_job(f"web/{name}", next_at=None if at is None else after(at)) for name, at in moments.items()}
    await add_jobs(store, *jobs.values(), make_job("web/gone", deleted=NOON))
    ended = [make_stats(jobs[name].id, last_finished=after(at)) for name, at in moments.items() if at is not None]
    await store.runs.record([], ended, [])

    def by_moment(names: str) -> list[str]:
        """Names of equal moments, in order of id."""
        return sorted(names, key=lambda name: jobs[name].id)

    expected = {
        "name": list("abcdef"),
        "next": [*by_moment("cd"), "a", "f", *by_moment("be")],
        "last": ["f", "a", *by_moment("cd"), *by_moment("be")],
    }
    assert await all_jobs(store, sort, limit) == expected[sort]


async def test_the_count_covers_all_pages(store: Store) -> None:
    await add_jobs(store, *(make_job(f"web/{number}") for number in range(12)))
    first = await store.views.jobs(JobQuery(), "name", None, 5)
    second = await store.views.jobs(JobQuery(), "name", first.next, 5)
    assert (first.count, second.count) == (Count(value=12), Count(value=12))


async def test_counts_are_exact_up_to_ten_thousand(store: Store) -> None:
    await add_jobs(store, *(make_job(f"web/job-{number:05}") for number in range(10_000)))
    assert (await store.views.jobs(JobQuery(), "name", None, 1)).count == Count(value=10_000)
    await add_jobs(store, make_job("web/one-more"))
    page = await store.views.jobs(JobQuery(), "name", None, 1)
    assert page.count == Count(value=10_000, kind="at_least")


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────


async def add_varied_runs(store: Store) -> dict[str, Run]:
    """One run for each thing a query can ask for."""
    job, other = make_job("web/a"), make_job("ops/b")
    await add_jobs(store, job, other)
    await store.sessions.connect(make_worker())
    await store.sessions.connect(make_worker("w2"))

    def held(run: Run, worker: str = "w1") -> Run:
        return starting(run, worker=worker)

    runs = {
        "queued": make_run(job, after(9)),
        "running": replace(held(make_run(other, after(8)), "w2"), state=RunState.RUNNING, started=after(8)),
        "good": finished(held(make_run(job, after(7))), at=after(17)),
        "failed": finished(held(make_run(other, after(6))), RunState.FAILED, exit=3, error="Zeitüberschreitung: 50 %"),
        "lost": finished(held(make_run(job, after(5)), "w2"), RunState.LOST, exit=None),
        "skipped": finished(replace(make_run(job, after(4)), version=2), RunState.SKIPPED),
        "manual": finished(
            replace(make_run(job, after(3), trigger=Trigger.MANUAL, key="k"), version=2), RunState.CANCELLED
        ),
    }
    await start_and_finish(store, *(run for name, run in runs.items() if name != "queued"))
    await store.runs.create([runs["queued"]])
    return runs


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "queued running good failed lost skipped manual"),
        ({"since": after(6)}, "queued running good failed"),
        ({"since": after(4), "until": after(6)}, "failed lost skipped"),
        ({"namespaces": ("ops",)}, "running failed"),
        ({"jobs": ("ops/b",)}, "running failed"),
        ({"jobs": ("web/*", "nothing")}, "queued good lost skipped manual"),
        ({"jobs": ("b",)}, "running failed"),
        ({"not_jobs": ("web/*",)}, "running failed"),
        ({"states": (RunState.QUEUED, RunState.RUNNING)}, "queued running"),
        ({"states": (RunState.FAILED, RunState.LOST)}, "failed lost"),
        ({"states": (RunState.QUEUED, RunState.SUCCEEDED)}, "queued good"),
        ({"states": (RunState.FAILED,), "jobs": ("ops/b",)}, "failed"),
        ({"triggers": (Trigger.MANUAL,)}, "manual"),
        ({"workers": ("w2",)}, "running lost"),
        ({"exits": (3, 4)}, "failed"),
        ({"longer_than": 5.0}, "good"),
        ({"shorter_than": 5.0}, "failed lost"),
        ({"text": "ZEITÜBER"}, "failed"),
        ({"text": "50 %"}, "failed"),
        ({"text": "50_%"}, ""),
        ({"states": (RunState.RUNNING,), "workers": ("w1",)}, ""),
    ],
)
async def test_runs_by_query(store: Store, query: dict[str, Any], expected: str) -> None:
    runs = await add_varied_runs(store)
    page = await store.views.runs(RunQuery(**{"since": LONG_AGO} | query), "-due", None, 100)
    assert list(page.items) == [runs[name] for name in expected.split()]
    assert page.count == Count(value=len(page.items))


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_of_runs_join_hot_and_past(store: Store, limit: int) -> None:
    jobs = [make_job(f"web/{number}") for number in range(4)]
    await add_jobs(store, *jobs)
    runs = [make_run(job, after(second)) for job in jobs for second in (0, 0.5, 1)]
    await store.runs.create(runs)
    ended = [finished(run) for run in runs[::2]]
    await store.runs.record([RunChange(run=run) for run in ended], [], [])
    expected = sorted([*ended, *runs[1::2]], key=lambda run: (run.due, run.id))
    assert await all_runs(store, ANY, "due", limit) == expected
    assert await all_runs(store, ANY, "-due", limit) == expected[::-1]
    page = await store.views.runs(ANY, "due", (str(2**53), "f" * 8 + "-ffff" * 3 + "-" + "f" * 12), limit)
    assert (page.items, page.next, page.count) == ((), None, Count(value=len(runs)))


# ── one job's runs ───────────────────────────────────────────────────────────────────────────────────────


async def add_ledger(store: Store) -> tuple[Job, list[Run | Gap]]:
    """Hot runs, past runs and gaps of one job, by time."""
    job, other = make_job(), make_job("web/other")
    past = [finished(make_run(job, after(second), version=2)) for second in (0, 60, 300)]
    hot = make_run(job, after(360))
    gaps = (make_gap(job, after(60), after(240)), make_gap(job, after(300), after(330)))
    write = JobWrite(job=job, expected_version=0, gaps=gaps)
    await store.jobs.apply([write, JobWrite(job=other, expected_version=0)], [])
    await start_and_finish(store, *past)
    manual = make_run(job, after(70), trigger=Trigger.MANUAL, key="k")
    await store.runs.create([hot, make_run(other, after(60)), manual])
    return job, [past[0], past[1], gaps[0], past[2], gaps[1], hot]


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 100])
async def test_the_ledger_orders_runs_and_gaps_by_time(store: Store, limit: int) -> None:
    job, expected = await add_ledger(store)
    entries: list[Run | Gap] = []
    key = None
    while True:
        page, key = await store.views.ledger(job.id, after(0), after(360), key, limit)
        entries += page
        if key is None:
            break
        assert len(page) == limit
    assert entries == expected


async def test_the_ledger_keeps_to_its_window(store: Store) -> None:
    job, entries = await add_ledger(store)
    found, _ = await store.views.ledger(job.id, after(61), after(300), None, 10)
    assert found == entries[2:4]
    found, _ = await store.views.ledger(job.id, after(100), after(120), None, 10)
    assert found == [entries[2]]
    found, _ = await store.views.ledger(job.id, after(361), after(900), None, 10)
    assert found == []


async def test_a_gap_and_a_run_of_one_moment_are_both_given(store: Store) -> None:
    job = make_job()
    gaps = (make_gap(job, after(0), after(60)), make_gap(job, after(30), after(60)))
    await store.jobs.apply([JobWrite(job=job, expected_version=0, gaps=gaps)], [])
    run = make_run(job, after(60))
    await store.runs.create([run])
    first, key = await store.views.ledger(job.id, NOON, after(900), None, 1)
    second, key = await store.views.ledger(job.id, NOON, after(900), key, 1)
    third, key = await store.views.ledger(job.id, NOON, after(900), key, 1)
    assert ([*first, *second, *third], key) == ([*gaps, run], None)


async def test_the_last_run_of_a_job(store: Store) -> None:
    runs = await add_varied_runs(store)
    job = runs["good"].job_id
    assert await store.views.last_run(job) == runs["queued"]
    assert await store.views.last_run(job, (RunState.SUCCEEDED,)) == runs["good"]
    assert await store.views.last_run(job, (RunState.LOST, RunState.FAILED)) == runs["lost"]
    assert await store.views.last_run(job, (RunState.TIMED_OUT,)) is None
    by = runs["queued"].due
    assert await store.views.last_run(job, due_by=by) == runs["queued"]
    before = await store.views.last_run(job, due_by=by - timedelta(microseconds=1))
    assert before is not None
    assert before.due < by
    assert await store.views.last_run(make_job("web/nobody").id) is None


async def test_the_run_at_a_moment(store: Store) -> None:
    job = make_job()
    gap = make_gap(job, after(0), after(60))
    await store.jobs.apply([JobWrite(job=job, expected_version=0, gaps=(gap,))], [])
    spread = make_run(job, after(90), nominal=after(80))
    past = finished(make_run(job, after(30), version=2))
    await start_and_finish(store, past)
    await store.runs.create([spread, make_run(job, after(200), trigger=Trigger.MANUAL, key="k")])
    assert await store.views.run_at(job.id, after(90)) == spread
    assert await store.views.run_at(job.id, after(80)) == spread
    assert await store.views.run_at(job.id, after(30)) == past
    assert await store.views.run_at(job.id, after(31)) == gap
    assert await store.views.run_at(job.id, after(60)) == gap
    assert await store.views.run_at(job.id, after(0)) is None
    assert await store.views.run_at(job.id, after(200)) is None


async def test_neighbours_of_a_run(store: Store) -> None:
    runs = await add_varied_runs(store)
    names = ("manual", "skipped", "lost", "good", "queued")
    ids = [None, *(runs[name].id for name in names), None]
    for before, here, following in zip(ids, ids[1:], ids[2:], strict=False):
        assert here is not None
        assert await store.views.neighbours(here) == (before, following)
    with pytest.raises(NotFound):
        await store.views.neighbours(make_run(make_job("web/nobody")).id)


async def test_the_summary_counts_everything(store: Store) -> None:
    assert await store.views.summary() == Summary(jobs=0, paused=0, failing=0, late=0, queued=0, starting=0, running=0)
    assert await store.views.namespaces() == []
    jobs = await add_varied_jobs(store)
    await store.sessions.connect(make_worker())
    runs = [make_run(jobs["web/plain"], after(second)) for second in range(4)]
    await store.runs.create(runs)
    held = starting(runs[0])
    running = replace(starting(runs[1]), state=RunState.RUNNING)
    await store.runs.assign([RunChange(run=held), RunChange(run=running)], {"w1": 1})
    await store.alerts.add([make_notice("a"), make_notice("b", state="sent")])
    assert await store.views.summary() == Summary(
        jobs=6, paused=1, failing=1, late=1, queued=2, starting=1, running=1, oldest_queued=after(2), pending_notices=1
    )
    assert await store.views.namespaces() == [("ops", 2), ("web", 4)]


# ── hostile input ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", METACHARACTERS)
async def test_metacharacters_are_data_in_every_filter(store: Store, text: str) -> None:
    await add_varied_runs(store)
    job_fields = ("namespaces", "names", "not_names")
    for field in job_fields:
        names = await job_names(store, **{field: (text,)})
        matches_all = set(text) == {"*"}
        assert names == (["ops/b", "web/a"] if matches_all == (field == "names") and field != "namespaces" else [])
    for single in ("owner", "source", "text"):
        assert await job_names(store, **{single: text}) == []
    assert await job_names(store, labels={text: text}) == []
    for field in ("namespaces", "workers"):
        assert (await store.views.runs(RunQuery(since=LONG_AGO, **{field: (text,)}), "due", None, 10)).items == ()
    found = await store.views.runs(RunQuery(since=LONG_AGO, text=text), "due", None, 10)
    assert [run.state for run in found.items] == ([RunState.FAILED] if text == "%" else [])
    assert len(await store.views.namespaces()) == 2


@pytest.mark.parametrize("text", [text for text in METACHARACTERS if "\0" not in text])  # no definition has NUL
async def test_metacharacters_are_data_in_writes_and_look_ups(store: Store, text: str) -> None:
    job = make_job(source=text, spec=replace(SPEC, title=text, owner=text, labels={text: text}, env={"A": text}))
    await add_jobs(store, job)
    assert await job_names(store, owner=text, source=text, labels={text: text}, text=text) == [job.full_name]
    assert await store.jobs.by_source(text) == [job]
    assert await store.jobs.get([text]) == {}
    await store.leases.remember(text, text)
    assert await store.leases.fact(text) == text


@pytest.mark.parametrize("sort", ["", "name; DROP TABLE jobs", "rowid", "NAME", "-name"])
async def test_orders_come_from_a_list(store: Store, sort: str) -> None:
    with pytest.raises(Invalid):
        await store.views.jobs(JobQuery(), sort, None, 10)
    with pytest.raises(Invalid):
        await store.views.runs(ANY, sort, None, 10)


@pytest.mark.parametrize("key", [(), ("x",), ("x", "y"), ("1", "2", "3", "4"), ("1'", "2", "3")])
async def test_a_cursor_of_another_list_is_refused(store: Store, key: tuple[str, ...]) -> None:
    await add_jobs(store, make_job())
    for wrong in (
        store.views.jobs(JobQuery(), "next", key, 10),
        store.views.runs(ANY, "due", key, 10),
        store.views.ledger(make_job().id, NOON, NOON + timedelta(days=1), key, 10),
    ):
        with pytest.raises(Invalid):
            await wrong


async def test_unknown_conditions_and_endless_patterns_are_refused(store: Store) -> None:
    with pytest.raises(Invalid, match="conditon"):
        await store.views.jobs(JobQuery(conditions=("conditon",)), "name", None, 10)
    with pytest.raises(Invalid):
        await store.views.jobs(JobQuery(names=("a" * 2000,)), "name", None, 10)


async def test_text_that_is_no_unicode_is_refused(store: Store) -> None:
    with pytest.raises(Invalid):
        await store.leases.remember("key", "\udc80")
    with pytest.raises(Invalid):
        await store.views.jobs(JobQuery(owner="\udc80"), "name", None, 10)
    assert await store.leases.fact("key") is None
