"""A worker and servers that come and go: what runs goes on, what was said is said again, nothing lives too long."""

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.worker.fake_server import FakeServer, eventually, written

from rota.core.model import HttpTask, PythonTask
from rota.events import DeadlinePassed
from rota.wire.messages import Finished, Heartbeat, Moving, Refused, Returned, Revoke, Started
from rota.worker.processes import is_alive
from rota.worker.settings import WorkerSettings
from rota.worker.spool import Spool


@pytest.fixture
async def server(settings: WorkerSettings):
    fake = FakeServer(settings, distant=True)
    try:
        await fake.until(lambda: fake.hello)
        yield fake
    finally:
        await fake.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's silence of three seconds less the margin is the end of its attempts."""
    monkeypatch.setattr("rota.core.lease.SILENCE_SECONDS", 5.5)


async def connected_again(server: FakeServer, times: int = 2) -> None:
    await server.until(lambda: len(server.hellos) >= times)


# ── from one server to another ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["cut", "moved"])
async def test_what_runs_goes_on_and_the_next_server_is_told(server: FakeServer, tmp_path: Path, how: str) -> None:
    order = server.order(f"while ! test -e {tmp_path}/go; do sleep 0.02; done; echo done")
    await server.assign(order)
    await server.until(lambda: server.report_of(order, Started))
    if how == "moved":
        await server.channel.send(Moving())
    await server.channel.close()
    await connected_again(server)
    first, second = server.hellos
    assert (second.boot_id, second.highest_fence) == (first.boot_id, order.fence)
    assert [(held.run_id, held.fence) for held in second.held] == [(order.run_id, order.fence)]
    (tmp_path / "go").touch()
    assert (await server.finished(order)).outcome == "succeeded"
    assert server.text(order) == "done\n"


async def test_a_server_without_its_store_is_left_when_another_is_ready(server: FakeServer) -> None:
    looks: list[bool] = []

    async def look() -> bool:
        looks.append(len(looks) >= 2)
        return looks[-1]

    server.agent.another_is_ready = look
    await server.channel.close()
    await connected_again(server)  # from now on it knows where to look
    await server.until(lambda: len(server.heartbeats) >= 2)
    assert looks == [], "its server keeps its lease"
    server.renewal_age = 7.0
    await connected_again(server, 3)
    assert looks == [False, False, True], "it stays while no other is ready"


