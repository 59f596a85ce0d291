"""Parts of the executors on their own: requests, bodies, folders, environment, the outbox, the runner's protocol."""

import asyncio
import gzip
import json
import os
import time
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.pausing import pause
from tests.worker.fake_server import eventually

from rota.clock import ManualClock
from rota.core.model import HttpExpect, HttpTask, OutputChunk, OutputLine, PythonTask, ShellTask
from rota.wire.channel import memory_channel
from rota.wire.messages import AttemptOrder, Output, Reports, Returned
from rota.worker.attempt import Attempt
from rota.worker.environment import (
    Identity,
    UserRefused,
    as_user,
    attempt_environment,
    base_environment,
    identity_of,
    is_forbidden,
    working_folder,
)
from rota.worker.executors.http_body import KEPT, Body, BodyBroken, BodyTooLarge
from rota.worker.executors.http_request import RequestRefused, after_redirect, checked_url, first_request, origin
from rota.worker.executors.places import Place
from rota.worker.executors.requests import TOKEN, Requests
from rota.worker.executors.runner_process import Answer, RunnerProcess, request_text
from rota.worker.folders import Folders
from rota.worker.outbox import Outbox
from rota.worker.permits import Permits
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings, default_capacity
from rota.worker.spool import Spool
from rota.worker.staging import Staging

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
ME = Identity("me", "/home/me", os.getuid(), os.getgid(), switch=False)


def order(task=None, **facts) -> AttemptOrder:
    defaults = {"run_id": "r1", "job": "a/b", "due": NOW, "attempt": 1, "fence": 7}
    return AttemptOrder(task=task or ShellTask(command="true"), **{**defaults, **facts})


