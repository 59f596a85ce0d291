"""The settings of each role: frozen, complete, checked. Where they come from is `rota.settings.sources`."""

import os
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Final

from rota.core.model import Value
from rota.core.zones import zone_names
from rota.settings.database import DatabaseUrl

DEFAULT_PORT: Final = 8700
DEFAULT_DATA: Final = Path(".rota")
DEFAULT_STATE: Final = Path(".rota-worker")


class SecretText:
    """A text that is used and never shown: whoever prints it, or what holds it, sees stars."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one who needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class MailSettings(Value):
    """A channel that sends mail: over SMTP when a host is named, else by the machine's own sendmail or port 25."""

    sender: str | None = None  # None: rota@<name of this machine>
    host: str | None = None
    port: int | None = None  # None: 25, or 465 with tls
    tls: str = (
        "auto"  # "auto": required with a user, none to this machine, otherwise if offered; "tls", "starttls", "none"
    )
    user: str | None = None
    password: SecretText | None = None
    sendmail: Path | None = None  # None: where systems keep it
    timeout: float = 60.0  # seconds for one message


class LogOptions(Value):
    """How a process writes its own log, to stderr."""

    log_format: str = "text"  # "text" | "json"
    log_level: str = "info"


class LimitOptions(Value):
    """What clients of the API may do: requests a second and at once, and what may be open."""

    token_requests: int = 500
    token_burst: int = 2000
    address_requests: int = 1000
    address_burst: int = 4000
    failed_logins: int = 20  # wrong tokens and logins of one address, a minute
    streams: int = 1000
    connections: int = 2000  # over HTTP; workers are not counted


class WebOptions(LogOptions):
    """What is told to every process that serves the API and decides."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ends_at_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    timezone: str = "UTC"
    keep_history: timedelta = timedelta(days=90)
    keep_logs: timedelta = timedelta(days=30)
    limits: LimitOptions = LimitOptions()
    channels: dict[str, MailSettings] = {}

    @property
    def is_https(self) -> bool:
        """Whether browsers reach it by https, here or at a proxy."""
        return self.tls_ends_at_proxy or self.tls_certificate is not None


class WorkerOptions(Value):
    """What the settings say of any worker; None and nothing leave the worker's own default."""

    name: str = "local-1"
    labels: dict[str, str] = {}
    slots: dict[str, int] = {}  # kind → attempts at once
    allowed_users: tuple[str, ...] = ()
    private_networks: bool = True
    allowed_networks: tuple[str, ...] = ()


class UpSettings(WebOptions):
    """Everything `rota up` is told at its start."""

    data: Path = DEFAULT_DATA
    port_was_asked_for: bool = False  # then a taken port is an error and not a reason to take the next one
    jobs: tuple[Path, ...] = ()
    open_browser: bool = True
    worker: WorkerOptions = WorkerOptions()


class ServerSettings(WebOptions, kw_only=True):
    """Everything `rota server` is told at its start."""

    database: DatabaseUrl
    advertise: str | None = None  # where others reach it; None: from host and port
    secret_key_file: Path | None = None


class WorkerProcessSettings(LogOptions, kw_only=True):
    """Everything `rota worker` is told at its start."""

    servers: tuple[str, ...]
    worker: WorkerOptions
    state: Path = DEFAULT_STATE
    ca: Path | None = None  # the only certificates that are believed; None: those of the system
    plain_http: bool = False  # the network encrypts by itself
    cpu: int | None = None
    memory: int | None = None
    resources: dict[str, int] = {}
    grace: float = 30.0  # seconds that running work has to end after TERM


def host_zone() -> str:
    """The machine's zone as a name; UTC when it cannot be told."""
    _, _, linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    for name in (os.environ.get("TZ", "").lstrip(":"), linked.removeprefix("posix/").removeprefix("right/")):
        if name in zone_names():
            return name
    return "UTC"


def host_name() -> str:
    """The machine's full name, for addresses of mail it sends."""
    name = socket.getfqdn()
    return name if name and name.isascii() and " " not in name else "localhost"


def worker_name() -> str:
    """What a worker is called that was given no name: as its machine, as far as that can be a worker's name."""
    short = socket.gethostname().partition(".")[0]
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", short)[:63].lstrip("._-")
    return plain or "worker"
