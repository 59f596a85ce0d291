"""Cron expressions: what is accepted and means what; what is refused, where, why, and how fast."""

import time
from datetime import UTC, datetime

import pytest

from rota.core.cron import MACROS, parse_cron
from rota.core.schedule import Schedule, compile_schedule
from rota.core.schedule_errors import ScheduleError

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


def upcoming(schedule: Schedule, number: int = 3) -> list[str]:
    found = schedule.between(START, datetime(2399, 1, 1, tzinfo=UTC), number)
    return [f"{occurrence.due:%y-%m-%d %H:%M:%S}" for occurrence in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/20 * * * *", ["26-11-23 12:20:00", "26-11-23 12:40:00", "26-11-23 13:00:00"]),
        ("5/25 * * * *", ["26-11-23 12:05:00", "26-11-23 12:30:00", "26-11-23 12:55:00"]),
        ("*/15 30 12 * * *", ["26-11-23 12:30:00", "26-11-23 12:30:15", "26-11-23 12:30:30"]),
        ("0 9 * * MON-Fri", ["26-11-24 09:00:00", "26-11-25 09:00:00", "26-11-26 09:00:00"]),
        ("0 9 * * fri-sun", ["26-11-27 09:00:00", "26-11-28 09:00:00", "26-11-29 09:00:00"]),
        ("0 9 * * 0", ["26-11-29 09:00:00", "26-12-06 09:00:00", "26-12-13 09:00:00"]),
        ("0 9 * * 7", ["26-11-29 09:00:00", "26-12-06 09:00:00", "26-12-13 09:00:00"]),
        ("0 0 1 Jan,JUL ?", ["27-01-01 00:00:00", "27-07-01 00:00:00", "28-01-01 00:00:00"]),
        ("0 0 L * *", ["26-11-30 00:00:00", "26-12-31 00:00:00", "27-01-31 00:00:00"]),
        ("0 0 L-3 2 *", ["27-02-25 00:00:00", "28-02-26 00:00:00", "29-02-25 00:00:00"]),
        ("0 0 LW * *", ["26-11-30 00:00:00", "26-12-31 00:00:00", "27-01-29 00:00:00"]),
        ("0 0 15W * *", ["26-12-15 00:00:00", "27-01-15 00:00:00", "27-02-15 00:00:00"]),
        ("0 0 1W 5,8 *", ["27-05-03 00:00:00", "27-08-02 00:00:00", "28-05-01 00:00:00"]),
        ("0 0 * * 5#3", ["26-12-18 00:00:00", "27-01-15 00:00:00", "27-02-19 00:00:00"]),
        ("0 0 * * fri#5", ["27-01-29 00:00:00", "27-04-30 00:00:00", "27-07-30 00:00:00"]),
        ("0 0 * * 5L", ["26-11-27 00:00:00", "26-12-25 00:00:00", "27-01-29 00:00:00"]),
        ("0 0 29 2 *", ["28-02-29 00:00:00", "32-02-29 00:00:00", "36-02-29 00:00:00"]),
        ("0 0 29 2 */1", ["28-02-29 00:00:00", "32-02-29 00:00:00", "36-02-29 00:00:00"]),
    ],
)
def test_meaning(text: str, expected: list[str]) -> None:
    assert upcoming(compile_schedule(text)) == expected


def test_day_of_month_or_day_of_week_when_both_are_given() -> None:
    assert upcoming(compile_schedule("0 0 13 * 5"), 4) == [
        "26-11-27 00:00:00",
        "26-12-04 00:00:00",
        "26-12-11 00:00:00",
        "26-12-13 00:00:00",
    ]


@pytest.mark.parametrize("text", ["0 0 */2 * 1", "0 0 1-31/2 * *", "0 0 ? * 1", "0 0 * * */2"])
def test_a_day_field_that_begins_with_a_star_restricts_instead_of_adding(text: str) -> None:
    day, weekday = text.split()[2], text.split()[4]
    for occurrence in compile_schedule(text).between(START, datetime(2028, 1, 1, tzinfo=UTC), 100):
        assert "2" not in day or occurrence.due.day % 2 == 1
        assert weekday != "1" or occurrence.due.isoweekday() == 1
        assert weekday != "*/2" or occurrence.due.isoweekday() % 7 % 2 == 0


@pytest.mark.parametrize("macro", MACROS)
def test_macros_stand_for_their_expression(macro: str) -> None:
    assert upcoming(compile_schedule(macro.upper())) == upcoming(compile_schedule(MACROS[macro]))


def test_reboot_is_at_start() -> None:
    schedule = compile_schedule("@reboot")
    assert schedule.triggers_at_start
    assert schedule.is_empty
    assert schedule.next(START) is None


def test_hashed_fields_are_stable_in_range_and_differ_between_jobs() -> None:
    rules = [parse_cron("H H(2-5) H * H", name=f"web/job-{number}") for number in range(60)]
    assert rules[7] == parse_cron("H H(2-5) H * H", name="web/job-7")
    assert len({rule.minutes for rule in rules}) > 20
    assert {rule.hours.bit_length() - 1 for rule in rules} == {2, 3, 4, 5}
    assert all(1 <= rule.dates.days.bit_length() <= 28 for rule in rules)
    assert {rule.dates.weekdays.bit_length() - 1 for rule in rules} <= set(range(7))


