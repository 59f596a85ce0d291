"""Harms to what a machine gives its processes: room on a disk, open files, the time of day.

What only root can do, or needs a library that is not installed, is left out with the reason. Whatever is mounted here
is gone again when the harm is over, also when it fails.
"""

import contextlib
import itertools
import os
import resource
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.chaos.harms import isolate
from tests.chaos.life import LeftOut, Life
from tests.chaos.machines import ServerMachine, WorkerMachine
from tests.chaos.more_harms import some_server, some_worker
from tests.e2e.running_cluster import is_ready, until
from tests.history import probe, processes
from tests.postgres.cluster import Cluster as Postgres

NOTICED_SECONDS: Final = 60.0  # how long is waited for what should be seen within ten
SPARE_BYTES: Final = 64 * 1024 * 1024
SPARE_FILES: Final = 3000
FILES_LEFT: Final = 20
RIGHT: Final = "+0 x1"  # without a rate the one before stays
_PAGE: Final = 4096

# ── disks ────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A small file system in place of a folder, with what the folder holds. Before and after, nobody may use it."""
    if os.geteuid() != 0:
        raise LeftOut("only root can mount a small disk")
    held = [path.lstat() for path in (folder, *folder.rglob("*"))]
    size = sum(one.st_blocks * 512 + _PAGE for one in held) + SPARE_BYTES
    limits = f"size={size},nr_inodes={len(held) + SPARE_FILES},mode=0700,uid={held[0].st_uid},gid={held[0].st_gid}"
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", limits, "rota-chaos", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        folder.rmdir()
        aside.rename(folder)
        raise LeftOut(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        _copy(aside, folder)
        yield
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            _copy(folder, fresh(aside))
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()
        aside.rename(folder)


def _copy(source: Path, target: Path) -> None:
    """All that is in one folder, with owners and modes, into another."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)


def fresh(folder: Path) -> Path:
    """The folder, emptied."""
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No byte and no file finds room on the disk of this folder meanwhile."""
    ballast = folder / "ballast"
    ballast.mkdir()
    try:
        fill(ballast)
        yield
    finally:
        shutil.rmtree(ballast)


def fill(ballast: Path) -> None:
    """Use up what room there is."""
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (ballast / str(number)).touch()
    with contextlib.suppress(OSError), (ballast / "0").open("wb", buffering=0) as file:
        while file.write(bytes(_PAGE)) == _PAGE:
            pass


def full_worker(life: Life, _postgres: Postgres) -> None:
    """F18: a worker's disk is full for twenty seconds, for some of which it reaches no server either."""
    worker = some_worker(life)
    folder = life.machines.state_of(worker)
    times = life.machines.stop_worker(worker)
    with contextlib.ExitStack() as stack:
        stack.enter_context(small_disk(folder))
        stack.callback(lambda: stop_anyhow(worker))
        life.machines.start_worker(worker)
        life.machines.await_worker(worker, times + 1)
        agent = processes.find(worker.running.process.pid)
        assert agent is not None
        before = attempts_on(life, worker)
        life.history.roomless = True
        with filled(folder):
            life.go_on(8.0)
            isolate(life, worker, 5.0)
            life.go_on(7.0)
            assert processes.alive(agent), worker.running.said[-3000:]
        freed = probe.uptime()
        begun = attempts_on(life, worker)
        states = Counter(begun[one] for one in begun.keys() - before.keys())
        life.notes.append(f"attempts on {worker.name} without any room: {dict(states)}")
        assert not states["failed"], "what the worker could not start counts against its job"

        def works() -> bool:
            now = attempts_on(life, worker)
            return any(now[one] == "succeeded" for one in now.keys() - begun.keys())

        until(works, lambda: f"nothing succeeds on {worker.name}", NOTICED_SECONDS)
        life.notes.append(f"{worker.name} works {probe.uptime() - freed:.1f} s after there is room")
        assert processes.alive(agent), worker.running.said[-3000:]
        assert worker.running.stop() == 0, worker.running.said[-3000:]
    life.machines.start_worker(worker)
    life.machines.await_worker(worker, times + 2)


def attempts_on(life: Life, worker: WorkerMachine) -> dict[tuple[str, int], str]:
    """The states of the newest attempts on a worker, by run and number."""
    runs = life.api.get("/api/v1/runs?limit=500")["items"]
    attempts = [(run["id"], attempt) for run in runs for attempt in run["attempts"]]
    return {(run, one["number"]): one["state"] for run, one in attempts if one["worker"] == worker.name}


def stop_anyhow(worker: WorkerMachine) -> None:
    """End a worker with all that runs below it, if it has not ended."""
    if worker.running.process.poll() is None:
        below = worker.below()
        worker.running.kill()
        processes.survivors(below, 3.0)


# ── open files ───────────────────────────────────────────────────────────────────────────────────────────


def no_files_left(life: Life, _postgres: Postgres) -> None:
    """F31: a server may open twenty files more, and three hundred callers come, who say nothing."""
    server = some_server(life)
    process = processes.find(server.running.process.pid)
    assert process is not None
    usual = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    few = len(list(Path(f"/proc/{process.pid}/fd").iterdir())) + FILES_LEFT
    with life.api.avoiding(server.url), contextlib.ExitStack() as callers:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (few, usual[1]))
        try:
            for _ in range(300):
                callers.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            until(lambda: not is_ready(server.url), lambda: f"{server.name} answers as if nothing were")
            life.go_on(12.0)
            assert processes.alive(process), server.running.said[-3000:]
            callers.close()
            await_ready(life, server, "with few files, when the callers have gone")
        finally:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, usual)
        assert processes.alive(process), server.running.said[-3000:]
    life.machines.until_led_by(life.machines.servers)


