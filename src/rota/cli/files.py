"""Job files on this machine: `new`, `check`. Needs no server."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from rota.cli import exits
from rota.cli.common import Flag, Show
from rota.cli.terminal import Screen
from rota.core.errors import Invalid
from rota.jobfile.check import CheckResult, check_paths
from rota.jobfile.problems import Problem, render
from rota.jobfile.template import new_job_file
from rota.settings.values import host_zone

Paths = Annotated[tuple[Path, ...], Parameter(help="Files or folders.")]


def new(
    name: Annotated[str, Parameter(help="NAME or NAMESPACE/NAME of the job.")],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="File to write (default: NAME.yaml).")
    ] = None,
    force: Flag = False,
    show: Show = Show(),
) -> int:
    """Write a job file with one commented job, in this machine's zone.

    rota new web/fetch

    Parameters
    ----------
    force:
        Overwrite an existing file.
    """
    text = new_job_file(name, host_zone())
    target = output or Path(f"{name.rpartition('/')[2]}.yaml")
    if target.exists() and not force:
        raise Invalid(f"{target} exists; nothing was written", hint="give another -o, or --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    screen = show.screen()
    screen.line(str(target))
    screen.next_step(f"edit it, then: rota check {target} && rota apply {target}")
    return 0


def check(
    *paths: Path,
    strict: Annotated[bool, Parameter(negative="", help="Warnings alone also fail (exit 31).")] = False,
    show: Show = Show(),
) -> int:
    """Check job files; all that is wrong, in one pass. Needs no server; exit 30 with errors.

    rota check jobs.yaml · rota check jobs/ --json

    Parameters
    ----------
    paths:
        Files or folders.
    """
    result = checked(paths)
    screen = show.screen()
    if show.is_data:
        document = {
            "jobs": [job.full_name for job in result.jobs],
            "items": _documents(result),
            "ok": not result.errors,
        }
        show.emit(screen, document)
    else:
        for problem in result.problems:
            screen.line(_painted(screen, problem, result))
            screen.line()
        screen.talk(summary(result), "bad" if result.errors else "good")
        if not result.errors and result.jobs:
            screen.next_step(f"rota plan {' '.join(str(path) for path in paths)}")
    if result.errors:
        return exits.CHECK_ERRORS
    return exits.CHECK_WARNINGS if strict and result.warnings else exits.SUCCESS


def checked(paths: tuple[Path, ...]) -> CheckResult:
    """The checked files; raises Invalid when none is named."""
    if not paths:
        raise Invalid("no job file is named", hint="write for example: rota check jobs.yaml, or a folder")
    return check_paths(list(paths), now=datetime.now(UTC))


def report(result: CheckResult, screen: Screen) -> None:
    """All problems on stderr, for commands whose data is something else."""
    for problem in result.problems:
        screen.complain(render(problem, result.sources.get(problem.file)) + "\n")
    screen.complain(summary(result))


def summary(result: CheckResult) -> str:
    """How much there was and how much of it is wrong."""
    counts = [_count(len(result.jobs), "job"), f"in {_count(len(result.files), 'file')}:"]
    wrong = [
        _count(len(found), noun) for found, noun in ((result.errors, "error"), (result.warnings, "warning")) if found
    ]
    return " ".join([*counts, ", ".join(wrong) or "all good"])


def _documents(result: CheckResult) -> list[Any]:
    documents: list[Any] = json.loads(msgspec.json.encode([msgspec.structs.asdict(one) for one in result.problems]))
    return documents


def _painted(screen: Screen, problem: Problem, result: CheckResult) -> str:
    """A problem with its first words in colour."""
    text = render(problem, result.sources.get(problem.file))
    head, separator, rest = text.partition(":")
    return screen.painted(head, "bad" if problem.is_error else "warn") + separator + rest


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
