"""A server and its worker in one process: what a stop makes of work that does not end in time."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from tests.core.builders import make_spec
from tests.server.world import ADA, StaticSecrets

from rota.clock import SystemClock
from rota.core.model import Delivery, Run, RunState, ShellTask
from rota.server.commands.jobs import WantedJob
from rota.server.server import Server, ServerConfig
from rota.stores.sqlite import open_sqlite
from rota.wire.channel import WorkerChannel, memory_channel
from rota.worker.agent import Agent
from rota.worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("delivery", "state", "reason"),
    [
        (Delivery.AT_LEAST_ONCE, RunState.QUEUED, "WORKER_STOPPED"),
        (Delivery.AT_MOST_ONCE, RunState.FAILED, "FAILED"),
    ],
)
async def test_what_a_stop_ends_is_on_record_as_ended_by_it(
    tmp_path: Path, delivery: Delivery, state: RunState, reason: str
) -> None:
    """It has until the end of its grace, and its worker a moment more to say so."""
    clock, changed = SystemClock(), asyncio.Event()
    store = await open_sqlite(tmp_path / "rota.db", clock=clock)
    server = Server(
        store,
        ServerConfig(),
        secrets=StaticSecrets(),
        publish=lambda topic: changed.set(),
        clock=clock,
        rng=Random(1),
        emit=lambda event: None,
    )
    await server.start()

    async def dial() -> WorkerChannel:
        ours, theirs = memory_channel()
        sessions.append(asyncio.create_task(server.serve_worker(theirs)))
        return ours

    sessions: list[asyncio.Task[None]] = []
    agent = Agent(WorkerSettings(name="w1", state=tmp_path / "worker", capacity={"shell": 1}), clock, dial)
    running = asyncio.create_task(agent.run())
    spec = make_spec(task=ShellTask(command="sleep 300"), delivery=delivery)
    await server.commands.apply([WantedJob(full_name="team/job", spec=spec)], actor=ADA)
    run = await server.commands.trigger("team/job", params={}, key=None, at=None, actor=ADA)

    async def stored() -> Run:
        return (await store.runs.get([run.id]))[run.id]

    while (await stored()).state is not RunState.RUNNING:
        await changed.wait()
        changed.clear()
    assert await server.drain(0.2)
    await agent.stop()
    await asyncio.gather(running, *sessions)
    after = await stored()
    assert (after.state, after.losses, after.reason.code if after.reason else "") == (state, 0, reason)
    await server.stop()
    await store.close()
