import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.alerts.mail_server import fake_sendmail, mail_server
from tests.cli.command import Command
from tests.cli.fake_api import Documents, fake_api, healthy, lone_server


@pytest.fixture
def data(rota: Command) -> Path:
    """A private data folder whose mail leaves by a program that is there."""
    folder = rota.folder / ".rota"
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    program = fake_sendmail(rota.folder)
    (folder / "rota.toml").write_text(f'[channels.mail]\ntype = "mail"\nsendmail = "{program}"\n')
    return folder


def levels(rota: Command, documents: Documents, expect: int) -> dict[str, tuple[str, str, str]]:
    """What doctor finds, by subject: level, words, hint."""
    with fake_api(rota, documents):
        found = rota("doctor", "--json", expect=expect).json
    return {one["subject"]: (one["level"], one["words"], one["hint"]) for one in found["items"]}


def test_all_is_well(rota: Command, data: Path) -> None:
    with fake_api(rota, healthy()):
        done = rota("doctor")
    assert done.out.endswith("all is well\n")
    assert done.out.count("✓") == 8
    assert f"mail leaves by {rota.folder}/sendmail" in done.out


def test_a_server_that_is_not_ready_says_what_keeps_it(rota: Command, data: Path) -> None:
    documents = healthy() | {"/readyz": (503, {"ok": False, "problems": ["the planner fails; see the log"]})}
    found = levels(rota, documents, 40)
    assert found["server"][0] == "ok"
    assert found["store"][:2] == ("problem", "the planner fails; see the log")


@pytest.mark.parametrize(("away", "level"), [(0.0, "ok"), (-30.0, "problem"), (3600.0, "problem")])
def test_a_clock_that_is_away(rota: Command, data: Path, away: float, level: str) -> None:
    now = (datetime.now(UTC) + timedelta(seconds=away)).isoformat()
    documents = healthy() | {"/api/v1/summary": (200, {"now": now, "failing": 0, "late": 0})}
    found = levels(rota, documents, 40 if level == "problem" else 0)
    assert found["clock"][0] == level


def test_no_worker_and_failing_jobs(rota: Command, data: Path) -> None:
    lost = {"name": "w-1", "state": "lost"}
    summary = {"now": datetime.now(UTC).isoformat(), "failing": 3, "late": 1}
    documents = healthy() | {"/api/v1/workers": (200, {"items": [lost]}), "/api/v1/summary": (200, summary)}
    found = levels(rota, documents, 40)
    assert found["workers"][0] == "problem"
    assert found["jobs"][:2] == ("warning", "3 failing, 1 late")


@pytest.mark.parametrize(
    ("more", "level", "words"),
    [
        ({"problems": ["the planner fails; see the log"]}, "problem", "s-1: the planner fails; see the log"),
        ({"planner_lag": 42.0}, "warning", "s-1: planning is 42 s late"),
        ({"clock_offset": -9.0}, "warning", "s-1: its clock is 9.0 s away from the store's"),
        ({"store_slow": 2.5}, "warning", "s-1: the store takes up to 2.5 s for an answer"),
    ],
)
def test_what_a_server_says_of_itself(rota: Command, data: Path, more: dict[str, Any], level: str, words: str) -> None:
    servers = {"items": [lone_server(**more)], "shards": 1, "unled": []}
    with fake_api(rota, healthy() | {"/api/v1/servers": (200, servers)}):
        found = rota("doctor", "--json", expect=40 if level == "problem" else 0).json["items"]
    assert [(one["level"], one["words"]) for one in found if one["level"] != "ok"] == [(level, words)]


def test_servers_of_a_cluster(rota: Command, data: Path) -> None:
    two = [lone_server(shards=[1, 3]), lone_server(name="s-2", shards=[0, 2], version="1.2.4")]
    old = lone_server(name="s-0", state="gone", shards=[], problems=["long ago"])
    documents = healthy() | {"/api/v1/servers": (200, {"items": [*two, old], "shards": 4, "unled": []})}
    with fake_api(rota, documents):
        done = rota("doctor")
    assert "✓ servers   s-1, s-2; 4 shards led (2 2)" in done.out
    assert "! servers   they are of different versions: 1.2.3, 1.2.4" in done.out
    documents["/api/v1/servers"] = (200, {"items": [two[0]], "shards": 4, "unled": [0, 2]})
    assert levels(rota, documents, 40)["servers"][:2] == ("problem", "2 of 4 shards are led by nobody")


