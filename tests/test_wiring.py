"""What the processes are made of: seams that each part leaves open and only the wiring closes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rota.clock import FollowingClock, ManualClock
from rota.core.model import Notice
from rota.server.alerter import Alerter
from rota.server.server import Server
from rota.settings.database import DatabaseUrl
from rota.settings.values import ServerSettings, WorkerOptions, WorkerProcessSettings
from rota.stores.sqlite import open_sqlite
from rota.telemetry import Metrics
from rota.wiring import server as wiring
from rota.wiring.process import Process
from rota.wiring.worker import _agent, _dial_settings, worker_clock
from rota.worker.dialer import Dialer

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def process(clock: Any) -> Process:
    return Process(clock=clock, emit=lambda event: None, metrics=Metrics())


# ── a worker ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_follows_the_clock_of_its_server(tmp_path: Path) -> None:
    settings = WorkerProcessSettings(servers=("http://127.0.0.1:9",), worker=WorkerOptions(), state=tmp_path)
    clock = FollowingClock(lambda: 100.0, lambda: 0.0)
    async with Dialer(_dial_settings(settings, None)) as dialer:
        agent = _agent(settings, clock, dialer, process(clock))
    agent.follow(100.0, 100.0, NOON)
    assert clock.now() == NOON


def test_a_worker_counts_the_time_in_which_its_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper does: a deadline on another clock would be long past on a machine that has ever slept."""
    monkeypatch.setattr("rota.wiring.worker.boot_time", lambda: 86_400.0)
    assert worker_clock().monotonic() == 86_400.0


# ── a server ─────────────────────────────────────────────────────────────────────────────────────────────


class Told:
    """A server as it is wired, over a store in memory."""

    def __init__(self, store: Any) -> None:
        self.readings: list[datetime] = []
        clock = ManualClock(NOON)
        opened: Any = SimpleNamespace(
            store=store, clock=clock, follow=lambda asked, answered, told: self.readings.append(told)
        )
        hints = SimpleNamespace(publish=lambda topic: None, hear=None, forget=None, tell_others=None)
        site: Any = SimpleNamespace(vault=None, hints=hints, watch=SimpleNamespace())
        settings = ServerSettings(database=DatabaseUrl("sqlite:///x"))
        self.server: Server = wiring._server(settings, site, opened, process(clock), "http://a:1")


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    store = await open_sqlite(None, clock=ManualClock(NOON), inline=True)
    yield Told(store)
    await store.close()


async def test_a_server_follows_the_clock_of_the_store(told: Told) -> None:
    await told.server.leaseholder.join()
    assert told.readings == [NOON] * 4


async def test_of_several_servers_one_sends_alerts(told: Told) -> None:
    (alerter,) = [loop for loop in told.server.loops if isinstance(loop, Alerter)]
    notice = Notice(id="n", event="failed", route="nowhere", created=NOON, thread="t", next_try=NOON)
    await told.server.store.alerts.add([notice])
    await alerter.tick()
    await alerter.flush()
    assert [one.tries for one in await told.server.store.alerts.recent(5)] == [0], "it does not lead the first shard"
    await told.server.leaseholder.join()
    await alerter.tick()
    await alerter.flush()
    assert [one.tries for one in await told.server.store.alerts.recent(5)] == [1]
