"""A cluster on this machine that loses a server, a worker and its database while the checker watches.

It is what `make cluster-demo` runs. Exits 1 when something was missed, doubled or lost.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

from tests.chaos import harms, load
from tests.chaos.life import Life
from tests.chaos.show import Show
from tests.e2e.running_cluster import until
from tests.postgres.cluster import Cluster as Postgres
from tests.postgres.cluster import binaries

WITHIN = 60.0  # seconds that a start may be late, whatever happens: an older instant would be missed
SERVERS, WORKERS = 3, 4


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="make cluster-demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32))
    parser.add_argument("--seconds", type=float, default=12.0, help="of calm before each harm (default: 12)")
    options = parser.parse_args()
    show = Show()
    with folder(show) as place:
        return run(show, place, options.seed, options.seconds)


@contextlib.contextmanager
def folder(show: Show) -> Iterator[Path]:
    """A place for logs and probes; it stays where something was wrong."""
    place = Path(tempfile.mkdtemp(prefix="rota-cluster-"))
    try:
        yield place
    except BaseException:
        show.note(f"logs and probes are in {place}")
        raise
    if (place / "keep").exists():
        show.note(f"logs and probes are in {place}")
    else:
        shutil.rmtree(place)


def run(show: Show, place: Path, seed: int, calm: float) -> int:
    """Start, harm, judge."""
    name = next(iter(binaries()))
    show.title(f"Rota on one machine: {name}, {SERVERS} servers, {WORKERS} workers, 200 jobs")
    show.note(f"seed {seed}; every process started here is ended at the end")
    with Postgres(binaries()[name]) as postgres:
        show.done(f"the database is up ({name}, fsync on)")
        with Life(place, postgres.create(), seed, servers=SERVERS, workers=WORKERS) as life:
            begin(show, life)
            for harm in (lose_server, lose_worker, lose_database):
                life.go_on(calm)
                harm(show, life, postgres)
            life.go_on(calm)
            show.done("enough: the client stops, everything is paused, what runs may end")
            verdict = life.judge(WITHIN)
            show.verdict(verdict, life.api.calls)
    if verdict.violations:
        (place / "keep").touch()
    return 1 if verdict.violations else 0


def begin(show: Show, life: Life) -> None:
    """All is well at first."""
    machines = life.machines
    machines.until_led_by(machines.servers)
    led = ", ".join(f"{server.name} {machines.led(server)}" for server in machines.servers)
    show.done(f"{SERVERS} servers share the 64 shards: {led}")
    show.done(f"{WORKERS} workers have joined")
    life.work(load.many(life.folder))
    life.until_started()
    show.done("200 jobs applied, from every second to every minute, and a client who triggers one by hand")


def lose_server(show: Show, life: Life, _postgres: Postgres) -> None:
    """kill -9 of the server that leads most."""
    machines = life.machines
    server = max(machines.servers, key=machines.led)
    held = ", ".join(worker.name for worker in machines.sessions(server)) or "no worker"
    life.phase("kill -9 a server")
    show.harm(f"kill -9 of server {server.name}, which leads {machines.led(server)} shards and talks to {held}")
    began = time.monotonic()
    server.running.kill()
    machines.until_led_by([one for one in machines.servers if one is not server])
    show.done(f"the others lead its shards, {time.monotonic() - began:.1f} s later")
    life.go_on(5.0)
    machines.start_server(server)
    machines.await_server(server)
    until(lambda: machines.led(server) > 0, lambda: f"{server.name} leads nothing")
    show.done(f"{server.name} is back and has workers and its share again")


def lose_worker(show: Show, life: Life, _postgres: Postgres) -> None:
    """The power cut of a worker's machine: agent, keeper and all attempts are gone without a word."""
    machines = life.machines
    worker = max(machines.workers, key=lambda one: len(one.below()))
    life.phase("kill -9 a worker")
    show.harm(f"kill -9 of worker {worker.name} with all that runs on it")
    before = len(machines.everywhere("WorkerLost"))
    began = time.monotonic()
    harms.power_off(life, worker)
    if harms.called_lost(life, before, seconds=25.0):
        show.done(f"it is called lost after {time.monotonic() - began:.1f} s; what it ran is tried again elsewhere")
    else:
        show.done("it held nothing that had to be tried again")
    times = len(machines.events(worker.running, "ServerReached"))
    machines.start_worker(worker)
    machines.await_worker(worker, times + 1)
    show.done(f"{worker.name} is back")


def lose_database(show: Show, life: Life, postgres: Postgres) -> None:
    """kill -9 of PostgreSQL, all of it."""
    life.phase("kill -9 the database")
    show.harm("kill -9 of the database, all of its processes; it stays away for 6 s")
    harms.kill_database(life, postgres, away=6.0)
    began = time.monotonic()
    life.until_started(5)
    show.done(f"it is back; runs start again {time.monotonic() - began:.1f} s after the servers have their shards")


if __name__ == "__main__":
    sys.exit(main())
