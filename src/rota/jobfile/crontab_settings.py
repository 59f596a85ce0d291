"""The settings of a crontab that are in force at a line: environment, zone, shell, and who gets mail."""

import re
from typing import Final

import msgspec

from rota.core.schedule import check_timezone
from rota.core.schedule_errors import ScheduleError
from rota.jobfile.names import ENV_NAME

_MAILBOX: Final = re.compile(r"[A-Za-z0-9._%+=-]+(?:@[A-Za-z0-9.-]+)?", re.ASCII)
_FIXED: Final = frozenset({"LOGNAME", "USER"})
_MAIL_FORM: Final = frozenset({"MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a setting becomes; `refused` says why it cannot be kept at all."""

    becomes: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: str = ""


class Settings:
    """Changes from line to line; a job takes a copy of what holds at its own line."""

    def __init__(self, timezone: str) -> None:
        self.timezone = timezone
        self.env: dict[str, str] = {}
        self.exported: dict[str, str] = {}  # what a job's env may not hold, but its script may
        self._mail: list[str] | None = None

    @property
    def is_silent(self) -> bool:
        """Whether MAILTO="" says that nobody wants mail."""
        return self._mail == []

    def targets(self, owner: str | None) -> list[str]:
        """Who is told about a job, as alert targets; without MAILTO it is the owner, as with cron."""
        people = self._mail if self._mail is not None else [owner] if owner else []
        return [f"mail:{person}" for person in people]

    def take(self, name: str, value: str) -> Outcome:
        """Put a setting into force and say what it becomes."""
        if name == "MAILTO":
            return self._mailto(value)
        if name == "CRON_TZ":
            return self._zone(value)
        if name in _MAIL_FORM:
            return Outcome(becomes="nothing", notes=("the form of mails is a setting of the channel mail",))
        if name in _FIXED:
            return Outcome(becomes="nothing", notes=(f"cron does not let a crontab change {name} either",))
        if name == "RANDOM_DELAY":
            hint = f"add to each schedule: , random {value}m" if value.isdigit() else "see random in schedules"
            return Outcome(becomes="nothing", warnings=(f"a random delay is part of a schedule: {hint}",))
        return self._environment(name, value)

    def _mailto(self, value: str) -> Outcome:
        people = [person for person in re.split(r"[\s,]+", value.strip()) if person]
        wrong = [person for person in people if not _MAILBOX.fullmatch(person)]
        if wrong:
            return Outcome(refused=f"{wrong[0]} is not a mail address; the jobs below keep the MAILTO above")
        self._mail = people
        if not people:
            return Outcome(becomes="no alert", notes=("nobody gets mail, as with cron",))
        targets = ", ".join(self.targets(None))
        note = "output: mail on any output, as cron does; Rota adds failed and recovered"
        return Outcome(becomes=f"alert.to {targets}", notes=(note,))

    def _zone(self, value: str) -> Outcome:
        try:
            self.timezone = check_timezone(value)
        except ScheduleError as error:
            return Outcome(refused=f"{error.detail}; the jobs below keep {self.timezone}")
        warning = "cronie reads the lines below in this zone; cron implementations without CRON_TZ ignore it"
        return Outcome(becomes=f"timezone {value}", warnings=(warning,))

    def _environment(self, name: str, value: str) -> Outcome:
        if not ENV_NAME.fullmatch(name):
            return Outcome(refused=f"{name[:40]} is not the name of an environment variable")
        if name.upper().startswith("ROTA_"):
            return Outcome(refused="names that begin with ROTA_ are set by Rota")
        warnings: list[str] = []
        notes: list[str] = []
        if "$" in value:
            warnings.append("cron does not expand $ in settings; the value is kept as it stands")
        if name.upper().startswith("LD_") or name == "BASH_ENV":
            self.exported[name] = value
            return Outcome(becomes="export in each command", notes=("env may not hold it",), warnings=tuple(warnings))
        self.env[name] = value
        if name == "TZ":
            notes.append("TZ is for the command only, as in cron; schedules stay in the zone above")
        if name == "SHELL" and value != "/bin/sh":
            notes.append(f"commands are handed to {value}")
        if name == "HOME":
            notes.append("is the working folder of the jobs below, as in cron")
        return Outcome(becomes=f"env.{name}", notes=tuple(notes), warnings=tuple(warnings))
