"""Reading one value of the settings, whatever it comes from: a TOML value, a text of the environment, a flag."""

import ipaddress
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rota.core.errors import Invalid
from rota.core.units import parse_duration, parse_size
from rota.core.worker_names import check_labels, check_worker_name
from rota.core.zones import check_timezone

MOST_RESOURCES = 16


class Wrong(Invalid):
    """A value that a key does not take."""


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


def existing(value: Any) -> Path:
    """A file that is there."""
    found = path(value)
    if not found.is_file():
        raise Wrong(f"there is no file {found}")
    return found


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


def positive(value: Any) -> int:
    """A whole number of at least one."""
    return whole(value, 1, 100_000_000)


def cpus(value: Any) -> int:
    """A number of processors."""
    return whole(value, 1, 65_536)


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


def grace(value: Any) -> float:
    """A duration of at most an hour; 0s is none."""
    found = parse_duration(text(value))
    if not 0 <= found <= 3600:
        raise Wrong(f"{_shown(value)} is out of range", hint="0s to 1h")
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
        # What stands before the host may be a password.
        shown = re.sub(r"//.*@", "//…@", found)
        raise Wrong(f"{_shown(shown)} is not an address", hint="write for example https://rota.example.com")
    return found.rstrip("/")


def urls(value: Any) -> tuple[str, ...]:
    """Several addresses; in the environment separated by commas."""
    found = [url(one) for one in texts(value)]
    if not found:
        raise Wrong("no address is given", hint="write for example https://rota.example.com")
    return tuple(one for one in found if one)


def timezone(value: Any) -> str:
    """The name of a zone."""
    return check_timezone(text(value))


def labels(value: Any) -> dict[str, str]:
    """Names and texts: { rack = "db1" }; in the environment rack=db1,zone=eu."""
    return check_labels({text(name): text(item) for name, item in _table(value, 'rack = "db1"').items()})


def slots(value: Any) -> dict[str, int]:
    """Attempts at once by kind: { python = 4 }; a number alone is for shell."""
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        return {"shell": whole(value, 0, 100_000)}
    found = _table(value, "python = 4")
    for kind in found:
        if kind not in ("http", "shell", "python"):
            raise Wrong(f"there is no kind of job {_shown(kind)}", hint="the kinds are http, shell, python")
    return {kind: whole(number, 0, 100_000) for kind, number in found.items()}


def resources(value: Any) -> dict[str, int]:
    """What a worker offers beside processors and memory: { gpu = 2 }."""
    found = {name(kind): whole(number, 0, 1_000_000) for kind, number in _table(value, "gpu = 2").items()}
    if len(found) > MOST_RESOURCES:
        raise Wrong(f"{len(found)} kinds of resources; {MOST_RESOURCES} are possible")
    return found


def size(value: Any) -> int:
    """An amount of memory: 8GiB, or a whole number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return whole(value, 1024 * 1024, 2**50)
    return whole(parse_size(text(value)), 1024 * 1024, 2**50)


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
    try:
        return check_worker_name(text(value))
    except Wrong:
        raise
    except Invalid as error:
        raise Wrong(f"{_shown(value)} is not a name", hint=error.hint) from error


def _several(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise Wrong(f"{_shown(value)} is not a list", hint='write ["…", "…"]')
    return list(value)


def _table(value: Any, example: str) -> dict[str, Any]:
    """A table; as texts (of flags, of a variable) name=value each."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        pairs = [str(part).partition("=") for part in value]
        if not pairs or any(not sign for _, sign, _ in pairs):
            hint = f"write {{ {example} }}, or name=value"
            raise Wrong(f"{_shown(','.join(map(str, value)))} is not a table", hint=hint)
        return {given.strip(): item.strip() for given, _, item in pairs}
    if not isinstance(value, dict):
        raise Wrong(f"{_shown(value)} is not a table", hint=f"write {{ {example} }}")
    return value


def _shown(value: Any) -> str:
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    shown = "".join(char if char.isprintable() else "·" for char in shown)
    return shown if len(shown) <= 60 else shown[:57] + '…"'
