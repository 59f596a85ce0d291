"""Python attempts in warm processes, from the order to the report."""

import asyncio
import json
import os
import select
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.worker.fake_server import FakeServer, written

from rota.core.model import PythonTask
from rota.wire.messages import Cancel, Returned, Started

JOBS = """
import asyncio, os, subprocess, sys, threading, time, multiprocessing

def nothing():
    pass

def add(a, b=1):
    return a + b

async def wait_a_bit(run):
    await asyncio.sleep(0.01)
    return {"id": run.run_id, "due": run.due.isoformat(), "attempt": run.attempt, "params": run.params}

def fail():
    raise ValueError("no such thing")

def leave(code):
    sys.exit(code)

def vanish(code):
    os._exit(code)

def shout(text, raw=False):
    print(text)
    if raw:
        os.write(1, b"raw " + text.encode() + b"\\n")
    print("err " + text, file=sys.stderr)

def process():
    return os.getpid()

def environment():
    return dict(os.environ)

def change_things(folder):
    os.environ["LEFT"] = "behind"
    os.chdir("/")
    sys.stdout = None

def here():
    return [os.getcwd(), os.environ.get("LEFT")]

def sleep(seconds):
    time.sleep(seconds)

def ignore_term(seconds):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)

def say_then_sleep(path, seconds):
    open(path, "w").write(str(os.getpid()))
    time.sleep(seconds)

def daemonise(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open(path, "w").write(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    os.wait()
    while not os.path.exists(path) or not open(path).read():
        time.sleep(0.005)

def child():
    return subprocess.run(["sh", "-c", "echo from child"]).returncode

def odd():
    return object()

def big():
    return "x" * 100_000

def not_text():
    return ["caf\\udce9"]

def raises_not_text():
    raise OSError("caf\\udce9")

def intrudes(text):
    os.write(3, text.encode())
    time.sleep(60)  # its process is ended long before

def say_and_wait_until_it_is_read(text):
    import __main__
    look = __main__.Runner._unread
    def look_when_read(runner, descriptor):
        while look(runner, descriptor):
            pass
        return 0
    __main__.Runner._unread = look_when_read
    print(text)

def from_thread():
    thread = threading.Thread(target=lambda: print("in thread"))
    thread.start()
    thread.join()

def keep_file():
    with open(os.path.join(os.environ["ROTA_OUT"], "kept.txt"), "w") as file:
        file.write("kept")
"""


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "jobs.py").write_text(JOBS)
    return str(folder)


def task(name: str, **arguments) -> PythonTask:
    return PythonTask(function=f"jobs:{name}", arguments=arguments)


async def test_a_function_is_called_with_its_arguments_and_its_result_is_kept(server, jobs):
    finished, text = await server.run(task("add", a=3, b=4), cwd=jobs)
    assert (finished.outcome, finished.result, text) == ("succeeded", 7, "")
    assert finished.started <= finished.finished


async def test_an_async_function_gets_the_run(server, jobs):
    finished, _ = await server.run(task("wait_a_bit"), cwd=jobs, params={"a": "1"}, attempt=2)
    assert finished.result["due"] == "2026-11-23T03:00:00+00:00"
    assert (finished.result["attempt"], finished.result["params"]) == (2, {"a": "1"})


async def test_an_exception_fails_with_its_traceback_in_the_log(server, jobs):
    finished, text = await server.run(task("fail"), cwd=jobs)
    assert (finished.outcome, finished.failure, finished.error) == ("failed", "exception", "ValueError: no such thing")
    assert "jobs.py" in text
    assert "runner.py" not in text


@pytest.mark.parametrize(("code", "outcome", "exit_code"), [(0, "succeeded", 0), (3, "failed", 3), ("no", "failed", 1)])
async def test_sys_exit_is_an_exit_code(server, jobs, code, outcome, exit_code):
    finished, _ = await server.run(task("leave", code=code), cwd=jobs)
    assert (finished.outcome, finished.exit) == (outcome, exit_code)


async def test_a_process_that_ends_itself_hurts_only_its_own_attempt(server, jobs):
    orders = [server.order(task("vanish", code=7), cwd=jobs)]
    orders += [server.order(task("add", a=number), cwd=jobs) for number in range(20)]
    await server.assign(*orders)
    ends = [await server.finished(order) for order in orders]
    assert (ends[0].outcome, ends[0].exit, ends[0].failure) == ("failed", 7, "exit")
    assert [end.result for end in ends[1:]] == list(range(1, 21))


async def test_output_stays_with_its_attempt(server, jobs):
    orders = [server.order(task("shout", text=f"number {n}", raw=True), cwd=jobs) for n in range(60)]
    await server.assign(*orders)
    for number, order in enumerate(orders):
        await server.finished(order)
        assert sorted(server.text(order).splitlines()) == sorted(
            [f"number {number}", f"raw number {number}", f"err number {number}"]
        )


