"""The yearly rule at the end of a zone file ("CET-1CEST,M3.5.0,M10.5.0/3"), written out as transitions."""

import re
from datetime import date
from typing import Final

from rota.core.cron_dates import END_YEAR

_NAME: Final = r"(?:[A-Za-z]+|<[^>]+>)"
_OFFSET: Final = r"[-+]?\d+(?::\d+){0,2}"
_DATE: Final = rf"[MJ]?\d+(?:\.\d+\.\d+)?(?:/{_OFFSET})?"
_RULE: Final = re.compile(rf"{_NAME}({_OFFSET})(?:{_NAME}({_OFFSET})?(?:,({_DATE}),({_DATE}))?)?")
_UNIX_DAY: Final = date(1970, 1, 1).toordinal()
_TWO_O_CLOCK: Final = "2"


def rule_transitions(rule: str) -> list[tuple[int, int]]:
    """All (UTC second, new offset) from 1970 to the end of the range, in order; none for a fixed zone."""
    match = _RULE.fullmatch(rule)
    if match is None or match[3] is None:
        return []
    # POSIX counts offsets westwards: CET-1 is one hour ahead of UTC.
    standard = -_seconds(match[1])
    summer = -_seconds(match[2]) if match[2] else standard + 3600
    changes = []
    for year in range(1970, END_YEAR + 1):
        changes.append((_local(year, match[3]) - standard, summer))
        changes.append((_local(year, match[4]) - summer, standard))
    return sorted(changes)


def _seconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    parts = [int(part) for part in text.lstrip("+-").split(":")] + [0, 0]
    return sign * (parts[0] * 3600 + parts[1] * 60 + parts[2])


def _local(year: int, change: str) -> int:
    """The local second at which `change` falls in `year`."""
    day, _, time = change.partition("/")
    return _day(year, day) * 86400 + _seconds(time or _TWO_O_CLOCK)


def _day(year: int, text: str) -> int:
    """The day, counted from 1970-01-01, of `Mm.w.d`, `Jn` (29 February never counted) or `n` (counted from 0)."""
    january = date(year, 1, 1).toordinal() - _UNIX_DAY
    if text.startswith("M"):
        return _weekday_of_month(year, *(int(part) for part in text[1:].split(".")))
    if text.startswith("J"):
        number = int(text[1:])
        leap = date(year, 12, 31).toordinal() - _UNIX_DAY - january == 365
        return january + number - 1 + (leap and number > 59)
    return january + int(text)


def _weekday_of_month(year: int, month: int, week: int, weekday: int) -> int:
    first = date(year, month, 1)
    day = first.toordinal() + (weekday - first.isoweekday()) % 7 + (week - 1) * 7
    if week == 5 and date.fromordinal(day).month != month:
        day -= 7
    return day - _UNIX_DAY
