"""What is left when the keeper, the agent, or both are killed: nothing, and a report of what was lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.worker.fake_server import FakeServer, eventually, written

from rota.core.model import PythonTask
from rota.worker.keeper_link import FolderTaken, KeeperLink
from rota.worker.processes import is_alive, mark_of, marked_processes

HOST = """
import asyncio, sys
from pathlib import Path
from tests.worker.fake_server import FakeServer, eventually, written
from rota.worker.settings import WorkerSettings

async def main(state):
    server = FakeServer(WorkerSettings(name="w1", state=Path(state), capacity={"shell": 8, "python": 1, "http": 1}))
    await server.until(lambda: server.hello)
    await server.assign(*[server.order(command) for command in sys.argv[2:]])
    print("ready", server.agent._executors.link.pid, flush=True)
    await server.running

asyncio.run(main(sys.argv[1]))
"""


NAPS = """
import time

def nap(path):
    with open(path, "w") as file:
        file.write("1")
    time.sleep(300)

def one():
    return 1
"""


def daemon(pid_file: Path) -> str:
    """A command that leaves a grandchild in a session of its own and waits."""
    return f"setsid sh -c 'setsid sh -c \"echo \\$\\$ > {pid_file}; exec sleep 300\" & sleep 300' & sleep 300"


async def gone(*pids: int, seconds: float) -> None:
    await eventually(lambda: not any(map(is_alive, pids)), seconds)


async def test_a_killed_keeper_takes_everything_along_and_is_replaced(server, tmp_path):
    orders = [server.order(daemon(tmp_path / f"pid{number}")) for number in range(3)]
    await server.assign(*orders)
    pids = [int(await written(tmp_path / f"pid{number}")) for number in range(3)]
    link = server.agent._executors.link
    os.kill(link.pid, signal.SIGKILL)
    for order in orders:
        finished = await server.finished(order)
        assert (finished.outcome, "keeper" in finished.error) == ("lost", True)
    assert not any(map(is_alive, pids))
    finished, text = await server.run("echo again")
    assert (finished.outcome, text, link.restarts) == ("succeeded", "again\n", 1)


async def test_a_killed_keeper_loses_only_the_running_python_attempt(server, tmp_path):
    (tmp_path / "naps.py").write_text(NAPS)
    running = server.order(PythonTask(function="naps:nap", arguments={"path": str(tmp_path / "x")}), cwd=str(tmp_path))
    await server.assign(running)
    await written(tmp_path / "x")
    os.kill(server.agent._executors.link.pid, signal.SIGKILL)
    assert (await server.finished(running)).outcome == "lost"
    finished, _ = await server.run(PythonTask(function="naps:one"), cwd=str(tmp_path))
    assert finished.result == 1


async def test_a_keeper_killed_again_and_again_under_load(server):
    orders = [server.order("sleep 0.01; echo done") for _ in range(60)]
    await server.assign(*orders)
    link = server.agent._executors.link
    for number in range(4):
        await server.until(lambda n=number: len(server.reports) > 8 * n)
        os.kill(await eventually(lambda: link.pid), signal.SIGKILL)
    outcomes = [(await server.finished(order)).outcome for order in orders]
    assert set(outcomes) <= {"succeeded", "lost"}
    assert outcomes.count("succeeded") >= 10
    assert link.restarts >= 1


def start_host(state: Path, *commands: str) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"}
    return subprocess.Popen(
        [sys.executable, "-c", HOST, str(state), *commands], stdout=subprocess.PIPE, text=True, env=environment
    )


async def test_a_killed_agent_leaves_no_process(tmp_path):
    pid_file = tmp_path / "pid"
    host = start_host(tmp_path / "state", daemon(pid_file))
    pid = int(await written(pid_file))
    keeper = int(host.stdout.readline().split()[1])
    host.kill()
    host.wait()
    host.stdout.close()
    await gone(pid, keeper, seconds=1.0)


async def test_when_both_are_killed_the_next_agent_clears_up_first(tmp_path, settings):
    pid_file = tmp_path / "pid"
    host = start_host(settings.state, daemon(pid_file))
    pid = int(await written(pid_file))
    keeper = int(host.stdout.readline().split()[1])
    host.send_signal(signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    host.kill()
    host.wait()
    host.stdout.close()
    assert is_alive(pid)
    fake = FakeServer(settings)
    await fake.until(lambda: fake.hello)
    alive_at_hello = is_alive(pid)
    await fake.close()
    assert not alive_at_hello


async def test_two_agents_do_not_share_a_folder(server, settings):
    with pytest.raises(FolderTaken, match=str(settings.state)) as caught:
        await KeeperLink(settings.state, lock_patience=0.1).start()
    assert str(server.agent._executors.link.pid) in str(caught.value)


def test_marks_are_read_from_the_environment_of_processes():
    process = subprocess.Popen(["sleep", "60"], env={"ROTA_TREE": "/some/state#1"})
    try:
        assert mark_of(process.pid) == "/some/state#1"
        assert process.pid in set(marked_processes("/some/state#"))
        assert process.pid not in set(marked_processes("/other/state#"))
    finally:
        process.kill()
        process.wait()
