"""`worker`: a worker that dials to its servers."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rota import __version__
from rota.cli import exits
from rota.cli.starting import Log, say_to, tell_problems
from rota.cli.terminal import Screen
from rota.settings import SettingsRefused, Sources, load_worker_settings
from rota.wiring.worker import run_worker

Pairs = Annotated[list[str] | None, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Offer:
    """Who it is and what it offers."""

    name: str | None = None
    """Its name, unique among workers (default: this machine's)."""
    label: Pairs = None
    """A label, as zone=eu; repeatable."""
    cpu: int | None = None
    """Processors it offers (default: the machine's)."""
    memory: str | None = None
    """Memory it offers, as 8GiB (default: the machine's)."""
    resource: Pairs = None
    """Something else it offers, as gpu=2; repeatable."""
    slots: str | None = None
    """Shell attempts at once, or by kind: shell=8,python=2."""


def worker(
    *,
    server: Annotated[
        list[str] | None, Parameter(negative="", help="Address of a server; repeatable (ROTA_SERVER).")
    ] = None,
    state: Annotated[Path | None, Parameter(help="Its own folder (ROTA_STATE; default ./.rota-worker).")] = None,
    ca: Annotated[Path | None, Parameter(help="Certificates (PEM) that are believed, and no others.")] = None,
    config: Annotated[Path | None, Parameter(help="Settings file (default STATE/rota.toml).")] = None,
    offer: Offer = Offer(),
    log: Log = Log(),
) -> int:
    """Run a worker: it dials to a server, runs what it is given, and goes on when a server dies.

    ROTA_JOIN_TOKEN=$(rota token create --join) rota worker --server https://rota.example.com:8700
    """
    screen = Screen()
    flags = {
        "server": server,
        "ca": ca,
        "name": offer.name,
        "labels": offer.label,
        "cpu": offer.cpu,
        "memory": offer.memory,
        "resources": offer.resource,
        "slots": offer.slots,
        **log.flags,
    }
    try:
        settings = load_worker_settings(Sources(os.environ, flags, config), state)
    except SettingsRefused as error:
        tell_problems(screen, error)
        return exits.USAGE
    say = say_to(screen)
    say(f"rota {__version__} · worker · Ctrl-C ends it")
    return run_worker(settings, say)
