"""Times of day, durations and dates inside a schedule's text, each refused with its place and a way out."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from rota.core.cron_fields import Token
from rota.core.schedule_errors import ScheduleError, shown

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2399
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}[smhdw])+", re.ASCII)
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_DATE: Final = re.compile(
    r"(?P<date>[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2})(?:[T ]+(?P<time>[0-9:]{4,8})(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)


def parse_clock(token: Token) -> int:
    """The second of the day of `HH:MM` or `HH:MM:SS`."""
    match = _CLOCK.fullmatch(token.text)
    if match is None:
        what = f"{shown(token.text)} is not a time of day" if token.text else "a time of day is missing"
        raise ScheduleError(what, position=token.position, hint="write 24-hour times such as 03:00 or 17:30")
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)


def clock_text(second: int) -> str:
    """`HH:MM`, with seconds only where there are some."""
    hour, rest = divmod(second, 3600)
    minute, second = divmod(rest, 60)
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def duration_text(seconds: int) -> str:
    """The largest units first: `1 h 30 min`."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"


def parse_duration(token: Token, *, what: str, longest: int) -> int:
    """The seconds of `5m`, `90s`, `1h30m`; whole seconds, at least one, at most `longest`."""
    text = token.text.lower()
    if _DURATION.fullmatch(text) is None:
        raise ScheduleError(
            f"{what} {shown(token.text)} is not a duration" if text else f"{what} is missing",
            position=token.position,
            hint=_duration_hint(text),
        )
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    if not 1 <= seconds <= longest:
        message = f"{what} {shown(token.text)} must lie between 1s and {longest // 86_400}d"
        raise ScheduleError(message, position=token.position, hint="write for example 30s, 5m, 2h or 1d")
    return seconds


def _duration_hint(text: str) -> str:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return f"say in what: {text}s, {text}m or {text}h"
    if text.endswith(("ms", "us", "ns")):
        return "the shortest interval is 1s"
    return "write a whole number with its unit, such as 30s, 5m, 2h or 1d"


def parse_moment(text: str, position: int, what: str) -> tuple[datetime, bool]:
    """The date, or date and time, of `text`: a local (naive) or an aware value, and whether it had a time."""
    match = _DATE.fullmatch(text)
    hint = "write 2026-12-05 or 2026-12-05 22:00"
    if match is None:
        message = f"{what} {shown(text)} is not a date" if text else f"{what} is missing its date"
        raise ScheduleError(message, position=position, hint=hint)
    year, month, day = (int(part) for part in match["date"].split("-"))
    if not FIRST_YEAR <= year <= LAST_YEAR:
        message = f"the year of {what} {shown(text)} must lie between {FIRST_YEAR} and {LAST_YEAR}"
        raise ScheduleError(message, position=position, hint=hint)
    second = parse_clock(Token(match["time"], position + match.start("time"))) if match["time"] else 0
    try:
        moment = datetime(year, month, day) + timedelta(seconds=second)  # noqa: DTZ001 - a local time on purpose
        if match["zone"]:
            moment = datetime.fromisoformat(f"{moment.isoformat()}{match['zone']}")
    except ValueError:
        message = f"{what} {shown(text)} is not a date of the calendar"
        raise ScheduleError(message, position=position, hint=hint) from None
    return moment, match["time"] is not None


def local_seconds(moment: datetime) -> int:
    """A local time as seconds since 1970 on the local clock."""
    return (moment.toordinal() - 719_163) * 86_400 + moment.hour * 3600 + moment.minute * 60 + moment.second


def to_epoch(moment: datetime) -> int:
    """Whole UTC seconds, rounded down; exact where a float would not be."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no timezone")
    since = moment - EPOCH
    return since.days * 86_400 + since.seconds


def from_epoch(seconds: int) -> datetime:
    """The aware UTC datetime of `seconds`."""
    return datetime.fromtimestamp(seconds, UTC)
