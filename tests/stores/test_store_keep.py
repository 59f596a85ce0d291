"""The contract of retention by job: what one job keeps for less time goes, and nothing of another."""

from datetime import timedelta

from msgspec.structs import replace
from store_values import SPEC, add_jobs, after, finished, make_chunk, make_gap, make_job, make_run, start_and_finish

from rota.core.model import Job, KeepPolicy, Run
from rota.store.bundle import Store
from rota.store.jobs import JobWrite


async def two_jobs_with_history(store: Store) -> tuple[Job, list[Run]]:
    """Two jobs with one ended run, one line of output and one gap each; the first keeps less."""
    short = make_job("web/short", spec=replace(SPEC, keep=KeepPolicy(logs=60.0, history=3600.0)))
    other = make_job("web/other")
    await add_jobs(store, short, other)
    runs = [finished(make_run(job, after(1), version=2)) for job in (short, other)]
    await start_and_finish(store, *runs)
    await store.output.append([make_chunk(run.id, 0, 0, "line") for run in runs])
    for job in (short, other):
        gap = make_gap(job, after(-10), after(-5))
        await store.jobs.apply([JobWrite(job=replace(job, version=2), expected_version=1, gaps=(gap,))], [])
    return short, runs


async def test_jobs_with_a_retention_of_their_own_are_found(store: Store) -> None:
    short, _ = await two_jobs_with_history(store)
    assert [job.full_name for job in await store.jobs.keeping()] == ["web/short"]
    plain = replace(short, spec=SPEC, version=3)
    await store.jobs.apply([JobWrite(job=plain, expected_version=2)], [])
    assert await store.jobs.keeping() == []


async def test_output_of_one_job_is_pruned_alone(store: Store) -> None:
    short, runs = await two_jobs_with_history(store)
    assert await store.output.prune(after(0) + timedelta(days=2), 100, job=short.id) == 1
    assert (await store.output.size(runs[0].id, 1)).lines == 0
    assert (await store.output.size(runs[1].id, 1)).lines == 1


async def test_history_of_one_job_is_pruned_alone_with_its_gaps(store: Store) -> None:
    short, runs = await two_jobs_with_history(store)
    assert await store.runs.prune(after(0), 100, job=short.id) == 0
    assert await store.runs.prune(after(5000), 100, job=short.id) == 1
    assert set(await store.runs.get([run.id for run in runs])) == {runs[1].id}
    assert (await store.views.ledger(short.id, after(-9000), after(9000), None, 10))[0] == []
    assert len((await store.views.ledger(runs[1].job_id, after(-9000), after(9000), None, 10))[0]) == 2
