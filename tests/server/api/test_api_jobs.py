"""Jobs over the API: shapes of the contract, edits guarded by revision, batches, pauses, ledger, why."""

import json
from datetime import timedelta

import pytest
from api_installation import SHELL, START, Installation

from rota.core.model import RunState

JOB_FIELDS = {
    "namespace", "name", "revision", "schedule", "timezone", "next", "paused", "conditions", "last", "recent",
    "labels", "source", "spec",
}  # fmt: skip
ONE = "/api/v1/jobs/web/page"


async def test_a_job_is_written_read_changed_and_deleted(rota: Installation) -> None:
    async with rota.client("write") as client:
        made = await client.put(ONE, json=SHELL)
        assert made.status_code == 201
        assert made.headers["etag"] == '"1"'
        job = made.json()
        assert set(job) >= JOB_FIELDS
        assert job["next"][0] == "2026-11-24T03:00:00.000000Z"
        assert job["schedule_words"] == "every day at 03:00"
        assert job["conditions"] == ["new"]
        assert (job["paused"], job["source"], job["recent"]) == (None, None, [])
        changed = await client.put(ONE, json={**SHELL, "schedule": "0 4 * * *"})
        assert (changed.status_code, changed.json()["revision"]) == (200, 2)
        assert (await client.put(ONE, json=job["spec"])).json()["spec"] == job["spec"]
        assert len((await client.get(ONE + "/revisions")).json()["items"]) == 3
        assert (await client.delete(ONE)).status_code == 204
        assert (await client.get(ONE)).status_code == 404


