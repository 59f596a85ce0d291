"""A cron expression in words: "every day at 03:00", "at minute 0 past every 7th hour, on Monday"."""

from typing import Final

from rota.core.cron import MONTH_NAMES, ClockRule, ordinal
from rota.core.cron_dates import ALL_DAYS, ALL_MONTHS, ALL_WEEKDAYS, WORKDAYS, DateRule
from rota.core.cron_fields import Field
from rota.core.phrases import DAY_NAMES
from rota.core.schedule_times import clock_text

_MOST_TIMES: Final = 6  # more times of day than this are told by their fields
_WEEKEND: Final = 0b1000001


def clock_words(rule: ClockRule) -> str:
    """`rule` as a person would say it."""
    times, days = _times(rule), _days(rule.dates)
    if times.startswith("at ") and not times.startswith("at minute") and days.startswith("every"):
        return f"{days} {times}"
    if days == "every day":
        return times
    return f"{times}, {days}"


def _times(rule: ClockRule) -> str:
    second, minute, hour = rule.fields[:3]
    table = rule.table()
    if len(table) <= _MOST_TIMES and not hour.starred:
        return f"at {', '.join(clock_text(time) for time in table)}"
    seconds = "" if second.mask == 1 else _part(second, "second")
    if seconds and _is_all(minute, 60) and _is_all(hour, 24):
        return seconds
    minutes = _part(minute, "minute")
    if _is_all(hour, 24):
        if minute.mask.bit_count() == 1 and not seconds:
            return f"every hour at :{minute.mask.bit_length() - 1:02}"
        return f"{seconds} of {minutes}" if seconds else minutes
    hours = _part(hour, "hour")
    return f"{seconds} of {minutes} past {hours}" if seconds else f"{minutes} past {hours}"


def _is_all(field: Field, size: int) -> bool:
    return field.mask == (1 << size) - 1


def _part(field: Field, unit: str) -> str:
    """The values of a time field: `every 5 minutes`, `every 7th hour`, `minute 5, 10`."""
    size = 24 if unit == "hour" else 60
    if _is_all(field, size):
        return f"every {unit}"
    if field.steps == ((0, field.steps[0][1]),) if field.steps else False:
        step = field.steps[0][1]
        if field.mask == sum(1 << value for value in range(0, size, step)):
            return f"every {step} {unit}s" if size % step == 0 and unit != "hour" else f"every {ordinal(step)} {unit}"
    plain = "at " if unit in ("minute", "second") else ""
    return f"{plain}{unit} {_values(field.mask)}"


def _values(mask: int, names: tuple[str, ...] = ()) -> str:
    """The set bits, three or more in a row as a range."""
    parts, value = [], 0
    while mask >> value:
        if not mask >> value & 1:
            value += 1
            continue
        last = value
        while mask >> (last + 1) & 1:
            last += 1
        texts = [names[n] if names else str(n) for n in range(value, last + 1)]
        parts += [f"{texts[0]} to {texts[-1]}"] if len(texts) > 2 else texts
        value = last + 1
    return _listed(parts)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _days(dates: DateRule) -> str:
    by_day, by_week = _month_days(dates), _week_days(dates)
    months = "" if dates.months == ALL_MONTHS else f" in {_values(dates.months, MONTH_NAMES)}"
    if not by_day and not by_week:
        return f"every day{months}"
    if by_day and by_week:
        return f"{by_day} {'or' if dates.any_of_both else 'if it is also'} {by_week}{months}"
    return f"{by_day or by_week}{months}"


def _month_days(dates: DateRule) -> str:
    """The day-of-month part; empty if it leaves no day out."""
    if dates.days == ALL_DAYS:
        return ""
    parts = [f"day {_values(dates.days << 1)}"] if dates.days else []
    parts += [
        f"the {ordinal(back + 1)}-to-last day" if back else "the last day" for back in sorted(dates.days_from_end)
    ]
    for day in dates.nearest_workdays:
        parts.append(f"the workday nearest the {ordinal(day)}" if day else "the workday nearest the end")
    parts += [f"the {ordinal(nth)} workday" for nth in dates.nth_workdays]
    return f"on {_listed(parts)} of the month"


def _week_days(dates: DateRule) -> str:
    """The day-of-week part; empty if it leaves no day out."""
    if dates.weekdays == ALL_WEEKDAYS:
        return ""
    special = [f"the {ordinal(nth)} {DAY_NAMES[day]} of the month" for day, nth in dates.nth_weekdays]
    special += [f"the last {DAY_NAMES[day]} of the month" for day in range(7) if dates.last_weekdays >> day & 1]
    if not special:
        if dates.weekdays == WORKDAYS:
            return "every weekday" if _month_days(dates) == "" else "on any weekday"
        if dates.weekdays == _WEEKEND:
            return "every weekend" if _month_days(dates) == "" else "on a weekend"
    plain = [_values(dates.weekdays, DAY_NAMES)] if dates.weekdays else []
    return f"on {_listed(plain + special)}"
