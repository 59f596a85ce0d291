"""Following runs and logs against the real API, with runs moved on by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.client.scripted_server import Asked, answer, problem, scripted
from tests.server.api_installation import START, Installation, open_installation

from rota.client.client import Client
from rota.client.discovery import Target
from rota.client.errors import Unreachable
from rota.client.follow import hints
from rota.client.transport import Transport
from rota.core.errors import StoreUnavailable
from rota.core.model import RunState
from rota.server.web import serve

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nevent: hello\ndata: {}\n\n"


@dataclass
class Served:
    """An installation on a real socket and a client of it."""

    rota: Installation
    client: Client

    def changed(self, *topics: str) -> None:
        for topic in topics:
            self.rota.services.hints.publish(topic)


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    async with open_installation() as rota:
        stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(rota.app, "127.0.0.1", 0, stop=stop, bound=bound.set_result))
        target = Target(url=f"http://127.0.0.1:{await bound}", token=rota.tokens["admin"])
        async with Client(target) as client:
            yield Served(rota, client)
        rota.services.hints.close()
        stop.set()
        await task


async def test_a_run_is_told_at_each_change_until_its_end() -> None:
    async with served() as world:
        await world.rota.apply("web/fetch")
        run = await world.rota.trigger("web/fetch")
        states: list[str] = []
        async for document in world.client.follow_run(run.id):
            states.append(document["state"])
            if document["state"] == "queued":
                run = await world.rota.carry(run, RunState.RUNNING)
            elif document["state"] == "running":
                await world.rota.carry_on(run, RunState.SUCCEEDED)
            world.changed(f"run:{run.id}")
    assert states == ["queued", "running", "succeeded"]


async def test_an_ended_run_is_told_once_without_waiting() -> None:
    async with served() as world:
        job = await world.rota.apply("web/fetch")
        run = await world.rota.add_run(job, START)
        assert [one["state"] async for one in world.client.follow_run(run.id)] == ["succeeded"]


async def test_a_log_is_followed_across_attempts_to_the_end() -> None:
    async with served() as world:
        job = await world.rota.apply("web/fetch", retry={"tries": 3})
        run = await world.rota.add_run(job, START, RunState.QUEUED, failures=1)
        await world.rota.write(run, (0, b"first\n"), attempt=1)
        lines: list[tuple[int, str]] = []

        async def read() -> None:
            async for line in world.client.follow_log(run.id):
                lines.append((line["attempt"], line["text"]))
                told.set()

        told = asyncio.Event()
        reading = asyncio.create_task(read())
        await told.wait()
        told.clear()
        running = await world.rota.carry(run, RunState.RUNNING)
        await world.rota.write(running, (0, b"second\n"), attempt=2)
        world.changed(f"run:{run.id}", f"log:{run.id}")
        await told.wait()
        await world.rota.write(running, (1, b"third\n"), attempt=2)
        await world.rota.carry_on(running, RunState.SUCCEEDED)
        world.changed(f"run:{run.id}", f"log:{run.id}")
        await asyncio.wait_for(reading, 15)
    assert lines == [(1, "first"), (2, "second"), (2, "third")]


async def test_without_follow_what_is_there_is_given() -> None:
    async with served() as world:
        job = await world.rota.apply("web/fetch")
        run = await world.rota.add_run(job, START, RunState.RUNNING)
        await world.rota.write(run, *((0, b"line %d\n" % number) for number in range(30)))
        found = [line["text"] async for line in world.client.follow_log(run.id, follow=False)]
        assert found == [f"line {number}" for number in range(30)]
        tail = [line["text"] async for line in world.client.follow_log(run.id, follow=False, start=-2)]
        assert tail == ["line 28", "line 29"]


async def test_a_run_that_has_not_begun_has_no_lines() -> None:
    async with served() as world:
        await world.rota.apply("web/fetch")
        run = await world.rota.trigger("web/fetch")
        assert [line async for line in world.client.follow_log(run.id, follow=False)] == []


async def test_a_log_is_followed_through_a_restart_of_the_server() -> None:
    """Reads that come while it is away are repeated; a log that is only to be read tells that it cannot be."""
    runs = [running("running"), problem(503, "STORE_UNAVAILABLE"), running("running"), running("succeeded")]
    windows = [window("before"), problem(503, "STORE_UNAVAILABLE"), window("after"), window()]

    def answered(asked: Asked) -> bytes:
        if "/stream" in asked.path:
            return STREAM
        answers = windows if "/log" in asked.path else runs
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async with scripted(answered) as server, Client(Target(url=server.url), patience=0.0) as client:
        assert [line["text"] async for line in client.follow_log("r1")] == ["before", "after"]
        runs.insert(0, problem(503, "STORE_UNAVAILABLE"))
        with pytest.raises(StoreUnavailable):
            await anext(client.follow_log("r1", follow=False))


def running(state: str) -> bytes:
    return answer(200, {"id": "r1", "state": state, "attempt": 1, "attempts": []})


def window(*lines: str) -> bytes:
    return answer(200, {"lines": [{"text": text} for text in lines], "next": None, "total": 0, "ended": False})


async def test_one_attempt_alone_ends_with_it() -> None:
    async with served() as world:
        job = await world.rota.apply("web/fetch", retry={"tries": 3})
        run = await world.rota.add_run(job, START, RunState.QUEUED, failures=1)
        await world.rota.write(run, (0, b"first\n"), attempt=1)
        followed = world.client.follow_log(run.id, attempt=1)
        assert [line["text"] async for line in followed] == ["first"]


async def test_the_raw_log_is_the_bytes_as_written() -> None:
    async with served() as world:
        job = await world.rota.apply("web/fetch")
        run = await world.rota.add_run(job, START)
        await world.rota.write(run, (0, b"a\xff\x1b[2J\r\n"), (1, b"end"))
        assert b"".join([piece async for piece in world.client.runs.raw_log(run.id)]) == b"a\xff\x1b[2J\r\nend"


async def test_hints_are_told_at_each_connection_and_a_lost_server_is_given_up_in_time() -> None:
    now = 0.0
    async with scripted(STREAM) as server, Transport(Target(url=server.url)) as transport:
        told = hints(transport, ["jobs"], outage=60.0, clock=lambda: now)
        await anext(told)
        await anext(told)
        assert len(server.asked) == 2
        assert server.asked[0].path == "/api/v1/stream?topics=jobs"
    async with Transport(Target(url=server.url)) as transport:
        gone = hints(transport, ["jobs"], outage=0.0, clock=lambda: now)
        with pytest.raises(Unreachable):
            await anext(gone)
