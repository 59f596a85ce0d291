"""Cron expressions of five or six fields, parsed into bit masks with every refusal naming field and position.

The dialect is Vixie cron's, with seconds in front when there are six fields, and the usual additions: `L`,
`L-3`, `LW`, `15W`, `5#3`, `5L`, `?`, `H`, `H(0-29)/10`. A time field that begins with `*` makes the
schedule follow elapsed time when clocks change, and a day field that begins with `*` does not take part in
"day of month OR day of week": both are Vixie's rules, `*/2` included.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from rota.core.cron_dates import ALL_WEEKDAYS, DateRule, date_table
from rota.core.cron_fields import Field, FieldSpec, Token, parse_field
from rota.core.cron_series import time_table
from rota.core.schedule_errors import ScheduleError, shown

MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTH_NAMES: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
SECOND: Final = FieldSpec(name="second", low=0, high=59)
MINUTE: Final = FieldSpec(name="minute", low=0, high=59)
HOUR: Final = FieldSpec(name="hour", low=0, high=23)
# `H` picks days 1 to 28, so that every month has the chosen one.
DAY: Final = FieldSpec(name="day of month", low=1, high=31, hash_high=28)
MONTH: Final = FieldSpec(
    name="month", low=1, high=12, names={name[:3].lower(): n for n, name in enumerate(MONTH_NAMES, 1)}
)
WEEKDAY: Final = FieldSpec(
    name="day of week", low=0, high=7, hash_high=6, star_high=6, names=dict(zip(_DAY_NAMES, range(7), strict=True))
)
_SIX: Final = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)


class ClockRule(msgspec.Struct, frozen=True, kw_only=True):
    """Times of day on certain days. `times` holds them, or the three masks do whose product they are."""

    dates: DateRule
    times: tuple[int, ...] = ()
    seconds: int = 1
    minutes: int = 0
    hours: int = 0
    elapsed: bool = False  # follows elapsed time over a change of clocks
    fields: tuple[Field, ...] = ()  # as written, second first; none for schedules in words
    words: str = ""  # of schedules in words: the same, spelled the one usual way

    def table(self) -> Sequence[int]:
        """The sorted seconds of the day."""
        return self.times or time_table(self.seconds, self.minutes, self.hours)


def parse_cron(text: str, *, offset: int = 0, name: str = "") -> ClockRule:
    """The rule of a cron expression, which begins at `offset` of the user's text; `name` decides where `H` falls."""
    return _parse_cron(text, offset, name if "h" in text.lower() else "")


@lru_cache(maxsize=8192)
def _parse_cron(text: str, offset: int, name: str) -> ClockRule:
    tokens = [Token(match.group(), match.start() + offset) for match in re.finditer(r"[^ \t]+", text)]
    if tokens and tokens[0].text.startswith("@"):
        tokens = _expand_macro(tokens)
    if len(tokens) not in (5, 6):
        raise _wrong_number(tokens, offset)
    if len(tokens) == 5:
        tokens = [Token("0", tokens[0].position), *tokens]
    fields = [parse_field(token, spec, name) for token, spec in zip(tokens, _SIX, strict=True)]
    rule = ClockRule(
        seconds=fields[0].mask,
        minutes=fields[1].mask,
        hours=fields[2].mask,
        dates=_date_rule(fields[3], fields[4], fields[5]),
        elapsed=any(field.starred for field in fields[:3]),
        fields=tuple(fields),
    )
    _refuse_impossible(rule.dates, tokens[3])
    return rule


def _expand_macro(tokens: list[Token]) -> list[Token]:
    first = tokens[0]
    expression = MACROS.get(first.text.lower())
    if expression is None:
        known = ", ".join(MACROS)
        hint = "write every 5m (an interval) without the @" if first.text.lower() == "@every" else f"known: {known}"
        raise ScheduleError(f"there is no {shown(first.text)}", position=first.position, hint=hint)
    if len(tokens) > 1:
        extra = tokens[1]
        raise ScheduleError(
            f"{first.text} stands alone, but {shown(extra.text)} follows it",
            position=extra.position,
            hint=f"write {expression!r} and change its fields",
        )
    return [Token(part, first.position) for part in expression.split()]


def _wrong_number(tokens: list[Token], offset: int) -> ScheduleError:
    """The error for anything but five or six fields; it points at the first field too many, or at the end."""
    if not tokens:
        return ScheduleError("the schedule is empty", position=offset, hint='write for example "every day at 03:00"')
    count = len(tokens)
    last = tokens[6] if count > 6 else tokens[-1]
    position = last.position if count > 6 else last.position + len(last.text)
    names = "minute hour day-of-month month day-of-week"
    hint = "there is no year field; use from and until" if count == 7 else f"the fields are: {names}"
    plural = "" if count == 1 else "s"
    message = f"a cron expression has 5 fields, or 6 with seconds in front; this one has {count} field{plural}"
    return ScheduleError(message, position=position, hint=hint)


def _date_rule(day: Field, month: Field, weekday: Field) -> DateRule:
    return DateRule(
        months=month.mask >> 1,
        days=day.mask >> 1,
        days_from_end=day.from_end,
        nearest_workdays=day.nearest,
        weekdays=(weekday.mask | weekday.mask >> 7) & ALL_WEEKDAYS,
        nth_weekdays=weekday.nth,
        last_weekdays=weekday.last,
        any_of_both=not (day.starred or weekday.starred),
    )


def _refuse_impossible(dates: DateRule, day: Token) -> None:
    if not date_table(dates).is_empty:
        return
    raise ScheduleError(
        f"never fires: {_why_empty(dates)}", position=day.position, field=DAY.name, hint="check day and month"
    )


def _why_empty(dates: DateRule) -> str:
    """The reason why no year has such a day."""
    months = [MONTH_NAMES[month] for month in range(12) if dates.months >> month & 1]
    days = dates.days | sum(1 << (day - 1) for day in set(dates.nearest_workdays) if day)
    lowest = (days & -days).bit_length()
    if days and date_table(DateRule(months=dates.months, days=days)).is_empty:
        names = " and ".join(months) if len(months) < 3 else "none of " + ", ".join(months)
        verb = "has no" if len(months) == 1 else "have no" if len(months) == 2 else "has a"
        return f"{names} {verb} {ordinal(lowest)}"
    return "no such day of month ever falls on such a day of week"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th …"""
    if 10 <= number % 100 <= 20:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
