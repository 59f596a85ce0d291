"""The keeper through its link: spawning, descriptors, ladders, sweeping, large orders."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.worker.fake_server import eventually, written
from tests.worker.shortages import files_end_at, no_descriptors, open_descriptors

from rota.worker.keeper_link import KeeperLink, SpawnFailed, Swept, TreeEvent, TreeOver, memory_file
from rota.worker.pipes import Gate, OutputPipe
from rota.worker.processes import children_of, descendants_of, is_alive, send_signal


class Trees:
    """Spawns through a link and remembers what happened to each tree."""

    def __init__(self, link: KeeperLink) -> None:
        self.link = link
        self.events: dict[int, list[TreeEvent]] = {}
        self.output: dict[int, bytearray] = {}
        self.heard = asyncio.Event()

    def spawn(self, *argv: str, env: dict[str, str] | None = None, cwd: str = "/", **facts: Any) -> int:
        events: list[TreeEvent] = []
        output = bytearray()

        def happened(event: TreeEvent) -> None:
            pipe.drain()
            if isinstance(event, TreeOver | SpawnFailed):
                pipe.close()
            events.append(event)
            self.heard.set()

        pipe = OutputPipe(Gate(), output.extend)
        order = {"argv": list(argv), "env": env or {"PATH": "/usr/bin:/bin"}, "cwd": cwd, "targets": [1], **facts}
        key = self.link.spawn(order, [pipe.hand_over()], happened)
        self.events[key], self.output[key] = events, output
        return key

    def script(self, command: str, **facts: Any) -> int:
        return self.spawn("/bin/sh", "-c", command, **facts)

    async def event(self, key: int, kind: type = TreeOver) -> Any:
        async with asyncio.timeout(20):
            while True:
                self.heard.clear()
                for event in self.events[key]:
                    if isinstance(event, kind):
                        return event
                await self.heard.wait()


@pytest.fixture
async def trees(tmp_path: Path) -> AsyncIterator[Trees]:
    link = KeeperLink(tmp_path / "state")
    await link.start()
    yield Trees(link)
    await link.stop()


async def test_exit_codes_and_signals(trees):
    keys = [trees.script(command) for command in ("exit 0", "exit 42", "kill -KILL $$", "kill -TERM $$")]
    ends = [await trees.event(key) for key in keys]
    assert [(end.exit, end.signal, end.why) for end in ends] == [
        (0, None, None), (42, None, None), (None, 9, None), (None, 15, None),
    ]  # fmt: skip


async def test_programs_and_folders_that_are_not_there(trees):
    failed = await trees.event(trees.spawn("/no/such/program"), SpawnFailed)
    assert (failed.where, os.strerror(failed.errno)) == ("argv", "No such file or directory")
    failed = await trees.event(trees.spawn("/bin/true", cwd="/no/such"), SpawnFailed)
    assert failed.where == "cwd"
    failed = await trees.event(trees.spawn("/etc/passwd"), SpawnFailed)
    assert failed.where == "argv"
    assert (await trees.event(trees.script("exit 0"))).exit == 0


async def test_signals_start_with_their_default_and_a_session_of_their_own(trees):
    key = trees.script("grep -E 'Sig(Ign|Blk)' /proc/self/status; ps -o sid= -p $$; echo $$")
    await trees.event(key)
    blocked, ignored, session, pid = trees.output[key].decode().split("\n")[:4]
    ordinary = 0x7FFFFFFF  # the others are the C library's own
    assert (int(blocked.split()[1], 16), int(ignored.split()[1], 16) & ordinary) == (0, 0)
    assert session.strip() == pid


async def test_a_large_order_travels_whole(trees):
    value = "v" * 100_000
    key = trees.script('printf %s "$A$B" | wc -c', env={"PATH": "/usr/bin:/bin", "A": value, "B": value})
    await trees.event(key)
    assert trees.output[key].split() == [b"200000"]


async def test_an_order_that_cannot_be_sent_for_want_of_descriptors_is_sent_later(trees):
    """A large one needs one of its own on its way."""
    key = trees.script('printf %s "$A" | wc -c', env={"PATH": "/usr/bin:/bin", "A": "v" * 100_000})
    with no_descriptors():
        trees.link._flush()
    await trees.event(key)
    assert trees.output[key].split() == [b"100000"]


async def test_hundreds_of_orders_in_one_turn_all_run(trees):
    keys = [trees.script(f"exit {number % 100}") for number in range(150)]
    assert [(await trees.event(key)).exit for key in keys] == [number % 100 for number in range(150)]


async def test_no_descriptor_stays_open(trees):
    def counts() -> list[int]:
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), trees.link.pid)]

    before = counts()
    for _ in range(20):
        await trees.event(trees.script("true"))
        await trees.event(trees.spawn("/no/such/program"), SpawnFailed)
    assert counts() == before


async def test_term_comes_first_and_is_enough_for_who_obeys(trees, tmp_path):
    key = trees.script(
        f"trap 'echo asked; exit 7' TERM; echo x > {tmp_path}/up; while :; do sleep 0.02; done", grace=20.0
    )
    await written(tmp_path / "up")
    trees.link.end(key, 20.0)
    end = await trees.event(key)
    assert (end.exit, end.why, bytes(trees.output[key])) == (7, "ended", b"asked\n")


async def test_kill_follows_after_the_grace(trees, tmp_path):
    key = trees.script(f"trap '' TERM; echo x > {tmp_path}/up; while :; do sleep 0.02; done")
    await written(tmp_path / "up")
    trees.link.end(key, 0.2)
    end = await trees.event(key)
    assert (end.signal, end.why) == (9, "ended")


async def test_a_deadline_can_be_set_changed_and_taken_away(trees):
    kept = trees.script("sleep 0.6", timeout=0.2, grace=0.1)
    spared = trees.script("sleep 0.6; exit 5", timeout=0.2, grace=0.1)
    later = trees.script("sleep 300")
    trees.link.arm(spared, None, 0.0)
    trees.link.arm(later, 0.3, 0.0)
    assert (await trees.event(kept)).why == "timeout"
    assert (await trees.event(spared)).exit == 5
    assert ((await trees.event(later)).why, (await trees.event(later)).signal) == ("timeout", 9)


async def test_members_are_found_wherever_they_went(trees, tmp_path):
    nested = "setsid sh -c 'setsid sleep 300 & sleep 300' & setsid setsid sleep 300 & sleep 300 & "
    key = trees.script(f"{nested} sleep 0.05; echo $$ > {tmp_path}/pid; sleep 300")
    main = int(await written(tmp_path / "pid"))
    below = list(descendants_of(trees.link.pid))
    assert main in below
    assert len(below) >= 6
    trees.link.end(key, 0.0)
    await trees.event(key)
    assert not any(map(is_alive, below))
    assert children_of(trees.link.pid) == []


async def test_one_tree_does_not_end_another(trees, tmp_path):
    other = trees.script(f"setsid sleep 300 & echo $! > {tmp_path}/other; sleep 300")
    first = trees.script(f"setsid sleep 300 & echo $! > {tmp_path}/first; sleep 300")
    spared, doomed = [int(await written(tmp_path / name)) for name in ("other", "first")]
    trees.link.end(first, 0.0)
    await trees.event(first)
    assert (is_alive(spared), is_alive(doomed), trees.events[other]) == (True, False, [])


async def test_what_outlives_its_command_is_counted(trees, tmp_path):
    wait = f"while ! test -s {tmp_path}/pid; do sleep 0.01; done"
    key = trees.script(f"sleep 300 & setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 300' & {wait}; exit 3")
    end = await trees.event(key)
    assert (end.exit, end.left) == (3, 2)
    assert not is_alive(int((tmp_path / "pid").read_text()))


async def test_sweeping_spares_the_main_process(trees, tmp_path):
    os.mkfifo(tmp_path / "never")
    key = trees.script(f"sleep 300 & setsid sleep 300 & echo $! > {tmp_path}/pid; read line <> {tmp_path}/never")
    left = int(await written(tmp_path / "pid"))
    trees.link.sweep(key)
    swept = await trees.event(key, Swept)
    assert (swept.killed >= 2, is_alive(left)) == (True, False)
    trees.link.end(key, 0.0)
    assert (await trees.event(key)).why == "ended"


async def test_the_keeper_ignores_the_signals_that_reach_whole_groups(trees):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(trees.link.pid, number)
    assert (await trees.event(trees.script("exit 4"))).exit == 4


async def test_stopping_leaves_nothing(tmp_path):
    link = KeeperLink(tmp_path / "state")
    await link.start()
    held = Trees(link)
    held.script(f"trap '' TERM; setsid sh -c 'echo $$ > {tmp_path}/pid; sleep 300' & sleep 300")
    pid = int(await written(tmp_path / "pid"))
    keeper = link.pid
    await link.stop()
    assert not is_alive(pid)
    assert not is_alive(keeper)


async def test_usage_is_that_of_the_tree(trees):
    key = trees.script("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")
    end = await trees.event(key)
    assert end.cpu_seconds > 0.005
    assert end.peak_memory > 100_000


async def test_an_idle_keeper_sleeps(trees):
    trees.script("sleep 300")
    await trees.event(trees.script("true"))

    def wakeups() -> int:
        status = Path(f"/proc/{trees.link.pid}/status").read_text()
        return int(status.split("voluntary_ctxt_switches:")[1].split()[0])

    before = wakeups()
    for _ in range(3):
        process = await asyncio.to_thread(subprocess.run, ["sleep", "0.1"], check=True)
        assert process.returncode == 0
    assert wakeups() - before <= 1


def test_signalling_the_dead_and_the_absent():
    process = subprocess.Popen(["sleep", "60"])
    assert is_alive(process.pid)
    assert send_signal(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process.pid)
    process.wait()
    assert send_signal(process.pid, signal.SIGKILL)
    assert list(descendants_of(process.pid)) == []


def test_a_memory_file_holds_its_data():
    descriptor = memory_file("test", b"abc" * 1000)
    try:
        assert os.read(descriptor, 10_000) == b"abc" * 1000
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_a_memory_file_that_cannot_hold_its_data_is_closed():
    before = open_descriptors()
    with files_end_at(1000), pytest.raises(OSError, match="File too large"):
        memory_file("test", b"x" * 1001)
    assert open_descriptors() == before


async def test_a_closed_gate_stops_reading_until_it_opens():
    gate, got = Gate(), bytearray()
    pipe = OutputPipe(gate, got.extend)
    write_end = pipe.hand_over()
    pipe.listen()
    gate.close()
    os.write(write_end, b"early")
    await eventually(lambda: gate._waiting)
    assert got == b""
    gate.open()
    await eventually(lambda: got == b"early")
    os.close(write_end)
    pipe.drain()
    pipe.close()
    pipe.close()