async def test_if_match_guards_an_edit(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client("write") as client:
        stale = await client.put(ONE, json={**SHELL, "schedule": "0 4 * * *"}, headers={"If-Match": '"7"'})
        assert stale.status_code == 412
        assert stale.json()["code"] == "REVISION_MOVED"
        assert (await client.delete(ONE, headers={"If-Match": "2"})).status_code == 412
        assert (await client.put(ONE, json=SHELL, headers={"If-Match": "nonsense"})).status_code == 422
        fresh = await client.put(ONE, json={**SHELL, "schedule": "0 4 * * *"}, headers={"If-Match": '"1"'})
        assert fresh.json()["revision"] == 2
        assert (await client.put("/api/v1/jobs/web/new", json=SHELL, headers={"If-Match": "0"})).status_code == 201


async def test_a_bad_spec_is_refused_with_all_its_problems(rota: Installation) -> None:
    bad = {"schedule": "0 25 * * *", "shell": "x", "retrys": {"tries": 4}, "timeout": "30"}
    async with rota.client("write") as client:
        answer = await client.put(ONE, json=bad)
        assert answer.status_code == 422
        problem = answer.json()
        assert {"type", "title", "status", "code", "detail", "hint", "request_id", "problems"} <= set(problem)
        assert len(problem["problems"]) == 3
        assert any("retry" in str(one) for one in problem["problems"])
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert (await client.get(ONE)).status_code == 404


@pytest.mark.parametrize("extra", ["uid", "run_as", "__proto__", "worker_cmd"])
async def test_unknown_keys_are_refused_and_nothing_is_stored(rota: Installation, extra: str) -> None:
    async with rota.client("write") as client:
        assert (await client.put(ONE, json={**SHELL, extra: "0"})).status_code == 422
        assert (await client.post("/api/v1/jobs/web/page/runs", json={extra: 1})).status_code == 422
        assert (await client.get("/api/v1/jobs")).json()["items"] == []


async def test_jobs_are_listed_by_pages_in_order(rota: Installation) -> None:
    await rota.apply(*(f"web/job-{number:02}" for number in range(25)))
    seen: list[str] = []
    async with rota.client("read") as client:
        cursor: str | None = ""
        while cursor is not None:
            query = {"limit": "10", **({"cursor": cursor} if cursor else {})}
            page = (await client.get("/api/v1/jobs", params=query)).json()
            assert page["count"] == {"value": 25, "kind": "exact"}
            seen += [job["name"] for job in page["items"]]
            cursor = page["next"]
        assert seen == [f"job-{number:02}" for number in range(25)]
        for limit, words in (
            ("1001", "be at most 1000"),
            ("9" * 30, "be at most 1000"),
            ("0", "be at least 1"),
            ("x", "be a whole number"),
        ):
            refused = await client.get(f"/api/v1/jobs?limit={limit}")
            assert (refused.status_code, refused.json()["detail"]) == (422, f"the parameter limit must {words}")
        assert (await client.get("/api/v1/jobs?cursor=%22%3B+drop")).json()["code"] == "BAD_CURSOR"
        unknown = (await client.get("/api/v1/jobs?limt=3")).json()
        assert "did you mean limit" in unknown["hint"]


async def test_queries_filter_jobs(rota: Installation) -> None:
    await rota.apply("web/page", labels={"tier": "1"})
    await rota.apply("finance/rates", owner="ann", schedule="0 5 * * *")
    await rota.services.commands.pause("finance/rates", until=None, reason="", actor=(await _actor(rota)))
    async with rota.client("read") as client:
        for query, expected in {
            "ns:finance": ["finance/rates"],
            "job:web/*": ["web/page"],
            "-job:web/*": ["finance/rates"],
            "is:paused": ["finance/rates"],
            "label:tier=1": ["web/page"],
            "owner:ann": ["finance/rates"],
            "page": ["web/page"],
            "ns:'; drop table jobs; --": [],
            "job:%": [],
        }.items():
            found = (await client.get("/api/v1/jobs", params={"q": query})).json()
            assert [job["job"] for job in found["items"]] == expected, query
        wrong = (await client.get("/api/v1/jobs?q=stat:failed")).json()
        assert wrong["code"] == "BAD_QUERY"
        assert "state" in wrong["hint"]


async def _actor(rota: Installation):
    return await rota.services.access.authenticate_token(rota.tokens["admin"])


async def test_pause_and_resume_leave_an_explained_gap(rota: Installation) -> None:
    await rota.apply("web/page", schedule="every hour")
    async with rota.client("write") as client:
        paused = await client.post(ONE + "/pause", json={"reason": "works"})
        assert paused.status_code == 200
        assert paused.json()["job"]["paused"]["reason"] == "works"
        assert paused.json()["job"]["next"] == []
        rota.clock.advance(hours=3)
        resumed = (await client.post(ONE + "/resume")).json()
        assert resumed["paused"] is None
        ledger = (await client.get(ONE + "/ledger")).json()["items"]
        assert [item["type"] for item in ledger] == ["gap"]
        assert ledger[0]["count"] == 3
        assert ledger[0]["reason"]["code"] == "PAUSED"
        assert {"from", "until"} <= set(ledger[0])
        why = (await client.get(ONE + "/why", params={"at": "2026-11-23T13:00Z"})).json()
        assert "paused by" in why["verdict"]
        assert (await client.post(ONE + "/pause", json={"until": "2020-01-01T00:00:00Z"})).status_code == 422


async def test_the_ledger_holds_runs_and_why_answers_for_any_time(rota: Installation) -> None:
    job = await rota.apply("web/page", schedule="every hour")
    due = START - timedelta(hours=2)
    await rota.add_run(job, due, RunState.FAILED, error="exit 1")
    async with rota.client("read") as client:
        ledger = (await client.get(ONE + "/ledger")).json()
        assert [(item["type"], item["state"]) for item in ledger["items"]] == [("run", "failed")]
        for at, words in {
            "2026-11-23T10:00Z": "failed",
            "2026-11-23T13:00Z": "will run",
            "2026-11-23T13:07Z": "No run was due",
        }.items():
            why = (await client.get(ONE + "/why", params={"at": at})).json()
            assert words in why["verdict"], why
            assert why["steps"]
        assert (await client.get(ONE + "/why")).status_code == 422
        assert (await client.get(ONE + "/why?at=never")).status_code == 422


async def test_a_batch_gives_one_result_per_item(rota: Installation) -> None:
    items = [
        {"job": "web/a", "spec": SHELL},
        {"job": "web/b", "spec": {**SHELL, "nonsense": 1}},
        {"job": "WEB/..", "spec": SHELL},
        {"job": "web/c"},
        {"job": "web/d", "spec": SHELL},
    ]
    async with rota.client("write") as client:
        answer = (await client.post("/api/v1/jobs:batch", json={"jobs": items})).json()
        assert [item["status"] for item in answer["items"]] == ["created", "refused", "refused", "refused", "created"]
        assert answer["items"][1]["problem"]["problems"]
        assert (answer["created"], answer["refused"]) == (2, 3)
        lines = "\n".join(json.dumps(item) for item in items[::4])
        kind = {"Content-Type": "application/x-ndjson"}
        again = (await client.post("/api/v1/jobs:batch", content=lines, headers=kind)).json()
        assert [item["status"] for item in again["items"]] == ["unchanged", "unchanged"]


async def test_an_atomic_batch_is_all_or_none_and_prunes_its_source(rota: Installation) -> None:
    async with rota.client("write") as client:
        good = [{"job": f"web/{name}", "spec": SHELL, "source": "jobs.yaml"} for name in ("a", "b")]
        bad = [*good, {"job": "web/c", "spec": {}}]
        refused = await client.post("/api/v1/jobs:batch?atomic=true", json={"jobs": bad})
        assert refused.status_code == 422
        assert refused.json()["facts"]["problems"][0]["job"] == "web/c"
        assert (await client.get("/api/v1/jobs")).json()["items"] == []
        assert (await client.post("/api/v1/jobs:batch?atomic=true", json={"jobs": good})).json()["created"] == 2
        pruned = (await client.post("/api/v1/jobs:batch?prune=jobs.yaml", json={"jobs": good[:1]})).json()
        assert pruned["removed"] == 1
        assert [job["name"] for job in (await client.get("/api/v1/jobs")).json()["items"]] == ["a"]


async def test_a_thousand_jobs_go_in_at_once(rota: Installation) -> None:
    items = [{"job": f"many/job-{number}", "spec": SHELL} for number in range(1000)]
    async with rota.client("write") as client:
        answer = await client.post("/api/v1/jobs:batch", json={"jobs": items}, timeout=60)
        assert answer.json()["created"] == 1000
        too_many = [{"job": "a/b", "spec": {}}] * 10_001
        assert (await client.post("/api/v1/jobs:batch", json={"jobs": too_many})).status_code == 413


async def test_next_merges_the_instants_of_all_jobs(rota: Installation) -> None:
    await rota.apply("web/hourly", schedule="every hour")
    await rota.apply("web/daily", schedule="every day at 14:30", timezone="Europe/Berlin")
    async with rota.client("read") as client:
        found = (await client.get("/api/v1/next?within=3h")).json()
        told = [(item["job"], item["due"][11:16]) for item in found["items"]]
        assert told == [
            ("web/hourly", "13:00"), ("web/daily", "13:30"), ("web/hourly", "14:00"), ("web/hourly", "15:00"),
        ]  # fmt: skip
        assert found["more"] is False
        cut = (await client.get("/api/v1/next?within=3h&limit=2")).json()
        assert (len(cut["items"]), cut["more"]) == (2, True)
        assert (await client.get("/api/v1/next?within=soon")).status_code == 422


async def test_explain_cron_gives_words_instants_and_warnings(rota: Installation) -> None:
    async with rota.client("read") as client:
        query = {"expr": "0 3 * * *", "tz": "Europe/Berlin", "n": "2", "from": "2026-11-23T00:00Z"}
        found = (await client.get("/api/v1/explain/cron", params=query)).json()
        assert found["words"] == "every day at 03:00"
        assert found["next"] == ["2026-11-23T02:00:00.000000Z", "2026-11-24T02:00:00.000000Z"]
        never = await client.get("/api/v1/explain/cron", params={"expr": "0 0 30 2 *"})
        assert never.status_code == 422
        assert "never fires" in never.json()["detail"]
        for expr in ("", "60 * * * *", "*/0 * * * *", "1\u0663 * * * *", "x" * 5000, "\0"):
            assert (await client.get("/api/v1/explain/cron", params={"expr": expr})).status_code == 422, expr
        assert (await client.get("/api/v1/explain/cron?expr=@daily&tz=../../x")).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        '{"shell": "true", "shell": "false"}',
        '{"shell": "true", "env": {"A": "1", "A": "2"}}',
    ],
)
async def test_a_key_that_is_there_twice_is_refused(rota: Installation, body: str) -> None:
    async with rota.client("write") as client:
        answer = await client.put(ONE, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "twice" in answer.json()["detail"]
        assert (await client.get(ONE)).status_code == 404


async def test_a_job_shows_its_run_under_way(rota: Installation) -> None:
    await rota.apply("web/page")
    run = await rota.trigger("web/page")
    async with rota.client("read") as client:
        assert (await client.get(ONE)).json()["active"] == []
        await rota.started(run, START)
        shown = (await client.get(ONE)).json()["active"]
        listed = (await client.get("/api/v1/jobs")).json()["items"][0]["active"]
    assert [(one["id"], one["state"]) for one in shown] == [(run.id, "running")]
    assert listed == shown
