"""Servers, workers and the hold after a restore, through the API."""

from datetime import timedelta
from typing import Any

import pytest
from api_installation import START, Installation
from msgspec.structs import replace

from rota.core.model import RunState, Worker
from rota.core.model import Server as ServerRow
from rota.events import RestoreAccepted
from rota.server.restore import FACT, SUSPECTED
from rota.store.sessions import Sign
from rota.store.vitals import Readings


def row(name: str, **more: Any) -> ServerRow:
    """A server as it joins; the store fills in the times."""
    url = f"https://{name}.example.com:8700"
    return ServerRow(id=name, name=name, url=url, version="1.2.2", started=START, renewed=START, lease_until=START)


async def servers(rota: Installation) -> Any:
    async with rota.client("read") as client:
        answer = await client.get("/api/v1/servers")
        assert answer.status_code == 200, answer.text
        return answer.json()


async def test_the_server_that_answers_says_how_it_fares_now(rota: Installation) -> None:
    await rota.server.leaseholder.join()
    rota.server.store_times.note(0.25)
    rota.server.planner.lag = 3.0
    found = await servers(rota)
    (own,) = found["items"]
    assert (own["id"], own["state"], own["shards"]) == (rota.server.id, "up", [0])
    assert (own["planner_lag"], own["store_typical"], own["store_slow"]) == (3.0, 0.25, 0.25)
    assert own["problems"] == ["the server has not started"]
    assert own["measured"] == "2026-11-23T12:00:00.000000Z"
    assert (found["shards"], found["unled"]) == (1, [])


async def test_others_are_shown_by_what_they_said_last(rota: Installation) -> None:
    await rota.store.leases.join(row("silent"), 100.0)
    await rota.store.leases.join(row("b"), 100.0)
    await rota.store.leases.join(row("a"), 4.0)
    assert await rota.store.leases.take("a", {0: 0}) == {0: 1}
    await rota.store.vitals.note("b", Readings(clock_offset=1.5, workers=7))
    rota.clock.advance(seconds=10)
    found = await servers(rota)
    assert [(one["name"], one["state"]) for one in found["items"]] == [("b", "up"), ("silent", "up"), ("a", "gone")]
    b, silent, a = found["items"]
    assert (b["clock_offset"], b["workers"], b["measured"]) == (1.5, 7, "2026-11-23T12:00:00.000000Z")
    assert (silent["measured"], silent["workers"], silent["problems"]) == (None, None, [])
    assert a["shards"] == [0]
    assert found["unled"] == [0], "its leader is gone"


async def test_the_backlog_says_what_is_waited_for(rota: Installation) -> None:
    job = await rota.apply("web/page")
    other = await rota.apply("web/other")
    for minutes in (1, 2, 3):
        await rota.add_run(job, START - timedelta(minutes=minutes), RunState.QUEUED)
    await rota.add_run(job, START + timedelta(hours=1), RunState.QUEUED)
    await rota.add_run(other, START - timedelta(minutes=9), RunState.RUNNING)
    backlog = (await servers(rota))["backlog"]
    assert (backlog["queued"], backlog["starting"], backlog["running"]) == (4, 0, 1)
    assert backlog["oldest"] == "2026-11-23T11:57:00.000000Z"
    assert backlog["waiting"] == [{"kind": "shell", "code": None, "words": "a worker with room", "count": 3}]


async def test_workers_as_contracted(rota: Installation) -> None:
    await rota.store.leases.join(row("s1"), 100.0)
    await rota.store.leases.join(row("s2"), 4.0)
    worker = Worker(
        name="w1", boot_id="b", session=0, server="s1", version="1", connected=START, last_seen=START, cpus=2
    )  # fmt: skip
    for name, server in (("w1", "s1"), ("w2", "s1"), ("w3", "s2"), ("w4", "s1")):
        await rota.store.sessions.connect(replace(worker, name=name, server=server))
    at = START + timedelta(seconds=7)
    rota.clock.advance(seconds=10)
    await rota.store.sessions.seen([Sign(name="w2", at=at, draining=True, clock_offset=-3.5)])
    await rota.store.sessions.disconnect("w4", 1, at)
    async with rota.client("read") as client:
        found = (await client.get("/api/v1/workers")).json()["items"]
    assert {one["name"]: one["state"] for one in found} == {"w1": "up", "w2": "draining", "w3": "lost", "w4": "lost"}
    assert found[1]["clock_offset"] == -3.5
    assert found[1]["last_seen"] == "2026-11-23T12:00:07.000000Z"
    assert found[0]["clock_offset"] is None


@pytest.mark.parametrize("scope", ["read", "write", "worker", None])
async def test_only_an_administrator_accepts_a_restore(rota: Installation, scope: str | None) -> None:
    await rota.store.leases.remember(FACT, SUSPECTED)
    async with rota.client(scope) as client:
        assert (await client.post("/api/v1/store:accept-restore")).status_code in (401, 403)
    assert await rota.server.restore.refresh()


async def test_a_restore_is_accepted_once_and_that_is_on_record(rota: Installation) -> None:
    await rota.store.leases.remember(FACT, SUSPECTED)
    async with rota.client() as client:
        assert (await client.post("/api/v1/store:accept-restore")).json() == {"was_held": True}
        assert (await client.post("/api/v1/store:accept-restore")).json() == {"was_held": False}
        trail = (await client.get("/api/v1/audit")).json()["items"]
    assert [(one["actor"], one["verb"]) for one in trail if one["verb"].startswith("restore")] == [
        ("admin", "restore.accept")
    ]
    assert RestoreAccepted(actor="admin") in rota.events
    assert not await rota.server.restore.refresh()