def test_a_server_of_the_version_before(rota: Command, data: Path) -> None:
    documents = healthy()
    del documents["/api/v1/servers"]
    assert levels(rota, documents, 0)["servers"][0] == "warning"


def test_a_worker_whose_clock_is_away(rota: Command, data: Path) -> None:
    worker = healthy()["/api/v1/workers"][1]["items"][0] | {"clock_offset": 3600.0}
    with fake_api(rota, healthy() | {"/api/v1/workers": (200, {"items": [worker]})}):
        done = rota("doctor")
    assert "! clock     worker w-1: its clock is 3600.0 s away from the store's" in done.out


def test_a_restore_is_accepted_through_a_server(rota: Command, data: Path) -> None:
    for held, words in ((True, "at-most-once jobs go on"), (False, "nothing was held")):
        with fake_api(rota, healthy() | {"/api/v1/store:accept-restore": (200, {"was_held": held})}) as asked:
            assert words in rota("doctor", "--accept-restore").out
            assert rota("doctor", "--accept-restore", "--json").json == {"was_held": held}
        assert asked == ["POST /api/v1/store:accept-restore"] * 2


def test_a_cluster_named_by_its_address_needs_no_folder_here(rota: Command) -> None:
    with fake_api(rota, healthy()):
        done = rota("doctor")
    assert "data" not in done.out
    assert done.out.endswith("all is well\n")


def test_standing_conditions_are_problems_with_their_hints(rota: Command, data: Path) -> None:
    condition = {"key": "job-files", "detail": "jobs.yaml:3: no\x1b[2J", "hint": "rota check jobs.yaml", "since": "x"}
    documents = healthy() | {"/api/v1/alerts": (200, {"conditions": [condition], "items": []})}
    with fake_api(rota, documents):
        done = rota("doctor", expect=40)
    assert "✕ condition jobs.yaml:3: no\\x1b[2J" in done.out
    assert "= rota check jobs.yaml" in done.out
    assert done.out.endswith("1 problem, 0 warnings\n")


def test_a_token_that_is_not_valid_is_a_problem_of_the_server(rota: Command, data: Path) -> None:
    refused = (401, {"code": "NOT_AUTHENTICATED", "detail": "the token is not valid here"})
    found = levels(rota, healthy() | {"/api/v1/summary": refused}, 40)
    assert found["server"][:2] == ("problem", "the token is not valid here")


def test_a_mail_server_nobody_answers_at_is_a_problem_when_it_was_named(rota: Command, data: Path) -> None:
    (data / "rota.toml").write_text('[channels.mail]\ntype = "mail"\nhost = "127.0.0.1"\nport = 9\n')
    found = levels(rota, healthy(), 40)
    assert found["mail"][0] == "problem"
    assert "127.0.0.1:9" in found["mail"][1]


@pytest.fixture
def mail_port() -> Iterator[int]:
    """A real mail server beside the test."""
    started, port = threading.Event(), 0
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        nonlocal port
        async with mail_server() as box:
            port = box.port
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield port
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_a_mail_server_that_answers_is_well(rota: Command, data: Path, mail_port: int) -> None:
    (data / "rota.toml").write_text(f'[channels.mail]\ntype = "mail"\nhost = "127.0.0.1"\nport = {mail_port}\n')
    found = levels(rota, healthy(), 0)
    assert found["mail"][1].startswith(f"mail leaves by SMTP to 127.0.0.1:{mail_port}")


