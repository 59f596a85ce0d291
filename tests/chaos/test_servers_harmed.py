"""Servers die, stand still, lose their database, and are restarted: every instant is answered once, and soon.

Bounds of lateness are those of the promises, with room for a busy machine: a lease of four seconds, a verb of five.
"""

from collections import Counter

import pytest
from tests.chaos import harms, load
from tests.chaos.conftest import Begin
from tests.chaos.life import judged
from tests.e2e.running_cluster import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LATEST = 15.0
WRITING = {"commit_plan", "assign", "record", "apply", "create", "append_output", "renew", "connect"}
UNORDERED = 45.0  # what a server does not learn by asking at once is found after 15 s, at two looks


def test_killed_servers(begin: Begin) -> None:
    """F1: kill -9 of a server, twice, at any moment."""
    life = begin(servers=3, workers=3)
    life.work(load.few(life.folder))
    life.until_started(10)
    for number in range(2):
        life.phase(f"kill -9 server {number + 1}")
        harms.kill_server(life, life.machines.servers[number], away=1.0)
    verdict = judged(life, LATEST)
    assert verdict.total.again == 0, "a worker outlives its server, and what it runs does too"


def test_a_leader_that_stood_still(begin: Begin) -> None:
    """F3: SIGSTOP of a leader with a plan on its way, which comes when others lead its shards: it is refused."""
    life = begin(servers=2, workers=2)
    life.work(load.few(life.folder))
    life.until_started(10)
    life.phase("SIGSTOP a leader")
    assert harms.pause_leader(life, life.machines.servers[0], seconds=4.0) >= 1
    judged(life, LATEST)


def test_a_server_without_its_database(begin: Begin) -> None:
    """F10: the server that has all workers cannot reach the database any more, and nobody tells it: they leave it."""
    life = begin(servers=2, workers=2)
    server = life.machines.servers[0]
    harms.gather(life, server)
    life.work(load.few(life.folder))
    life.until_started(10)
    life.phase("cut from the database")
    harms.cut_from_database(life, server, seconds=16.0)
    judged(life, LATEST)


def test_lost_answers_to_commits(begin: Begin) -> None:
    """F16: the database commits, and the answer gets lost, of every verb that writes."""
    life = begin(servers=2, workers=2)
    machines = life.machines
    life.work(load.few(life.folder))
    life.until_started(10)
    life.phase("answers lost")
    lost: Counter[str] = Counter()

    def lose(verb: str) -> bool:
        chosen = verb in WRITING and life.rng.random() < 0.15
        lost[verb] += chosen
        return chosen

    for server in machines.servers:
        server.database.loses = lose
    wanted = {"commit_plan", "assign", "record"}
    until(lambda: lost.total() >= 30 and all(lost[verb] for verb in wanted), lambda: f"only {lost}", 90.0)
    for server in machines.servers:
        server.database.loses = lambda verb: False
    judged(life, UNORDERED)


def test_rolling_restart(begin: Begin) -> None:
    """F25: TERM each server in turn under load: no attempt is lost, hardly anything is late; workers spread again."""
    life = begin(servers=3, workers=2)
    life.work(load.few(life.folder))
    life.until_started(10)
    life.phase("rolling restart")
    harms.restart_in_turn(life)
    machines = life.machines
    until(lambda: max(len(machines.sessions(one)) for one in machines.servers) == 1, lambda: "two are with one server")
    verdict = judged(life, 10.0)
    assert verdict.total.again == 0
    assert all(len(row.attempts) <= 1 for row in life.history.rows)