class Owner:
    """Remembers what became of attempts."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Attempt]] = []

    def attempt_began(self, attempt: Attempt, ago: float) -> None:
        self.heard.append(("began", attempt))

    def attempt_ended(self, attempt: Attempt, outcome: object) -> None:
        self.heard.append(("ended", attempt))

    def attempt_returned(self, attempt: Attempt, why: str, *, short: bool = False) -> None:
        self.heard.append(("returned", attempt))


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────


def request_of(**facts):
    task = HttpTask(**{"method": "GET", "url": "https://a.example/x", **facts})
    return first_request(order(task, secrets={"K": "s3cret"}, params={"p": "v"}), task)


def test_headers_of_the_job_replace_the_defaults_and_never_rotas():
    request = request_of(headers={"user-agent": "mine", "ROTA-RUN": "forged", "accept": "text/html"})
    assert request.headers["user-agent"] == "mine"
    assert "User-Agent" not in request.headers
    assert request.headers["Rota-Run"] == "r1"
    assert request.headers["Idempotency-Key"] == "r1"


@pytest.mark.parametrize("name", ["a b", "a:b", "", "a\r\nb", "ä"])
def test_header_names_are_checked(name):
    with pytest.raises(RequestRefused):
        request_of(headers={name: "x"})


@pytest.mark.parametrize(
    "url",
    ["ftp://a/", "//a/", "a.example", "http://", "http://u@a/", "http://u:p@a/", "http://a/\n", "http://[::1/", "http://a:99999/"],
)  # fmt: skip
def test_urls_that_are_refused(url):
    with pytest.raises(RequestRefused):
        checked_url(url)


@pytest.mark.parametrize(
    ("method", "status", "after"),
    [("POST", 301, "GET"), ("POST", 302, "GET"), ("PUT", 303, "GET"), ("HEAD", 303, "HEAD"), ("POST", 307, "POST"),
     ("PUT", 308, "PUT"), ("DELETE", 302, "DELETE")],
)  # fmt: skip
def test_methods_after_redirects(method, status, after):
    request = request_of(method=method, body="text", headers={"Content-Type": "text/plain"})
    followed = after_redirect(request, status, "/y")
    assert (followed.method, followed.url) == (after, "https://a.example/y")
    assert (followed.body is None) == (after != method)
    assert ("Content-Type" in followed.headers) == (after == method)


@pytest.mark.parametrize(
    ("location", "kept"),
    [("/y", True), ("https://a.example:443/y", True), ("https://b.example/", False), ("http://a.example/", False),
     ("https://a.example:444/", False), ("//b.example/", False)],
)  # fmt: skip
def test_credentials_stay_with_their_origin(location, kept):
    request = request_of(headers={"Authorization": "Basic x", "X-Key": "${secret.K}", "X-Other": "o"})
    followed = after_redirect(request, 302, location)
    assert (
        {"Authorization", "X-Key"} <= set(followed.headers)
        if kept
        else not ({"Authorization", "X-Key"} & set(followed.headers))
    )
    assert followed.headers["X-Other"] == "o"


def test_the_origin_knows_the_usual_ports():
    assert origin("https://A.example/x") == origin("https://a.example:443/y")
    assert origin("http://a.example") != origin("https://a.example")


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────


def fed(body: Body, data: bytes, step: int = 1000) -> Body:
    for start in range(0, len(data), step):
        body.feed(data[start : start + step])
    body.finish()
    return body


@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(max_size=3000),
    step=st.integers(1, 500),
    encoding=st.sampled_from(["", "gzip", "x-gzip", "deflate", "br"]),
)
def test_bodies_come_through_whole(data, step, encoding):
    raw = gzip.compress(data) if "gzip" in encoding else zlib.compress(data) if encoding == "deflate" else data
    body = fed(Body(HttpExpect(body="x"), encoding), raw, step)
    assert bytes(body.kept) == data
    assert (body.size, body.is_cut) == (len(data), False)


def test_a_body_that_nobody_looks_at_is_kept_only_in_part():
    body = fed(Body(HttpExpect(), ""), b"x" * 1_000_000)
    assert (len(body.kept), body.is_cut) == (KEPT, True)
    bomb = Body(HttpExpect(), "gzip")
    fed(bomb, gzip.compress(b"\0" * 20_000_000))
    assert bomb.size < 2 * KEPT + 65536  # the rest was not even decompressed


def test_limits_count_decompressed_bytes():
    with pytest.raises(BodyTooLarge, match="max_body"):
        fed(Body(HttpExpect(max_body=1000), "gzip"), gzip.compress(b"\0" * 1001))
    assert fed(Body(HttpExpect(max_body=1000), "gzip"), gzip.compress(b"\0" * 1000)).size == 1000
    with pytest.raises(BodyTooLarge, match="10 MiB"):
        fed(Body(HttpExpect(body="x"), ""), b"y" * (10 * 1024 * 1024 + 1), 1_000_000)


def test_damaged_and_cut_bodies():
    with pytest.raises(BodyBroken, match="damaged"):
        fed(Body(HttpExpect(), "gzip"), b"this is not gzip")
    with pytest.raises(BodyBroken, match="too early"):
        fed(Body(HttpExpect(), "gzip"), gzip.compress(os.urandom(5000))[:-10])


# ── environment and folders ──────────────────────────────────────────────────────────────────────────────


def test_names_that_a_job_may_not_set():
    assert all(map(is_forbidden, ["LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ROTA_FENCE", "", "A=B"]))
    assert not any(map(is_forbidden, ["PATH", "HOME", "PYTHONPATH", "MY_LD_X"]))


def test_the_environment_of_an_attempt():
    made = order(env={"A": "1", "LD_X": "2"}, secrets={"A": "secret wins", "ROTA_X": "no"}, params={"a-b.c": "3"})
    environment = attempt_environment(made, "w1", "/out")
    assert environment["A"] == "secret wins"
    assert environment["ROTA_PARAM_A_B_C"] == "3"
    assert not {"LD_X", "ROTA_X"} & set(environment)
    assert (environment["ROTA_DUE"], environment["ROTA_OUT"]) == ("2026-11-23T03:00:00Z", "/out")
    assert base_environment(ME)["PATH"] == "/usr/bin:/bin"


def test_users(tmp_path):
    made = WorkerSettings(name="w", state=tmp_path, allowed_users=("nobody", "ghost-of-nobody"))
    assert not identity_of(None, made).switch
    with pytest.raises(UserRefused, match="does not exist"):
        identity_of("ghost-of-nobody", made)
    with pytest.raises(UserRefused, match="allowed: nobody"):
        identity_of("daemon", made)
    with pytest.raises(UserRefused, match=r"user: nobody is not allowed on worker w \(it allows none\)"):
        identity_of("nobody", replace(made, allowed_users=()))
    assert as_user(["/bin/x"], ME) == ["/bin/x"]
    assert as_user(["/bin/x"], replace(ME, switch=True))[-2:] == ["--", "/bin/x"]
    assert working_folder("~/a", ME) == "/home/me/a"
    assert working_folder("/a/~", ME) == "/a/~"


def test_default_capacity_has_all_kinds():
    assert default_capacity() == {"python": os.cpu_count(), "shell": 4 * (os.cpu_count() or 1), "http": 200}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(WorkerSettings(name="w", state=tmp_path / "s", keep_files=1000))
    made.prepare()
    return made


def test_an_untouched_folder_serves_again_and_a_touched_one_does_not(folders):
    first = folders.take(folders.work, ME)
    folders.give_back_work(first)
    assert folders.take(folders.work, ME) == first
    Path(first.path, "x").write_text("x")
    folders.give_back_work(first)
    assert not Path(first.path).exists()
    assert folders.take(folders.work, ME).path != first.path
    assert Path(first.path).parent.stat().st_mode & 0o777 == 0o711


def test_files_in_an_out_folder_stay_reachable_by_fence(folders):
    used, empty = folders.take(folders.out, ME), folders.take(folders.out, ME)
    Path(used.path, "x").write_text("x")
    Path(empty.path, "y").write_text("y")
    Path(empty.path, "y").unlink()
    folders.give_back_out(used, 41)
    folders.give_back_out(empty, 42)
    assert (folders.out / "41" / "x").read_text() == "x"
    assert not (folders.out / "42").exists()
    assert not Path(empty.path).exists()


def test_old_and_empty_folders_are_pruned_at_the_start(folders, tmp_path):
    names = ["old", "new", "empty"]
    for name in names:
        (folders.out / name).mkdir()
        (folders.out / f"link-{name}").symlink_to(name)
    for name in names[:2]:
        (folders.out / name / "file").write_text("x")
    os.utime(folders.out / "old", (time.time() - 2000,) * 2)
    (folders.work / "left").mkdir()
    (folders.work / "left" / "x").write_text("x")
    folders.prepare()
    assert sorted(path.name for path in folders.out.iterdir()) == ["link-new", "new"]
    assert list(folders.work.iterdir()) == []


# ── attempts, permits, outbox ────────────────────────────────────────────────────────────────────────────


def test_an_attempt_ends_once():
    owner = Owner()
    attempt = Attempt(order(), None, owner, 0.0)
    attempt.end(attempt.stopped())
    attempt.end(attempt.stopped())
    attempt.give_back("x")
    assert [what for what, _ in owner.heard] == ["ended"]
    assert attempt.kind == "shell"
    attempt.stopping = "lost"
    assert attempt.stopped().outcome == "lost"


async def test_permits_are_used_once_in_their_boot_and_in_time():
    late: list[Attempt] = []
    permits = Permits("boot", late.append)
    attempt = Attempt(order(), None, Owner(), 0.0)
    permits.wait_for(attempt, 30)
    assert (permits.count("shell"), permits.count("http")) == (1, 0)
    assert permits.use("r1", 7, "other boot") is None
    assert permits.use("r1", 8, "boot") is None
    assert permits.use("r1", 7, "boot") is attempt
    assert permits.use("r1", 7, "boot") is None
    permits.wait_for(attempt, 0)
    while not late:
        await asyncio.sleep(0)
    assert permits.use("r1", 7, "boot") is None
    permits.close()


async def test_what_is_staged_waits_for_the_clock_and_not_only_for_its_timer():
    """A timer counts this machine's seconds; the followed clock may have been brought back meanwhile."""
    clock = ManualClock(NOW)
    begun: list[Attempt] = []
    staging = Staging(clock, begun.extend)
    moment = NOW + timedelta(milliseconds=1)
    attempt = Attempt(order(not_before=moment), None, Owner(), 0.0)
    staging.add(attempt, moment)
    await pause(0.01)
    assert begun == []
    clock.advance(milliseconds=1)
    await eventually(lambda: begun)
    assert begun == [attempt]


