"""The keys of the settings: name, how a value is read, where else it may come from. The documentation's table."""

import ipaddress
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from rota.core.errors import Invalid
from rota.core.units import parse_duration
from rota.core.zones import check_timezone


class Wrong(Invalid):
    """A value that a key does not take."""


class Key(NamedTuple):
    """One setting: dotted name in the file, reader of its value; the environment name follows from the name."""

    name: str
    read: Callable[[Any], Any]

    @property
    def variable(self) -> str:
        """The environment variable of the same meaning."""
        return "ROTA_" + self.name.upper().replace(".", "_")


def text(value: Any) -> str:
    """A text of one line that is not empty."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Wrong(f"{_shown(value)} is not a text", hint='write it in quotes: "…"')
    return value.strip()


def optional_text(value: Any) -> str | None:
    """A text, or nothing for an empty one."""
    return None if value == "" else text(value)


def path(value: Any) -> Path:
    """A path; `~` is the home folder."""
    return Path(os.path.expanduser(text(str(value) if isinstance(value, Path) else value)))  # noqa: PTH111 — never raises


def paths(value: Any) -> tuple[Path, ...]:
    """Several paths; in the environment separated as in PATH."""
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    return tuple(path(part) for part in _several(parts) if part)


def texts(value: Any) -> tuple[str, ...]:
    """Several texts; in the environment separated by commas."""
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    return tuple(text(part) for part in _several(parts))


def flag(value: Any) -> bool:
    """true or false."""
    if isinstance(value, bool):
        return value
    if value in ("true", "1", "yes"):
        return True
    if value in ("false", "0", "no"):
        return False
    raise Wrong(f"{_shown(value)} is neither true nor false", hint="write true or false")


def port(value: Any) -> int:
    """A TCP port; 0 lets the system choose."""
    return whole(value, 0, 65535)


def whole(value: Any, least: int, most: int) -> int:
    """A whole number within bounds."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Wrong(f"{_shown(value)} is not a whole number from {least} to {most}")
    return value


def age(value: Any) -> timedelta:
    """A duration of at least an hour: 30d."""
    if not isinstance(value, str):
        raise Wrong(f"{_shown(value)} is not a duration", hint='write it with its unit, in quotes: "30d"')
    seconds = parse_duration(value)
    if not 3600 <= seconds <= 36525 * 86400:
        raise Wrong(f"{_shown(value)} is out of range", hint="at least 1h, at most 100 years")
    return timedelta(seconds=seconds)


def seconds(value: Any) -> float:
    """A duration of one second to ten minutes."""
    found = parse_duration(text(value))
    if not 1 <= found <= 600:
        raise Wrong(f"{_shown(value)} is out of range", hint="1s to 10m")
    return found


def choice(*choices: str) -> Callable[[Any], str]:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in choices:
            raise Wrong(f"{_shown(value)} is not one of {', '.join(choices)}")
        return str(value)

    return read


def url(value: Any) -> str | None:
    """An address people can follow, without a path's final slash."""
    found = optional_text(value)
    if found is None:
        return None
    try:
        parts = urlsplit(found)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.username or parts.query)
    except ValueError:
        good = False
    if not good:
        raise Wrong(f"{_shown(value)} is not an address", hint="write for example https://rota.example.com")
    return found.rstrip("/")


def timezone(value: Any) -> str:
    """The name of a zone."""
    return check_timezone(text(value))


def labels(value: Any) -> dict[str, str]:
    """Names and texts: { rack = "db1" }."""
    return {text(name): text(item) for name, item in _table(value, 'rack = "db1"').items()}


def slots(value: Any) -> dict[str, int]:
    """Attempts at once by kind: { python = 4 }."""
    found = _table(value, "python = 4")
    for kind in found:
        if kind not in ("http", "shell", "python"):
            raise Wrong(f"there is no kind of job {_shown(kind)}", hint="the kinds are http, shell, python")
    return {kind: whole(number, 0, 100_000) for kind, number in found.items()}


def networks(value: Any) -> tuple[str, ...]:
    """Networks as 10.1.0.0/16."""
    for one in texts(value):
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise Wrong(f"{_shown(one)} is not a network", hint="write for example 10.1.0.0/16") from error
    return texts(value)


def name(value: Any) -> str:
    """A short name: letters, digits, dot, dash, underscore."""
    found = text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", found, re.ASCII):
        raise Wrong(f"{_shown(value)} is not a name", hint="use letters, digits, dot, dash and underscore")
    return found


def _several(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise Wrong(f"{_shown(value)} is not a list", hint='write ["…", "…"]')
    return list(value)


def _table(value: Any, example: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong(f"{_shown(value)} is not a table", hint=f"write {{ {example} }}")
    return value


def _shown(value: Any) -> str:
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    shown = "".join(char if char.isprintable() else "·" for char in shown)
    return shown if len(shown) <= 60 else shown[:57] + '…"'


UP_KEYS: Final = tuple(
    Key(*pair)
    for pair in (
        ("host", text),
        ("port", port),
        ("jobs", paths),
        ("public_url", url),
        ("allowed_hosts", texts),
        ("tls_ends_at_proxy", flag),
        ("timezone", timezone),
        ("open_browser", flag),
        ("log.format", choice("text", "json")),
        ("log.level", choice("debug", "info", "warning", "error")),
        ("keep.history", age),
        ("keep.logs", age),
        ("worker.name", name),
        ("worker.labels", labels),
        ("worker.slots", slots),
        ("worker.allowed_users", texts),
        ("worker.private_networks", flag),
        ("worker.allowed_networks", networks),
    )
)
"""Keys of `rota up`. Tables (labels, slots) and channels come from the file only."""

CHANNEL_KEYS: Final = tuple(
    Key(*pair)
    for pair in (
        ("type", choice("mail")),
        ("sender", optional_text),
        ("host", optional_text),
        ("port", port),
        ("tls", choice("auto", "tls", "starttls", "none")),
        ("user", optional_text),
        ("password", text),
        ("password_env", text),
        ("password_file", path),
        ("sendmail", path),
        ("timeout", seconds),
    )
)
"""Keys of a table [channels.NAME]."""
