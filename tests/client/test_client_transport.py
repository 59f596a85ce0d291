import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.client.scripted_server import Answer, Scripted, answer, problem, scripted

from rota.client.client import BlockingClient, Client
from rota.client.discovery import Target
from rota.client.errors import NotRota, ServerFailed, Unreachable
from rota.core.errors import Conflict, Invalid, NotAllowed, NotAuthenticated, NotFound, StoreUnavailable, TooLarge

EMPTY = answer(200, {"items": [], "next": None, "count": {"value": 0, "kind": "exact"}})


def client(server: Scripted, patience: float = 2.0, token: str | None = "secret-token") -> Client:
    return Client(Target(url=server.url, token=token), version="1.2.3", patience=patience)


async def test_a_request_carries_token_version_and_query() -> None:
    async with scripted(EMPTY) as server, client(server) as rota:
        await rota.jobs.list("ns:web is:failing", sort="next", limit=7)
    (asked,) = server.asked
    assert asked.method == "GET"
    assert asked.path.startswith("/api/v1/jobs?")
    assert "limit=7" in asked.path
    assert "sort=next" in asked.path
    assert "cursor" not in asked.path
    assert asked.headers["authorization"] == "Bearer secret-token"
    assert asked.headers["user-agent"] == "rota/1.2.3"


async def test_the_token_is_neither_in_the_address_nor_in_a_repr() -> None:
    async with scripted(EMPTY) as server, client(server) as rota:
        await rota.jobs.list()
        assert "secret-token" not in repr(rota.target)
    assert "secret-token" not in server.asked[0].path


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, NotAuthenticated),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (412, Conflict),
        (413, TooLarge),
        (418, Invalid),
        (421, NotAllowed),
        (422, Invalid),
        (500, ServerFailed),
    ],
)
async def test_a_problem_becomes_its_error(status: int, kind: type[Exception]) -> None:
    async with scripted(problem(status, "SOME_CODE", problems=[{"code": "E1"}])) as server, client(server) as rota:
        with pytest.raises(kind) as caught:
            await rota.runs.get("x")
    error: Any = caught.value
    assert (error.detail, error.hint) == ("it is SOME_CODE", "do this")
    assert error.facts["code"] == "SOME_CODE"
    assert error.facts["request_id"] == "r1"
    assert error.facts["problems"] == [{"code": "E1"}]


async def test_503_is_waited_out() -> None:
    async with scripted(problem(503, "BUSY"), problem(503, "BUSY"), EMPTY) as server, client(server) as rota:
        assert (await rota.jobs.list())["items"] == []
    assert len(server.asked) == 3


async def test_503_for_longer_than_the_patience_is_an_error() -> None:
    async with scripted(problem(503, "BUSY")) as server, client(server, patience=0.2) as rota:
        with pytest.raises(StoreUnavailable):
            await rota.jobs.list()
    assert 2 <= len(server.asked) <= 8


@pytest.mark.parametrize("after", ["nonsense", "-5", "0"])
async def test_a_strange_retry_after_does_no_harm(after: str) -> None:
    busy = answer(503, {"code": "BUSY"}, kind="application/problem+json", Retry_After=after)
    async with scripted(busy, EMPTY) as server, client(server) as rota:
        await rota.jobs.list()
    assert len(server.asked) == 2


async def test_a_post_that_is_sent_again_has_the_same_key() -> None:
    run = answer(201, {"id": "r"})
    async with scripted(None, problem(503, "BUSY"), run) as server, client(server) as rota:
        assert await rota.jobs.trigger("web/fetch", params={"a": "b"}) == {"id": "r"}
    assert len(server.asked) == 3
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1
    assert all(json.loads(asked.body) == {"params": {"a": "b"}} for asked in server.asked)


async def test_two_posts_have_two_keys_unless_one_is_given() -> None:
    async with scripted(answer(201, {"id": "r"})) as server, client(server) as rota:
        await rota.jobs.trigger("web/fetch")
        await rota.jobs.trigger("web/fetch")
        await rota.jobs.trigger("web/fetch", key="mine", at=datetime(2026, 1, 1, tzinfo=UTC))
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"
    assert json.loads(server.asked[2].body)["at"] == "2026-01-01T00:00:00+00:00"


async def test_a_connection_that_breaks_every_time_is_given_up() -> None:
    async with scripted(None) as server, client(server) as rota:
        with pytest.raises(Unreachable):
            await rota.jobs.list()
    assert len(server.asked) == 4


async def test_nobody_there_is_said_at_once() -> None:
    async with scripted(EMPTY) as server:
        gone = server
    async with client(gone) as rota:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await rota.jobs.list()


@pytest.mark.parametrize(
    "given",
    [
        answer(200, b"<html>hello</html>", kind="text/html"),
        answer(404, b"nope", kind="text/plain"),
        answer(302, b"", Location="http://elsewhere.example/"),
    ],
)
async def test_something_else_is_told_from_a_rota_server(given: bytes) -> None:
    async with scripted(given) as server, client(server) as rota:
        with pytest.raises(NotRota):
            await rota.jobs.list()
    assert len(server.asked) == 1


