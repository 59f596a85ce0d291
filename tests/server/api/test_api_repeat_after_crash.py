"""A trigger repeated under its Idempotency-Key is one run, also when the server died before it kept its answer."""

from datetime import UTC, datetime

from api_installation import Installation

from rota.store.access import RememberedAnswer

FAR = datetime(2100, 1, 1, tzinfo=UTC)


async def forget_answers(rota: Installation) -> None:
    """What a kill between the run's commit and the memory of its answer leaves: the run, and no answer."""
    other = RememberedAnswer(key="x", actor="x", request_digest=b"", status=200, body=b"", created=FAR)
    await rota.store.access.remember(other, FAR)


async def test_single_trigger(rota: Installation) -> None:
    await rota.apply("web/fetch")
    async with rota.client(**{"Idempotency-Key": "one"}) as client:
        first = await client.post("/api/v1/jobs/web/fetch/runs", json={})
        await forget_answers(rota)
        second = await client.post("/api/v1/jobs/web/fetch/runs", json={})
    assert "Idempotent-Replay" not in second.headers
    assert second.json()["id"] == first.json()["id"]


async def test_batch_of_triggers(rota: Installation) -> None:
    await rota.apply("web/fetch")
    body = {"runs": [{"job": "web/fetch"}, {"job": "web/fetch"}]}
    async with rota.client(**{"Idempotency-Key": "many"}) as client:
        first = (await client.post("/api/v1/runs:batch", json=body)).json()["items"]
        await forget_answers(rota)
        second = (await client.post("/api/v1/runs:batch", json=body)).json()["items"]
    ids = [item["run"]["id"] for item in first]
    assert len(set(ids)) == 2
    assert [item["run"]["id"] for item in second] == ids


async def test_keys_of_different_callers_are_different(rota: Installation) -> None:
    await rota.apply("web/fetch")
    runs = set()
    for scope in ("admin", "write"):
        async with rota.client(scope, **{"Idempotency-Key": "one"}) as client:
            runs.add((await client.post("/api/v1/jobs/web/fetch/runs", json={})).json()["id"])
    assert len(runs) == 2


async def test_retry(rota: Installation) -> None:
    await rota.apply("web/fetch")
    async with rota.client() as client:
        run = (await client.post("/api/v1/jobs/web/fetch/runs", json={})).json()["id"]
        assert (await client.post(f"/api/v1/runs/{run}/cancel", json={})).status_code == 200
    async with rota.client(**{"Idempotency-Key": "again"}) as client:
        first = await client.post(f"/api/v1/runs/{run}/retry")
        await forget_answers(rota)
        second = await client.post(f"/api/v1/runs/{run}/retry")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["id"] == first.json()["id"] != run
    assert first.json()["retry_of"] == run
