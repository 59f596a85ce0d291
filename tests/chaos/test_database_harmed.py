"""The database dies and comes back: nothing that was acknowledged is lost, and work goes on by itself."""

import pytest
from tests.chaos import harms, load
from tests.chaos.life import Life, judged
from tests.e2e.running_cluster import until
from tests.postgres.cluster import Cluster as Postgres
from tests.postgres.cluster import binaries
from tests.postgres.clusters import NEWEST

from rota.server.spread import ASKED_AGAIN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_killed_database(tmp_path, seed: int) -> None:
    """F11: kill -9 of PostgreSQL, all of it, for longer than a lease lasts; what runs goes on meanwhile."""
    away = 8.0
    with Postgres(binaries()[NEWEST]) as postgres, Life(tmp_path, postgres.create(), seed) as life:
        life.work(load.few(life.folder))
        life.until_started(10)
        life.phase("database killed")
        harms.kill_database(life, postgres, away)
        life.until_started(10)
        verdict = judged(life, within=away + 20.0)
        assert verdict.total.again == 0, "so short an outage costs no attempt"
        lapsed = life.machines.everywhere("LeaseLapsed")
        assert len({event["server"] for event in lapsed}) == 2
        # A worker that was sent to a server which had no database yet came back, and is asked again only after a while.
        leads = ASKED_AGAIN + 20.0
        until(lambda: all(map(life.machines.led, life.machines.servers)), lambda: "a server leads nothing", leads)
