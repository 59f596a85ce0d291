"""`rota move`: an installation made by `rota up` goes on over PostgreSQL, history, secrets and tokens included."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running_cluster import Cluster, python
from tests.e2e.running_rota import RunningRota
from tests.postgres.cluster import Cluster as PostgresCluster
from tests.postgres.clusters import Clusters

JOBS = """
version: 1
namespace: t
jobs:
  tell:
    schedule: every day at 03:00
    shell: echo "it is ${KEY%%-*}-${#KEY} on $ROTA_WORKER"
    secrets: { KEY: SHOP_KEY }
  bad: { schedule: "every day at 03:00", shell: "echo oops; exit 3" }
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as one:
        yield one


@pytest.fixture
def empty(clusters: Clusters) -> Iterator[str]:
    """A database that nobody has prepared."""
    postgres: PostgresCluster = clusters["postgres-18"]
    url = postgres.create()
    yield url
    postgres.drop(url)


def lived_in(folder: Path) -> tuple[Path, str]:
    """The data folder of a `rota up` that has run jobs, and the id of a run that failed."""
    (folder / "empty").mkdir()
    with RunningRota(folder, "--jobs", str(folder / "empty")) as up:
        up.jobs(JOBS)
        up.rota("secret", "set", "SHOP_KEY", stdin="hunter-twentytwo")
        up.rota("apply", "jobs.yaml")
        up.rota("run", "t/tell", "--wait")
        up.rota("run", "t/bad", "--wait", expect=20)
        failed = up.json("runs", "-q", "state:failed")["items"][0]["id"]
        assert up.stop() == 0
    return up.data, failed


def test_an_installation_goes_on_over_postgresql(cluster: Cluster, empty: str, tmp_path: Path) -> None:
    data, failed = lived_in(tmp_path)
    done = cluster.command("move", f"sqlite:///{data}/rota.db", empty)
    assert "2 jobs" in done.stdout
    assert "1 secrets" in done.stdout
    assert f'secret_key_file = "{data}/secret-key"' in done.stderr
    assert "rota server" in done.stderr
    cluster.database = empty
    cluster.environment |= {"ROTA_TOKEN": (data / "admin-token").read_text().strip(), "ROTA_URL": cluster.url}
    (tmp_path / "server.toml").write_text(f'secret_key_file = "{data}/secret-key"\n')
    server = cluster.server("--config", "server.toml")
    assert "! secrets" not in server.said
    assert cluster.rota("logs", failed) == "oops"
    assert json.loads(cluster.rota("show", failed, "--json"))["exit"] == 3
    cluster.worker("w1")
    cluster.until_worker("w1", "up")
    cluster.rota("run", "t/tell", "--wait")
    assert cluster.rota("logs", "t/tell") == "it is hunter-16 on w1"
    runs = json.loads(cluster.rota("runs", "--json", "-q", "since:1h"))["items"]
    assert sorted(run["state"] for run in runs) == ["failed", "succeeded", "succeeded"]
    assert json.loads(cluster.rota("ls", "--json"))["items"][1]["next"]
    busy = cluster.command("move", empty, "sqlite:///back/rota.db", expect=5)
    assert "a server works on the source" in busy.stderr
    assert "stop all servers first" in busy.stderr
    assert server.stop() == 0
    back = json.loads(cluster.rota("move", empty, "sqlite:///back/rota.db", "--json"))
    assert back["moved"]["runs"] == 3
    assert back["secret_key_file"] is None


def test_what_cannot_be_moved_is_said(cluster: Cluster, empty: str, tmp_path: Path) -> None:
    missing = cluster.command("move", "sqlite:///none/rota.db", empty, expect=3)
    assert "there is no file none/rota.db" in missing.stderr
    assert not (tmp_path / "none").exists()
    same = cluster.command("move", "sqlite:///a/rota.db", "sqlite:///a/other.db", expect=2)
    assert "a folder has room for one store" in same.stderr
    assert "both addresses are the same" in cluster.command("move", empty, empty, expect=2).stderr
    assert "not the address of a database" in cluster.command("move", "rota.db", empty, expect=2).stderr
    nothing = cluster.command("move", empty, "sqlite:///a/rota.db", expect=3)
    assert "holds nothing" in nothing.stderr
    (tmp_path / "empty").mkdir()
    with RunningRota(tmp_path, "--jobs", str(tmp_path / "empty")) as up:
        address = f"sqlite:///{up.data}/rota.db"
        assert "already in use by process" in cluster.command("move", address, empty, expect=5).stderr
        up.stop()
    cluster.rota("move", address, empty)
    again = cluster.command("move", address, empty, expect=5)
    assert "the destination is not empty" in again.stderr


def test_passwords_of_both_addresses_leave_the_list_of_processes() -> None:
    code = (
        "import os, sys; from rota.cli.hiding import hide_passwords\n"
        "found = hide_passwords(dict(zip(('A_FROM', 'A_TO'), sys.argv[1:])))\n"
        "print(open('/proc/self/cmdline').read().replace('\\0', ' ').rpartition('rpartition')[2], found)"
    )
    one, two = "postgresql://rota:hunter22@db/rota", "postgresql://rota@db:5433/two?password=hunter33"
    line, _, found = python(code, one, two).strip().partition("{")
    assert "hunter" not in line
    assert "postgresql://rota@db/rota postgresql://rota@db:5433/two" in line
    assert found == f"'A_FROM': '{one}', 'A_TO': '{two}'}}"
    plain = "sqlite:///.rota/rota.db"
    line, _, found = python(code, plain, two).strip().partition("{")
    assert plain in line
    assert found == f"'A_FROM': '{plain}', 'A_TO': '{two}'}}"
    assert "ROTA_MOVE_TO" not in os.environ