async def test_a_deadline_that_has_passed_is_said_once(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server goes on answering, and goes on having no database."""
    monkeypatch.setattr("rota.worker.deadline.worker_deadline", lambda sent, renewed: sent - 1.0)
    beats = len(server.heartbeats)
    await server.assign(server.order("sleep 300"))
    await server.until(lambda: len(server.heartbeats) >= beats + 5)
    said = [event for event in server.events if isinstance(event, DeadlinePassed)]
    assert len(said) == 1


async def test_an_end_that_no_server_heard_of_is_told_to_the_next(server: FakeServer) -> None:
    server.acknowledging = False
    order = server.order("echo hello")
    await server.assign(order)
    await server.finished(order)
    server.acknowledging = True
    await server.channel.close()
    await connected_again(server)
    assert [held.run_id for held in server.hellos[1].held] == [order.run_id], "it still answers for it"
    await server.until(lambda: len([one for one in server.reports if isinstance(one, Finished)]) == 2)
    await server.channel.close()
    await connected_again(server, 3)
    assert server.hellos[2].held == ()


async def test_what_is_not_its_own_any_more_ends(server: FakeServer, tmp_path: Path) -> None:
    order = server.order(f"echo $$ > {tmp_path}/pid; sleep 300")
    await server.assign(order)
    pid = int(await written(tmp_path / "pid"))
    await server.until(lambda: server.report_of(order, Started))
    hello = server.agent._hello()
    server.lost = hello.held
    await server.channel.close()
    await server.finished(order)
    assert not is_alive(pid)
    assert server.report_of(order).outcome == "lost"


async def test_refused_for_now_it_tries_again(settings: WorkerSettings) -> None:
    fake = FakeServer(settings, distant=True)
    heard, refusals = fake._hear, [Refused(reason="not now", again=True)]

    async def refuse_first(message, channel):
        if refusals:
            await channel.send(refusals.pop())
            await channel.close()
        else:
            await heard(message, channel)

    fake._hear = refuse_first
    await fake.until(lambda: fake.hello)
    await fake.close()


async def test_refused_for_good_before_it_ever_worked_it_ends_with_the_reason(settings: WorkerSettings) -> None:
    fake = FakeServer(settings, distant=True)

    async def refuse(message, channel):
        await channel.send(Refused(reason="protocol version 1 is not spoken here", hint="upgrade"))

    fake._hear = refuse
    with pytest.raises(Exception, match="not spoken here"):
        await fake.running
    for listening in fake.listening:
        listening.cancel()


async def test_a_server_that_answers_no_heartbeat_is_left(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.worker.session.PATIENCE", 0.3)
    monkeypatch.setattr("rota.worker.session.BEAT", 0.1)
    server.answering = False
    await connected_again(server)


async def test_a_new_agent_says_what_the_old_one_could_not(settings: WorkerSettings) -> None:
    first = FakeServer(settings, distant=True)
    await first.until(lambda: first.hello)
    first.acknowledging = False
    order = first.order("echo hello; exit 3")
    await first.assign(order)
    await first.finished(order)
    await first.close()
    second = FakeServer(settings, distant=True)
    report = await second.finished(order)
    assert (report.exit, second.text(order)) == (3, "hello\n")
    assert second.hellos[0].boot_id != first.hellos[0].boot_id
    assert [held.run_id for held in second.hellos[0].held] == [order.run_id]
    await eventually(lambda: Spool(settings.state / "spool").recover() == [])
    await second.close()


# ── ahead of time ────────────────────────────────────────────────────────────────────────────────────────


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize("kind", ["shell", "python", "http"])
async def test_a_staged_attempt_starts_at_its_moment(server: FakeServer, tmp_path: Path, kind: str) -> None:
    (tmp_path / "quick.py").write_text("def nothing():\n    pass\n")
    task = {
        "shell": "true",
        "python": PythonTask(function="quick:nothing"),
        "http": HttpTask(method="GET", url="http://127.0.0.1:9/"),
    }[kind]
    await server.run("true")  # the clock and the processes are warm
    moment = soon(0.5)
    order = server.order(task, not_before=moment, cwd=str(tmp_path))
    await server.assign(order)
    assert [held.run_id for held in server.agent._workload.held()] == []
    report = await server.finished(order)
    assert moment <= report.started
    assert [held.run_id for held in server.agent._hello().held] == []


async def test_a_staged_attempt_is_given_back_when_asked_and_a_running_one_is_not(server: FakeServer) -> None:
    staged, running = server.order("echo never", not_before=soon(60)), server.order("sleep 0.5")
    await server.assign(staged, running)
    await server.until(lambda: server.report_of(running, Started))
    for order in (staged, running):
        await server.channel.send(Revoke(run_id=order.run_id, fence=order.fence))
    assert (await server.until(lambda: server.report_of(staged, Returned))).why == "asked back"
    assert (await server.finished(running)).outcome == "succeeded"
    assert server.report_of(running, Returned) is None


async def test_a_withdrawn_attempt_does_not_begin_at_its_moment(server: FakeServer, tmp_path: Path) -> None:
    staged = server.order(f"touch {tmp_path}/began", not_before=soon(0.5))
    beside = server.order("true", not_before=staged.not_before)
    await server.assign(staged, beside)
    await server.channel.send(Revoke(run_id=staged.run_id, fence=staged.fence))
    await server.until(lambda: server.report_of(staged, Returned))
    await server.finished(beside)
    await server.run("true")
    assert not (tmp_path / "began").exists()
    assert server.report_of(staged) is None


async def test_staged_attempts_are_named_in_a_hello(server: FakeServer) -> None:
    staged = server.order("echo never", not_before=soon(60))
    await server.assign(staged)
    await eventually(lambda: server.agent._workload)
    await server.channel.close()
    await connected_again(server)
    assert [held.run_id for held in server.hellos[1].held] == [staged.run_id]


# ── the deadline ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("hurried")
async def test_without_a_server_attempts_end_before_they_may_start_elsewhere(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TERM a while before the deadline, and nothing lives beyond it; what may go on alone does."""
    monkeypatch.setattr("rota.worker.session.PATIENCE", 60.0)  # only the way from the worker is cut
    trap = f"trap 'echo term >> {tmp_path}/stopped' TERM; echo $$ > {tmp_path}/stops; while :; do sleep 0.05; done"
    stops = server.order(trap)
    goes_on = server.order(f"echo $$ > {tmp_path}/goes_on; sleep 300", continue_for=60.0)
    staged = server.order("echo never", not_before=soon(100))
    await server.assign(stops, goes_on, staged)
    pids = [int(await written(tmp_path / name)) for name in ("stops", "goes_on")]
    server.answering = False
    begin = asyncio.get_running_loop().time()
    await eventually(lambda: not is_alive(pids[0]), 10)
    assert asyncio.get_running_loop().time() - begin < 4.0
    assert (tmp_path / "stopped").exists(), "it was asked to end first"
    assert is_alive(pids[1])
    assert (await server.finished(stops)).outcome == "lost"
    await server.until(lambda: server.report_of(staged, Returned))
    late = server.order("echo never")
    await server.assign(late)
    await server.until(lambda: server.report_of(late, Returned))
    server.answering = True
    await server.channel.close()
    await connected_again(server)
    again, _ = await server.run("true")
    assert again.outcome == "succeeded", "with a server it goes on"


@pytest.mark.usefixtures("hurried")
async def test_http_attempts_end_at_the_deadline_too(server: FakeServer) -> None:
    reached = asyncio.Event()

    async def never_answers(reader, writer):
        reached.set()
        await reader.read()
        writer.close()

    target = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    port = target.sockets[0].getsockname()[1]
    order = server.order(HttpTask(method="GET", url=f"http://127.0.0.1:{port}/"))
    await server.assign(order)
    await reached.wait()
    server.answering = False
    assert (await server.finished(order, 10)).outcome == "lost"
    target.close()


async def test_an_answer_counts_from_when_its_question_was_sent(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was long on its way says nothing about the present."""
    monkeypatch.setattr("rota.core.lease.SILENCE_SECONDS", 6.5)
    order = server.order(f"echo $$ > {tmp_path}/pid; sleep 300")
    await server.assign(order)
    pid = int(await written(tmp_path / "pid"))
    hear = server._hear

    async def answer_what_is_long_past(message, channel):
        await hear(replace(message, sent=0.0) if isinstance(message, Heartbeat) else message, channel)

    server._hear = answer_what_is_long_past
    await eventually(lambda: not is_alive(pid), 6)
    assert server.heartbeats, "and there were answers"
    assert (await server.finished(order)).outcome == "lost"


HOST = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import rota.core.lease
from tests.worker.fake_server import FakeServer
from rota.worker.settings import WorkerSettings

rota.core.lease.SILENCE_SECONDS = 5.5

async def main(state):
    server = FakeServer(WorkerSettings(name="w1", state=Path(state), capacity={"shell": 8}), distant=True)
    await server.until(lambda: server.hello)
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    await server.assign(server.order(sys.argv[2]), server.order(sys.argv[3], not_before=soon))
    await server.running

asyncio.run(main(sys.argv[1]))
"""


async def test_a_frozen_agent_neither_keeps_its_attempts_alive_nor_begins_any_when_it_wakes(tmp_path: Path) -> None:
    """The keeper knows the deadline and needs nobody to enforce it; what was staged is another worker's by then."""
    command = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
    host = await asyncio.create_subprocess_exec(
        os.sys.executable, "-c", HOST, *(str(tmp_path / "state"), command, f"touch {tmp_path}/began"),
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        pid = int(await written(tmp_path / "pid"))
        host.send_signal(signal.SIGSTOP)
        await eventually(lambda: not is_alive(pid), 8)
        host.send_signal(signal.SIGCONT)
        await asyncio.sleep(1.0)
        assert not (tmp_path / "began").exists()
    finally:
        host.kill()
        await host.wait()
