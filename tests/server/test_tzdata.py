"""Schedules follow the newest time zone database the store has seen."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from tests.server.world import lead

from rota.clock import ManualClock
from rota.core.definition import create
from rota.core.errors import StoreUnusable
from rota.core.model import JobSpec, ShellTask
from rota.core.schedule import compile_schedule
from rota.server.tzdata import FACT, check_tzdata, follow_tzdata
from rota.store.bundle import Store
from rota.store.jobs import JobWrite
from rota.stores.sqlite import open_sqlite

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def store_with_a_job_planned_wrongly() -> tuple[Store, int]:
    """A job whose next instant is an hour off, as after a change of its zone's rules."""
    store = await open_sqlite(None, clock=ManualClock(NOW), inline=True)
    epochs = await lead(store)
    spec = JobSpec(task=ShellTask(command="true"), schedule="every day at 03:00", timezone="Europe/Berlin")
    schedule = compile_schedule(spec.schedule, timezone=spec.timezone, name="web/fetch")
    job = create("web/fetch", spec, schedule, source=None, by="me", before=None, now=NOW).job
    wrong = replace(job, next_at=datetime(2026, 11, 24, 1, 0, tzinfo=UTC))
    await store.jobs.apply([JobWrite(job=wrong, expected_version=0)], [])
    return store, epochs[0]


async def test_the_first_server_remembers_its_version() -> None:
    store, _ = await store_with_a_job_planned_wrongly()
    await check_tzdata(store, own="2026a")
    assert await store.leases.fact(FACT) == "2026a"
    await check_tzdata(store, own="2026b")
    assert await store.leases.fact(FACT) == "2026b"
    await store.close()


async def test_a_newer_database_computes_next_instants_again_without_moving_cursors() -> None:
    store, epoch = await store_with_a_job_planned_wrongly()
    assert await follow_tzdata(store, 0, epoch, own="2026b") == 1
    job = (await store.jobs.get(["web/fetch"]))["web/fetch"]
    assert job.next_at == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    assert job.cursor == NOW
    assert await follow_tzdata(store, 0, epoch, own="2026b") == 0
    await store.close()


async def test_a_job_whose_instant_is_the_same_is_not_touched() -> None:
    store, epoch = await store_with_a_job_planned_wrongly()
    await follow_tzdata(store, 0, epoch, own="2026b")
    version = (await store.jobs.get(["web/fetch"]))["web/fetch"].version
    assert await follow_tzdata(store, 0, epoch, own="2027a") == 0
    assert (await store.jobs.get(["web/fetch"]))["web/fetch"].version == version
    await store.close()


@pytest.mark.parametrize(
    ("seen", "own"), [("2026b", "2026a"), ("2027a", "2026z"), ("2026.2", "2026.1"), ("2026.10", "2026.9")]
)
async def test_an_older_database_does_not_plan(seen: str, own: str) -> None:
    store, _ = await store_with_a_job_planned_wrongly()
    await store.leases.remember(FACT, seen)
    with pytest.raises(StoreUnusable, match=seen):
        await check_tzdata(store, own=own)
    assert await store.leases.fact(FACT) == seen
    await store.close()
