"""`import crontab`: a crontab as a job file, with an account of every line."""

import getpass
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rota.cli import exits
from rota.cli.common import Flag, Show
from rota.cli.failures import make_app
from rota.core.errors import Invalid, NotFound
from rota.core.zones import check_timezone
from rota.jobfile.crontab import ImportSettings, import_crontab
from rota.jobfile.crontab_report import render_import
from rota.settings.values import host_zone

_LIMIT = 5 * 1024 * 1024

import_ = make_app("rota import", "Turn what another scheduler runs into a job file.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the crontab comes from."""

    owner: str | None = None
    """Whose crontab it is (default: who runs this)."""
    system: bool | None = None
    """Whether lines have a user column (default: found out)."""
    tz: str | None = None
    """Zone of the machine it ran on (default: this one's)."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the job file goes."""

    output: Annotated[Path | None, Parameter(name=["-o", "--output"])] = None
    """Where to write (default: stdout)."""
    force: Flag = False
    """Overwrite the output file."""


@import_.command
def crontab(
    file: Annotated[str, Parameter(help="A crontab, or - for stdin.", allow_leading_hyphen=True)],
    /,
    *,
    namespace: Annotated[str, Parameter(help="Namespace of the jobs.")] = "legacy",
    shadow: Annotated[
        bool, Parameter(negative="", help="Record instants and run nothing, to compare with cron.")
    ] = False,
    origin: Origin = Origin(),
    target: Target = Target(),
    show: Show = Show(),
) -> int:
    """Turn a crontab into a job file; the report accounts for every line (exit 7 when one was not imported).

    crontab -l | rota import crontab - -o jobs/legacy.yaml
    """
    data = _read(file)
    output = target.output
    if output is not None and output.exists() and not target.force:
        raise Invalid(f"{output} exists; nothing was written", hint="give another -o, or --force")
    settings = ImportSettings(
        timezone=check_timezone(origin.tz or host_zone()),
        namespace=namespace,
        file=file,
        owner=origin.owner or _owner(file),
        system=origin.system,
        shadow=shadow,
    )
    result = import_crontab(data, settings, datetime.now(UTC))
    screen = show.screen()
    report = render_import(result, str(output or "stdout"))
    if output is None:
        screen.line(result.yaml.rstrip("\n"))
        screen.complain(report)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(result.yaml, encoding="utf-8")
        if not show.quiet:
            screen.line(report)
    return exits.PARTIAL if result.refused else exits.SUCCESS


def _read(file: str) -> bytes:
    """The bytes of the crontab."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(_LIMIT + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}", hint="crontab -l | rota import crontab -") from error
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise Invalid(f"{file} is larger than 5 MiB; that is no crontab")
    return data


def _owner(file: str) -> str | None:
    """Whose crontab it is: a spool file is named after its owner, on stdin it is one's own."""
    path = Path(file)
    if path.parent.name in ("crontabs", "cron") and "spool" in path.parts:
        return path.name
    try:
        return getpass.getuser() if file == "-" else None
    except (KeyError, OSError):
        return None
