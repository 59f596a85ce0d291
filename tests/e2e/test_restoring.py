"""A database is restored from a dump: at-most-once work is held at every server until a person accepts."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running_cluster import Cluster, free_port, until
from tests.postgres.cluster import Cluster as PostgresCluster
from tests.postgres.cluster import binaries
from tests.postgres.clusters import Clusters

JOBS = """
version: 1
namespace: pay
jobs:
  once: { shell: "echo paid >> {folder}/paid", delivery: at-most-once }
  often: { shell: "true" }
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as one:
        yield one


def restore(postgres: PostgresCluster, dump: Path) -> str:
    """A new database with what the dump holds."""
    url = postgres.create()
    folder = binaries()["postgres-18"]
    subprocess.run([folder / "pg_restore", "--no-owner", f"--dbname={url}", dump], check=True, timeout=60)
    return url


def second_server(cluster: Cluster) -> str:
    """Another server beside the first; returns its URL."""
    port = free_port()
    part = cluster.start("second", "server", "--database", cluster.database, "--port", str(port))
    part.until_said("✓ web")
    return f"http://127.0.0.1:{port}"


def held(cluster: Cluster) -> bool:
    return "was restored" in cluster.command("alerts").stdout


@pytest.mark.parametrize("told", [True, False])
def test_what_ran_after_the_backup_is_not_run_again_unasked(
    cluster: Cluster, clusters: Clusters, tmp_path: Path, told: bool
) -> None:
    postgres, dump = clusters["postgres-18"], tmp_path / "rota.dump"
    cluster.database = postgres.create()
    cluster.begin()
    (tmp_path / "jobs.yaml").write_text(JOBS.replace("{folder}", str(tmp_path)))
    cluster.rota("apply", "jobs.yaml")
    cluster.worker("w1")
    cluster.until_worker("w1", "up")
    program = binaries()["postgres-18"] / "pg_dump"
    subprocess.run([program, "--format=custom", f"--file={dump}", cluster.database], check=True, timeout=60)
    cluster.rota("run", "pay/once", "--wait")
    cluster.rota("doctor", "--restored", "--database", cluster.database, expect=5)  # its server is at work
    assert cluster._parts[0].stop() == 0
    cluster.database = restore(postgres, dump)
    if told:
        said = cluster.rota("doctor", "--restored", "--database", cluster.database)
        assert said == "at-most-once jobs are held"
        assert "says that the database was restored" in cluster.rota(
            "doctor", "--database", cluster.database, expect=40
        )
    cluster.server()
    other = second_server(cluster)
    cluster.until_worker("w1", "up")
    until(lambda: held(cluster), lambda: cluster.rota("alerts"))
    cluster.rota("run", "pay/often", "--wait")
    run = cluster.rota("run", "pay/once")
    until(lambda: "RESTORE_HELD" in cluster.rota("show", run, "--json"), lambda: cluster.rota("show", run))
    assert (tmp_path / "paid").read_text() == "paid\n"
    assert (
        cluster.rota("doctor", "--accept-restore", "--url", other) == "accepted: at-most-once jobs go on within seconds"
    )
    until(lambda: '"succeeded"' in cluster.rota("show", run, "--json"), lambda: cluster.rota("why", run))
    assert (tmp_path / "paid").read_text() == "paid\npaid\n"
    assert not held(cluster)
    servers = json.loads(cluster.rota("doctor", "--json", expect=None))["items"]
    assert [one["words"] for one in servers if one["level"] == "problem"] == []