def test_a_folder_of_somebody_else_is_said(rota: Command, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.cli.doctor.os.access", lambda *_: False)
    found = levels(rota, healthy(), 40)
    assert "cannot be written by this user" in found["data"][1]


def test_a_data_path_that_is_no_folder(rota: Command) -> None:
    found = levels(rota, healthy(), 40) if (rota.folder / ".rota").exists() else {}
    assert found == {}
    with fake_api(rota, healthy()):
        done = rota("doctor", "--data", "none", "--json", expect=40)
    subjects = {one["subject"]: one for one in done.json["items"]}
    assert subjects["data"]["level"] == "problem"
    assert "No such file" in subjects["data"]["words"]


# ── what servers answer that a healthy one would not ─────────────────────────────────────────────────────


def test_what_a_server_says_never_steers_the_terminal(rota: Command) -> None:
    evil = (409, {"code": "CONFLICT", "detail": "no\x1b]0;x\x07\nsecond line", "hint": "try\x1b[2J", "request_id": "r"})
    with fake_api(rota, {"/api/v1/workers": evil}):
        done = rota("workers", expect=5)
    assert done.err == "error[CONFLICT]: no\\x1b]0;x\\x07\n  second line\n  = try\\x1b[2J\n"


def test_all_problems_of_a_refused_batch_are_said(rota: Command) -> None:
    problems = [{"code": "E0142", "job": "a/b", "message": "unknown key", "label": "did you mean retry?"}]
    problems.append({"code": "E0201", "path": "timeout", "message": "not a duration"})
    refused = (422, {"code": "BATCH_REFUSED", "detail": "2 of 2 jobs are not valid", "problems": problems})
    rota.write("jobs.yaml", "version: 1\njobs:\n  one: { shell: x }\n")
    with fake_api(rota, {"/api/v1/jobs:batch": refused}):
        done = rota("apply", "jobs.yaml", expect=2)
    assert "error[BATCH_REFUSED]: 2 of 2" in done.err
    assert "E0142: a/b: unknown key" in done.err
    assert "did you mean retry?" in done.err
    assert "E0201: timeout: not a duration" in done.err


def test_an_internal_error_of_the_server_gives_its_request(rota: Command) -> None:
    failed = (500, {"code": "ERROR", "detail": "an internal error", "request_id": "r-77"})
    with fake_api(rota, {"/api/v1/workers": failed}):
        done = rota("workers", expect=1)
    assert "request r-77" in done.err


def test_another_kind_of_server_is_recognised(rota: Command) -> None:
    with fake_api(rota, {"/api/v1/workers": (200, {"items": []}), "/readyz": (200, {"problems": []})}):
        assert rota("workers").out.split() == ["WORKER", "STATE", "SLOTS", "LABELS", "SEEN", "VERSION"]
        assert rota("ls", expect=3).out == ""


def test_waiting_for_a_test_message_ends_in_time(rota: Command) -> None:
    notice = {"id": "n1", "route": "mail:a@b", "state": "pending", "error": None}
    documents: Documents = {
        "/api/v1/alerts:test": (202, notice),
        "/api/v1/alerts": (200, {"conditions": [], "items": [notice]}),
    }
    with fake_api(rota, documents) as asked:
        done = rota("alerts", "test", "mail:a@b", "--timeout", "0.1", expect=7)
    assert "not tried yet" in done.out
    assert asked.count("GET /api/v1/alerts") >= 1


@pytest.mark.parametrize(
    ("state", "error", "code", "said"),
    [
        ("sent", None, 0, "✓ mail:a@b  the channel took it"),
        ("given-up", "550 no such user", 7, "✕ mail:a@b  550 no such user (given up)"),
        ("pending", "down", 7, "✕ mail:a@b  down (it is tried again)"),
    ],
)
def test_outcomes_of_a_test_message(rota: Command, state: str, error: str | None, code: int, said: str) -> None:
    notice = {"id": "n1", "route": "mail:a@b", "state": state, "error": error}
    listed = {"conditions": [], "items": [{"id": "other"} | notice | {"id": "n1"}]}
    with fake_api(rota, {"/api/v1/alerts:test": (202, notice), "/api/v1/alerts": (200, listed)}):
        assert rota("alerts", "test", "mail:a@b", expect=code).out.startswith(said)


def test_alerts_test_without_any_route(rota: Command) -> None:
    jobs = {"items": [{"job": "a/b", "spec": {"shell": "x"}}], "next": None}
    with fake_api(rota, {"/api/v1/jobs": (200, jobs)}) as asked:
        done = rota("alerts", "test", expect=2)
    assert "no job names an alert route" in done.err
    assert not any(request.startswith("POST") for request in asked)


def test_apply_with_prune_refuses_a_file_name_it_cannot_say(rota: Command) -> None:
    path = rota.write("jobs/a,b.yaml", "version: 1\njobs:\n  one: { shell: x }\n")
    known = {"items": [{"job": "default/two", "source": str(path.resolve())}], "next": None}
    with fake_api(rota, {"/api/v1/jobs": (200, known)}) as asked:
        done = rota("apply", "jobs", "--prune", expect=5)
    assert "comma" in done.err
    assert "POST /api/v1/jobs:batch" not in asked


def test_an_empty_file_applies_nothing(rota: Command) -> None:
    rota.write("jobs.yaml", "version: 1\njobs: {}\n")
    with fake_api(rota, {}) as asked:
        done = rota("apply", "jobs.yaml", expect=2)
    assert "hold no jobs" in done.err
    assert asked == []
