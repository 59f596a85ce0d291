"""Enrolment: a join token is worth so many workers, for so long, and never the name of a worker that lives."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.server.api_installation import ADMIN, Installation, open_installation

from rota.core.errors import Invalid, NotAuthenticated, NotFound
from rota.core.model import Server, Worker
from rota.events import JoinRefused, WorkerJoined, WorkerRevoked
from rota.server.access import JOIN_LIFETIME, is_token_text
from rota.server.enrolment import Enrolment, JoinTokenSpent, NameInUse
from rota.store.access import TokenRecord


@pytest.fixture
async def rota():
    async with open_installation() as one:
        row = Server(
            id="s1", name="s1", url="", version="0", started=one.clock.now(), renewed=one.clock.now(),
            lease_until=one.clock.now(),
        )  # fmt: skip
        await one.store.leases.join(row, 3600.0)
        yield one


async def join_token(rota: Installation, **more: Any) -> str:
    return (await rota.services.access.create_token("fleet", ["join"], actor=ADMIN, **more)).text


async def connect(rota: Installation, name: str, boot_id: str = "b1") -> int:
    """As if a worker of this name had said hello at server s1."""
    now = rota.clock.now()
    worker = Worker(name=name, boot_id=boot_id, session=0, server="s1", version="0", connected=now, last_seen=now)
    return await rota.store.sessions.connect(worker)


async def trail(rota: Installation) -> list[tuple[str, str, str]]:
    entries = await rota.store.access.audit_trail(100)
    return [(one.actor, one.object, one.detail) for one in entries if one.verb == "worker.join"]


async def of_worker(rota: Installation, name: str) -> list[TokenRecord]:
    """The valid tokens of a worker."""
    return [one for one in await rota.services.access.tokens() if one.worker == name and one.revoked is None]


# ── join tokens ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_join_token_ends_after_an_hour_and_one_use_unless_told_otherwise(rota: Installation) -> None:
    made = await rota.services.access.create_token("fleet", ["join"], actor=ADMIN)
    assert (made.record.uses, made.record.labels) == (1, None)
    assert made.record.expires == rota.clock.now() + JOIN_LIFETIME
    later = rota.clock.now() + timedelta(days=2)
    made = await rota.services.access.create_token(
        "fleet", ["join"], uses=1000, expires=later, labels={"zone": "eu"}, actor=ADMIN
    )
    assert (made.record.uses, made.record.expires, made.record.labels) == (1000, later, {"zone": "eu"})


@pytest.mark.parametrize(
    ("scopes", "more", "said"),
    [
        (["join", "read"], {}, "nothing but let workers join"),
        (["worker"], {}, "by joining"),
        (["worker", "admin"], {}, "by joining"),
        (["join"], {"uses": 0}, "1 to 1000"),
        (["join"], {"uses": 1001}, "1 to 1000"),
        (["join"], {"labels": {"zone": ""}}, "label zone"),
        (["join"], {"labels": {"-": "x"}}, "name of a label"),
        (["join"], {"labels": {f"l{number}": "x" for number in range(33)}}, "33 labels"),
        (["read"], {"uses": 3}, "join token"),
        (["admin"], {"labels": {}}, "join token"),
    ],
)
async def test_what_a_token_cannot_be(rota: Installation, scopes: list[str], more: Any, said: str) -> None:
    before = len(await rota.services.access.tokens())
    with pytest.raises(Invalid, match=said):
        await rota.services.access.create_token("x", scopes, actor=ADMIN, **more)
    far = rota.clock.now() + timedelta(days=31)
    with pytest.raises(Invalid, match="at most 30 days"):
        await rota.services.access.create_token("x", ["join"], expires=far, actor=ADMIN)
    assert len(await rota.services.access.tokens()) == before


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_gets_a_token_of_its_own(rota: Installation) -> None:
    text = await join_token(rota, uses=2, labels={"zone": "eu"})
    made = await rota.services.enrolment.join(text, "w1", request_id="r1")
    assert is_token_text(made.text)
    assert (made.record.worker, made.record.scopes, made.record.labels) == ("w1", ("worker",), {"zone": "eu"})
    assert made.record.expires is None
    holder = await rota.services.access.holder(made.text)
    assert holder.id == made.record.id
    assert (await rota.services.enrolment.join(text, "w2")).text != made.text
    with pytest.raises(JoinTokenSpent):
        await rota.services.enrolment.join(text, "w3")
    assert await trail(rota) == [
        ("fleet", "w3", "denied: no use is left"),
        ("fleet", "w2", f"token {(await of_worker(rota, 'w2'))[0].id}"),
        ("fleet", "w1", f"token {made.record.id}"),
        ("fleet", "w-api", f"token {(await of_worker(rota, 'w-api'))[0].id}"),
    ]
    joined = [event.worker for event in rota.events if isinstance(event, WorkerJoined)]
    assert joined == ["w-api", "w1", "w2"]
    assert [event.reason for event in rota.events if isinstance(event, JoinRefused)] == ["no use is left"]


async def test_an_answer_that_was_lost_costs_no_second_use(rota: Installation) -> None:
    text = await join_token(rota)
    first = await rota.services.enrolment.join(text, "w1", key="k" * 32)
    again = await rota.services.enrolment.join(text, "w1", key="k" * 32)
    assert (again.text, again.record.id) == (first.text, first.record.id)
    for name, key in (("w1", "l" * 32), ("w2", "k" * 32)):
        with pytest.raises(JoinTokenSpent):
            await rota.services.enrolment.join(text, name, key=key)
    other = await join_token(rota)
    assert (await rota.services.enrolment.join(other, "w3", key="k" * 32)).text != first.text
    await rota.services.enrolment.revoke("w1", actor=ADMIN)
    with pytest.raises(JoinTokenSpent):
        await rota.services.enrolment.join(text, "w1", key="k" * 32)


async def test_of_many_at_once_so_many_get_one_as_there_are_uses(rota: Installation) -> None:
    text = await join_token(rota, uses=3)
    asked = [rota.services.enrolment.join(text, f"w{number}") for number in range(10)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(one, Exception) for one in done) == 3
    assert all(isinstance(one, JoinTokenSpent) for one in done if isinstance(one, Exception))


@pytest.mark.parametrize("how", ["expired", "revoked"])
async def test_an_ended_join_token_is_refused_and_that_is_on_the_trail(rota: Installation, how: str) -> None:
    text = await join_token(rota, uses=5)
    record = next(one for one in await rota.services.access.tokens() if one.uses == 5 and one.name == "fleet")
    if how == "expired":
        rota.clock.advance(hours=2)
    else:
        await rota.services.access.revoke_token(record.id, actor=ADMIN)
    with pytest.raises(NotAuthenticated) as refused:
        await rota.services.enrolment.join(text, "w1")
    assert str(refused.value) == ("the token has expired" if how == "expired" else "the token is not valid here")
    assert refused.value.hint == "rota token create --join makes another"
    actor, thing, detail = (await trail(rota))[0]
    assert (actor, thing) == ("fleet", record.id)
    assert detail == ("denied: it has expired" if how == "expired" else "denied: it was revoked")
    assert await of_worker(rota, "w1") == []


@pytest.mark.parametrize("name", ["", "-w", "w 1", "w/1", "wörker", "w\n", "w" * 64, "../w"])
async def test_names_that_no_worker_has(rota: Installation, name: str) -> None:
    text = await join_token(rota)
    with pytest.raises(Invalid, match="not a name for a worker"):
        await rota.services.enrolment.join(text, name)
    await rota.services.enrolment.join(text, "w1")  # nothing was used up


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_name_of_a_connected_worker_cannot_be_taken(rota: Installation) -> None:
    await rota.services.enrolment.join(await join_token(rota), "w1")
    session = await connect(rota, "w1")
    stolen = await join_token(rota, uses=9)
    with pytest.raises(NameInUse, match="w1 is, or was a moment ago, connected"):
        await rota.services.enrolment.join(stolen, "w1")
    (kept,) = await of_worker(rota, "w1")
    assert kept.revoked is None
    await rota.store.sessions.disconnect("w1", session, rota.clock.now())
    with pytest.raises(NameInUse):  # it may be on its way to another server
        await rota.services.enrolment.join(stolen, "w1")
    assert (await trail(rota))[0] == ("fleet", "w1", "denied: the name is in use")
    await rota.services.enrolment.join(stolen, "w2")  # and the tries took no use


async def test_a_reinstalled_worker_gets_its_name_when_the_old_process_is_surely_dead(rota: Installation) -> None:
    old = await rota.services.enrolment.join(await join_token(rota), "w1")
    session = await connect(rota, "w1")
    await rota.store.sessions.disconnect("w1", session, rota.clock.now())
    await rota.store.sessions.settle("w1", session, rota.clock.now())
    new = await rota.services.enrolment.join(await join_token(rota), "w1")
    assert [one.id for one in await of_worker(rota, "w1")] == [new.record.id]
    with pytest.raises(NotAuthenticated):
        await fresh(rota).holder(old.text)


async def test_an_administrator_frees_a_name_at_once(rota: Installation) -> None:
    old = await rota.services.enrolment.join(await join_token(rota), "w1")
    await connect(rota, "w1")
    (ended,) = await rota.services.enrolment.revoke("w1", actor=ADMIN)
    assert ended.id == old.record.id
    assert [event.worker for event in rota.events if isinstance(event, WorkerRevoked)] == ["w1"]
    await rota.services.enrolment.join(await join_token(rota), "w1")
    with pytest.raises(NotFound, match="no worker nobody"):
        await rota.services.enrolment.revoke("nobody", actor=ADMIN)


async def test_a_worker_without_a_token_keeps_its_name(rota: Installation) -> None:
    await connect(rota, "local-1")  # the one inside `rota up`
    with pytest.raises(NameInUse):
        await rota.services.enrolment.join(await join_token(rota), "local-1")
    reserving = Enrolment(
        rota.store, rota.services.access, rota.clock, rota.events.append, reserved=frozenset({"local-2"})
    )
    with pytest.raises(NameInUse):
        await reserving.join(await join_token(rota), "local-2")


def fresh(rota: Installation) -> Any:
    """Access control of another server, which believes nothing from before."""
    return type(rota.services.access)(rota.store.access, rota.clock)


# ── over the API ─────────────────────────────────────────────────────────────────────────────────────────


async def test_joining_over_the_api(rota: Installation) -> None:
    async with rota.client("admin") as admin:
        body = {"name": "fleet", "scopes": ["join"], "uses": 2, "labels": {"zone": "eu"}}
        made = (await admin.post("/api/v1/tokens", json=body)).json()
        assert (made["uses"], made["labels"], made["worker"]) == (2, {"zone": "eu"}, None)
        assert made["expires"] == "2026-11-23T13:00:00.000000Z"
        bearer = {"Authorization": f"Bearer {made['token']}"}
        first = await admin.post("/api/v1/workers:join", json={"name": "w1"}, headers=bearer)
        assert first.status_code == 201
        assert first.json() == {"token": first.json()["token"], "worker": "w1", "labels": {"zone": "eu"}}
        assert first.headers["cache-control"] == "no-store"
        bad = await admin.post("/api/v1/workers:join", json={"name": "w 2"}, headers=bearer)
        assert (bad.status_code, bad.json()["code"]) == (422, "INVALID")
        extra = await admin.post("/api/v1/workers:join", json={"name": "w2", "labels": {"gpu": "1"}}, headers=bearer)
        assert extra.status_code == 422
        short = await admin.post(
            "/api/v1/workers:join", json={"name": "w2"}, headers={**bearer, "Idempotency-Key": "k"}
        )
        assert short.status_code == 422
        await connect(rota, "w1")
        taken = await admin.post("/api/v1/workers:join", json={"name": "w1"}, headers=bearer)
        assert (taken.status_code, taken.json()["code"]) == (409, "WORKER_NAME_IN_USE")
        again = {**bearer, "Idempotency-Key": "0123456789abcdef"}
        texts = [
            (await admin.post("/api/v1/workers:join", json={"name": "w2"}, headers=again)).json()["token"]
            for _ in range(2)
        ]
        assert texts[0] == texts[1]
        spent = await admin.post("/api/v1/workers:join", json={"name": "w3"}, headers=bearer)
        assert (spent.status_code, spent.json()["code"]) == (403, "JOIN_TOKEN_SPENT")
        ended = await admin.delete("/api/v1/workers/w1/token")
        assert [one["worker"] for one in ended.json()["items"]] == ["w1"]
        assert (await admin.delete("/api/v1/workers/w1/token")).status_code == 404
        for token in (first.json()["token"], made["token"]):
            assert token not in (await admin.get("/api/v1/tokens")).text
            assert token not in (await admin.get("/api/v1/audit")).text
