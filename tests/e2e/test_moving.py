"""`rota move`: an installation made by `rota up` goes on over PostgreSQL, history, secrets and tokens included."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.e2e.running_cluster import Cluster, python
from tests.e2e.running_rota import RunningRota
from tests.postgres.cluster import Cluster as PostgresCluster
from tests.postgres.clusters import Clusters

from rota.clock import SystemClock
from rota.core.actor import Actor
from rota.server.access import AccessControl
from rota.settings.database import database_url
from rota.store.transfer import Kind
from rota.stores.sqlite import open_sqlite
from rota.wiring.moving import move_store

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
    (tmp_path / "back").mkdir()
    busy = cluster.command("move", empty, "sqlite:///back/rota.db", expect=5)
    assert "a server works on the source" in busy.stderr
    assert "stop all servers first" in busy.stderr
    assert names(tmp_path / "back") == []
    assert server.stop() == 0
    back = json.loads(cluster.rota("move", empty, "sqlite:///back/rota.db", "--json"))
    assert back["moved"]["runs"] == 3
    assert back["secret_key_file"] is None
    assert (tmp_path / "back" / "rota.db").stat().st_mode & 0o777 == 0o600


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
    assert not (tmp_path / "a").exists()
    schema = "SELECT to_regnamespace('rota')"
    assert asyncio.run(value(empty, schema)) is None  # looked at, and left as it was
    (tmp_path / "empty").mkdir()
    with RunningRota(tmp_path, "--jobs", str(tmp_path / "empty")) as up:
        address = f"sqlite:///{up.data}/rota.db"
        assert "already in use by process" in cluster.command("move", address, empty, expect=5).stderr
        up.stop()
    cluster.rota("move", address, empty)
    again = cluster.command("move", address, empty, expect=5)
    assert "the destination is not empty" in again.stderr
    folder = cluster.command("move", address, "sqlite:///typing/eror/rota.db", expect=3)
    assert "there is no folder typing/eror" in folder.stderr
    assert not (tmp_path / "typing").exists()


@pytest.mark.parametrize("side", ["source", "destination"])
def test_nothing_is_left_beside_a_file_that_is_no_store(cluster: Cluster, tmp_path: Path, side: str) -> None:
    for folder in ("docs", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "README.md").write_text("# Read me\n" * 500)
    asyncio.run(make_store(tmp_path / "other" / "rota.db"))
    addresses = ["sqlite:///docs/README.md", "sqlite:///other/rota.db"]
    refused = cluster.command("move", *(addresses if side == "source" else addresses[::-1]), expect=2)
    assert "not a database" in refused.stderr
    assert names(tmp_path / "docs") == ["README.md"]


def test_what_was_interrupted_leaves_no_file(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    asyncio.run(make_store(tmp_path / "one" / "rota.db"))
    addresses = [database_url(f"sqlite:///{tmp_path}/{folder}/rota.db") for folder in ("one", "two")]

    def interrupt(kind: Kind, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move_store(addresses[0], addresses[1], interrupt)
    assert names(tmp_path / "two") == ["lock"]
    assert move_store(addresses[0], addresses[1], lambda kind, count: None).counts[Kind.TOKENS] == 1


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def make_store(path: Path) -> None:
    """A store with a token in it."""
    store = await open_sqlite(path, clock=SystemClock())
    setup = Actor(name="setup", scopes=frozenset({"admin"}))
    await AccessControl(store.access, SystemClock()).create_token("a", ["read"], actor=setup)
    await store.close()


async def value(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


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
