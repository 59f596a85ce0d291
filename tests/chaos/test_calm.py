"""Several servers and workers over PostgreSQL, and nothing goes wrong."""

import pytest
from tests.chaos import load
from tests.chaos.conftest import Begin
from tests.chaos.life import judged


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_calm_life(begin: Begin) -> None:
    life = begin(servers=2, workers=2)
    life.history.asks_in_vain = False  # no worker is out of reach: what is paused does not start any more
    life.work(load.few(life.folder))
    life.go_on(10.0)
    judged(life, 10.0)
    assert {event.job for event in life.history.events} == set(life.history.jobs) - {load.FLOOD}
    assert all(len(row.attempts) <= 1 for row in life.history.rows), "an attempt was lost though nothing happened"
    life.machines.until_led_by(life.machines.servers)
