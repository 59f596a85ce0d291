"""Day tables against the standard library's calendar: every rule, day by day, and proofs of emptiness."""

import calendar
from datetime import date, timedelta
from random import Random

import pytest

from rota.core.cron_dates import ALL_DAYS, END_YEAR, EVERY_DAY, NO_DAY, WORKDAYS, DateRule, DateTable, date_table

UNIX = date(1970, 1, 1)
RULES = {
    "the 13th or a Friday": DateRule(days=1 << 12, weekdays=1 << 5, any_of_both=True),
    "Friday the 13th": DateRule(days=1 << 12, weekdays=1 << 5),
    "the 31st": DateRule(days=1 << 30),
    "the last day of February": DateRule(months=2, days=0, days_from_end=(0,)),
    "three days before the end": DateRule(days=0, days_from_end=(3,)),
    "workdays": DateRule(weekdays=WORKDAYS),
    "the workday nearest the 1st and the 15th": DateRule(days=0, nearest_workdays=(1, 15)),
    "the workday nearest the 31st": DateRule(days=0, nearest_workdays=(31,)),
    "the last workday": DateRule(days=0, nearest_workdays=(0,)),
    "the third workday": DateRule(days=0, nth_workdays=(3,)),
    "the fifth Monday": DateRule(weekdays=0, nth_weekdays=((1, 5),)),
    "the last Sunday of a quarter": DateRule(months=0b100100100100, weekdays=0, last_weekdays=1),
    "29 February": DateRule(months=2, days=1 << 28),
    "every day": EVERY_DAY,
}


def is_workday(day: date) -> bool:
    return day.isoweekday() <= 5


def is_nearest(day: date, target: int) -> bool:
    """Whether `day` is the workday nearest to day `target` (0: the last) of its month."""
    length = calendar.monthrange(day.year, day.month)[1]
    target = target or length
    workdays = [number for number in range(1, length + 1) if is_workday(day.replace(day=number))]
    return target <= length and day.day == min(workdays, key=lambda number: (abs(number - target), number))


def expected(rule: DateRule, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    weekday = day.isoweekday() % 7
    workdays = [number for number in range(1, length + 1) if is_workday(day.replace(day=number))]
    by_day = (
        rule.days >> (day.day - 1) & 1
        or length - day.day in rule.days_from_end
        or any(is_nearest(day, target) for target in rule.nearest_workdays)
        or any(workdays[nth - 1] == day.day for nth in rule.nth_workdays)
    )
    by_weekday = (
        rule.weekdays >> weekday & 1
        or (weekday, (day.day + 6) // 7) in rule.nth_weekdays
        or (rule.last_weekdays >> weekday & 1 and day.day + 7 > length)
    )
    both = (by_day or by_weekday) if rule.any_of_both else (by_day and by_weekday)
    return bool(both) and bool(rule.months >> (day.month - 1) & 1)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_table_agrees_with_the_calendar(rule: DateRule) -> None:
    table = date_table(rule)
    first = (date(2023, 1, 1) - UNIX).days
    days = range(first, first + 366 * 6)
    matching = [day for day in days if expected(rule, UNIX + timedelta(days=day))]
    assert [day for day in days if table.has(day)] == matching
    walked, day = [], table.next(first - 1)
    while day < days.stop:
        walked.append(day)
        day = table.next(day)
    assert walked == matching
    backwards, day = [], table.previous(days.stop)
    while day >= first:
        backwards.append(day)
        day = table.previous(day)
    assert backwards[::-1] == matching


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_counts_agree_with_walking(rule: DateRule) -> None:
    table, random = date_table(rule), Random("counts")
    for _ in range(40):
        first = random.randrange(0, 150_000)
        end = first + random.randrange(0, 3000)
        walked, day = 0, table.next(first - 1)
        while day < end:
            walked += 1
            day = table.next(day)
        assert table.count(first, end) == walked
    assert table.count(100, 100) == table.count(100, 90) == 0


def test_an_empty_rule_is_proved_empty_and_a_rare_one_is_not() -> None:
    assert date_table(DateRule(months=2, days=1 << 29)).is_empty
    assert date_table(DateRule(months=0b000100000000, days=1 << 30)).is_empty
    # A fifth Monday in February needs a leap year that begins it on a Monday: once in 28 years.
    assert not date_table(DateRule(months=2, weekdays=0, nth_weekdays=((1, 5),))).is_empty
    assert not any(date_table(rule).is_empty for rule in RULES.values())


def test_beyond_the_last_day_there_is_none() -> None:
    end = (date(END_YEAR, 6, 1) - UNIX).days
    table = date_table(DateRule(months=1, days=1))
    assert table.next(end) == NO_DAY
    february = date_table(DateRule(months=2))
    assert february.previous((date(1969, 1, 15) - UNIX).days) == -NO_DAY


def test_equal_rules_share_one_table() -> None:
    assert date_table(DateRule(days=1 << 3)) is date_table(DateRule(days=1 << 3))
    assert isinstance(date_table(DateRule(days=ALL_DAYS)), DateTable)