async def test_a_list_is_read_page_by_page_up_to_its_limit() -> None:
    def page(first: int, following: str | None) -> bytes:
        items = [{"job": f"a/{number}"} for number in range(first, first + 2)]
        return answer(200, {"items": items, "next": following, "count": {"value": 6, "kind": "exact"}})

    async with scripted(page(0, "c1"), page(2, "c2"), page(4, None)) as server, client(server) as rota:
        found = await rota.jobs.list(limit=4)
        assert [job["job"] for job in found["items"]] == ["a/0", "a/1", "a/2", "a/3"]
        assert found["next"] == "c2"
    assert "cursor=c1" in server.asked[1].path
    async with scripted(page(0, "c1"), page(2, "c2"), page(4, None)) as server, client(server) as rota:
        assert [job["job"] async for job in rota.jobs.each()] == [f"a/{number}" for number in range(6)]


async def test_an_unknown_job_is_answered_with_the_nearest() -> None:
    names: list[Answer] = [
        problem(404, "NOT_FOUND", facts={"job": "web/fecth"}),
        answer(200, {"items": [{"job": "web/fetch"}, {"job": "web/other"}], "next": None}),
    ]
    async with scripted(*names) as server, client(server) as rota:
        with pytest.raises(NotFound) as caught:
            await rota.jobs.get("web/fecth")
    assert caught.value.hint == "did you mean web/fetch?"


async def test_a_name_in_another_namespace_is_near_and_a_strange_one_is_not() -> None:
    listed = answer(200, {"items": [{"job": "finance/nightly-report"}], "next": None})
    for asked, hint in (("x/nightly-report", "did you mean finance/nightly-report?"), ("q/zzz", "do this")):
        missing = problem(404, "NOT_FOUND", facts={"job": asked})
        async with scripted(missing, listed) as server, client(server) as rota:
            with pytest.raises(NotFound) as caught:
                await rota.jobs.pause(asked)
        assert caught.value.hint == hint


@pytest.mark.parametrize("name", ["", "fetch", "a/b/c", "/b", "a/"])
async def test_what_is_no_full_name_is_not_asked_for(name: str) -> None:
    async with scripted(EMPTY) as server, client(server) as rota:
        with pytest.raises(Invalid, match="NAMESPACE/NAME"):
            await rota.jobs.get(name)
    assert server.asked == []


async def test_names_cannot_leave_their_place_in_the_path() -> None:
    async with scripted(answer(200, {})) as server, client(server) as rota:
        await rota.jobs.get("a?b/..#c")
        await rota.runs.get("../jobs?x=")
    assert server.asked[0].path.startswith("/api/v1/jobs/a%3Fb/..%23c?")
    assert server.asked[1].path == "/api/v1/runs/..%2Fjobs%3Fx%3D"


async def test_every_call_has_its_method_and_path() -> None:
    async with scripted(answer(200, {"path": "/login?code=c", "items": []})) as server, client(server) as rota:
        await rota.jobs.apply([{"job": "a/b", "spec": {}}], prune=["/x", "/y"])
        await rota.jobs.resume("a/b")
        await rota.jobs.why("a/b", "03:00")
        await rota.jobs.ledger("a/b", limit=3)
        await rota.runs.cancel("r", reason="why")
        await rota.runs.retry("r")
        await rota.system.set_secret("A/B", "v")
        await rota.system.remove_secret("A")
        await rota.system.create_token("ci", ["read"])
        await rota.system.revoke_token("t")
        await rota.system.test_alert("mail:a@b")
        assert await rota.system.login_link() == "/login?code=c"
        assert await rota.system.ready() == (True, [])
    assert [(asked.method, asked.path.removeprefix("/api/v1")) for asked in server.asked] == [
        ("POST", "/jobs:batch?atomic=true&prune=%2Fx%2C%2Fy"),
        ("POST", "/jobs/a/b/resume"),
        ("GET", "/jobs/a/b/why?at=03%3A00"),
        ("GET", "/jobs/a/b/ledger?limit=3"),
        ("POST", "/runs/r/cancel"),
        ("POST", "/runs/r/retry"),
        ("PUT", "/secrets/A%2FB"),
        ("DELETE", "/secrets/A"),
        ("POST", "/tokens"),
        ("DELETE", "/tokens/t"),
        ("POST", "/alerts:test"),
        ("POST", "/login-links"),
        ("GET", "/readyz"),
    ]


async def test_an_empty_answer_is_none_and_not_ready_is_an_answer() -> None:
    full = answer(503, {"ok": False, "problems": ["the disk is full"]})
    async with scripted(answer(204), full) as server, client(server) as rota:
        assert await rota.runs.get("x") is None
        assert await rota.system.ready() == (False, ["the disk is full"])


def test_the_same_calls_without_a_loop(blocking_server: str) -> None:
    with BlockingClient(Target(url=blocking_server)) as rota:
        assert rota.run(rota.api.jobs.list())["items"] == [{"job": "a/b"}]
        assert list(rota.each(rota.api.jobs.each())) == [{"job": "a/b"}]
        with pytest.raises(Invalid):
            rota.run(rota.api.jobs.get("nonsense"))