def chunk(number: int) -> OutputChunk:
    line = OutputLine(0, 0, b"x\n")
    return OutputChunk(run_id="r", attempt=1, sequence=number, first_line=number, offset=2 * number, lines=(line,))


async def test_output_leaves_before_reports_in_numbered_batches(tmp_path):
    ours, theirs = memory_channel()
    box = Outbox(Gate(), Spool(tmp_path), time.monotonic)
    await box.attach(ours)
    task = asyncio.create_task(box.run())
    for number in range(700):
        box.output(chunk(number), 50)
        box.report(Returned(run_id="r", attempt=1, fence=number, why=""))
    messages = []
    while sum(len(one.items) for one in messages if isinstance(one, Reports)) < 700:
        messages.append(await theirs.receive())
    kinds = [type(one) for one in messages]
    assert kinds.index(Reports) > max(at for at, kind in enumerate(kinds) if kind is Output) or kinds[0] is Output
    for kind in (Output, Reports):
        sequences = [one.sequence for one in messages if isinstance(one, kind)]
        assert sequences == list(range(1, len(sequences) + 1))
    assert [item.fence for one in messages if isinstance(one, Reports) for item in one.items] == list(range(700))
    assert len(messages) < 20
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_too_much_unacknowledged_output_closes_the_gate(monkeypatch, tmp_path):
    monkeypatch.setattr("rota.worker.outbox.OUTPUT_WINDOW", 1000)
    ours, theirs = memory_channel()
    gate = Gate()
    box = Outbox(gate, Spool(tmp_path), time.monotonic)
    await box.attach(ours)
    task = asyncio.create_task(box.run())
    box.output(chunk(0), 900)
    assert gate.is_open
    box.output(chunk(1), 900)
    assert not gate.is_open
    sent = await theirs.receive()
    await box.resend(patience=0)
    assert await theirs.receive() == sent
    box.acknowledge_output(sent.sequence)
    assert gate.is_open
    await box.resend(patience=0)
    async with asyncio.timeout(1):
        await box.settled()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ── the runner's requests ────────────────────────────────────────────────────────────────────────────────


