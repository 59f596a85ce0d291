"""What the processes are made of: seams that each part leaves open and only the wiring closes."""

from datetime import UTC, datetime
from pathlib import Path

from rota.clock import FollowingClock
from rota.settings.values import WorkerOptions, WorkerProcessSettings
from rota.telemetry import Metrics
from rota.wiring.process import Process
from rota.wiring.worker import _agent, _dial_settings
from rota.worker.dialer import Dialer


async def test_a_worker_follows_the_clock_of_its_server(tmp_path: Path) -> None:
    settings = WorkerProcessSettings(servers=("http://127.0.0.1:9",), worker=WorkerOptions(), state=tmp_path)
    clock = FollowingClock(lambda: 100.0, lambda: 0.0)
    process = Process(clock=clock, emit=lambda event: None, metrics=Metrics())
    async with Dialer(_dial_settings(settings, None)) as dialer:
        agent = _agent(settings, clock, dialer, process)
    told = datetime(2030, 1, 1, tzinfo=UTC)
    agent.follow(100.0, 100.0, told)
    assert clock.now() == told
