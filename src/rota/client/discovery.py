"""Where the server is, and with which token: said outright, in the environment, or found in a data folder nearby.

`rota up` leaves `server.json` and `admin-token` in its data folder; the nearest `.rota` from the working folder
upwards counts, unless ROTA_DATA names one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rota.client.errors import NoServerKnown
from rota.core.errors import Invalid
from rota.core.model import Value

FOLDER_NAME: Final = ".rota"


class Target(Value):
    """A server, and what opens it. `found_in` is the data folder that told, if one did.

    `ca`: the only certificates that are believed of it; None: those of the system.
    """

    url: str
    token: str | None = None
    found_in: Path | None = None
    ca: Path | None = None

    def __repr__(self) -> str:
        return f"Target(url={self.url!r})"  # never the token


def discover(
    *, url: str | None, token: str | None, data: Path | None, environment: Mapping[str, str], folder: Path
) -> Target:
    """The server to talk to; raises NoServerKnown when nothing says where it is, Invalid for a bad address."""
    said = url or environment.get("ROTA_URL") or None
    secret = token or environment.get("ROTA_TOKEN") or None
    if said is not None:
        # A token found nearby is only sent to the server it belongs to.
        near = find_data(data, environment, folder)
        own = near is not None and _server(near).get("url", "").rstrip("/") == said.rstrip("/")
        return Target(url=_checked(said), token=secret or (_token(near) if near and own else None))
    found = find_data(data, environment, folder)
    if found is None:
        hint = "start one here with: rota up   or name one with --url (or ROTA_URL)"
        raise NoServerKnown(f"no server is known: there is no {FOLDER_NAME} in {folder} or above it", hint=hint)
    server = _server(found)
    if "url" not in server:
        hint = f"start it with: rota up --data {found}"
        raise NoServerKnown(f"no server is running on {found}", hint=hint)
    return Target(url=_checked(server["url"]), token=secret or _token(found), found_in=found)


def find_data(data: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """The data folder that is meant: `data`, ROTA_DATA, or the nearest `.rota` from `folder` upwards."""
    if data is not None:
        return data
    if environment.get("ROTA_DATA"):
        return Path(environment["ROTA_DATA"])
    for place in (folder, *folder.parents):
        if (place / FOLDER_NAME).is_dir():
            return place / FOLDER_NAME
    return None


def _server(data: Path) -> dict[str, Any]:
    """What `server.json` says; nothing when it is not there or not readable."""
    try:
        facts = json.loads((data / "server.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("url"), str) else {}


def _token(data: Path) -> str | None:
    try:
        return (data / "admin-token").read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _checked(url: str) -> str:
    """`url` without its final slash, if it is one."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
    except ValueError:
        good = False
    if not good:
        raise Invalid(f'"{url[:100]}" is not the address of a server', hint="write for example http://127.0.0.1:8700")
    return url.rstrip("/")
