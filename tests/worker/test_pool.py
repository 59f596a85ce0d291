"""Which warm process does the next attempt, and which has too much waiting; none is really started."""

import contextlib
import json
import os
from typing import Any, cast

import pytest
from tests.worker.shortages import descriptors_left, files_end_at, open_descriptors
from tests.worker.test_parts import Owner, order

from rota.core.model import PythonTask
from rota.worker.attempt import Attempt
from rota.worker.executors.places import Place
from rota.worker.executors.pool import RunnerPool
from rota.worker.executors.runner_process import DEEP, Answer, RunnerProcess
from rota.worker.folders import Folders
from rota.worker.keeper_link import KeeperLink
from rota.worker.output import Capture
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings

HERE = Place("python3", "/", None)
ELSEWHERE = Place("python3", "/tmp", None)


class Link:
    """Remembers what the keeper is asked for."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.spawned = 0

    def spawn(self, order: Any, descriptors: list[int], listener: Any) -> int:
        for descriptor in descriptors:
            os.close(descriptor)
        self.spawned += 1
        return self.spawned

    def end(self, key: int, grace: float) -> None:
        self.ended.append(key)


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
async def pool(settings: WorkerSettings, link: Link) -> Any:
    folders = Folders(settings)
    folders.prepare()
    made = RunnerPool(cast(KeeperLink, link), folders, Gate(), settings)
    yield made
    made.close()


def give(runner: RunnerProcess, count: int) -> None:
    """Queue attempts for it, and let it seem to be up."""
    runner.is_ready = True
    for number in range(count):
        task = order(PythonTask(function="a:b"), fence=number)
        attempt = Attempt(task, cast(Capture, None), Owner(), 0.0)  # it prints nothing
        runner.add(attempt, b"{}")


async def test_attempts_go_to_idle_processes_then_new_ones_then_the_emptiest(pool: RunnerPool) -> None:
    first = pool.runner_for(HERE, 4)
    assert first is not None
    assert pool.runner_for(HERE, 4) is first  # it has nothing to do
    give(first, 1)
    second = pool.runner_for(HERE, 4)
    assert (second is first, len(pool.runners)) == (False, 2)
    assert second is not None
    give(second, 2)
    assert pool.runner_for(HERE, 4) is first
    give(first, 3)
    assert pool.runner_for(HERE, 4) is second
    give(second, 2)
    assert pool.runner_for(HERE, 4) is None  # as many as may wait, in both


async def test_an_idle_process_of_another_place_makes_room(pool: RunnerPool, link: Link) -> None:
    first, second = pool.launch(HERE), pool.launch(HERE)
    give(first, 1)
    assert pool.runner_for(ELSEWHERE, 4) is None
    assert link.ended == [second.key]
    pool.remove(second)
    third = pool.runner_for(ELSEWHERE, 4)
    assert third is not None
    assert third.place == ELSEWHERE


async def test_only_far_more_of_the_same_place_is_overfull(pool: RunnerPool) -> None:
    low, full = pool.launch(HERE), pool.launch(HERE)
    give(low, 1)
    give(full, 2 * DEEP + 1)
    assert pool.overfull(low) is None
    give(full, 1)
    assert (pool.overfull(low), pool.overfull(full)) == (full, None)
    full.is_ready = False  # nobody knows yet whether it comes up
    assert pool.overfull(low) is None
    full.is_ready = True
    low.is_ending = True
    assert pool.overfull(low) is None


def answer(runner: RunnerProcess, end: float) -> None:
    """What the process would say."""
    runner._theirs.send(json.dumps({"id": "0.r1", "begin": end - 1.0, "end": end}).encode() + b"\n")


async def test_a_process_is_slow_since_its_last_answer(pool: RunnerPool) -> None:
    pool.on_answer = lambda runner, told: runner.next(told.end)
    runner = pool.launch(HERE)
    give(runner, DEEP + 3)
    begun = runner.head_since
    assert (runner.is_slow(begun - 0.1), runner.is_slow(begun)) == (False, True)
    answer(runner, begun + 5.0)
    assert (runner.is_slow(begun + 4.0), runner.is_slow(begun + 5.0)) == (False, True)
    assert (runner.left, len(runner.queue)) == (DEEP + 2, DEEP + 3)  # those of short ones are handled together
    runner.receive()
    assert (runner.left, len(runner.queue), runner.head_since) == (DEEP + 2, DEEP + 2, begun + 5.0)


async def test_answers_that_are_read_to_see_whether_it_is_slow_are_handled(pool: RunnerPool) -> None:
    pool.on_answer = lambda runner, told: runner.next(told.end)
    runner = pool.launch(HERE)
    give(runner, 2)
    answer(runner, runner.head_since + 1.0)
    answer(runner, runner.head_since + 2.0)
    assert not runner.is_slow(runner.head_since)
    assert (runner.left, len(runner.queue)) == (0, 0)


async def test_answers_come_in_pieces_of_any_size(pool: RunnerPool) -> None:
    heard: list[Answer] = []
    pool.on_answer = lambda runner, told: (heard.append(told), runner.next(told.end))[0]
    runner = pool.launch(HERE)
    give(runner, 40)
    text = b"".join(json.dumps({"id": f"{n}.r", "end": 1.0, "result": "é" * n}).encode() + b"\n" for n in range(40))
    for start in range(0, len(text), 37):
        runner._theirs.send(text[start : start + 37])
        runner.receive()
    assert [(told.id, told.result) for told in heard] == [(f"{n}.r", "é" * n) for n in range(40)]


async def test_all_that_was_answered_is_taken_in_at_once(pool: RunnerPool) -> None:
    """Of a process that is gone nothing more comes: what it said is then handled in one go."""
    heard: list[int] = []
    pool.on_answer = lambda runner, told: (heard.append(len(told.result)), runner.next(told.end))[0]
    runner = pool.launch(HERE)
    give(runner, 3)
    for size in (200_000, 300_000, 5):
        runner._theirs.send(json.dumps({"id": "0.r", "end": 1.0, "result": "x" * size}).encode() + b"\n")
    runner.receive()
    assert heard == [200_000, 300_000, 5]


async def test_a_process_whose_requests_were_all_taken_back_has_room_again(pool: RunnerPool) -> None:
    """However often: the memory for its requests begins anew."""
    runner = pool.launch(HERE)
    for _ in range(3):
        for number in range(2):
            task = order(PythonTask(function="a:b"), fence=number)
            runner.add(Attempt(task, cast(Capture, None), Owner(), 0.0), b"x" * 4_500_000)
        assert runner.send() == []
        assert len(runner.take_back()) == 2
        assert not runner.queue


async def test_a_process_that_cannot_be_launched_for_want_of_descriptors_leaves_none_open(pool: RunnerPool) -> None:
    """Whichever of them it is that cannot be had."""
    before = open_descriptors()
    enough = 0
    while not pool.runners:
        with descriptors_left(enough), contextlib.suppress(OSError):
            pool.launch(HERE)
        assert pool.runners or open_descriptors() == before
        enough += 1
    assert enough > 10


async def test_requests_for_which_there_is_no_memory_wait(pool: RunnerPool) -> None:
    runner = pool.launch(HERE)
    attempts = [
        Attempt(order(PythonTask(function="a:b"), fence=n), cast(Capture, None), Owner(), 0.0) for n in range(2)
    ]
    runner.add(attempts[0], b"{}")
    assert runner.send() == []
    runner.add(attempts[1], b"x" * 2000)
    with files_end_at(1000):
        assert runner.send() == [attempts[1]]
    assert list(runner.queue) == [attempts[0]]
    runner.add(attempts[1], b"x" * 2000)
    assert (runner.send(), list(runner.queue)) == ([], attempts)
