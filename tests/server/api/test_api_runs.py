"""Runs over the API: triggers, idempotency, cancel, retry, references, output, limits of bodies."""

import asyncio
from datetime import timedelta

import pytest
from api_installation import START, Installation

from rota.core.errors import StoreUnavailable
from rota.core.model import RunState

RUN_FIELDS = {
    "id", "job", "revision", "due", "nominal", "trigger", "retry_of", "state", "reason", "attempt", "attempts",
    "created", "started", "finished", "worker", "exit", "error", "params", "result",
}  # fmt: skip
ATTEMPT_FIELDS = {
    "number", "fence", "worker", "state", "created", "started", "finished", "exit", "signal", "error", "usage",
}  # fmt: skip
RUNS = "/api/v1/jobs/web/page/runs"


async def test_a_trigger_makes_a_run_of_the_contracts_shape(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client("write") as client:
        made = await client.post(RUNS, json={"params": {"day": "monday"}})
        assert made.status_code == 201
        run = made.json()
        assert set(run) >= RUN_FIELDS
        assert (run["job"], run["trigger"], run["state"], run["actor"]) == ("web/page", "manual", "queued", "write")
        assert run["params"] == {"day": "monday"}
        assert run["due"] == "2026-11-23T12:00:00.000000Z"
        assert (await client.get(made.headers["location"])).json() == run
        assert (await client.post(RUNS)).status_code == 201
        assert (await client.post("/api/v1/jobs/web/nothing/runs")).status_code == 404
        assert (await client.post(RUNS, json={"params": {"a": "\0"}})).status_code == 422


async def test_the_same_idempotency_key_is_one_run(rota: Installation) -> None:
    await rota.apply("web/page")
    key = {"Idempotency-Key": "deploy-42"}
    async with rota.client("write") as client, rota.client("admin") as other:
        first = await client.post(RUNS, json={"params": {"a": "1"}}, headers=key)
        rota.clock.advance(seconds=90)
        again = await client.post(RUNS, json={"params": {"a": "1"}}, headers=key)
        assert again.status_code == first.status_code
        assert again.content == first.content
        assert again.headers["idempotent-replay"] == "true"
        assert "idempotent-replay" not in first.headers
        different = await client.post(RUNS, json={"params": {"a": "2"}}, headers=key)
        assert different.status_code == 409
        foreign = await other.post(RUNS, json={"params": {"a": "1"}}, headers=key)
        assert foreign.json()["id"] != first.json()["id"]
        assert (await client.post(RUNS, headers={"Idempotency-Key": "x" * 256})).status_code == 422
        listed = (await client.get("/api/v1/runs")).json()
        assert listed["count"]["value"] == 2


async def test_simultaneous_requests_with_one_key_make_one_run(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client("write") as client:
        answers = await asyncio.gather(*(client.post(RUNS, headers={"Idempotency-Key": "k"}) for _ in range(8)))
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotent-replay" in answer.headers for answer in answers) == 7


async def test_an_answer_that_holds_a_credential_is_never_kept(rota: Installation) -> None:
    key = {"Idempotency-Key": "k"}
    async with rota.client("admin") as client:
        tokens = [
            (await client.post("/api/v1/tokens", json={"name": "ci", "scopes": ["read"]}, headers=key)).json()["token"]
            for _ in range(2)
        ]
        links = [(await client.post("/api/v1/login-links", headers=key)).json()["path"] for _ in range(2)]
    assert len({*tokens, *links}) == 4
    for token in await rota.services.access.tokens():
        assert await rota.store.access.remembered("k", token.id) is None


async def test_a_refused_request_is_not_remembered(rota: Installation) -> None:
    key = {"Idempotency-Key": "k"}
    async with rota.client("write") as client:
        assert (await client.post(RUNS, headers=key)).status_code == 404
        await rota.apply("web/page")
        assert (await client.post(RUNS, headers=key)).status_code == 201


async def test_many_triggers_succeed_or_fail_each_by_itself(rota: Installation) -> None:
    await rota.apply("web/page")
    items = [{"job": "web/page"}, {"job": "web/nothing"}, {"job": "web/page", "uid": 0}, {"job": "web/page"}]
    async with rota.client("write") as client:
        answer = (await client.post("/api/v1/runs:batch", json={"runs": items})).json()
        assert [item["run"] is not None for item in answer["items"]] == [True, False, False, True]
        assert answer["items"][1]["problem"]["code"] == "NOT_FOUND"
        assert (answer["started"], answer["refused"]) == (2, 2)


async def test_cancel_and_retry(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client("write") as client:
        run = (await client.post(RUNS)).json()
        one = f"/api/v1/runs/{run['id']}"
        assert (await client.post(one + "/retry")).status_code == 409
        cancelled = (await client.post(one + "/cancel", json={"reason": "wrong day"})).json()
        assert cancelled["state"] == "cancelled"
        assert cancelled["reason"]["words"] == "cancelled by write: wrong day"
        assert (await client.post(one + "/cancel")).status_code == 409
        retried = (await client.post(one + "/retry")).json()
        assert (retried["trigger"], retried["retry_of"], retried["due"]) == ("retry", run["id"], run["due"])
        why = (await client.get(one + "/why")).json()
        assert why["verdict"] == "It was cancelled: cancelled by write: wrong day."


async def test_attempts_and_results_are_told(rota: Installation) -> None:
    job = await rota.apply("web/page")
    run = await rota.add_run(job, START - timedelta(hours=1), RunState.FAILED, error="exit 1", failures=2)
    async with rota.client("read") as client:
        found = (await client.get(f"/api/v1/runs/{run.id}")).json()
        assert [attempt["number"] for attempt in found["attempts"]] == [1, 2, 3]
        assert set(found["attempts"][0]) >= ATTEMPT_FIELDS
        assert found["attempts"][0]["usage"] == {"cpu_seconds": 0.42, "peak_memory": 23 * 1024 * 1024}
        assert (found["exit"], found["worker"], found["error"]) == (1, "w-1", "exit 1")
        why = (await client.get(f"/api/v1/runs/{run.id}/why")).json()
        assert [step["code"] for step in why["steps"]].count("ENDED") == 3
        assert f"rota retry {run.id}" in " ".join(why["next"])


async def test_runs_are_filtered_and_bounded_in_time(rota: Installation) -> None:
    job = await rota.apply("web/page")
    for hours, state in ((1, RunState.SUCCEEDED), (2, RunState.FAILED), (30, RunState.FAILED), (3, RunState.MISSED)):
        await rota.add_run(job, START - timedelta(hours=hours), state)
    async with rota.client("read") as client:
        for query, count in {
            "": 3, "state:failed": 1, "state:failed since:48h": 2, "state:missed,failed": 2, "worker:w-1": 2,
            "trigger:manual": 0, "exit:1": 1, "dur:>10m": 0, "dur:<10m": 2, "job:web/*": 3, "-job:web/*": 0,
            "since:10:30": 1, "until:-2h30m": 1,
        }.items():  # fmt: skip
            found = (await client.get("/api/v1/runs", params={"q": query})).json()
            assert found["count"]["value"] == len(found["items"]) == count, query
        ordered = [run["due"] for run in (await client.get("/api/v1/runs")).json()["items"]]
        assert ordered == sorted(ordered, reverse=True)
        first = (await client.get("/api/v1/runs?limit=2")).json()
        rest = (await client.get("/api/v1/runs", params={"limit": "2", "cursor": first["next"]})).json()
        assert [run["due"] for run in first["items"] + rest["items"]] == ordered
        wrong_order = {"cursor": first["next"], "sort": "due"}
        assert (await client.get("/api/v1/runs", params=wrong_order)).status_code == 422


async def test_references_name_runs(rota: Installation) -> None:
    job = await rota.apply("web/page", timezone="Europe/Berlin")
    failed = await rota.add_run(job, START - timedelta(hours=2), RunState.FAILED)
    latest = await rota.add_run(job, START - timedelta(hours=1))
    async with rota.client("read") as client:
        for reference, run in {
            latest.id: latest,
            "web/page@latest": latest,
            "web/page": latest,
            "web/page@last-failed": failed,
            "web/page@2026-11-23T11:00": failed,
            "web/page@2026-11-23T11:00Z": latest,
            f"http://127.0.0.1:8700/r/{failed.id}#L12": failed,
        }.items():
            found = await client.get("/api/v1/resolve", params={"ref": reference})
            assert found.json()["id"] == run.id, reference
        for reference, status in {
            "web/none@latest": 404, "web/page@2026-11-20T11:00": 404, "nonsense": 422, "web/page@never": 422,
            "../../etc/passwd": 422, latest.id[:8]: 422,
        }.items():  # fmt: skip
            found = await client.get("/api/v1/resolve", params={"ref": reference})
            assert found.status_code == status, reference


async def test_output_is_read_in_windows_and_raw(rota: Installation) -> None:
    job = await rota.apply("web/page")
    run = await rota.add_run(job, START - timedelta(hours=1), RunState.FAILED, error="x")
    await rota.write(run, *((0, b"line %d\n" % number) for number in range(40)))
    await rota.write(run, (1, b"<script>alert(1)</script> \xff\n"), (1, b"no newline"))
    path = f"/api/v1/runs/{run.id}/logs"
    async with rota.client("read") as client:
        head = (await client.get(path, params={"limit": "5"})).json()
        assert [(line["offset"], line["text"]) for line in head["lines"]][:2] == [(0, "line 0"), (1, "line 1")]
        assert (head["total"], head["next"], head["ended"]) == (42, 5, True)
        middle = (await client.get(path, params={"from": "38", "limit": "2"})).json()
        assert [line["offset"] for line in middle["lines"]] == [38, 39]
        tail = (await client.get(path, params={"from": "-2"})).json()
        assert [line["stream"] for line in tail["lines"]] == ["stderr", "stderr"]
        assert tail["lines"][1] == {**tail["lines"][1], "text": "no newline", "more": True}
        assert tail["next"] is None
        error = (await client.get(path, params={"find": "error"})).json()
        assert (error["first_error"], error["from"]) == (40, 30)
        raw = await client.get(path + "/raw")
        assert raw.headers["content-type"].startswith("text/plain")
        assert raw.headers["content-disposition"].startswith("attachment")
        assert raw.content.startswith(b"line 0\nline 1\n")
        assert raw.content.endswith(b"no newline")
        assert (await client.get(path + "?attempt=2")).status_code == 404
        assert (await client.get("/api/v1/runs/..%2f..%2fetc/logs/raw")).status_code == 404


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"params": 1}', "application/json", 422),
        (b'{"params": {"a": 1}}', "application/json", 422),
        (b'{"at": "yesterday"}', "application/json", 422),
        (b'{"params": {"a": "b"}}', "text/plain", 415),
        (b"params=a", "application/x-www-form-urlencoded", 415),
        (b"[" * 100_000, "application/json", 422),
        (b'{"params":' * 5_000, "application/json", 422),
        (b'{"key": "\xff"}', "application/json", 422),
        (b" " * (1024 * 1024 + 1), "application/json", 413),
    ],
)
async def test_bodies_that_cannot_be_honoured(rota: Installation, content: bytes, kind: str, status: int) -> None:
    await rota.apply("web/page")
    async with rota.client("write") as client:
        answer = await client.post(RUNS, content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert (await client.post(RUNS, content=b"{}", headers=packed)).status_code == 415
        assert (await client.get("/api/v1/runs")).json()["items"] == []


async def test_methods_that_a_path_does_not_take(rota: Installation) -> None:
    async with rota.client("admin") as client:
        answer = await client.request("PATCH", "/api/v1/jobs")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET"
        assert answer.json()["code"] == "METHOD_NOT_ALLOWED"
        assert (await client.request("HEAD", "/api/v1/jobs")).status_code == 200


async def test_a_store_that_is_away_is_said_as_such(rota: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*arguments: object) -> None:
        raise StoreUnavailable("the disk is full")

    async with rota.client("read") as client:
        monkeypatch.setattr(rota.store.views, "summary", away)
        answer = await client.get("/api/v1/summary")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        monkeypatch.setattr(rota.store.leases, "now", away)
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200


async def test_what_nobody_expected_is_a_500_without_its_cause(
    rota: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(rota.store.views, "summary", broken)
    async with rota.client("read") as client:
        answer = await client.get("/api/v1/summary")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    (event,) = [event for event in rota.events if type(event).__name__ == "RequestFailed"]
    assert event.request_id == answer.json()["request_id"]  # type: ignore[attr-defined]
