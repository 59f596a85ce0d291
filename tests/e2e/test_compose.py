"""The compose file, without containers: its commands, with its environment, as processes on this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests.e2e.running_cluster import Cluster, free_port, until
from tests.postgres.clusters import Clusters

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "packaging" / "compose" / "docker-compose.yaml"
IMAGE = ROOT / "packaging" / "docker" / "Dockerfile"


@pytest.fixture
def services() -> dict[str, Any]:
    services: dict[str, Any] = YAML(typ="safe").load(COMPOSE.read_text())["services"]
    return services


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as one:
        yield one


class Containers:
    """The services as processes: names of hosts become ports of this machine, volumes become folders."""

    def __init__(self, cluster: Cluster, services: dict[str, Any], database: str) -> None:
        self.cluster, self.services = cluster, services
        self.setup = cluster.folder / "setup"
        self.setup.mkdir(mode=0o700)
        self.ports = {"server-1": free_port(), "server-2": free_port()}
        self._database = database

    def environment(self, name: str) -> dict[str, str]:
        found = {key: self._here(str(text), name) for key, text in self.services[name].get("environment", {}).items()}
        return {key: self._database if key == "ROTA_DATABASE" else text for key, text in found.items()}

    def command(self, name: str) -> list[str]:
        command = [self._here(word, name) for word in self.services[name]["command"]]
        ports = [f"--port={self.ports[name]}" if word == "--port=8700" else word for word in command]
        return [word.replace("--host=0.0.0.0", "--host=127.0.0.1") for word in ports]

    def _here(self, text: str, service: str) -> str:
        for host, port in self.ports.items():
            text = text.replace(f"https://{host}:8700", f"https://localhost:{port}")
        text = text.replace("/state", str(self.cluster.folder / service))
        return text.replace("/setup", str(self.setup))


def test_it_runs_as_it_is_written(cluster: Cluster, clusters: Clusters, services: dict[str, Any]) -> None:
    with clusters.database() as url:
        containers = Containers(cluster, services, url)
        prepare = [sys.executable, ROOT / "packaging" / "compose" / "prepare.py", *containers.command("prepare")]
        for _ in range(2):  # a second `up` changes nothing
            environment = {**cluster.environment, **containers.environment("prepare")}
            subprocess.run(prepare, check=True, timeout=60, env=environment)
            kept = {path.name: path.read_text() for path in containers.setup.iterdir()}
            assert {path.stat().st_mode & 0o777 for path in containers.setup.iterdir()} == {0o600}
        assert set(kept) == {"secret-key", "ca.pem", "server.pem", "server.key", "admin-token", "join-token"}
        for name in ("server-1", "server-2", "worker-1", "worker-2"):
            part = cluster.start(name, *containers.command(name), **containers.environment(name))
            part.until_said("✓ web" if name.startswith("server") else "ServerReached")
            assert "! " not in part.said, part.said
        cluster.environment |= {
            "ROTA_URL": f"https://localhost:{containers.ports['server-2']}",
            "ROTA_TOKEN": kept["admin-token"].strip(),
            "ROTA_CA": str(containers.setup / "ca.pem"),
        }
        (cluster.folder / "jobs.yaml").write_text('version: 1\nnamespace: t\njobs: { one: { shell: "true" } }\n')
        cluster.rota("apply", "jobs.yaml")
        cluster.rota("run", "t/one", "--wait")
        until(lambda: set(cluster.workers()) == {"worker-1", "worker-2"}, lambda: str(cluster.workers()))
        found = json.loads(cluster.rota("doctor", "--json"))["items"]
        assert [one["words"] for one in found if one["level"] != "ok"] == []


def test_nothing_secret_is_in_it_and_nothing_listens_to_the_world(services: dict[str, Any]) -> None:
    text = COMPOSE.read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) == {"POSTGRES_PASSWORD"}
    assert not re.search(r"(PASSWORD|TOKEN|KEY)\w*: +[^$/\s]", text)
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "privileged" not in service
        assert "/var/run" not in str(service)


def test_what_is_waited_for_is_there_and_can_be_waited_for(services: dict[str, Any]) -> None:
    needs = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}
    for service in services.values():
        for other, condition in service.get("depends_on", {}).items():
            assert needs[condition["condition"]] in services[other]
    volumes = set(YAML(typ="safe").load(COMPOSE.read_text())["volumes"])
    used = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert used == volumes


def test_the_image_installs_what_is_pinned_and_runs_as_nobody_special() -> None:
    text = IMAGE.read_text()
    assert text.count("--require-hashes") == 2
    assert re.search(r"^USER rota$", text, re.MULTILINE)
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert name in kept, f"{name} is not in the build's context"
    assert not os.access(IMAGE, os.X_OK)