def test_hashed_steps_keep_their_distance_inside_their_range() -> None:
    rule = parse_cron("H(10-39)/10 H/6 * * *", name="web/job")
    minutes = [minute for minute in range(60) if rule.minutes >> minute & 1]
    hours = [hour for hour in range(24) if rule.hours >> hour & 1]
    assert len(minutes) == 3
    assert minutes[1] - minutes[0] == minutes[2] - minutes[1] == 10
    assert minutes[0] >= 10
    assert minutes[-1] <= 39
    assert len(hours) == 4
    assert hours[0] < 6


@pytest.mark.parametrize(
    ("text", "position", "field", "message"),
    [
        ("", 0, "schedule", "empty"),
        ("   \t ", 0, "schedule", "empty"),
        ("* * * *", 7, None, "this one has 4 fields"),
        ("*", 1, None, "this one has 1 field"),
        ("* * * * * * *", 12, None, "this one has 7 fields"),
        ("60 * * * *", 0, "minute", "'60' in the minute field is outside 0 to 59"),
        ("0 24 * * *", 2, "hour", "outside 0 to 23"),
        ("  0 24 * * *", 4, "hour", "outside 0 to 23"),
        ("0 0 0 * *", 4, "day of month", "outside 1 to 31"),
        ("0 0 * 13 *", 6, "month", "outside 1 to 12"),
        ("0 0 * * 8", 8, "day of week", "outside 0 to 7"),
        ("61 * * * * *", 0, "second", "outside 0 to 59"),
        ("*/0 * * * *", 0, "minute", "between 1 and 60"),
        ("*/999999999 * * * *", 0, "minute", "between 1 and 60"),
        ("0 */25 * * *", 2, "hour", "between 1 and 24"),
        ("5-1 * * * *", 0, "minute", "runs backwards"),
        ("0 0 * * fri-mon", 8, "day of week", "runs backwards"),
        ("1,,2 * * * *", 2, "minute", "empty item"),
        ("1,2,x * * * *", 4, "minute", "'x' is not a value"),
        ("1,2,-5 * * * *", 4, "minute", "'-5' is not a value"),
        ("? * * * *", 0, "minute", "no meaning"),
        ("0 0 * foo *", 6, "month", "'foo' is not a value"),
        ("0 0 L-28 * *", 4, "day of month", "no month"),
        ("0 0 32W * *", 4, "day of month", "outside 1 to 31"),
        ("0 0 * * 1#0", 8, "day of week", "first to a fifth"),
        ("0 0 * * 1#6", 8, "day of week", "first to a fifth"),
        ("0 0 * * L", 8, "day of week", "'L' is not a value"),
        ("H(9-3) * * * *", 0, "minute", "runs backwards"),
        ("0 0 30 2 *", 4, "day of month", "never fires: February has no 30th"),
        ("0 0 31 4 *", 4, "day of month", "never fires: April has no 31st"),
        ("0 0 30,31 2 *", 4, "day of month", "never fires: February has no 30th"),
        ("0 0 31 4,6 *", 4, "day of month", "never fires: April and June have no 31st"),
        ("0 0 31 4,6,9 *", 4, "day of month", "never fires: none of April, June, September has a 31st"),
        ("0 0 30W 2 *", 4, "day of month", "never fires: February has no 30th"),
        ("@often", 0, None, "there is no '@often'"),
        ("@every 5m", 0, None, "there is no '@every'"),
        ("@daily 5", 7, None, "stands alone"),
        ("* * * * \0", 8, "schedule", "U+0000"),
        ("* * * * *\n", 9, "schedule", "U+000A"),
        ("😀 * * * *", 0, "schedule", "U+1F600"),
        ("٣ * * * *", 0, "schedule", "U+0663"),
        ("* * * * *" + " " * 1_000_000, 1000, "schedule", "1000009 characters"),
        ("9" * 990 + " * * * *", 0, "minute", "outside 0 to 59"),
        ("{{7*7}} * * * *", 0, "minute", "not a value"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_refusals_name_place_field_and_reason(text: str, position: int, field: str | None, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        compile_schedule(text)
    assert message in caught.value.message
    assert (caught.value.position, caught.value.field) == (position, field)
    assert caught.value.hint
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "9" * 1_000_000,
        "*/999999999 * * * *",
        "0 0 31 2 1#5,2#5",
        ",".join(["1"] * 450) + " * * * x",
        "0 0 " + ",".join(f"{day}W" for day in range(1, 32)) + " 2 x",
        "every " * 166,
        "H(" * 400,
        "a" * 1000,
        ",spread" * 140,
        "0 0 30 2 *, from 2399-01-01",
    ],
    ids=lambda text: text[:20],
)
def test_refusing_takes_no_time(text: str) -> None:
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        try:
            compile_schedule(text)
        except ScheduleError:
            pass
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.01


def test_rare_dates_are_accepted_and_their_next_date_is_told() -> None:
    rare = compile_schedule("0 0 29 2 1#5")
    assert upcoming(rare, 1) == ["28-02-29 00:00:00"]
    assert "rare: the next time is 2028-02-29" in rare.warnings(START)
    leap_sunday = compile_schedule("0 0 29 2 */7")
    assert upcoming(leap_sunday) == ["32-02-29 00:00:00", "60-02-29 00:00:00", "88-02-29 00:00:00"]
