"""What may surprise the owner of a schedule, said before it happens."""

from datetime import datetime
from typing import Final, NamedTuple

from rota.core.cron import ClockRule
from rota.core.cron_dates import ALL_DAYS, ALL_WEEKDAYS
from rota.core.cron_fields import Field
from rota.core.cron_series import DAY, ClockSeries, DstPolicy, Series
from rota.core.schedule_times import clock_text, from_epoch
from rota.core.zones import Zone

LOOK_AHEAD: Final = 2 * 366 * DAY
RARE: Final = 400 * DAY
_CYCLES: Final = {"second": (60, "s"), "minute": (60, "min"), "hour": (24, "h")}


class Subject(NamedTuple):
    """A compiled schedule as the warnings see it."""

    text: str
    zone: Zone
    series: Series
    dst: DstPolicy
    rule: ClockRule | None  # of clock schedules


def warnings_for(subject: Subject, now: int, upcoming: int | None) -> list[str]:
    """All warnings, those about the text first; `upcoming` is the next nominal second."""
    found: list[str] = []
    rule = subject.rule
    if rule is not None:
        for field in rule.fields:
            found += _uneven_steps(field)
        found += _either_day(rule)
    if isinstance(subject.series, ClockSeries) and rule is not None and not rule.elapsed:
        found += _clock_changes(subject, subject.series, now)
    if upcoming is not None and upcoming - now > RARE:
        local = from_epoch(upcoming + subject.zone.offset(upcoming))
        found.append(f"rare: the next time is {local:%Y-%m-%d}")
    return found


def _uneven_steps(field: Field) -> list[str]:
    """`*/7` minutes: from :56 to :00 it is 4 minutes, not 7."""
    if field.name not in _CYCLES:
        return _uneven_days(field)
    size, unit = _CYCLES[field.name]
    found = []
    for start, step in field.steps:
        last = start + (size - 1 - start) // step * step
        rest = size - last + start
        if rest != step and last > start:
            mark = "{:02}:00" if unit == "h" else ":{:02}"
            found.append(
                f"uneven: {field.text} in the {field.name} field, "
                f"{mark.format(last)} → {mark.format(start)} is {rest} {unit}, not {step}"
            )
    return found


def _uneven_days(field: Field) -> list[str]:
    if field.name != "day of month":
        return []
    return [
        f"uneven: {field.text} in the day of month field begins anew at day {start} of each month"
        for start, step in field.steps
        if step > 1
    ]


def _either_day(rule: ClockRule) -> list[str]:
    dates = rule.dates
    if not dates.any_of_both or dates.days == ALL_DAYS or dates.weekdays == ALL_WEEKDAYS:
        return []
    return ["day of month and day of week are both given: it runs when either matches, as in cron"]


def _clock_changes(subject: Subject, series: ClockSeries, now: int) -> list[str]:
    """The next gap and the next repetition within two years that hit a fixed time."""
    zone = subject.zone
    first = zone.span(now) + 1
    end = zone.span(now + LOOK_AHEAD) + 1
    found = []
    for index in range(first, end):
        match = series.gap_match(index)
        if match is not None:
            found.append(_gap_warning(subject, index, match))
            break
    for index in range(first, end):
        match = series.repeated_match(index)
        if match is not None:
            found.append(_repeat_warning(subject, match))
            break
    return found


def _local(seconds: int) -> tuple[str, datetime]:
    return clock_text(seconds % DAY), from_epoch(seconds)


def _gap_warning(subject: Subject, index: int, match: int) -> str:
    clock, day = _local(match)
    if subject.dst is DstPolicy.SKIP:
        then = "does not run"
    else:
        end, end_day = _local(subject.zone.starts[index] + subject.zone.offsets[index])
        then = f"runs {end}" + (f" on {end_day:%Y-%m-%d}" if end_day.date() != day.date() else "")
    return f"{clock} does not exist on {day:%Y-%m-%d} in {subject.zone.name} → {then} (dst: {subject.dst.value})"


def _repeat_warning(subject: Subject, match: int) -> str:
    clock, day = _local(match)
    then = {
        DstPolicy.RUN_TWICE: "runs both times",
        DstPolicy.SECOND: "runs the second time only",
    }.get(subject.dst, "runs the first time only")
    return f"{clock} comes twice on {day:%Y-%m-%d} in {subject.zone.name} → {then} (dst: {subject.dst.value})"
