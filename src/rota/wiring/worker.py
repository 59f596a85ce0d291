"""`rota worker`: one worker that dials to servers. Nothing of a server is imported here."""

import asyncio
import contextlib
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

import uvloop

import rota
from rota.clock import FollowingClock, boot_time
from rota.core.errors import Invalid
from rota.settings.values import WorkerProcessSettings
from rota.wiring.process import Process, Say, calm_collector, make_process, unless_hurried
from rota.worker.agent import Agent
from rota.worker.dialer import TOKEN_NAME, Dialer, DialSettings
from rota.worker.settings import WorkerSettings, default_capacity

_SETTLE_SECONDS: Final = 10.0
JOIN_TOKEN: Final = "ROTA_JOIN_TOKEN"  # noqa: S105 — the name of a variable
JOIN_TOKEN_FILE: Final = "ROTA_JOIN_TOKEN_FILE"  # noqa: S105 — the name of a variable


def run_worker(settings: WorkerProcessSettings, say: Say) -> int:
    """Run one worker until a signal ends it; returns the exit code.

    The first TERM or INT lets running work finish for the grace of the settings, the second ends it at once.
    """
    join_token = None if (settings.state / TOKEN_NAME).exists() else take_join_token(os.environ)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(settings, join_token, say))


async def _work(settings: WorkerProcessSettings, join_token: str | None, say: Say) -> int:
    """Work until the end."""
    clock = worker_clock()
    process = make_process(settings, clock)
    async with Dialer(_dial_settings(settings, join_token), version=rota.__version__) as dialer:
        agent = _agent(settings, clock, dialer, process)
        running = asyncio.create_task(agent.run(), name="agent")
        stopping = asyncio.create_task(process.stop.wait())
        say(f"✓ worker     {settings.worker.name}, state in {settings.state}")
        say(f"✓ servers    {', '.join(settings.servers)}")
        calm_collector()
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            say(f"stopping: running work may finish for {settings.grace:g} s; once more stops at once")
            await unless_hurried(process, _drain(agent, settings.grace))
            await agent.stop()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        await running
    return 0


def worker_clock() -> FollowingClock:
    """The servers' clock, carried on by one that goes on while the machine is suspended.

    The keeper, which is told until when attempts may live, compares with that one too.
    """
    return FollowingClock(boot_time)


async def _drain(agent: Agent, grace: float) -> None:
    """Let work end. Without a server nobody takes the outcomes: they stay in the spool for the next start."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace + _SETTLE_SECONDS):
            await agent.drain(grace)


def _agent(settings: WorkerProcessSettings, clock: FollowingClock, dialer: Dialer, process: Process) -> Agent:
    """The worker itself."""
    agent = Agent(_worker_settings(settings), clock, dialer.dial, emit=process.emit)
    agent.follow = clock.follow
    agent.another_is_ready = dialer.another_is_ready
    agent.on_moving = dialer.leave
    return agent


def _worker_settings(settings: WorkerProcessSettings) -> WorkerSettings:
    """What the agent is told."""
    options = settings.worker
    return WorkerSettings(
        name=options.name,
        state=settings.state,
        labels=options.labels,
        capacity={**default_capacity(), **options.slots},
        cpus=settings.cpu,
        memory=settings.memory,
        resources=settings.resources,
        allowed_users=options.allowed_users,
        private_networks_allowed=options.private_networks,
        allowed_networks=options.allowed_networks,
    )


def _dial_settings(settings: WorkerProcessSettings, join_token: str | None) -> DialSettings:
    """What the dialer is told."""
    return DialSettings(
        servers=settings.servers,
        name=settings.worker.name,
        state=settings.state,
        ca=settings.ca,
        join_token=join_token,
    )


def take_join_token(environment: MutableMapping[str, str]) -> str | None:
    """The join token, taken out of the environment so that no child process finds it there."""
    text = environment.pop(JOIN_TOKEN, "").strip()
    file = environment.get(JOIN_TOKEN_FILE)
    if text or not file:
        return text or None
    try:
        return Path(file).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it holds no token"
        raise Invalid(f"{JOIN_TOKEN_FILE} {file} cannot be read: {why}") from error
