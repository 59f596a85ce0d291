"""`server`: one of several equal servers over one store."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rota import __version__
from rota.cli import exits
from rota.cli.hiding import hide_password
from rota.cli.starting import Log, say_to, tell_problems
from rota.cli.terminal import Screen
from rota.settings import SettingsRefused, Sources, load_server_settings
from rota.wiring.server import run_server


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Address:
    """Where it listens, and as what it is reached."""

    host: str | None = None
    """Address to listen on (default 127.0.0.1; any other needs TLS)."""
    port: int | None = None
    """Port (default 8700; 0: any)."""
    advertise: str | None = None
    """Where others reach this server (default: from host and port)."""
    public_url: str | None = None
    """Where people reach the pages, for links in mail."""
    tls_certificate: Path | None = None
    """Its certificate chain (PEM)."""
    tls_key: Path | None = None
    """The certificate's key (PEM)."""


def server(
    *,
    database: Annotated[
        str | None, Parameter(help="postgresql://USER@HOST/NAME or sqlite:///PATH (ROTA_DATABASE).")
    ] = None,
    config: Annotated[Path | None, Parameter(help="Settings file (ROTA_CONFIG).")] = None,
    address: Address = Address(),
    log: Log = Log(),
) -> int:
    """Run one of several equal servers over a database. Its workers connect with rota worker.

    ROTA_DATABASE=postgresql://rota@db/rota rota server --host 0.0.0.0 --tls-certificate C --tls-key K
    """
    hide_password(database)
    screen = Screen()
    flags = {
        "database": database,
        "host": address.host,
        "port": address.port,
        "advertise": address.advertise,
        "public_url": address.public_url,
        "tls.certificate": address.tls_certificate,
        "tls.key": address.tls_key,
        **log.flags,
    }
    try:
        settings = load_server_settings(Sources(os.environ, flags, config))
    except SettingsRefused as error:
        tell_problems(screen, error)
        return exits.USAGE
    say = say_to(screen)
    say(f"rota {__version__} · server · Ctrl-C ends it")
    return run_server(settings, say)
