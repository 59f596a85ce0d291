"""The settings of `rota up`: frozen, complete, checked. Where they come from is `rota.settings.sources`."""

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Final

from rota.core.model import Value
from rota.core.zones import zone_names

DEFAULT_PORT: Final = 8700
DEFAULT_DATA: Final = Path(".rota")


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


class WorkerOptions(Value):
    """What the settings say of the worker inside `rota up`; None leaves the worker's own default."""

    name: str = "local-1"
    labels: dict[str, str] = {}
    slots: dict[str, int] = {}  # kind → attempts at once
    allowed_users: tuple[str, ...] = ()
    private_networks: bool = True
    allowed_networks: tuple[str, ...] = ()


class UpSettings(Value):
    """Everything `rota up` is told at its start."""

    data: Path = DEFAULT_DATA
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    port_was_asked_for: bool = False  # then a taken port is an error and not a reason to take the next one
    jobs: tuple[Path, ...] = ()
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    tls_ends_at_proxy: bool = False
    timezone: str = "UTC"
    open_browser: bool = True
    log_format: str = "text"  # "text" | "json"
    log_level: str = "info"
    keep_history: timedelta = timedelta(days=90)
    keep_logs: timedelta = timedelta(days=30)
    channels: dict[str, MailSettings] = {}
    worker: WorkerOptions = WorkerOptions()


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
