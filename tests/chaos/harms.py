"""What can be done to a cluster. Each harm is mended when its function returns; it says so in the log of the life."""

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.chaos.life import Life
from tests.chaos.machines import ServerMachine, WorkerMachine
from tests.e2e.running_cluster import until
from tests.history import processes
from tests.postgres.cluster import Cluster as Postgres

# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────


def kill_server(life: Life, server: ServerMachine, away: float) -> None:
    """kill -9; the others must lead what it led; it comes back after a while."""
    machines = life.machines
    server.running.kill()
    machines.until_led_by([one for one in machines.servers if one is not server])
    life.go_on(away)
    machines.start_server(server)
    machines.await_server(server)
    machines.until_led_by(machines.servers)


def pause_leader(life: Life, server: ServerMachine, seconds: float) -> int:
    """SIGSTOP a server just when it is about to write a plan; the plan arrives when others lead its shards.

    Returns how often the store refused a plan of it.
    """
    machines, way = life.machines, server.database
    refused = way.answered_nothing["commit_plan"]
    with life.api.avoiding(server.url):
        machines.ways.do(lambda: way.hold_back("commit_plan"))
        until(lambda: way.held > 0, lambda: f"{server.name} planned nothing")
        with machines.stopped([server.running.process.pid]):
            machines.until_led_by([one for one in machines.servers if one is not server])
            machines.ways.do(way.let_go)
            until(lambda: way.answered_nothing["commit_plan"] > refused, lambda: "a late plan was not refused")
            life.go_on(seconds)
    machines.until_led_by(machines.servers)
    return way.answered_nothing["commit_plan"] - refused


def gather(life: Life, server: ServerMachine) -> None:
    """Let all workers be connected to this server; they may go where they like from then on."""
    machines = life.machines
    others = [way for worker in machines.workers for name, way in worker.ways.items() if name != server.name]

    def close(closed: bool) -> None:
        for way in others:
            way.closed = closed
            way.cut()

    machines.ways.do(lambda: close(True))
    until(lambda: len(machines.sessions(server)) == len(machines.workers), lambda: "not all have come")
    machines.ways.do(lambda: close(False))


def cut_from_database(life: Life, server: ServerMachine, seconds: float) -> None:
    """Nothing gets from this server to the database or back, and nobody is told."""
    machines, way = life.machines, server.database
    with life.api.avoiding(server.url):
        machines.ways.do(way.freeze)
        try:
            lapsed = len(machines.events(server.running, "LeaseLapsed"))
            machines.until_led_by([one for one in machines.servers if one is not server])
            until(
                lambda: len(machines.events(server.running, "LeaseLapsed")) > lapsed,
                lambda: f"{server.name} did not notice:\n{server.running.said[-2000:]}",
            )
            life.go_on(seconds)
        finally:
            machines.ways.do(way.thaw)
        machines.until_led_by(machines.servers)


def restart_in_turn(life: Life) -> None:
    """TERM each server in turn, and start it again."""
    for server in life.machines.servers:
        assert server.running.stop() == 0, server.running.said
        life.machines.start_server(server)
        life.machines.await_server(server)
    life.machines.until_led_by(life.machines.servers)


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────


def kill_agent(life: Life, worker: WorkerMachine, away: float) -> list[processes.Process]:
    """kill -9 of the agent; its keeper and all it runs must follow. Returns what lives three seconds later."""
    below = worker.below()
    times = len(life.machines.events(worker.running, "ServerReached"))
    os.kill(worker.running.process.pid, signal.SIGKILL)
    worker.running.process.wait(timeout=10)
    left = processes.survivors(below, 3.0)
    life.go_on(away)
    life.machines.start_worker(worker)
    life.machines.await_worker(worker, times + 1)
    return left


def power_off(life: Life, worker: WorkerMachine) -> None:
    """kill -9 of agent, keeper and attempts, all at once: nobody is left to say anything."""
    below = worker.below()
    for pid in (worker.running.process.pid, *(process.pid for process in below)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    worker.running.process.wait(timeout=10)
    assert processes.survivors(below, 3.0) == []


def called_lost(life: Life, before: int, seconds: float) -> bool:
    """Wait so long at most until servers have called workers lost more often than `before`."""
    with contextlib.suppress(AssertionError):
        until(lambda: len(life.machines.everywhere("WorkerLost")) > before, lambda: "", seconds)
        return True
    return False


def freeze_agent(life: Life, worker: WorkerMachine, seconds: float) -> None:
    """SIGSTOP of the agent alone: its keeper goes on."""
    times = len(life.machines.events(worker.running, "ServerReached"))
    with life.machines.stopped([worker.running.process.pid]):
        life.go_on(seconds)
    life.machines.await_worker(worker, times + 1)


def isolate(life: Life, worker: WorkerMachine, seconds: float, toward: bool = True, back: bool = True) -> None:
    """Drop what the worker sends, what it is sent, or both."""
    times = len(life.machines.events(worker.running, "ServerReached"))
    with silent(life, worker, toward, back):
        life.go_on(seconds)
    life.machines.await_worker(worker, times + 1)


@contextlib.contextmanager
def silent(life: Life, worker: WorkerMachine, toward: bool = True, back: bool = True) -> Iterator[None]:
    """Nothing gets through meanwhile. What was on its way is lost with its connections."""
    ways = list(worker.ways.values())

    def freeze() -> None:
        for way in ways:
            for direction, frozen in ((way.toward, toward), (way.back, back)):
                if frozen:
                    direction.freeze()

    def thaw() -> None:
        for way in ways:
            way.cut()
            way.thaw()

    life.machines.ways.do(freeze)
    try:
        yield
    finally:
        life.machines.ways.do(thaw)


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────


def kill_database(life: Life, postgres: Postgres, away: float) -> None:
    """kill -9 of the postmaster and all its processes; it starts again after a while."""
    postgres.kill()
    life.go_on(away)
    postgres.restart()
    life.machines.until_led_by(life.machines.servers)
