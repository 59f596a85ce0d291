"""kill -9, again and again under load: nothing acknowledged is lost, no instant doubled or unanswered, no child left.

The seed is printed; ROTA_SEED repeats it, ROTA_KILLS asks for more.
"""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random, SystemRandom

import pytest
from cluster import CHILDREN_MAY_LIVE, Cluster
from tests.history import probe, processes
from tests.history.checker import check
from tests.history.found import collect
from tests.history.records import History, Kill
from workload import HAND, Client, Target, job_file, specs

KILLS = int(os.environ.get("ROTA_KILLS", "50"))
SETTLE_SECONDS = 90.0


class Nemesis:
    """Kills the server, now and then only the keeper, at any moment of its life, also while it starts."""

    def __init__(self, cluster: Cluster, history: History, random: Random) -> None:
        self._cluster = cluster
        self._history = history
        self._random = random
        self.servers = 0
        self.keepers = 0  # keepers that were killed alone
        self.resigned = 0  # servers that had ended by themselves before they were struck
        self.bereaved = 0  # those of them that had something running below them
        self.left_alive: list[str] = []

    def strike(self) -> None:
        """Let the server live for a while, kill it, see its children die, start it again."""
        lifetime = self._random.expovariate(1.3)
        if self._random.random() < 0.2:
            self._wait(self._random.uniform(0.0, 0.8))  # it may not even be up
        else:
            self._cluster.wait_ready()
            self._wait(min(lifetime, 4.0))
            if self._random.random() < 0.3:
                self._strike_keeper()
                self._wait(self._random.uniform(0.0, 1.0))
        self.resigned += self._cluster.ends_within(0.0)
        struck = probe.uptime()
        self._bury(self._cluster.kill_server(), "the server", struck)
        self.servers += 1
        if self.servers % 10 == 0:
            assert self._cluster.integrity() == "ok"
        self._cluster.spawn()

    def _strike_keeper(self) -> None:
        """Only a blow that hit counts: one into the air would excuse attempts that nothing killed."""
        struck = probe.uptime()
        dead = self._cluster.kill_keeper()
        if dead is None:
            return
        self.keepers += 1
        self.bereaved += len(dead) > 1
        self._bury(dead, "the keeper", struck)

    def _bury(self, children: list[processes.Process], killed: str, struck: float) -> None:
        left = processes.survivors(children, CHILDREN_MAY_LIVE)
        self._history.kills.append(Kill(struck=struck, buried=probe.uptime()))
        for process in left:
            self.left_alive.append(f"{processes.describe(process)} outlived {killed} by {CHILDREN_MAY_LIVE:g} s")

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)  # the moment of the blow is the point: it must not wait for anything


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    running = Target(tmp_path / "probe")
    yield running
    running.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "probing.py").write_text(probe.PYTHON)
    own = Cluster(tmp_path, "--jobs", str(job_file(tmp_path)))
    yield own
    own.end()


def settle(cluster: Cluster) -> None:
    """Wait until nothing is unfinished."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while unfinished := cluster.get("/api/v1/runs?q=state:queued,starting,running&limit=20")["items"]:
        if time.monotonic() > deadline:
            raise AssertionError(f"unfinished {SETTLE_SECONDS:g} s after the last kill: {unfinished}")
        assert not cluster.ends_within(0.2), cluster.tail()


def summary(history: History, nemesis: Nemesis, client: Client) -> str:
    """Figures that show that the test tested something."""
    states: dict[str, int] = {}
    for row in history.rows:
        states[row.state] = states.get(row.state, 0) + 1
    again = sum(len(row.attempts) > 1 for row in history.rows)
    return (
        f"{nemesis.servers} kills of the server, {nemesis.keepers} of the keeper alone ({nemesis.bereaved} at work), "
        f"{nemesis.resigned} servers gone by themselves, "
        f"{len(history.rows)} runs {states}, "
        f"{again} tried again, {len(history.gaps)} gaps, {len(history.events)} probe lines, {client.done} calls"
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_nine(cluster: Cluster, target: Target, tmp_path: Path) -> None:
    seed = int(os.environ.get("ROTA_SEED", SystemRandom().randrange(2**32)))
    print(f"seed {seed}: repeat with ROTA_SEED={seed}")
    random = Random(seed)
    history = History()
    began = datetime.now(UTC)
    cluster.start()
    client = Client(cluster, history, specs(tmp_path, target.url), Random(seed + 1))
    client.await_watched(began)
    client.define()
    nemesis = Nemesis(cluster, history, random)
    client.start()
    try:
        for _ in range(KILLS):
            nemesis.strike()
        cluster.wait_ready()
    finally:
        client.halt()
    assert cluster.get("/api/v1/jobs/d/edited")["schedule"] == client.expected_schedule()
    client.finish()
    settle(cluster)
    collect(cluster.pages, history, began)
    history.events = probe.read_events(tmp_path / "probe")
    print(summary(history, nemesis, client))
    (tmp_path / "kills").write_text("".join(f"{kill.struck:.2f} {kill.buried:.2f}\n" for kill in history.kills))
    assert cluster.stop() == 0
    assert cluster.integrity() == "ok"
    assert processes.marked(f"{cluster.data}/") == []
    assert nemesis.left_alive == []
    violations = check(history)
    assert not violations, "\n".join(violations)
    assert_it_tested_something(history, nemesis)


def assert_it_tested_something(history: History, nemesis: Nemesis) -> None:
    """A soak in which nothing happened proves nothing."""
    ran = {event.job for event in history.events}
    assert ran == set(history.jobs), f"never ran: {set(history.jobs) - ran}"
    assert any(len(row.attempts) > 1 for row in history.rows), "no attempt was ever lost"
    assert any(row.job == HAND and row.trigger == "manual" for row in history.rows)
    assert history.gaps, "no pause left a gap"
    assert nemesis.servers == KILLS
    if KILLS >= 50:
        assert nemesis.keepers >= 3, "the keeper was hardly ever hit"
        assert nemesis.bereaved >= 1, "no keeper was ever hit at work"
