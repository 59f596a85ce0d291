"""A long life of a cluster that is harmed in every way this machine allows: `make chaos ARGS="--seconds 600 --seed 1"`.

Each harm comes at least once where there is time, in an order by chance, and again until the time is over. Ends with a
table of what each did; exits 1 when something must not be as it is.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

from tests.chaos import database_harms, harms, job_harms, load, machine_harms, more_harms
from tests.chaos.demo import folder
from tests.chaos.frames import Disorder
from tests.chaos.life import LeftOut, Life
from tests.chaos.more_harms import some_server, some_worker
from tests.chaos.show import Show
from tests.postgres.cluster import Cluster as Postgres
from tests.postgres.cluster import binaries
from tests.postgres.clusters import NEWEST

WITHIN: Final = 150.0  # seconds that a start may be late; the table says how late they were
WRITING: Final = {"commit_plan", "assign", "record", "apply", "create", "append_output", "renew", "connect"}

Harm = Callable[[Life, Postgres], object]


def lost_answers(life: Life, _postgres: Postgres) -> None:
    """One answer to a commit in seven is lost, for twenty seconds."""
    for server in life.machines.servers:
        server.database.loses = lambda verb: verb in WRITING and life.rng.random() < 0.15
    life.go_on(20.0)
    for server in life.machines.servers:
        server.database.loses = lambda verb: False


def disorder(life: Life, _postgres: Postgres) -> None:
    """Messages between workers and servers are repeated, swapped and replayed, for twenty seconds."""
    ways = [way for worker in life.machines.workers for way in worker.ways.values()]
    for way in ways:
        way.disorder = Disorder(repeats=0.2, swaps=0.1, replays=0.1)
    life.go_on(20.0)
    for way in ways:
        way.disorder = Disorder()


def no_orphans(life: Life, _postgres: Postgres) -> None:
    """kill -9 of an agent: nothing it ran outlives it."""
    left = harms.kill_agent(life, more_harms.at_work(life)[0], away=life.rng.uniform(0.0, 20.0))
    assert left == [], f"{left} outlived their agent"


HARMS: Final[Mapping[str, Harm]] = {
    "F1 kill a server": lambda life, _: harms.kill_server(life, some_server(life), away=3.0),
    "F2 kill all servers": more_harms.all_servers_down,
    "F3 stop a leader": lambda life, _: harms.pause_leader(life, some_server(life), seconds=20.0),
    "F4 freeze a worker's machine": more_harms.frozen_machine,
    "F5 stop an agent": lambda life, _: harms.freeze_agent(life, more_harms.at_work(life)[0], seconds=20.0),
    "F6 kill an agent": no_orphans,
    "F7 kill a job's process": more_harms.killed_child,
    "F8 isolate a worker": lambda life, _: harms.isolate(life, some_worker(life), seconds=25.0),
    "F9 a worker hears nothing": more_harms.deaf_worker,
    "F9 a worker is not heard": more_harms.mute_worker,
    "F10 cut a server off the database": lambda life, _: harms.cut_from_database(life, some_server(life), 15.0),
    "F11 kill the database": more_harms.dead_database,
    "F14 no connections left": more_harms.no_connections_left,
    "F15 slow database": more_harms.slow_database,
    "F16 lost answers": lost_answers,
    "F17 the database's disk is full": database_harms.full_disk,
    "F17 a database that is read-only": database_harms.read_only,
    "F18 a worker's disk is full": machine_harms.full_worker,
    "F19 slow network": more_harms.slow_network,
    "F20 clocks step by an hour": machine_harms.stepped_clocks,
    "F21 clocks drift and strobe": machine_harms.drifting_clocks,
    "F24 an old transaction stays open": database_harms.old_transaction,
    "F25 rolling restart": lambda life, _: harms.restart_in_turn(life),
    "F26 TERM a worker twice": more_harms.hurried_worker,
    "F27 messages in disorder": disorder,
    "F28 flapping link": more_harms.flapping_link,
    "F29 flood of output": more_harms.flood,
    "F30 a job kills its worker": job_harms.poison,
    "F31 no open files left": machine_harms.no_files_left,
    "F32 no hints": more_harms.deaf_to_hints,
    "F33 targets without end": job_harms.tarpits,
    "storm": more_harms.storm,
}
LAST: Final[Mapping[str, Callable[[Life, Postgres], Postgres]]] = {  # each returns the database there is afterwards
    "F13 fail over": database_harms.fail_over,
    "F12 lossy fail over": database_harms.lossy_fail_over,
    "F36 an old backup": database_harms.old_backup,
}


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to harm (default: 600)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32))
    parser.add_argument("--only", default="", help="harms whose names begin so, with commas between: F4,F9,storm")
    options = parser.parse_args()
    only = tuple(f"{word} " if word.startswith("F") else word for word in options.only.split(",") if word)
    unknown = [word for word in only if not any(f"{name} ".startswith(word) for name in (*HARMS, *LAST))]
    if unknown:
        parser.error(f"no harm is called {', '.join(unknown)}; there are: {', '.join((*HARMS, *LAST))}")
    show = Show()
    with folder(show) as place:
        return run(show, place, Session(options.seed, options.seconds, only))


class Session:
    """What is done, in which order."""

    def __init__(self, seed: int, seconds: float, only: tuple[str, ...]) -> None:
        self.seed = seed
        self.seconds = seconds
        self._only = only

    def harms(self) -> Iterator[tuple[str, Harm]]:
        """Until the time is over, all of them in some order, again and again; then what can only come last."""
        rng = Random(self.seed)
        end = time.monotonic() + self.seconds
        wanted = {name: harm for name, harm in HARMS.items() if self._is_wanted(name)}
        while wanted and time.monotonic() < end:
            for name in rng.sample(sorted(wanted), len(wanted)):
                if time.monotonic() < end:
                    yield name, wanted[name]
        yield from ((name, harm) for name, harm in LAST.items() if self._is_wanted(name))

    @property
    def is_for_one(self) -> bool:
        """Whether all the time is for a single harm."""
        return sum(map(self._is_wanted, HARMS)) == 1

    def _is_wanted(self, name: str) -> bool:
        return not self._only or f"{name} ".startswith(self._only)


def run(show: Show, place: Path, session: Session) -> int:
    """Start, harm, judge."""
    show.title(f"Chaos on one machine: {NEWEST}, 3 servers, 4 workers")
    show.note(f"again: make chaos ARGS='--seed {session.seed} --seconds {session.seconds:g}'")
    failure = ""
    with (
        Postgres(binaries()[NEWEST]) as postgres,
        Life(place, postgres.create(), session.seed, servers=3, workers=4) as life,
    ):
        life.machines.until_led_by(life.machines.servers)
        life.work(load.few(life.folder))
        life.until_started(10)
        show.done("everything is up and works")
        primary = postgres
        life.span = session.seconds if session.is_for_one else 0.0
        try:
            for name, harm in session.harms():
                life.phase(name)
                show.harm(name)
                primary = inflict(show, name, harm, life, primary)
                life.go_on(5.0)
        except Exception as error:  # what was begun is judged all the same
            failure = f"{life.phases[-1].name}: {type(error).__name__}: {error}"
            show.harm(failure)
        verdict = life.judge(WITHIN)
        show.verdict(verdict, life.api.calls)
    if failure or verdict.violations:
        (place / "keep").touch()
    return 1 if failure or verdict.violations else 0


def inflict(show: Show, name: str, harm: Harm, life: Life, postgres: Postgres) -> Postgres:
    """Do a harm, or say why not; returns the database there is afterwards."""
    try:
        after = harm(life, postgres)
    except LeftOut as reason:
        show.left_out(name, str(reason))
        return postgres
    show.done("mended")
    while life.notes:
        show.note(life.notes.pop(0))
    return after if isinstance(after, Postgres) else postgres


if __name__ == "__main__":
    sys.exit(main())