async def test_output_that_is_read_while_its_attempt_ends_stays_with_it(server, jobs):
    """It is read after the last thing that the attempt did, and handled when that has answered."""
    await server.run(task("nothing"), cwd=jobs)
    (runner,) = server.agent._executors.of["python"]._pool.runners
    printed = runner.output._take

    def printed_when_answered(data):
        assert select.select([runner._ours], [], [], 20)[0]
        printed(data)

    runner.output._take = printed_when_answered
    orders = [server.order(task("say_and_wait_until_it_is_read", text=f"number {n}"), cwd=jobs) for n in range(3)]
    for order in orders:
        await server.assign(order)
        assert (await server.finished(order)).outcome == "succeeded"
    assert [server.text(order) for order in orders] == ["number 0\n", "number 1\n", "number 2\n"]


async def test_an_attempt_that_was_taken_back_after_it_seemed_to_run_keeps_its_timeout(server, jobs):
    """Its process stood still, and had not even read the request."""
    pid = (await server.run(task("process"), cwd=jobs))[0].result
    order = server.order(task("sleep", seconds=60), cwd=jobs, timeout=0.5, kill_grace=0)
    os.kill(pid, signal.SIGSTOP)
    await server.assign(order)
    await server.until(lambda: server.report_of(order, Started))
    os.kill(pid, signal.SIGCONT)
    assert (await server.finished(order)).outcome == "timed-out"


async def test_processes_are_warm_and_one_per_slot(server, jobs):
    orders = [server.order(task("process"), cwd=jobs) for _ in range(200)]
    await server.assign(*orders)
    pids = {(await server.finished(order)).result for order in orders}
    assert 1 <= len(pids) <= 2


@pytest.fixture
async def weary(settings):
    """A server of a worker whose processes are replaced often."""
    fake = FakeServer(replace(settings, runner_attempts=50))
    await fake.until(lambda: fake.hello)
    yield fake
    await fake.close()


async def test_a_process_is_replaced_after_so_many_attempts_and_nobody_waits_for_the_new_one(weary, jobs):
    pids = []
    for _ in range(12):
        orders = [weary.order(task("process"), cwd=jobs) for _ in range(100)]
        await weary.assign(*orders)
        pids += [(await weary.finished(order)).result for order in orders]
    changes = sum(one != other for one, other in pairwise(sorted(pids)))
    assert changes >= 2  # more than one process for each slot
    assert all(pids)


async def test_nothing_of_an_attempt_reaches_the_next(server, jobs):
    for _ in range(2):
        await server.run(task("change_things", folder=jobs), cwd=jobs, secrets={"TOKEN": "geheim-123"})
    for _ in range(2):
        finished, _ = await server.run(task("here"), cwd=jobs)
        assert finished.result == [jobs, None]
    finished, _ = await server.run(task("environment"), cwd=jobs, env={"MINE": "1", "LD_PRELOAD": "x", "ROTA_JOB": "x"})
    environment = finished.result
    assert "TOKEN" not in environment
    assert (environment["MINE"], environment["ROTA_JOB"], environment.get("LD_PRELOAD")) == ("1", "test/job", None)


async def test_a_timeout_ends_the_process_and_the_waiting_go_on(server, jobs):
    slow = [server.order(task("ignore_term", seconds=60), cwd=jobs, timeout=0.3, kill_grace=0.2) for _ in range(2)]
    quick = [server.order(task("add", a=number), cwd=jobs) for number in range(2)]
    await server.assign(*slow, *quick)
    for order in slow:
        finished = await server.finished(order)
        assert (finished.outcome, finished.failure) == ("timed-out", "timeout")
    for number, order in enumerate(quick):
        assert (await server.finished(order)).result == number + 1


async def test_a_very_short_timeout_is_kept(server, jobs):
    finished, _ = await server.run(task("sleep", seconds=30), cwd=jobs, timeout=0.02, kill_grace=0)
    assert finished.outcome == "timed-out"
    assert (finished.finished - finished.started).total_seconds() < 5


async def test_cancel_ends_the_running_and_returns_the_waiting(server, jobs, tmp_path):
    running = [
        server.order(task("say_then_sleep", path=str(tmp_path / f"p{n}"), seconds=60), cwd=jobs) for n in range(2)
    ]
    waiting = server.order(task("nothing"), cwd=jobs)
    await server.assign(*running, waiting)
    await written(tmp_path / "p0")
    await written(tmp_path / "p1")
    await server.channel.send(Cancel(run_id=waiting.run_id, fence=waiting.fence))
    await server.until(lambda: server.report_of(waiting, Returned))
    await server.channel.send(Cancel(run_id=running[0].run_id, fence=running[0].fence))
    assert (await server.finished(running[0])).outcome == "cancelled"
    assert server.report_of(running[1]) is None


