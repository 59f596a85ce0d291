"""`up`: server, worker and pages in one process."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rota import __version__
from rota.cli import exits
from rota.cli.common import Flag
from rota.cli.starting import Log, say_to, tell_problems
from rota.cli.terminal import Screen
from rota.settings import SettingsRefused, Sources, load_up_settings
from rota.wiring.up import run_up


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Web:
    """Where it is reached."""

    host: str | None = None
    """Address to listen on (default 127.0.0.1)."""
    port: int | None = None
    """Port (default 8700, or the next free one; 0: any)."""
    public_url: str | None = None
    """Where people reach it, for links in mail."""
    no_open: Flag = False
    """Do not open a browser."""


def up(
    *,
    data: Annotated[Path | None, Parameter(help="Data folder (ROTA_DATA; default ./.rota).")] = None,
    jobs: Annotated[list[Path] | None, Parameter(negative="", help="Job file or folder to apply and watch.")] = None,
    config: Annotated[Path | None, Parameter(help="Settings file (default DIR/rota.toml).")] = None,
    web: Web = Web(),
    log: Log = Log(),
) -> int:
    """Run one server and one worker over SQLite, with the pages.

    rota up · rota up --data /var/lib/rota --jobs ./jobs --no-open
    """
    screen = Screen()
    flags = {
        "host": web.host,
        "port": web.port,
        "jobs": jobs,
        "public_url": web.public_url,
        **log.flags,
        "open_browser": False if web.no_open or not sys.stdout.isatty() else None,
    }
    try:
        settings = load_up_settings(Sources(os.environ, flags, config), data)
    except SettingsRefused as error:
        tell_problems(screen, error)
        return exits.USAGE

    say = say_to(screen)
    say(f"rota {__version__} · data in {settings.data} · Ctrl-C ends it")
    return run_up(settings, say)
