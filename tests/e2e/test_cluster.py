"""`rota server` and `rota worker` as an operator runs them: joining, TERM, restarts, keys, TLS, wrong settings."""

import base64
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.certificates import Authority
from tests.e2e.running_cluster import Cluster, free_port, python, until
from tests.e2e.running_rota import RunningRota

JOBS = """
version: 1
namespace: t
jobs:
  quick: { schedule: "every day at 03:00", shell: "echo hello from $ROTA_WORKER" }
  long: { schedule: "every day at 03:00", shell: "echo begun; sleep 8; echo ended" }
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as one:
        yield one


def apply(cluster: Cluster) -> None:
    (cluster.folder / "jobs.yaml").write_text(JOBS)
    cluster.rota("apply", "jobs.yaml")


def test_a_cluster_from_nothing_to_a_finished_run(cluster: Cluster) -> None:
    done = cluster.command("token", "create", "--database", cluster.database, "--scope", "admin")
    token = done.stdout.strip()
    assert done.stdout == f"{token}\n"
    assert token.startswith("rota_")
    assert stat.S_IMODE((cluster.folder / "store").stat().st_mode) == 0o700
    cluster.environment |= {"ROTA_TOKEN": token, "ROTA_URL": cluster.url}
    server = cluster.server()
    assert "✓ database   sqlite, " in server.said
    assert f"✓ web        {cluster.url}" in server.said
    assert "there is no key: rota secret set is refused here" in server.said
    joining = cluster.command("token", "create", "--join", "--uses", "2", "--expires", "1h", "--label", "zone=eu")
    join = joining.stdout.strip()
    assert joining.stdout == f"{join}\n"
    first = cluster.worker("w1", ROTA_JOIN_TOKEN=join)
    (cluster.folder / "join").write_text(join + "\n")
    cluster.start(
        "w2", "worker", "--server", cluster.url, "--name", "w2", "--state", "w2",
        ROTA_JOIN_TOKEN_FILE=str(cluster.folder / "join"),
    )  # fmt: skip
    cluster.until_worker("w1", "up")
    cluster.until_worker("w2", "up")
    (w1,) = [one for one in json.loads(cluster.rota("workers", "--json"))["items"] if one["name"] == "w1"]
    assert w1["labels"] == {"zone": "eu"}
    apply(cluster)
    cluster.rota("run", "t/quick", "--wait")
    assert cluster.rota("logs", "t/quick") in ("hello from w1", "hello from w2")
    kept = cluster.folder / "w1" / "worker-token"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for secret in (token, join, kept.read_text().strip()):
        assert secret not in first.said + server.said
    assert first.stop() == 0
    cluster.until_worker("w1", "lost")
    again = cluster.worker("w1", ROTA_JOIN_TOKEN="rota_spent")  # it holds its own: this one is not looked at
    cluster.until_worker("w1", "up")
    assert "ServerUnreachable" not in again.said


def test_a_worker_outlives_its_server_and_a_run_both(cluster: Cluster) -> None:
    cluster.begin()
    server = cluster._parts[0]
    worker = cluster.worker("w1", "--cpu", "3", "--memory", "2GiB", "--slots", "2")
    cluster.until_worker("w1", "up")
    (row,) = json.loads(cluster.rota("workers", "--json"))["items"]
    assert (row["cpus"], row["memory"], row["capacity"]["shell"]) == (3, 2 * 2**30, 2)
    apply(cluster)
    run = cluster.rota("run", "t/long")
    until(lambda: "begun" in cluster.rota("logs", run), lambda: cluster.rota("show", run))
    assert server.stop() == 0
    assert "workers go on at other servers" in server.said
    worker.until_said("ServerUnreachable")
    assert "cannot be reached" in worker.said
    cluster.server()
    worker.until_said("ServerReached", 2)
    until(lambda: '"succeeded"' in cluster.rota("show", run, "--json"), lambda: cluster.rota("show", run), 30)
    shown = json.loads(cluster.rota("show", run, "--json"))
    assert (shown["state"], shown["attempt"]) == ("succeeded", 1)
    assert cluster.rota("logs", run).splitlines() == ["begun", "ended"]


def test_term_lets_work_end_and_the_second_does_not_wait(cluster: Cluster) -> None:
    cluster.begin()
    apply(cluster)
    worker = cluster.worker("w1")
    cluster.until_worker("w1", "up")
    run = cluster.rota("run", "t/long")
    until(lambda: "begun" in cluster.rota("logs", run), lambda: cluster.rota("show", run))
    worker.process.send_signal(signal.SIGTERM)
    worker.until_said("running work may finish for 30 s")
    assert worker.process.wait(timeout=30) == 0
    assert json.loads(cluster.rota("show", run, "--json"))["state"] == "succeeded"
    worker = cluster.worker("w1")
    worker.until_said("ServerReached", 2)
    run = cluster.rota("run", "t/long")
    until(lambda: "begun" in cluster.rota("logs", run), lambda: cluster.rota("show", run))
    worker.process.send_signal(signal.SIGTERM)
    worker.until_said("running work may finish", 2)
    assert worker.stop(seconds=5) == 0


def test_a_revoked_worker_is_cut_off_and_joins_anew(cluster: Cluster) -> None:
    cluster.begin()
    worker = cluster.worker("w1")
    cluster.until_worker("w1", "up")
    assert "is cut off" in cluster.rota("workers", "revoke", "w1")
    worker.until_said("ServerLost")
    worker.until_said("not valid here")
    cluster.until_worker("w1", "lost")
    assert cluster.command("workers", "revoke", "w1", expect=3).stdout == ""
    assert worker.stop(seconds=15) == 0
    (cluster.folder / "w1" / "worker-token").unlink()
    cluster.worker("w1").until_said("ServerReached", 2)
    assert "worker w1" in cluster.rota("token", "list")
    assert "join ×0" in cluster.rota("token", "list")
    trail = json.loads(cluster.command("token", "list", "--json").stdout)["items"]
    assert [bool(one["revoked"]) for one in trail if one["worker"] == "w1"] == [False, True]


def test_a_worker_that_may_not_come_in_ends_and_says_why(cluster: Cluster) -> None:
    cluster.begin()
    for join, words, code in (("rota_wrong", "not valid", 4), ("", "no join token was given", 4)):
        worker = cluster.worker("w1", ROTA_JOIN_TOKEN=join)
        assert worker.process.wait(timeout=20) == code
        assert words in worker.said
        assert "Traceback" not in worker.said
    (cluster.folder / "w1").mkdir(exist_ok=True)
    (cluster.folder / "w1" / "worker-token").write_text("rota_x\n")
    worker = cluster.worker("w1")
    assert worker.process.wait(timeout=20) == 2
    assert "can be read by others" in worker.said
    silent = cluster.worker("w3", "--server", f"http://127.0.0.1:{free_port()}", ROTA_JOIN_TOKEN="rota_x")
    silent.until_said("cannot be reached")
    assert silent.process.poll() is None  # it goes on trying
    assert silent.stop(seconds=15) == 0


def test_keys_for_secrets(cluster: Cluster) -> None:
    cluster.begin()
    refused = cluster.command("secret", "set", "API_KEY", stdin="hunter22hunter", expect=5)
    assert "this server has no key for secrets" in refused.stderr
    assert "ROTA_SECRET_KEY" in refused.stderr
    assert cluster._parts[0].stop() == 0
    keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
    server = cluster.server(ROTA_SECRET_KEY=keys[0])
    assert "! secrets" not in server.said.rpartition("rota 0")[2]
    cluster.rota("secret", "set", "API_KEY", stdin="hunter22hunter")
    assert server.stop() == 0
    (cluster.folder / "key").write_text(keys[1])
    (cluster.folder / "key").chmod(0o600)
    (cluster.folder / "server.toml").write_text(f'secret_key_file = "{cluster.folder}/key"\n')
    other = cluster.server("--config", "server.toml")
    assert "is not that of the other servers" in other.said
    assert "secret API_KEY was made with another key" in other.said
    conditions = json.loads(cluster.rota("alerts", "--json"))["conditions"]
    assert any(one["key"].startswith("secret-key/") for one in conditions)
    assert other.stop() == 0
    cluster.server(ROTA_SECRET_KEY=keys[0])
    conditions = json.loads(cluster.rota("alerts", "--json"))["conditions"]
    assert not any(one["key"].startswith("secret-key/") for one in conditions)
    for key in keys:
        assert key not in other.said


def test_what_is_taken_is_said(cluster: Cluster) -> None:
    cluster.begin()
    port = str(cluster.port)
    taken = cluster.command("server", "--database", "sqlite:///other.db", "--port", port, expect=5)
    assert f"port {port} on 127.0.0.1 is taken" in taken.stderr
    second = cluster.command("server", "--database", cluster.database, "--port", "0", expect=5)
    assert "already in use by process" in second.stderr
    token = cluster.command("token", "create", "--database", cluster.database, expect=5)
    assert "already in use by process" in token.stderr
    assert token.stdout == ""


def test_over_tls_from_end_to_end(cluster: Cluster) -> None:
    authority = Authority(cluster.folder)
    tls = authority.issue("server", "127.0.0.1", "localhost")
    url = f"https://localhost:{cluster.port}"
    cluster.environment |= {"ROTA_URL": url, "ROTA_CA": str(authority.path)}
    token = cluster.rota("token", "create", "--database", cluster.database, "--scope", "admin")
    cluster.environment["ROTA_TOKEN"] = token
    server = cluster.start(
        "server", "server", "--database", cluster.database, "--port", str(cluster.port), "--host", "0.0.0.0",
        "--tls-certificate", str(tls.certificate), "--tls-key", str(tls.key), "--advertise", url,
    )  # fmt: skip
    server.until_said("✓ web        https://")
    apply(cluster)
    untrusting = cluster.worker("w9", "--server", url, ROTA_CA="", ROTA_JOIN_TOKEN="rota_x")
    untrusting.until_said("is not believed: ")
    assert "--ca" in untrusting.said
    worker = cluster.worker("w1", "--server", url, "--ca", str(authority.path))
    worker.until_said("ServerReached")
    cluster.rota("run", "t/quick", "--wait")
    renewed = authority.issue("server", "127.0.0.1", "localhost", days=2)
    assert renewed.certificate == tls.certificate
    server.process.send_signal(signal.SIGHUP)
    server.until_said("✓ tls        read again")
    assert cluster.workers() == {"w1": "up"}
    tls.key.write_text("broken")
    server.process.send_signal(signal.SIGHUP)
    server.until_said("the old certificate stays")
    assert cluster.workers() == {"w1": "up"}
    assert server.stop() == 0


def test_rota_up_takes_workers_too(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with RunningRota(tmp_path, "--jobs", str(tmp_path / "empty")) as up:
        url = json.loads((up.data / "server.json").read_text())["url"]
        cluster.environment |= {"ROTA_URL": url, "ROTA_TOKEN": (up.data / "admin-token").read_text().strip()}
        apply(cluster)
        taken = cluster.worker("local-1", "--server", url)
        taken.until_said("cannot be taken over")
        taken.kill()
        worker = cluster.worker("w1", "--server", url)
        cluster.until_worker("w1", "up")
        assert cluster.workers() == {"local-1": "up", "w1": "up"}
        assert up.stop() == 0
        worker.until_said("ServerLost")
        assert worker.stop(seconds=20) == 0


def test_wrong_settings_start_nothing(cluster: Cluster) -> None:
    plain = cluster.command("server", "--database", cluster.database, "--host", "0.0.0.0", expect=2)
    assert "without TLS" in plain.stderr
    assert "nothing was started" in plain.stderr
    secret = cluster.command("server", "--database", "mysql://u:hunter22@h/d", expect=2)
    assert "hunter22" not in secret.stdout + secret.stderr
    worker = cluster.command("worker", "--server", "http://rota.example.com", "--cpu", "0", expect=2)
    assert "unencrypted" in worker.stderr
    assert "--cpu" in worker.stderr
    assert not (cluster.folder / "store").exists()
    for arguments, said in (
        (("--join", "--scope", "read"), "no other scope"),
        (("--uses", "3"), "rota token create --join"),
        (("--join", "--label", "zone"), "is not a table"),
        (("--database", "sqlite:///x.db", "--scope", "root"), "a token needs scopes"),
        (("--database", "sqlite:///x.db", "--join", "--uses", "5000"), "1 to 1000"),
    ):
        refused = cluster.command("token", "create", *arguments, expect=2)
        assert said in refused.stderr
        assert refused.stdout == ""


def test_a_password_leaves_the_list_of_processes() -> None:
    code = (
        "import os, sys; from rota.cli.hiding import hide_password\n"
        "hide_password(sys.argv[2] if len(sys.argv) > 2 else None)\n"
        "print(open('/proc/self/cmdline').read().replace('\\0', ' '), os.environ.get('ROTA_DATABASE'))"
    )
    url = "postgresql://rota:hunter22@db/rota"
    line, _, in_environment = python(code, "--database", url).strip().rpartition(" ")
    assert in_environment == url
    assert "hunter22" not in line
    assert "--database" not in line
    harmless = "postgresql://rota@db/rota"
    assert harmless in python(code, "--database", harmless).rpartition(" ")[0]


def test_a_worker_s_process_holds_nothing_of_a_server() -> None:
    code = "import sys, rota.cli.worker; print(' '.join(sorted(sys.modules)))"
    loaded = set(python(code).split())
    forbidden = {
        "starlette",
        "uvicorn",
        "websockets",
        "sqlite3",
        "asyncpg",
        "jinja2",
        "rota.stores",
        "rota.server.server",
    }
    assert loaded & forbidden == set()
    assert "aiohttp" in loaded