def await_ready(life: Life, server: ServerMachine, when: str) -> None:
    """Wait until a server says that it is ready, and note how long that took."""
    since = probe.uptime()
    until(lambda: is_ready(server.url), lambda: server.running.said[-3000:], NOTICED_SECONDS)
    life.notes.append(f"{server.name} is ready {probe.uptime() - since:.1f} s later {when}")


# ── the time of day ──────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def wrong_clocks(life: Life) -> Iterator[tuple[Callable[[str], None], set[str]]]:
    """A server and a worker whose wall clocks show what one says, as `+3600` or `+0 x1.1`; their conditions' keys.

    Their monotonic clocks stay right: those no administrator and no time service can move.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise LeftOut("libfaketime is not installed")
    offset = life.folder / "wrong-clock"
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    server, worker = some_server(life), some_worker(life)

    def show(text: str) -> None:
        new = offset.with_suffix(".new")
        new.write_text(f"{text}\n")
        new.rename(offset)

    show(RIGHT)
    try:
        restart_both(life, server, worker, faked)
        yield show, {f"worker-clock/{worker.name}", f"server-clock/127.0.0.1:{server.port}"}
    finally:
        show(RIGHT)
        restart_both(life, server, worker, {})


def restart_both(life: Life, server: ServerMachine, worker: WorkerMachine, environment: dict[str, str]) -> None:
    """Start a server and a worker again, with this beside their environment."""
    machines = life.machines
    server.environment, worker.environment = environment, environment
    assert server.running.stop() == 0, server.running.said[-3000:]
    machines.start_server(server)
    machines.await_server(server)
    machines.restart_worker(worker)
    machines.until_led_by(machines.servers)


def await_conditions(life: Life, keys: set[str], standing: bool) -> None:
    """Wait until these conditions are there, or all gone, and note how long that took."""
    since = probe.uptime()

    def found() -> set[str]:
        return {one["key"] for one in life.api.get("/api/v1/alerts")["conditions"]} & keys

    until(lambda: found() == (keys if standing else set()), lambda: f"{found()} of {keys}", NOTICED_SECONDS)
    told = "raised" if standing else "cleared"
    life.notes.append(f"conditions about both clocks {told} within {probe.uptime() - since:.1f} s")


def stepped_clocks(life: Life, _postgres: Postgres) -> None:
    """F20: the clocks of a server and a worker step an hour ahead, then to an hour behind, then are right again."""
    lost = len(life.machines.everywhere("WorkerLost"))
    with wrong_clocks(life) as (show, conditions):
        for text in ("+3600", "-3600"):
            show(text)
            await_conditions(life, conditions, standing=True)
            life.go_on(8.0)
        show(RIGHT)
        await_conditions(life, conditions, standing=False)
    assert len(life.machines.everywhere("WorkerLost")) == lost, "a worker was called lost"


def drifting_clocks(life: Life, _postgres: Postgres) -> None:
    """F21: the clocks of a server and a worker go a tenth too fast, then to and fro by ten seconds."""
    lost = len(life.machines.everywhere("WorkerLost"))
    with wrong_clocks(life) as (show, conditions):
        show("+0 x1.1")
        await_conditions(life, conditions, standing=True)
        life.go_on(10.0)
        for text in ("+10 x1", "-10 x1") * 4:
            show(text)
            life.go_on(1.5)
        show(RIGHT)
        await_conditions(life, conditions, standing=False)
    assert len(life.machines.everywhere("WorkerLost")) == lost, "a worker was called lost"