async def test_requests_that_were_not_begun_are_taken_back():
    answers: list[Answer] = []
    runner = RunnerProcess(Place("python", None, None), Gate(), lambda _, answer: answers.append(answer))
    descriptors, targets = runner.hand_over()
    attempts = []
    for number in range(4):
        arguments = {"big": "x" * 100_000} if number == 2 else {}
        attempt = Attempt(order(PythonTask(function="a:b", arguments=arguments), fence=number), None, Owner(), 0.0)
        runner.add(attempt, request_text(attempt.order, "w1"))
        attempts.append(attempt)
    assert runner.send() == []
    offset, length = TOKEN.unpack(os.read(descriptors[4], TOKEN.size))  # as the process would take the first one
    assert json.loads(os.pread(descriptors[5], length, offset))["id"] == "0.r1"
    assert runner.take_back() == attempts[1:]
    assert list(runner.queue) == attempts[:1]
    assert (runner.head, runner.take_back()) == (attempts[0], [])
    runner._theirs.send(b'{"id": "0.r1", "begin": 1.0, "end": 2.0}\n')
    runner.receive()
    assert [(answer.id, answer.end) for answer in answers] == [("0.r1", 2.0)]
    runner.next(2.0)
    runner.close()
    for descriptor in descriptors:
        os.close(descriptor)
    assert targets == [1, 2, 3, 4, 5, 6]


def test_what_finds_no_room_stays_with_the_agent():
    requests = Requests()
    many = [b"x" * 100] * 20_000
    taken = requests.put(many)
    assert 0 < taken < len(many), "a pipe has its limits"
    assert requests.put(many[:1]) == 0
    assert requests.take_back() == taken
    requests.rewind()
    assert requests.put([b"y" * 9_000_000]) == 1, "one of any size"
    assert requests.put([b"z"]) == 0, "until it is read"
    requests.close()
