"""Tokens, secrets, alerts, audit, metrics, workers, the live stream and the OpenAPI document."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from api_installation import START, Installation, open_installation

from rota.core.model import Worker
from rota.server.web import serve


async def test_secrets_are_written_listed_removed_and_never_read(rota: Installation) -> None:
    value = "hunter2-hunter2"
    async with rota.client("admin") as admin, rota.client("read") as reader:
        assert (await admin.put("/api/v1/secrets/TOKEN", json={"value": value})).status_code == 204
        listed = await reader.get("/api/v1/secrets")
        assert listed.json()["items"][0]["name"] == "TOKEN"
        assert listed.json()["items"][0]["readable"] is True
        assert (await admin.put("/api/v1/secrets/SHORT", json={"value": "1234567"})).status_code == 422
        assert (await admin.put("/api/v1/secrets/9bad", json={"value": value})).status_code == 422
        assert (await admin.get("/api/v1/secrets/TOKEN")).status_code == 405
        audit = (await admin.get("/api/v1/audit")).text
        assert "secret.set" in audit
        for text in (listed.text, audit, (await admin.get("/api/v1/openapi.json")).text):
            assert value not in text
        assert await rota.services.vault.values(["TOKEN", "NONE"]) == {"TOKEN": value}
        assert (await admin.delete("/api/v1/secrets/TOKEN")).status_code == 204
        assert (await admin.delete("/api/v1/secrets/TOKEN")).status_code == 404


async def test_a_test_alert_is_queued_and_audited(rota: Installation) -> None:
    async with rota.client("write") as client, rota.client("admin") as admin:
        sent = await client.post("/api/v1/alerts:test", json={"to": "mail:ops@example.com"})
        assert sent.status_code == 202
        listed = (await client.get("/api/v1/alerts")).json()
        assert [(one["event"], one["route"], one["state"]) for one in listed["items"]] == [
            ("test", "mail:ops@example.com", "pending")
        ]
        assert (await client.post("/api/v1/alerts:test", json={"to": "nobody"})).status_code == 422
        audit = (await admin.get("/api/v1/audit?limit=1")).json()["items"]
        assert (audit[0]["verb"], audit[0]["actor"]) == ("alert.test", "write")


async def test_acts_are_audited_with_the_requests_id(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client("admin") as admin:
        await admin.post("/api/v1/jobs/web/page/pause", headers={"X-Request-Id": "ticket-7"})
        entry = (await admin.get("/api/v1/audit?limit=1")).json()["items"][0]
    assert (entry["verb"], entry["object"], entry["request_id"]) == ("job.pause", "web/page", "ticket-7")


async def test_workers_and_the_summary(rota: Installation) -> None:
    await rota.apply("web/page", "web/other")
    worker = Worker(
        name="w-1",
        boot_id="b",
        session=0,
        server="s",
        version="1",
        connected=START,
        last_seen=START,
        capacity={"shell": 4},
    )
    await rota.store.sessions.connect(worker)
    async with rota.client("read") as client:
        (found,) = (await client.get("/api/v1/workers")).json()["items"]
        assert (found["id"], found["state"], found["capacity"], found["running"]) == ("w-1", "up", {"shell": 4}, [])
        summary = (await client.get("/api/v1/summary")).json()
        assert (summary["jobs"], summary["paused"], summary["version"]) == (2, 0, "1.2.3")
        assert (await client.get("/api/v1/namespaces")).json()["items"] == [{"name": "web", "jobs": 2}]
        assert (await client.get("/api/v1/me")).json()["scopes"] == ["read"]


async def test_metrics_are_prometheus_text_under_their_own_scope(rota: Installation) -> None:
    async with rota.client("metrics") as client:
        answer = await client.get("/metrics")
        assert "rota_probe_total 0.0" in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
    async with open_installation(public_metrics=True) as other, other.client(None) as anybody:
        assert (await anybody.get("/metrics")).status_code == 200


async def test_the_openapi_document_describes_every_route(rota: Installation) -> None:
    async with rota.client("read") as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes = {(method, route.path) for route in rota.app.routes for method in getattr(route.app, "_routes", {})}
    assert described == {one for one in routes if one[1].startswith(("/api/", "/healthz", "/readyz", "/metrics"))}
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for operation in operations:
        assert operation["x-permission"] == "public" or operation["security"] == [{"token": []}]
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', str(document).replace("'", '"')):
        assert reference in document["components"]["schemas"]


@contextlib.asynccontextmanager
async def served(rota: Installation) -> AsyncIterator[str]:
    """The installation on a real socket."""
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(rota.app, "127.0.0.1", 0, stop=stop, bound=bound.set_result))
    try:
        yield f"http://127.0.0.1:{await bound}"
    finally:
        rota.services.hints.close()
        stop.set()
        await task


async def events(response: httpx2.Response) -> AsyncIterator[tuple[str, str, str]]:
    """(event, id, data) of a stream, as they come."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields["id"], fields["data"]
            fields = {}


async def test_the_stream_hints_coalesced_and_goes_on_after_a_break(rota: Installation) -> None:
    async with served(rota) as url, httpx2.AsyncClient(base_url=url, timeout=20) as client:
        bearer = {"Authorization": f"Bearer {rota.tokens['read']}"}
        path = "/api/v1/stream?topics=jobs,job:web/page"
        async with client.stream("GET", path, headers=bearer) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            heard = events(response)
            assert (await anext(heard))[0] == "hello"
            for _ in range(50):
                rota.services.hints.publish("jobs")
            rota.services.hints.publish("run:other")
            event, position, data = await anext(heard)
            assert (event, data) == ("changed", '{"topics":["jobs"]}')
            await heard.aclose()
        rota.services.hints.publish("job:web/page")
        again = {**bearer, "Last-Event-ID": position}
        async with client.stream("GET", path, headers=again) as response:
            heard = events(response)
            assert (await anext(heard))[0] == "hello"
            assert (await anext(heard))[2] == '{"topics":["job:web/page"]}'
            await heard.aclose()
        async with client.stream("GET", path, headers={**bearer, "Last-Event-ID": "gone-1"}) as response:
            heard = events(response)
            assert (await anext(heard))[0] == "reset"
            await heard.aclose()


@pytest.mark.parametrize(
    "topics", ["", "tokens", "run:nonsense", "job:x", "jobs," + ",".join(f"job:a/{n}" for n in range(201))]
)
async def test_unknown_topics_are_refused(rota: Installation, topics: str) -> None:
    async with rota.client("read") as client:
        assert (await client.get("/api/v1/stream", params={"topics": topics})).status_code == 422


async def test_a_stop_ends_open_streams_at_once(rota: Installation) -> None:
    loop = asyncio.get_running_loop()
    async with httpx2.AsyncClient(timeout=20) as client, contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(rota))
        headers = {"Authorization": f"Bearer {rota.tokens['read']}"}
        async with client.stream("GET", f"{url}/api/v1/stream?topics=jobs", headers=headers) as response:
            heard = events(response)
            await anext(heard)
            begin = loop.time()
            await stack.aclose()
            assert [event async for event in heard] == []
            assert loop.time() - begin < timedelta(seconds=3).total_seconds()
