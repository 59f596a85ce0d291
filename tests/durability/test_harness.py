"""The harness of the durability test does what it says: it finds, it kills, and it sees what survives."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from tests.history import processes


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "jobs").mkdir()
    own = Cluster(tmp_path, "--jobs", str(tmp_path / "jobs"))
    own.start()
    await_worker(own)
    yield own
    own.end()


def await_worker(cluster: Cluster) -> None:
    """Wait until the worker inside has said that it is there."""
    for _ in range(200):
        if any(worker["state"] == "up" for worker in cluster.get("/api/v1/workers")["items"]):
            return
        assert not cluster.ends_within(0.05), cluster.tail()
    raise AssertionError(cluster.tail())


def test_the_keeper_is_found_hit_and_replaced(cluster: Cluster) -> None:
    keeper = await_keeper(cluster, None)
    dead = cluster.kill_keeper()
    assert dead is not None
    assert dead[0] == keeper
    assert processes.survivors(dead, 1.0) == []
    assert await_keeper(cluster, keeper) != keeper
    assert not cluster.ends_within(0.0)


def await_keeper(cluster: Cluster, former: processes.Process | None) -> processes.Process:
    """The keeper, once there is one other than the former."""
    for _ in range(200):
        keeper = cluster.keeper()
        if keeper is not None and keeper != former:
            return keeper
        assert not cluster.ends_within(0.05), cluster.tail()
    raise AssertionError(f"no keeper was found among {[processes.describe(p) for p in children(cluster)]}")


def children(cluster: Cluster) -> list[processes.Process]:
    return processes.children(cluster.server.pid)


def test_a_killed_server_leaves_its_keeper_in_the_list_of_those_who_must_die(cluster: Cluster) -> None:
    keeper = await_keeper(cluster, None)
    left = cluster.kill_server()
    assert keeper in left
    assert processes.survivors(left, 1.0) == []
    assert cluster.kill_keeper() is None  # there is nothing to hit any more
    assert cluster.integrity() == "ok"


def test_damage_is_seen(cluster: Cluster) -> None:
    assert cluster.stop() == 0
    with (cluster.data / "rota.db").open("r+b") as database:
        database.seek(8192)
        database.write(os.urandom(4096))
    assert cluster.integrity() != "ok"


def sleeper(*arguments: str, marked: str = "") -> subprocess.Popen[bytes]:
    """A process that lives until it is ended."""
    return subprocess.Popen(["sleep", "60", *arguments], env={**os.environ, "MARK": marked})


def test_survivors_are_those_that_did_not_end() -> None:
    with sleeper() as one, sleeper() as other:
        both = [found for process in (one, other) if (found := processes.find(process.pid))]
        assert len(both) == 2
        one.send_signal(signal.SIGKILL)
        assert processes.survivors(both, 0.5) == [both[1]]
        other.kill()
        assert processes.survivors(both, 5.0) == []


def test_a_zombie_has_ended() -> None:
    with sleeper() as process:
        found = processes.find(process.pid)
        assert found is not None
        process.kill()  # and nobody has asked for its exit code yet
        assert processes.survivors([found], 5.0) == []
        assert processes.find(process.pid) is None


def test_descendants_and_marks(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    script = f"import subprocess, sys; subprocess.Popen(['sleep', '60'], env={{'MARK': {mark!r}}}); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as parent:
        for _ in range(200):
            below = processes.descendants(parent.pid)
            found = [process for process in processes.marked(mark) if process in below]
            if found:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                parent.wait(timeout=0.05)
        assert len(found) == 1
        assert processes.children(parent.pid) == below
        os.kill(found[0].pid, signal.SIGKILL)
        parent.kill()
