"""The harms that take longer, or more of a machine, than the short tests: for `make chaos`.

Each is what is done, with what must be so before it is over; the checker judges the rest.
"""

import os
import signal
import time
from typing import Any

import asyncpg
from tests.chaos.harms import isolate, kill_database, power_off, silent
from tests.chaos.life import Life
from tests.chaos.load import FLOOD
from tests.chaos.machines import ServerMachine, WorkerMachine
from tests.e2e.running_cluster import until
from tests.history import probe, processes
from tests.history.records import Acknowledged, Kill
from tests.postgres.cluster import Cluster as Postgres

LOST = 15.0  # seconds of silence after which a worker may be called lost


def some_server(life: Life) -> ServerMachine:
    """One by chance."""
    return life.rng.choice(life.machines.servers)


def some_worker(life: Life) -> WorkerMachine:
    """One by chance."""
    return life.rng.choice(life.machines.workers)


def at_work(life: Life) -> tuple[WorkerMachine, probe.Event]:
    """A worker that runs a long job right now, and the start of that."""
    found: list[tuple[WorkerMachine, probe.Event]] = []

    def look() -> bool:
        events = life.events()
        ended = {(event.run, event.fence) for event in events if event.kind == "end"}
        recent = probe.uptime() - 5.0
        running = [event for event in events if event.kind == "start" and event.job.startswith("c/long-")]
        for event in running:
            if (event.run, event.fence) in ended or event.uptime < recent:
                continue
            found.extend(
                (worker, event)
                for worker in life.machines.workers
                if event.pid in {process.pid for process in worker.below()}
            )
        return bool(found)

    until(look, lambda: "no long job runs anywhere", 60.0)
    return found[0]


def all_servers_down(life: Life, _postgres: Postgres) -> None:
    """F2: kill -9 of all servers; they start again half a minute later."""
    machines = life.machines
    for server in machines.servers:
        server.running.kill()
    life.go_on(30.0)
    for server in machines.servers:
        machines.start_server(server)
    for server in machines.servers:
        machines.await_server(server)
    machines.until_led_by(machines.servers)


def frozen_machine(life: Life, _postgres: Postgres) -> None:
    """F4: agent, keeper and attempts of a worker stand still for half a minute, and go on."""
    worker, _ = at_work(life)
    pids = [worker.running.process.pid, *(process.pid for process in worker.below())]
    times = len(life.machines.events(worker.running, "ServerReached"))
    struck = probe.uptime()
    with life.machines.stopped(pids):
        life.go_on(LOST + 15.0)
    life.history.frozen.append(Kill(struck=struck, buried=probe.uptime()))
    life.machines.await_worker(worker, times + 1)


def killed_child(life: Life, _postgres: Postgres) -> None:
    """F7: kill -9 of a job's own process: its attempt has failed by that signal, and is tried again."""
    _, event = at_work(life)
    os.kill(event.pid, signal.SIGKILL)

    def told() -> list[dict[str, Any]]:
        attempts = life.api.get(f"/api/v1/runs/{event.run}")["attempts"]
        return [one for one in attempts if one["fence"] == event.fence and one["state"] == "failed"]

    until(lambda: bool(told()), lambda: f"{event.run} is not said to have failed", 30.0)
    assert told()[0]["signal"] == signal.SIGKILL, told()


def deaf_worker(life: Life, _postgres: Postgres) -> None:
    """F9: what a worker is sent is dropped; what it sends arrives."""
    isolate(life, some_worker(life), LOST + 6.0, toward=False)


def mute_worker(life: Life, _postgres: Postgres) -> None:
    """F9: what a worker sends is dropped; what it is sent arrives."""
    isolate(life, some_worker(life), LOST + 6.0, back=False)


def no_connections_left(life: Life, postgres: Postgres) -> None:
    """F14: somebody takes all connections of the database, when one server has just lost its own."""

    async def take_all() -> list[Any]:
        taken: list[Any] = []
        try:
            while True:
                taken.append(await asyncpg.connect(postgres.url()))
        except (asyncpg.TooManyConnectionsError, asyncpg.PostgresError):
            return taken

    async def give_back() -> None:
        for connection in taken:
            connection.terminate()

    server = some_server(life)
    with life.api.avoiding(server.url):
        life.machines.ways.do(server.database.cut)
        taken = postgres.call(take_all())
        life.go_on(10.0)
        postgres.call(give_back())
        life.machines.until_led_by(life.machines.servers)


