"""Schedules in words: what each phrase means, how it is spelled back, and what is refused where."""

from datetime import UTC, datetime, timedelta

import pytest

from rota.core.schedule import compile_schedule
from rota.core.schedule_errors import ScheduleError

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("every minute", "every minute", ["11-23 12:01", "11-23 12:02"]),
        ("every 5m", "every 5m", ["11-23 12:05", "11-23 12:10"]),
        ("Every 1h30m", "every 1h30m", ["11-23 13:30", "11-23 15:00"]),
        ("every hour", "every hour", ["11-23 13:00", "11-23 14:00"]),
        ("every day", "every day at 00:00", ["11-24 00:00", "11-25 00:00"]),
        ("every day at 03:00", "every day at 03:00", ["11-24 03:00", "11-25 03:00"]),
        ("every  day at 9:00,17:30", "every day at 09:00, 17:30", ["11-23 17:30", "11-24 09:00"]),
        ("every day at 17:30, 09:00, 17:30", "every day at 09:00, 17:30", ["11-23 17:30", "11-24 09:00"]),
        ("every weekday at 09:00", "every weekday at 09:00", ["11-24 09:00", "11-25 09:00"]),
        ("every weekend at 09:00", "every weekend at 09:00", ["11-28 09:00", "11-29 09:00"]),
        ("every mon,wed at 09:00", "every Monday, Wednesday at 09:00", ["11-25 09:00", "11-30 09:00"]),
        ("every sunday, Mon at 09:00", "every Monday, Sunday at 09:00", ["11-29 09:00", "11-30 09:00"]),
        ("every fri-mon", "every Monday, Friday, Saturday, Sunday at 00:00", ["11-27 00:00", "11-28 00:00"]),
        ("hourly at :15", "every hour at :15", ["11-23 12:15", "11-23 13:15"]),
        ("first day of month at 06:00", "first day of month at 06:00", ["12-01 06:00", "01-01 06:00"]),
        ("last day of month at 23:00", "last day of month at 23:00", ["11-30 23:00", "12-31 23:00"]),
        ("first workday of month at 06:00", "first workday of month at 06:00", ["12-01 06:00", "01-01 06:00"]),
        ("second workday of month", "second workday of month at 00:00", ["12-02 00:00", "01-04 00:00"]),
        ("last workday of quarter at 18:00", "last workday of quarter at 18:00", ["12-31 18:00", "03-31 18:00"]),
        ("third friday of month at 22:00", "third Friday of month at 22:00", ["12-18 22:00", "01-15 22:00"]),
        ("last sunday of year at 01:00", "last Sunday of year at 01:00", ["12-27 01:00", "12-26 01:00"]),
        ("first monday of year at 01:00", "first Monday of year at 01:00", ["01-04 01:00", "01-03 01:00"]),
        ("every day at 03:00:30", "every day at 03:00:30", ["11-24 03:00", "11-25 03:00"]),
    ],
)
def test_meaning_and_words(text: str, words: str, expected: list[str]) -> None:
    schedule = compile_schedule(text)
    found = schedule.between(START, START + timedelta(days=1000), 2)
    assert [f"{occurrence.due:%m-%d %H:%M}" for occurrence in found] == expected
    assert schedule.words == words


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("evry day at 03:00", 0, "'evry'", "did you mean every?"),
        ("every dya at 03:00", 6, "'dya'", "did you mean day?"),
        ("every", 5, "ends too early", "every 5m"),
        ("every day at", 12, "missing", "03:00"),
        ("every day at 3am", 13, "'3am' is not a time of day", "24-hour"),
        ("every day at 24:00", 13, "'24:00'", "24-hour"),
        ("every day at 03:00,", 19, "missing", "03:00"),
        ("every day at 03:00 please", 19, "'please'", "complete"),
        ("every day 03:00", 10, "'03:00'", "at 09:00"),
        ("every mon, fooday at 03:00", 11, "'fooday'", "monday"),
        ("every month", 6, "which day", "first day of month"),
        ("every 5m at 03:00", 9, "no time of day", "every day at"),
        ("every 5", 6, "not a duration", "5m"),
        ("every 5 minutes", 6, "written as one word", "write every 5m"),
        ("every 90 Sec", 6, "written as one word", "write every 90s"),
        ("every 2 hours, spread 5m", 6, "written as one word", "write every 2h"),
        ("every 3 days at 03:00", 6, "written as one word", "write every 3d"),
        ("every 5 potatoes", 6, "not a duration", "5m"),
        ("every 1.5h", 6, "not a duration", "whole number"),
        ("every 0m", 6, "between 1s", "30s"),
        ("every -5m", 6, "not a duration", "whole number"),
        ("every NaN", 6, "not a duration", "whole number"),
        ("every 1e308", 6, "not a duration", "whole number"),
        ("every 1ms", 6, "not a duration", "shortest interval is 1s"),
        ("every 999999999w", 6, "between 1s", "30s"),
        ("hourly", 6, "too early", "hourly at :15"),
        ("hourly at :60", 10, "':60' is not a minute", "hourly at :15"),
        ("sixth monday of month", 0, "'sixth'", "fifth"),
        ("fifth workdy of month", 6, "'workdy'", "workday"),
        ("first day of moth", 13, "'moth'", "month"),
        ("first day at 03:00", 10, "'at'", "of month"),
        ("at noon", 3, "'noon'", "at start"),
        ("0 3 * * *, spread", 17, "spread is missing", "30s"),
        ("0 3 * * *, spread 5", 18, "'5'", "5m"),
        ("0 3 * * *, spread 32d", 18, "between 1s and 31d", "30s"),
        ("0 3 * * *, spread 5m, spread 6m", 22, "given twice", "keep one"),
        ("0 3 * * *, from 2027-02-30", 16, "not a date of the calendar", "2026-12-05"),
        ("0 3 * * *, from 0001-01-01", 16, "between 1970 and 2399", "2026-12-05"),
        ("0 3 * * *, until 9999-12-31", 17, "between 1970 and 2399", "2026-12-05"),
        ("0 3 * * *, from soon", 16, "'soon' is not a date", "2026-12-05"),
        ("0 3 * * *, from 2027-01-02, until 2027-01-01", 34, "ends before it begins", "after from"),
        ("0 0 29 2 *, from 2029-01-01, until 2031-01-01", 0, "never fires between", "widen"),
        ("every 5m, random 10m", None, "longer than the shortest gap", "300s"),
        ("every day at 09:00, 09:10, random 30m", None, "longer than the shortest gap", "600s"),
        (", spread 5m", 0, "empty", "every day"),
        ("at start, spread 5m", 8, "takes no spread", None),
    ],
)
def test_refusals(text: str, position: int | None, message: str, hint: str | None) -> None:
    with pytest.raises(ScheduleError) as caught:
        compile_schedule(text)
    assert message in caught.value.message
    assert caught.value.position == position
    assert caught.value.hint is None if hint is None else hint in str(caught.value.hint)
