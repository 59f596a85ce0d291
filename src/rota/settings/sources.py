"""The settings of each role from its file, the environment and flags: gathered, checked together, frozen."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from rota.settings.gathering import Gathered
from rota.settings.keys import LOG_KEYS, SERVER_KEYS, UP_KEYS, WEB_KEYS, WORKER_KEYS
from rota.settings.problems import SettingsRefused
from rota.settings.values import (
    DEFAULT_DATA,
    DEFAULT_STATE,
    LimitOptions,
    ServerSettings,
    UpSettings,
    WorkerOptions,
    WorkerProcessSettings,
    host_zone,
    worker_name,
)

CONFIG_NAME: Final = "rota.toml"


class Sources(NamedTuple):
    """Where settings come from beside their file. `flags` are by dotted name, those not given None."""

    environment: Mapping[str, str]
    flags: Mapping[str, Any] = {}
    config: Path | None = None  # the file that was asked for

    def file(self, usual: Path | None) -> tuple[Path | None, bool]:
        """The file to read, and whether it must be there."""
        asked = self.config or (Path(self.environment["ROTA_CONFIG"]) if self.environment.get("ROTA_CONFIG") else None)
        return (asked, True) if asked is not None else (usual, False)

    def gather(self, into: Gathered, usual: Path | None) -> None:
        """Take all of it; the later wins."""
        path, must_exist = self.file(usual)
        if path is not None:
            into.file(path, must_exist=must_exist, environment=self.environment)
        into.environment(self.environment)
        into.flags(self.flags)


def load_up_settings(sources: Sources, data: Path | None = None) -> UpSettings:
    """The settings of `rota up`; raises SettingsRefused."""
    folder = data or Path(sources.environment.get("ROTA_DATA") or DEFAULT_DATA)
    gathered = Gathered(UP_KEYS, has_channels=True)
    sources.gather(gathered, folder / CONFIG_NAME)
    _check_web(gathered)
    _refuse(gathered)
    return UpSettings(
        data=folder,
        port_was_asked_for="port" in gathered.values,
        worker=WorkerOptions(**gathered.below("worker.")),
        **_web(gathered),
        **_plain(gathered, "jobs", "open_browser"),
    )


def load_server_settings(sources: Sources) -> ServerSettings:
    """The settings of `rota server`; raises SettingsRefused."""
    gathered = Gathered(SERVER_KEYS, has_channels=True)
    sources.gather(gathered, None)
    _check_web(gathered)
    if "database" not in gathered.values and not any(one.message.startswith("database") for one in gathered.problems):
        hint = "rota server --database postgresql://USER@HOST/NAME, or ROTA_DATABASE; for SQLite: sqlite:///PATH"
        gathered.problem("database", "no database is given", hint)
    _refuse(gathered)
    return ServerSettings(**_web(gathered), **_plain(gathered, "database", "advertise", "secret_key_file"))


def load_worker_settings(sources: Sources, state: Path | None = None) -> WorkerProcessSettings:
    """The settings of `rota worker`; raises SettingsRefused."""
    folder = state or Path(sources.environment.get("ROTA_STATE") or DEFAULT_STATE)
    gathered = Gathered(WORKER_KEYS)
    sources.gather(gathered, folder / CONFIG_NAME)
    _check_servers(gathered)
    _refuse(gathered)
    work: dict[str, Any] = {"name": worker_name(), "private_networks": False}
    work |= _plain(gathered, "name", "labels", "slots", "allowed_users", "private_networks", "allowed_networks")
    return WorkerProcessSettings(
        servers=gathered.values["server"],
        worker=WorkerOptions(**work),
        state=folder,
        **_plain(gathered, "ca", "plain_http", "cpu", "memory", "resources", "grace", "log.format", "log.level"),
    )


def _refuse(gathered: Gathered) -> None:
    """Nothing is started with wrong settings."""
    if gathered.problems:
        raise SettingsRefused(gathered.problems)


def _plain(gathered: Gathered, *names: str) -> dict[str, Any]:
    """Values of these keys as fields."""
    return {name.replace(".", "_"): gathered.values[name] for name in names if name in gathered.values}


def _web(gathered: Gathered) -> dict[str, Any]:
    """What every process is told that serves the API."""
    names = [key.name for key in (*WEB_KEYS, *LOG_KEYS) if not key.name.startswith("limits.")]
    values = {"timezone": host_zone(), **_plain(gathered, *names)}
    return {**values, "limits": LimitOptions(**gathered.below("limits.")), "channels": gathered.channels}


def _check_web(gathered: Gathered) -> None:
    """What is wrong only together: a way in from the network without TLS, half a certificate."""
    values = gathered.values
    halves = [name for name in ("tls.certificate", "tls.key") if name in gathered.places]
    if len(halves) == 1:
        other = "tls.key" if halves == ["tls.certificate"] else "tls.certificate"
        gathered.problem(halves[0], f"{halves[0]} is given without {other}", "give both")
    host = values.get("host", "127.0.0.1")
    if not _is_loopback(host) and not halves and not values.get("tls_ends_at_proxy", False):
        hint = (
            "give tls.certificate and tls.key, or put a proxy that speaks TLS in front and set"
            " tls_ends_at_proxy = true, or keep host 127.0.0.1 and reach it through ssh -L"
        )
        gathered.problem("host", f'host "{host}" would serve tokens and logs to the network without TLS', hint)


def _check_servers(gathered: Gathered) -> None:
    """The token must not travel in the clear."""
    if "server" not in gathered.values:
        if not any(one.message.startswith("server") for one in gathered.problems):
            hint = "rota worker --server https://rota.example.com:8700 (several: repeat it), or ROTA_SERVER"
            gathered.problem("server", "no server is given", hint)
        return
    for url in gathered.values["server"]:
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or "") and not gathered.values.get("plain_http"):
            hint = (
                "write https://, or set plain_http = true if the network between encrypts by itself"
                " (a tunnel, a service mesh)"
            )
            gathered.problem("server", f"{url} would send the worker's token and its jobs' secrets unencrypted", hint)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
