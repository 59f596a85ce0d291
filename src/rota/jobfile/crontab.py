"""A crontab → a job file that does the same, and a report in which every line has its place.

Semantics are kept: each job gets the environment in force at its line, `%` becomes standard input, day-of-month and
weekday stay joined by OR, what was missed is skipped and runs may overlap, as with cron. Where something cannot be kept
the row of its line says so. A bad line is named with the reason; the rest is imported. Imported jobs start paused.
"""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from rota.core.schedule import check_timezone, compile_schedule
from rota.core.schedule_errors import ScheduleError
from rota.jobfile.crontab_lines import (
    Bad,
    Blank,
    Comment,
    Entry,
    Line,
    Setting,
    is_system,
    read_lines,
    split_command,
    split_lines,
    split_user,
)
from rota.jobfile.crontab_names import job_name
from rota.jobfile.crontab_settings import Settings
from rota.jobfile.crontab_when import cron_schedule
from rota.jobfile.document import Mapping as MappingNode
from rota.jobfile.document import from_python
from rota.jobfile.job_keys import read_job
from rota.jobfile.problems import Problems
from rota.jobfile.reading import LONGEST_LINE, Reading
from rota.jobfile.render import dump_yaml

USUAL_SHELL: Final = "/bin/sh"


class ImportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a crontab is imported. `timezone` is the zone of the host that ran it."""

    timezone: str
    namespace: str = "legacy"
    file: str = "-"
    owner: str | None = None  # whose crontab it is; cron mails to them when there is no MAILTO
    system: bool | None = None  # whether lines have a user column; None: found out
    shadow: bool = False


class ImportRow(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one line: `kind` is job, setting, comment, off (a job that was switched off) or refused."""

    line: int
    text: str
    kind: str
    job: str | None = None
    becomes: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The job file and the account of all lines; blank lines are only counted."""

    yaml: str
    rows: tuple[ImportRow, ...]
    blank: int
    lines: int
    warnings: tuple[str, ...]  # about the whole file
    is_system: bool
    settings: ImportSettings

    def of(self, kind: str) -> tuple[ImportRow, ...]:
        """The rows of one kind."""
        return tuple(row for row in self.rows if row.kind == kind)

    @property
    def imported(self) -> tuple[str, ...]:
        """The names of the imported jobs."""
        return tuple(row.job for row in self.rows if row.job is not None)

    @property
    def refused(self) -> tuple[ImportRow, ...]:
        """The lines that could not be imported."""
        return self.of("refused")


def import_crontab(data: bytes | str, settings: ImportSettings, now: datetime) -> ImportResult:
    """Import a crontab; raises ScheduleError for an unknown zone in `settings`, and nothing for what the file holds."""
    check_timezone(settings.timezone)
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    raw_lines, odd = split_lines(raw)
    lines = list(read_lines(raw_lines))
    system = settings.system if settings.system is not None else is_system(settings.file, lines)
    importer = _Importer(settings, system, now)
    for line in lines:
        importer.take(line)
    return importer.result(len(raw_lines), odd)


class _Importer:
    """Goes through the lines from top to bottom, as cron does."""

    def __init__(self, settings: ImportSettings, system: bool, now: datetime) -> None:
        self._settings = settings
        self._system = system
        self._now = now
        self._in_force = Settings(settings.timezone)
        self._rows: list[ImportRow] = []
        self._blank = 0
        self._title: str | None = None
        self._untold = False
        self.jobs: dict[str, dict[str, Any]] = {}

    def take(self, line: Line) -> None:
        """Account for one line."""
        if isinstance(line, Blank):
            self._blank += 1
        elif isinstance(line, Comment):
            kind, becomes = ("off", "was switched off; not imported") if line.is_job else ("comment", "")
            self._rows.append(ImportRow(line=line.number, text=line.text, kind=kind, becomes=becomes))
        elif isinstance(line, Bad):
            self._refuse(line.number, line.text, line.reason)
        elif isinstance(line, Setting):
            self._setting(line)
        else:
            self._entry(line)
        self._title = line.text.lstrip("# \t") if isinstance(line, Comment) and not line.is_job else None

    def _refuse(self, number: int, text: str, reason: str) -> None:
        self._rows.append(ImportRow(line=number, text=text, kind="refused", becomes="not imported", notes=(reason,)))

    def _setting(self, line: Setting) -> None:
        outcome = self._in_force.take(line.name, line.value)
        text = f"{line.name}={line.value}"
        if outcome.refused:
            self._refuse(line.number, text, outcome.refused)
            return
        row = ImportRow(
            line=line.number,
            text=text,
            kind="setting",
            becomes=outcome.becomes,
            notes=outcome.notes,
            warnings=outcome.warnings,
        )
        self._rows.append(row)

    def _entry(self, line: Entry) -> None:
        text = f"{line.when} {line.rest}"
        rest, user = line.rest, None
        if self._system:
            parts = split_user(rest)
            if parts is None:
                self._refuse(line.number, text, "a line of a system crontab has a user and a command")
                return
            user, rest = parts
        command, stdin = split_command(rest)
        if not command.strip(" \t"):
            self._refuse(line.number, text, "there is no command before the %")
            return
        try:
            when = cron_schedule(line.when)
        except ScheduleError as error:
            self._refuse(line.number, text, error.detail + (f" ({error.hint})" if error.hint else ""))
            return
        keys = self._keys(when.text, command.strip(" \t"), stdin, user)
        name = job_name(command, line.number, self.jobs)
        reason = _problem(self._settings.namespace, name, keys)
        if reason:
            self._refuse(line.number, text, reason)
            return
        self.jobs[name] = keys
        notes = [*when.notes, *_notes(command, stdin, quiet=line.quiet)]
        self._row(line.number, text, name, keys, notes)

    def _keys(self, schedule: str, command: str, stdin: str | None, user: str | None) -> dict[str, Any]:
        """The keys of a job, with everything that is in force at its line."""
        in_force = self._in_force
        title = self._title[:LONGEST_LINE].strip() if self._title and self._title.isprintable() else None
        keys: dict[str, Any] = {"title": title or None, "schedule": schedule, "timezone": in_force.timezone}
        keys["shell"] = _wrapped(command, in_force)
        keys["stdin"] = stdin
        keys["user"] = user
        keys["cwd"] = in_force.env.get("HOME", "~")
        keys["env"] = dict(in_force.env) or None
        targets = in_force.targets(user or self._settings.owner)
        if targets:
            keys["alert"] = {"to": targets, "when": ["output", "failed", "recovered"]}
        return {key: value for key, value in keys.items() if value is not None}

    def _row(self, number: int, text: str, name: str, keys: Mapping[str, Any], notes: list[str]) -> None:
        schedule = compile_schedule(
            keys["schedule"], timezone=keys["timezone"], name=f"{self._settings.namespace}/{name}"
        )
        if "alert" not in keys and not self._in_force.is_silent:
            self._untold = True
            notes.append("nobody is told: add alert.to (cron mails the owner)")
        row = ImportRow(
            line=number,
            text=text,
            kind="job",
            job=name,
            becomes=schedule.words,
            notes=tuple(notes),
            warnings=tuple(schedule.warnings(self._now)),
        )
        self._rows.append(row)

    def result(self, lines: int, odd: list[str]) -> ImportResult:
        """The job file of everything that was taken, and the account."""
        warnings = list(odd)
        if not self.jobs:
            warnings.append("no job was found")
        if self._untold:
            warnings.append("there is no MAILTO: cron mails to the owner of the crontab, here nobody is told")
        defaults, jobs = _share(self.jobs, self._settings)
        comments = {"": _header(self._settings)}
        return ImportResult(
            yaml=dump_yaml(self._settings.namespace, jobs, comments, defaults),
            rows=tuple(self._rows),
            blank=self._blank,
            lines=lines,
            warnings=tuple(warnings),
            is_system=self._system,
            settings=self._settings,
        )


def _wrapped(command: str, in_force: Settings) -> str:
    """The command for /bin/sh: other shells and the environment that a job may not set are written out."""
    shell = in_force.env.get("SHELL", USUAL_SHELL)
    if shell != USUAL_SHELL:
        command = f"exec {shlex.quote(shell)} -c {shlex.quote(command)}"
    exports = [f"export {name}={shlex.quote(value)}" for name, value in in_force.exported.items()]
    return "\n".join([*exports, command]) if exports else command


def _problem(namespace: str, name: str, keys: Mapping[str, Any]) -> str:
    """Why the job file would refuse what was made of a line; "" when it is fine."""
    problems = Problems(None, name)
    node = from_python(dict(keys), problems)
    assert isinstance(node, MappingNode)
    read_job(Reading(problems, f"job {name}"), node, f"{namespace}/{name}", ())
    return "; ".join(problem.message for problem in problems.found if problem.is_error)


def _notes(command: str, stdin: str | None, *, quiet: bool) -> list[str]:
    notes: list[str] = []
    if stdin is not None:
        notes.append("% begins the standard input in cron: converted to stdin")
    if "run-parts" in command:
        notes.append("runs a folder of scripts as one job; one job for each script would show which one failed")
    if "anacron" in command:
        notes.append("leaves its work to anacron where that is installed; missed: run-latest replaces anacron")
    if quiet:
        notes.append('the leading "-" (no log entry) has no meaning here')
    return notes


def _share(
    jobs: Mapping[str, dict[str, Any]], settings: ImportSettings
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What all jobs have in common goes into the defaults of the file."""
    state = {"shadow": True} if settings.shadow else {"paused": True}
    defaults: dict[str, Any] = {"timezone": settings.timezone, "missed": "skip", "overlap": "allow", **state}
    everyone = list(jobs.values())
    for key in ("alert", "cwd"):
        if everyone and all(job.get(key) == everyone[0].get(key) is not None for job in everyone):
            defaults[key] = everyone[0][key]
    first = everyone[0].get("env", {}) if everyone else {}
    env = dict(item for item in first.items() if all(item in job.get("env", {}).items() for job in everyone))
    if env:
        defaults["env"] = env
    return defaults, {name: _own(job, defaults) for name, job in jobs.items()}


def _own(job: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a job without what the defaults say already."""
    own = {key: value for key, value in job.items() if key == "env" or defaults.get(key) != value}
    env = {name: value for name, value in own.pop("env", {}).items() if defaults.get("env", {}).get(name) != value}
    if env:
        own["env"] = env
    return own


def _header(settings: ImportSettings) -> str:
    origin = "a crontab" if settings.file == "-" else settings.file
    state = (
        "shadow: every instant is recorded and nothing runs. Remove the line shadow: true to let the jobs run."
        if settings.shadow
        else "paused: the jobs start paused when they are applied; rota resume NAMESPACE/JOB starts one."
    )
    return "\n".join(
        [
            f"Imported from {origin}. The jobs do what they did under cron:",
            "missed: skip (what was missed is not run later), overlap: allow (it starts though the last still runs).",
            "Rota's own defaults (missed: run-latest within 1h, overlap: skip) are safer for most jobs.",
            state,
        ]
    )
