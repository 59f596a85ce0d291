"""The time of a crontab line → the schedule of a job."""

import re
from typing import Final

import msgspec

from rota.core.schedule import compile_schedule
from rota.core.schedule_errors import ScheduleError

_NICKNAMES: Final = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every_minute"}
)
_RANDOM: Final = re.compile(r"(\d{1,2})?~(\d{1,2})?", re.ASCII)


class When(msgspec.Struct, frozen=True):
    """A schedule and what was changed on the way."""

    text: str
    notes: tuple[str, ...] = ()


def cron_schedule(when: str) -> When:
    """The schedule of five fields or of a nickname; raise ScheduleError."""
    word = when.lower()
    if word == "@reboot":
        return When("at start", ("runs when Rota starts, not only when the machine does",))
    if word == "@every_minute":
        return When("* * * * *")
    if word.startswith("@"):
        if word not in _NICKNAMES:
            raise ScheduleError(f"{when[:40]} is not a time that cron knows")
        compile_schedule(word)
        return When(word)
    notes: tuple[str, ...] = ()
    if "~" in when:
        when = _RANDOM.sub(_stable, when)
        notes = ("~ chose a random value when cron read the file; H chooses one from the name of the job",)
    compile_schedule(when, name="name")
    return When(when, notes)


def _stable(match: re.Match[str]) -> str:
    if match[1] is None and match[2] is None:
        return "H"
    if match[1] is None or match[2] is None:
        raise ScheduleError(f"{match[0]} has only one end", hint="write both: 0~29")
    return f"H({match[1]}-{match[2]})"