def slow_database(life: Life, _postgres: Postgres) -> None:
    """F15: each answer of the database comes half a second later; no worker may be called lost for it."""
    lost = len(life.machines.everywhere("WorkerLost"))
    for server in life.machines.servers:
        server.database.back.delay = 0.5
    life.go_on(20.0)
    for server in life.machines.servers:
        server.database.back.delay = 0.0
    assert len(life.machines.everywhere("WorkerLost")) == lost, "a worker was called lost"


def slow_network(life: Life, _postgres: Postgres) -> None:
    """F19: between workers and servers everything takes 0.4 s longer, each way; no worker may be called lost."""
    lost = len(life.machines.everywhere("WorkerLost"))
    ways = [way for worker in life.machines.workers for way in worker.ways.values()]
    for way in ways:
        way.toward.delay = way.back.delay = 0.4
    life.go_on(20.0)
    for way in ways:
        way.toward.delay = way.back.delay = 0.0
    assert len(life.machines.everywhere("WorkerLost")) == lost, "a worker was called lost"


def hurried_worker(life: Life, _postgres: Postgres) -> None:
    """F26: TERM of a worker with a long job, and TERM again: it ends at once, with 0, and leaves nothing."""
    worker, _ = at_work(life)
    below = worker.below()
    times = len(life.machines.events(worker.running, "ServerReached"))
    stopping = worker.running.said.count("stopping: running work")
    worker.running.process.send_signal(signal.SIGTERM)
    worker.running.until_said("stopping: running work", stopping + 1)
    assert worker.running.stop(seconds=30) == 0
    assert processes.survivors(below, 3.0) == []
    life.machines.start_worker(worker)
    life.machines.await_worker(worker, times + 1)


def flapping_link(life: Life, _postgres: Postgres) -> None:
    """F28: a worker is cut off for three seconds and reached for three, again and again."""
    worker = some_worker(life)
    for _ in range(5):
        with silent(life, worker):
            life.go_on(3.0)
        life.go_on(3.0)


def flood(life: Life, _postgres: Postgres) -> None:
    """F29: a job prints fifty megabytes as fast as it can; it ends well and no worker is called lost."""
    lost = len(life.machines.everywhere("WorkerLost"))
    key = f"flood-{life.rng.getrandbits(32):x}"
    answer, _ = life.api.until_answered("POST", f"/api/v1/jobs/{FLOOD}/runs", {}, {"Idempotency-Key": key})
    life.history.acknowledged.append(Acknowledged(key=key, run=answer["id"]))
    final = {"succeeded", "failed", "lost", "cancelled", "timed-out"}

    def state() -> str:
        return str(life.api.get(f"/api/v1/runs/{answer['id']}")["state"])

    until(lambda: state() in final, lambda: f"the flood is {state()}", 90.0)
    assert state() == "succeeded", state()
    assert len(life.machines.everywhere("WorkerLost")) == lost, "a worker was called lost"


def deaf_to_hints(life: Life, postgres: Postgres) -> None:
    """F32: the connections on which servers listen for hints are ended; polling carries on."""
    listeners = "pid <> pg_backend_pid() AND (query ILIKE 'LISTEN%' OR query ILIKE '%pg_notify%')"
    ended = postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listeners}")
    assert ended, "nobody listened"
    life.go_on(8.0)


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────


def storm(life: Life, postgres: Postgres) -> None:
    """Kills, stops, partitions and a dead database by chance, several at a time, for half a minute."""
    machines, rng = life.machines, life.rng
    end = time.monotonic() + 30.0
    struck = rng.sample([*machines.servers[1:], *machines.workers[1:]], 4)  # one of each is left alone
    for machine in struck:
        if time.monotonic() > end:
            break
        if isinstance(machine, ServerMachine):
            machine.running.kill()
        elif rng.random() < 0.5:
            power_off(life, machine)
        else:
            with silent(life, machine):
                life.go_on(rng.uniform(1.0, 18.0))
        life.go_on(rng.uniform(0.0, 2.0))
        if rng.random() < 0.4:
            postgres.kill()
            life.go_on(rng.uniform(0.5, 6.0))
            postgres.restart()
    for server in machines.servers:
        if server.running.process.poll() is not None:
            machines.start_server(server)
    for server in machines.servers:
        machines.await_server(server)
    for worker in machines.workers:
        if worker.running.process.poll() is not None:
            times = len(machines.events(worker.running, "ServerReached"))
            machines.start_worker(worker)
            machines.await_worker(worker, times + 1)
    machines.until_led_by(machines.servers)


def dead_database(life: Life, postgres: Postgres) -> None:
    """F11: kill -9 of PostgreSQL; it is away for some seconds."""
    kill_database(life, postgres, away=life.rng.uniform(1.0, 20.0))
