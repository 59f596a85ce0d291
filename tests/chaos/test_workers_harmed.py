"""Workers freeze, die, are cut off and repeat themselves: nothing they ran lives beside its next attempt.

When a worker is silent its own clock must end what it runs, a few seconds before any server may try it elsewhere. The
jobs say every 0.2 s that they are alive, so the checker sees whether two attempts of a run ever lived at once.
"""

import pytest
from tests.chaos import harms, load
from tests.chaos.conftest import Begin
from tests.chaos.frames import Disorder
from tests.chaos.life import Life, judged
from tests.chaos.machines import WorkerMachine
from tests.e2e.running_cluster import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LOST = 15.0  # seconds of silence after which a worker may be called lost
ENDED = 12.0  # after which its attempts have ended by themselves
BUSY = 20.0  # what a busy machine may add before something is seen to start
LONG = "c/long-"


def at_work(life: Life) -> WorkerMachine:
    """A worker that runs a long job right now."""
    found: list[WorkerMachine] = []

    def look() -> bool:
        ended = {event.run for event in life.events() if event.kind == "end"}
        running = [event for event in life.events() if event.kind == "start" and event.job.startswith(LONG)]
        pids = {event.pid for event in running if event.run not in ended}
        found[:] = [one for one in life.machines.workers if pids & {process.pid for process in one.below()}]
        return bool(found)

    until(look, lambda: "no long job runs anywhere", 30.0)
    return found[0]


def lost_longs(life: Life) -> list[str]:
    """Runs of long jobs that were tried again."""
    return [row.id for row in life.history.rows if row.job.startswith(LONG) and len(row.attempts) > 1]


def last_seen(life: Life, run: str) -> float:
    """The uptime at which the first attempt of a run was seen last; one that never started was not seen."""
    (row,) = [row for row in life.history.rows if row.id == run]
    fence = row.attempts[0][1]
    return max((event.uptime for event in life.history.events if (event.run, event.fence) == (run, fence)), default=0.0)


def test_a_frozen_agent(begin: Begin) -> None:
    """F5: SIGSTOP of the agent alone; the keeper ends its children at the deadline, before the retry starts."""
    life = begin(servers=2, workers=2)
    life.work(load.few(life.folder))
    worker = at_work(life)
    life.phase("agent stopped")
    struck = life.uptime()
    harms.freeze_agent(life, worker, seconds=LOST + 4.0)
    judged(life, LOST + BUSY)
    again = lost_longs(life)
    assert again, "no long run was lost"
    assert all(last_seen(life, run) <= struck + ENDED + 2.0 for run in again)


def test_a_killed_agent(begin: Begin) -> None:
    """F6: kill -9 of the agent; what it ran dies with it, and is tried again when it is back or called lost."""
    life = begin(servers=2, workers=2)
    life.work(load.few(life.folder))
    worker = at_work(life)
    life.phase("agent killed")
    assert harms.kill_agent(life, worker, away=1.0) == []
    judged(life, LOST + BUSY)
    assert lost_longs(life), "no long run was lost"


def test_an_isolated_worker(begin: Begin) -> None:
    """F8: nothing gets to a worker or from it; it ends its attempts by itself, and comes back when it can."""
    life = begin(servers=2, workers=2)
    life.work(load.few(life.folder))
    worker = at_work(life)
    life.phase("worker isolated")
    struck = life.uptime()
    harms.isolate(life, worker, seconds=LOST + 6.0)
    assert life.machines.events(worker.running, "DeadlinePassed")
    judged(life, LOST + BUSY)
    again = lost_longs(life)
    assert again, "no long run was lost"
    assert all(last_seen(life, run) <= struck + ENDED + 2.0 for run in again)


def test_messages_twice_swapped_and_old(begin: Begin) -> None:
    """F27: messages between workers and servers are repeated, swapped and replayed, in both directions."""
    life = begin(servers=2, workers=2)
    life.work(load.few(life.folder))
    life.until_started(10)
    life.phase("messages in disorder")
    ways = [way for worker in life.machines.workers for way in worker.ways.values()]
    for way in ways:
        way.disorder = Disorder(repeats=0.2, swaps=0.1, replays=0.1)
    life.go_on(15.0)
    for way in ways:
        way.disorder = Disorder()
    done = sum((way.done for way in ways), start=type(ways[0].done)())
    print(dict(done))
    verdict = judged(life, LOST + BUSY)
    assert done.total() >= 60
    assert verdict.states["succeeded"] > 50