async def test_a_daemon_of_a_function_ends_with_the_attempt(server, jobs, tmp_path):
    finished, _ = await server.run(task("daemonise", path=str(tmp_path / "pid")), cwd=jobs)
    assert finished.outcome == "succeeded"
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


async def test_output_of_children_and_threads_is_captured(server, jobs):
    finished, text = await server.run(task("child"), cwd=jobs)
    assert (finished.result, text) == (0, "from child\n")
    assert (await server.run(task("from_thread"), cwd=jobs))[1] == "in thread\n"


async def test_a_name_of_a_file_need_not_be_text(server, jobs):
    """JSON has a way to write what no text may hold, which nobody may read."""
    first, second = server.order(task("raises_not_text"), cwd=jobs), server.order(task("nothing"), cwd=jobs)
    await server.assign(first, second)
    assert (await server.finished(first)).error == "OSError: caf\\udce9"
    assert (await server.finished(second)).outcome == "succeeded"


@pytest.mark.parametrize("text", ["no answer at all\n", '{"id": "7.of-another", "end": 1.0}\n'])
async def test_a_function_that_speaks_for_its_process_ends_it(server, jobs, text):
    """Whose answer is whose would not be known any more."""
    first, second = server.order(task("intrudes", text=text), cwd=jobs), server.order(task("add", a=1, b=2), cwd=jobs)
    await server.assign(first, second)
    assert (await server.finished(first)).outcome == "lost"
    assert (await server.finished(second)).result == 3


async def test_a_result_that_cannot_be_kept_is_said_and_does_not_fail_the_run(server, jobs):
    for name in ("odd", "big", "not_text"):
        finished, text = await server.run(task(name), cwd=jobs)
        assert (finished.outcome, finished.result) == ("succeeded", None)
        assert "not kept" in text


async def test_what_does_not_exist_is_named(server, jobs):
    finished, _ = await server.run(task("nothin"), cwd=jobs)
    assert (finished.failure, "did you mean nothing?" in finished.error) == ("start", True)
    finished, _ = await server.run(PythonTask(function="jobz:x"), cwd=jobs)
    assert (finished.failure, "no module jobz" in finished.error) == ("start", True)
    finished, _ = await server.run(task("add", a=1), cwd=jobs, interpreter="/no/such/python")
    assert (finished.failure, "/no/such/python" in finished.error) == ("start", True)
    finished, _ = await server.run(task("add", a=1), cwd=jobs, interpreter="/bin/false")
    assert (finished.failure, "did not come up" in finished.error) == ("start", True)
    finished, _ = await server.run(task("add", a=1), cwd="/no/such/folder")
    assert (finished.failure, "/no/such/folder" in finished.error) == ("start", True)


async def test_files_left_in_the_private_folder_are_kept(server, jobs, settings):
    order = server.order(task("keep_file"), cwd=jobs)
    await server.assign(order)
    await server.finished(order)
    assert (settings.state / "attempts" / str(order.fence) / "kept.txt").read_text() == "kept"
    order = server.order(task("nothing"), cwd=jobs)
    await server.assign(order)
    await server.finished(order)
    assert not (settings.state / "attempts" / str(order.fence)).exists()


async def test_changed_code_is_run_in_a_fresh_process(server, jobs):
    assert (await server.run(task("add", a=1), cwd=jobs))[0].result == 2
    file = Path(jobs, "jobs.py")
    file.write_text(file.read_text().replace("return a + b", "return a - b"))
    os.utime(file, (1, 1))
    async with asyncio.timeout(10):
        while (await server.run(task("add", a=1), cwd=jobs))[0].result != 0:
            await asyncio.sleep(0.1)


async def test_a_killed_process_fails_its_attempt_with_the_signal(server, jobs, tmp_path):
    order = server.order(task("say_then_sleep", path=str(tmp_path / "pid"), seconds=60), cwd=jobs)
    await server.assign(order)
    os.kill(int(await written(tmp_path / "pid")), signal.SIGKILL)
    finished = await server.finished(order)
    assert (finished.outcome, finished.signal, finished.failure) == ("failed", 9, "signal")
    assert json.dumps(finished.result) == "null"


async def test_a_large_argument_arrives_whole(server, jobs):
    finished, _ = await server.run(task("add", a="x" * 300_000, b="y"), cwd=jobs)
    assert finished.outcome == "succeeded"


async def test_text_that_is_no_unicode_fails_only_its_own_attempt(server, jobs):
    finished, _ = await server.run(task("add", a="\ud800"), cwd=jobs)
    assert (finished.outcome, finished.failure) == ("failed", "start")
    assert (await server.run(task("add", a=1), cwd=jobs))[0].result == 2
    finished, _ = await server.run("true", env={"A": "\ud800"})
    assert (finished.outcome, finished.failure) == ("failed", "start")
    assert (await server.run("echo ok"))[1] == "ok\n"
